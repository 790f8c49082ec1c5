"""The replica: one member, observer or newcomer of one group. Sans-IO.

Inputs are calls, outputs are values. This file is the glue: it checks where a message comes from and whether
it belongs here, gives it to the part that knows, and afterwards lets everything move that can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from dhtex.errors import Busy, JournalFull, NotRunning, UsageError
from dhtex.identity import PublicKey, Signer, short_id
from dhtex.replication.config import ReplicaConfig
from dhtex.replication.core import NEVER, Core, Phase, Wish
from dhtex.replication.effects import ClockRefused, Destination, Effect, GroupConflict, JoinRefused, Role
from dhtex.replication.fetching import Fetching
from dhtex.replication.following import Following
from dhtex.replication.ledger import Ledger
from dhtex.replication.machine import RandomSource, StateMachine
from dhtex.replication.membership import Acceptor, Proposer, Stage
from dhtex.replication.messages import (
    Accept,
    AskHistory,
    AskSnapshot,
    AskViews,
    BallotAccepted,
    Entries,
    Fetch,
    History,
    Join,
    Message,
    Prepare,
    Promise,
    Reason,
    Refused,
    Reject,
    SnapshotOffer,
    SnapshotPiece,
    Status,
    Views,
)
from dhtex.replication.ordering import Ordering
from dhtex.replication.records import DurableState, Incarnation
from dhtex.replication.recovery import recover
from dhtex.replication.serving import Serving
from dhtex.replication.submission import Submissions
from dhtex.replication.values import (
    ID_SIZE,
    NO_LINEAGE,
    VIEW_AHEAD_MAX,
    HistoryItem,
    Now,
    View,
    make_view,
    node_id_of_key,
)
from dhtex.replication.watching import Watching

CONFLICTS_KEPT: Final = 16
"""Other foundings under one group id that are told apart; more are ignored."""

_REFUSALS: Final = {
    Reason.GROUP_FULL: "the group has as many members as it allows; observe instead",
    Reason.CONDEMNED: "this identity signed two different entries for one place in its log",
}


class Source(NamedTuple):
    """Where a message came from. *place*: in the installed view; None for strangers."""

    node_id: bytes
    to: Destination
    place: int | None


class Replica:
    """One group, one peer. Every input takes `now`; after each, carry out `take_effects()`, re-arm the timer."""

    def __init__(
        self,
        group_id: bytes,
        signer: Signer,
        machine: StateMachine,
        config: ReplicaConfig,
        random: RandomSource,
        now: Now,
        *,
        address: str,
        recovered: DurableState | None = None,
    ) -> None:
        """A replica that resumes from *recovered*, or belongs to no group until `found` or `join`.

        Args:
            group_id: 20 bytes; only what carries it is understood.
            machine: fresh; it is brought to the recovered state here, by snapshot and replay (effects tell).
            address: "host:port" under which others reach this peer.
        Raises:
            UsageError: *group_id* has the wrong size.
            JournalCorrupt: replaying *recovered* does not give the digest it was left with.
        """
        if len(group_id) != ID_SIZE:
            raise UsageError(f"a group id has {ID_SIZE} bytes, this has {len(group_id)}")
        self._ledger = Ledger(machine, config)
        core = self._core = Core(group_id, signer, self._ledger, config, random, now, address)
        self._submissions = Submissions(config)
        self._fetching = Fetching(core)
        self._serving = Serving(core)
        self._watching = Watching(core)
        self._acceptor = Acceptor(core, self._fetching)
        self._proposer = Proposer(
            core,
            self._acceptor,
            self._fetching,
            self._watching.compose,
            self._watching.unsuspected,
            self._decide,
        )
        self._ordering = Ordering(
            core,
            self._ledger,
            self._submissions,
            self._fetching,
            self._serving,
            view_changed=self._view_changed,
            condemn=self._watching.condemned.add,
        )
        self._following = Following(core, self._ordering.take_items, self._ordering.take_snapshot)
        self._decided: dict[int, View] = {}
        self._propose_at = NEVER
        self._heartbeat_at = NEVER
        self._asked_views_at = -NEVER
        self._conflicts: set[bytes] = set()
        self._told_key = self._ledger.key
        self._handlers: dict[type[Any], Callable[[Source, Any], None]] = {
            Entries: self._on_entries,
            Status: self._on_status,
            Fetch: self._on_fetch,
            Prepare: self._on_prepare,
            Promise: self._on_promise,
            Reject: self._on_reject,
            Accept: self._on_accept,
            BallotAccepted: self._on_accepted,
            AskViews: lambda source, message: self._serving.send_views(
                source.node_id, source.to, message.view
            ),
            Views: self._on_views,
            AskHistory: lambda source, message: self._serving.ask_history(source.node_id, source.to, message),
            History: self._on_history,
            SnapshotOffer: lambda source, message: self._following.offer(source.to, message),
            AskSnapshot: lambda source, message: self._serving.ask_snapshot(source.to, message),
            SnapshotPiece: lambda source, message: self._following.piece(source.to, message),
            Join: self._on_join,
            Refused: self._on_refused,
        }
        if recovered is not None:
            recover(recovered, core, self._ledger, self._submissions, self._acceptor, self._serving)
            self._view_changed()

    # -- what it is
    # ---------------------------------------------------------------------------------------------

    @property
    def node_id(self) -> bytes:
        """20 bytes."""
        return self._core.node_id

    @property
    def lineage(self) -> bytes:
        """Id of the founding view, 20 bytes; all zero without a group."""
        return self._core.lineage

    @property
    def view(self) -> View | None:
        """The installed view, or None without a group."""
        return self._core.view

    @property
    def role(self) -> Role:
        """What this replica is in its group."""
        return self._core.role

    @property
    def position(self) -> int:
        """Number of final commands applied."""
        return self._ledger.position

    @property
    def digest(self) -> bytes:
        """The digest chain after them, 32 bytes."""
        return self._ledger.digest

    @property
    def has_quorum(self) -> bool:
        """False while this member hears fewer than a majority."""
        return self._watching.has_quorum

    @property
    def suspects(self) -> dict[bytes, str]:
        """Node id -> why, of the members that are suspected now."""
        view = self._core.view
        return {} if view is None else {view.node_ids[p]: why for p, why in self._watching.suspects.items()}

    def last_n(self, origin: bytes) -> int:
        """Commands of *origin* up to this n are final here; 0 for none."""
        return self._ledger.last_n.get(origin, 0)

    @property
    def pending_count(self) -> int:
        """Own commands submitted and not final."""
        return max(self._submissions.next_n - 1 - self.last_n(self._core.node_id), 0)

    # -- inputs
    # -------------------------------------------------------------------------------------------------

    def submit(self, commands: bytes, count: int, now: Now) -> int:
        """Accept own commands: a msgpack array of *count* elements. Gives the n of the first one.

        `Accepted` follows when they are durable here, `Finalized` (of an entry that covers them) when they
        are final.

        Raises:
            Busy: too much is pending, or this journal has not been a member yet; nothing was accepted.
            JournalFull: no room on disk; nothing was accepted.
            NotRunning: the replica is leaving or has left, or stopped after a divergence.
            UsageError: not an array of *count* elements, or more than one entry can carry.
        """
        core = self._core
        core.now = now
        if core.wish is Wish.LEAVE or core.phase in {Phase.LEFT, Phase.STOPPED}:
            raise NotRunning(f"this peer accepts nothing more: its state is {core.role.value}")
        if core.full:
            raise JournalFull("the disk is full; nothing is accepted until there is room")
        if not core.was_member:
            # A former self of this identity may have numbers in the log that this journal knows nothing of.
            raise Busy("this peer is not a member yet; try again when it has joined")
        view_log = core.view_log
        unfinal = 0 if view_log is None else view_log.logs[view_log.me].unfinal_bytes
        self._submissions.check(commands, count, self.pending_count, unfinal)
        first_n = self._submissions.add(commands, count, now.monotonic)
        self._progress()
        return first_n

    def receive(self, sender: PublicKey, address: str, messages: Sequence[Message], now: Now) -> None:
        """Messages that an authenticated *sender* sent from *address* ("host:port"). Never raises for any
        content.
        """
        core = self._core
        core.now = now
        node_id = node_id_of_key(sender)
        if node_id == core.node_id:
            return
        to = core.heard_from(node_id, sender, address)
        for message in messages:
            if message.lineage == core.lineage or self._may_meet(node_id, to, message):
                self._handlers[type(message)](Source(node_id, to, core.place_of(node_id)), message)
        self._progress()

    def persisted(self, ticket: int, now: Now) -> None:
        """The records of this `Persist` and of all before it are durable."""
        self._core.now = now
        for step in self._core.outbox.durable(ticket):
            step()
        self._progress()

    def archive(self, request: int, items: Sequence[HistoryItem] | None, now: Now) -> None:
        """The answer to `ReadArchive`: history in order, at least one item if there is any; None: it is not
        kept.
        """
        self._core.now = now
        self._serving.archive(request, items)

    def tick(self, now: Now) -> None:
        """Time has passed. Call at `next_deadline`; more often does no harm."""
        core = self._core
        core.now = now
        self._watching.tick()
        self._fetching.tick()
        self._following.tick()
        self._serving.tick()
        if now.monotonic >= self._proposer.deadline:
            self._proposer.tick()
        if now.monotonic >= self._propose_at:
            self._propose_at = NEVER
            self._propose()
        if now.monotonic >= self._heartbeat_at:
            self._heartbeat()
        if now.monotonic >= self._ordering.save_at and not core.full:
            self._ordering.save_pending()
        self._progress()

    def found(self, now: Now) -> None:
        """Found a group with this peer as its only member.

        Raises:
            UsageError: it belongs to a group already.
        """
        core = self._core
        core.now = now
        if core.view is not None or core.lineage != NO_LINEAGE:
            raise UsageError("this peer belongs to a group already; a new one needs a new data directory")
        core.wish = Wish.MEMBER
        self._following.stop()
        self._draw_incarnation()
        parent = core.random.getrandbits(8 * ID_SIZE).to_bytes(ID_SIZE, "big")
        view = make_view(
            number=1,
            parent=parent,
            members=(core.myself(),),
            floor=core.read_clock(),
            cut=(),
            proposer=core.node_id,
        )
        core.history_durable = False
        self._ordering.install(view)
        core.outbox.once_durable(self._founded)
        self._progress()

    def join(self, contacts: Sequence[Destination], now: Now) -> None:
        """Follow the group of *contacts* and become a member. Call again whenever better contacts are known."""
        self._follow(contacts, Wish.MEMBER, now)

    def observe(self, contacts: Sequence[Destination], now: Now) -> None:
        """Follow the group of *contacts* without becoming a member.

        Raises:
            UsageError: it is a member; leave first.
        """
        if self._core.is_member:
            raise UsageError("this peer is a member; let it leave before it observes")
        self._follow(contacts, Wish.OBSERVE, now)

    def leave(self, now: Now) -> None:
        """Stop accepting, let what is pending become final, then leave the group; `RoleChanged(LEFT)` tells."""
        core = self._core
        core.now = now
        core.wish = Wish.LEAVE
        if not core.is_member and core.phase is not Phase.STOPPED:
            self._following.stop()
            core.enter(Phase.LEFT)
        self._progress()

    def storage_full(self, now: Now) -> None:
        """The journal has no room: accept and acknowledge nothing, but keep what was asked to be made
        durable.
        """
        self._core.now = now
        self._core.full = True
        self._core.status_due = True

    def storage_ok(self, now: Now) -> None:
        """The journal has room again and has made durable, or will, everything it was asked to, in order."""
        self._core.now = now
        self._core.full = False
        self._core.status_due = True
        if self._core.phase in {Phase.FOLLOWING, Phase.INSTALLING}:
            self._following.start()
        self._progress()

    # -- outputs
    # ------------------------------------------------------------------------------------------------

    def take_effects(self) -> list[Effect]:
        """Everything wanted or to be told since the last call, in order; what is to be made durable comes
        first.
        """
        core = self._core
        core.before_take()
        if core.status_due:
            core.status_due = False
            if core.is_member:
                core.broadcast(core.status())
                self._heartbeat_at = core.now.monotonic + core.config.heartbeat_interval
        if self._told_key != self._ledger.key:
            self._told_key = self._ledger.key
            self._serving.answer_polls()
        return core.outbox.take()

    @property
    def next_deadline(self) -> int:
        """When `tick` wants to be called at the latest, monotonic microseconds."""
        return min(
            self._watching.deadline,
            self._fetching.deadline,
            self._following.deadline,
            self._serving.deadline,
            self._proposer.deadline,
            self._propose_at,
            self._heartbeat_at,
            NEVER if self._core.full else self._ordering.save_at,
        )

    # -- moving on
    # ----------------------------------------------------------------------------------------------

    def _progress(self) -> None:
        """Let everything move that can. Ends every input."""
        core = self._core
        if core.full:
            return
        if self._decided and core.is_member:
            self._close_view()
        if core.phase is Phase.ACTIVE:
            self._ordering.advance()
            self._ordering.issue()
            view_log = core.view_log
            if view_log is not None and view_log.unfinal():
                soon = core.now.monotonic + core.config.active_heartbeat_interval
                self._heartbeat_at = min(self._heartbeat_at, soon)
            self._plan()
            if core.wish is Wish.LEAVE:
                self._maybe_leave()
        elif core.phase is Phase.FROZEN:
            self._acceptor.retry_offer()
            self._proposer.retry()
            self._plan()
        if core.phase is not Phase.ACTIVE and self._ordering.save_at != NEVER:
            self._ordering.save_pending()

    def _view_changed(self) -> None:
        """A view begins, or the state was replaced: everything that belongs to a view starts afresh."""
        core = self._core
        if core.phase is not Phase.FROZEN:
            self._acceptor.reset()
        self._proposer.reset()
        self._fetching.reset()
        self._watching.reset()
        self._propose_at = NEVER
        core.leaving = False
        number = 0 if core.view is None else core.view.number
        self._decided = {n: view for n, view in self._decided.items() if n > number}
        self._heartbeat_at = core.now.monotonic if core.is_member else NEVER
        if core.phase is Phase.FOLLOWING:
            if core.wish is not Wish.NOTHING:
                self._following.start()
        else:
            self._following.stop()

    def _heartbeat(self) -> None:
        core = self._core
        core.status_due = True
        busy = core.view_log is not None and core.view_log.unfinal()
        if busy and core.phase is Phase.ACTIVE and not core.full:
            # Others' orders may wait for this member's clock alone. An idle group writes nothing.
            core.cover(core.read_clock())
        self._heartbeat_at = core.now.monotonic + core.config.heartbeat_interval

    def _plan(self) -> None:
        """When this member should propose a view, if nothing else happens."""
        core = self._core
        if core.phase is Phase.ACTIVE:
            if self._watching.want_since == NEVER:
                self._propose_at = NEVER
            elif self._propose_at == NEVER:
                self._propose_at = core.now.monotonic + self._turn()
        elif self._proposer.stage is not Stage.RESTING:
            self._propose_at = NEVER
        elif self._propose_at == NEVER:
            self._propose_at = core.now.monotonic + core.config.ballot_timeout // 2 + self._turn()

    def _turn(self) -> int:
        """The lowest fit member goes first, the others after a randomized while."""
        config = self._core.config
        return self._watching.rank() * config.rank_delay + int(self._core.random.random() * config.rank_delay)

    def _propose(self) -> None:
        core = self._core
        view_log = core.view_log
        if core.full or view_log is None:
            return
        if core.phase is Phase.FROZEN or (
            core.phase is Phase.ACTIVE and self._watching.wants_change(view_log)
        ):
            self._proposer.propose()

    def _decide(self, view: View) -> None:
        """The own proposal was decided."""
        self._decided[view.number] = view
        self._close_view()

    def _close_view(self) -> None:
        """A later view is known: get what is missing of this one, then install the next; repeatedly."""
        core = self._core
        while core.is_member and core.view is not None and not core.full:
            view, view_log = core.view, core.view_log
            following = self._decided.get(view.number + 1)
            if following is not None and not following.follows(view):
                del self._decided[view.number + 1]
                following = None
            if following is None and not self._decided:
                return
            if core.phase is not Phase.INSTALLING:
                core.enter(Phase.INSTALLING)
                self._proposer.rest()
                self._propose_at = NEVER
                grace = 0 if following is None else 4 * core.config.fetch_interval
                self._following.start(core.now.monotonic + grace)
                if following is not None:
                    self._fetching.close_in(following.cut)
            if following is None or view_log is None or not view_log.holds(following.cut):
                return
            self._ordering.install(following)

    def _maybe_leave(self) -> None:
        """Nothing is pending any more: ask to be left out of the next view; the last member just goes."""
        core = self._core
        if core.leaving or self.pending_count or core.inflight is not None or core.view is None:
            return
        if len(core.view.members) == 1:
            core.enter(Phase.LEFT)
            self._heartbeat_at = NEVER
        else:
            core.leaving = core.status_due = True

    def _follow(self, contacts: Sequence[Destination], wish: Wish, now: Now) -> None:
        core = self._core
        core.now = now
        if core.phase is Phase.STOPPED:
            return
        core.wish = wish
        core.leaving = False
        self._following.contacts = tuple(contacts)
        if wish is Wish.MEMBER and core.incarnation == 0:
            self._draw_incarnation()
        if core.phase is Phase.LEFT and core.view_log is not None:
            core.enter(Phase.ACTIVE)  # the last member left, so the group is where it was
            self._watching.reset()
            self._heartbeat_at = now.monotonic
        elif core.phase in {Phase.IDLE, Phase.LEFT}:
            core.enter(Phase.FOLLOWING)
        core.tell_role()
        if core.phase is Phase.FOLLOWING:
            self._following.start()
        self._progress()

    def _founded(self) -> None:
        self._core.history_durable = True

    def _draw_incarnation(self) -> None:
        core = self._core
        core.incarnation = core.random.getrandbits(62) | 1
        core.outbox.record(Incarnation(core.incarnation, admitted=False))

        def durable() -> None:
            core.incarnation_durable = True

        core.outbox.once_durable(durable)

    # -- messages
    # -----------------------------------------------------------------------------------------------

    def _may_meet(self, node_id: bytes, to: Destination, message: Message) -> bool:
        """A message of another lineage: fine between a newcomer and a group, a conflict between two groups."""
        core = self._core
        if core.lineage == NO_LINEAGE:
            return isinstance(message, History | SnapshotOffer) and self._following.trusts(to)
        if message.lineage == NO_LINEAGE:
            return isinstance(message, AskHistory)
        if message.lineage not in self._conflicts and len(self._conflicts) < CONFLICTS_KEPT:
            self._conflicts.add(message.lineage)
            core.outbox.emit(GroupConflict(node_id, message.lineage))
        return False

    def _in_view(self, source: Source, number: int) -> bool:
        """True when a message of view *number*, from a member, is one of the installed view.

        Whoever is behind is brought forward, be it the sender or this peer.
        """
        core = self._core
        if core.view is None:
            return False
        if number == core.view.number:
            return source.place is not None and core.is_member
        if number < core.view.number:
            self._serving.send_views(source.node_id, source.to, number)
        elif self._is_trusted(source):
            self._ask_views(source.to)
        return False

    def _is_trusted(self, source: Source) -> bool:
        """Views are believed from members of the installed view, and from whom the user told us to follow."""
        return self._is_known(source.node_id) or self._following.trusts(source.to)

    def _ask_views(self, to: Destination) -> None:
        core = self._core
        now = core.now.monotonic
        if core.view is not None and now - self._asked_views_at >= core.config.resend_interval:
            self._asked_views_at = now
            core.send(to, AskViews(core.lineage, core.view.number))

    def _on_entries(self, source: Source, message: Entries) -> None:
        if source.place is not None and self._core.is_member:
            other_view = self._ordering.entries(source.node_id, source.to, message)
            if other_view is not None:
                self._in_view(source, other_view)

    def _on_status(self, source: Source, message: Status) -> None:
        if self._in_view(source, message.view) and source.place is not None:
            self._ordering.status(source.place, source.node_id, source.to, message)

    def _on_fetch(self, source: Source, message: Fetch) -> None:
        self._fetching.serve(source.node_id, source.to, message)
        self._in_view(source, message.view)

    def _on_prepare(self, source: Source, message: Prepare) -> None:
        if self._may_vote(source, message.view, message.ballot.proposer):
            self._proposer.round_seen = max(self._proposer.round_seen, message.ballot.round)
            self._acceptor.prepare(message.ballot, source.to)
            self._propose_at = NEVER

    def _on_accept(self, source: Source, message: Accept) -> None:
        core = self._core
        if not self._may_vote(source, message.view, message.ballot.proposer) or core.view is None:
            return
        # A floor far ahead of every clock here would drag the whole group; only a bad clock proposes it.
        latest = max(core.now.wall, core.clock.last) + core.config.max_drift
        if message.value.follows(core.view) and message.value.floor <= latest:
            self._acceptor.accept(message.ballot, message.value, source.to)
            self._propose_at = NEVER

    def _may_vote(self, source: Source, number: int, proposer: bytes) -> bool:
        phases = {Phase.ACTIVE, Phase.FROZEN}
        core = self._core
        return (
            self._in_view(source, number)
            and core.phase in phases
            and proposer == source.node_id
            and not core.full
        )

    def _on_promise(self, source: Source, message: Promise) -> None:
        core = self._core
        if not self._in_view(source, message.view) or source.place is None:
            return
        drift = message.clock - max(core.now.wall, core.clock.last)
        if drift > core.config.max_drift:
            core.refuse_clock(source.node_id, source.to, drift)
        elif message.value is None or (core.view is not None and message.value.follows(core.view)):
            self._proposer.promise(source.place, message)

    def _on_reject(self, source: Source, message: Reject) -> None:
        if self._in_view(source, message.view):
            self._proposer.rejected(message.ballot)

    def _on_accepted(self, source: Source, message: BallotAccepted) -> None:
        if self._in_view(source, message.view) and source.place is not None:
            self._proposer.accepted(source.place, message.ballot)

    def _on_views(self, source: Source, message: Views) -> None:
        core = self._core
        if core.view is None or not self._is_trusted(source):
            return
        number = core.view.number
        if core.phase is Phase.FOLLOWING:
            if any(view.number > number for view in message.views):
                self._following.nudge()
            return
        if core.is_member:
            for view in message.views:
                if number < view.number <= number + VIEW_AHEAD_MAX or len(message.views) == 1:
                    self._learn(view, number)
            self._close_view()

    def _learn(self, view: View, number: int) -> None:
        if view.number > number and len(self._decided) < VIEW_AHEAD_MAX:
            self._decided.setdefault(view.number, view)

    def _on_history(self, source: Source, message: History) -> None:
        if not self._core.full and self._following.awaits(source.to, message):
            self._ordering.compare(source.node_id, message.head, message.digest)
            self._following.history(source.to, message)

    def _on_join(self, source: Source, message: Join) -> None:
        core, member = self._core, message.member
        view = core.view
        if view is None or not core.is_member or member.public_key != source.to.public_key:
            return
        drift = message.wall - core.now.wall
        if abs(drift) > core.config.max_drift:
            core.refuse_clock(source.node_id, source.to, drift)
        elif self._ledger.position - message.position > 4 * core.config.join_within:
            # It took a peer that is behind for the head; as a member it would hold up everyone.
            self._serving.send_views(source.node_id, source.to, view.number - 1)
        elif source.node_id in self._watching.condemned:
            core.send(source.to, Refused(core.lineage, Reason.CONDEMNED, 0))
        elif source.node_id not in view.index and len(view.members) >= core.config.members_max:
            core.send(source.to, Refused(core.lineage, Reason.GROUP_FULL, 0))
        elif not view.has(source.node_id, member.incarnation) and self._watching.note_joiner(member):
            self._watching.deadline = core.now.monotonic

    def _on_refused(self, source: Source, message: Refused) -> None:
        outbox = self._core.outbox
        if not self._is_trusted(source):
            return
        if message.reason in {Reason.CLOCK_AHEAD, Reason.CLOCK_BEHIND}:
            outbox.emit(ClockRefused(source.node_id, message.amount, ours=True))
        elif message.reason in _REFUSALS:
            why = _REFUSALS[Reason(message.reason)]
            outbox.emit(JoinRefused(source.node_id, f"{short_id(source.node_id)} refuses: {why}"))

    def _is_known(self, node_id: bytes) -> bool:
        view = self._core.view
        return view is not None and node_id in view.index
