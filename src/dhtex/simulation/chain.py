"""The cheapest state machine that still notices everything: a hash over all it was ever given, in order."""

from __future__ import annotations

import hashlib

import msgpack

from dhtex.replication import CommandBatch

_SIZE = 32


class ChainMachine:
    """A hash chain over every call; a gap in the positions changes the hash for good."""

    __slots__ = ("_position", "_state")

    def __init__(self) -> None:
        self._state = bytes(_SIZE)
        self._position = 0

    def apply(self, batch: CommandBatch, position: int, skip: int) -> bytes:
        """One step of the chain; the events are the new state's first bytes."""
        state = hashlib.blake2b(self._state, digest_size=_SIZE, key=batch.origin)
        state.update(b"%d %d %d %d " % (batch.first_n, position, skip, batch.timestamp))
        state.update(batch.commands)
        if position != self._position + 1:
            state.update(b"gap")
        self._position = position + batch.count - skip - 1
        self._state = state.digest()
        return self._state[:8]

    def snapshot(self) -> bytes:
        """The whole state."""
        packed: bytes = msgpack.packb([self._state, self._position])
        return packed

    def restore(self, snapshot: bytes) -> None:
        """Become the state of a snapshot."""
        self._state, self._position = msgpack.unpackb(snapshot)

    def digest(self) -> bytes:
        """32 bytes."""
        return self._state
