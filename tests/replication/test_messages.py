"""Messages and values: what is written is read back; what was not written by us is refused in one way."""

from __future__ import annotations

import contextlib
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtex.errors import MalformedMessage
from dhtex.replication.messages import (
    TAGS,
    Accept,
    AskHistory,
    AskSnapshot,
    AskViews,
    BallotAccepted,
    Entries,
    Fetch,
    History,
    Join,
    Message,
    Prepare,
    Promise,
    Range,
    Refused,
    Reject,
    SnapshotOffer,
    SnapshotPiece,
    Status,
    Views,
    decode,
    encode,
)
from dhtex.replication.values import (
    CHAIN_SIZE,
    INT_MAX,
    NO_BALLOT,
    Ballot,
    Entry,
    Member,
    OrderKey,
    Snapshot,
    View,
    array_count,
    joined_arrays,
    make_view,
    signing_context,
)
from replication.cluster import CheapSigner

L = b"L" * 20
SIGNER = CheapSigner(1)
CONTEXT = signing_context(b"G" * 20, L)
MEMBERS = tuple(Member(CheapSigner(i).public_key, f"h:{i}", i) for i in range(1, 4))
CHAINS = bytes(range(3 * CHAIN_SIZE))
VIEW = make_view(
    number=2,
    parent=L,
    members=MEMBERS,
    floor=9,
    cut=(1, 0, INT_MAX),
    proposer=MEMBERS[0].node_id,
    chains=CHAINS,
)
ENTRY = Entry.sign(SIGNER, CONTEXT, view=2, seq=1, timestamp=7, first_n=3, count=2, commands=b"\x92\x01\x02")
BALLOT = Ballot(3, SIGNER.node_id)
KEY = OrderKey(2, 5, SIGNER.node_id)
DIGEST = bytes(range(32))

MESSAGES: list[Message] = [
    Entries(L, (ENTRY, ENTRY)),
    Entries(L, ()),
    Status(L, 2, 3, INT_MAX, 1, (0, 1, INT_MAX), 0, DIGEST, CHAINS),
    Fetch(L, 2, (Range(SIGNER.node_id, 1, 9),)),
    Prepare(L, 2, BALLOT),
    Promise(L, 2, BALLOT, NO_BALLOT, None, (1, 2, 3), 5, CHAINS),
    Promise(L, 2, BALLOT, BALLOT, VIEW, (1, 2, 3), 5, CHAINS),
    Reject(L, 2, BALLOT),
    Accept(L, 2, BALLOT, VIEW),
    BallotAccepted(L, 2, BALLOT),
    AskViews(L, 0),
    Views(L, (VIEW,)),
    AskHistory(L, OrderKey(0, 0, b""), 5),
    History(L, KEY, (VIEW, ENTRY), 7, DIGEST),
    SnapshotOffer(L, 5, 6, DIGEST),
    AskSnapshot(L, 5, 6),
    SnapshotPiece(L, 5, 6, b"piece"),
    Join(L, 4, MEMBERS[0], 5, 6),
    Refused(L, 1, -5),
]


def over_the_wire(message: Message) -> tuple[Any, Any]:
    tag, params = msgpack.unpackb(msgpack.packb(encode(message)))
    return tag, params


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_survives_the_wire(message: Message) -> None:
    assert decode(*over_the_wire(message)) == message
    assert type(decode(*over_the_wire(message))) is type(message)


def test_every_message_is_in_the_table() -> None:
    assert {type(message) for message in MESSAGES} == set(TAGS)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_field_is_checked(message: Message) -> None:
    """No field takes every kind of value, and none may be left out or added."""
    tag, params = over_the_wire(message)
    shapes: list[Any] = [params[:-1], [*params, 0], None, {}, b""]
    values: list[Any] = [object(), -(2**70), "x", 1.5, True, {}, [[[]]]]
    for wrong in shapes:
        with pytest.raises(MalformedMessage):
            decode(tag, wrong)
    for place in range(len(params)):
        for wrong in values:
            with pytest.raises(MalformedMessage):
                decode(tag, [*params[:place], wrong, *params[place + 1 :]])


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=200) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=9),
    max_leaves=20,
)


@given(st.integers(-2, 20) | JUNK, JUNK)
def test_junk_gives_one_kind_of_error(tag: object, params: object) -> None:
    try:
        message = decode(tag, params)
    except MalformedMessage:
        pass
    else:
        assert decode(*over_the_wire(message)) == message


@given(st.sampled_from(MESSAGES), st.data())
def test_altered_fields_give_one_kind_of_error(message: Message, data: st.DataObject) -> None:
    tag, params = over_the_wire(message)
    params[data.draw(st.integers(0, len(params) - 1))] = data.draw(JUNK)
    with contextlib.suppress(MalformedMessage):
        decode(tag, params)


@given(st.binary(max_size=300))
def test_byte_decoders_give_one_kind_of_error(data: bytes) -> None:
    for decoder in (Entry.from_bytes, View.from_bytes, Snapshot.from_bytes):
        with contextlib.suppress(MalformedMessage):
            decoder(data)


def test_an_entry_keeps_its_bytes_and_its_signature() -> None:
    entry = Entry.from_bytes(ENTRY.raw)
    assert entry == ENTRY
    assert entry.commands == b"\x92\x01\x02"
    assert entry.verify(SIGNER, SIGNER.public_key, CONTEXT)
    assert not entry.verify(SIGNER, SIGNER.public_key, signing_context(b"H" * 20, L))
    assert not entry.verify(SIGNER, SIGNER.public_key, signing_context(b"G" * 20, b"M" * 20))
    for place in range(len(ENTRY.raw)):
        altered = bytearray(ENTRY.raw)
        altered[place] ^= 1
        try:
            decoded = Entry.from_bytes(bytes(altered))
        except MalformedMessage:
            continue
        assert not decoded.verify(SIGNER, SIGNER.public_key, CONTEXT)


def test_a_view_has_one_form() -> None:
    data = VIEW.to_bytes()
    assert View.from_bytes(data) == VIEW
    assert View.from_bytes(data).id == VIEW.id
    unsorted = View(2, L, tuple(reversed(VIEW.members)), 9, VIEW.cut, VIEW.proposer)
    doubled = View(2, L, (VIEW.members[0], VIEW.members[0]), 9, VIEW.cut, VIEW.proposer)
    for wrong in (unsorted.to_bytes(), doubled.to_bytes(), data + b"\x00", data[:-1]):
        with pytest.raises(MalformedMessage):
            View.from_bytes(wrong)


def test_a_snapshot_survives() -> None:
    snapshot = Snapshot(L, VIEW, KEY, 5, DIGEST, (1, 2, 3), ((SIGNER.node_id, 4),), b"machine", CHAINS)
    assert Snapshot.from_bytes(snapshot.to_bytes()) == snapshot


@given(st.lists(st.lists(st.integers(0, 10**6), min_size=1, max_size=40), min_size=1, max_size=8))
def test_arrays_join_without_decoding(arrays: list[list[int]]) -> None:
    packed = [msgpack.packb(array) for array in arrays]
    total = sum(len(array) for array in arrays)
    joined = joined_arrays(packed, total)
    assert array_count(joined) == total
    assert msgpack.unpackb(joined) == [item for array in arrays for item in array]


@pytest.mark.parametrize("junk", [b"", b"\x01", b"\xdc\x01", b"\xc0", b"\x81\x01\x02"])
def test_what_is_no_array_is_seen(junk: bytes) -> None:
    assert array_count(junk) is None
