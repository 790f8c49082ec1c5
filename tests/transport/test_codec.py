"""Frames to bytes and back; whatever the bytes, one error."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtex.errors import MalformedMessage, RpcError
from dhtex.transport.codec import (
    ACK_SIZE,
    DEPTH_MAX,
    INT_MAX,
    INT_MIN,
    Ack,
    Fragment,
    FrameEncoder,
    Notification,
    Request,
    Response,
    Resync,
    decode_frames,
    decode_message,
    join_frames,
)
from dhtex.transport.limits import MESSAGE_BYTES_MAX

ENCODER = FrameEncoder()

FRAMES: list[tuple[str, bytes, Any]] = [
    ("request", ENCODER.request(7, "fetch", [b"k", 1]), Request(7, "fetch", [b"k", 1])),
    ("result", ENCODER.response(7, None, {"a": [1]}), Response(7, None, {"a": [1]})),
    ("notification", ENCODER.notification(65535, [b"\0" * 300]), Notification(65535, [b"\0" * 300])),
    ("fragment", ENCODER.fragment(Fragment(9, 1, 3, b"mid")), Fragment(9, 1, 3, b"mid")),
    ("ack", ENCODER.ack(Ack(INT_MAX, (1 << 128) - 1)), Ack(INT_MAX, (1 << 128) - 1)),
    ("resync", ENCODER.resync(Resync(5)), Resync(5)),
]
by_name = pytest.mark.parametrize(("name", "wire", "frame"), FRAMES, ids=[row[0] for row in FRAMES])


@by_name
def test_a_frame_comes_back_as_it_was(name: str, wire: bytes, frame: object) -> None:
    assert decode_frames(join_frames([wire])) == [frame]


@by_name
def test_no_prefix_of_a_box_is_a_box(name: str, wire: bytes, frame: object) -> None:
    whole = join_frames([wire, wire])
    for length in range(len(whole)):
        with pytest.raises(MalformedMessage):
            decode_frames(whole[:length])


@by_name
def test_bytes_to_spare_are_refused(name: str, wire: bytes, frame: object) -> None:
    with pytest.raises(MalformedMessage):
        decode_frames(join_frames([wire]) + b"\xc0")


def test_an_error_comes_back_with_code_and_text() -> None:
    (response,) = decode_frames(join_frames([ENCODER.response(1, RpcError("busy", "later"), None)]))
    assert isinstance(response, Response)
    assert response.error is not None
    assert (response.error.code, response.error.text) == ("busy", "later")


def test_an_acknowledgement_fits_the_room_kept_for_it() -> None:
    assert len(ENCODER.ack(Ack(INT_MAX, 0))) == ACK_SIZE


NOT_FRAMES: list[tuple[str, Any]] = [
    ("kind", [9, 1, []]),
    ("kind", [None, 1, []]),
    ("kind", [True, 1, "m", []]),
    ("kind", [-1]),
    ("type", []),
    ("type", {}),
    ("type", 1),
    ("arity", [2, 1]),
    ("arity", [2, 1, [], 0]),
    ("arity", [0, 1, "m"]),
    ("arity", [1, 1, None]),
    ("arity", [3, 1, 0, 1]),
    ("arity", [4, 1]),
    ("arity", [5]),
    ("type", [2, "1", []]),
    ("type", [2, True, []]),
    ("type", [2, 1.0, []]),
    ("type", [2, 1, {}]),
    ("range", [2, -1, []]),
    ("range", [2, 65536, []]),
    ("range", [2, 1, [1 << 63]]),
    ("range", [2, 1, [[{"deep": [(1 << 64) - 1]}]]]),
    ("type", [0, "1", "m", []]),
    ("type", [0, 1, b"m", []]),
    ("type", [0, 1, "m", 5]),
    ("range", [0, -1, "m", []]),
    ("range", [0, 1 << 63, "m", []]),
    ("range", [0, 1, "", []]),
    ("range", [0, 1, "m" * 65, []]),
    ("type", [1, 1, "error", None]),
    ("type", [1, 1, ["code"], None]),
    ("type", [1, 1, ["code", b"text"], None]),
    ("range", [1, 1, ["c" * 65, ""], None]),
    ("range", [1, 1, ["c", "t" * 501], None]),
    ("range", [1, 1, None, 1 << 63]),
    ("type", [3, 1, 0, 1, "text"]),
    ("type", [3, 1, 0, 1, b""]),
    ("range", [3, 1, 1, 1, b"x"]),
    ("range", [3, 1, -1, 1, b"x"]),
    ("type", [3, 1, 0, None, b"x"]),
    ("type", [4, 1, b"\0" * 15]),
    ("type", [4, 1, 255]),
    ("range", [4, -1, b"\0" * 16]),
    ("type", [5, None]),
]


@pytest.mark.parametrize(("reason", "wire"), NOT_FRAMES)
def test_what_is_not_a_frame_is_refused_by_reason(reason: str, wire: Any) -> None:
    with pytest.raises(MalformedMessage) as caught:
        decode_frames(msgpack.packb([wire]))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "plaintext",
    [
        b"",
        b"\xc0",
        b"\x01",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xd4\x05a",
        b"\xd6\xff\0\0\0\0",
        b"\x91" * 5000 + b"\xc0",
        b"\x91\x93\x02\x01\x91\xa1\xff",
        b"\x91\x93\x02\x01\x91\x81\x01\x01",
        b"\x91\x93\x02\x01\x91\x81\x91\x01\x01",
    ],
)
def test_hostile_msgpack_is_one_error(plaintext: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_frames(plaintext)


@pytest.mark.parametrize("depth", [*range(DEPTH_MAX + 1, 1200, 7), 1023, 1024])
@pytest.mark.parametrize("level", [b"\x91", b"\x81\xa1k"])
def test_values_nested_too_deep_are_one_error(level: bytes, depth: int) -> None:
    for head in (b"\x93\x02\x01\x91", b"\x94\x00\x01\xa1x\x91", b"\x94\x01\x01\xc0"):
        with pytest.raises(MalformedMessage):
            decode_frames(b"\x91" + head + level * depth + b"\xc0")
        with pytest.raises(MalformedMessage):
            decode_message(head + level * depth + b"\xc0")


@pytest.mark.parametrize("level", [b"\x91", b"\x81\xa1k"])
@pytest.mark.parametrize("innermost", [b"\xc0", b"\x90", b"\x80"])
def test_values_nested_as_deep_as_may_be_are_read(level: bytes, innermost: bytes) -> None:
    for head, depth in ((b"\x93\x02\x01\x91", DEPTH_MAX - 1), (b"\x94\x01\x01\xc0", DEPTH_MAX)):
        decode_message(head + level * depth + innermost)
        with pytest.raises(MalformedMessage):
            decode_message(head + level * (depth + 1) + innermost)


def test_a_message_of_fragments_is_no_fragment_itself() -> None:
    assert decode_message(ENCODER.notification(1, [])) == Notification(1, [])
    for wire in (
        ENCODER.fragment(Fragment(1, 0, 1, b"x")),
        ENCODER.ack(Ack(1, 1)),
        ENCODER.resync(Resync(1)),
    ):
        with pytest.raises(MalformedMessage) as caught:
            decode_message(wire)
        assert caught.value.reason == "kind"


def test_a_message_too_long_to_send_is_refused_where_it_is_made() -> None:
    with pytest.raises(ValueError, match="at most 131072 bytes"):
        ENCODER.notification(1, [b"x" * MESSAGE_BYTES_MAX])


def test_the_encoder_survives_what_it_cannot_encode() -> None:
    for bad in (object(), 1 << 70):
        with pytest.raises((TypeError, OverflowError)):
            ENCODER.notification(1, [bad])
    assert ENCODER.notification(1, []) == b"\x93\x02\x01\x90"


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(INT_MIN, INT_MAX)
    | st.floats(allow_nan=False)
    | st.text(max_size=10)
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(st.lists(plain, max_size=5), st.integers(0, 65535))
def test_plain_values_of_any_shape_come_back(params: list[Any], tag: int) -> None:
    assert decode_frames(join_frames([ENCODER.notification(tag, params)])) == [Notification(tag, params)]


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_malformed(plaintext: bytes) -> None:
    with suppress(MalformedMessage):
        decode_frames(plaintext)


@given(plain)
def test_any_value_is_a_frame_or_malformed(value: Any) -> None:
    with suppress(MalformedMessage):
        decode_frames(msgpack.packb([value]))
