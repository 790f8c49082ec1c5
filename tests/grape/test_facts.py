"""Bodies and framing that are the same at the original: sent to ours, and to the original where Node is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any
from unittest import mock

import pytest

from dhtex.grape import Grape
from grape.facts import ANSWERS, BODY, CLOSES, FAILS, GOES_ON, LENGTH
from grape.raw import RawClient, post_bytes
from grenache.node import two_originals

REQUEST, FOUND = (part[: len(part) // 2] for part in GOES_ON["two in one go"])
BAD = CLOSES["no HTTP"][1]
REFUSED_417 = b"HTTP/1.1 417 Expectation Failed\r\nDate: *\r\nConnection: close\r\n"
END = b"POST /lookup HTTP/1.1\r\nHost: g\r\nConnection: close\r\n" + LENGTH + b"\r\n" + BODY


@contextlib.asynccontextmanager
async def _ours() -> AsyncIterator[tuple[str, str]]:
    async with Grape() as a, Grape(bootstrap=[a.dht_address]) as b:
        await b.ready()
        yield str(a.http_address), str(b.http_address)


@contextlib.asynccontextmanager
async def _originals() -> AsyncIterator[tuple[str, str]]:
    async with two_originals() as (a, b):
        yield a.removeprefix("http://"), b.removeprefix("http://")


NETWORKS = pytest.mark.parametrize(
    "network", [_ours, pytest.param(_originals, marks=pytest.mark.e2e)], ids=["ours", "the original"]
)


async def _answer(address: str, path: str, body: str) -> tuple[int, Any]:
    async with await RawClient.open(address) as client:
        client.send(post_bytes(f"/{path}", body.encode()))
        response = await client.response()
    try:
        value = response.json
    except ValueError:
        return response.status, response.body.decode()
    if isinstance(value, dict):
        return response.status, value | {"id": "*", "token": "*"}
    return response.status, sorted(value) if isinstance(value, list) else value


@NETWORKS
async def test_bodies(network: Any) -> None:
    async with network() as addresses:
        for grape, path, body, status, answer in ANSWERS:
            expected = answer if status == 500 else json.loads(answer)
            assert await _answer(addresses["AB".index(grape)], path, body) == (status, expected), (path, body)
        for path, body in FAILS:
            status, text = await _answer(addresses[0], path, body)
            assert status == 500, (path, body)
            assert re.search("[a-z]", text), text


async def _everything(address: str, data: bytes, then: bytes) -> bytes:
    """All that comes back until the connection ends, dates left out; *then* is sent after the first bytes."""
    async with await RawClient.open(address) as client:
        client.send(data)
        got = await asyncio.wait_for(client.reader.read(1 << 16), 20)
        client.send(then)
        with contextlib.suppress(ConnectionResetError):  # a refused client may have sent more than was read
            got += await asyncio.wait_for(client.reader.read(), 20)
    return re.sub(rb"Date: [^\r]+", b"Date: *", got)


@NETWORKS
async def test_framing(network: Any) -> None:
    async with network() as (address, _):
        assert await _answer(address, "announce", '{"data":["svc",5]}') == (200, 1)
        end = CLOSES["close"][1]
        for name, (data, expected) in GOES_ON.items():
            assert await _everything(address, data, END) == expected + end, name
        for name, (data, expected) in CLOSES.items():
            assert await _everything(address, data, b"") == expected, name


DIFFERENT: dict[str, tuple[bytes, bytes]] = {
    # bytes, and all that comes back of ours; the reasons are in docs/reference/grape-http.md
    "no request after one": (REQUEST + b"garbage\r\n\r\n", FOUND + BAD),
    "another after the last": (END + REQUEST, CLOSES["close"][1]),
    "another after HTTP/1.0": (CLOSES["HTTP/1.0"][0] + REQUEST, CLOSES["HTTP/1.0"][1]),
    "an empty coding": (b"GET / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: \r\n\r\n", BAD),
    "RTSP": (b"OPTIONS * RTSP/1.0\r\n\r\n", BAD),
    "an upgrade": (
        b"GET / HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + END,
        GOES_ON["an empty body"][1] + CLOSES["close"][1],
    ),
    "another expectation": (
        b"POST / HTTP/1.1\r\nHost: g\r\nExpect: coffee\r\n\r\n",
        REFUSED_417 + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "another expectation of HEAD": (
        b"HEAD / HTTP/1.1\r\nHost: g\r\nExpect: coffee\r\n\r\n",
        REFUSED_417 + b"\r\n",
    ),
}

DIFFERENT_BODIES: tuple[tuple[str, str, int, object], ...] = (
    ("announce", '{"data":["",1]}', 200, 1),
    ("announce", '{"data":[[],1]}', 200, 1),
    ("announce", '{"data":[{"length":1,"0":65},1]}', 500, mock.ANY),
    ("put", '{"data":{"v":{"length":1000}}}', 200, "544abc127fd926f38169dd9e11eae9307d53d0ed"),
    (
        "put",
        '{"data":{"v":{"\\uffee":1,"\\ud83d\\ude00":2}}}',
        200,
        "00393aaf94c7e9699d26c3192a8aeae8f3c00a9a",
    ),
    ("put", '{"data":{"v":{"a":"%s"}}}' % ("x" * 3_072), 200, "v must be less than 1000 bytes in put()"),
    ("get", '{"data":{"hash":"544abc127fd926f38169dd9e11eae9307d53d0ed","verify":1}}', 200, mock.ANY),
)


async def test_what_differs_on_purpose() -> None:
    async with _ours() as (address, _):
        assert await _answer(address, "announce", '{"data":["svc",5]}') == (200, 1)
        for name, (data, expected) in DIFFERENT.items():
            assert await _everything(address, data, b"") == expected, name
        for path, body, status, answer in DIFFERENT_BODIES:
            assert await _answer(address, path, body) == (status, answer), body
