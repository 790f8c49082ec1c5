"""The course of one look-up, without input or output: who to ask next, and when it is over.

Kademlia paper, section 2.3, with these rules where the package has none:

* `alpha` requests are under way at all times; one that is late (`stalled`) gives up its place, and
  who would take that is asked meanwhile: dead contacts are waited for together, not one after the other (19).
  Never more than `inflight_max` at once.
* It ends when the k closest that can still answer have answered.
* Work is bounded whatever the answers say: each address is asked once, candidates and requests have a limit.
  The package follows a chain of made-up nodes until the stack overflows (20).
* Candidates nobody but one node names and that do not answer never displace those that did.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum

from dhtex.dht.contacts import Contact
from dhtex.dht.face import Address

QUERIES_MAX = 256
"""Requests in one look-up; in a network of 10,000 a look-up takes about 40."""

CANDIDATES_FACTOR = 4
"""Candidates remembered, in multiples of k."""


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
        self._alpha = alpha
        self._inflight_max = inflight_max
        self._own_id = own_id
        self._candidates: list[Candidate] = []
        self._by_id: dict[bytes, Candidate] = {}
        self._is_silent = is_silent
        self._asked: set[Address] = set()
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
            changed = True
        if changed:
            self._candidates.sort(key=lambda candidate: candidate.distance)
            self._trim()

    def _trim(self) -> None:
        """Forget the farthest candidates that were not asked."""
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

    def next_queries(self) -> list[Contact]:
        """Contacts to ask now; each is given out once and must end in `answered` or `failed`."""
        active = inflight = 0
        for candidate in self._candidates:
            if candidate.status is Status.NEW and candidate.contact.address in self._asked:
                candidate.status = Status.FAILED  # another id was asked there meanwhile
            active += candidate.status is Status.ASKED
            inflight += candidate.status in (Status.ASKED, Status.STALLED)
        chosen: list[Contact] = []
        for candidate in self._closest(late_too=False):
            if active >= self._alpha or inflight >= self._inflight_max or self.queries >= QUERIES_MAX:
                break
            if candidate.status is not Status.NEW or candidate.contact.address in self._asked:
                continue
            candidate.status = Status.ASKED
            self._asked.add(candidate.contact.address)
            self.queries += 1
            active += 1
            inflight += 1
            chosen.append(candidate.contact)
        return chosen

    def _closest(self, *, late_too: bool = True) -> list[Candidate]:
        """The k closest that answered or still may; without the late ones, those that would be if they never do."""
        skipped = (Status.FAILED,) if late_too else (Status.FAILED, Status.STALLED)
        found: list[Candidate] = []
        for candidate in self._candidates:
            if candidate.status not in skipped:
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
        return self._answered_count < min(self._ksize, len(self._candidates))

    @property
    def _answered_count(self) -> int:
        return sum(candidate.status is Status.ANSWERED for candidate in self._candidates)

    def result(self) -> list[Contact]:
        """The k closest that answered, nearest first."""
        answered = (candidate for candidate in self._candidates if candidate.status is Status.ANSWERED)
        return [candidate.contact for candidate, _ in zip(answered, range(self._ksize), strict=False)]
