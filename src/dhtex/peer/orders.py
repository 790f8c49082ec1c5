"""Handles for what was submitted: two awaitables each, *accepted* and *final*."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import cast

from dhtex.errors import DhtexError, FellBehind, NotRunning
from dhtex.exchange import Applied
from dhtex.matching import Command, MarketSpec, OrderId
from dhtex.peer.reports import Outcomes, Result, Results


class Orders:
    """Commands submitted together: a run of consecutive ids that is accepted, and becomes final, as one.

    Attributes:
        first_n: number of the first command.
        commands: as they were submitted.
    """

    __slots__ = ("_error", "_ledger", "_outcomes", "_waiters", "commands", "first_n")

    def __init__(self, first_n: int, commands: Sequence[Command], ledger: Ledger) -> None:
        self.first_n = first_n
        self.commands = commands
        self._ledger = ledger
        self._outcomes: Outcomes | None = None
        self._error: DhtexError | None = None
        # Most handles of a busy submitter are never awaited, because the last of many is; so a future is made only
        # for one that is.
        self._waiters: list[asyncio.Future[None]] | None = None

    def __len__(self) -> int:
        return len(self.commands)

    @property
    def first(self) -> OrderId:
        """Id of the first command; the others count on from it."""
        return OrderId(self._ledger.node_id, self.first_n)

    @property
    def ids(self) -> list[OrderId]:
        """The ids, in order."""
        return [OrderId(self._ledger.node_id, n) for n in range(self.first_n, self.last_n + 1)]

    @property
    def last_n(self) -> int:
        """Number of the last command."""
        return self.first_n + len(self.commands) - 1

    @property
    def is_accepted(self) -> bool:
        """Durable at this peer: takes effect exactly once, whatever crashes."""
        return self._ledger.accepted_n >= self.last_n

    @property
    def is_final(self) -> bool:
        """In the one order for good."""
        return self._outcomes is not None or isinstance(self._error, FellBehind)

    async def accepted(self) -> None:
        """Wait until the commands are durable here; they are pending from then on.

        Raises:
            NotRunning: the peer was closed first; they may or may not take effect.
        """
        if not self.is_accepted and self._error is None:
            await self._ledger.acceptance(self.last_n)
        if not self.is_accepted and self._error is not None:
            raise self._error

    async def final(self) -> Results:
        """Wait until the commands are final at this peer; what became of each is the same for every peer.

        Raises:
            NotRunning: the peer was closed first. What was accepted takes effect all the same when it is back.
            FellBehind: they became final while this peer was cut off, so long ago that the group keeps only the
                result (the book), not the events.
        """
        if self._outcomes is None and self._error is None:
            await self._settled()
        if self._outcomes is None:
            raise cast(DhtexError, self._error)
        return Results(self._outcomes, self.first_n, self.commands)

    async def _settled(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        waiters = self._waiters = self._waiters or []
        waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter.cancelled():
                waiters.remove(waiter)

    def settle(self, outcomes: Outcomes | None, error: DhtexError | None) -> None:
        """Called by the ledger, once."""
        self._outcomes = outcomes
        self._error = error
        if self._waiters is not None:
            _wake(self._waiters)
            self._waiters = None


class Order:
    """One command on its way: a run of one.

    Attributes:
        command: what was asked for.
    """

    __slots__ = ("_run", "command")

    def __init__(self, run: Orders) -> None:
        self._run = run
        self.command = run.commands[0]

    @property
    def id(self) -> OrderId:
        """`(node id, n)`, shown as `c0ffee12:42`."""
        return self._run.first

    def __repr__(self) -> str:
        state = "final" if self.is_final else "pending" if self.is_accepted else "new"
        return f"<Order {self.id} {state}>"

    @property
    def is_accepted(self) -> bool:
        """Durable at this peer: takes effect exactly once, whatever crashes."""
        return self._run.is_accepted

    @property
    def is_final(self) -> bool:
        """In the one order for good."""
        return self._run.is_final

    async def accepted(self) -> None:
        """Wait until the command is durable here; it is pending from then on. Raises as `Orders.accepted`."""
        await self._run.accepted()

    async def final(self) -> Result:
        """Wait until the command is final at this peer. Raises as `Orders.final`."""
        return (await self._run.final())[0]


class Ledger:
    """What one peer submitted and is not final yet.

    The replica numbers commands one after the other and keeps their order, so runs are accepted and become final
    from the front.

    Attributes:
        node_id: this peer's.
        accepted_n: every own command up to this number is durable here.
    """

    def __init__(self, spec: MarketSpec, node_id: bytes) -> None:
        self.accepted_n = 0
        self._spec = spec
        self.node_id = node_id
        self._runs: deque[Orders] = deque()
        self._count = 0  # commands in them: a script asks before every line
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []  # for the acceptance of everything up to n

    def __len__(self) -> int:
        return self._count

    def pending(self) -> list[tuple[OrderId, Command]]:
        """Every command not final yet, oldest first."""
        return [pair for run in self._runs for pair in zip(run.ids, run.commands, strict=True)]

    def add(self, first_n: int, commands: Sequence[Command]) -> Orders:
        """A handle for commands that the replica numbered from *first_n* on."""
        run = Orders(first_n, commands, self)
        self._runs.append(run)
        self._count += len(commands)
        return run

    async def acceptance(self, n: int) -> None:
        """Wait until everything up to *n* is durable, or nobody will tell any more."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append((n, waiter))
        try:
            await waiter
        finally:
            if waiter.cancelled():
                self._waiters.remove((n, waiter))

    def accept(self, last_n: int) -> None:
        """Everything up to *last_n* is durable."""
        self.accepted_n = max(self.accepted_n, last_n)
        if self._waiters:
            _wake([waiter for n, waiter in self._waiters if n <= last_n])
            self._waiters = [(n, waiter) for n, waiter in self._waiters if n > last_n]

    def finalize(self, applied: Applied) -> None:
        """One entry is final; settles the runs in it, when it is this node's."""
        if applied.origin != self.node_id:
            return
        end = applied.first_n + applied.count
        self.accept(end - 1)
        outcomes = Outcomes(self._spec, applied)
        runs = self._runs
        while runs and runs[0].first_n < end:
            self._take().settle(outcomes, None)

    def skip(self, last_n: int) -> None:
        """Everything up to *last_n* became final in a part of history that this peer jumped over."""
        self.accept(last_n)
        error = FellBehind("the command is final, but its events were dropped while this peer was cut off")
        while self._runs and self._runs[0].first_n <= last_n:
            self._take().settle(None, error)

    def abandon(self) -> None:
        """The peer closes: nobody will tell how the rest ends."""
        error = NotRunning("the peer was closed before the command was final")
        while self._runs:
            self._take().settle(None, error)
        _wake([waiter for _, waiter in self._waiters])
        self._waiters.clear()

    def _take(self) -> Orders:
        run = self._runs.popleft()
        self._count -= len(run.commands)
        return run


def _wake(waiters: Sequence[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():  # who waited may have been cancelled
            waiter.set_result(None)
