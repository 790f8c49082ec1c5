"""The lock service: a small state machine on the same log as the exchange.

Lamport's mutual exclusion without its messages: requests queue in the total order (timestamp, node id),
which every peer sees alike, so the head of the queue holds the lock and no round of replies is needed. A
lock is held for a lease: before a command with timestamp t, every lease that ended at or before t expires,
so a crashed holder blocks nobody for longer than it asked for, and no timer decides anything.

Source: Lamport, *Time, Clocks, and the Ordering of Events in a Distributed System*, 1978, pages 560-561.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

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
        until: end of the lease, microseconds since the epoch, when *outcome* is `GRANTED`; else 0.
    """

    name: str
    node_id: bytes
    outcome: Outcome
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


@dataclass(slots=True)
class _Lock:
    """The queue of one lock; its head holds it until *until*."""

    queue: dict[bytes, int]  # node id -> lease, in order of request
    until: int


class LockTable:
    """Every lock of one market, as the log left it. Deterministic: the same requests give the same events."""

    def __init__(self) -> None:
        self._locks: dict[str, _Lock] = {}

    def holder(self, name: str) -> bytes | None:
        """The node id that holds *name*, or None."""
        lock = self._locks.get(name)
        return next(iter(lock.queue)) if lock else None

    def apply(self, request: LockRequest, *, node_id: bytes, timestamp: int) -> list[LockEvent]:
        """Every step that *request* of *node_id* at *timestamp* (microseconds) causes, in order."""
        events = self._expire(timestamp)
        if request.lease:
            events += self._acquire(request, node_id, timestamp)
        else:
            events += self._release(request.name, node_id, timestamp)
        return events

    def _expire(self, timestamp: int) -> list[LockEvent]:
        events: list[LockEvent] = []
        ended = sorted((lock.until, name) for name, lock in self._locks.items() if lock.until <= timestamp)
        for _, name in ended:
            lock = self._locks[name]
            # Several leases may have run out one after the other since the last command.
            while lock.queue and lock.until <= timestamp:
                holder = next(iter(lock.queue))
                events.append(LockEvent(name, holder, Outcome.EXPIRED))
                events += self._pass_on(name, holder, lock.until)
        return events

    def _acquire(self, request: LockRequest, node_id: bytes, timestamp: int) -> list[LockEvent]:
        lock = self._locks.get(request.name)
        if lock is None:
            if len(self._locks) >= LOCKS_MAX:
                return [LockEvent(request.name, node_id, Outcome.REFUSED)]
            until = timestamp + request.lease
            self._locks[request.name] = _Lock({node_id: request.lease}, until)
            return [LockEvent(request.name, node_id, Outcome.GRANTED, until)]
        if next(iter(lock.queue)) == node_id:
            lock.until = timestamp + request.lease
            lock.queue[node_id] = request.lease
            return [LockEvent(request.name, node_id, Outcome.GRANTED, lock.until)]
        if node_id not in lock.queue and len(lock.queue) > WAITERS_MAX:
            return [LockEvent(request.name, node_id, Outcome.REFUSED)]
        lock.queue[node_id] = request.lease  # asking again keeps the place
        return [LockEvent(request.name, node_id, Outcome.WAITING)]

    def _release(self, name: str, node_id: bytes, timestamp: int) -> list[LockEvent]:
        lock = self._locks.get(name)
        if lock is None or node_id not in lock.queue:
            return [LockEvent(name, node_id, Outcome.REFUSED)]
        released = [LockEvent(name, node_id, Outcome.RELEASED)]
        if next(iter(lock.queue)) == node_id:
            return released + self._pass_on(name, node_id, timestamp)
        del lock.queue[node_id]
        return released

    def _pass_on(self, name: str, holder: bytes, timestamp: int) -> list[LockEvent]:
        """Take *name* from *holder* at *timestamp* and grant it to the next in the queue, if any."""
        lock = self._locks[name]
        del lock.queue[holder]
        if not lock.queue:
            del self._locks[name]
            return []
        node_id, lease = next(iter(lock.queue.items()))
        lock.until = timestamp + lease
        return [LockEvent(name, node_id, Outcome.GRANTED, lock.until)]

    def snapshot(self) -> bytes:
        """The whole state; equal tables give equal bytes."""
        rows = [[name, lock.until, list(lock.queue.items())] for name, lock in sorted(self._locks.items())]
        packed: bytes = msgpack.packb(rows)
        return packed

    def restore(self, snapshot: bytes) -> None:
        """Become the table *snapshot* was taken from.

        Raises:
            MalformedMessage: not a snapshot of this class.
        """
        try:
            rows = msgpack.unpackb(snapshot, raw=False, strict_map_key=False)
            self._locks = {
                str(name): _Lock({bytes(node): int(lease) for node, lease in queue}, int(until))
                for name, until, queue in rows
            }
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise MalformedMessage("snapshot", "not a lock table") from error
