"""The lock table: one holder at a time, first come first served, no lock held past its lease."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dhtex.errors import MalformedMessage
from dhtex.locks import LEASE_US_MAX, LockEvent, LockRequest, LockTable, Outcome

ALICE, BOB, CAROL = b"a" * 20, b"b" * 20, b"c" * 20


class Table(LockTable):
    """Numbers the requests of each node."""

    def __init__(self) -> None:
        super().__init__()
        self.n = dict.fromkeys((ALICE, BOB, CAROL), 0)

    def ask(self, name: str, lease: int, node_id: bytes, timestamp: int) -> list[LockEvent]:
        self.n[node_id] += 1
        return self.apply(LockRequest(name, lease), node_id=node_id, n=self.n[node_id], timestamp=timestamp)


def outcomes(events: list[LockEvent]) -> list[tuple[bytes, Outcome]]:
    return [(event.node_id, event.outcome) for event in events]


def test_first_come_first_served() -> None:
    table = Table()
    assert outcomes(table.ask("x", 100, ALICE, 1)) == [(ALICE, Outcome.GRANTED)]
    assert table.ask("x", 100, BOB, 2) == [LockEvent("x", BOB, Outcome.WAITING, 1, until=101)]
    assert outcomes(table.ask("x", 100, CAROL, 3)) == [(CAROL, Outcome.WAITING)]
    assert outcomes(table.ask("x", 0, ALICE, 4)) == [(ALICE, Outcome.RELEASED), (BOB, Outcome.GRANTED)]
    assert table.holder("x") == BOB


def test_a_lease_ends_by_the_time_of_the_log_and_the_next_holds_from_then() -> None:
    table = Table()
    table.ask("x", 100, ALICE, 0)
    table.ask("x", 100, BOB, 1)
    assert table.ask("other", 10, CAROL, 150)[:2] == [
        LockEvent("x", ALICE, Outcome.EXPIRED, 1),
        LockEvent("x", BOB, Outcome.GRANTED, 1, until=200),
    ]
    table.ask("third", 10, CAROL, 200)
    assert table.holder("x") is None


def test_leases_end_in_the_order_of_their_ends() -> None:
    table = Table()
    table.ask("x", 10, ALICE, 0)
    table.ask("x", 50, BOB, 0)
    table.ask("y", 20, CAROL, 0)
    ended = [event for event in table.ask("z", 1, CAROL, 100) if event.outcome is Outcome.EXPIRED]
    assert [(event.name, event.node_id) for event in ended] == [("x", ALICE), ("y", CAROL), ("x", BOB)]


def test_a_holder_renews_and_a_waiter_may_leave() -> None:
    table = Table()
    table.ask("x", 100, ALICE, 0)
    table.ask("x", 100, BOB, 1)
    assert table.ask("x", 100, ALICE, 90) == [LockEvent("x", ALICE, Outcome.GRANTED, 2, until=190)]
    assert table.ask("x", 0, BOB, 91) == [LockEvent("x", BOB, Outcome.RELEASED, 2)]
    assert table.ask("x", 0, BOB, 92) == [LockEvent("x", BOB, Outcome.REFUSED, 3)]


def test_a_grant_names_the_last_request_of_its_node() -> None:
    table = Table()
    table.ask("x", 100, ALICE, 0)
    table.ask("x", 100, BOB, 1)
    table.ask("x", 60, BOB, 2)
    assert table.ask("x", 0, ALICE, 3)[1:] == [LockEvent("x", BOB, Outcome.GRANTED, 2, until=63)]


@pytest.mark.parametrize(
    "snapshot", [b"", b"\x91\x01", b"\x91\x93\xa1x\x05\x90", b"\x91\x93\xa1x\x05\x91\x91\x01"]
)
def test_what_is_no_snapshot_is_refused(snapshot: bytes) -> None:
    with pytest.raises(MalformedMessage):
        LockTable().restore(snapshot)


@pytest.mark.parametrize(
    "row",
    [
        *((), ("x",), ("x", 1, 2), (1, "x"), ("x", True), ("x", None), (b"x", 1)),
        *(("", 1), ("x" * 65, 1), ("x", -1), ("x", LEASE_US_MAX + 1)),
    ],
)
def test_what_is_no_request_is_refused(row: tuple[object, ...]) -> None:
    with pytest.raises(MalformedMessage):
        LockRequest.from_row(row)


class Locks(RuleBasedStateMachine):
    """Random requests; a restored copy goes along and must never differ."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.copy, self.time, self.n = LockTable(), LockTable(), 0, 0
        self.until: dict[str, tuple[bytes, int]] = {}

    @rule(
        node=st.sampled_from([ALICE, BOB, CAROL]),
        name=st.sampled_from("xy"),
        lease=st.sampled_from([0, 0, 1, 50, 1000]),
        passed=st.integers(0, 120),
    )
    def request(self, node: bytes, name: str, lease: int, passed: int) -> None:
        self.time += passed
        self.n += 1
        wanted = LockRequest.from_row(LockRequest(name, lease).to_row())
        events = self.table.apply(wanted, node_id=node, n=self.n, timestamp=self.time)
        self.copy.restore(self.copy.snapshot())
        assert self.copy.apply(wanted, node_id=node, n=self.n, timestamp=self.time) == events
        for event in events:
            holder, _ = self.until.get(event.name, (None, 0))
            if event.outcome is Outcome.GRANTED:
                assert holder in (None, event.node_id), "two holders"
                self.until[event.name] = (event.node_id, event.until)
            elif event.outcome in (Outcome.RELEASED, Outcome.EXPIRED) and holder == event.node_id:
                del self.until[event.name]

    @invariant()
    def holders_are_as_the_events_said(self) -> None:
        for name in "xy":
            assert self.table.holder(name) == self.until.get(name, (None, 0))[0]
        assert all(until > self.time for _, until in self.until.values()), "held past the lease"
        assert self.table.snapshot() == self.copy.snapshot()


TestLocks = Locks.TestCase
