"""The course of one look-up, without input or output: who to ask next, and when it is over.

Kademlia paper, section 2.3, with these rules where the package has none:

* `alpha` requests are under way at all times; one that is late (`stalled`) gives up its place, and
  who would take that is asked meanwhile: dead contacts are waited for together, not one after the other (19).
  Never more than `inflight_max` at once.
* It ends when the k closest that can still answer have answered.
* Work is bounded whatever the answers say: each address is asked once, candidates and requests have a limit.
  The package follows a chain of made-up nodes until the stack overflows (20).
* Candidates nobody but one node names and that do not answer never displace those that did.
* One source (an IPv4 address, an IPv6 network; on this machine each socket) has at most a quarter of the k places, and
  three times as many of its addresses are asked: a host that makes ids up next to a key does not have the key to
  itself, and nobody is sent a flood of questions because an answer named it a hundred times.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice

from dhtex.dht.addresses import source_of
from dhtex.dht.contacts import Contact
from dhtex.dht.face import Address
from dhtex.dht.table import part_of

QUERIES_MAX = 256
"""Requests in one look-up; in a network of 10,000 a look-up takes about 40."""

CANDIDATES_FACTOR = 4
"""Candidates remembered, in multiples of k."""

SOURCE_FACTOR = 3
"""Candidates of one source remembered, and asked, in multiples of its part."""


class Status(Enum):
    """Where a candidate stands."""

    NEW = "not asked yet"
    ASKED = "asked, no answer so far"
    STALLED = "asked, late"
    ANSWERED = "answered"
    FAILED = "no answer, or a wrong one"


@dataclass(slots=True)
class Candidate:
    """A contact in a look-up; `hop` counts from 1 for the contacts it started with."""

    contact: Contact
    distance: int
    hop: int
    status: Status = field(default=Status.NEW)
    source: Hashable = field(init=False)

    def __post_init__(self) -> None:
        self.source = source_of(self.contact.address)


class Shortlist:
    """The candidates of one look-up, nearest first."""

    def __init__(
        self,
        target: bytes,
        start: Iterable[Contact],
        *,
        own_id: bytes,
        is_silent: Callable[[Address], bool],
        ksize: int,
        alpha: int,
        inflight_max: int,
    ) -> None:
        """A look-up for *target*.

        Args:
            start: the contacts to begin with.
            is_silent: tells of an address that it did not answer a moment ago; nobody is asked there.
            ksize, alpha, inflight_max: see the module.
        """
        self._target_long = int.from_bytes(target, "big")
        self._ksize = ksize
        self._part = part_of(ksize)
        self._alpha = alpha
        self._inflight_max = inflight_max
        self._own_id = own_id
        self._candidates: list[Candidate] = []
        self._by_id: dict[bytes, Candidate] = {}
        self._is_silent = is_silent
        self._asked: set[Address] = set()
        self._asked_of: Counter[Hashable] = Counter()
        self._met_of: Counter[Hashable] = Counter()
        self._is_crowded = False
        """Whether any source was met more often than its part: as long as none was, nobody is counted."""
        self._silent: set[bytes] = set()
        self.queries = 0
        self.hops = 0
        self._add(start, hop=1)

    def _add(self, contacts: Iterable[Contact], hop: int) -> None:
        changed = False
        for contact in contacts:
            if contact.id == self._own_id or contact.id in self._by_id or contact.address in self._asked:
                continue
            if self._is_silent(contact.address):
                if len(self._silent) < self._ksize:
                    self._silent.add(contact.id)
                continue
            candidate = Candidate(contact, contact.long_id ^ self._target_long, hop)
            self._by_id[contact.id] = candidate
            self._candidates.append(candidate)
            self._count(candidate)
            changed = True
        if changed:
            self._candidates.sort(key=lambda candidate: candidate.distance)
            self._trim()

    def _count(self, candidate: Candidate) -> None:
        self._met_of[candidate.source] += 1
        if self._met_of[candidate.source] > self._part:
            self._is_crowded = True

    def _trim(self) -> None:
        """Forget candidates that were not asked: those of a source beyond its part, and the farthest."""
        if self._is_crowded:
            self._trim_crowd()
        excess = len(self._candidates) - CANDIDATES_FACTOR * self._ksize
        if excess <= 0:
            return
        kept: list[Candidate] = []
        for candidate in reversed(self._candidates):
            if excess > 0 and candidate.status is Status.NEW:
                excess -= 1
                del self._by_id[candidate.contact.id]
            else:
                kept.append(candidate)
        kept.reverse()
        self._candidates = kept

    def _trim_crowd(self) -> None:
        met: Counter[Hashable] = Counter()
        kept: list[Candidate] = []
        for candidate in self._candidates:
            met[candidate.source] += 1
            if candidate.status is Status.NEW and met[candidate.source] > SOURCE_FACTOR * self._part:
                del self._by_id[candidate.contact.id]
            else:
                kept.append(candidate)
        self._candidates = kept

    def next_queries(self) -> list[Contact]:
        """Contacts to ask now; each is given out once and must end in `answered` or `failed`."""
        active = inflight = 0
        for candidate in self._candidates:
            if candidate.status is Status.NEW and self._is_asked(candidate):
                candidate.status = Status.FAILED
            active += candidate.status is Status.ASKED
            inflight += candidate.status in (Status.ASKED, Status.STALLED)
        chosen: list[Contact] = []
        for candidate in self._closest(late_too=False):
            if active >= self._alpha or inflight >= self._inflight_max or self.queries >= QUERIES_MAX:
                break
            if candidate.status is not Status.NEW or self._is_asked(candidate):
                continue
            candidate.status = Status.ASKED
            self._asked.add(candidate.contact.address)
            self._asked_of[candidate.source] += 1
            self.queries += 1
            active += 1
            inflight += 1
            chosen.append(candidate.contact)
        return chosen

    def _is_asked(self, candidate: Candidate) -> bool:
        """True when another id was asked at the same address, or enough of the same source were."""
        return candidate.contact.address in self._asked or (
            self._is_crowded and self._asked_of[candidate.source] >= SOURCE_FACTOR * self._part
        )

    def _closest(self, *, late_too: bool = True) -> list[Candidate]:
        """The k closest that answered or still may; without the late ones, those that would be if they never do."""
        skipped = (Status.FAILED,) if late_too else (Status.FAILED, Status.STALLED)
        return self._first_k(candidate for candidate in self._candidates if candidate.status not in skipped)

    def _first_k(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """The k closest of *candidates*, no source with more than its part."""
        if not self._is_crowded:
            return list(islice(candidates, self._ksize))
        found: list[Candidate] = []
        met: Counter[Hashable] = Counter()
        for candidate in candidates:
            if met[candidate.source] < self._part:
                met[candidate.source] += 1
                found.append(candidate)
                if len(found) == self._ksize:
                    break
        return found

    def stalled(self, contact: Contact) -> None:
        """*contact* is later than expected: ask somebody else meanwhile."""
        candidate = self._by_id.get(contact.id)
        if candidate is not None and candidate.status is Status.ASKED:
            candidate.status = Status.STALLED

    def answered(self, contact: Contact, named: Iterable[Contact], answerer: Contact) -> None:
        """*answerer*, found at the address of *contact*, named others.

        They differ when a node came back under a new id: the old one failed, the new one answered.
        """
        candidate = self._by_id[contact.id]
        if answerer.id != contact.id:
            candidate.status = Status.FAILED
            if answerer.id == self._own_id or answerer.id in self._by_id:
                return
            candidate = Candidate(answerer, answerer.long_id ^ self._target_long, candidate.hop)
            self._by_id[answerer.id] = candidate
            insort(self._candidates, candidate, key=lambda other: other.distance)
            self._count(candidate)
        candidate.status = Status.ANSWERED
        self.hops = max(self.hops, candidate.hop)
        self._add(named, candidate.hop + 1)

    def failed(self, contact: Contact) -> None:
        """*contact* did not answer, or not properly."""
        self._by_id[contact.id].status = Status.FAILED

    @property
    def is_done(self) -> bool:
        """True when the k closest have answered, or nobody is left to ask."""
        closest = self._closest()
        if any(candidate.status in (Status.ASKED, Status.STALLED) for candidate in closest):
            return False
        return self.queries >= QUERIES_MAX or all(
            candidate.status is Status.ANSWERED for candidate in closest
        )

    @property
    def met_everybody(self) -> bool:
        """True when fewer than k nodes were named in all and most of them answered: there are no others.

        When most did not, because nothing arrives at the moment or somebody makes nodes up, those who know
        of more were perhaps not heard.
        """
        met = len(self._by_id) + len(self._silent)
        return met < self._ksize and 2 * self._answered_count > met

    @property
    def is_thin(self) -> bool:
        """True when fewer than k answered and others did not: who only those know may be missing."""
        return self._answered_count < self._ksize and any(
            candidate.status not in (Status.NEW, Status.ANSWERED) for candidate in self._candidates
        )

    @property
    def _answered_count(self) -> int:
        return sum(candidate.status is Status.ANSWERED for candidate in self._candidates)

    def result(self) -> list[Contact]:
        """The k closest that answered, nearest first."""
        answered = (candidate for candidate in self._candidates if candidate.status is Status.ANSWERED)
        return [candidate.contact for candidate in self._first_k(answered)]
