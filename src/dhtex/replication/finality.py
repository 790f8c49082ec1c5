"""When an entry is final: nothing that sorts before it can appear any more, and a majority holds it durably.

`ViewLog` is what one member knows of one view: every origin's log, and what every member reported. `advance`
walks the entries in ascending (timestamp, node id) and stops at the first that is not stable or not held
(`design: Normal operation, 5`). Members are numbered by their place in the view, which is ascending by node
id, so a strict comparison of timestamps in that order is the comparison of (timestamp, node id).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from dhtex.replication.log import OriginLog
from dhtex.replication.values import Entry, View


class MemberReport:
    """What one member said about itself in one view.

    Attributes:
        have: per origin, how many entries it holds durably.
        promised: T, counted only once everything it issued up to then is held here.
        waiting_promise, waiting_seq: a later T, and the seq of its own log that has to arrive first.
        heard_at: monotonic time of the last usable word.
        flags: of its last status.
    """

    __slots__ = ("flags", "have", "heard_at", "promised", "waiting_promise", "waiting_seq")

    def __init__(self, members: int, floor: int, heard_at: int) -> None:
        self.have = [0] * members
        self.promised = floor
        self.waiting_promise = 0
        self.waiting_seq = 0
        self.heard_at = heard_at
        self.flags = 0


class ViewLog:
    """One member's knowledge of one view.

    Args:
        view: the view.
        me: this member's place in it.
        now: monotonic microseconds; everyone counts as heard now.
        bases: per member, how many entries are final and no longer kept.
        timestamp: lower bound of the timestamps that come after the bases.
    """

    __slots__ = ("logs", "majority", "me", "reports", "view")

    def __init__(self, view: View, me: int, now: int, bases: Sequence[int] = (), timestamp: int = 0) -> None:
        size = len(view.members)
        self.view = view
        self.me = me
        self.majority = view.majority
        self.logs = [OriginLog(base, max(view.floor, timestamp)) for base in bases or [0] * size]
        self.reports = [MemberReport(size, view.floor, now) for _ in range(size)]
        self.reports[me].have = [log.durable for log in self.logs]

    # -- what is learnt --------------------------------------------------------------------------------------

    def append(self, origin: int, entry: Entry) -> None:
        """The next entry of *origin*. That it was sent says that its origin holds it and promises its
        timestamp.
        """
        log = self.logs[origin]
        log.append(entry)
        report = self.reports[origin]
        if origin != self.me:
            report.have[origin] = max(report.have[origin], entry.seq)
            report.promised = max(report.promised, entry.timestamp)
            if report.waiting_promise and entry.seq >= report.waiting_seq:
                report.promised = max(report.promised, report.waiting_promise)
                report.waiting_promise = 0

    def durable(self, appended: Sequence[int]) -> bool:
        """Everything appended up to *appended* is durable here. True when that is news of another's entries."""
        have = self.reports[self.me].have
        news = False
        for origin, seq in enumerate(appended):
            if seq > have[origin]:
                have[origin] = self.logs[origin].durable = seq
                news = news or origin != self.me
        return news

    def have(self, member: int, have: Sequence[int]) -> bool:
        """What *member* holds durably. True when entries are missing here."""
        known = self.reports[member].have
        missing = False
        for origin, seq in enumerate(have):
            if seq > known[origin]:
                known[origin] = seq
                log = self.logs[origin]
                if seq > log.appended:
                    missing = True
                    log.wanted = max(log.wanted, seq)
        return missing

    def promise(self, member: int, timestamp: int, seq: int) -> None:
        """*member* promised *timestamp*, having issued entries up to *seq*."""
        report = self.reports[member]
        if self.logs[member].appended >= seq:
            report.promised = max(report.promised, timestamp)
        elif timestamp > report.waiting_promise:
            report.waiting_promise, report.waiting_seq = timestamp, seq

    # -- what follows ----------------------------------------------------------------------------------------

    def stable(self, own_promise: int) -> int:
        """No entry with a timestamp up to here can appear any more."""
        me = self.me
        timestamp = own_promise
        for member, report in enumerate(self.reports):
            if report.promised < timestamp and member != me:
                timestamp = report.promised
        return timestamp

    def is_held(self, origin: int, seq: int) -> bool:
        """True when a majority holds the entry durably."""
        holders = 0
        for report in self.reports:
            if report.have[origin] >= seq:
                holders += 1
        return holders >= self.majority

    def held(self, origin: int) -> int:
        """The ⌊n/2⌋+1-th largest have of *origin*."""
        return sorted((report.have[origin] for report in self.reports), reverse=True)[self.majority - 1]

    def advance(self, own_promise: Callable[[], int]) -> list[Entry]:
        """Entries that are final now, in order; they are counted as final."""
        found: list[Entry] = []
        stable = -1
        while True:
            place = self._first_unfinal()
            if place < 0:
                return found
            log = self.logs[place]
            if stable < 0:
                stable = self.stable(own_promise())
            if log.next_unfinal().timestamp > stable or not self.is_held(place, log.final + 1):
                return found
            found.append(log.finalize_next())

    def _first_unfinal(self) -> int:
        place, first = -1, 0
        for origin, log in enumerate(self.logs):
            if log.final < log.appended:
                timestamp = log.entries[log.final - log.base].timestamp
                if place < 0 or timestamp < first:
                    place, first = origin, timestamp
        return place

    def holds(self, cut: Sequence[int]) -> bool:
        """True when every entry up to *cut* is here."""
        return all(log.appended >= seq for log, seq in zip(self.logs, cut, strict=True))

    def want(self, cut: Sequence[int]) -> None:
        """Nothing beyond *cut* is of interest, and everything up to it is."""
        for log, seq in zip(self.logs, cut, strict=True):
            log.wanted = seq

    def close(self, cut: Sequence[int]) -> tuple[list[Entry], list[Entry]]:
        """End the view at *cut*, which must be held: the entries final by it, in order, and own void ones."""
        void: list[Entry] = []
        for origin, (log, seq) in enumerate(zip(self.logs, cut, strict=True)):
            beyond = log.truncate(seq)
            if origin == self.me:
                void = beyond
        final: list[Entry] = []
        while (place := self._first_unfinal()) >= 0:
            final.append(self.logs[place].finalize_next())
        return final, void

    # -- upkeep ----------------------------------------------------------------------------------------------

    def unfinal(self) -> bool:
        """True when an entry held or known of is not final."""
        for log in self.logs:  # noqa: SIM110  # asked after every input, and a generator costs twice as much
            if log.final < log.wanted:
                return True
        return False

    def oldest_unfinal(self) -> Entry | None:
        """The next entry in the order."""
        place = self._first_unfinal()
        return None if place < 0 else self.logs[place].next_unfinal()

    def held_by_all(self, origin: int) -> int:
        """Up to which seq every member holds the entries of *origin*."""
        return min(report.have[origin] for report in self.reports)

    def trim(self) -> int:
        """Forget final entries that every member holds; gives the bytes of final entries still kept."""
        for origin, log in enumerate(self.logs):
            log.trim(self.held_by_all(origin))
        return sum(log.retained_bytes for log in self.logs)

    def unheld(self, members: Iterable[int]) -> list[int]:
        """Those of *members* that lack the most entries others hold."""
        lack = {}
        for member in members:
            have = self.reports[member].have
            lack[member] = sum(max(log.appended - seq, 0) for log, seq in zip(self.logs, have, strict=True))
        most = max(lack.values(), default=0)
        return [member for member, count in lack.items() if count == most and count > 0]
