"""What a replica hands out, and what has to wait until something is durable first.

Durable before sent, in one place: records gathered between two `take` calls become one `Persist`; whatever
was put behind them with `once_durable` is released when that ticket, or a later one, is reported durable.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from dhtex.replication.effects import Effect, Persist
from dhtex.replication.records import FinalMark, Record

Step = Callable[[], None]


class Ticket(NamedTuple):
    """What waits for one `Persist`."""

    number: int
    steps: tuple[Step, ...]


class Outbox:
    """Effects in order, records in order, and the steps that wait for them."""

    def __init__(self) -> None:
        self._effects: list[Effect] = []
        self._records: list[Record] = []
        self._steps: list[Step] = []
        self._mark: FinalMark | None = None
        self._tickets: deque[Ticket] = deque()
        self._last_ticket = 0
        self._urgent = False

    def emit(self, effect: Effect) -> None:
        """One more effect."""
        self._effects.append(effect)

    def record(self, record: Record) -> None:
        """One more record to make durable. A final mark that waits goes before it: order is part of the
        meaning.
        """
        if self._mark is not None:
            self._records.append(self._mark)
            self._mark = None
        self._records.append(record)
        self._urgent = True

    def mark(self, mark: FinalMark) -> None:
        """A final mark, which may wait for the next record: losing the newest ones loses no knowledge for
        long.
        """
        self._mark = mark

    def flush_mark(self) -> None:
        """Write the final mark that waits, without hurry."""
        if self._mark is not None:
            self._records.append(self._mark)
            self._mark = None

    def once_durable(self, step: Step) -> None:
        """Do *step* when everything recorded so far is durable; soon, when it is already."""
        self._steps.append(step)
        self._urgent = True

    def take(self) -> list[Effect]:
        """All effects so far; what is to be made durable comes first, since others wait for it."""
        effects = self._effects
        self._effects = []
        if self._records or self._steps:
            self._last_ticket += 1
            self._tickets.append(Ticket(self._last_ticket, tuple(self._steps)))
            effects.insert(0, Persist(self._last_ticket, tuple(self._records), self._urgent))
            self._records, self._steps, self._urgent = [], [], False
        return effects

    def durable(self, ticket: int) -> list[Step]:
        """The steps that waited for this ticket or an earlier one, in order."""
        steps: list[Step] = []
        while self._tickets and self._tickets[0].number <= ticket:
            steps += self._tickets.popleft().steps
        return steps

    @property
    def waiting(self) -> int:
        """Tickets not reported durable yet."""
        return len(self._tickets)
