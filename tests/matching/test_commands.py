"""Commands to bytes and back; whatever the bytes, one error."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from msgpack import fallback

from dhtex.errors import MalformedMessage, OrderError
from dhtex.matching import (
    Accepted,
    Amend,
    Cancel,
    CancelAll,
    Command,
    MarketSpec,
    MatchingEngine,
    OrderId,
    Phase,
    Place,
    ReferenceEngine,
    Rejected,
    RejectReason,
    SelfTrade,
    SetPhase,
    Side,
    TimeInForce,
    decode_commands,
    encode_commands,
)
from dhtex.matching.commands import decode_rows, full_row, row_of
from dhtex.matching.splitting import split_array
from matching import strategies
from matching.support import ALICE

ID = OrderId(ALICE, 7)

TABLE: list[tuple[Command, list[Any]]] = [
    (Place(Side.BUY, 10, 50), [0, 10, 50]),
    (Place(Side.SELL, 10, 50), [1, 10, 50]),
    (Place(Side.BUY, 10, 50, self_trade=SelfTrade.OFF), [0, 10, 50, 4]),
    (Place(Side.BUY, 10, 50, time_in_force=TimeInForce.IOC), [0, 10, 50, 0, 1]),
    (Place(Side.BUY, 10, 50, post_only=True), [0, 10, 50, 0, 0, 0, 1]),
    (Place(Side.BUY, 10, 50, tag="t"), [0, 10, 50, 0, 0, 0, 0, None, None, None, None, "", "t"]),
    (Amend(ID, 5), [2, ALICE, 7, 5]),
    (Amend(ID, price=5), [2, ALICE, 7, None, 5]),
    (Cancel(ID), [3, ALICE, 7]),
    (Cancel(ID, "fund"), [3, ALICE, 7, "fund"]),
    (Cancel(tag="t"), [4, "t"]),
    (CancelAll(), [5]),
    (CancelAll(Side.SELL, "fund"), [5, 1, "fund"]),
    (SetPhase(Phase.AUCTION), [6, 1]),
]


@pytest.mark.parametrize(("command", "row"), TABLE, ids=str)
def test_the_wire(command: Command, row: list[Any]) -> None:
    assert msgpack.unpackb(encode_commands([command])) == [row]
    assert decode_commands(msgpack.packb([row])) == [command]


@given(st.lists(st.one_of(strategies.placements(), strategies.changes(9), strategies.phases())))
def test_there_and_back(commands: list[Command]) -> None:
    assert decode_commands(encode_commands(commands)) == commands


BAD_ROWS: list[tuple[Any, str]] = [
    ([], "arity"),
    (["0", 1, 1], "operation"),
    ([7], "operation"),
    ([-1, 5, 5], "operation"),
    ([0], "arity"),
    ([0, 5], "arity"),
    ([0, 5, 5, 0, 0, 0, 0, None, None, None, None, "", "", 0], "arity"),
    ([6], "arity"),
    ([0, 5, "5"], "type"),
    ([0, 5, 5, None], "type"),
    ([0, 5, 5, 0, 0, 0, 0, None, None, None, None, b""], "type"),
    ([0, 5, 5, 5], "range"),
    ([0, 5, 5, 0, 4], "range"),
    ([0, 5, 5, 0, 0, 5], "range"),
    ([0, 5, 5, 0, 0, 0, 4], "range"),
    ([2, b"short", 1, 5], "range"),
    ([3, ALICE, 0], "range"),
    ([3, ALICE, 2**63], "range"),
    ([3, "a" * 20, 1], "type"),
    ([4, ""], "range"),
    ([5, 2], "range"),
    ([6, 3], "range"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS, ids=str)
def test_a_row_that_is_no_command(row: Any, reason: str) -> None:
    batch = msgpack.packb([row])
    with pytest.raises(MalformedMessage) as caught:
        decode_commands(batch)
    assert caught.value.reason == reason
    outcome = MatchingEngine(MarketSpec("X", 1, 1)).apply_batch(
        batch, owner=ALICE, first_n=1, count=1, timestamp=1, position=1
    )
    assert [event.reason for event in outcome if isinstance(event, Rejected)] == [RejectReason.MALFORMED]


BAD_BATCHES = {
    "nothing": b"",
    "not an array": msgpack.packb(5),
    "a map": msgpack.packb({}),
    "cut short": encode_commands([Place(Side.BUY, 10, 50)])[:-1],
    "longer than it is": b"\xdd\xff\xff\xff\xff\x90",
    "bytes to spare": encode_commands([Place(Side.BUY, 10, 50)]) + b"\0",
    "a reserved byte": b"\x91\xc1",
    "a row without its end": b"\x91\x93\x00\x05",
}


@pytest.mark.parametrize("batch", BAD_BATCHES.values(), ids=BAD_BATCHES)
def test_a_batch_that_is_none_is_rejected_whole(batch: bytes) -> None:
    with pytest.raises(MalformedMessage) as caught:
        decode_commands(batch)
    assert caught.value.reason == "msgpack"
    engine = MatchingEngine(MarketSpec("X", 1, 1))
    outcome = engine.apply_batch(batch, owner=ALICE, first_n=1, count=3, timestamp=1, position=1)
    assert len(outcome) == 3
    rejected = [(e.position, e.order.n, e.reason) for e in outcome if isinstance(e, Rejected)]
    assert rejected == [(n, n, RejectReason.MALFORMED) for n in (1, 2, 3)]
    assert engine.position == 3


BAD_ITEMS = {
    "a number instead of a row": msgpack.packb(5),
    "a text instead of a row": msgpack.packb("abc"),
    "bytes instead of a row": b"\xc4\x03\x00\x05\x05",
    "nil instead of a row": msgpack.packb(None),
    "a float": msgpack.packb([0, 5.0, 5]),
    "a truth": msgpack.packb([0, True, 5]),
    "a truth for a side": msgpack.packb([True, 5, 5]),
    "a truth for a mode": msgpack.packb([0, 5, 5, False]),
    "a truth for a time in force": msgpack.packb([0, 5, 5, 0, False]),
    "a truth for a number": msgpack.packb([3, ALICE, True]),
    "a float for a number": msgpack.packb([3, ALICE, 1.0]),
    "an array in a row": msgpack.packb([0, 5, [5]]),
    "a timestamp": msgpack.packb([0, 5, msgpack.Timestamp(5)]),
    "a timestamp that is none": bytes.fromhex("9300 05 d7ff ffffffff ffffffff"),
    "an extension": msgpack.packb(msgpack.ExtType(5, b"")),
    "deep": b"\x91" * 5000 + b"\x00",
    "deep, but not for every decoder": b"\x91" * 600 + b"\x00",
    "not UTF-8": bytes.fromhex("9204a1ff"),
    "a map": msgpack.packb({}),
    "a map with a list for a key": bytes.fromhex("819000"),
    "a long map of long things": bytes.fromhex("de0001 d90161 dc0001 c50001ff"),
}


@pytest.mark.parametrize("decoder", [msgpack.unpackb, fallback.unpackb], ids=["msgpack", "its twin"])
@pytest.mark.parametrize("item", BAD_ITEMS.values(), ids=BAD_ITEMS)
def test_an_item_that_is_no_row_is_malformed_by_itself(
    item: bytes, decoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(msgpack, "unpackb", decoder)
    (place,) = split_array(encode_commands([Place(Side.BUY, 10, 50)]))
    batch = b"\x93" + place + item + place
    assert decode_rows(batch)[::2] == ((0, 10, 50), (0, 10, 50))
    engine, reference = MatchingEngine(MarketSpec("X", 1, 1)), ReferenceEngine(MarketSpec("X", 1, 1))
    outcome, expected = (
        each.apply_batch(batch, owner=ALICE, first_n=1, count=3, timestamp=1, position=1)
        for each in (engine, reference)
    )
    first, second, third = outcome.events()
    assert isinstance(first, Accepted)
    assert isinstance(second, Rejected)
    assert second.reason is RejectReason.MALFORMED
    assert isinstance(third, Accepted)
    assert outcome.digest_bytes == expected.digest_bytes
    assert engine.snapshot() == reference.snapshot()


def things() -> st.SearchStrategy[Any]:
    leaves = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False),
        st.text(max_size=40),
        st.binary(max_size=300),
        st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=20)),
    )
    return st.recursive(
        leaves,
        lambda inside: (
            st.lists(inside, max_size=20) | st.dictionaries(st.integers(0, 2**64 - 1), inside, max_size=20)
        ),
        max_leaves=30,
    )


@given(st.lists(things(), max_size=20))
def test_an_array_is_split_where_its_items_end(items: list[Any]) -> None:
    assert split_array(msgpack.packb(items)) == [msgpack.packb(item) for item in items]


@given(st.lists(things(), max_size=5), st.data())
def test_decoders_agree_on_what_was_damaged(items: list[Any], data: st.DataObject) -> None:
    batch = bytearray(msgpack.packb(items))
    for _ in range(data.draw(st.integers(0, 3))):
        batch[data.draw(st.integers(0, len(batch) - 1))] = data.draw(st.integers(0, 255))
    read = []
    for decoder in (msgpack.unpackb, fallback.unpackb):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(msgpack, "unpackb", decoder)
            try:
                read.append(decode_rows(bytes(batch)))
            except MalformedMessage:
                read.append(())
    assert read[0] == read[1]


def test_a_longer_form_of_a_number_is_the_same_number() -> None:
    assert decode_commands(bytes.fromhex("919300cd000a32")) == [Place(Side.BUY, 10, 50)]


def test_a_batch_of_another_length_is_rejected_whole() -> None:
    engine = MatchingEngine(MarketSpec("X", 1, 1))
    batch = encode_commands([Place(Side.BUY, 10, 50)] * 3)
    outcome = engine.apply_batch(batch, owner=ALICE, first_n=1, count=2, timestamp=1, position=1)
    assert [event.reason for event in outcome if isinstance(event, Rejected)] == [RejectReason.MALFORMED] * 2
    assert engine.depth().bids == ()


@given(st.binary(max_size=60), st.integers(0, 5))
def test_any_bytes_give_events_and_never_raise(batch: bytes, count: int) -> None:
    engine = MatchingEngine(MarketSpec("X", 1, 1))
    outcome = engine.apply_batch(batch, owner=ALICE, first_n=1, count=count, timestamp=1, position=1)
    assert len({event.position for event in outcome}) == count


@pytest.mark.parametrize(
    "command",
    [
        Place(Side.BUY, 2**64, 50),
        Place(Side.BUY, 1.5, 50),  # type: ignore[arg-type]
        Place(Side.BUY, 1, 50, account="\ud800"),
        Cancel(OrderId(b"short", 1)),
        "buy",
    ],
    ids=repr,
)
def test_what_cannot_travel_gets_a_sentence(command: Any) -> None:
    with pytest.raises(OrderError):
        encode_commands([command])


ODD_PLACES: SearchStrategy[Any] = st.builds(
    Place,
    st.sampled_from([Side.BUY, 0, True, Phase.HALTED]),
    st.sampled_from([5, True, 5.0, "5", None, 2**70]),
    st.sampled_from([5, False, 5.0, None]),
    post_only=st.sampled_from([False, 0, True]),
    account=st.sampled_from(["", b"", None, "fund"]),
)
ODD_CANCELS: SearchStrategy[Any] = st.builds(
    Cancel,
    st.builds(
        OrderId,
        st.sampled_from([ALICE, bytearray(ALICE), b"short", None]),
        st.sampled_from([7, 0, True, 2**63, "7"]),
    ),
    st.sampled_from(["", b"", None, "fund"]),
)


@given(st.one_of(strategies.placements(), strategies.changes(9), ODD_PLACES, ODD_CANCELS))
def test_the_short_way_of_frequent_commands_leads_where_the_long_one_does(command: Any) -> None:
    try:
        row = row_of(command)
        full_row(row)
        expected = msgpack.packb([row])
    except (MalformedMessage, OverflowError):
        with pytest.raises(OrderError):
            encode_commands([command])
    else:
        assert encode_commands([command]) == expected


@pytest.mark.parametrize("side", range(2, 8))
def test_an_order_whose_side_is_none_is_malformed(side: Any) -> None:
    order = Place(side, 5, 100)
    with pytest.raises(OrderError):
        encode_commands([order])
    (event,) = MatchingEngine(MarketSpec("TEST")).apply(order, owner=ALICE, n=1, timestamp=1)
    assert isinstance(event, Rejected)
    assert event.reason is RejectReason.MALFORMED


def test_an_id_as_people_see_it() -> None:
    assert str(OrderId(bytes.fromhex("c0ffee12") + bytes(16), 42)) == "c0ffee12:42"
