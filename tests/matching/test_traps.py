"""What other engines get wrong, one test each. Source: issue "A matching engine people would choose by itself"."""

from __future__ import annotations

from dhtex.matching import (
    Accepted,
    Amend,
    Amended,
    Cancel,
    Cancelled,
    CancelReason,
    Expired,
    Kind,
    Place,
    Rejected,
    RejectReason,
    Replenished,
    SelfTrade,
    Side,
    TimeInForce,
    Trade,
    Triggered,
)
from matching.support import ALICE, BOB, Market, trades


def test_a_market_remainder_never_rests_at_price_zero() -> None:
    market = Market()
    market.sell(1, 100)
    events = market.do(Place(Side.BUY, 5, kind=Kind.MARKET), BOB)
    assert isinstance(events[-1], Cancelled)
    assert (events[-1].quantity, events[-1].reason, events[-1].price) == (4, CancelReason.UNFILLED, None)
    assert market.engine.depth() == ((), ())
    assert len(market.engine) == 0


def test_nothing_trades_before_the_number_is_checked() -> None:
    market = Market()
    market.sell(5, 100)
    market.engine.apply(Place(Side.BUY, 1, 90), owner=BOB, n=5, timestamp=1)
    events = market.engine.apply(Place(Side.BUY, 5, 100), owner=BOB, n=5, timestamp=1)
    assert [type(event) for event in events] == [Rejected]
    assert market.engine.depth().asks == ((100, 5),)


def test_a_replacement_leaves_no_ghost_depth() -> None:
    market = Market()
    order = market.sell(10, 100)
    market.do(Amend(order, price=101))
    market.do(Amend(order, price=100))
    market.do(Amend(order, quantity=20, price=100))
    assert market.engine.depth().asks == ((100, 20),)
    market.do(Cancel(order))
    assert market.engine.depth().asks == ()


def test_fill_or_kill_does_not_touch_the_book() -> None:
    market = Market()
    market.sell(3, 100)
    market.sell(3, 101)
    before = market.engine.depth(), list(market.engine.orders()), market.engine.last_price
    events = market.do(Place(Side.BUY, 7, 101, time_in_force=TimeInForce.FOK), BOB)
    assert [type(event) for event in events] == [Accepted, Cancelled]
    assert (market.engine.depth(), list(market.engine.orders()), market.engine.last_price) == before


def test_fill_or_kill_trades_at_the_makers_prices() -> None:
    market = Market()
    market.sell(3, 100)
    market.sell(3, 101)
    assert trades(market.do(Place(Side.BUY, 6, 105, time_in_force=TimeInForce.FOK), BOB)) == [
        (100, 3),
        (101, 3),
    ]


def test_an_untriggered_stop_can_be_cancelled() -> None:
    market = Market()
    market.do(Place(Side.BUY, 3, kind=Kind.STOP, trigger=100))
    (stop,) = market.engine.orders()
    market.do(Cancel(stop.id))
    market.sell(5, 100)
    assert trades(market.do(Place(Side.BUY, 1, 100), BOB)) == [(100, 1)]
    assert market.engine.depth().asks == ((100, 4),)


def test_an_iceberg_neither_loses_nor_doubles_quantity() -> None:
    market = Market()
    market.do(Place(Side.SELL, 10, 100, display=3))
    sold = 0
    for quantity in (1, 2, 4, 1, 5):
        sold += sum(lots for _, lots in trades(market.do(Place(Side.BUY, quantity, 100), BOB)))
    assert sold == 10
    assert market.engine.depth().asks == ()
    assert market.engine.depth().bids == ((100, 3),)


def test_an_iceberg_goes_to_the_back_of_its_queue() -> None:
    market = Market()
    market.do(Place(Side.SELL, 10, 100, display=3))
    other = market.sell(3, 100, BOB)
    events = market.do(Place(Side.BUY, 4, 100), b"carol".ljust(20, b"\0"))
    assert any(isinstance(event, Replenished) for event in events)
    assert [event.quantity for event in events if isinstance(event, Trade)] == [3, 1]
    assert next(order.id for order in market.engine.queue(Side.SELL)) == other


def test_a_cascade_of_stops_runs_each_once_and_ends() -> None:
    market = Market()
    for price in range(100, 150):
        market.sell(1, price)
        market.do(Place(Side.BUY, 1, kind=Kind.STOP, trigger=price), BOB)
    events = market.do(Place(Side.BUY, 1, 100), b"carol".ljust(20, b"\0"))
    triggered = [event.order for event in events if isinstance(event, Triggered)]
    assert len(triggered) == len(set(triggered)) == 50
    assert len(trades(events)) == 50
    assert len(market.engine) == 0


def test_stops_that_set_each_other_off_on_both_sides_end() -> None:
    market = Market()
    market.buy(50, 99)
    market.sell(50, 101)
    for _ in range(5):
        market.do(Place(Side.BUY, 1, kind=Kind.STOP, trigger=101, self_trade=SelfTrade.OFF), BOB)
        market.do(Place(Side.SELL, 1, kind=Kind.STOP, trigger=101, self_trade=SelfTrade.OFF), BOB)
    events = market.do(Place(Side.BUY, 1, 101), b"carol".ljust(20, b"\0"))
    assert {price for price, _ in trades(events)} == {99, 101}
    assert sum(isinstance(event, Triggered) for event in events) == 10


def test_a_self_match_leaves_no_id_or_tag_in_use() -> None:
    market = Market()
    market.do(Place(Side.SELL, 5, 100, tag="one"))
    market.do(Place(Side.BUY, 5, 100, self_trade=SelfTrade.CANCEL_BOTH, tag="two"))
    assert len(market.engine) == 0
    for tag in ("one", "two"):
        assert isinstance(market.do(Place(Side.SELL, 5, 100, tag=tag))[0], Accepted)


def test_an_all_or_none_order_does_not_block_the_queue() -> None:
    market = Market()
    market.do(Place(Side.SELL, 10, 100, all_or_none=True))
    market.sell(4, 100)
    assert trades(market.do(Place(Side.BUY, 4, 100), BOB)) == [(100, 4)]


def test_an_all_or_none_order_leaves_the_book_uncrossed() -> None:
    market = Market()
    market.do(Place(Side.SELL, 10, 100, all_or_none=True))
    market.buy(4, 105, BOB)
    assert (market.engine.best_bid, market.engine.best_ask) == (105, None)


def test_expiry_comes_before_a_fill_at_the_same_time() -> None:
    market = Market()
    market.do(Place(Side.SELL, 5, 100, time_in_force=TimeInForce.GTD, expiry=10))
    market.time = 10
    events = market.do(Place(Side.BUY, 5, 100), BOB)
    assert [type(event) for event in events] == [Expired, Accepted]
    assert [event.index for event in events] == [0, 1]
    assert market.engine.depth() == (((100, 5),), ())


def test_an_amend_that_crosses_trades() -> None:
    market = Market()
    market.sell(5, 100)
    bid = market.buy(5, 90, BOB)
    events = market.do(Amend(bid, price=100), BOB)
    assert [type(event) for event in events] == [Amended, Trade]
    assert len(market.engine) == 0


def test_an_amend_down_keeps_priority() -> None:
    market = Market()
    first = market.sell(10, 100)
    market.sell(10, 100)
    market.do(Amend(first, quantity=5))
    assert next(market.engine.queue(Side.SELL)).id == first


def test_a_filled_order_cannot_be_cancelled() -> None:
    market = Market()
    order = market.sell(5, 100)
    market.sell(7, 100)
    market.buy(5, 100, BOB)
    assert market.refusal(Cancel(order)) is RejectReason.UNKNOWN_ORDER
    assert market.engine.depth().asks == ((100, 7),)


def test_events_survive_every_early_end() -> None:
    """Trades made before self-trade prevention ends the taker are told, and in order."""
    market = Market()
    market.sell(3, 99, BOB)
    market.sell(5, 100)
    events = market.do(Place(Side.BUY, 8, 100))
    assert [type(event) for event in events] == [Accepted, Trade, Cancelled]
    assert [event.index for event in events] == [0, 1, 2]
    assert {event.position for event in events} == {3}


def test_numbers_of_two_nodes_do_not_meet() -> None:
    market = Market()
    ours, theirs = market.sell(5, 100, ALICE), market.sell(5, 100, BOB)
    assert ours.n == theirs.n
    market.do(Cancel(ours), ALICE)
    assert [order.id for order in market.engine.orders()] == [theirs]
