"""The order itself: own entries out, others' entries and statuses in, what is final applied, views installed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dhtex.replication.core import NEVER, Core, Phase, Wish
from dhtex.replication.effects import (
    Accepted,
    Destination,
    DigestMismatch,
    Equivocation,
    PromiseBroken,
    Restored,
    ViewInstalled,
)
from dhtex.replication.fetching import Fetching
from dhtex.replication.finality import ViewLog
from dhtex.replication.ledger import Ledger, Mismatch
from dhtex.replication.log import Fit
from dhtex.replication.messages import Entries, Flag, Status
from dhtex.replication.records import Compacted, Incarnation, Installed, Pending, SnapshotTaken
from dhtex.replication.serving import Serving
from dhtex.replication.submission import Gathered, Submissions
from dhtex.replication.values import CHAIN_SIZE, NO_LINEAGE, Entry, HistoryItem, Snapshot, View


class Ordering:
    """Moves entries from submission to finality, and from view to view.

    Args:
        view_changed: called when a view begins or the state was replaced.
        condemn: called with a member that broke the rules, and how: the end of a sentence about it.
        can_do_without: of a place, True when the others that are fit can decide the next view.
    """

    def __init__(
        self,
        core: Core,
        ledger: Ledger,
        submissions: Submissions,
        fetching: Fetching,
        serving: Serving,
        *,
        view_changed: Callable[[], None],
        condemn: Callable[[bytes, str], None],
        can_do_without: Callable[[int], bool],
    ) -> None:
        self._core = core
        self._ledger = ledger
        self._submissions = submissions
        self._fetching = fetching
        self._serving = serving
        self._view_changed = view_changed
        self._condemn = condemn
        self._can_do_without = can_do_without
        self._caught: dict[tuple[type[Equivocation | PromiseBroken], bytes], int] = {}  # -> in which view

    # -- own entries -----------------------------------------------------------------------------------------

    def issue(self) -> None:
        """Make one entry of what has gathered, unless one is being made durable or enough are on their way.

        An idle peer so adds no delay, and a busy one batches by itself (`design: Normal operation, 1`).
        """
        core = self._core
        view_log = core.view_log
        if core.inflight is not None or core.phase is not Phase.ACTIVE or view_log is None or core.full:
            return
        if not self._submissions:
            return
        log = view_log.logs[view_log.me]
        if log.appended - view_log.held(view_log.me) >= core.config.pipeline_max:
            return
        gathered = self._submissions.gather()
        if gathered is None:
            return
        entry = Entry.sign(
            core.signer,
            core.context,
            view=view_log.view.number,
            seq=log.appended + 1,
            timestamp=core.tick_clock(),
            first_n=gathered.first_n,
            count=gathered.count,
            commands=gathered.commands,
        )
        core.inflight = entry
        core.append(view_log.me, entry)
        core.outbox.once_durable(lambda: self._send(view_log, entry, gathered))

    def _send(self, view_log: ViewLog, entry: Entry, gathered: Gathered) -> None:
        """The entry is durable: say so to the submitter, and give it to the others."""
        core = self._core
        for first_n, count in gathered.news:
            core.outbox.emit(Accepted(first_n, count))
        if core.inflight is entry:
            core.inflight = None
        if core.view_log is view_log and core.phase is Phase.ACTIVE:
            core.broadcast(Entries(core.lineage, (entry,)))

    def save_pending(self) -> None:
        """Make queued commands durable as they are: no entry will take them soon."""
        core = self._core
        items = self._submissions.save()
        for item in items:
            core.outbox.record(Pending(item.first_n, item.count, item.commands))

        def durable() -> None:
            for item in items:
                core.outbox.emit(Accepted(item.first_n, item.count))

        if items:
            core.outbox.once_durable(durable)

    # -- others' entries and statuses ------------------------------------------------------------------------

    def entries(self, sender: bytes, to: Destination, message: Entries) -> int | None:
        """Entries from a member. Gives the number of another view met on the way, or None."""
        core = self._core
        view_log = core.view_log
        if view_log is None or core.full:
            return None
        other_view: int | None = None
        number, index = view_log.view.number, view_log.view.index
        for entry in message.entries:
            if entry.view != number:
                other_view = entry.view if other_view is None else max(other_view, entry.view)
                continue
            place = index.get(entry.origin)
            if place is not None and place != view_log.me:
                self._entry(view_log, place, entry, sender, to)
        if view_log.disputes:
            self._fetching.notice_gap()
        return other_view

    def _entry(self, view_log: ViewLog, place: int, entry: Entry, sender: bytes, to: Destination) -> None:
        core, log = self._core, view_log.logs[place]
        fit = log.fit(entry)
        speaker = view_log.view.index.get(sender, -1)
        forks = bool(view_log.disputes) and view_log.served(speaker, place, entry)
        if fit is Fit.KNOWN:
            return
        open_view = core.phase is Phase.ACTIVE
        if not open_view and fit is not Fit.CONFLICT and entry.seq > log.wanted:
            return  # closed: only what a cut asks for
        if entry.timestamp > core.latest_acceptable() and (
            open_view or self._is_refused(view_log, place, entry)
        ):
            if sender == entry.origin:
                core.refuse_clock(sender, to, entry.timestamp - core.now.wall)
            return
        if open_view and log.unfinal_bytes > core.config.unfinal_bytes_max:
            return
        if fit is Fit.NEXT and entry.timestamp <= log.timestamp:
            return
        if not entry.verify(core.signer, view_log.view.members[place].public_key, core.context):
            return
        if fit is Fit.CONFLICT:
            if forks:
                view_log.fork(speaker, place)
            self._conflict(view_log, place, entry)
            if sender != entry.origin and view_log.may_replace(place, entry.seq):
                core.replace(place, entry)
            return
        if fit is Fit.NEXT and entry.key <= self._ledger.key:
            # Its origin had promised that this would not come, and what it sorts before became final by that word.
            self._tell_once(PromiseBroken(entry.origin, entry), entry.view)
            self._condemn(entry.origin, "issued an entry for a time that it had promised to be over")
            return
        if fit is Fit.AHEAD:
            log.keep_ahead(entry, core.config.ahead_entries_max)
            self._fetching.notice_gap()
            return
        core.append(place, entry)
        while log.ahead:
            following = log.ahead.pop(log.appended + 1, None)
            if following is None or following.timestamp <= log.timestamp:
                break
            core.append(place, following)

    def _is_refused(self, view_log: ViewLog, place: int, entry: Entry) -> bool:
        """True when *entry*, too far ahead, is not to be taken while the view is closed either.

        What a cut names is below a floor that was judged. And whom the others cannot do without, them it drags along.
        """
        target = view_log.target
        named = target is not None and entry.seq <= target.cut[place]
        return not named and self._can_do_without(place)

    def status(self, place: int, node_id: bytes, to: Destination, status: Status) -> None:
        """The status of a member, of the installed view."""
        core = self._core
        view_log = core.view_log
        if view_log is None:
            return
        report = view_log.reports[place]
        report.flags = status.flags
        drift = status.wall - core.now.wall
        if abs(drift) > core.config.max_drift:
            core.refuse_clock(node_id, to, drift)
        else:
            report.heard_at = core.now.monotonic
        if (
            core.phase is not Phase.ACTIVE
            or status.flags & Flag.FROZEN
            or len(status.have) != len(view_log.reports)
            or len(status.chains) != CHAIN_SIZE * len(status.have)
        ):
            return
        if view_log.have(place, status.have, status.chains):
            self._fetching.notice_gap()
        if 0 < status.promise <= core.latest_acceptable():
            view_log.promise(place, status.promise, status.have[place])
        self.compare(node_id, status.position, status.digest)

    def compare(self, node_id: bytes, position: int, digest: bytes) -> None:
        """Stop when the others got somewhere else with the same commands."""
        mismatch = self._ledger.compare(node_id, position, digest)
        if mismatch is not None:
            self._stop(mismatch)

    def _stop(self, mismatch: Mismatch) -> None:
        core = self._core
        if core.phase is not Phase.STOPPED:
            core.outbox.emit(
                DigestMismatch(mismatch.node_id, mismatch.position, mismatch.ours, mismatch.theirs)
            )
            core.enter(Phase.STOPPED)

    # -- finality --------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Apply what has become final."""
        core = self._core
        view_log = core.view_log
        if core.phase is not Phase.ACTIVE or view_log is None:
            return
        final = view_log.advance(core.own_promise)
        if final:
            self._apply(final)
            self._applied()

    def _apply(self, entries: Sequence[Entry]) -> None:
        emit, apply = self._core.outbox.emit, self._ledger.apply
        for entry in entries:
            emit(apply(entry))

    def _applied(self) -> None:
        """After final entries: mark, compare, forget, snapshot."""
        core, ledger = self._core, self._ledger
        core.outbox.mark(ledger.mark())
        mismatch = ledger.compare_claims()
        if mismatch is not None:
            self._stop(mismatch)
        snapshot = ledger.snapshot
        if ledger.position - (0 if snapshot is None else snapshot.position) >= core.config.snapshot_every:
            self._take_snapshot()

    def _take_snapshot(self) -> None:
        core, ledger = self._core, self._ledger
        before = ledger.snapshot
        view_log = core.view_log
        chains = b"" if view_log is None else view_log.chains([log.final for log in view_log.logs])
        snapshot = ledger.take_snapshot(core.lineage, chains)
        core.outbox.record(SnapshotTaken(snapshot))
        self._serving.keep_snapshot(snapshot)
        if before is not None:
            # Final in an open view means held by every member; whoever else lacks entries is offered the snapshot.
            ledger.compacted = before.key
            core.outbox.record(Compacted(before.key, before.chains))

    # -- views -----------------------------------------------------------------------------------------------

    def install(self, view: View) -> None:
        """*view* begins; every entry of the one before, up to its cut, is here (`design: View change, 5`)."""
        core, ledger = self._core, self._ledger
        resubmitted = 0
        closed = core.view_log
        if closed is not None:
            final, void = closed.close(view.cut)
            self._apply(final)
            resubmitted = self._submissions.requeue(void)
        core.outbox.mark(ledger.mark())
        core.outbox.record(Installed(view))
        core.previous = closed
        ledger.install(view)
        core.set_view(view)
        core.restart_clock(view.floor)
        self._begin(view)
        if closed is not None and core.view_log is not None:
            leavers = (member for member in closed.view.members if member.node_id not in view.index)
            self._serving.release(core.destinations(leavers))
        core.outbox.emit(ViewInstalled(view, resubmitted))
        self._applied()

    def _begin(self, view: View) -> None:
        """What this peer is in *view*."""
        core, ledger = self._core, self._ledger
        ledger.forget_claims(view.node_ids)
        if core.incarnation and view.has(core.node_id, core.incarnation):
            core.view_log = ViewLog(view, view.index[core.node_id], core.now.monotonic)
            core.enter(Phase.ACTIVE)
            if not core.was_member:
                core.was_member = True
                core.outbox.record(Incarnation(core.incarnation, admitted=True))
            core.cover(core.read_clock())
            core.status_due = True
        else:
            core.view_log = None
            core.enter(Phase.FOLLOWING)  # a leaver, too, until it knows that the others go on without it
        own = ledger.last_n.get(core.node_id, 0)
        self._submissions.drop_final(own)
        self._submissions.next_n = max(self._submissions.next_n, own + 1)
        self._view_changed()

    def take_snapshot(self, snapshot: Snapshot) -> None:
        """Become *snapshot*: this peer was away for longer than history is kept."""
        core, ledger = self._core, self._ledger
        if core.view_log is not None:
            log = core.view_log.logs[core.view_log.me]
            self._submissions.requeue(log.entries[log.final - log.base :])
        if snapshot.key != snapshot.view.key and snapshot.view.has(core.node_id, core.incarnation):
            # The journal forgets its log and its vote of that view: after a restart it must not act in it again.
            core.draw_incarnation(admitted=core.was_member)
        core.outbox.record(SnapshotTaken(snapshot))
        ledger.restore(snapshot)
        self._serving.keep_snapshot(snapshot)
        core.views.clear()
        core.previous = core.view_log = None
        core.set_lineage(snapshot.lineage)
        core.set_view(snapshot.view)
        core.restart_clock(max(snapshot.view.floor, snapshot.key.timestamp))
        core.outbox.emit(Restored(ledger.position, ledger.digest, ledger.last_n.get(core.node_id, 0)))
        if snapshot.key == snapshot.view.key:
            self._begin(snapshot.view)
        else:
            # In the middle of a view. Nothing can be final in a view that waits for this peer, so it is no
            # member.
            core.enter(Phase.LEFT if core.wish is Wish.LEAVE else Phase.FOLLOWING)
            self._submissions.drop_final(ledger.last_n.get(core.node_id, 0))
            self._view_changed()

    def take_items(self, items: Sequence[HistoryItem]) -> None:
        """Consecutive history from a peer that is being followed. Stops at the first item that does not fit."""
        core = self._core
        before = self._ledger.key
        for item in items:
            fits = self._take_view(item) if isinstance(item, View) else self._take_entry(item)
            if not fits or core.phase not in {Phase.FOLLOWING, Phase.INSTALLING}:
                break
        if self._ledger.key != before:
            self._submissions.drop_final(self._ledger.last_n.get(core.node_id, 0))
            # A closed view's log still holds own entries beyond the cut, which a mark would call final.
            if core.phase is not Phase.INSTALLING:
                self._applied()

    def _take_view(self, view: View) -> bool:
        core = self._core
        if view.key <= self._ledger.key:
            return True
        if core.view is None:
            if view.number != 1 or view.id != core.lineage or core.lineage == NO_LINEAGE:
                return False
        elif not view.follows(core.view) or (core.view_log is not None and not core.view_log.holds(view)):
            return False
        self.install(view)
        return True

    def _conflict(self, view_log: ViewLog, place: int, entry: Entry) -> None:
        """*entry*, with a good signature, is another than the one we hold in its place: its origin signed both.

        The others are told, too, since each may hold only one of the two; once, the proof does not get better.
        """
        core, log = self._core, view_log.logs[place]
        held = log.at(entry.seq) or log.ahead.get(entry.seq)
        if held is not None and self._tell_once(Equivocation(entry.origin, held, entry), entry.view):
            core.broadcast(Entries(core.lineage, (held, entry)))
        self._condemn(entry.origin, "signed two different entries for one place in its log")

    def _tell_once(self, caught: Equivocation | PromiseBroken, view: int) -> bool:
        """Tell how somebody was caught, the first time in a view; True when it was."""
        key = (type(caught), caught.origin)
        if self._caught.get(key) == view:
            return False
        self._caught[key] = view
        self._core.outbox.emit(caught)
        return True

    def _take_entry(self, entry: Entry) -> bool:
        core, ledger, view = self._core, self._ledger, self._core.view
        if entry.key <= ledger.key:
            return True
        place = None if view is None or entry.view != view.number else view.index.get(entry.origin)
        if view is None or place is None or entry.seq != ledger.seqs.get(entry.origin, 0) + 1:
            return False
        view_log = core.view_log
        held = None if view_log is None else view_log.logs[place].at(entry.seq)
        if held is None or held.body != entry.body:
            if not entry.verify(core.signer, view.members[place].public_key, core.context):
                return False
            if view_log is not None and held is not None:
                self._conflict(view_log, place, entry)
                core.replace(place, entry)
            else:
                core.follow(place, entry)
        if view_log is not None:
            view_log.logs[place].finalize_next()
        core.outbox.emit(ledger.apply(entry))
        return True

    # -- time ------------------------------------------------------------------------------------------------

    @property
    def save_at(self) -> int:
        """When commands that got into no entry are to be made durable as pending, monotonic."""
        since = self._submissions.oldest_unsaved()
        return NEVER if since is None else since + self._core.config.accept_within
