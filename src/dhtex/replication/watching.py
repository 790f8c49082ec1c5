"""Who is in, who is out: suspicion, quorum, and the membership this member would propose.

A member is fit while it says, at least every `suspect_after`, something of the installed view with a sane
clock.
Suspicion is only an opinion: it starts a view change, and being wrong costs the suspect a rejoin, never an
order.
"""

from __future__ import annotations

from typing import NamedTuple

from dhtex.identity import short_id
from dhtex.replication.core import NEVER, Core, Phase
from dhtex.replication.effects import QuorumBack, QuorumLost, Suspected, Unsuspected
from dhtex.replication.finality import ViewLog
from dhtex.replication.messages import Flag, Promise
from dhtex.replication.values import Member, View, make_view


class Joiner(NamedTuple):
    """Someone who asked to join, and when last (monotonic)."""

    member: Member
    at: int


class Watching:
    """Suspicion and wishes for another membership.

    Attributes:
        suspects: place -> why, a sentence.
        deadline: when to look again, monotonic.
        want_since: since when this member wants another view, monotonic; `NEVER` when it does not.
        condemned: node id -> what it did, of those that broke the rules provably to this member.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self.suspects: dict[int, str] = {}
        self.joiners: dict[bytes, Joiner] = {}
        self.condemned: dict[bytes, str] = {}
        self.deadline = NEVER
        self.want_since = NEVER
        self._quorum = True
        self._looked_at = 0
        self._oldest: tuple[object, int] = (None, 0)

    def reset(self) -> None:
        """A view begins; everyone in it gets the benefit of the doubt."""
        core = self._core
        self.suspects = {}
        self.want_since = NEVER
        self._oldest = (None, 0)
        self._looked_at = core.now.monotonic
        view = core.view
        if view is not None:
            self.joiners = {n: j for n, j in self.joiners.items() if not view.has(n, j.member.incarnation)}
        self.deadline = core.now.monotonic if core.is_member else NEVER
        if not core.is_member:
            self._tell_quorum(True)

    def note_joiner(self, member: Member) -> bool:
        """*member* asked to join; False when too many ask already."""
        full = len(self.joiners) >= self._core.config.members_max
        if full and member.node_id not in self.joiners:
            return False
        self.joiners[member.node_id] = Joiner(member, self._core.now.monotonic)
        return True

    def condemn(self, node_id: bytes, what: str) -> None:
        """*node_id* broke the rules: it did *what*. The group is better off without it, at once."""
        if node_id not in self.condemned:
            self.condemned[node_id] = what
            self.deadline = min(self.deadline, self._core.now.monotonic)

    def unheard(self) -> set[int]:
        """Places of condemned members; their votes do not count, unless without them there is no majority."""
        view = self._core.view
        if not self.condemned or view is None:
            return set()
        places = {view.index[node_id] for node_id in self.condemned if node_id in view.index}
        return places if len(view.members) - len(places) >= view.majority else set()

    def unsuspected(self) -> set[int]:
        """Places of the members that are fit, this one included."""
        view_log = self._core.view_log
        return set() if view_log is None else set(range(len(view_log.reports))) - self._unfit()

    def can_do_without(self, place: int) -> bool:
        """True when the other members that are fit are a majority."""
        view = self._core.view
        return view is not None and len(self.unsuspected() - {place}) >= view.majority

    def _unfit(self) -> set[int]:
        return self.suspects.keys() | self.unheard()

    def rank(self) -> int:
        """How many fit members come before this one; the first of them proposes."""
        view_log = self._core.view_log
        return 0 if view_log is None else sum(1 for place in self.unsuspected() if place < view_log.me)

    def tick(self) -> None:
        """Look at everyone."""
        core = self._core
        now, interval = core.now.monotonic, core.config.suspect_after // 4
        if now < self.deadline:
            return
        view_log = core.view_log
        if view_log is None or not core.is_member:
            self.deadline = NEVER
            return
        if now - self._looked_at > 2 * interval:
            # This process was paused, not the others: what they said meanwhile waits in a socket.
            for report in view_log.reports:
                report.heard_at = max(report.heard_at, now - interval)
            self._oldest = (None, now)
        self._looked_at = now
        self.deadline = now + interval
        self.joiners = {n: j for n, j in self.joiners.items() if now - j.at < core.config.joiner_memory}
        self._suspect(view_log, view_log.trim())
        self._check_quorum(view_log)
        wants = core.phase is Phase.ACTIVE and self.wants_change(view_log)
        self.want_since = NEVER if not wants else min(self.want_since, now)

    def _suspect(self, view_log: ViewLog, retained: int) -> None:
        found: dict[int, str] = {}
        stalled = self._stalled(view_log)
        lagging = (
            view_log.unheld(range(len(view_log.reports)))
            if retained > self._core.config.retained_bytes_max
            else []
        )
        for place in range(len(view_log.reports)):
            if place != view_log.me:
                reason = self._reason(view_log, place, place in stalled, place in lagging)
                if reason:
                    found[place] = reason
        for place, reason in found.items():
            if place not in self.suspects:
                self._core.outbox.emit(Suspected(view_log.view.node_ids[place], reason))
        for place in self.suspects.keys() - found.keys():
            self._core.outbox.emit(Unsuspected(view_log.view.node_ids[place]))
        self.suspects = found

    def _reason(self, view_log: ViewLog, place: int, stalled: bool, lagging: bool) -> str:
        report, node_id = view_log.reports[place], view_log.view.node_ids[place]
        name = short_id(node_id)
        silent = self._core.now.monotonic - report.heard_at
        if place in self.unheard():
            return f"{name} {self.condemned[node_id]}"
        if silent >= self._core.config.suspect_after:
            return f"{name} said nothing usable for {silent / 1_000_000:.1f} s"
        if report.flags & Flag.AILING:
            return f"{name} cannot write to its disk"
        if stalled:
            return f"{name} holds up everyone's orders"
        if lagging:
            return f"{name} is too far behind"
        return ""

    def _stalled(self, view_log: ViewLog) -> set[int]:
        """Members that are heard, but for long enough have been what the next entry waits for."""
        core = self._core
        entry = view_log.oldest_unfinal()
        if entry is None or core.phase is not Phase.ACTIVE:
            self._oldest = (None, core.now.monotonic)
            return set()
        if self._oldest[0] != entry.key:
            self._oldest = (entry.key, core.now.monotonic)
        if core.now.monotonic - self._oldest[1] < core.config.stalled_after:
            return set()
        origin = view_log.view.index[entry.origin]
        return {
            place
            for place, report in enumerate(view_log.reports)
            if report.promised < entry.timestamp
            or (report.have[origin] < entry.seq and (place, origin) not in view_log.forks)
        }

    def _check_quorum(self, view_log: ViewLog) -> None:
        silent = {
            place
            for place, report in enumerate(view_log.reports)
            if place != view_log.me
            and self._core.now.monotonic - report.heard_at >= self._core.config.suspect_after
        }
        heard = len(view_log.reports) - len(silent)
        self._tell_quorum(heard >= view_log.majority, heard, len(view_log.reports))

    def _tell_quorum(self, quorum: bool, heard: int = 0, size: int = 0) -> None:
        if quorum is self._quorum:
            return
        self._quorum = quorum
        reason = f"no quorum: {heard} of {size} members heard, {size // 2 + 1} needed; orders are pending"
        self._core.outbox.emit(QuorumBack() if quorum else QuorumLost(reason))

    @property
    def has_quorum(self) -> bool:
        """False while fewer than a majority are heard."""
        return self._quorum

    # -- what the next view should be ------------------------------------------------------------------------

    def wants_change(self, view_log: ViewLog) -> bool:
        """True when this member would leave somebody out, or let somebody in. Not without a quorum: it
        cannot.
        """
        if not self._quorum or not (self.joiners or self._unfit() or self.leaving()):
            return False
        return set(self.members(view_log, frozenset())) != set(view_log.view.members)

    def members(self, view_log: ViewLog, promised: frozenset[int]) -> tuple[Member, ...]:
        """Members of the view to propose; *promised*: who answered the ballot, so is alive after all.

        At least a majority of the members stay (leavers aside): evicting is for few, and if most seem unfit
        then it is this member that is. Newcomers are let in so that those who stay can go on should all of
        them vanish. Leavers take their votes along: where most of those who stay did not answer, they may have
        vanished as well, and those who did go on without them.
        """
        core, view = self._core, view_log.view
        leaving = self.leaving()
        replaced = {
            view.index[n] for n, j in self.joiners.items() if n in view.index and j.member not in view.members
        }
        unheard = self.unheard()
        alive = {place for place in promised - unheard if self._only_silent(place)}
        evicted = (self._unfit() - alive) | replaced
        if len(view.members) - len(evicted) < view_log.majority:
            evicted = (self._unfit() - (promised - unheard)) | replaced
        places = [place for place in range(len(view.members)) if place not in evicted | leaving]
        answered = [place for place in places if place in promised]
        if leaving and answered and 2 * len(answered) <= len(places):
            places = answered
        stay = [view.members[place] for place in places]
        room = min(core.config.members_max - len(stay), max(1, len(stay) - 1))
        known = {member.node_id for member in stay}
        if not stay:  # the last to leave has nobody to hand over to: it just goes
            stay = [view.members[min(leaving)]]
        fresh = sorted(
            (j for n, j in self.joiners.items() if n not in known and n not in self.condemned),
            key=lambda joiner: joiner.member.node_id,
        )
        return (*stay, *(joiner.member for joiner in fresh[: max(room, 0)]))

    def leaving(self) -> set[int]:
        """Places of the members that want to be left out."""
        view_log = self._core.view_log
        if view_log is None:
            return set()
        leaving = {place for place, report in enumerate(view_log.reports) if report.flags & Flag.LEAVING}
        return leaving | {view_log.me} if self._core.leaving else leaving

    def _only_silent(self, place: int) -> bool:
        """Suspected for silence alone: an answer takes that back."""
        return "said nothing usable" in self.suspects.get(place, "said nothing usable")

    def compose(self, promises: dict[int, Promise]) -> View:
        """The value to propose (`design: View change, 3`)."""
        core = self._core
        view_log = core.view_log
        if view_log is None:
            raise RuntimeError("only members propose")
        view = view_log.view
        cut = tuple(self._end(view_log, origin, promises) for origin in range(len(view.members)))
        return make_view(
            number=view.number + 1,
            parent=view.id,
            members=self.members(view_log, frozenset(promises)),
            floor=max(promise.clock for promise in promises.values()),
            cut=cut,
            proposer=core.node_id,
            chains=view_log.chains(cut),
        )

    def _end(self, view_log: ViewLog, origin: int, promises: dict[int, Promise]) -> int:
        """Up to which seq the entries of *origin* count: as far as anybody who promised holds them.

        Of an origin that lies, as far as everybody does: that covers what is final, since every member vouched for
        it, and nothing that would sort before something final. What the liar says of itself does not count.
        """
        liar = view_log.view.node_ids[origin] in self.condemned
        if not liar and not any((place, origin) in view_log.forks for place in promises):
            return max(promise.have[origin] for promise in promises.values())
        return min(
            view_log.common(place, origin) if (place, origin) in view_log.forks else promise.have[origin]
            for place, promise in promises.items()
            if place != origin
        )
