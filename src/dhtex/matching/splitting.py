"""Where the items of a msgpack array begin and end, found out without reading them.

Decoders differ in how deep they follow an array, in timestamps, in keys of maps; and where one of them gives up,
it gives up on all that it was given. So an array that a decoder cannot read is cut up here first, by the
lengths that it states and nothing else, and what cannot be read concerns its own item.
Source: the msgpack specification, https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from __future__ import annotations

from typing import Final

from dhtex.errors import MalformedMessage

_SIZED: Final = {
    0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0),  # bin
    0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1),  # ext: one byte of type
    0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0),  # str
}  # fmt: skip
"""First byte -> how many bytes state the length, and what there is beside it."""
_PLAIN: Final = {
    0xC0: 0, 0xC2: 0, 0xC3: 0,  # nil, false, true
    0xCA: 4, 0xCB: 8,  # float
    0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,  # integers
    0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17,  # fixext
}  # fmt: skip
"""First byte -> how many bytes follow."""
_HOLDING: Final = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}
"""First byte of an array or a map -> how many bytes state its length, and how many values an element has."""


def split_array(data: bytes) -> list[bytes]:
    """The items of the array that *data* is, each as bytes.

    Raises:
        MalformedMessage: *data* is not one whole array and nothing else.
    """
    at, count = _step(data, 0)
    if data[0] < 0x90 or 0x9F < data[0] < 0xDC or data[0] > 0xDD:
        raise MalformedMessage("msgpack", "not an array")
    items = []
    for _ in range(min(count, len(data))):
        start, waiting = at, 1
        while waiting:
            at, inside = _step(data, at)
            waiting += inside - 1
        items.append(data[start:at])
    if at != len(data) or len(items) != count:
        raise MalformedMessage("msgpack", "not one array")
    return items


def _step(data: bytes, at: int) -> tuple[int, int]:
    """Pass over what begins at *at*, but not over what is in it: where that ends, and how many values are in it."""
    if at >= len(data):
        raise MalformedMessage("msgpack", "it ends too early")
    first, inside = data[at], 0
    at += 1
    if 0x80 <= first <= 0x8F:
        inside = 2 * (first & 0x0F)
    elif 0x90 <= first <= 0x9F:
        inside = first & 0x0F
    elif 0xA0 <= first <= 0xBF:
        at += first & 0x1F
    elif first in _SIZED:
        size, beside = _SIZED[first]
        at += size + beside + int.from_bytes(data[at : at + size])
    elif first in _PLAIN:
        at += _PLAIN[first]
    elif first in _HOLDING:
        size, each = _HOLDING[first]
        inside = each * int.from_bytes(data[at : at + size])
        at += size
    elif first == 0xC1:
        raise MalformedMessage("msgpack", "a byte that is never used")
    if at > len(data):
        raise MalformedMessage("msgpack", "it ends too early")
    return at, inside
