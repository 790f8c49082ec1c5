"""From what the journal holds to a replica that goes on as itself."""

from __future__ import annotations

from dhtex.errors import JournalCorrupt, MalformedMessage
from dhtex.replication.core import Core, Phase, Wish
from dhtex.replication.effects import Restored
from dhtex.replication.finality import ViewLog
from dhtex.replication.ledger import Ledger
from dhtex.replication.membership import Acceptor
from dhtex.replication.records import DurableState, pending_in_order
from dhtex.replication.serving import Serving
from dhtex.replication.submission import Submissions
from dhtex.replication.values import NO_LINEAGE, ORIGIN_OF_HISTORY, View


def recover(
    state: DurableState,
    core: Core,
    ledger: Ledger,
    submissions: Submissions,
    acceptor: Acceptor,
    serving: Serving,
) -> None:
    """Bring fresh parts to where *state* was left.

    Raises:
        JournalCorrupt: the snapshot does not decode, or the replayed history does not give the digest that was
            recorded.
    """
    core.incarnation, core.was_member = state.incarnation, state.admitted
    core.incarnation_durable = state.incarnation != 0
    core.wish = Wish.MEMBER if state.incarnation else Wish.NOTHING
    core.ceiling = core.ceiling_asked = state.ceiling
    core.observe(state.ceiling)
    if state.lineage != NO_LINEAGE:
        core.set_lineage(state.lineage)
    _replay(state, core, ledger, serving)
    own = ledger.last_n.get(core.node_id, 0)
    submissions.next_n = own + 1
    if state.view is not None:
        core.set_view(state.view)
        core.observe(state.view.floor)
        if state.incarnation and state.view.has(core.node_id, state.incarnation):
            core.enter(Phase.ACTIVE)
            core.view_log = _view_log(state, state.view, core)
            log = core.view_log.logs[core.view_log.me]
            for entry in log.entries:
                submissions.next_n = max(submissions.next_n, entry.first_n + entry.count)
            if state.vote is not None:
                acceptor.restore(state.vote)
        else:
            core.enter(Phase.FOLLOWING)
    submissions.recover(pending_in_order(state.pending.values()))
    submissions.drop_final(own)
    core.outbox.emit(Restored(ledger.position, ledger.digest, own))


def _replay(state: DurableState, core: Core, ledger: Ledger, serving: Serving) -> None:
    """Snapshot, then every final entry after it."""
    start = ORIGIN_OF_HISTORY
    if state.snapshot is not None:
        try:
            ledger.restore(state.snapshot)
        except MalformedMessage as error:
            raise JournalCorrupt(
                f"the journal's snapshot at position {state.snapshot.position} cannot be used ({error}); "
                "restore a backup, or move the journal away and join again"
            ) from error
        serving.keep_snapshot(state.snapshot)
        core.observe(state.snapshot.key.timestamp)
        core.views[state.snapshot.view.number] = state.snapshot.view
        start = state.snapshot.key
    for item in state.history(start):
        if isinstance(item, View):
            core.views[item.number] = item
            ledger.install(item)
        else:
            ledger.apply(item)
            core.observe(item.timestamp)
    ledger.compacted = state.compacted
    if (ledger.position, ledger.digest) != (state.final.position, state.final.digest):
        raise JournalCorrupt(
            f"replaying the journal ends at position {ledger.position}, with another digest than was recorded at "
            f"{state.final.position}; restore a backup, or move the journal away and join again"
        )


def _view_log(state: DurableState, view: View, core: Core) -> ViewLog:
    """The member's logs, as far as kept; everything in them is durable."""
    in_snapshot = state.snapshot is not None and state.snapshot.view.number == view.number
    seqs = state.snapshot.seqs if state.snapshot is not None and in_snapshot else (0,) * len(view.members)
    bases = []
    for node_id, seq in zip(view.node_ids, seqs, strict=True):
        log = state.logs.get(node_id)
        bases.append(log[0].seq - 1 if log else seq)
    chains = state.compacted_chains if state.compacted.view == view.number else b""
    view_log = ViewLog(view, view.index[core.node_id], core.now.monotonic, bases, view.floor, chains)
    for place, node_id in enumerate(view.node_ids):
        for entry in state.logs.get(node_id, []):
            view_log.append(place, entry)
            core.observe(entry.timestamp)
            if entry.key <= state.final.key:
                view_log.logs[place].finalize_next()
    view_log.durable([log.appended for log in view_log.logs], [0] * len(bases))
    return view_log
