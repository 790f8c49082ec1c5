"""The replicated state machine: orders in batches, lock requests between them."""

from __future__ import annotations

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from dhtex.exchange import Exchange, encode_lock
from dhtex.locks import LockRequest, Outcome
from dhtex.matching import MarketSpec, OrderId, Place, Rejected, RejectReason, Side, Trade, encode_commands
from dhtex.replication import CommandBatch

SPEC = MarketSpec("BTC-USD")
ALICE, BOB = b"a" * 20, b"b" * 20


def batch(
    origin: bytes, first_n: int, commands: bytes, count: int, timestamp: int = 1_000_000
) -> CommandBatch:
    return CommandBatch(origin, first_n, count, timestamp, commands)


def limit(side: Side, quantity: str, price: str) -> Place:
    return Place(side, SPEC.quantity(quantity), SPEC.price(price))


def test_orders_go_through_and_their_events_come_out() -> None:
    exchange = Exchange(SPEC)
    exchange.apply(batch(ALICE, 1, encode_commands([limit(Side.SELL, "1", "50")]), 1), 1, 0)
    exchange.apply(batch(BOB, 1, encode_commands([limit(Side.BUY, "2", "50")]), 1), 2, 0)
    first, second = exchange.take_applied()
    assert (first.position, first.origin, second.position, second.count) == (1, ALICE, 2, 1)
    (trade,) = [event for event in second.orders[0].events() if isinstance(event, Trade)]
    assert (trade.maker, trade.taker) == (OrderId(ALICE, 1), OrderId(BOB, 1))
    assert exchange.take_applied() == []


def test_changed_levels_are_those_of_their_own_entry_though_several_became_final() -> None:
    exchange = Exchange(SPEC)
    exchange.watched = True
    exchange.apply(batch(ALICE, 1, encode_commands([limit(Side.SELL, "1", "50")]), 1), 1, 0)
    exchange.apply(batch(BOB, 1, encode_commands([limit(Side.BUY, "1", "50")]), 1), 2, 0)
    first, second = exchange.take_applied()
    assert [(change.side, change.quantity) for change in first.changes] == [(Side.SELL, SPEC.quantity("1"))]
    assert [(change.side, change.quantity) for change in second.changes if change.side is Side.SELL] == [
        (Side.SELL, 0)
    ]


def test_skipped_commands_take_no_position() -> None:
    exchange = Exchange(SPEC)
    commands = encode_commands([limit(Side.SELL, "1", price) for price in ("50", "51", "52")])
    exchange.apply(batch(ALICE, 1, commands, 3), 1, 2)
    (applied,) = exchange.take_applied()
    assert (applied.position, applied.first_n, applied.count) == (1, 3, 1)
    assert exchange.engine.order(OrderId(ALICE, 3)) is not None
    assert exchange.engine.order(OrderId(ALICE, 2)) is None


def test_locks_and_orders_share_a_batch_and_each_takes_a_position() -> None:
    exchange = Exchange(SPEC)
    sell = encode_commands([limit(Side.SELL, "1", "50")])[1:]
    lock = encode_lock(LockRequest("x", 50))[1:]
    exchange.apply(batch(ALICE, 1, b"\x94" + sell + lock + sell + sell, 4), 1, 0)
    (applied,) = exchange.take_applied()
    assert [(n, event.outcome) for n, event in applied.locks] == [(2, Outcome.GRANTED)]
    assert [len(orders) for orders in applied.orders] == [1, 2]
    assert [order.id.n for order in exchange.engine.orders()] == [1, 3, 4]
    positions = [event.position for orders in applied.orders for event in orders.events()]
    assert positions == [1, 3, 4]
    assert exchange.locks.holder("x") == ALICE


def test_a_malformed_lock_request_is_rejected_like_any_malformed_command() -> None:
    exchange = Exchange(SPEC)
    lock = encode_lock(LockRequest("x", 50))
    broken = msgpack.packb([[*msgpack.unpackb(lock)[0], 1]])
    exchange.apply(batch(ALICE, 1, broken, 1), 1, 0)
    (applied,) = exchange.take_applied()
    (event,) = applied.orders[0].events()
    assert isinstance(event, Rejected)
    assert event.reason is RejectReason.MALFORMED


MARK = msgpack.unpackb(encode_lock(LockRequest("x", 1)))[0][0]
FIELDS = st.one_of(st.integers(-(2**63), 2**63), st.binary(max_size=4), st.text(max_size=4), st.none())


@given(
    commands=st.one_of(
        st.binary(max_size=40),
        st.binary(max_size=20).map(lambda rest: MARK + rest),
        st.lists(st.lists(st.one_of(FIELDS, st.just(MARK)), max_size=4)).map(msgpack.packb),
        st.lists(st.lists(FIELDS, max_size=3).map(lambda fields: [MARK, *fields])).map(msgpack.packb),
    ),
    count=st.integers(1, 5),
    skip=st.integers(0, 4),
)
def test_no_bytes_stop_it_and_replicas_stay_equal(commands: bytes, count: int, skip: int) -> None:
    skip = min(skip, count - 1)
    ours, theirs = Exchange(SPEC), Exchange(SPEC)
    one = ours.apply(batch(ALICE, 1, commands, count), 1, skip)
    assert theirs.apply(batch(ALICE, 1, commands, count), 1, skip) == one
    assert ours.digest() == theirs.digest()
    (applied,) = ours.take_applied()
    assert applied.count == count - skip


def test_a_restored_exchange_goes_on_like_the_first() -> None:
    ours, theirs = Exchange(SPEC), Exchange(SPEC)
    ours.apply(batch(ALICE, 1, encode_commands([limit(Side.SELL, "1", "50")]), 1), 1, 0)
    ours.apply(batch(ALICE, 2, encode_lock(LockRequest("x", 5_000_000)), 1), 2, 0)
    theirs.restore(ours.snapshot())
    assert theirs.digest() == ours.digest()
    buy = batch(BOB, 1, encode_commands([limit(Side.BUY, "1", "50")]), 1)
    assert ours.apply(buy, 3, 0) == theirs.apply(buy, 3, 0)
    assert ours.snapshot() == theirs.snapshot()
