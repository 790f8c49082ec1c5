"""Bencoding, as far as BEP 44 needs it: the bytes that are hashed and signed. Source: BEP 3.

A value is bytes, an integer, a list or a dictionary with keys of bytes; one value has exactly one encoding.
"""

from __future__ import annotations

from dhtex.errors import MalformedMessage

Value = bytes | int | list["Value"] | dict[bytes, "Value"]

DEPTH_MAX = 32
"""Deepest nesting; a value of 1,000 bytes could otherwise nest 500 deep."""

INTEGER_DIGITS_MAX = 20


def encode(value: Value) -> bytes:
    """The one encoding of *value*; dictionary keys in byte order.

    Raises:
        ValueError: nested deeper than 32, or something in it is no such value.
    """
    parts: list[bytes] = []
    _encode(value, parts, DEPTH_MAX)
    return b"".join(parts)


def _encode(value: Value, parts: list[bytes], depth: int) -> None:
    if depth < 0:
        raise ValueError(f"the value is nested deeper than {DEPTH_MAX}")
    match value:
        case bytes():
            parts.append(b"%d:%b" % (len(value), value))
        case int():
            parts.append(b"i%de" % value)
        case list():
            parts.append(b"l")
            for item in value:
                _encode(item, parts, depth - 1)
            parts.append(b"e")
        case dict():
            parts.append(b"d")
            if not {bytes}.issuperset(map(type, value)):
                raise ValueError("a key of a dictionary is not bytes")
            for key in sorted(value):
                parts.append(b"%d:%b" % (len(key), key))
                _encode(value[key], parts, depth - 1)
            parts.append(b"e")
        case _:
            raise ValueError(f"{value!r:.40} is neither bytes, an integer, a list nor a dictionary")


def decode(encoded: bytes) -> Value:
    """The value whose encoding is exactly *encoded*.

    Raises:
        MalformedMessage: not bencoding, not the canonical one, or bytes left over.
    """
    try:
        value, end = _decode(encoded, 0, DEPTH_MAX)
    except (IndexError, ValueError) as error:
        raise MalformedMessage("bencode") from error
    if end != len(encoded) or encode(value) != encoded:
        raise MalformedMessage("bencode", "not the canonical encoding")
    return value


def _decode(encoded: bytes, at: int, depth: int) -> tuple[Value, int]:
    if depth < 0:
        raise ValueError("too deep")
    lead = encoded[at : at + 1]
    if lead == b"i":
        end = encoded.index(b"e", at, at + INTEGER_DIGITS_MAX + 3)
        return int(encoded[at + 1 : end]), end + 1
    if lead == b"l":
        items: list[Value] = []
        at += 1
        while encoded[at] != 0x65:
            item, at = _decode(encoded, at, depth - 1)
            items.append(item)
        return items, at + 1
    if lead == b"d":
        entries: dict[bytes, Value] = {}
        at += 1
        while encoded[at] != 0x65:
            key, at = _decode_bytes(encoded, at)
            entries[key], at = _decode(encoded, at, depth - 1)
        return entries, at + 1
    return _decode_bytes(encoded, at)


def _decode_bytes(encoded: bytes, at: int) -> tuple[bytes, int]:
    colon = encoded.index(b":", at, at + 6)
    length = int(encoded[at:colon])
    start = colon + 1
    if length < 0 or start + length > len(encoded):
        raise ValueError("a string runs over the end")
    return encoded[start : start + length], start + length
