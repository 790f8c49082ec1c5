"""What a replica needs from those who use it: a state machine, and a source of random numbers."""

from __future__ import annotations

from typing import Protocol

from dhtex.replication.values import CommandBatch


class StateMachine(Protocol):
    """The deterministic thing that is replicated.

    Equal sequences of calls give equal results on every peer.
    """

    def apply(self, batch: CommandBatch, position: int, skip: int) -> bytes:
        """Apply the commands of one final entry. Must not raise for any bytes.

        Args:
            batch: the commands.
            position: of the first command that counts, from 1.
            skip: leading commands of the batch to leave out, because they were applied before; less than the
                count.

        Returns:
            Canonical bytes of all events; they go into the digest.
        """
        ...

    def snapshot(self) -> bytes:
        """The whole state; equal states give equal bytes."""
        ...

    def restore(self, snapshot: bytes) -> None:
        """Become the state of a snapshot."""
        ...

    def digest(self) -> bytes:
        """32 bytes over the state."""
        ...


class RandomSource(Protocol):
    """What is used of `random.Random`. Passed in, so that a run can be repeated."""

    def random(self) -> float:
        """A number in [0, 1)."""
        ...

    def getrandbits(self, k: int, /) -> int:
        """*k* random bits.

        Use `random.SystemRandom` outside simulations: incarnations and lineages must not repeat.
        """
        ...
