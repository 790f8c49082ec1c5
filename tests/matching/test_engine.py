"""The engine's face: batches, views, snapshots, auctions that are wider than a scenario."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtex.errors import MalformedMessage, UsageError
from dhtex.matching import (
    Amend,
    Cancel,
    Command,
    Kind,
    Limits,
    MarketSpec,
    MatchingEngine,
    OrderId,
    Phase,
    Place,
    SelfTrade,
    SetPhase,
    Side,
    TimeInForce,
    Trade,
    encode_commands,
)
from dhtex.matching.auction import indicate
from dhtex.matching.audit import audit
from dhtex.matching.book import Book
from dhtex.matching.taking import lots_lacking
from matching.support import ALICE, BOB, OPERATOR, Market, trades


def busy_market(seed: int = 5, commands: int = 400) -> Market:
    """A market with orders of every kind in it."""
    draw = random.Random(seed)
    market = Market()
    for _ in range(commands):
        market.time += 1
        side, quantity, price = draw.choice(list(Side)), draw.randint(2, 20), draw.randint(90, 110)
        options = draw.choice(
            [
                {},
                {"display": quantity // 2},
                {"all_or_none": True},
                {"time_in_force": TimeInForce.GTD, "expiry": market.time + draw.randint(1, 500)},
                {"account": "fund", "tag": f"t{market.time}"},
                {"kind": Kind.STOP_LIMIT, "trigger": draw.randint(80, 120)},
            ]
        )
        mode = draw.choice(list(SelfTrade))
        order = Place(side, quantity, price, self_trade=mode, **options)  # type: ignore[arg-type] # drawn by name
        market.do(order, draw.choice([ALICE, BOB]))
    return market


def test_a_batch_is_its_commands_one_after_the_other() -> None:
    commands: list[Command] = [Place(Side.SELL, 5, 100), Place(Side.BUY, 3, 100, self_trade=SelfTrade.OFF)]
    spec = MarketSpec("X", 1, 1)
    whole, single = MatchingEngine(spec), MatchingEngine(spec)
    batch = whole.apply_batch(
        encode_commands(commands), owner=ALICE, first_n=1, count=2, timestamp=9, position=1
    )
    events = [e for n, c in enumerate(commands, 1) for e in single.apply(c, owner=ALICE, n=n, timestamp=9)]
    assert list(batch) == events
    assert len(batch) == 2
    assert whole.digest() == single.digest()


def test_skipped_commands_take_no_position() -> None:
    commands = encode_commands([Place(Side.SELL, 5, price) for price in (100, 101, 102)])
    engine = MatchingEngine(MarketSpec("X", 1, 1))
    engine.apply_batch(commands, owner=ALICE, first_n=1, count=3, timestamp=1, position=1)
    batch = engine.apply_batch(commands, owner=ALICE, first_n=2, count=3, timestamp=1, position=4, skip=2)
    assert [(event.position, event.index) for event in batch] == [(4, 0)]
    assert engine.position == 4
    empty = engine.apply_batch(commands, owner=ALICE, first_n=2, count=3, timestamp=1, position=5, skip=3)
    assert list(empty) == []
    assert engine.position == 4


def test_a_position_that_does_not_ascend_is_a_bug_of_the_caller() -> None:
    market = Market()
    market.buy(5, 100)
    with pytest.raises(RuntimeError, match="positions ascend"):
        market.engine.apply(Place(Side.BUY, 5, 100), owner=BOB, n=1, timestamp=1, position=1)


def test_trade_ids_are_unique_and_derived() -> None:
    market = Market()
    for _ in range(3):
        market.sell(1, 100)
    events = [e for e in market.do(Place(Side.BUY, 3, 100), BOB) if isinstance(e, Trade)]
    assert [event.trade_id for event in events] == ["4-1", "4-2", "4-3"]
    assert all(event.aggressor is Side.BUY for event in events)


def test_views() -> None:
    market = Market()
    ask = market.sell(5, 101)
    bid = market.buy(4, 99, BOB)
    market.buy(3, 98, BOB)
    engine = market.engine
    assert (engine.best_bid, engine.best_ask, engine.last_price) == (99, 101, None)
    assert engine.depth() == (((99, 4), (98, 3)), ((101, 5),))
    assert engine.depth(1) == (((99, 4),), ((101, 5),))
    assert engine.depth(0) == ((), ())
    assert [order.id for order in engine.orders(BOB)] == [bid, OrderId(BOB, 2)]
    assert list(engine.orders(b"nobody" + bytes(14))) == []
    order = engine.order(ask)
    assert order is not None
    assert (order.side, order.price, order.remaining, order.priority) == (Side.SELL, 101, 5, 1)
    assert engine.order(OrderId(ALICE, 9)) is None
    assert [order.id for order in engine.queue(Side.BUY)] == [bid, OrderId(BOB, 2)]
    assert "TEST at 3: 3 open orders" in repr(engine)
    assert (engine.phase, engine.resume_at, engine.spec) == (Phase.CONTINUOUS, None, market.spec)


def test_changes_are_asked_for_right_after_the_batch() -> None:
    engine = MatchingEngine(MarketSpec("X", 1, 1))
    batch = encode_commands([Place(Side.BUY, 5, 100)])
    first = engine.apply_batch(batch, owner=ALICE, first_n=1, count=1, timestamp=1, position=1)
    assert engine.changes(first) == ((Side.BUY, 100, 5),)
    engine.apply_batch(batch, owner=ALICE, first_n=2, count=1, timestamp=1, position=2)
    with pytest.raises(UsageError):
        engine.changes(first)


def test_a_snapshot_carries_everything() -> None:
    market = busy_market()
    assert len(market.engine) > 20
    copy = MatchingEngine(market.spec)
    copy.restore(market.engine.snapshot())
    audit(copy)
    assert copy.snapshot() == market.engine.snapshot()
    assert list(copy.orders()) == list(market.engine.orders())
    draw = random.Random(7)
    for n in range(10_000, 10_200):
        market.time += 5
        order = Place(draw.choice(list(Side)), draw.randint(1, 30), draw.randint(90, 110))
        ours = market.engine.apply(order, owner=ALICE, n=n, timestamp=market.time)
        assert copy.apply(order, owner=ALICE, n=n, timestamp=market.time) == ours
    assert copy.digest() == market.engine.digest()


def test_a_snapshot_does_not_tell_how_it_came_about() -> None:
    there_and_back, plain = Market(), Market()
    order = there_and_back.sell(5, 100)
    there_and_back.do(Amend(order, price=101))
    there_and_back.do(Amend(order, price=100))
    plain.refusal(Amend(OrderId(ALICE, 99)))
    plain.refusal(Amend(OrderId(ALICE, 99)))
    assert there_and_back.engine.depth() == (((), ((100, 5),)))
    other = plain.sell(5, 100)
    assert (order.n, other.n) == (1, 3)
    assert len(there_and_back.engine.snapshot()) == len(plain.engine.snapshot())


def test_a_damaged_snapshot_is_refused_and_the_engine_stays() -> None:
    market = busy_market(commands=60)
    good = market.engine.snapshot()
    digest = market.engine.digest()
    for cut in range(0, len(good), 7):
        with pytest.raises(MalformedMessage):
            market.engine.restore(good[:cut])
    assert market.engine.digest() == digest


@given(st.binary(max_size=80))
def test_any_bytes_but_a_snapshot_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        MatchingEngine(MarketSpec("X", 1, 1)).restore(data)


@given(st.data())
def test_a_flipped_bit_is_refused_or_makes_a_sound_market(data: st.DataObject) -> None:
    market = Market()
    market.do(Place(Side.SELL, 10, 100, display=3, tag="t"))
    market.do(Place(Side.BUY, 10, kind=Kind.STOP, trigger=120))
    good = bytearray(market.engine.snapshot())
    at = data.draw(st.integers(0, len(good) * 8 - 1))
    good[at // 8] ^= 1 << (at % 8)
    engine = MatchingEngine(market.spec)
    try:
        engine.restore(bytes(good))
    except MalformedMessage:
        return
    audit(engine)


def test_a_snapshot_of_another_market_is_refused() -> None:
    market = Market()
    other = MatchingEngine(MarketSpec("OTHER", 1, 1))
    with pytest.raises(MalformedMessage, match="another market"):
        other.restore(market.engine.snapshot())


Levels = list[tuple[int, int]]


def at_price(bids: Levels, asks: Levels, price: int) -> tuple[int, int]:
    """The lots that an auction at *price* would trade, and the surplus."""
    wanted = sum(q for p, q in bids if p >= price)
    offered = sum(q for p, q in asks if p <= price)
    return min(wanted, offered), wanted - offered


def stated_price(bids: Levels, asks: Levels, last: int | None) -> int:
    """The auction's price by the words of docs/reference/matching.md, found by trying every limit."""
    limits = sorted({price for price, _ in bids + asks})
    most = max(at_price(bids, asks, price)[0] for price in limits)
    tied = [price for price in limits if at_price(bids, asks, price)[0] == most]
    least = min(abs(at_price(bids, asks, price)[1]) for price in tied)
    tied = [price for price in tied if abs(at_price(bids, asks, price)[1]) == least]
    surpluses = [at_price(bids, asks, price)[1] for price in tied]
    if min(surpluses) > 0:
        return tied[-1]
    if max(surpluses) < 0 or last is None:
        return tied[0]
    return last if tied[0] < last < tied[-1] else min(tied, key=lambda price: abs(price - last))


ORDERS = st.lists(st.tuples(st.integers(95, 105), st.integers(1, 50)), max_size=12)


@given(ORDERS, ORDERS, st.one_of(st.none(), st.integers(90, 110)))
def test_an_auction_trades_the_most_that_any_price_can_at_the_stated_one(
    bids: Levels, asks: Levels, last: int | None
) -> None:
    market = Market()
    if last is not None:
        market.buy(1, last)
        market.sell(1, last, BOB)
    market.do(SetPhase(Phase.AUCTION), OPERATOR)
    for price, quantity in bids:
        market.buy(quantity, price)
    for price, quantity in asks:
        market.sell(quantity, price)
    found = market.engine.indication()
    most = max(at_price(bids, asks, price)[0] for price in range(90, 112))
    assert (found.quantity if found else 0) == most
    if found is not None:
        assert found.price == stated_price(bids, asks, last)
        assert found[1:] == at_price(bids, asks, found.price)
    events = market.do(SetPhase(Phase.CONTINUOUS), OPERATOR)
    traded = [event for event in events if isinstance(event, Trade)]
    assert sum(event.quantity for event in traded) == most
    assert all(found is not None and event.price == found.price for event in traded)
    assert market.engine.indication() is None


def test_an_empty_book_has_no_auction() -> None:
    assert indicate(Book(), None) is None


def test_a_stop_limit_that_finds_no_level_is_cancelled() -> None:
    market = Market(limits=Limits(levels=2))
    market.sell(2, 100)
    market.do(Place(Side.BUY, 5, 90, Kind.STOP_LIMIT, trigger=100), BOB)
    market.buy(1, 80, BOB)
    order = Place(Side.BUY, 1, 100, time_in_force=TimeInForce.IOC)
    events = market.do(order, b"carol" + bytes(15))
    assert [type(event).__name__ for event in events] == ["Accepted", "Trade", "Triggered", "Cancelled"]


def test_expiries_of_orders_gone_early_do_not_pile_up() -> None:
    market = Market()
    for _ in range(500):
        market.do(Place(Side.BUY, 1, 100, time_in_force=TimeInForce.GTD, expiry=10**9, tag="t"))
        market.do(Cancel(tag="t"))
    assert len(market.engine._state.expiries) < 200


def test_an_all_or_none_order_that_lacks_lots_is_left_alone_until_they_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each look walks over all levels that it crosses; with a look a command one such order slows all others down."""
    looks: list[int] = []

    def counted(*args: Any) -> int:
        looks.append(lots_lacking(*args))
        return looks[-1]

    monkeypatch.setattr("dhtex.matching.entering.lots_lacking", counted)
    market = Market()
    offers = [market.sell(5, 100 + at) for at in range(4)]
    market.do(Place(Side.BUY, 30, 200, all_or_none=True), BOB)
    (waiting,) = market.engine.orders(BOB)
    looks.clear()
    for _ in range(5):
        market.do(Place(Side.BUY, 1, 50), BOB)
    market.do(Cancel(offers[0]))
    market.sell(9, 150)
    assert looks == []  # 10 were lacking, 9 came
    market.do(Amend(waiting.id, quantity=28), BOB)
    market.sell(3, 151)
    assert looks == [4]
    assert len(trades(market.do(Place(Side.SELL, 1, 160)))) == 6
    assert looks == [4, 0]
    assert market.engine.order(waiting.id) is None
