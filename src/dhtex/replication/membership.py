"""Deciding the next view: single-decree Paxos among the members of this one (`design: View change`).

`Acceptor` is what every member owes the others and keeps durably; `Proposer` is what one member does when it
wants another membership. Both know only the installed view; a new view starts both afresh.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final

from dhtex.replication.core import NEVER, Core, Phase
from dhtex.replication.effects import Destination
from dhtex.replication.fetching import Fetching
from dhtex.replication.messages import Accept, BallotAccepted, Prepare, Promise, Reject, Views
from dhtex.replication.records import Vote
from dhtex.replication.values import CHAIN_SIZE, NO_BALLOT, Ballot, View

DOUBLINGS_MAX: Final = 3
"""How often the patience with a ballot doubles; then it is eight times `ballot_timeout`."""

Compose = Callable[[dict[int, Promise]], View]


class Acceptor:
    """One member's vote on what follows the installed view.

    Attributes:
        promised: no lower ballot is answered any more.
        accepted, value: the value accepted last, if any.
        offer: an accept that waits until every entry up to its cut is here.
    """

    def __init__(self, core: Core, fetching: Fetching) -> None:
        self._core = core
        self._fetching = fetching
        self.reset()

    def reset(self) -> None:
        """A view begins: no vote."""
        self.promised: Ballot = NO_BALLOT
        self.accepted: Ballot = NO_BALLOT
        self.value: View | None = None
        self.offer: tuple[Ballot, View, Destination | None] | None = None

    def restore(self, vote: Vote) -> None:
        """A member that restarts after a promise is still frozen."""
        self.promised = vote.promised
        self.accepted, self.value = vote.accepted, vote.value
        self._core.enter(Phase.FROZEN)

    def prepare(
        self, ballot: Ballot, to: Destination | None, then: Callable[[Promise], None] | None = None
    ) -> None:
        """Paxos 1a: promise, durably, or say which higher ballot stands in the way. *then*: the own proposer."""
        core = self._core
        if ballot < self.promised:
            self._reject(to)
            return
        core.before_take()  # what was appended so far belongs to the promise
        if ballot > self.promised:
            self.promised = ballot
            self.drop_offer()
            self._save()
        view = core.view
        core.outbox.once_durable(lambda: self._promise(view, ballot, to, then))

    def _promise(
        self,
        view: View | None,
        ballot: Ballot,
        to: Destination | None,
        then: Callable[[Promise], None] | None,
    ) -> None:
        # The disk may have taken longer than the view lasted, and the next view has ballots of the same name.
        core = self._core
        if view is not core.view or ballot != self.promised or view is None or core.view_log is None:
            return
        # The journal keeps order: what was appended before the vote is durable with it.
        have = tuple(log.durable for log in core.view_log.logs)
        chains = core.view_log.chains(have)
        clock = max(core.now.wall, core.ledger.key.timestamp, core.view_log.timestamp)
        promise = Promise(core.lineage, view.number, ballot, self.accepted, self.value, have, clock, chains)
        if then is not None:
            then(promise)
        elif to is not None:
            core.send(to, promise)

    def accept(
        self, ballot: Ballot, value: View, to: Destination | None, then: Callable[[], None] | None = None
    ) -> None:
        """Paxos 2a: accept, durably, once every entry up to the cut is here; a majority then holds all of
        them.
        """
        core = self._core
        view_log = core.view_log
        if view_log is None:
            return
        if ballot < self.promised:
            self._reject(to)
            return
        if ballot > self.promised:
            self.promised = ballot
            self._save()
        if self.accepted != ballot:
            if view_log.contradicts(value):
                return
            if not view_log.holds(value):
                self.offer = (ballot, value, to)
                self._fetching.close_in(value, view_log.view.index.get(ballot.proposer))
                return
            self.accepted, self.value = ballot, value
            self._save()
        self.offer = None
        view = core.view
        core.outbox.once_durable(lambda: self._accepted(view, ballot, to, then))

    def drop_offer(self) -> None:
        """The value offered is of no interest any more; nor is what its cut names."""
        self.offer = None
        if self._core.view_log is not None:
            self._core.view_log.target = None

    def retry_offer(self) -> None:
        """Entries have arrived: the offer may be acceptable now."""
        if self.offer is not None:
            ballot, value, to = self.offer
            view_log = self._core.view_log
            if view_log is not None and view_log.holds(value):
                self.accept(ballot, value, to)

    def _accepted(
        self, view: View | None, ballot: Ballot, to: Destination | None, then: Callable[[], None] | None
    ) -> None:
        core = self._core
        if view is not core.view or ballot != self.promised or view is None:
            return
        if then is not None:
            then()
        elif to is not None:
            core.send(to, BallotAccepted(core.lineage, view.number, ballot))

    def _save(self) -> None:
        core = self._core
        if core.view is None:
            return
        core.outbox.record(Vote(core.view.number, self.promised, self.accepted, self.value))
        if core.phase is Phase.ACTIVE:
            core.enter(Phase.FROZEN)

    def _reject(self, to: Destination | None) -> None:
        core = self._core
        if to is not None and core.view is not None:
            core.send(to, Reject(core.lineage, core.view.number, self.promised))


class Stage(enum.Enum):
    """What a proposer waits for."""

    RESTING = "resting"
    PROMISES = "promises"  # of a majority, and a while of everyone alive; and what they say they hold
    ENTRIES = "entries"  # everything up to the cut of a value that was accepted before
    ACCEPTS = "accepts"  # of a majority
    DECIDED = "decided"


class Proposer:
    """One attempt at a time to decide the next view.

    Args:
        compose: the value to propose when nothing was accepted before, from the promises.
        unsuspected: places of the members that are alive as far as is known.
        unheard: places of the members whose votes do not count.
        leaving: places of the members that want to be left out.
        decided: what to do with the decision.

    Attributes:
        stage: see `Stage`.
        deadline: when to repeat, go on, or give up, monotonic.
        round_seen: highest round of any ballot heard of.
    """

    def __init__(
        self,
        core: Core,
        acceptor: Acceptor,
        fetching: Fetching,
        compose: Compose,
        unsuspected: Callable[[], set[int]],
        unheard: Callable[[], set[int]],
        leaving: Callable[[], set[int]],
        decided: Callable[[View], None],
    ) -> None:
        self._core = core
        self._acceptor = acceptor
        self._fetching = fetching
        self._compose = compose
        self._unsuspected = unsuspected
        self._unheard = unheard
        self._leaving = leaving
        self._decided = decided
        self.round_seen = 0
        self.reset()

    def reset(self) -> None:
        """A view begins."""
        self.stage = Stage.RESTING
        self.round_seen = 0
        self.deadline = NEVER
        self._ballot = NO_BALLOT
        self._promises: dict[int, Promise] = {}
        self._accepts: set[int] = set()
        self._value: View | None = None
        self._give_up_at = NEVER
        self._gather_until = self._fetch_until = NEVER
        self._resend_at = NEVER

    @property
    def patience(self) -> int:
        """How long the newest ballot may get nowhere: twice as long as the one before it.

        Where answers take longer than `ballot_timeout`, ballots of one length would be given up for ever.
        """
        before = max(self.round_seen, self._acceptor.promised.round) - 1
        return self._core.config.ballot_timeout << min(max(before, 0), DOUBLINGS_MAX)

    def rest(self) -> None:
        """Give the attempt up; another one needs a higher ballot."""
        self.stage = Stage.RESTING
        self.deadline = NEVER

    def propose(self) -> None:
        """Start an attempt under a ballot above all heard of."""
        core, now = self._core, self._core.now.monotonic
        self.round_seen = max(self.round_seen, self._acceptor.promised.round) + 1
        self._ballot = Ballot(self.round_seen, core.node_id)
        self._promises, self._accepts, self._value = {}, set(), None
        self.stage = Stage.PROMISES
        self._give_up_at = now + self.patience
        self._gather_until = self._fetch_until = NEVER
        self._resend_at = NEVER
        ballot = self._ballot
        self._acceptor.prepare(ballot, None, lambda promise: self._own_promise(ballot, promise))
        self._rearm()

    def _own_promise(self, ballot: Ballot, promise: Promise) -> None:
        """The own promise is durable, so this ballot will never be used again: tell the others."""
        view_log = self._core.view_log
        if ballot == self._ballot and self.stage is Stage.PROMISES and view_log is not None:
            self._resend_at = self._core.now.monotonic
            self.promise(view_log.me, promise)
            self.tick()

    def promise(self, place: int, promise: Promise) -> None:
        """A member promised."""
        core = self._core
        view_log = core.view_log
        if self.stage is not Stage.PROMISES or promise.ballot != self._ballot or view_log is None:
            return
        size = len(view_log.reports)
        if len(promise.have) != size or len(promise.chains) != CHAIN_SIZE * size:
            return
        if place not in self._promises:
            # A second promise under the same ballot can only say that the member has since fetched more.
            self._promises[place] = promise
            if view_log.have(place, promise.have, promise.chains):
                self._fetching.notice_gap()
        self._maybe_choose()

    def _maybe_choose(self) -> None:
        """Choose a value when enough members promised, and what they hold is here, or is proved to differ.

        Entries that nobody can show never count: a member that only says it holds them waits in vain.
        """
        core, now = self._core, self._core.now.monotonic
        view_log = core.view_log
        if view_log is None:
            return
        unheard = self._unheard()
        promises = {place: p for place, p in self._promises.items() if place not in unheard}
        if len(promises) < view_log.majority:
            return
        for origin in unheard:
            view_log.doubt(origin)
        if view_log.disputes:
            self._fetching.notice_gap()
        backed = {
            p: promise for p, promise in promises.items() if view_log.is_backed(p, promise.have, unheard)
        }
        if self._gather_until == NEVER:
            self._fetch_until = now + self.patience // 2
            # Where somebody lied, whoever is not heard may know least of it, and have most to lose; where somebody
            # leaves, whoever stays is needed.
            patient = unheard or self._leaving()
            self._gather_until = self._fetch_until if patient else now + core.config.gather_time
        alive = self._unsuspected()
        if (now < self._gather_until and not alive <= promises.keys()) or (
            now < self._fetch_until and not alive & promises.keys() <= backed.keys()
        ):
            self._rearm()
            return
        best = max(promises.values(), key=lambda promise: promise.accepted)
        if best.value is None and len(backed) < view_log.majority:
            self._rearm()
            return
        self._value = best.value if best.value is not None else self._compose(backed)
        self.stage = Stage.ENTRIES
        self._give_up_at = now + self.patience
        holders = [
            place
            for place, promise in promises.items()
            if place != view_log.me
            and all(a >= b for a, b in zip(promise.have, self._value.cut, strict=True))
        ]
        self._fetching.close_in(self._value, holders[0] if holders else None)
        self.retry()

    def retry(self) -> None:
        """Entries have arrived: maybe all are here that the value needs, or the promises name."""
        core = self._core
        view_log = core.view_log
        if self.stage is Stage.PROMISES:
            self._maybe_choose()
        if self.stage is not Stage.ENTRIES or self._value is None or view_log is None:
            return
        if view_log.holds(self._value):
            self.stage = Stage.ACCEPTS
            ballot, me = self._ballot, view_log.me
            self._resend_at = core.now.monotonic
            self._give_up_at = core.now.monotonic + self.patience
            self._acceptor.accept(ballot, self._value, None, lambda: self.accepted(me, ballot))
            self.tick()
        self._rearm()

    def accepted(self, place: int, ballot: Ballot) -> None:
        """A member accepted; with a majority the value is decided."""
        core = self._core
        view_log, value = core.view_log, self._value
        if self.stage is not Stage.ACCEPTS or ballot != self._ballot or view_log is None or value is None:
            return
        self._accepts.add(place)
        if len(self._accepts - self._unheard()) < view_log.majority:
            return
        self.stage = Stage.DECIDED
        self.deadline = NEVER
        members = {member.node_id: member for member in (*view_log.view.members, *value.members)}
        for to in core.destinations(members.values()):
            core.send(to, Views(core.lineage, (value,)))
        self._decided(value)

    def rejected(self, ballot: Ballot) -> None:
        """Somebody promised a higher ballot."""
        self.round_seen = max(self.round_seen, ballot.round)
        if ballot > self._ballot and self.stage is not Stage.RESTING:
            self.rest()

    def tick(self) -> None:
        """Repeat to those who have not answered, go on without them, or give up."""
        core, now = self._core, self._core.now.monotonic
        view_log = core.view_log
        if view_log is None or self.stage in {Stage.RESTING, Stage.DECIDED}:
            return
        if self._acceptor.promised > self._ballot or now >= self._give_up_at:
            self.rest()
            return
        if self.stage is Stage.PROMISES:
            self._maybe_choose()
        if now >= self._resend_at:
            self._resend_at = now + core.config.resend_interval
            self._resend()
        self._rearm()

    def _resend(self) -> None:
        core = self._core
        view_log = core.view_log
        if view_log is None:
            return
        number, value = view_log.view.number, self._value
        for place, member in enumerate(view_log.view.members):
            if place == view_log.me:
                continue
            if self.stage is Stage.PROMISES and place not in self._promises:
                core.send(core.destination(member), Prepare(core.lineage, number, self._ballot))
            elif self.stage is Stage.ACCEPTS and place not in self._accepts and value is not None:
                core.send(core.destination(member), Accept(core.lineage, number, self._ballot, value))

    def _rearm(self) -> None:
        if self.stage in {Stage.RESTING, Stage.DECIDED}:
            self.deadline = NEVER
            return
        now = self._core.now.monotonic
        waits = (self._gather_until, self._fetch_until) if self.stage is Stage.PROMISES else ()
        due = min(self._resend_at, self._give_up_at, *(at for at in waits if at > now))
        self.deadline = max(due, now + 1)
