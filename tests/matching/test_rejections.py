"""Every reason for a rejection, in the order of precedence: one row each, which also breaks every later rule it can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from dhtex.matching import (
    Amend,
    Cancel,
    CancelAll,
    Command,
    Event,
    Kind,
    Limits,
    MarketSpec,
    MatchingEngine,
    OrderId,
    Phase,
    Place,
    ReferenceEngine,
    Rejected,
    RejectReason,
    SetPhase,
    Side,
    TimeInForce,
    encode_commands,
)
from dhtex.matching.audit import audit
from dhtex.matching.market import MAX_INTEGER
from matching.support import ALICE, BOB, OPERATOR, Market

LIMITS = Limits(
    orders=3, orders_per_account=2, levels=1, text=4, slices=3, contingent=1, quantity=100, price=100
)
GTD, IOC, FOK = TimeInForce.GTD, TimeInForce.IOC, TimeInForce.FOK


def at_its_limits() -> Market:
    """Two open orders of Alice, tagged `a` and with the account `acc`; the only level is 50; Bob has one."""
    market = Market(limits=LIMITS)
    market.do(Place(Side.SELL, 10, 50, tag="a"))
    market.do(Place(Side.SELL, 10, 50, account="acc", all_or_none=True))
    return market


def full() -> Market:
    market = at_its_limits()
    market.do(Place(Side.SELL, 10, 50), BOB)
    return market


def halted() -> Market:
    market = full()
    market.do(SetPhase(Phase.HALTED), OPERATOR)
    return market


def gathering() -> Market:
    market = full()
    market.do(SetPhase(Phase.AUCTION), OPERATOR)
    return market


def partly_filled() -> Market:
    market = Market(limits=replace(LIMITS, levels=2))
    market.do(Place(Side.SELL, 10, 50))
    market.do(Place(Side.BUY, 4, 50), BOB)
    return market


def account_full() -> Market:
    market = Market(limits=LIMITS)
    market.do(Place(Side.SELL, 10, 50))
    market.do(Place(Side.SELL, 10, 50))
    return market


def iceberg() -> Market:
    market = Market(limits=LIMITS)
    market.do(Place(Side.SELL, 9, 50, display=3))
    return market


def facing() -> Market:
    market = Market()
    market.do(Place(Side.SELL, 9, 70, post_only=True))
    market.do(Place(Side.BUY, 4, 60), BOB)
    return market


MINE, OF_ACCOUNT, NOBODYS = OrderId(ALICE, 1), OrderId(ALICE, 2), OrderId(ALICE, 99)

PLACE: list[tuple[RejectReason, Callable[[], Market], Command]] = [
    (RejectReason.HALTED, halted, Place(Side.BUY, 0, 0, Kind.MARKET, FOK, post_only=True)),
    (RejectReason.NOT_IN_AUCTION, gathering, Place(Side.BUY, 0, 0, Kind.MARKET, FOK, post_only=True)),
    (RejectReason.INVALID_COMBINATION, full, Place(Side.BUY, 0, 0, Kind.MARKET, GTD, expiry=0, display=0)),
    (RejectReason.INVALID_QUANTITY, full, Place(Side.BUY, 0, 0, time_in_force=GTD, expiry=0, display=0)),
    (RejectReason.INVALID_QUANTITY, full, Place(Side.BUY, 101, 0, time_in_force=GTD, expiry=0, display=0)),
    (RejectReason.INVALID_PRICE, full, Place(Side.BUY, 5, 0, time_in_force=GTD, expiry=0, display=0)),
    (RejectReason.INVALID_PRICE, full, Place(Side.BUY, 5, 101, Kind.STOP_LIMIT, GTD, expiry=0, trigger=0)),
    (RejectReason.INVALID_TRIGGER, full, Place(Side.BUY, 5, 5, Kind.STOP_LIMIT, GTD, expiry=0, trigger=0)),
    (
        RejectReason.INVALID_TRIGGER,
        full,
        Place(Side.BUY, 5, None, Kind.TRAILING_STOP, GTD, expiry=0, trail=101),
    ),
    (RejectReason.INVALID_DISPLAY, full, Place(Side.BUY, 5, 5, time_in_force=GTD, expiry=0, display=0)),
    (RejectReason.INVALID_DISPLAY, full, Place(Side.BUY, 5, 5, time_in_force=GTD, expiry=0, display=6)),
    (RejectReason.INVALID_DISPLAY, full, Place(Side.BUY, 7, 5, time_in_force=GTD, expiry=0, display=2)),
    (RejectReason.INVALID_EXPIRY, full, Place(Side.BUY, 5, 5, time_in_force=GTD, expiry=1, account="x" * 5)),
    (
        RejectReason.INVALID_EXPIRY,
        full,
        Place(Side.BUY, 5, 5, time_in_force=GTD, expiry=MAX_INTEGER + 1, account="x" * 5),
    ),
    (RejectReason.TEXT_TOO_LONG, full, Place(Side.BUY, 5, 5, account="x" * 5, tag="a")),
    (RejectReason.TEXT_TOO_LONG, full, Place(Side.BUY, 5, 5, tag="éé€")),
    (RejectReason.DUPLICATE_TAG, full, Place(Side.BUY, 5, 60, post_only=True, tag="a")),
    (RejectReason.MARKET_FULL, full, Place(Side.BUY, 5, 60, post_only=True)),
    (RejectReason.ACCOUNT_FULL, account_full, Place(Side.BUY, 5, 60, post_only=True)),
    (RejectReason.CONTINGENT_FULL, at_its_limits, Place(Side.BUY, 5, 60, all_or_none=True)),
    (RejectReason.CONTINGENT_FULL, at_its_limits, Place(Side.BUY, 5, kind=Kind.TRAILING_STOP, trail=5)),
    (RejectReason.LEVELS_FULL, at_its_limits, Place(Side.BUY, 5, 60, post_only=True)),
    (RejectReason.POST_ONLY, partly_filled, Place(Side.BUY, 5, 50, post_only=True)),
]

CHANGE: list[tuple[RejectReason, Callable[[], Market], Command]] = [
    (RejectReason.UNKNOWN_ORDER, halted, Amend(NOBODYS)),
    (RejectReason.NOT_OWNER, halted, Amend(OF_ACCOUNT)),
    (RejectReason.NOT_OWNER, halted, Amend(OrderId(BOB, 1))),
    (RejectReason.HALTED, halted, Amend(MINE)),
    (RejectReason.NOTHING_TO_AMEND, full, Amend(MINE)),
    (RejectReason.INVALID_QUANTITY, full, Amend(MINE, 0, 0)),
    (RejectReason.INVALID_QUANTITY, full, Amend(MINE, 101, 0)),
    (RejectReason.INVALID_PRICE, full, Amend(MINE, 5, 0)),
    (RejectReason.INVALID_PRICE, full, Amend(MINE, 5, 101)),
    (RejectReason.INVALID_DISPLAY, iceberg, Amend(MINE, 10, 60)),
    (RejectReason.ALREADY_FILLED, partly_filled, Amend(MINE, 4, 60)),
    (RejectReason.LEVELS_FULL, full, Amend(MINE, 5, 60)),
    (RejectReason.POST_ONLY, facing, Amend(MINE, 5, 60)),
    (RejectReason.UNKNOWN_ORDER, full, Cancel(NOBODYS)),
    (RejectReason.UNKNOWN_ORDER, full, Cancel(tag="zz")),
    (RejectReason.NOT_OWNER, full, Cancel(OrderId(BOB, 1))),
    (RejectReason.NOT_OWNER, full, Cancel(OF_ACCOUNT)),
    (RejectReason.NOT_OPERATOR, full, SetPhase(Phase.CONTINUOUS)),
]


def name_of(value: object) -> str | None:
    return value.name if isinstance(value, RejectReason) else None


@pytest.mark.parametrize(("reason", "market", "command"), PLACE + CHANGE, ids=name_of)
def test_reason(reason: RejectReason, market: Callable[[], Market], command: Command) -> None:
    assert market().refusal(command) is reason


def test_the_operator_cannot_repeat_a_phase() -> None:
    assert Market().refusal(SetPhase(Phase.CONTINUOUS), OPERATOR) is RejectReason.PHASE_UNCHANGED


def test_the_table_is_in_order_and_whole() -> None:
    """Within a command the rows follow the precedence; together they show every reason that a command can have."""
    assert all(first[0] <= second[0] for first, second in pairwise(PLACE))
    amends = [row for row in CHANGE if isinstance(row[2], Amend)]
    assert all(first[0] <= second[0] for first, second in pairwise(amends))
    shown = {reason for reason, _, _ in PLACE + CHANGE}
    elsewhere = {
        RejectReason.MALFORMED,
        RejectReason.INVALID_ID,
        RejectReason.DUPLICATE_ID,
        RejectReason.PHASE_UNCHANGED,
    }
    assert shown | elsewhere == set(RejectReason)


@pytest.mark.parametrize(
    ("reason", "owner", "n", "batch"),
    [
        (RejectReason.MALFORMED, b"short", 5, b"\xc1"),
        (RejectReason.MALFORMED, b"short", 5, b"\x91\x91\x63"),
        (RejectReason.MALFORMED, ALICE, 5, b"\xc1"),
        (RejectReason.MALFORMED, ALICE, 5, b"\x91\x91\x63"),
        (RejectReason.INVALID_ID, b"short", 5, encode_commands([Cancel(NOBODYS)])),
        (RejectReason.DUPLICATE_ID, ALICE, 5, encode_commands([Cancel(NOBODYS)])),
        (RejectReason.UNKNOWN_ORDER, ALICE, 6, encode_commands([Cancel(NOBODYS)])),
    ],
)
@pytest.mark.parametrize("kind", [MatchingEngine, ReferenceEngine])
def test_what_is_wrong_with_any_command(
    kind: type[MatchingEngine | ReferenceEngine], reason: RejectReason, owner: bytes, n: int, batch: bytes
) -> None:
    engine = kind(MarketSpec("TEST", 1, 1))
    engine.apply(Place(Side.BUY, 5, 50), owner=ALICE, n=5, timestamp=1)
    (event,) = engine.apply_batch(batch, owner=owner, first_n=n, count=1, timestamp=1, position=2).events()
    assert isinstance(event, Rejected)
    assert event.reason is reason


@pytest.mark.parametrize(
    ("owner", "n"),
    [(b"short", 1), (b"x" * 21, 1), (ALICE, 0), (ALICE, -1), (ALICE, MAX_INTEGER + 1)],
)
def test_a_sender_outside_its_range(owner: bytes, n: int) -> None:
    market = Market()
    events = market.engine.apply(CancelAll(), owner=owner, n=n, timestamp=1)
    assert [event.reason for event in events if isinstance(event, Rejected)] == [RejectReason.INVALID_ID]
    assert market.engine.position == 1


@pytest.mark.parametrize(
    ("first_n", "refused"), [(MAX_INTEGER - 1, [2]), (-1, [0, 1]), (MAX_INTEGER + 1, [0, 1, 2])]
)
@pytest.mark.parametrize("kind", [MatchingEngine, ReferenceEngine])
@pytest.mark.parametrize("cut", [False, True], ids=["one batch", "one by one"])
def test_numbers_that_end_within_a_batch(
    kind: type[MatchingEngine | ReferenceEngine], first_n: int, refused: list[int], cut: bool
) -> None:
    engine = kind(MarketSpec("TEST", 1, 1))
    commands = [Place(Side.BUY, 5, 50)] * 3
    events: list[Event] = []
    for at in range(0, 3, 1 if cut else 3):
        part = commands[at : at + 1] if cut else commands
        events += engine.apply_batch(
            encode_commands(part),
            owner=ALICE,
            first_n=first_n + at,
            count=len(part),
            timestamp=1,
            position=1 + at,
        ).events()
    reasons = {event.position - 1: event.reason for event in events if isinstance(event, Rejected)}
    assert reasons == dict.fromkeys(refused, RejectReason.INVALID_ID)
    if isinstance(engine, MatchingEngine):
        audit(engine)
        assert len(engine) == 3 - len(refused)


def test_a_malformed_batch_uses_up_the_numbers_that_are_some() -> None:
    digests = set()
    for engine in (MatchingEngine(MarketSpec("TEST", 1, 1)), ReferenceEngine(MarketSpec("TEST", 1, 1))):
        engine.apply_batch(b"", owner=ALICE, first_n=MAX_INTEGER, count=2, timestamp=1, position=1)
        digests.add(engine.digest())
    assert len(digests) == 1


def test_the_highest_number_can_be_used_once() -> None:
    market = Market()
    order = Place(Side.BUY, 5, 50)
    (accepted,) = market.engine.apply(order, owner=ALICE, n=MAX_INTEGER, timestamp=1)
    assert not isinstance(accepted, Rejected)
    (again,) = market.engine.apply(order, owner=ALICE, n=MAX_INTEGER, timestamp=1)
    assert isinstance(again, Rejected)
    assert again.reason is RejectReason.DUPLICATE_ID


def test_a_number_is_used_up_by_a_rejection() -> None:
    market = Market()
    market.engine.apply(Place(Side.BUY, 0, 50), owner=ALICE, n=7, timestamp=1)
    for n in (1, 7):
        (again,) = market.engine.apply(Place(Side.BUY, 5, 50), owner=ALICE, n=n, timestamp=1)
        assert isinstance(again, Rejected)
        assert again.reason is RejectReason.DUPLICATE_ID


def test_a_rejected_command_changes_the_digest() -> None:
    market = Market()
    market.buy(5, 50)
    before = market.engine.digest()
    assert market.refusal(Cancel(NOBODYS)) is RejectReason.UNKNOWN_ORDER
    assert market.engine.digest() != before
