"""What a peer replicates: the market's matching engine and its lock table, as one state machine.

Orders are the rule and go to the engine a batch at a time, undecoded. Lock requests travel in the same batches as
rows with a mark of their own; only a batch in which that mark occurs is taken apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import groupby
from typing import Final, NamedTuple

import msgpack

from dhtex.errors import MalformedMessage
from dhtex.locks import LockEvent, LockRequest, LockTable
from dhtex.matching import Batch, LevelChange, MarketSpec, MatchingEngine
from dhtex.matching.commands import Row, decode_rows
from dhtex.replication import CommandBatch

_LOCK_MARK: Final = b"\x00dhtex lock\x00"
"""No order contains it unless somebody puts it into a tag, which costs that batch some time and nothing else."""


def encode_lock(request: LockRequest) -> bytes:
    """A batch of one lock request, as `Replica.submit` takes it."""
    packed: bytes = msgpack.packb([(_LOCK_MARK, *request.to_row())])
    return packed


class Applied(NamedTuple):
    """What one final entry did to the exchange.

    Attributes:
        position: of the first command applied.
        origin: node id of the peer that issued the commands, 20 bytes.
        first_n: the origin's number of the first command applied.
        count: commands applied.
        timestamp: of all of them, microseconds since the epoch.
        orders: what the engine made of each run of orders; events are made when asked for.
        locks: `(position, event)` of every step of a lock; the position is that of the request that caused it.
        changes: levels as the entry left them, each once a run of orders that touched it; none unless `watched`.
    """

    position: int
    origin: bytes
    first_n: int
    count: int  # type: ignore[assignment]  # the field hides tuple.count, which nobody needs here
    timestamp: int
    orders: tuple[Batch, ...]
    locks: tuple[tuple[int, LockEvent], ...]
    changes: tuple[LevelChange, ...]


class Exchange:
    """The state machine of one market (`dhtex.replication.StateMachine`). Pure: no IO, no clock, no randomness.

    Attributes:
        spec: the market.
        engine: the book, for reading.
        locks: the lock table, for reading.
        watched: somebody wants changed levels. They are taken down entry by entry, because the engine knows them only
            until the next entry is applied, and several become final at once.
    """

    def __init__(self, spec: MarketSpec) -> None:
        self.spec = spec
        self.engine = MatchingEngine(spec)
        self.locks = LockTable()
        self.watched = False
        self._applied: list[Applied] = []

    def take_applied(self) -> list[Applied]:
        """What was applied since the last call, in order."""
        applied, self._applied = self._applied, []
        return applied

    def apply(self, batch: CommandBatch, position: int, skip: int) -> bytes:
        """Apply the commands of one final entry; gives the canonical bytes of all events."""
        if _LOCK_MARK in batch.commands:
            return self._apply_mixed(batch, position, skip)
        result = self.engine.apply_batch(
            batch.commands,
            owner=batch.origin,
            first_n=batch.first_n,
            count=batch.count,
            timestamp=batch.timestamp,
            position=position,
            skip=skip,
        )
        self._keep(batch, position, skip, (result,), (), self._changes(result))
        return result.digest_bytes

    def _keep(
        self,
        batch: CommandBatch,
        position: int,
        skip: int,
        orders: tuple[Batch, ...],
        locks: tuple[tuple[int, LockEvent], ...],
        changes: tuple[LevelChange, ...],
    ) -> None:
        self._applied.append(
            Applied(
                position,
                batch.origin,
                batch.first_n + skip,
                batch.count - skip,
                batch.timestamp,
                orders,
                locks,
                changes,
            )
        )

    def _changes(self, result: Batch) -> tuple[LevelChange, ...]:
        return self.engine.changes(result) if self.watched and len(result) else ()

    def _apply_mixed(self, batch: CommandBatch, position: int, skip: int) -> bytes:
        orders: list[Batch] = []
        locks: list[tuple[int, LockEvent]] = []
        changes: list[LevelChange] = []
        digested: list[bytes] = []
        n = batch.first_n + skip
        for request, commands, count in _runs(batch, skip):
            if request is None:
                result = self.engine.apply_batch(
                    commands,
                    owner=batch.origin,
                    first_n=n,
                    count=count,
                    timestamp=batch.timestamp,
                    position=position,
                    skip=0,
                )
                orders.append(result)
                changes += self._changes(result)
                digested.append(result.digest_bytes)
            else:
                events = self.locks.apply(request, node_id=batch.origin, n=n, timestamp=batch.timestamp)
                locks += [(position, event) for event in events]
                digested += [msgpack.packb([e.name, e.node_id, str(e.outcome), e.n, e.until]) for e in events]
            n += count
            position += count
        self._keep(batch, position - (batch.count - skip), skip, tuple(orders), tuple(locks), tuple(changes))
        return b"".join(digested)

    def snapshot(self) -> bytes:
        """The whole state; equal states give equal bytes."""
        packed: bytes = msgpack.packb([self.engine.snapshot(), self.locks.snapshot()])
        return packed

    def restore(self, snapshot: bytes) -> None:
        """Become the state of *snapshot*.

        Raises:
            MalformedMessage: not a snapshot of this market.
        """
        try:
            engine, locks = msgpack.unpackb(snapshot)
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise MalformedMessage("snapshot", "not a snapshot of an exchange") from error
        self.engine.restore(engine)
        self.locks.restore(locks)
        self._applied.clear()

    def digest(self) -> bytes:
        """32 bytes over the state."""
        return hashlib.blake2b(self.snapshot(), digest_size=32).digest()


def _runs(batch: CommandBatch, skip: int) -> Iterator[tuple[LockRequest | None, bytes, int]]:
    """The batch as lock requests and, between them, runs of orders: `(request or None, commands, count)`."""
    try:
        rows = decode_rows(batch.commands)
    except MalformedMessage:
        rows = ()
    if len(rows) != batch.count:
        yield None, b"", batch.count - skip  # the engine rejects what it cannot decode, command by command
        return
    for is_lock, run in groupby(rows[skip:], key=_is_lock):
        if is_lock:
            for row in run:
                yield _request(row), b"", 1
        else:
            orders = list(run)
            yield None, msgpack.packb(orders), len(orders)


def _is_lock(row: Row) -> bool:
    return bool(row) and row[0] == _LOCK_MARK


def _request(row: Row) -> LockRequest | None:
    """The request, or None for the engine to reject it as it rejects anything that is no order."""
    try:
        return LockRequest.from_row(row[1:])
    except MalformedMessage:
        return None
