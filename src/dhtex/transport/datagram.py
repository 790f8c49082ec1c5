"""The outside of a datagram: what is readable before, or without, opening a box.

    2 B   magic 0xD8, then wire version (high four bits) and kind (low four)
    20 B  group id
    32 B  sender's Ed25519 public key
    rest  by kind: a box (nonce, tag, ciphertext), a HELLO, or the answer to one

Source: `design: transport, Datagram` and `First contact`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from dhtex.errors import MalformedMessage
from dhtex.identity import PublicKey
from dhtex.transport.limits import DATAGRAM_BYTES_MAX
from dhtex.transport.secure import CONTEXT_SIZE, NONCE_SIZE, TAG_SIZE

MAGIC = 0xD8
VERSION = 1
GROUP_ID_SIZE = 20
HEADER_SIZE = 2 + GROUP_ID_SIZE + 32
BOX_OVERHEAD = HEADER_SIZE + NONCE_SIZE + TAG_SIZE + CONTEXT_SIZE

COOKIE_SIZE = 16
VIEW_NUMBER_SIZE = 8
HELLO_SIZE = 256
HELLO_ANSWER_SIZE = HEADER_SIZE + COOKIE_SIZE + VIEW_NUMBER_SIZE  # 78: never longer than the question


class Kind(IntEnum):
    """What follows the header."""

    BOX = 0
    HELLO = 1
    HELLO_ANSWER = 2


class Datagram(NamedTuple):
    """A datagram taken apart, nothing in it believed."""

    kind: int
    group_id: bytes
    sender: PublicKey
    body: bytes


def header(kind: Kind, group_id: bytes, sender: PublicKey) -> bytes:
    """The first 54 bytes."""
    return bytes((MAGIC, VERSION << 4 | kind)) + group_id + sender


_FIRST_BYTES = {bytes((MAGIC, VERSION << 4 | kind)): kind.value for kind in Kind}


def parse(datagram: bytes) -> Datagram:
    """Take a datagram apart.

    Raises:
        MalformedMessage: too short (`short`), too long (`oversize`), not ours (`magic`), of another wire
            version (`version`) or of an unknown kind (`kind`).
    """
    size = len(datagram)
    if size > DATAGRAM_BYTES_MAX:
        raise MalformedMessage("oversize")
    if size < HEADER_SIZE:
        raise MalformedMessage("short")
    kind = _FIRST_BYTES.get(datagram[:2])
    if kind is None:
        raise MalformedMessage(_what_is_wrong(datagram))
    return Datagram(kind, datagram[2:22], PublicKey(datagram[22:HEADER_SIZE]), datagram[HEADER_SIZE:])


def _what_is_wrong(datagram: bytes) -> str:
    if datagram[0] != MAGIC:
        return "magic"
    return "version" if datagram[1] >> 4 != VERSION else "kind"


def encode_hello(group_id: bytes, sender: PublicKey, cookie: bytes) -> bytes:
    """A first question: who are you, in this group? Padded, so that no answer is longer."""
    return (header(Kind.HELLO, group_id, sender) + cookie).ljust(HELLO_SIZE, b"\0")


def decode_hello(body: bytes) -> bytes:
    """The cookie of a HELLO.

    Raises:
        MalformedMessage: the body of another length (`hello`).
    """
    if len(body) != HELLO_SIZE - HEADER_SIZE:
        raise MalformedMessage("hello", "length")
    return body[:COOKIE_SIZE]


def encode_hello_answer(group_id: bytes, sender: PublicKey, cookie: bytes, view_number: int) -> bytes:
    """The answer: my key, my view, your cookie."""
    return (
        header(Kind.HELLO_ANSWER, group_id, sender) + cookie + view_number.to_bytes(VIEW_NUMBER_SIZE, "big")
    )


def decode_hello_answer(body: bytes) -> tuple[bytes, int]:
    """Cookie and view number of an answer.

    Raises:
        MalformedMessage: the body of another length, or a view number beyond 63 bits (`hello`).
    """
    if len(body) != HELLO_ANSWER_SIZE - HEADER_SIZE:
        raise MalformedMessage("hello", "length")
    view_number = int.from_bytes(body[COOKIE_SIZE:], "big")
    if view_number >= 1 << 63:
        raise MalformedMessage("hello", "view number")
    return body[:COOKIE_SIZE], view_number
