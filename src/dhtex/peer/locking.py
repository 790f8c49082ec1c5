"""Mutual exclusion between peers: `async with peer.lock("settlement") as held`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from enum import Enum, auto
from typing import Final

from dhtex.errors import Busy, DhtexError, LockLost, UsageError
from dhtex.locks import LEASE_US_MAX, NAME_BYTES_MAX, LockEvent, LockRequest, Outcome

SECOND_US: Final = 1_000_000


class _Stage(Enum):
    """What the log last said of the request for a lock."""

    ASKED = auto()
    """Nothing yet."""
    WAITING = auto()
    GRANTED = auto()
    REFUSED = auto()
    EXPIRED = auto()


class Held:
    """A lock that this node holds, for a lease.

    Attributes:
        name: the lock.
        token: position of the command that granted it: larger for every later holder. What the lock protects, such as a
            database, can refuse a smaller token than it has seen, and is safe from a holder that slept through
            the end of its lease.
        until: end of the lease by the time of the log, microseconds since the epoch. From this moment on another
            node may hold the lock.
        is_lost: the lease ended, by what this node has heard of the log.
    """

    def __init__(
        self, name: str, lease: int, submit: Callable[[LockRequest], int], now: Callable[[], int]
    ) -> None:
        """Made by `Locks`.

        Args:
            lease: microseconds.
            submit: gives the number of the request among the node's commands.
            now: the wall clock, microseconds since the epoch.
        """
        self.name = name
        self.token = self.until = 0
        self.is_lost = False
        self._lease = lease
        self._submit = submit
        self._now = now
        self._first_n = 0  # of the first request; 0 before it
        self._granted_n = 0  # of the last request that was granted
        self._holder_until = 0
        self._stage = _Stage.ASKED
        self._entered = False
        self._failure: DhtexError | None = None
        self._moved = asyncio.Event()

    async def renew(self, lease_s: float | None = None) -> None:
        """Hold it for another lease from now on; by default one as long as the last.

        Args:
            lease_s: seconds, more than 0 and at most an hour.
        Raises:
            LockLost: the lease ended before; others may have held the lock since.
            UsageError: the lease is out of range.
            Busy, JournalFull: the request was not accepted; the lease runs on as it was.
            NotRunning, StorageError: the peer was closed, or its journal failed, before the answer came.
        """
        if lease_s is not None:
            self._lease = check_lease(lease_s)
        if not self.is_lost:
            asked = self._ask()
            while self._granted_n < asked and not self.is_lost:
                await self._news()
        if self.is_lost:
            self.give_back()  # a request that came too late stands in the queue, and would block the others again
            raise LockLost(f"the lease of lock {self.name!r} ended; others may have held it since")

    async def acquire(self) -> None:
        """Called by `Locks`: wait until the log grants it.

        A lease that is over ends before the next request in the log, and nobody else may have one to make. So whoever
        waits asks again when the holder's lease should be over.
        """
        self._ask()
        while self._stage is not _Stage.GRANTED:
            if self._stage is _Stage.REFUSED:
                raise Busy(f"lock {self.name!r} has too many waiters, or there are too many locks; try later")
            if self._stage is _Stage.EXPIRED:  # granted and over before this node heard of either
                self._ask()
            patience_s = None
            if self._stage is _Stage.WAITING:
                patience_s = max(0, self._holder_until - self._now()) / SECOND_US
            try:
                async with asyncio.timeout(patience_s):
                    await self._news()
            except TimeoutError:
                self._ask()
        self._entered = True

    def give_back(self) -> None:
        """Called by `Locks`: leave the lock, or its queue. Where that cannot be said, the lease ends by itself."""
        if self._first_n and self._stage is not _Stage.REFUSED:
            with contextlib.suppress(DhtexError):
                self._submit(LockRequest(self.name, 0))

    def on_event(self, event: LockEvent, position: int) -> None:
        """Called by `Locks`: a step of this lock that is about this node, caused by the command at *position*."""
        if not 0 < self._first_n <= event.n:
            return  # about what this node asked for, and gave back, before
        match event.outcome:
            case Outcome.GRANTED:
                self._stage = _Stage.GRANTED
                self.until, self._granted_n = event.until, event.n
                if not self._entered:
                    self.token = position
            case Outcome.WAITING:
                self._stage = _Stage.WAITING
                self._holder_until = event.until
            case Outcome.REFUSED:
                self._stage = _Stage.REFUSED
            case Outcome.EXPIRED:
                self._stage = _Stage.EXPIRED
                self.is_lost = self._entered
        self._moved.set()

    def fail(self, error: DhtexError) -> None:
        """Called by `Locks`: the log will say nothing more."""
        self._failure = error
        self._moved.set()

    def _ask(self) -> int:
        n = self._submit(LockRequest(self.name, self._lease))
        self._first_n = self._first_n or n
        self._stage = _Stage.ASKED
        return n

    async def _news(self) -> None:
        await self._moved.wait()
        if self._failure is not None:
            raise self._failure
        self._moved.clear()


class Locks:
    """The locks one peer asks for. The log knows nodes, not tasks; tasks of one node take turns here first."""

    def __init__(self, submit: Callable[[LockRequest], int], now: Callable[[], int]) -> None:
        """See `Held` for the arguments."""
        self._submit = submit
        self._now = now
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}  # and how many tasks want it
        self._held: dict[str, Held] = {}

    @contextlib.asynccontextmanager
    async def hold(self, name: str, lease_s: float) -> AsyncIterator[Held]:
        """Wait for the lock, hold it for the block. See `Peer.lock`."""
        lease = check_lease(lease_s)
        size = len(name.encode("utf-8", "surrogatepass"))
        if not 0 < size <= NAME_BYTES_MAX:
            raise UsageError(f"a lock's name has 1 to {NAME_BYTES_MAX} bytes, this has {size}")
        async with self._turn(name):
            held = self._held[name] = Held(name, lease, self._submit, self._now)
            try:
                await held.acquire()
                yield held
            finally:
                del self._held[name]
                held.give_back()

    @contextlib.asynccontextmanager
    async def _turn(self, name: str) -> AsyncIterator[None]:
        lock, users = self._turns.get(name, (asyncio.Lock(), 0))
        self._turns[name] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._turns.pop(name)
            if users > 1:
                self._turns[name] = (lock, users - 1)

    def on_event(self, event: LockEvent, position: int) -> None:
        """A final step that is about this node, caused by the command at *position*."""
        held = self._held.get(event.name)
        if held is not None:
            held.on_event(event, position)

    def fail(self, error: DhtexError) -> None:
        """Nobody will be granted anything any more."""
        for held in self._held.values():
            held.fail(error)


def check_lease(lease_s: float) -> int:
    """Seconds as microseconds.

    Raises:
        UsageError: out of range.
    """
    lease = round(lease_s * SECOND_US)
    if not 0 < lease <= LEASE_US_MAX:
        raise UsageError(f"a lease lasts more than 0 and at most {LEASE_US_MAX // SECOND_US} seconds")
    return lease
