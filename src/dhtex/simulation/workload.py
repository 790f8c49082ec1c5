"""What peers submit, and the machine it goes to."""

from __future__ import annotations

import random
from typing import Protocol

import msgpack

from dhtex.replication import StateMachine
from dhtex.simulation.chain import ChainMachine


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


def make_workload(rng: random.Random, exchange: bool) -> Workload:
    """The workload of a plan."""
    return ChainWorkload()
