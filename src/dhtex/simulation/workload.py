"""What peers submit, and the machine it goes to."""

from __future__ import annotations

import random
from collections import deque
from typing import Final, Protocol

import msgpack

from dhtex.exchange import Exchange
from dhtex.matching import MarketSpec
from dhtex.matching.commands import (
    Amend,
    Cancel,
    CancelAll,
    Command,
    Kind,
    OrderId,
    Place,
    Side,
    TimeInForce,
    encode_commands,
)
from dhtex.replication import CommandBatch, StateMachine
from dhtex.simulation.chain import ChainMachine

_SPEC: Final = MarketSpec("SIM-USD")
_RECENT: Final = 50
"""Cancels and amendments go for these newest orders, so they race the fills."""


class Workload(Protocol):
    """Makes commands, and machines that take them."""

    def make_machine(self) -> StateMachine:
        """A fresh machine."""
        ...

    def commands(self, node_id: bytes, count: int) -> bytes:
        """The next *count* commands of a peer: a msgpack array."""
        ...


class ChainWorkload:
    """Numbers, each used once, for the hash chain."""

    def __init__(self) -> None:
        self._next = 0

    def make_machine(self) -> StateMachine:
        """A fresh chain."""
        return ChainMachine()

    def commands(self, node_id: bytes, count: int) -> bytes:
        """Numbers nobody used before."""
        first = self._next
        self._next += count
        packed: bytes = msgpack.packb(list(range(first, self._next)))
        return packed


class _Exchange(Exchange):
    """The real one, with nobody who reads its events."""

    def apply(self, batch: CommandBatch, position: int, skip: int) -> bytes:
        digested = super().apply(batch, position, skip)
        self.take_applied()
        return digested


class OrderWorkload:
    """Orders of all kinds around one price, from a few hot accounts, and cancels that race the fills."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._made: dict[bytes, int] = {}
        self._recent: deque[OrderId] = deque(maxlen=_RECENT)
        self._accounts = rng.choice((("",), ("", "hot"), tuple(f"account {n}" for n in range(20))))
        self._cancels = rng.choice((0.05, 0.3, 0.6))

    def make_machine(self) -> StateMachine:
        """A fresh exchange."""
        return _Exchange(_SPEC)

    def commands(self, node_id: bytes, count: int) -> bytes:
        """Orders, amendments and cancels."""
        made: list[Command] = []
        for _ in range(count):
            # After a crash the peer's own numbering differs: then these ids are somebody else's or nobody's.
            number = self._made[node_id] = self._made.get(node_id, 0) + 1
            made.append(self._command())
            self._recent.append(OrderId(node_id, number))
        return encode_commands(made)

    def _command(self) -> Command:
        rng = self._rng
        account = rng.choice(self._accounts)
        if self._recent and rng.random() < self._cancels:
            order = rng.choice(self._recent)
            match rng.randrange(8):
                case 0:
                    return CancelAll(account=account)
                case 1 | 2:
                    return Amend(order, quantity=rng.randint(1, 20), account=account)
                case _:
                    return Cancel(order, account=account)
        side = rng.choice((Side.BUY, Side.SELL))
        quantity = rng.choice((1, 5, rng.randint(1, 100)))
        price = 10_000 + rng.randint(-6, 6)
        match rng.randrange(10):
            case 0:
                return Place(side, quantity, kind=Kind.MARKET, account=account)
            case 1:
                return Place(side, quantity, kind=Kind.STOP, trigger=price, account=account)
            case 2:
                return Place(side, quantity, price, time_in_force=TimeInForce.FOK, account=account)
            case 3:
                return Place(side, quantity, price, time_in_force=TimeInForce.IOC, account=account)
            case _:
                return Place(side, quantity, price, post_only=rng.random() < 0.1, account=account)


def make_workload(rng: random.Random, exchange: bool) -> Workload:
    """The workload of a plan."""
    return OrderWorkload(rng) if exchange else ChainWorkload()
