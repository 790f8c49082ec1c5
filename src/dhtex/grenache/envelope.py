"""The envelope of Grenache RPC over HTTP: `[rid, key, payload]` asks, `[rid, error, result]` answers."""

from __future__ import annotations

import json
import zlib
from typing import Any

from dhtex.errors import MalformedMessage

COMPRESS_HEADER = "grc-compress"
BODY_MAX = 16 << 20
"""Bytes of a payload, before and after decompression."""


def pack(rid: str, second: Any, third: Any, *, compress: bool) -> bytes:
    """An envelope as bytes.

    Raises:
        TypeError, ValueError: a field is no JSON value.
    """
    body = json.dumps([rid, second, third], ensure_ascii=False, allow_nan=False).encode()
    if not compress:
        return body
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    return packer.compress(body) + packer.flush()


def unpack(body: bytes, *, compressed: bool, body_max: int = BODY_MAX) -> tuple[Any, Any, Any]:
    """The three fields of an envelope.

    Raises:
        MalformedMessage: no gzip, larger than *body_max* when unpacked, no JSON, or no list of three.
    """
    if compressed:
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            body = unpacker.decompress(body, body_max)
        except zlib.error as error:
            raise MalformedMessage("gzip", str(error)) from error
        if not unpacker.eof:
            raise MalformedMessage("gzip", "cut short, or too large")
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedMessage("json", str(error)) from error
    if not isinstance(fields, list) or len(fields) < 2:
        raise MalformedMessage("envelope", "not [rid, key, payload]")
    return fields[0], fields[1], fields[2] if len(fields) > 2 else None
