"""Mutual exclusion between peers: `async with peer.lock("settlement")`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from dhtex.errors import Busy, NotRunning, UsageError
from dhtex.locks import LEASE_US_MAX, NAME_BYTES_MAX, LockEvent, LockRequest, Outcome


@dataclass(frozen=True, slots=True)
class Held:
    """A lock that this node holds.

    Attributes:
        name: the lock.
        until: end of the lease by the time of the log, microseconds since the epoch. Work that may take longer
            asks for a longer lease; after this moment another node may hold the lock.
    """

    name: str
    until: int


class Locks:
    """The locks one peer asks for. The log knows nodes, not tasks; tasks of one node take turns here first."""

    def __init__(self, submit: Callable[[LockRequest], None]) -> None:
        self._submit = submit
        self._turns: dict[str, asyncio.Lock] = {}
        self._waiting: dict[str, asyncio.Future[LockEvent]] = {}

    @contextlib.asynccontextmanager
    async def hold(self, name: str, lease_s: float) -> AsyncIterator[Held]:
        """Wait for the lock, hold it for the block.

        Raises:
            UsageError: the name or the lease is out of range.
            Busy: the table of locks, or the queue of this one, is full.
            NotRunning: the peer was closed.
        """
        lease = round(lease_s * 1_000_000)
        if not 0 < len(name.encode()) <= NAME_BYTES_MAX:
            raise UsageError(f"a lock's name has 1 to {NAME_BYTES_MAX} bytes, this has {len(name.encode())}")
        if not 0 < lease <= LEASE_US_MAX:
            raise UsageError(f"a lease lasts more than 0 and at most {LEASE_US_MAX // 1_000_000} seconds")
        turn = self._turns.setdefault(name, asyncio.Lock())
        async with turn:
            try:
                event = await self._ask(LockRequest(name, lease))
                yield Held(name, event.until)
            finally:
                with contextlib.suppress(NotRunning, Busy):  # then the lease ends by itself
                    self._submit(LockRequest(name, 0))

    async def _ask(self, request: LockRequest) -> LockEvent:
        waiting: asyncio.Future[LockEvent] = asyncio.get_running_loop().create_future()
        self._waiting[request.name] = waiting
        try:
            self._submit(request)
            event = await waiting
        finally:
            del self._waiting[request.name]
        if event.outcome is Outcome.REFUSED:
            raise Busy(f"lock {request.name!r} has too many waiters, or there are too many locks; try later")
        return event

    def on_event(self, event: LockEvent) -> None:
        """A final event of this node's own requests."""
        waiting = self._waiting.get(event.name)
        if waiting is not None and not waiting.done() and event.outcome in (Outcome.GRANTED, Outcome.REFUSED):
            waiting.set_result(event)

    def close(self) -> None:
        """Nobody will be granted anything any more."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(NotRunning("the peer was closed while it waited for a lock"))
