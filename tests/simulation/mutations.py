"""Single rules of the protocol, each broken alone, to show that the hunt would notice.

Each breakage replaces one method of the replica's parts. `seeds_max` is how many seeds the hunt may need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from dhtex.replication import DurableState, Entry, View, recovery, replica
from dhtex.replication.core import Core, Phase
from dhtex.replication.effects import Finalized
from dhtex.replication.finality import ViewLog
from dhtex.replication.following import Following
from dhtex.replication.ledger import Ledger
from dhtex.replication.membership import Acceptor, Proposer
from dhtex.replication.messages import Entries, Promise
from dhtex.replication.ordering import Ordering
from dhtex.replication.submission import Submissions
from dhtex.replication.values import NO_BALLOT, make_view
from dhtex.replication.watching import Watching
from dhtex.simulation import Plan
from simulation.liars import draw_liar, with_a_liar
from simulation.provoked import comings_and_goings, duels, far_apart, lost_disks

Replacement = Callable[[Any], Any]


@dataclass(frozen=True)
class Mutation:
    """One broken rule: what replaces which attributes of which objects."""

    name: str
    seeds_max: int
    breaks: tuple[tuple[Any, str, Replacement], ...]
    provoked: Callable[[Plan], Plan] = lambda plan: plan
    """For a rule that matters only in rare histories: a plan made to have more of them."""

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The rule is broken within."""
        patches = [
            patch.object(owner, attribute, make(getattr(owner, attribute)))
            for owner, attribute, make in self.breaks
        ]
        for one in patches:
            one.start()
        try:
            yield
        finally:
            for one in reversed(patches):
                one.stop()


def _constant(value: Any) -> Replacement:
    return lambda _: lambda *_args, **_named: value


def _no_freeze(original: Any) -> Any:
    def save(self: Acceptor) -> None:
        with patch.object(self._core, "enter", lambda phase: None):
            original(self)

    return save


def _no_ceiling(original: Any) -> Any:
    def cover(self: Core, timestamp: int) -> None:
        self.ceiling = max(self.ceiling, timestamp + self.config.ceiling_ahead)

    return cover


def _ack_first(original: Any) -> Any:
    def before_take(self: Core) -> None:
        if self.appended_news and self.view_log is not None:
            logs = self.view_log.logs
            self._durable(self.view_log, [log.appended for log in logs], [log.replaced for log in logs])
        original(self)

    return before_take


def _no_contiguity(original: Any) -> Any:
    def promise(self: ViewLog, member: int, timestamp: int, seq: int) -> None:
        report = self.reports[member]
        report.promised = max(report.promised, timestamp)

    return promise


def _cut_min(original: Any) -> Any:
    def compose(self: Watching, promises: dict[int, Promise]) -> View:
        view: View = original(self, promises)
        cut = tuple(min(seqs) for seqs in zip(*(p.have for p in promises.values()), strict=True))
        assert self._core.view_log is not None
        return make_view(
            number=view.number,
            parent=view.parent,
            members=view.members,
            floor=view.floor,
            cut=cut,
            proposer=view.proposer,
            chains=self._core.view_log.chains(cut),
        )

    return compose


def _majority_is_enough(original: Any) -> Any:
    return lambda self, origin, seq: self.held(origin) >= seq


def _longest(original: Any) -> Any:
    def end(self: Watching, view_log: ViewLog, origin: int, promises: dict[int, Promise]) -> int:
        return view_log.logs[origin].appended

    return end


def _any_content(original: Any) -> Any:
    def compare(self: ViewLog, member: int, origin: int, seq: int, chain: bytes) -> bool:
        have = self.reports[member].have
        have[origin] = max(have[origin], seq)
        return False

    return compare


def _no_dedupe(original: Any) -> Any:
    def apply(self: Ledger, entry: Entry) -> Finalized:
        if self.last_n.get(entry.origin, 0) >= entry.first_n:
            self.last_n[entry.origin] = entry.first_n - 1
        finalized: Finalized = original(self, entry)
        return finalized

    return apply


def _resubmit_all(original: Any) -> Any:
    """What the closed view took is submitted again, too: it relies on being skipped."""

    def close(self: ViewLog, cut: Sequence[int]) -> tuple[list[Entry], list[Entry]]:
        final, void = original(self, cut)
        origin = self.view.node_ids[self.me]
        return final, [entry for entry in final if entry.origin == origin] + void

    return close


def _reuse_seq(original: Any) -> Any:
    def view_log(state: DurableState, view: View, core: Core) -> ViewLog:
        own = state.logs.get(core.node_id, [])
        if own and own[-1].key > state.final.key:
            own.pop()
        log: ViewLog = original(state, view, core)
        return log

    return view_log


def _forget_ballot(original: Any) -> Any:
    def save(self: Acceptor) -> None:
        with patch.object(self._core.outbox, "record", lambda record: None):
            original(self)

    return save


def _ignore_floor(original: Any) -> Any:
    return lambda self, floor: None


def _floor_of_the_view(original: Any) -> Any:
    return property(lambda self: self.view.floor)


def _old_ceiling(original: Any) -> Any:
    def restart_clock(self: Core, floor: int) -> None:
        ceilings = self.ceiling, self.ceiling_asked
        original(self, floor)
        self.ceiling, self.ceiling_asked = ceilings

    return restart_clock


def _old_ballot(original: Any) -> Any:
    def accept(self: Acceptor, ballot: Any, value: View, to: Any, then: Any = None) -> None:
        if ballot < self.promised:
            self.promised = ballot
        original(self, ballot, value, to, then)

    return accept


def _fresh_value(original: Any) -> Any:
    def promise(self: Proposer, place: int, promise: Promise) -> None:
        original(self, place, promise._replace(accepted=NO_BALLOT, value=None))

    return promise


def _send_first(original: Any) -> Any:
    def issue(self: Ordering) -> None:
        before = self._core.inflight
        original(self)
        entry = self._core.inflight
        if entry is not None and entry is not before:
            self._core.broadcast(Entries(self._core.lineage, (entry,)))

    return issue


def _promise_too_much(original: Any) -> Any:
    def status(self: Core) -> Any:
        inflight, self.inflight = self.inflight, None
        try:
            return original(self)
        finally:
            self.inflight = inflight

    return status


def _lose_void(original: Any) -> Any:
    def requeue(self: Submissions, void: Sequence[Entry]) -> int:
        return 0

    return requeue


def _own_clock(original: Any) -> Any:
    return lambda self: self.read_clock()


def _any_incarnation(original: Any) -> Any:
    return lambda self, node_id, incarnation: node_id in self.index


def _promise_undurable(original: Any) -> Any:
    """The promise of a ballot reports what was appended, whether it is durable or not, and does not wait."""

    def prepare(self: Acceptor, ballot: Any, to: Any, then: Any = None) -> None:
        with patch.object(self._core.outbox, "once_durable", lambda step: step()):
            original(self, ballot, to, then)

    return prepare


def _half(original: Any) -> Any:
    return property(lambda self: max(1, len(self.members) // 2))


def _accept_unheld(original: Any) -> Any:
    def accept(self: Acceptor, *arguments: Any) -> None:
        with patch.object(ViewLog, "holds", _constant(True)(None)):
            original(self, *arguments)

    return accept


def _acknowledge_frozen(original: Any) -> Any:
    def status(self: Core) -> Any:
        with patch.object(self, "phase", Phase.ACTIVE):
            return original(self)

    return status


def _thaw(original: Any) -> Any:
    def restore(self: Acceptor, vote: Any) -> None:
        self.promised, self.accepted, self.value = vote.promised, vote.accepted, vote.value

    return restore


def _numbers_again(original: Any) -> Any:
    def recover(state: Any, core: Core, ledger: Ledger, submissions: Submissions, *others: Any) -> None:
        original(state, core, ledger, submissions, *others)
        submissions.next_n = ledger.last_n.get(core.node_id, 0) + 1

    return recover


def _forget_applied(original: Any) -> Any:
    def restore(self: Ledger, snapshot: Any) -> None:
        original(self, snapshot)
        self.last_n = {}

    return restore


def _to_the_end(original: Any) -> Any:
    def requeue(self: Submissions, void: Sequence[Entry]) -> int:
        queued = len(self._queue)
        count: int = original(self, void)
        self._queue.rotate(queued)
        return count

    return requeue


def _same_time_again(original: Any) -> Any:
    return lambda self: self.read_clock()


def _deaf_to_time(original: Any) -> Any:
    def append(self: Core, place: int, entry: Entry) -> None:
        with patch.object(self, "observe", _constant(None)(None)):
            original(self, place, entry)

    return append


def _late_vote(original: Any) -> Any:
    """A vote that its disk took longer for than its view lasted goes out as one of the next view."""

    def promise(self: Acceptor, view: Any, *arguments: Any) -> None:
        original(self, self._core.view, *arguments)

    return promise


def _impatient(original: Any) -> Any:
    return property(lambda self: self._core.config.ballot_timeout)


def _last_asked_only(original: Any) -> Any:
    def was_asked(self: Following, sender: Any) -> bool:
        return self._is_answer(sender) and bool(original(self, sender))

    return was_asked


MUTATIONS = (
    Mutation("final without a majority", 20, ((ViewLog, "is_held", _constant(True)),)),
    Mutation("final without stability", 20, ((ViewLog, "stable", _constant(2**62)),)),
    Mutation("no freeze during a view change", 100, ((Acceptor, "_save", _no_freeze),)),
    Mutation("the clock ceiling is not durable", 20, ((Core, "cover", _no_ceiling),)),
    Mutation("acknowledged before durable", 20, ((Core, "before_take", _ack_first),)),
    Mutation("a promise counts before its entries", 100, ((ViewLog, "promise", _no_contiguity),)),
    # Every member vouches for what is final, so it takes a second broken rule for the least of them to be too little.
    Mutation(
        "the cut is the minimum",
        50,
        (
            (Watching, "compose", _cut_min),
            (ViewLog, "is_held", _majority_is_enough),
            (ViewLog, "contradicts", _constant(False)),
        ),
    ),
    Mutation(
        "commands submitted again are not skipped",
        200,
        (
            (ViewLog, "close", _resubmit_all),
            (Ledger, "apply", _no_dedupe),
            (Submissions, "drop_final", _constant(None)),
        ),
    ),
    Mutation(
        "a report counts whatever content it vouches for",
        5,
        ((ViewLog, "_compare", _any_content),),
        with_a_liar,
    ),
    Mutation(
        "of a liar's entries a majority is enough",
        5,
        ((ViewLog, "is_held", _majority_is_enough),),
        with_a_liar,
    ),
    Mutation(
        "a liar's entries count as far as anybody holds them",
        60,
        ((Watching, "_end", _longest),),
        lambda plan: draw_liar(plan.seed, 5),
    ),
    Mutation("a seq is used again after a restart", 50, ((recovery, "_view_log", _reuse_seq),)),
    Mutation("ballots are not durable", 20, ((Acceptor, "_save", _forget_ballot),)),
    Mutation("the floor is not observed", 100, ((Core, "restart_clock", _ignore_floor),)),
    Mutation("the ceiling of one view counts in the next", 20, ((Core, "restart_clock", _old_ceiling),)),
    Mutation("the floor is below what is held", 100, ((ViewLog, "timestamp", _floor_of_the_view),)),
    Mutation("accepted under an older ballot", 200, ((Acceptor, "accept", _old_ballot),)),
    Mutation("an accepted value is not proposed again", 200, ((Proposer, "promise", _fresh_value),), duels),
    Mutation("sent before durable", 20, ((Ordering, "issue", _send_first),)),
    Mutation("a promise above the entry being written", 50, ((Core, "status", _promise_too_much),)),
    Mutation("void commands are forgotten", 50, ((Submissions, "requeue", _lose_void),)),
    Mutation("the own clock counts beyond its ceiling", 50, ((Core, "own_promise", _own_clock),)),
    Mutation(
        "an empty disk may act for its former self", 100, ((View, "has", _any_incarnation),), lost_disks
    ),
    Mutation("half of the members is a majority", 50, ((View, "majority", _half),)),
    Mutation(
        "a view begins before the one before it is complete", 10, ((ViewLog, "holds", _constant(True)),)
    ),
    Mutation("accepted without the entries that it names", 20, ((Acceptor, "accept", _accept_unheld),)),
    Mutation("a frozen member acknowledges", 10, ((Core, "status", _acknowledge_frozen),)),
    Mutation("a restart ends the freeze", 100, ((Acceptor, "restore", _thaw),)),
    Mutation(
        "numbers of commands are used again after a restart", 20, ((replica, "recover", _numbers_again),)
    ),
    Mutation("a snapshot forgets what was applied", 60, ((Ledger, "restore", _forget_applied),)),
    Mutation("void commands queue up behind later ones", 100, ((Submissions, "requeue", _to_the_end),)),
    Mutation("an entry for a time that was promised", 5, ((Core, "tick_clock", _same_time_again),)),
    Mutation("timestamps of others are not observed", 20, ((Core, "append", _deaf_to_time),)),
    Mutation("no ballot gets more time than the first", 20, ((Proposer, "patience", _impatient),), far_apart),
    Mutation(
        "a vote of one view goes out in the next",
        100,
        ((Acceptor, "_promise", _late_vote),),
        comings_and_goings,
    ),
    Mutation(
        "answers of all but the last one asked are ignored",
        60,
        ((Following, "_was_asked", _last_asked_only),),
        far_apart,
    ),
    Mutation("signatures are not checked", 50, ((Entry, "verify", _constant(True)),)),
    Mutation("a ballot is promised before it is durable", 20, ((Acceptor, "prepare", _promise_undurable),)),
)
