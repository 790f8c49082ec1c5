"""Getting the entries of a view that others hold and this member lacks; and giving them to others.

A gap is first taken for reordering; then it is asked for, again and again and from one holder after the
other, until it is closed (`design: Normal operation, 4`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dhtex.replication.core import NEVER, Core, Phase
from dhtex.replication.effects import Destination
from dhtex.replication.finality import ViewLog
from dhtex.replication.messages import Entries, Fetch, Range
from dhtex.replication.values import Entry, View

AGAIN_EVERY: Final = 4
"""While a view is closed, every so many times what is held and not final is asked for, too: it may be the wrong half
of what its origin signed twice."""


class Fetching:
    """Asks for what is missing.

    Attributes:
        deadline: when to ask, monotonic; `NEVER` without a gap.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._turn = 0
        self._hint: int | None = None
        self._served: dict[bytes, tuple[int, int]] = {}
        self.deadline = NEVER

    def reset(self) -> None:
        """A view begins: nothing is missing."""
        self.deadline = NEVER
        self._hint = None

    def notice_gap(self) -> None:
        """Something is missing; it may still be on its way."""
        if self.deadline == NEVER:
            self.deadline = self._core.now.monotonic + self._core.config.fetch_delay

    def close_in(self, closing: View, hint: int | None = None) -> None:
        """Get everything up to the cut of *closing*, and nothing beyond. The member at place *hint* has it all."""
        view_log = self._core.view_log
        if view_log is None:
            return
        view_log.want(closing)
        self._hint = hint
        self.deadline = self._core.now.monotonic

    def tick(self) -> None:
        """Ask, when it is time and there is a gap."""
        core = self._core
        if core.now.monotonic < self.deadline:
            return
        self.deadline = NEVER
        view_log = core.view_log
        if view_log is None or not core.is_member:
            return
        if core.full:
            self.deadline = core.now.monotonic + core.config.fetch_interval
            return
        asked: dict[int, list[Range]] = {}
        again = self._turn % AGAIN_EVERY == AGAIN_EVERY - 1
        for place in range(len(view_log.logs)):
            gap = view_log.gap(place, again)
            if gap is not None:
                holder = self._holder(view_log, place, gap[0])
                if holder is not None:
                    asked.setdefault(holder, []).append(Range(view_log.view.node_ids[place], *gap))
                self.deadline = core.now.monotonic + core.config.fetch_interval
        for (member, place), seq in view_log.disputes.items():
            first = view_log.common(member, place) + 1
            asked.setdefault(member, []).append(Range(view_log.view.node_ids[place], first, seq))
            self.deadline = core.now.monotonic + core.config.fetch_interval
        for holder, ranges in asked.items():
            to = core.destination(view_log.view.members[holder])
            core.send(to, Fetch(core.lineage, view_log.view.number, tuple(ranges)))
        self._turn += 1

    def _holder(self, view_log: ViewLog, origin: int, seq: int) -> int | None:
        """Whom to ask: those known to hold it take turns; while a view is being closed, everyone does."""
        me = view_log.me
        known = [m for m, report in enumerate(view_log.reports) if m != me and report.claimed(origin) >= seq]
        if self._core.phase is not Phase.ACTIVE:
            if self._hint is not None and self._hint != me and self._turn % 2 == 0:
                return self._hint
            known = [m for m in range(len(view_log.reports)) if m != me]
        return known[self._turn % len(known)] if known else None

    def serve(self, node_id: bytes, to: Destination, request: Fetch) -> None:
        """Answer another member, from the front of each range, within what one requester may cost."""
        core = self._core
        view_log = next(
            (
                log
                for log in (core.view_log, core.previous)
                if log is not None and log.view.number == request.view
            ),
            None,
        )
        if view_log is None or node_id not in view_log.view.index:
            return
        budget = self._budget(node_id)
        for origin, first, last in request.ranges:
            place = view_log.view.index.get(origin)
            if place is None or budget <= 0:
                continue
            log = view_log.logs[place]
            # An own entry that is not durable yet does not exist: after a crash its seq would be used again.
            found = log.slice(first, min(last, log.durable) if place == view_log.me else last, budget)
            budget -= sum(len(entry.raw) for entry in found)
            for message in in_messages(core, found):
                core.send(to, message)
        self._served[node_id] = (self._served[node_id][0], budget)

    def _budget(self, node_id: bytes) -> int:
        core = self._core
        since, left = self._served.get(node_id, (-NEVER, 0))
        # Half an interval: an honest requester's next question may come a little early.
        if core.now.monotonic - since >= core.config.fetch_interval // 2:
            if len(self._served) > core.config.observers_max:
                self._served.clear()
            since, left = core.now.monotonic, core.config.fetch_bytes_max
        self._served[node_id] = (since, left)
        return left


def in_messages(core: Core, entries: Sequence[Entry]) -> list[Entries]:
    """*entries* in messages of about `message_bytes_max`."""
    found: list[Entries] = []
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        if batch and size + len(entry.raw) > core.config.message_bytes_max:
            found.append(Entries(core.lineage, tuple(batch)))
            batch, size = [], 0
        batch.append(entry)
        size += len(entry.raw)
    if batch:
        found.append(Entries(core.lineage, tuple(batch)))
    return found
