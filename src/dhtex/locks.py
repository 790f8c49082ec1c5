"""The lock service: a small state machine on the same log as the exchange.

Lamport's mutual exclusion without its messages: requests queue in the total order (timestamp, node id),
which every peer sees alike, so the head of the queue holds the lock and no round of replies is needed. A
lock is held for a lease: before a request with timestamp t, every lease that ended at or before t expires, in
the order of their ends. No timer decides anything; whoever waits asks again when the holder's lease is over
(`dhtex.peer.locking`), so a crashed holder blocks nobody for longer than it asked for.

Source: Lamport, *Time, Clocks, and the Ordering of Events in a Distributed System*, 1978, pages 560-561.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import msgpack

from dhtex.errors import MalformedMessage

NAME_BYTES_MAX = 64
LEASE_US_MAX = 3_600_000_000  # one hour; longer work renews its lease by asking again
LOCKS_MAX = 10_000
WAITERS_MAX = 1_000  # a lock


class Outcome(StrEnum):
    """What became of a request, or what happened to a lock on its way."""

    GRANTED = "granted"
    """The node holds the lock until its lease ends. Also the answer to a holder that renews."""
    WAITING = "waiting"
    """Others are ahead in the queue; `GRANTED` follows."""
    RELEASED = "released"
    """The holder gave the lock back, or a waiter left the queue."""
    EXPIRED = "expired"
    """The lease ended before the holder released it."""
    REFUSED = "refused"
    """Nothing changed: not held by this node, or a limit is reached."""


@dataclass(frozen=True, slots=True)
class LockEvent:
    """One step of one lock.

    Attributes:
        name: the lock.
        node_id: whose request it was, 20 bytes.
        outcome: what happened.
        n: number of that node's command which this is about: the one that is answered, or else the last one with
            which the node asked for the lock. So an answer to a request that was taken back is no answer to the next.
        until: microseconds since the epoch. Of `GRANTED`, the end of the lease; of `WAITING`, the end of the
            holder's; else 0.
    """

    name: str
    node_id: bytes
    outcome: Outcome
    n: int
    until: int = 0


@dataclass(frozen=True, slots=True)
class LockRequest:
    """Ask for a lock, renew it, or give it back.

    Attributes:
        name: up to 64 bytes of UTF-8.
        lease: microseconds to hold it, counted from the grant; 0 gives it back or leaves the queue.
    """

    name: str
    lease: int

    def to_row(self) -> tuple[str, int]:
        """The fields as they travel: `(name, lease)`."""
        return (self.name, self.lease)

    @classmethod
    def from_row(cls, row: Sequence[object]) -> LockRequest:
        """The request that travels as *row*.

        Raises:
            MalformedMessage: not `(name, lease)` within the limits.
        """
        match row:
            case [str(name), int(lease)] if not isinstance(lease, bool):
                if not 0 < len(name.encode("utf-8", "replace")) <= NAME_BYTES_MAX:
                    raise MalformedMessage("range", f"a lock's name has 1 to {NAME_BYTES_MAX} bytes")
                if not 0 <= lease <= LEASE_US_MAX:
                    raise MalformedMessage("range", f"a lease lasts at most {LEASE_US_MAX} microseconds")
                return cls(name, lease)
            case _:
                raise MalformedMessage("type", "a lock request is (name, lease)")


class _Claim(NamedTuple):
    """A node in the queue of a lock: how long it wants it, and the number of its last request."""

    lease: int
    n: int


@dataclass(slots=True)
class _Lock:
    """The queue of one lock, in order of request; its head holds it until *until*."""

    queue: dict[bytes, _Claim]
    until: int

    @property
    def holder(self) -> bytes:
        return next(iter(self.queue))


class LockTable:
    """Every lock of one market, as the log left it. Deterministic: the same requests give the same events."""

    def __init__(self) -> None:
        self._locks: dict[str, _Lock] = {}
        self._ends: list[tuple[int, str]] = []  # (until, name) of every lock, ascending

    def holder(self, name: str) -> bytes | None:
        """The node id that holds *name*, or None."""
        lock = self._locks.get(name)
        return None if lock is None else lock.holder

    def apply(self, request: LockRequest, *, node_id: bytes, n: int, timestamp: int) -> list[LockEvent]:
        """Every step that *request*, the command *n* of *node_id* at *timestamp* (microseconds), causes, in order."""
        events = self._expire(timestamp)
        if request.lease:
            events.append(self._acquire(request.name, node_id, _Claim(request.lease, n), timestamp))
        else:
            events += self._release(request.name, node_id, n, timestamp)
        return events

    def _expire(self, timestamp: int) -> list[LockEvent]:
        events: list[LockEvent] = []
        while self._ends and self._ends[0][0] <= timestamp:
            until, name = self._ends[0]
            lock = self._locks[name]
            holder = lock.holder
            events.append(LockEvent(name, holder, Outcome.EXPIRED, lock.queue[holder].n))
            events += self._pass_on(name, until)
        return events

    def _acquire(self, name: str, node_id: bytes, claim: _Claim, timestamp: int) -> LockEvent:
        lock = self._locks.get(name)
        if lock is None:
            if len(self._locks) >= LOCKS_MAX:
                return LockEvent(name, node_id, Outcome.REFUSED, claim.n)
            lock = self._locks[name] = _Lock({node_id: claim}, 0)
            return self._grant(name, lock, timestamp)
        if node_id not in lock.queue and len(lock.queue) > WAITERS_MAX:
            return LockEvent(name, node_id, Outcome.REFUSED, claim.n)
        lock.queue[node_id] = claim  # asking again keeps the place
        if lock.holder == node_id:
            self._forget_end(name, lock)
            return self._grant(name, lock, timestamp)
        return LockEvent(name, node_id, Outcome.WAITING, claim.n, lock.until)

    def _release(self, name: str, node_id: bytes, n: int, timestamp: int) -> list[LockEvent]:
        lock = self._locks.get(name)
        if lock is None or node_id not in lock.queue:
            return [LockEvent(name, node_id, Outcome.REFUSED, n)]
        released = [LockEvent(name, node_id, Outcome.RELEASED, n)]
        if lock.holder == node_id:
            return released + self._pass_on(name, timestamp)
        del lock.queue[node_id]
        return released

    def _pass_on(self, name: str, timestamp: int) -> list[LockEvent]:
        """Take *name* from its holder at *timestamp* and grant it to the next in the queue, if any."""
        lock = self._locks[name]
        self._forget_end(name, lock)
        del lock.queue[lock.holder]
        if not lock.queue:
            del self._locks[name]
            return []
        return [self._grant(name, lock, timestamp)]

    def _grant(self, name: str, lock: _Lock, timestamp: int) -> LockEvent:
        """The head of the queue holds the lock from *timestamp* on."""
        holder = lock.holder
        claim = lock.queue[holder]
        lock.until = timestamp + claim.lease
        bisect.insort(self._ends, (lock.until, name))
        return LockEvent(name, holder, Outcome.GRANTED, claim.n, lock.until)

    def _forget_end(self, name: str, lock: _Lock) -> None:
        del self._ends[bisect.bisect_left(self._ends, (lock.until, name))]

    def snapshot(self) -> bytes:
        """The whole state; equal tables give equal bytes."""
        rows = [
            [name, lock.until, [[node_id, *claim] for node_id, claim in lock.queue.items()]]
            for name, lock in sorted(self._locks.items())
        ]
        packed: bytes = msgpack.packb(rows)
        return packed

    def restore(self, snapshot: bytes) -> None:
        """Become the table *snapshot* was taken from.

        Raises:
            MalformedMessage: not a snapshot of this class.
        """
        try:
            rows = msgpack.unpackb(snapshot, raw=False, strict_map_key=False)
            locks = {
                str(name): _Lock(
                    {bytes(node_id): _Claim(int(lease), int(n)) for node_id, lease, n in queue}, int(until)
                )
                for name, until, queue in rows
            }
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise MalformedMessage("snapshot", "not a lock table") from error
        if not all(lock.queue for lock in locks.values()):
            raise MalformedMessage("snapshot", "a lock that nobody holds")
        self._locks = locks
        self._ends = sorted((lock.until, name) for name, lock in locks.items())
