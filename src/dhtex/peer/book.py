"""The book as people read it: decimals instead of ticks and lots."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from dhtex.matching import MarketSpec, MatchingEngine, OrderId, Phase
from dhtex.peer.reports import Depth, Level, OpenOrder, exact, open_order

_N: Final = re.compile(r"[0-9]{1,19}")
"""Up to 2^63; Python itself reads no more than 4,300 digits."""


def read_id(text: str) -> tuple[str, int] | None:
    """The beginning of the node id in hex, and the number, of `c0ffee12:42`; None for what names no order."""
    prefix, _, n = text.lower().partition(":")
    return (prefix, int(n)) if prefix and _N.fullmatch(n) else None


class Book:
    """One market as the final commands left it. Reads only; a look costs what it shows."""

    def __init__(self, spec: MarketSpec, engine: MatchingEngine) -> None:
        self._spec = spec
        self._engine = engine

    def depth(self, levels: int = 10) -> Depth:
        """The best *levels* of each side, best first."""
        depth = self._engine.depth(levels)
        return Depth(bids=self._levels(depth.bids), asks=self._levels(depth.asks))

    def _levels(self, levels: tuple[tuple[int, int], ...]) -> tuple[Level, ...]:
        spec = self._spec
        return tuple(
            Level(exact(spec.format_price(price)), exact(spec.format_quantity(quantity)))
            for price, quantity in levels
        )

    @property
    def last_price(self) -> Decimal | None:
        """Price of the last trade, or None before the first."""
        ticks = self._engine.last_price
        return None if ticks is None else exact(self._spec.format_price(ticks))

    @property
    def phase(self) -> Phase:
        """Whether orders match as they come."""
        return self._engine.phase

    def order(self, order: OrderId) -> OpenOrder | None:
        """An open order, anybody's; None when it is not open."""
        found = self._engine.order(order)
        return None if found is None else open_order(self._spec, found)

    def orders_of(self, node_id: bytes) -> list[OpenOrder]:
        """Open orders of one node, oldest first."""
        return [open_order(self._spec, order) for order in self._engine.orders(node_id)]

    def find(self, text: str) -> list[OrderId]:
        """Open orders whose id is written `c0ffee12:42`, anybody's; several when short node ids collide."""
        written = read_id(text)
        if written is None:
            return []
        prefix, n = written
        return [
            order.id
            for order in self._engine.orders()
            if order.id.n == n and order.id.node_id.hex().startswith(prefix)
        ]
