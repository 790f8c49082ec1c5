"""The replica: one member, observer or newcomer of one group. Sans-IO.

Inputs are calls, outputs are values. This file is the glue: it checks where a message comes from and whether
it belongs here, gives it to the part that knows, and afterwards lets everything move that can.
"""

from __future__ import annotations

from collections.abc import Sequence

from dhtex.errors import Busy, JournalFull, NotRunning, UsageError
from dhtex.identity import PublicKey, Signer
from dhtex.replication.config import ReplicaConfig
from dhtex.replication.core import NEVER, Core, Phase, Wish
from dhtex.replication.effects import Destination, Effect, Role
from dhtex.replication.fetching import Fetching
from dhtex.replication.following import Following
from dhtex.replication.inbox import Inbox
from dhtex.replication.ledger import Ledger
from dhtex.replication.machine import RandomSource, StateMachine
from dhtex.replication.messages import AskViews, Message
from dhtex.replication.ordering import Ordering
from dhtex.replication.records import DurableState
from dhtex.replication.recovery import recover
from dhtex.replication.serving import Serving
from dhtex.replication.submission import Submissions
from dhtex.replication.succession import Succession
from dhtex.replication.values import (
    ID_SIZE,
    NO_LINEAGE,
    HistoryItem,
    Now,
    View,
    make_view,
    node_id_of_key,
)
from dhtex.replication.watching import Watching


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
        self._ordering = Ordering(
            core,
            self._ledger,
            self._submissions,
            self._fetching,
            self._serving,
            view_changed=self._view_changed,
            condemn=self._condemn,
            can_do_without=self._watching.can_do_without,
        )
        self._following = Following(core, self._ordering.take_items, self._ordering.take_snapshot)
        self._succession = Succession(
            core, self._watching, self._fetching, self._following, self._ordering.install
        )
        self._inbox = Inbox(
            core,
            self._ordering,
            self._fetching,
            self._serving,
            self._following,
            self._watching,
            self._succession,
        )
        self._heartbeat_at = NEVER
        self._told_key = self._ledger.key
        self._submitted = False  # commands wait to be moved on, all together when effects are taken
        if recovered is not None:
            recover(
                recovered, core, self._ledger, self._submissions, self._succession.acceptor, self._serving
            )
            self._view_changed()

    # -- what it is ------------------------------------------------------------------------------------------

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

    def has_met(self, node_id: bytes) -> bool:
        """True for members of the installed view and of those before it, as far back as views are kept here."""
        return self._core.has_met(node_id)

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

    # -- inputs ----------------------------------------------------------------------------------------------

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
        if core.wish is Wish.LEAVE or core.phase is Phase.LEFT or core.phase is Phase.STOPPED:
            raise NotRunning(f"this peer accepts nothing more: its state is {core.role.value}")
        if core.full:
            raise JournalFull("the disk is full; nothing is accepted until there is room")
        if not core.was_member:
            # A former self of this identity may have numbers in the log that this journal knows nothing of.
            raise Busy("this peer is not a member yet; try again when it has joined")
        view_log = core.view_log
        unfinal = 0 if view_log is None else view_log.logs[view_log.me].unfinal_bytes
        self._submissions.check(commands, count, self.pending_count, unfinal)
        self._submitted = True
        return self._submissions.add(commands, count, now.monotonic)

    def receive(self, sender: PublicKey, address: str, messages: Sequence[Message], now: Now) -> None:
        """Messages that an authenticated *sender* sent from *address* ("host:port"). Never raises for any
        content.
        """
        core = self._core
        core.now = now
        if sender != core.signer.public_key:
            self._inbox.receive(sender, address, messages)
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
        self._succession.tick()
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
        core.draw_incarnation(admitted=False)
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
        """Follow the group of *contacts* and become a member. Call again whenever better contacts are known.

        A member has a group; without a quorum it may be the last of a view that the others have left long ago. It
        asks those of *contacts* that it knows, as members now or before, for the views that it lacks.
        """
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
        if core.wish is Wish.LEAVE:
            return  # it is under way; asked twice, it must still wait until the others know
        core.wish = Wish.LEAVE
        if core.phase is Phase.FOLLOWING and self._following.may_be_let_in:
            self._following.leave_unless_let_in()
        elif not core.is_member and core.phase is not Phase.STOPPED:
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

    # -- outputs ---------------------------------------------------------------------------------------------

    def take_effects(self) -> list[Effect]:
        """Everything wanted or to be told since the last call, in order; what is to be made durable comes
        first.
        """
        core = self._core
        if self._submitted:
            self._progress()
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
            self._succession.proposer.deadline,
            self._succession.propose_at,
            self._heartbeat_at,
            NEVER if self._core.full else self._ordering.save_at,
        )

    # -- moving on -------------------------------------------------------------------------------------------

    def _progress(self) -> None:
        """Let everything move that can. Ends every input."""
        core = self._core
        self._submitted = False
        if core.full:
            return
        self._succession.progress()
        if core.phase is Phase.ACTIVE:
            if core.view_log is not None and core.view_log.unfinal():
                self._ordering.advance()
            self._ordering.issue()
            view_log = core.view_log
            if view_log is not None and view_log.unfinal():
                soon = core.now.monotonic + core.config.active_heartbeat_interval
                self._heartbeat_at = min(self._heartbeat_at, soon)
            if core.wish is Wish.LEAVE:
                self._maybe_leave()
        if core.phase is not Phase.ACTIVE and self._ordering.save_at != NEVER:
            self._ordering.save_pending()

    def _condemn(self, node_id: bytes, what: str) -> None:
        """A member broke the rules."""
        self._watching.condemn(node_id, what)
        self._succession.condemn(node_id)

    def _view_changed(self) -> None:
        """A view begins, or the state was replaced: everything that belongs to a view starts afresh."""
        core = self._core
        self._succession.reset()
        self._fetching.reset()
        self._watching.reset()
        core.leaving = False
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

    def _maybe_leave(self) -> None:
        """Nothing is pending any more: ask to be left out of the next view; the last member just goes."""
        core = self._core
        if core.leaving or self.pending_count or core.inflight is not None or core.view is None:
            return
        core.leaving = True
        if len(core.view.members) == 1:
            core.outbox.once_durable(self._go_last)  # those who left before may wait to hear that it is
        else:
            core.status_due = True

    def _go_last(self) -> None:
        core = self._core
        is_last = core.view is not None and len(core.view.members) == 1
        if core.phase is Phase.ACTIVE and core.leaving and is_last:
            core.enter(Phase.LEFT)
            self._heartbeat_at = NEVER

    def _follow(self, contacts: Sequence[Destination], wish: Wish, now: Now) -> None:
        core = self._core
        core.now = now
        if core.phase is Phase.STOPPED:
            return
        if core.wish is Wish.LEAVE and core.phase is Phase.FOLLOWING:
            return  # a look-up that was under way does not bring back who is leaving
        if core.is_member:
            self._ask_acquaintances(contacts)
            return
        core.wish = wish
        core.leaving = False
        self._following.contacts = tuple(contacts)
        if wish is Wish.MEMBER and core.incarnation == 0:
            core.draw_incarnation(admitted=False)
        if core.phase is Phase.LEFT and core.view_log is not None:
            core.enter(Phase.ACTIVE)  # the last member left, so the group is where it was
            self._watching.reset()
            self._heartbeat_at = now.monotonic
        elif core.phase in {Phase.IDLE, Phase.LEFT}:
            core.enter(Phase.FOLLOWING)
        core.tell_role()
        if core.phase is Phase.FOLLOWING and self._following.deadline == NEVER:
            self._following.start()  # otherwise it is on its way; a download goes on
        self._progress()

    def _ask_acquaintances(self, contacts: Sequence[Destination]) -> None:
        """Anybody could say that the group went on without this member; those who were in it are believed."""
        core = self._core
        met = tuple(contact for contact in contacts if core.has_met(node_id_of_key(contact.public_key)))
        self._following.contacts = met
        if core.view is not None and not self.has_quorum:
            for contact in met:
                core.send(contact, AskViews(core.lineage, core.view.number))

    def _founded(self) -> None:
        self._core.history_durable = True
