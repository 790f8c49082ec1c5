"""When an entry is final: nothing that sorts before it can appear any more, and every member vouches for it.

`ViewLog` is what one member knows of one view: every origin's log, and what every member reported. `advance`
walks the entries in ascending (timestamp, node id) and stops at the first that is not stable or not held
(`design: Normal operation, 5`). Members are numbered by their place in the view, which is ascending by node
id, so a strict comparison of timestamps in that order is the comparison of (timestamp, node id).

A member vouches for an entry when it holds it durably and says so with the chain of the log up to there: a number
alone could stand for another entry, if the origin signed two of one seq and gave each to a part of the members.
A report whose chain is another than ours counts for nothing: it is *disputed*. The entries that the reporter serves
are compared with ours until the first difference is found: the *fork*, which is proof against the origin, because
it signed both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from dhtex.replication.log import OriginLog
from dhtex.replication.values import NO_CHAIN, Entry, View, chain_of

CLAIMS_MAX: Final = 64
"""Reports per member and origin that wait for our log to come as far; the newest takes the place of the last."""


class MemberReport:
    """What one member said about itself in one view.

    Attributes:
        have: per origin, how many entries it holds durably, the same as we do.
        claims: origin -> (seq, chain) that it reported and that our log has not reached, ascending.
        promised: T, counted only once everything it issued up to then is held here.
        waiting_promise, waiting_seq: a later T, and the seq of its own log that has to arrive first.
        heard_at: monotonic time of the last usable word.
        flags: of its last status.
    """

    __slots__ = ("claims", "flags", "have", "heard_at", "promised", "waiting_promise", "waiting_seq")

    def __init__(self, have: Sequence[int], floor: int, heard_at: int) -> None:
        self.have = list(have)
        self.claims: dict[int, deque[tuple[int, bytes]]] = {}
        self.promised = floor
        self.waiting_promise = 0
        self.waiting_seq = 0
        self.heard_at = heard_at
        self.flags = 0

    def claimed(self, origin: int) -> int:
        """How many entries of *origin* it says it holds, whichever they are."""
        claims = self.claims.get(origin)
        return claims[-1][0] if claims else self.have[origin]


class ViewLog:
    """One member's knowledge of one view.

    Args:
        view: the view.
        me: this member's place in it.
        now: monotonic microseconds; everyone counts as heard now.
        bases: per member, how many entries are final and no longer kept.
        timestamp: lower bound of the timestamps that come after the bases.
        chains: the chains up to the bases, one after the other.

    Attributes:
        disputes: (member, origin) -> seq up to which the member says it holds other entries than we do. The first
            difference is somewhere behind what the two have in common.
        shown: (member, origin) -> up to where the member served the same entries as ours. It counts for no entry: who
            passes a proof on shows what it does not hold, and what is served need not be durable.
        forks: (member, origin) of which the first difference is known: right behind what the two have in common.
        target: the view whose cut is being collected, or None.
    """

    __slots__ = ("disputes", "forks", "logs", "majority", "me", "reports", "shown", "target", "view")

    def __init__(
        self,
        view: View,
        me: int,
        now: int,
        bases: Sequence[int] = (),
        timestamp: int = 0,
        chains: bytes = b"",
    ) -> None:
        size = len(view.members)
        bases = bases or [0] * size
        self.view = view
        self.me = me
        self.majority = view.majority
        self.logs = [
            OriginLog(base, max(view.floor, timestamp), chain_of(chains, place) if base else NO_CHAIN)
            for place, base in enumerate(bases)
        ]
        # What is final, and what is no longer kept is, every member holds.
        self.reports = [MemberReport(bases, view.floor, now) for _ in range(size)]
        self.disputes: dict[tuple[int, int], int] = {}
        self.shown: dict[tuple[int, int], int] = {}
        self.forks: set[tuple[int, int]] = set()
        self.target: View | None = None

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
        for member, waiting in enumerate(self.reports):
            if waiting.claims:
                self._compare_claims(member, origin)

    def replace(self, origin: int, entry: Entry) -> None:
        """*entry* instead of the one of its seq that is here, and nothing of what came after that."""
        self.logs[origin].give_up(entry.seq - 1)
        for member, report in enumerate(self.reports):
            report.have[origin] = min(report.have[origin], entry.seq - 1)
            report.claims.pop(origin, None)
            self.disputes.pop((member, origin), None)
            self.shown.pop((member, origin), None)
            self.forks.discard((member, origin))
        self.append(origin, entry)

    def durable(self, appended: Sequence[int], replaced: Sequence[int]) -> bool:
        """Everything appended up to *appended* is durable here, unless it was replaced since (*replaced*: the
        logs' counts then). True when that is news of another's entries.
        """
        have = self.reports[self.me].have
        news = False
        for origin, (log, seq, count) in enumerate(zip(self.logs, appended, replaced, strict=True)):
            if seq > have[origin] and count == log.replaced:
                have[origin] = log.durable = seq
                news = news or origin != self.me
        return news

    def have(self, member: int, have: Sequence[int], chains: bytes) -> bool:
        """What *member* holds durably. True when entries are missing here, or have to be compared."""
        known = self.reports[member].have
        missing = False
        for origin, seq in enumerate(have):
            if seq > known[origin]:
                missing = self._claim(member, origin, seq, chain_of(chains, origin)) or missing
        return missing

    def _claim(self, member: int, origin: int, seq: int, chain: bytes) -> bool:
        log, report = self.logs[origin], self.reports[member]
        if seq > log.appended:
            log.wanted = max(log.wanted, seq)
            claims = report.claims.setdefault(origin, deque())
            while claims and (claims[-1][0] >= seq or len(claims) >= CLAIMS_MAX):
                claims.pop()  # the last word counts: one false number must not stand in the way of all that follow
            claims.append((seq, chain))
            return True
        return self._compare(member, origin, seq, chain)

    def _compare_claims(self, member: int, origin: int) -> None:
        claims = self.reports[member].claims.get(origin)
        if claims is None:
            return
        while claims and claims[0][0] <= self.logs[origin].appended:
            self._compare(member, origin, *claims.popleft())
        if not claims:
            del self.reports[member].claims[origin]

    def _compare(self, member: int, origin: int, seq: int, chain: bytes) -> bool:
        """Count a report as far as our own log has come; True when it is about other entries than ours."""
        have, pair = self.reports[member].have, (member, origin)
        if seq <= have[origin] or pair in self.forks or pair in self.disputes:
            return False
        if self.logs[origin].chain_at(seq) == chain:
            have[origin] = seq
            return False
        if origin != self.me and seq > self.common(member, origin):  # nobody can show me two entries of mine
            self.disputes[pair] = seq
        return True

    def common(self, member: int, origin: int) -> int:
        """Up to where *member* is known to hold the same entries of *origin* as we do, durably or not."""
        return max(self.reports[member].have[origin], self.shown.get((member, origin), 0))

    def served(self, member: int, origin: int, entry: Entry) -> bool:
        """*member*, whose report is disputed, served *entry*. True when that is the first difference, if signed."""
        pair = (member, origin)
        seq = self.disputes.get(pair, 0)
        held = self.logs[origin].at(entry.seq)
        if held is None or entry.seq > seq or entry.seq != self.common(member, origin) + 1:
            return False
        if held.body != entry.body:
            return True
        self.shown[pair] = entry.seq
        if entry.seq == seq:
            del self.disputes[pair]  # there is no difference: the chain it said was wrong
        return False

    def fork(self, member: int, origin: int) -> None:
        """The dispute is settled: *member* holds another entry than we do, right behind what both hold."""
        self.disputes.pop((member, origin), None)
        self.forks.add((member, origin))

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
        """True when every member vouches for the entry.

        All of them have to promise its timestamp anyway; and then two members can never have two histories, however
        an origin that lies divides its entries among them (docs: explanation/replication, A member that lies).
        """
        for report in self.reports:  # noqa: SIM110  # asked for every entry, and a generator costs twice as much
            if report.have[origin] < seq:
                return False
        return True

    def held(self, origin: int) -> int:
        """Up to where a majority vouches for *origin*'s entries."""
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
            if not self.is_held(place, log.final + 1):
                return found
            if stable < 0:
                stable = self.stable(own_promise())
            if log.next_unfinal().timestamp > stable:
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

    def holds(self, closing: View) -> bool:
        """True when every entry up to the cut of *closing* is here, and is the one that it names."""
        return not any(self._lacks(closing, place) for place in range(len(self.logs)))

    def _lacks(self, closing: View, place: int) -> bool:
        return self.logs[place].chain_at(closing.cut[place]) != chain_of(closing.chains, place)

    def contradicts(self, closing: View) -> bool:
        """True when the cut of *closing* leaves out something that is final here."""
        return any(log.final > seq for log, seq in zip(self.logs, closing.cut, strict=True))

    @property
    def timestamp(self) -> int:
        """No entry held has a later one, but for what is final and no longer kept; at least the floor."""
        return max(log.timestamp for log in self.logs)

    def want(self, closing: View) -> None:
        """Nothing beyond the cut of *closing* is of interest, and everything up to it is."""
        self.target = closing
        for log, seq in zip(self.logs, closing.cut, strict=True):
            log.wanted = seq

    def gap(self, place: int, again: bool) -> tuple[int, int] | None:
        """Which entries of the origin at *place* to ask for, or None.

        With a target whose content our log does not have, *again* asks for everything that is not final, too.
        """
        log, target = self.logs[place], self.target
        gap = log.first_gap()
        if target is not None and self._lacks(target, place) and (again or gap is None):
            return (log.final + 1, target.cut[place]) if log.final < target.cut[place] else None
        return gap

    def may_replace(self, place: int, seq: int) -> bool:
        """True when the entry at *seq* may be another than the cut names; what is final never is."""
        target = self.target
        return (
            target is not None
            and self.logs[place].final < seq <= target.cut[place]
            and self._lacks(target, place)
        )

    def is_backed(self, member: int, have: Sequence[int], liars: set[int]) -> bool:
        """True when everything *member* says it holds is here, or the first difference to it is known.

        Of *liars* it need not be more than we hold ourselves.
        """
        for origin, seq in enumerate(have):
            needed = min(seq, self.logs[origin].appended) if origin in liars else seq
            if self.common(member, origin) < needed and (member, origin) not in self.forks:
                return False
        return True

    def doubt(self, origin: int) -> None:
        """*origin* lies: whoever says it holds more of it than we do has to show that it holds what we do, first."""
        appended = self.logs[origin].appended
        for member, report in enumerate(self.reports):
            pair = (member, origin)
            if self.common(member, origin) < appended < report.claimed(origin) and pair not in self.forks:
                self.disputes.setdefault(pair, appended)

    def chains(self, seqs: Sequence[int]) -> bytes:
        """The chains of all logs up to *seqs*, one after the other."""
        return b"".join([log.chain_at(seq) for log, seq in zip(self.logs, seqs, strict=True)])

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
