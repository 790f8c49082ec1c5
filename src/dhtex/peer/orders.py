"""Handles for what was submitted: two awaitables each, *accepted* and *final*."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar, cast

from dhtex.errors import DhtexError, FellBehind, NotRunning
from dhtex.exchange import Applied
from dhtex.matching import Command, MarketSpec, OrderId
from dhtex.peer.reports import Outcomes, Result, Results

T = TypeVar("T")


class _Promise(Generic[T]):
    """A value that many may await and nobody has to: an error nobody asked for stays silent.

    It costs no future until somebody waits: most runs of a busy submitter are awaited once, for one of the two.
    """

    __slots__ = ("_error", "_value", "_waiters", "done")

    def __init__(self) -> None:
        self.done = False
        self._value: T | None = None
        self._error: DhtexError | None = None
        self._waiters: list[asyncio.Future[None]] = []

    def set(self, value: T) -> None:
        if not self.done:
            self._value = value
            self._settle()

    def fail(self, error: DhtexError) -> None:
        if not self.done:
            self._error = error
            self._settle()

    def _settle(self) -> None:
        self.done = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def wait(self) -> T:
        if not self.done:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if not self.done:  # cancelled
                    self._waiters.remove(waiter)
        if self._error is not None:
            raise self._error
        return cast(T, self._value)


class Orders:
    """Commands submitted together: a run of consecutive ids that is accepted, and becomes final, as one.

    Attributes:
        first: id of the first command; the others count on from it.
        commands: as they were submitted.
    """

    def __init__(self, first: OrderId, commands: Sequence[Command]) -> None:
        self.first = first
        self.commands = commands
        self._accepted: _Promise[None] = _Promise()
        self._final: _Promise[Outcomes] = _Promise()

    def __len__(self) -> int:
        return len(self.commands)

    @property
    def ids(self) -> list[OrderId]:
        """The ids, in order."""
        return [OrderId(self.first.node_id, self.first.n + offset) for offset in range(len(self.commands))]

    @property
    def is_accepted(self) -> bool:
        """Durable at this peer: takes effect exactly once, whatever crashes."""
        return self._accepted.done

    @property
    def is_final(self) -> bool:
        """In the one order for good."""
        return self._final.done

    async def accepted(self) -> None:
        """Wait until the commands are durable here; they are pending from then on.

        Raises:
            NotRunning: the peer was closed first; they may or may not take effect.
        """
        await self._accepted.wait()

    async def final(self) -> Results:
        """Wait until the commands are final at this peer; what became of each is the same for every peer.

        Raises:
            NotRunning: the peer was closed first. What was accepted takes effect all the same when it is back.
            FellBehind: they became final while this peer was cut off, so long ago that the group keeps only the
                result (the book), not the events.
        """
        return Results(await self._final.wait(), self.first.n, self.commands)

    def settle_accepted(self) -> None:
        """Called by the ledger."""
        self._accepted.set(None)

    def settle_final(self, outcomes: Outcomes) -> None:
        """Called by the ledger."""
        self._accepted.set(None)
        self._final.set(outcomes)

    def abandon(self, error: DhtexError) -> None:
        """Called by the ledger."""
        self._accepted.fail(error)
        self._final.fail(error)


class Order:
    """One command on its way: a run of one.

    Attributes:
        id: `(node id, n)`, shown as `c0ffee12:42`.
        command: what was asked for.
    """

    def __init__(self, run: Orders) -> None:
        self._run = run
        self.id = run.first
        self.command = run.commands[0]

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
    """

    def __init__(self, spec: MarketSpec, node_id: bytes) -> None:
        self._spec = spec
        self._node_id = node_id
        self._runs: deque[Orders] = deque()
        self._accepted = 0  # runs at the front that are durable

    def __len__(self) -> int:
        return sum(len(run) for run in self._runs)

    def pending(self) -> list[tuple[OrderId, Command]]:
        """Every command not final yet, oldest first."""
        return [pair for run in self._runs for pair in zip(run.ids, run.commands, strict=True)]

    def add(self, first_n: int, commands: Sequence[Command]) -> Orders:
        """A handle for commands that the replica numbered from *first_n* on."""
        run = Orders(OrderId(self._node_id, first_n), commands)
        self._runs.append(run)
        return run

    def accept(self, last_n: int) -> None:
        """Everything up to *last_n* is durable."""
        while self._accepted < len(self._runs):
            run = self._runs[self._accepted]
            if run.first.n + len(run) - 1 > last_n:
                return
            run.settle_accepted()
            self._accepted += 1

    def finalize(self, applied: Applied) -> None:
        """One entry is final; settles the runs in it, when it is this node's."""
        if applied.origin != self._node_id:
            return
        end = applied.first_n + applied.count
        outcomes = Outcomes(self._spec, applied)
        while self._runs and self._runs[0].first.n < end:
            self._pop().settle_final(outcomes)

    def skip(self, last_n: int) -> None:
        """Everything up to *last_n* became final in a part of history that this peer jumped over."""
        error = FellBehind("the command is final, but its events were dropped while this peer was cut off")
        while self._runs and self._runs[0].first.n <= last_n:
            self._pop().abandon(error)

    def abandon(self) -> None:
        """The peer closes: nobody will tell how the rest ends."""
        error = NotRunning("the peer was closed before the command was final")
        while self._runs:
            self._pop().abandon(error)

    def _pop(self) -> Orders:
        self._accepted = max(0, self._accepted - 1)
        return self._runs.popleft()
