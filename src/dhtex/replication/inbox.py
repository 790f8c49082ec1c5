"""Where a message goes: who may say it, whether it belongs to this group and view, and which part hears it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from dhtex.identity import PublicKey, short_id
from dhtex.replication.core import NEVER, Core, Phase
from dhtex.replication.effects import ClockRefused, Destination, GroupConflict, JoinRefused
from dhtex.replication.fetching import Fetching
from dhtex.replication.following import Following
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
from dhtex.replication.serving import Serving
from dhtex.replication.succession import Succession
from dhtex.replication.values import NO_LINEAGE, Ballot, node_id_of_key
from dhtex.replication.watching import Watching

CONFLICTS_KEPT: Final = 16
"""Other foundings under one group id that are told apart; more are ignored."""
REFUSAL_EVERY: Final = 1_000_000
"""Microseconds between two reports that others refuse this peer's clock."""

_REFUSALS: Final = {
    Reason.GROUP_FULL: "the group has as many members as it allows; observe instead",
    Reason.CONDEMNED: "this identity signed two entries for one place in its log, or broke a promise",
}


class Source(NamedTuple):
    """Where a message came from. *place*: in the installed view; None for strangers, and at one."""

    node_id: bytes
    to: Destination
    place: int | None


class Inbox:
    """Checks every message and gives it to the part that knows."""

    def __init__(
        self,
        core: Core,
        ordering: Ordering,
        fetching: Fetching,
        serving: Serving,
        following: Following,
        watching: Watching,
        succession: Succession,
    ) -> None:
        self._core = core
        self._ordering = ordering
        self._fetching = fetching
        self._serving = serving
        self._following = following
        self._watching = watching
        self._succession = succession
        self._asked_views_at = -NEVER
        self._refused_at = -NEVER
        self._conflicts: set[bytes] = set()
        self._handlers: dict[type[Any], Callable[[Source, Any], None]] = {
            Entries: self._on_entries,
            Status: self._on_status,
            Fetch: self._on_fetch,
            Prepare: self._on_prepare,
            Promise: self._on_promise,
            Reject: self._on_reject,
            Accept: self._on_accept,
            BallotAccepted: self._on_accepted,
            AskViews: lambda source, message: serving.send_views(source.node_id, source.to, message.view),
            Views: self._on_views,
            AskHistory: lambda source, message: serving.ask_history(source.node_id, source.to, message),
            History: self._on_history,
            SnapshotOffer: lambda source, message: following.offer(source.to, message),
            AskSnapshot: lambda source, message: serving.ask_snapshot(source.to, message),
            SnapshotPiece: lambda source, message: following.piece(source.to, message),
            Join: self._on_join,
            Refused: self._on_refused,
        }

    def receive(self, sender: PublicKey, address: str, messages: Sequence[Message]) -> None:
        """Messages of an authenticated *sender*. Never raises for any content."""
        core = self._core
        node_id = node_id_of_key(sender)
        to = core.heard_from(node_id, sender, address)
        for message in messages:
            if message.lineage == core.lineage or self._may_meet(node_id, to, message):
                # The place anew each time: a message may install a view.
                self._handlers[type(message)](Source(node_id, to, core.place_of(node_id)), message)

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
        if self._may_vote(source, message.view, message.ballot):
            self._succession.proposer.round_seen = max(
                self._succession.proposer.round_seen, message.ballot.round
            )
            self._succession.acceptor.prepare(message.ballot, source.to)
            self._succession.wait()

    def _on_accept(self, source: Source, message: Accept) -> None:
        core = self._core
        if not self._may_vote(source, message.view, message.ballot) or core.view is None:
            return
        # A floor far ahead of every clock here would drag the whole group; only a bad clock proposes it.
        latest = max(core.now.wall, core.clock.last) + core.config.max_drift
        if message.value.follows(core.view) and message.value.floor <= latest:
            self._succession.acceptor.accept(message.ballot, message.value, source.to)
            self._succession.wait()

    def _may_vote(self, source: Source, number: int, ballot: Ballot) -> bool:
        phases = {Phase.ACTIVE, Phase.FROZEN}
        core = self._core
        return (
            self._in_view(source, number)
            and core.phase in phases
            and ballot.proposer == source.node_id
            and source.place not in self._watching.unheard()
            and self._succession.is_within_reach(ballot)
            and not core.full
        )

    def _on_promise(self, source: Source, message: Promise) -> None:
        core = self._core
        if not self._in_view(source, message.view) or source.place is None:
            return
        clock = message.clock
        if message.value is not None and self._watching.can_do_without(source.place):
            clock = max(clock, message.value.floor)  # accepted by its own bad clock, and to be proposed again
        drift = clock - max(core.now.wall, core.clock.last)
        if drift > core.config.max_drift:
            core.refuse_clock(source.node_id, source.to, drift)
        elif not self._succession.is_within_reach(message.accepted):
            return
        elif message.value is None or (core.view is not None and message.value.follows(core.view)):
            self._succession.proposer.promise(source.place, message)

    def _on_reject(self, source: Source, message: Reject) -> None:
        if self._in_view(source, message.view) and self._succession.is_within_reach(message.ballot):
            self._succession.proposer.rejected(message.ballot)

    def _on_accepted(self, source: Source, message: BallotAccepted) -> None:
        if self._in_view(source, message.view) and source.place is not None:
            self._succession.proposer.accepted(source.place, message.ballot)

    def _on_views(self, source: Source, message: Views) -> None:
        core = self._core
        if core.view is None or not self._is_trusted(source):
            return
        number = core.view.number
        if core.phase is Phase.FOLLOWING:
            if any(view.number > number for view in message.views):
                self._following.nudge()
            return
        if core.is_member and not self._succession.learn(message.views):
            self._ask_views(source.to)

    def _on_history(self, source: Source, message: History) -> None:
        if self._following.releases(source.node_id, message):
            self._following.leave()
        elif not self._core.full and self._following.awaits(source.to, message):
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
        elif message.view != view.number:
            # On its way for long, it may be from before a membership that has ended since: whoever has left must
            # not be brought back by it, for it would be missing. Who still wants to be in asks again.
            self._in_view(source, message.view)
        elif core.ledger.position - message.position > 4 * core.config.join_within:
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
            now = self._core.now.monotonic
            if now - self._refused_at >= REFUSAL_EVERY:
                self._refused_at = now
                outbox.emit(ClockRefused(source.node_id, message.amount, ours=True))
        elif message.reason in _REFUSALS:
            why = _REFUSALS[Reason(message.reason)]
            outbox.emit(JoinRefused(source.node_id, f"{short_id(source.node_id)} refuses: {why}"))

    def _is_known(self, node_id: bytes) -> bool:
        view = self._core.view
        return view is not None and node_id in view.index
