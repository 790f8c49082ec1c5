"""What a replica makes durable, and what it finds again: records, and the state they reduce to.

A journal is a sequence of records; `DurableState.apply` is the only meaning a record has. SQLite and the
simulated disk both follow it: whatever way a journal stores records, the state it hands to a new `Replica`
    equals the reduction
of the records it made durable, in order. A store that keeps tables instead of records builds it with
`DurableState.restore`.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import msgpack

from dhtex.errors import MalformedMessage
from dhtex.identity import NODE_ID_SIZE
from dhtex.replication.values import (
    CHAIN_SIZE,
    COUNT_MAX,
    DIGEST_SIZE,
    ENTRY_BYTES_MAX,
    INT_MAX,
    MEMBERS_MAX,
    NO_DIGEST,
    NO_LINEAGE,
    ORIGIN_OF_HISTORY,
    Ballot,
    Entry,
    HistoryItem,
    OrderKey,
    Snapshot,
    View,
    check_blob,
    check_bytes,
    check_int,
    check_list,
    unpack_list,
)


class Incarnation(NamedTuple):
    """The incarnation this journal may act as a member under; written before it is first told to anyone.

    *admitted*: it has been a member under it, so the numbers of its own commands are known for sure.
    """

    value: int
    admitted: bool


class Ceiling(NamedTuple):
    """No clock value above *timestamp* has been promised in the installed view; after a restart the clock starts from
    it. The next view begins without one.
    """

    timestamp: int


class Appended(NamedTuple):
    """An entry of the installed view, next of its origin; or a final entry that an observer was sent.

    An entry that is there already is to be ignored.
    """

    entry: Entry


class Vote(NamedTuple):
    """An acceptor's whole state for the view after *view*; replaces the one before. A vote means: frozen."""

    view: int
    promised: Ballot
    accepted: Ballot
    value: View | None


class Installed(NamedTuple):
    """A view begins. Entries of the one before beyond its cut are void; the rest of them is final."""

    view: View


class FinalMark(NamedTuple):
    """Everything up to *key* is final.

    *position* commands, *digest* after them. Written lazily, the highest counts.
    """

    key: OrderKey
    position: int
    digest: bytes


class Pending(NamedTuple):
    """Own commands that were accepted while no entry could be made."""

    first_n: int
    count: int  # type: ignore[assignment]  # the field hides tuple.count, which nobody needs here
    commands: bytes


class SnapshotTaken(NamedTuple):
    """A snapshot, own or fetched. One beyond the final mark is a jump: everything before it is replaced."""

    snapshot: Snapshot


class Compacted(NamedTuple):
    """History up to *key* need not be kept any longer; it is never beyond the newest snapshot.

    *chains*: of the entries up to there of each member of the key's view, see `Snapshot.chains`.
    """

    key: OrderKey
    chains: bytes = b""


class Withdrawn(NamedTuple):
    """Entries of *origin* beyond *seq* in the installed view do not count: it had signed others, too, and those do."""

    origin: bytes
    seq: int


Record = (
    Incarnation
    | Ceiling
    | Appended
    | Vote
    | Installed
    | FinalMark
    | Pending
    | SnapshotTaken
    | Compacted
    | Withdrawn
)

KINDS: Final[dict[type[Any], int]] = {
    Incarnation: 1,
    Ceiling: 2,
    Appended: 3,
    Vote: 4,
    Installed: 5,
    FinalMark: 6,
    Pending: 7,
    SnapshotTaken: 8,
    Compacted: 9,
    Withdrawn: 10,
}
"""Record class -> its number in stored bytes; never reused."""


def record_to_bytes(record: Record) -> bytes:
    """Canonical bytes: one byte for the kind, then the record's own."""
    return bytes((KINDS[type(record)],)) + _payload(record)


def _payload(record: Record) -> bytes:
    match record:
        case Appended(entry):
            return entry.raw
        case Installed(view):
            return view.to_bytes()
        case SnapshotTaken(snapshot):
            return snapshot.to_bytes()
        case Vote(view, promised, accepted, value):
            fields: list[Any] = [
                view,
                list(promised),
                list(accepted),
                None if value is None else value.to_bytes(),
            ]
        case FinalMark(key, position, digest):
            fields = [list(key), position, digest]
        case Compacted(key, chains):
            fields = [list(key), chains]
        case _:
            fields = list(record)
    packed: bytes = msgpack.packb(fields)
    return packed


def record_from_bytes(data: bytes) -> Record:
    """The record in *data*.

    Raises:
        MalformedMessage: unknown kind, or fields that do not fit.
    """
    if not data:
        raise MalformedMessage("arity", "empty record")
    kind, payload = data[0], data[1:]
    match kind:
        case 1:
            number, admitted = unpack_list(payload, 2)
            if type(admitted) is not bool:
                raise MalformedMessage("type", "expected a bool")
            return Incarnation(check_int(number, 1), admitted)
        case 2:
            return Ceiling(check_int(unpack_list(payload, 1)[0]))
        case 3:
            return Appended(Entry.from_bytes(payload))
        case 4:
            view, promised, accepted, value = unpack_list(payload, 4)
            decoded = None if value is None else View.from_bytes(check_blob(value))
            return Vote(check_int(view, 1), _ballot(promised), _ballot(accepted), decoded)
        case 5:
            return Installed(View.from_bytes(payload))
        case 6:
            key, position, digest = unpack_list(payload, 3)
            return FinalMark(key_from(key), check_int(position), check_bytes(digest, DIGEST_SIZE))
        case 7:
            return pending_from(unpack_list(payload, 3))
        case 8:
            return SnapshotTaken(Snapshot.from_bytes(payload))
        case 9:
            key, chains = unpack_list(payload, 2)
            return Compacted(key_from(key), check_blob(chains, CHAIN_SIZE * MEMBERS_MAX))
        case 10:
            origin, seq = unpack_list(payload, 2)
            return Withdrawn(check_bytes(origin, NODE_ID_SIZE), check_int(seq))
        case _:
            raise MalformedMessage("tag", f"record kind {kind}")


def _ballot(value: object) -> Ballot:
    number, proposer = check_list(value, 2)
    return Ballot(check_int(number), check_blob(proposer, NODE_ID_SIZE))


def pending_from(value: object) -> Pending:
    """The commands in a `[first n, count, commands]` list.

    Raises:
        MalformedMessage: there are none.
    """
    first_n, count, commands = check_list(value, 3)
    return Pending(
        check_int(first_n, 1), check_int(count, 1, COUNT_MAX), check_blob(commands, ENTRY_BYTES_MAX)
    )


def key_from(value: object) -> OrderKey:
    """The key in a `[view, timestamp, origin]` list.

    Raises:
        MalformedMessage: it is not one.
    """
    view, timestamp, origin = check_list(value, 3)
    return OrderKey(
        check_int(view, 0, 2**32 - 1), check_int(timestamp, 0, INT_MAX), check_blob(origin, NODE_ID_SIZE)
    )


class DurableState:
    """The reduction of a journal's records: what a restarted replica starts from.

    Attributes:
        node_id: whose journal this is; own entries that were voided become pending again.
        incarnation, admitted: see `Incarnation`; 0 when the peer never asked to join.
        ceiling: where the clock starts.
        lineage: id of view 1, or `NO_LINEAGE` while no view is installed.
        view: the installed view, or None.
        vote: the acceptor state for the next view, or None. A vote means frozen.
        snapshot: the newest one, or None.
        final: the newest final mark.
        compacted: history up to here is gone.
        compacted_chains: of the entries up to there, see `Compacted`.
        logs: origin -> entries of the installed view in order of seq, final ones included, as far as kept.
            Only members append here; an observer's entries are all final and only in `history`.
        pending: first n -> own commands not in any entry of the installed view.
    """

    def __init__(self, node_id: bytes, records: Iterable[Record] = ()) -> None:
        self.node_id = node_id
        self.incarnation = 0
        self.admitted = False
        self.ceiling = 0
        self.lineage = NO_LINEAGE
        self.view: View | None = None
        self.vote: Vote | None = None
        self.snapshot: Snapshot | None = None
        self.final = FinalMark(ORIGIN_OF_HISTORY, 0, NO_DIGEST)
        self.compacted = ORIGIN_OF_HISTORY
        self.compacted_chains = b""
        self.logs: dict[bytes, list[Entry]] = {}
        self.pending: dict[int, Pending] = {}
        self._closed: list[
            HistoryItem
        ] = []  # views, and entries of views before the installed one, ascending
        for record in records:
            self.apply(record)

    def apply(self, record: Record) -> None:
        """One record further."""
        match record:
            case Appended(entry):
                self._append(entry)
            case Ceiling(timestamp):
                self.ceiling = max(self.ceiling, timestamp)
            case FinalMark():
                self.final = max(self.final, record)
            case Pending(first_n, _, _):
                self.pending[first_n] = record
            case Vote():
                self.vote = record
            case Installed(view):
                self._install(view)
            case Incarnation(value, admitted):
                self.incarnation, self.admitted = value, admitted
            case SnapshotTaken(snapshot):
                self._snapshot(snapshot)
            case Compacted(key, chains):
                self._compact(key, chains)
            case Withdrawn(origin, seq):
                self.logs[origin] = [entry for entry in self.logs.get(origin, []) if entry.seq <= seq]

    def _append(self, entry: Entry) -> None:
        log = self.logs.setdefault(entry.origin, [])
        if log and entry.seq <= log[-1].seq:
            return  # an observer asks again for what its final mark did not cover when it went down
        log.append(entry)
        if entry.origin == self.node_id:
            for n in range(entry.first_n, entry.first_n + entry.count if self.pending else 0):
                self.pending.pop(n, None)

    def _install(self, view: View) -> None:
        if self.view is None:
            self.lineage = view.id
        else:
            cut = dict(zip(self.view.node_ids, view.cut, strict=True))
            final = [
                entry for origin, log in self.logs.items() for entry in log if entry.seq <= cut.get(origin, 0)
            ]
            self._closed += sorted(final, key=_key_of)
            for entry in self.logs.get(self.node_id, []):
                if entry.seq > cut.get(self.node_id, 0):
                    self.pending[entry.first_n] = Pending(entry.first_n, entry.count, entry.commands)
        self._closed.append(view)
        self.view, self.vote, self.logs, self.ceiling = view, None, {}, 0
        self.final = max(self.final, FinalMark(view.key, self.final.position, self.final.digest))

    def _snapshot(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        last_n = dict(snapshot.last_n).get(self.node_id, 0)
        if snapshot.key > self.final.key:
            for entry in self.logs.get(self.node_id, []):
                self.pending[entry.first_n] = Pending(entry.first_n, entry.count, entry.commands)
            self._closed = [snapshot.view]
            self.lineage, self.view, self.vote, self.logs = snapshot.lineage, snapshot.view, None, {}
            self.ceiling = 0
            self.final = FinalMark(snapshot.key, snapshot.position, snapshot.digest)
            self.compacted, self.compacted_chains = snapshot.key, snapshot.chains
        for first_n in [n for n, item in self.pending.items() if n + item.count <= last_n + 1]:
            del self.pending[first_n]

    def _compact(self, key: OrderKey, chains: bytes) -> None:
        if key > self.compacted:
            self.compacted, self.compacted_chains = key, chains
        self._closed = [item for item in self._closed if item.key > key or item is self.view]
        for origin, log in self.logs.items():
            self.logs[origin] = [entry for entry in log if entry.key > key]

    def history(self, after: OrderKey) -> Iterator[HistoryItem]:
        """Views and final entries after *after*, in the total order.

        Complete only if *after* ≥ `compacted`.
        """
        parts: list[Sequence[HistoryItem]] = [self._closed, *self.logs.values()]
        kept = (_between(items, after, self.final.key) for items in parts)
        return heapq.merge(*kept, key=_key_of)

    def read_archive(self, after: OrderKey, limit_bytes: int) -> list[HistoryItem] | None:
        """What answers a `ReadArchive` effect; None when history after *after* is no longer complete."""
        if after < self.compacted:
            return None
        found: list[HistoryItem] = []
        for item in self.history(after):
            limit_bytes -= len(item.raw) if isinstance(item, Entry) else len(item.to_bytes())
            if found and limit_bytes < 0:
                break
            found.append(item)
        return found

    @classmethod
    def restore(
        cls,
        node_id: bytes,
        *,
        lineage: bytes,
        incarnation: int,
        admitted: bool,
        ceiling: int,
        vote: Vote | None,
        snapshot: Snapshot | None,
        final: FinalMark,
        compacted: OrderKey,
        compacted_chains: bytes,
        history: Iterable[HistoryItem],
        pending: Iterable[Pending],
    ) -> DurableState:
        """The same state from what a store keeps of it, instead of from every record ever written.

        Args:
            history: every kept view and entry ascending by key, the entries of the installed view that are
                not final yet included. The installed view is the last one in it; it is kept however far
                compaction went.
        """
        state = cls(node_id)
        for item in history:
            if isinstance(item, View):
                state._closed += sorted((entry for log in state.logs.values() for entry in log), key=_key_of)
                state._closed.append(item)
                state.view, state.logs = item, {}
            else:
                state.logs.setdefault(item.origin, []).append(item)
        state.lineage, state.incarnation, state.admitted, state.ceiling = (
            lineage,
            incarnation,
            admitted,
            ceiling,
        )
        state.vote, state.snapshot, state.final, state.compacted = vote, snapshot, final, compacted
        state.compacted_chains = compacted_chains
        state.pending = {item.first_n: item for item in pending}
        return state


def _key_of(item: HistoryItem) -> OrderKey:
    return item.key


def _between(items: Sequence[HistoryItem], after: OrderKey, to: OrderKey) -> Iterator[HistoryItem]:
    """The items with keys in (after, to], of items ascending by key."""
    return islice(items, bisect_right(items, after, key=_key_of), bisect_right(items, to, key=_key_of))


def pending_in_order(pending: Iterable[Pending]) -> list[Pending]:
    """Ascending by n, without what another covers."""
    found: list[Pending] = []
    for item in sorted(pending):
        if not found or item.first_n >= found[-1].first_n + found[-1].count:
            found.append(item)
    return found
