"""Order-sized commands: a seeded mix of limit orders around a price, and cancels of older ones.

Once `OPEN_MAX` own orders are out, every other command cancels the oldest. So the book keeps its size however
long the run is, about three in ten orders trade, and a cancel comes too late as often as that.
"""

from __future__ import annotations

import random
from collections import deque

from dhtex.matching import Cancel, Command, OrderId, Place, Side

OPEN_MAX = 1_000
PLACES = 4_096
MIDDLE, SPREAD = 5_000_000, 200  # ticks


class Flow:
    """The commands of one submitter, numbered as its peer will number them."""

    def __init__(self, node_id: bytes, seed: int, first_n: int) -> None:
        draw = random.Random(seed)
        self._node_id = node_id
        self._n = first_n
        self._open: deque[int] = deque()
        self._at = 0
        # Made once, so that drawing random numbers is no part of what is measured.
        self._places = [_place(draw) for _ in range(PLACES)]

    def next(self, count: int) -> list[Command]:
        """The next *count* commands."""
        commands: list[Command] = []
        own = self._open
        for n in range(self._n, self._n + count):
            if len(own) > OPEN_MAX:
                commands.append(Cancel(OrderId(self._node_id, own.popleft())))
            else:
                own.append(n)
                self._at = (self._at + 1) % PLACES
                commands.append(self._places[self._at])
        self._n += count
        return commands


def _place(draw: random.Random) -> Place:
    side = draw.choice((Side.BUY, Side.SELL))
    away = round(draw.triangular(-SPREAD / 3, SPREAD, SPREAD / 4))
    price = MIDDLE - away if side is Side.BUY else MIDDLE + away
    return Place(side=side, quantity=draw.randint(1, 100) * 100_000, price=price)
