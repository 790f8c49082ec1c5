"""Bytes <-> frames. The only place of the transport that knows msgpack.

A *frame* is one msgpack array whose first element says what it is. A box carries an array of frames; a frame
too long for one datagram travels as fragments (see `fragments`). Layout: `docs/reference/wire-format.md`.

Rules for changing a frame: new fields go last, a field is never given another type or meaning; anything else
is a new wire version. Whatever the bytes, the one error that comes out of decoding is `MalformedMessage`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import msgpack

from dhtex.errors import MalformedMessage, RpcError
from dhtex.transport.limits import MESSAGE_BYTES_MAX

INT_MIN = -(1 << 63)
INT_MAX = (1 << 63) - 1
TAG_MAX = (1 << 16) - 1
METHOD_CHARS_MAX = 64
ERROR_CHARS_MAX = 500
DEPTH_MAX = 64  # of values in values; msgpack bears a thousand, which is more than Python's stack does
ACK_BITS_BYTES = 16
ACK_SIZE = 1 + 1 + 9 + 2 + ACK_BITS_BYTES  # the longest an acknowledgement gets
RESYNC_SIZE = 1 + 1 + 9
FRAMES_HEADER_SIZE = 3  # array 16


class Frame(IntEnum):
    """First element of a frame. The first three are those of msgpack-RPC."""

    REQUEST = 0
    RESPONSE = 1
    NOTIFICATION = 2
    FRAGMENT = 3
    ACK = 4
    RESYNC = 5


class Request(NamedTuple):
    """`[0, id, method, params]`: asks for an answer with the same id."""

    id: int
    method: str
    params: list[Any]


class Response(NamedTuple):
    """`[1, id, error, result]`: exactly one of error (`[code, text]`) and result counts."""

    id: int
    error: RpcError | None
    result: Any


class Notification(NamedTuple):
    """`[2, tag, params]`: no answer."""

    tag: int
    params: list[Any]


class Fragment(NamedTuple):
    """`[3, message, number, total, bytes]`: piece *number* (from 0) of *total* of a longer frame."""

    message: int
    number: int
    total: int
    piece: bytes


class Ack(NamedTuple):
    """`[4, highest, bits]`: the highest sequence received, and in bit i of *bits* whether highest - i was."""

    highest: int
    bits: int


class Resync(NamedTuple):
    """`[5, highest]`: your sequence numbers are behind what I heard of you; go on above *highest*."""

    highest: int


AnyFrame = Request | Response | Notification | Fragment | Ack | Resync


class FrameEncoder:
    """Frames to bytes. Keeps one packer, so it belongs to one event loop."""

    def __init__(self) -> None:
        self._packer = msgpack.Packer(autoreset=True)

    def request(self, call_id: int, method: str, params: Sequence[Any]) -> bytes:
        """Raises ValueError, TypeError or OverflowError when *params* are not of plain types or too long."""
        return self._pack((Frame.REQUEST.value, call_id, method, params))

    def response(self, call_id: int, error: RpcError | None, result: Any) -> bytes:
        """Raises like `request`."""
        wire_error = None if error is None else (error.code[:METHOD_CHARS_MAX], error.text[:ERROR_CHARS_MAX])
        return self._pack((Frame.RESPONSE.value, call_id, wire_error, result))

    def notification(self, tag: int, params: Sequence[Any]) -> bytes:
        """Raises like `request`."""
        return self._pack((Frame.NOTIFICATION.value, tag, params))

    def fragment(self, fragment: Fragment) -> bytes:
        """One piece of a longer frame."""
        return self._pack((Frame.FRAGMENT.value, *fragment))

    def ack(self, ack: Ack) -> bytes:
        """At most `ACK_SIZE` bytes."""
        return self._pack((Frame.ACK.value, ack.highest, ack.bits.to_bytes(ACK_BITS_BYTES, "big")))

    def resync(self, resync: Resync) -> bytes:
        """A handful of bytes."""
        return self._pack((Frame.RESYNC.value, resync.highest))

    def _pack(self, frame: tuple[Any, ...]) -> bytes:
        packed: bytes = self._packer.pack(frame)
        if len(packed) > MESSAGE_BYTES_MAX:
            raise ValueError(f"a message has at most {MESSAGE_BYTES_MAX} bytes, this has {len(packed)}")
        return packed


def join_frames(frames: Sequence[bytes]) -> bytes:
    """Encoded frames as one msgpack array, for one box."""
    return b"\xdc" + len(frames).to_bytes(2, "big") + b"".join(frames)


def decode_frames(plaintext: bytes) -> list[AnyFrame]:
    """The frames of one box, in order.

    Raises:
        MalformedMessage: *plaintext* is anything else than one array of well-formed frames.
    """
    wire = _unpack(plaintext)
    if type(wire) is not list:
        raise MalformedMessage("type", "a box holds an array of frames")
    return [_decode(frame) for frame in wire]


def decode_message(message: bytes) -> Request | Response | Notification:
    """A frame that was put together from fragments; never itself a fragment or an acknowledgement.

    Raises:
        MalformedMessage: *message* is anything else.
    """
    frame = _decode(_unpack(message))
    if not isinstance(frame, Request | Response | Notification):
        raise MalformedMessage("kind", "only requests, responses and notifications are sent in fragments")
    return frame


def _unpack(wire: bytes) -> Any:
    try:
        # The lengths need no bound of their own below that of the bytes: msgpack allocates as elements
        # arrive.
        return msgpack.unpackb(
            wire,
            raw=False,
            strict_map_key=True,
            max_array_len=len(wire),
            max_map_len=len(wire),
            max_str_len=len(wire),
            max_bin_len=len(wire),
            max_ext_len=0,
        )
    except (ValueError, msgpack.UnpackException) as error:
        raise MalformedMessage("msgpack", str(error)) from None


def _decode(wire: Any) -> AnyFrame:
    if type(wire) is not list or not wire:
        raise MalformedMessage("type", "a frame is an array")
    kind = wire[0]
    decoder = _DECODERS.get(kind) if type(kind) is int else None
    if decoder is None:
        raise MalformedMessage("kind", "unknown frame")
    return decoder(wire)


def _decode_notification(wire: list[Any]) -> Notification:
    _arity(wire, 3)
    _, tag, params = wire
    if type(tag) is not int or type(params) is not list:
        raise MalformedMessage("type", "a notification is [2, tag, params]")
    if not 0 <= tag <= TAG_MAX:
        raise MalformedMessage("range", "tag")
    _check_plain(params)
    return Notification(tag, params)


def _decode_request(wire: list[Any]) -> Request:
    _arity(wire, 4)
    _, call_id, method, params = wire
    if type(method) is not str or type(params) is not list:
        raise MalformedMessage("type", "a request is [0, id, method, params]")
    if not 0 < len(method) <= METHOD_CHARS_MAX:
        raise MalformedMessage("range", "method")
    _check_plain(params)
    return Request(_natural(call_id, "id"), method, params)


def _decode_response(wire: list[Any]) -> Response:
    _arity(wire, 4)
    _, call_id, error, result = wire
    _check_plain((result,), 0)
    return Response(_natural(call_id, "id"), _decode_error(error), result)


def _decode_error(wire: Any) -> RpcError | None:
    if wire is None:
        return None
    if type(wire) is not list or len(wire) != 2 or type(wire[0]) is not str or type(wire[1]) is not str:
        raise MalformedMessage("type", "an error is [code, text]")
    code, text = wire
    if len(code) > METHOD_CHARS_MAX or len(text) > ERROR_CHARS_MAX:
        raise MalformedMessage("range", "error")
    return RpcError(code, text)


def _decode_fragment(wire: list[Any]) -> Fragment:
    _arity(wire, 5)
    _, message, number, total, piece = wire
    if type(piece) is not bytes or not piece:
        raise MalformedMessage("type", "a fragment carries bytes")
    fragment = Fragment(
        _natural(message, "message"), _natural(number, "number"), _natural(total, "total"), piece
    )
    if fragment.number >= fragment.total:
        raise MalformedMessage("range", "number")
    return fragment


def _decode_ack(wire: list[Any]) -> Ack:
    _arity(wire, 3)
    _, highest, bits = wire
    if type(bits) is not bytes or len(bits) != ACK_BITS_BYTES:
        raise MalformedMessage("type", "bits")
    return Ack(_natural(highest, "highest"), int.from_bytes(bits, "big"))


def _decode_resync(wire: list[Any]) -> Resync:
    _arity(wire, 2)
    return Resync(_natural(wire[1], "highest"))


_DECODERS: dict[int, Callable[[list[Any]], AnyFrame]] = {
    Frame.REQUEST.value: _decode_request,
    Frame.RESPONSE.value: _decode_response,
    Frame.NOTIFICATION.value: _decode_notification,
    Frame.FRAGMENT.value: _decode_fragment,
    Frame.ACK.value: _decode_ack,
    Frame.RESYNC.value: _decode_resync,
}


def _arity(wire: list[Any], size: int) -> None:
    if len(wire) != size:
        raise MalformedMessage("arity", f"{len(wire)} fields instead of {size}")


def _natural(value: Any, name: str) -> int:
    if type(value) is not int:
        raise MalformedMessage("type", name)
    if not 0 <= value <= INT_MAX:
        raise MalformedMessage("range", name)
    return value


def _check_plain(values: Iterable[Any], depth: int = 1) -> None:
    """Integers within signed 64 bits, nested no deeper than `DEPTH_MAX`; msgpack has excluded all but plain types."""
    if depth > DEPTH_MAX:
        raise MalformedMessage("range", "nested too deep")
    for value in values:
        kind = type(value)
        if kind is int:
            if value > INT_MAX:
                raise MalformedMessage("range", "integer above 63 bits")
        elif kind is list and value:
            _check_plain(value, depth + 1)
        elif kind is dict and value:
            _check_plain(value.values(), depth + 1)
