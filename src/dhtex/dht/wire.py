"""Datagrams between nodes: rpcudp's frame around checked msgpack.

    1 B  kind          0 request, 1 reply, 2 refusal
    19 B call          random; a reply counts only with it and from the address that was asked
    1 B  transmission  counts how often the request was sent; a reply repeats it, which tells its round trip
    n B  msgpack       request [method, sender, token, args, padding]
                       reply   [sender, token, result]
                       refusal [sender, token, code, sentence]

`sender` is the node id, empty for a client: nobody puts it into a routing table (BEP 43). `token` is what the
receiver of this datagram handed to the sender before; in a reply it is a fresh one to use from now on. A
valid token proves that the sender receives what is sent to its address. Without one the answer is never
larger than the question, so a first question carries `padding` (failure 22: no amplification).

Differences from rpcudp 5.0.1, with the reasons (`docs/explanation/discovery.md`): the C codec with limits
instead of a pure Python one without (1, 7); kind 2, so that a caller learns why instead of waiting (2); ids
and tokens in the frame, where one place checks them (5, 15, 17).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack

from dhtex.errors import MalformedMessage

CALL_ID_SIZE = 19
MESSAGE_ID_SIZE = CALL_ID_SIZE + 1
HEADER_SIZE = 1 + MESSAGE_ID_SIZE
NODE_ID_SIZE = 20
TOKEN_SIZE = 8
METHOD_SIZE_MAX = 16
REFUSAL_TEXT_MAX = 100

DATAGRAM_SIZE_MAX = 4_096
"""Largest datagram sent or read: an item of just under 1,000 characters may take 3,000 bytes as UTF-8."""

PADDED_SIZE = 1_200
"""What a first question is padded to; no answer without a token is larger."""

TOLD_SIZE = 64
"""What every other question is padded to: room for the refusal that brings a new token, should the one held be void."""

_ARRAY_MAX = 64  # longest array of any message: a list of addresses is one `bin`, not an array


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody asks."""

    message_id: bytes
    method: str
    sender: bytes
    token: bytes
    args: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request of ours."""

    message_id: bytes
    sender: bytes
    token: bytes
    result: Any


@dataclass(frozen=True, slots=True)
class Refusal:
    """The request arrived and was refused; `code` is a short fixed word or a BEP 44 number as text."""

    message_id: bytes
    sender: bytes
    token: bytes
    code: str
    text: str


Message = Request | Reply | Refusal


def encode_request(
    message_id: bytes, method: str, sender: bytes, token: bytes, args: tuple[Any, ...], *, pad: bool
) -> bytes:
    """A request of at least `PADDED_SIZE` bytes with *pad*, and of `TOLD_SIZE` without."""
    body: bytes = msgpack.packb([method, sender, token, args, b""])
    missing = (PADDED_SIZE if pad else TOLD_SIZE) - HEADER_SIZE - len(body)
    if missing > 0:
        body = msgpack.packb([method, sender, token, args, bytes(missing)])
    return b"\x00" + message_id + body


def repeated(request: bytes, transmission: int) -> bytes:
    """The same request, sent once more."""
    return b"%b%c%b" % (request[: HEADER_SIZE - 1], transmission, request[HEADER_SIZE:])


def encode_reply(message_id: bytes, sender: bytes, token: bytes, result: Any) -> bytes:
    """A reply."""
    body: bytes = msgpack.packb([sender, token, result])
    return b"\x01" + message_id + body


def encode_refusal(message_id: bytes, sender: bytes, token: bytes, code: str, text: str) -> bytes:
    """A refusal; the sentence is cut to 100 characters."""
    body: bytes = msgpack.packb([sender, token, code, text[:REFUSAL_TEXT_MAX]])
    return b"\x02" + message_id + body


def decode(datagram: bytes) -> Message:
    """The message in *datagram*; only its frame is checked here, arguments and results by their method.

    Raises:
        MalformedMessage: anything else, whatever the bytes.
    """
    if not HEADER_SIZE < len(datagram) <= DATAGRAM_SIZE_MAX:
        raise MalformedMessage("size", f"{len(datagram)} bytes")
    message_id = datagram[1:HEADER_SIZE]
    try:
        body = msgpack.unpackb(
            memoryview(datagram)[HEADER_SIZE:],
            use_list=False,
            raw=False,
            strict_map_key=True,
            max_str_len=256,
            max_bin_len=DATAGRAM_SIZE_MAX,
            max_array_len=_ARRAY_MAX,
            max_map_len=0,
            max_ext_len=0,
        )
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise MalformedMessage("msgpack", type(error).__name__) from error
    if type(body) is not tuple:
        raise MalformedMessage("type", "the body is not an array")
    match datagram[0], body:
        case (0, (str(method), bytes(sender), bytes(token), tuple(args), bytes(_))) if (
            len(method) <= METHOD_SIZE_MAX
        ):
            if len(sender) not in (0, NODE_ID_SIZE):
                raise MalformedMessage("sender")
            return Request(message_id, method, sender, token if len(token) == TOKEN_SIZE else b"", args)
        case (1, (bytes(sender), bytes(token), result)):
            _check_answer(sender, token)
            return Reply(message_id, sender, token, result)
        case (2, (bytes(sender), bytes(token), str(code), str(text))) if len(code) <= METHOD_SIZE_MAX:
            _check_answer(sender, token)
            return Refusal(message_id, sender, token, code, text[:REFUSAL_TEXT_MAX])
        case (0 | 1 | 2, _):
            raise MalformedMessage("arity")
        case _:
            raise MalformedMessage("kind")


def _check_answer(sender: bytes, token: bytes) -> None:
    if len(sender) not in (0, NODE_ID_SIZE) or len(token) not in (0, TOKEN_SIZE):
        raise MalformedMessage("sender")
