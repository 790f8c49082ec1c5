"""Records: what is written is read back, and tables hold the same state as the records themselves."""

from __future__ import annotations

import contextlib
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtex.errors import MalformedMessage
from dhtex.replication import DurableState
from dhtex.replication.records import (
    KINDS,
    Appended,
    Ceiling,
    Compacted,
    FinalMark,
    Incarnation,
    Installed,
    Pending,
    Record,
    SnapshotTaken,
    Vote,
    Withdrawn,
    pending_in_order,
    record_from_bytes,
    record_to_bytes,
)
from dhtex.replication.values import NO_BALLOT, Ballot, Entry, OrderKey, Snapshot, View, make_view
from replication.cluster import MS, SECOND, CheapSigner, Cluster, Network
from replication.hunt import FAST
from replication.test_messages import CHAINS, CONTEXT, DIGEST, ENTRY, MEMBERS, VIEW, L

RECORDS: list[Record] = [
    Incarnation(5, True),
    Ceiling(7),
    Appended(ENTRY),
    Vote(1, Ballot(2, b"n" * 20), NO_BALLOT, None),
    Vote(1, Ballot(2, b"n" * 20), Ballot(2, b"n" * 20), VIEW),
    Installed(VIEW),
    FinalMark(OrderKey(1, 2, b"n" * 20), 3, DIGEST),
    Pending(1, 2, b"\x92\x01\x02"),
    SnapshotTaken(Snapshot(L, VIEW, OrderKey(2, 0, b""), 5, DIGEST, (0, 0, 0), (), b"m")),
    Compacted(OrderKey(1, 0, b"")),
    Compacted(OrderKey(1, 0, b""), CHAINS),
    Withdrawn(b"n" * 20, 5),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_survives(record: Record) -> None:
    data = record_to_bytes(record)
    assert record_from_bytes(data) == record
    assert type(record_from_bytes(data)) is type(record)


def test_every_kind_is_tested() -> None:
    assert {type(record) for record in RECORDS} == set(KINDS)


@given(
    st.binary(max_size=80)
    | st.builds(lambda k, p: bytes([k]) + p, st.integers(0, 12), st.binary(max_size=80))
)
def test_junk_gives_one_kind_of_error(data: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        record_from_bytes(data)


def entry(seq: int, timestamp: int, first_n: int, number: int = 1, view: int = 1) -> Entry:
    return Entry.sign(
        CheapSigner(number),
        CONTEXT,
        view=view,
        seq=seq,
        timestamp=timestamp,
        first_n=first_n,
        count=1,
        commands=msgpack.packb([seq]),
    )


ONE = make_view(number=1, parent=L, members=MEMBERS, floor=1, cut=(), proposer=MEMBERS[0].node_id)


def two(cut: int) -> View:
    place = ONE.index[CheapSigner(1).node_id]
    seqs = tuple(cut if i == place else 0 for i in range(3))
    return make_view(
        number=2, parent=ONE.id, members=MEMBERS, floor=50, cut=seqs, proposer=MEMBERS[0].node_id
    )


def test_void_own_entries_are_pending_again() -> None:
    me = CheapSigner(1).node_id
    state = DurableState(
        me, [Installed(ONE), *(Appended(entry(i, 10 + i, i)) for i in (1, 2, 3)), Installed(two(1))]
    )
    assert [item.first_n for item in pending_in_order(state.pending.values())] == [2, 3]
    assert [item for item in state.history(ONE.key) if isinstance(item, Entry)] == [entry(1, 11, 1)]
    assert state.view == two(1)
    assert state.logs == {}


def test_void_entries_of_others_are_gone() -> None:
    state = DurableState(b"x" * 20, [Installed(ONE), Appended(entry(1, 11, 1)), Installed(two(0))])
    assert state.pending == {}
    assert [item for item in state.history(ONE.key) if isinstance(item, Entry)] == []


def test_an_entry_takes_its_commands_out_of_pending() -> None:
    me = CheapSigner(1).node_id
    state = DurableState(me, [Installed(ONE), Pending(1, 1, b"\x91\x01"), Pending(2, 1, b"\x91\x02")])
    state.apply(Appended(entry(1, 11, 1)))
    assert set(state.pending) == {2}


def test_a_vote_ends_with_its_view() -> None:
    vote = Vote(1, Ballot(1, b"p" * 20), NO_BALLOT, None)
    state = DurableState(b"x" * 20, [Installed(ONE), vote])
    assert state.vote == vote
    state.apply(Installed(two(0)))
    assert state.vote is None


def test_compacted_history_is_not_served() -> None:
    entries = [entry(i, 10 + i, i) for i in (1, 2, 3)]
    state = DurableState(
        b"x" * 20, [Installed(ONE), *map(Appended, entries), FinalMark(entries[1].key, 2, DIGEST)]
    )
    state.apply(Compacted(entries[0].key))
    assert state.read_archive(ONE.key, 10**6) is None
    assert state.read_archive(entries[0].key, 10**6) == [entries[1]]  # the third is not final
    assert state.logs[entries[0].origin] == entries[1:]


def test_tables_hold_the_same_as_records() -> None:
    """What `restore` builds from kept rows equals the reduction, at every moment of a lively history."""
    cluster = Cluster(5, 3, FAST, Network(loss=0.1))
    cluster.form()
    for step in range(60):
        cluster.submit(cluster.random.choice(cluster.nodes), 3)
        cluster.run(20 * MS)
        if step == 20:
            cluster.nodes[2].crash()
        if step == 40:
            cluster.restart(cluster.nodes[2])
    cluster.run(5 * SECOND, lambda: cluster.settled(cluster.nodes))
    for node in cluster.nodes:
        assert snapshot_of(DurableState(node.node_id, node.synced)) == snapshot_of(
            rebuilt(node.node_id, node.synced)
        )


def rebuilt(node_id: bytes, records: list[Record]) -> DurableState:
    state = DurableState(node_id, records)
    unfinal = [e for log in state.logs.values() for e in log if e.key > state.final.key]
    kept = [*state.history(OrderKey(0, 0, b"")), *sorted(unfinal, key=lambda e: e.key)]
    return DurableState.restore(
        node_id,
        lineage=state.lineage,
        incarnation=state.incarnation,
        admitted=state.admitted,
        ceiling=state.ceiling,
        vote=state.vote,
        snapshot=state.snapshot,
        final=state.final,
        compacted=state.compacted,
        compacted_chains=state.compacted_chains,
        history=kept,
        pending=state.pending.values(),
    )


def snapshot_of(state: DurableState) -> dict[str, Any]:
    found = dict(vars(state))
    found["logs"] = {origin: log for origin, log in state.logs.items() if log}
    found["history"] = list(state.history(OrderKey(0, 0, b"")))
    return found
