"""What JavaScript makes of JSON, where a client of the original can tell: texts, numbers, Buffers, paths.

Grenache clients send what `JSON.stringify` makes of their values, and the original reads it with JavaScript's
rules. The functions here are those rules, so that a value has the same key and an argument the same meaning
at both.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from functools import lru_cache
from typing import Any

from dhtex.dht import bencode

INTEGER_DIGITS_MAX = 18
"""Longer integers are read as doubles, as every number in JavaScript is; it also bounds the work of reading
one.
"""


class Missing:
    """`undefined`: a field that is not there, which is not the same as null."""

    def __bool__(self) -> bool:
        return False


MISSING = Missing()


def parse_json(text: str) -> Any:
    """`JSON.parse`.

    Raises:
        ValueError: not JSON, or nested deeper than Python reads.
    """
    try:
        return json.loads(text, parse_constant=_no_constant, parse_int=_integer)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= INTEGER_DIGITS_MAX else float(digits)


def to_json(value: Any) -> bytes:
    """`JSON.stringify`: no spaces, no escapes beyond the needed."""
    return to_utf8(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False))


def to_utf8(text: str) -> bytes:
    """UTF-8, with half of a surrogate pair replaced as in `Buffer.from`."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def length(text: str) -> int:
    """`text.length`: UTF-16 units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def is_truthy(value: Any) -> bool:
    """`!!value`: empty lists and objects are true."""
    return isinstance(value, (list, dict)) or bool(value)


def is_number(value: Any) -> bool:
    """`typeof value === 'number'`."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def as_integer(value: Any) -> int | None:
    """The number if `Number.isInteger(value)`, else None."""
    if not is_number(value) or (isinstance(value, float) and not value.is_integer()):
        return None
    return int(value)


def buffer_of(value: Any) -> bytes | None:
    """`Buffer.from(value)` for a text, a list of numbers or a Buffer's JSON; None where it throws."""
    if isinstance(value, str):
        return to_utf8(value)
    if isinstance(value, dict) and value.get("type") == "Buffer":
        value = value.get("data")
    if isinstance(value, list):
        return bytes(_byte(item) for item in value)
    return None


_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_BASED = re.compile(r"0[xX][0-9a-fA-F]{1,13}|0[oO][0-7]{1,17}|0[bB][01]{1,52}")  # what a double holds


def _byte(item: Any) -> int:
    """What an element of a list becomes in a Buffer: modulo 256, anything that is no number is 0."""
    number = _number(item)
    return int(number) & 0xFF if math.isfinite(number) else 0


def _number(item: Any) -> float:
    """`Number(item)`, with 0 for what is none."""
    match item:
        case int() | float():
            return item
        case str():
            text = item.strip()
            if _BASED.fullmatch(text):
                return int(text, 0)
            return float(text) if _DECIMAL.fullmatch(text) else 0
        case [str() | int() | float() as only] if not isinstance(only, bool):
            return _number(only)
        case _:
            return 0


_HEX = re.compile(r"(?:[0-9a-fA-F]{2})*")


def hex_bytes(text: str) -> bytes:
    """`Buffer.from(text, 'hex')`: up to the first pair that is not hex."""
    match = _HEX.match(text)
    return bytes.fromhex(match.group()) if match else b""


def read_buffer(value: Any, *, is_hex: bool) -> bytes | None:
    """A Buffer given as the JSON of one, as text, or as hex; None where the original throws.

    A text that is itself JSON of a text or a list is read as that first, as the original does.
    """
    if not isinstance(value, str):
        return buffer_of(value)
    try:
        inner = parse_json(value)
    except ValueError:
        inner = None
    found = buffer_of(inner)
    if found is not None:
        return found
    return hex_bytes(value) if is_hex else to_utf8(value)


def to_bencode_value(value: Any) -> bencode.Value | None:
    """What `bencode.encode` makes of a JSON value: texts as UTF-8, numbers and booleans as integers, nulls
    left out. The JSON of a Buffer is an object like any other.
    """
    match value:
        case None:
            return None
        case str():
            return to_utf8(value)
        case bool():
            return int(value)
        case int() | float():
            return _bencode_integer(value)
        case list():
            return [item for entry in value if (item := to_bencode_value(entry)) is not None]
        case dict():
            return {
                to_utf8(name): item
                for name, entry in value.items()
                if (item := to_bencode_value(entry)) is not None
            }
        case _:
            raise TypeError(f"{type(value).__name__} is not a JSON value")


def _bencode_integer(value: float) -> int:
    """The integer the original's encoder makes of a number: right below 2**53, and of any other what doubles and
    the 32 bits of JavaScript's `<<` leave of it. The key of a value depends on it.
    """
    number = float(value)
    if not math.isfinite(number):
        return 0
    half = float(1 << 31)
    made = _int32(int(number / half)) * half + _int32(int(math.fmod(number, half)))
    return int(Decimal(repr(made)))  # its shortest digits, then zeros, as JavaScript writes a double


def _int32(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


def text_of(value: bencode.Value) -> str:
    """What a client reads of a stored value: `toString`, and the JSON of a dictionary instead of `[object
    Object]`.
    """
    match value:
        case bytes():
            return value.decode("utf-8", "replace")
        case int():
            return str(value)
        case list():
            return ",".join(text_of(item) for item in value)
        case dict():
            return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"))


def _plain(value: bencode.Value) -> Any:
    match value:
        case bytes():
            return value.decode("utf-8", "replace")
        case list():
            return [_plain(item) for item in value]
        case dict():
            return {name.decode("utf-8", "replace"): _plain(item) for name, item in value.items()}
        case _:
            return value


_WORD_STARTS = re.compile(r"(?:^\w|[A-Z]|\b\w|-\w|_\w)", re.ASCII)
_SEPARATORS = re.compile(r"(\s|_|-)+")


@lru_cache(maxsize=256)
def handler_name(target: str) -> str:
    """The method a request target names, first letter upper: `/lookup`, `/Lookup` and `/-lookup` are
    `Lookup`.
    """
    dashed = f"-{target[1:]}"
    camel = _SEPARATORS.sub(
        "",
        _WORD_STARTS.sub(
            lambda word: word.group().lower() if word.start() == 0 else word.group().upper(), dashed
        ),
    )
    return camel[:1].upper() + camel[1:]
