"""The lock table: one holder at a time, first come first served, no lock held past its lease."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dhtex.errors import MalformedMessage
from dhtex.locks import LEASE_US_MAX, LockEvent, LockRequest, LockTable, Outcome

ALICE, BOB, CAROL = b"a" * 20, b"b" * 20, b"c" * 20


def outcomes(events: list[LockEvent]) -> list[tuple[bytes, Outcome]]:
    return [(event.node_id, event.outcome) for event in events]


def test_first_come_first_served() -> None:
    table = LockTable()
    assert outcomes(table.apply(LockRequest("x", 100), node_id=ALICE, timestamp=1)) == [
        (ALICE, Outcome.GRANTED)
    ]
    assert outcomes(table.apply(LockRequest("x", 100), node_id=BOB, timestamp=2)) == [(BOB, Outcome.WAITING)]
    assert outcomes(table.apply(LockRequest("x", 100), node_id=CAROL, timestamp=3)) == [
        (CAROL, Outcome.WAITING)
    ]
    assert outcomes(table.apply(LockRequest("x", 0), node_id=ALICE, timestamp=4)) == [
        (ALICE, Outcome.RELEASED),
        (BOB, Outcome.GRANTED),
    ]
    assert table.holder("x") == BOB


def test_a_lease_ends_by_the_time_of_the_log_and_the_next_holds_from_then() -> None:
    table = LockTable()
    table.apply(LockRequest("x", 100), node_id=ALICE, timestamp=0)
    table.apply(LockRequest("x", 100), node_id=BOB, timestamp=1)
    events = table.apply(LockRequest("other", 10), node_id=CAROL, timestamp=150)
    assert events[:2] == [
        LockEvent("x", ALICE, Outcome.EXPIRED),
        LockEvent("x", BOB, Outcome.GRANTED, until=200),
    ]
    table.apply(LockRequest("third", 10), node_id=CAROL, timestamp=200)
    assert table.holder("x") is None


def test_a_holder_renews_and_a_waiter_may_leave() -> None:
    table = LockTable()
    table.apply(LockRequest("x", 100), node_id=ALICE, timestamp=0)
    table.apply(LockRequest("x", 100), node_id=BOB, timestamp=1)
    renewed = table.apply(LockRequest("x", 100), node_id=ALICE, timestamp=90)
    assert renewed == [LockEvent("x", ALICE, Outcome.GRANTED, until=190)]
    assert outcomes(table.apply(LockRequest("x", 0), node_id=BOB, timestamp=91)) == [(BOB, Outcome.RELEASED)]
    assert outcomes(table.apply(LockRequest("x", 0), node_id=BOB, timestamp=92)) == [(BOB, Outcome.REFUSED)]


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
        self.table, self.copy, self.time = LockTable(), LockTable(), 0
        self.until: dict[str, tuple[bytes, int]] = {}

    @rule(
        node=st.sampled_from([ALICE, BOB, CAROL]),
        name=st.sampled_from("xy"),
        lease=st.sampled_from([0, 0, 1, 50, 1000]),
        passed=st.integers(0, 120),
    )
    def request(self, node: bytes, name: str, lease: int, passed: int) -> None:
        self.time += passed
        wanted = LockRequest.from_row(LockRequest(name, lease).to_row())
        events = self.table.apply(wanted, node_id=node, timestamp=self.time)
        self.copy.restore(self.copy.snapshot())
        assert self.copy.apply(wanted, node_id=node, timestamp=self.time) == events
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
