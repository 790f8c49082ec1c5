"""What every part of a replica shares: time, identity, the view, the phase, and the ways out.

The parts (membership, fetching, following, serving, watching) hold a `Core` and change it only through the
methods here; `Replica` ties them together.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Final

from dhtex.clock import Clock
from dhtex.errors import invariant
from dhtex.identity import NodeId, PublicKey, Signer
from dhtex.replication.config import ReplicaConfig
from dhtex.replication.effects import ClockRefused, Destination, Role, RoleChanged, Send
from dhtex.replication.finality import ViewLog
from dhtex.replication.ledger import Ledger
from dhtex.replication.machine import RandomSource
from dhtex.replication.messages import Flag, Message, Reason, Refused, Status
from dhtex.replication.outbox import Outbox
from dhtex.replication.records import Appended, Ceiling, Incarnation, Withdrawn
from dhtex.replication.values import NO_LINEAGE, Entry, Member, Now, View, signing_context

NEVER: Final = 2**62
"""A deadline that does not come."""
VIEWS_KEPT: Final = 256
"""View records kept in memory; who lacks older ones is sent a snapshot."""


class Phase(enum.Enum):
    """What a replica is doing."""

    IDLE = "idle"  # no group
    FOLLOWING = "following"  # not a member: final history comes from others
    ACTIVE = "active"  # a member, and the view is open
    FROZEN = "frozen"  # a member that promised a ballot: the view may be closed already
    INSTALLING = "installing"  # the view is closed; what is missing of it is being fetched
    LEFT = "left"
    STOPPED = "stopped"  # diverged


_P = Phase
TRANSITIONS: Final[dict[Phase, frozenset[Phase]]] = {
    _P.IDLE: frozenset({_P.ACTIVE, _P.FOLLOWING, _P.FROZEN, _P.LEFT}),
    _P.FOLLOWING: frozenset({_P.ACTIVE, _P.LEFT, _P.STOPPED}),
    _P.ACTIVE: frozenset({_P.FROZEN, _P.INSTALLING, _P.LEFT, _P.STOPPED}),
    _P.FROZEN: frozenset({_P.INSTALLING, _P.LEFT, _P.STOPPED}),
    _P.INSTALLING: frozenset({_P.ACTIVE, _P.FOLLOWING, _P.LEFT, _P.STOPPED}),
    _P.LEFT: frozenset({_P.FOLLOWING, _P.ACTIVE}),
    _P.STOPPED: frozenset(),
}
"""Which phase may come after which; anything else is a bug and stops the replica."""

MEMBER_PHASES: Final = frozenset({_P.ACTIVE, _P.FROZEN, _P.INSTALLING})


class Wish(enum.Enum):
    """What the user wants of the replica."""

    NOTHING = "nothing"
    OBSERVE = "observe"
    MEMBER = "member"
    LEAVE = "leave"


class Core:
    """Shared state. Attributes are read by all parts; see the methods for who changes what.

    Attributes:
        now: of the current input.
        clock: the hybrid logical clock.
        ceiling: durable upper bound of every promise in the installed view; 0 while there is none.
        lineage: id of view 1; `NO_LINEAGE` without a group.
        view, view_log: the installed view; its log when this peer is a member of it.
        previous: the log of the view before, for members that still need it.
        views: number -> view record, the newest `VIEWS_KEPT`.
        is_member: True in the phases of a member of the installed view.
        inflight: the own entry that is being made durable.
        status_due: tell everyone at the end of this input.
        full: the journal has no room.
        history_durable: False until the founding is; a group that a crash could undo must not be told of.
        was_member: it has been a member once, so following means evicted.
    """

    def __init__(
        self,
        group_id: bytes,
        signer: Signer,
        ledger: Ledger,
        config: ReplicaConfig,
        random: RandomSource,
        now: Now,
        address: str,
    ) -> None:
        self.group_id = group_id
        self.signer = signer
        self.node_id: NodeId = signer.node_id
        self.ledger = ledger
        self.config = config
        self.random = random
        self.now = now
        self.address = address
        self.outbox = Outbox()
        self.clock = Clock()
        self.ceiling = 0
        self.ceiling_asked = 0
        self.lineage = NO_LINEAGE
        self.context = b""
        self.view: View | None = None
        self.view_log: ViewLog | None = None
        self.previous: ViewLog | None = None
        self.views: dict[int, View] = {}
        self.incarnation = 0
        self.incarnation_durable = False
        self.history_durable = True
        self.inflight: Entry | None = None
        self.phase, self.is_member = Phase.IDLE, False
        self.wish = Wish.NOTHING
        self.was_member = False
        self.status_due = False
        self.leaving = False
        self.full = False
        self.appended_news = False
        self.others: tuple[Destination, ...] = ()
        self._addresses: dict[bytes, str] = {}
        self._role = Role.FOUNDING
        self._refused_at: dict[bytes, int] = {}

    # -- phase and view --------------------------------------------------------------------------------------

    def enter(self, phase: Phase) -> None:
        """Change phase; the role people see follows."""
        if phase is not self.phase:
            invariant(phase in TRANSITIONS[self.phase], f"no way from {self.phase.value} to {phase.value}")
            self.phase, self.is_member = phase, phase in MEMBER_PHASES
            if phase is Phase.LEFT:
                self.outbox.flush_mark()  # nothing more comes that would take it along
        self.tell_role()

    def tell_role(self) -> None:
        """Emit the role when it is another one now."""
        role = self.role
        if role is not self._role:
            self._role = role
            self.outbox.emit(RoleChanged(role))

    @property
    def role(self) -> Role:
        """What people see."""
        match self.phase:
            case Phase.IDLE:
                return Role.FOUNDING
            case Phase.ACTIVE:
                return Role.MEMBER
            case Phase.FROZEN | Phase.INSTALLING:
                return Role.FROZEN
            case Phase.LEFT:
                return Role.LEFT
            case Phase.STOPPED:
                return Role.STOPPED
            case Phase.FOLLOWING:
                if self.wish is Wish.LEAVE:
                    return Role.MEMBER if self._role is Role.FROZEN else self._role
                if self.wish is not Wish.MEMBER:
                    return Role.OBSERVING
                return Role.EVICTED if self.was_member else Role.JOINING

    def set_view(self, view: View) -> None:
        """*view* is installed; not yet what follows from it."""
        if view.number == 1:
            self.set_lineage(view.id)
        self.view = view
        self.views[view.number] = view
        if len(self.views) > VIEWS_KEPT:
            del self.views[min(self.views)]
        self.inflight = None
        self.appended_news = False
        self._address_members()

    def set_lineage(self, lineage: bytes) -> None:
        """The group is known."""
        self.lineage = lineage
        self.context = signing_context(self.group_id, lineage)

    def place_of(self, node_id: bytes) -> int | None:
        """The member's place in the installed view; None for strangers, and for everyone when not a member."""
        return None if self.view_log is None else self.view_log.view.index.get(node_id)

    def has_met(self, node_id: bytes) -> bool:
        """True for members of the installed view and of those before it, as far back as views are kept."""
        return any(node_id in view.index for view in self.views.values())

    def myself(self) -> Member:
        """This peer, as others should list it."""
        return Member(self.signer.public_key, self.address, self.incarnation)

    def draw_incarnation(self, *, admitted: bool) -> None:
        """Be another member than before: the former self's promises and seqs do not bind this one."""
        self.incarnation = self.random.getrandbits(62) | 1
        self.incarnation_durable = False
        self.outbox.record(Incarnation(self.incarnation, admitted))
        self.outbox.once_durable(self._incarnation_is_durable)

    def _incarnation_is_durable(self) -> None:
        self.incarnation_durable = True

    # -- time ------------------------------------------------------------------------------------------------

    def restart_clock(self, floor: int) -> None:
        """A view begins, after everything up to *floor*: no promise of an earlier one binds in it.

        So a clock that was far ahead does not stay so. Nothing is promised in the view before a ceiling is durable
        behind the record that begins it: a crash before that has nothing to keep.
        """
        self.clock = Clock(floor)
        self.ceiling = self.ceiling_asked = 0

    def observe(self, timestamp: int) -> None:
        """Never fall behind *timestamp*."""
        self.clock = self.clock.observe(timestamp)

    def read_clock(self) -> int:
        """`now()` of the hybrid logical clock."""
        self.clock = self.clock.now(self.now.wall)
        return self.clock.last

    def tick_clock(self) -> int:
        """`tick()` of the hybrid logical clock."""
        self.clock = self.clock.tick(self.now.wall)
        return self.clock.last

    def own_promise(self) -> int:
        """T for this member's own stability: the clock, as far as it is covered by the durable ceiling.

        Beyond the ceiling a restart could give the clock a lower value, and an entry with a timestamp that
        sorts before something that was final here already.
        """
        return min(self.read_clock(), self.ceiling)

    def cover(self, timestamp: int) -> None:
        """Move the ceiling on when *timestamp* comes near it; it holds when the record is durable."""
        ahead = self.config.ceiling_ahead
        if timestamp + ahead // 2 > self.ceiling_asked:
            asked = self.ceiling_asked = timestamp + ahead
            self.outbox.record(Ceiling(asked))
            view = self.view
            self.outbox.once_durable(lambda: self._raise_ceiling(view, asked))

    def _raise_ceiling(self, view: View | None, ceiling: int) -> None:
        if view is self.view:
            self.ceiling = max(self.ceiling, ceiling)

    def latest_acceptable(self) -> int:
        """A later timestamp is refused: a bad clock must not drag the group's clocks away.

        The floor was decided by a majority and what this clock has seen it has accepted, so both may be ahead
        of the wall without harm.
        """
        drift = self.config.max_drift
        floor = 0 if self.view is None else self.view.floor
        return max(self.now.wall + drift, floor + drift, self.clock.last)

    def refuse_clock(self, node_id: bytes, to: Destination, drift: int) -> None:
        """Say, here and there, that *node_id*'s clock is *drift* microseconds off; once a second at most."""
        if self.now.monotonic - self._refused_at.get(node_id, -NEVER) < 1_000_000:
            return
        if len(self._refused_at) > self.config.observers_max:
            self._refused_at.clear()
        self._refused_at[node_id] = self.now.monotonic
        self.outbox.emit(ClockRefused(node_id, drift, ours=False))
        reason = Reason.CLOCK_AHEAD if drift > 0 else Reason.CLOCK_BEHIND
        self.send(to, Refused(self.lineage, reason, drift))

    # -- ways out --------------------------------------------------------------------------------------------

    def append(self, place: int, entry: Entry) -> None:
        """*entry* is the next of the member at *place*: into the log, and to the journal."""
        view_log = self.view_log
        invariant(view_log is not None, "only members append")
        assert view_log is not None  # for the type checker; `invariant` has made sure
        view_log.append(place, entry)
        self.outbox.record(Appended(entry))
        self.observe(entry.timestamp)
        self.cover(entry.timestamp)
        self.appended_news = True

    def replace(self, place: int, entry: Entry) -> None:
        """*entry* instead of another one of its seq, which its origin signed, too, and which does not count."""
        view_log = self.view_log
        invariant(view_log is not None, "only members hold entries")
        assert view_log is not None  # for the type checker; `invariant` has made sure
        self.before_take()  # what was appended so far is bound to its own ticket
        view_log.replace(place, entry)
        self.outbox.record(Withdrawn(entry.origin, entry.seq - 1))
        self.outbox.record(Appended(entry))
        self.observe(entry.timestamp)
        self.appended_news = True

    def follow(self, place: int, entry: Entry) -> None:
        """*entry* is final by the word of others: to the journal, and into the log of a member."""
        if self.view_log is not None:
            self.append(place, entry)
        else:
            self.outbox.record(Appended(entry))
            self.observe(entry.timestamp)

    def before_take(self) -> None:
        """Bind what was appended to the ticket that makes it durable."""
        view_log = self.view_log
        if self.appended_news and view_log is not None:
            self.appended_news = False
            appended = [log.appended for log in view_log.logs]
            replaced = [log.replaced for log in view_log.logs]
            self.outbox.once_durable(lambda: self._durable(view_log, appended, replaced))

    def _durable(self, view_log: ViewLog, appended: Sequence[int], replaced: Sequence[int]) -> None:
        if view_log is self.view_log and view_log.durable(appended, replaced):
            self.status_due = True

    def status(self) -> Status:
        """What to tell the members. Frozen: only that it is alive (`design: View change, 2`)."""
        view_log, view = self.view_log, self.view
        invariant(view_log is not None and view is not None, "only members have a status")
        assert view_log is not None  # for the type checker; `invariant` has made sure
        assert view is not None  # see above
        ledger = self.ledger
        flags = (Flag.LEAVING if self.leaving else 0) | (Flag.AILING if self.full else 0)
        have: tuple[int, ...] = ()
        chains = b""
        promise = 0
        if self.phase is Phase.ACTIVE:
            promise = self.own_promise()
            if self.inflight is not None:
                # It is not durable yet, so `have` does not count it, so T must stay below it.
                promise = min(promise, self.inflight.timestamp - 1)
            have = tuple(view_log.reports[view_log.me].have)
            chains = view_log.chains(have)
        else:
            flags |= Flag.FROZEN
        return Status(
            self.lineage,
            view.number,
            flags,
            promise,
            self.now.wall,
            have,
            ledger.position,
            ledger.digest,
            chains,
        )

    def send(self, to: Destination, message: Message) -> None:
        """To one peer."""
        self.outbox.emit(Send((to,), message))

    def broadcast(self, message: Message) -> None:
        """To all other members."""
        if self.others:
            self.outbox.emit(Send(self.others, message))

    def destination(self, member: Member) -> Destination:
        """Where *member* was last heard from, or said it would be."""
        return Destination(member.public_key, self._addresses.get(member.node_id, member.address))

    def destinations(self, members: Iterable[Member]) -> tuple[Destination, ...]:
        """The same for several, without this peer."""
        return tuple(self.destination(member) for member in members if member.node_id != self.node_id)

    def heard_from(self, node_id: bytes, public_key: PublicKey, address: str) -> Destination:
        """An authenticated message came from *address*; members are answered there from now on."""
        view = self.view
        if view is not None and node_id in view.index and self._addresses.get(node_id) != address:
            self._addresses[node_id] = address
            self._address_members()
        return Destination(public_key, address)

    def _address_members(self) -> None:
        view = self.view
        if view is not None:
            self._addresses = {n: a for n, a in self._addresses.items() if n in view.index}
            self.others = self.destinations(view.members)
