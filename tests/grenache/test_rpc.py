"""Python RPC on both sides: errors, endings, hostile bodies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import zlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer
from hypothesis import given
from hypothesis import strategies as st

from dhtex.errors import MalformedMessage
from dhtex.grape import Grape
from dhtex.grenache import (
    GrapeError,
    GrenacheClient,
    GrenacheService,
    Link,
    ServiceError,
    ServiceNotFound,
    ServiceUnreachable,
)
from dhtex.grenache.envelope import pack, unpack


async def _answer(name: str, payload: Any) -> Any:
    match payload:
        case "fail":
            raise ServiceError("no such thing")
        case "break":
            raise ZeroDivisionError
        case "set":
            return {1, 2}
        case _:
            return [name, payload]


async def test_calls_and_errors(caplog: pytest.LogCaptureFixture) -> None:
    async with Grape() as grape:
        url = f"http://{grape.http_address}"
        async with (
            GrenacheService(url, ["one", "two"], _answer) as service,
            GrenacheClient(url, cache_s=0) as client,
        ):
            assert await client.request("one", {"a": 1}) == ["one", {"a": 1}]
            assert await client.request("two", None, compress=True) == ["two", None]
            with pytest.raises(ServiceError, match="no such thing"):
                await client.request("one", "fail")
            caplog.set_level("CRITICAL")
            for payload in ("break", "set"):
                with pytest.raises(ServiceError, match="ERR_INTERNAL"):
                    await client.request("one", payload)
            async with aiohttp.ClientSession() as http:
                for body in (b"", b"{", b"[]", b"5", b"[" * 5000, b"\xff"):
                    async with http.post(f"http://127.0.0.1:{service.port}/", data=body) as response:
                        assert response.status == 500
                for header in ("Origin", "Sec-Fetch-Site"):  # a web page, through the browser that shows it
                    async with http.post(
                        f"http://127.0.0.1:{service.port}/", data=b'["r","one",1]', headers={header: "null"}
                    ) as response:
                        assert response.status == 403
            assert await client.request("one", 1) == ["one", 1]
        async with GrenacheClient(url) as client:
            with pytest.raises(ServiceNotFound):
                await client.request("one", 1)
            assert await client.map("one", 1) == []


async def test_the_living_one_of_two_addresses_answers() -> None:
    async with Grape() as grape:
        url = f"http://{grape.http_address}"
        await grape.announce("svc", 9)  # nobody listens there
        async with GrenacheService(url, "svc", _answer), GrenacheClient(url) as client:
            for _ in range(8):
                assert await client.request("svc", 1) == ["svc", 1]
        async with GrenacheClient(url) as client:
            with pytest.raises(ServiceUnreachable):
                await client.request("svc", 1)


async def test_silence_has_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it connects and says nothing
        port = silent.getsockname()[1]
        async with Grape() as grape, GrenacheClient(f"http://{grape.http_address}") as client:
            await grape.announce("svc", port)
            with pytest.raises(ServiceUnreachable, match="does not answer: it takes too long"):
                await client.request("svc", 1, timeout_s=0.01)
        async with Link(f"http://127.0.0.1:{port}", timeout_s=0.01) as link:
            with pytest.raises(ServiceUnreachable, match="does not answer: it takes too long"):
                await link.lookup("svc")


async def test_an_answer_too_large_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dhtex.grenache.client.BODY_MAX", 100)
    async with Grape() as grape:
        url = f"http://{grape.http_address}"
        async with GrenacheService(url, "svc", _answer), GrenacheClient(url) as client:
            with pytest.raises(ServiceError, match="more than 100 bytes"):
                await client.request("svc", "x" * 100)


async def test_an_answer_of_a_grape_may_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = [f"127.0.0.1:{port}" for port in range(1, 20_001)]  # more than is read at once
    async with _grape_that_answers(json.dumps(addresses).encode()) as url, Link(url) as link:
        assert await link.lookup("svc") == addresses
        monkeypatch.setattr("dhtex.grenache.link.ANSWER_MAX", 100_000)
        with pytest.raises(GrapeError, match="more than 100000 bytes"):
            await link.lookup("svc")


@contextlib.asynccontextmanager
async def _grape_that_answers(body: bytes) -> AsyncIterator[str]:
    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(body=body)

    async with RawTestServer(answer) as server:
        yield str(server.make_url("/"))


async def test_the_link_says_what_went_wrong() -> None:
    async with Grape() as grape, Link(f"{grape.http_address}/") as link:
        with pytest.raises(GrapeError, match="ERR_GRAPE_SERVICE_PORT"):
            await link.announce("svc", "x")  # type: ignore[arg-type]  # that is the point
        with pytest.raises(GrapeError, match="ERR_GRAPE_LOOKUP"):
            await link.lookup("")
        announcing = asyncio.create_task(link.keep_announcing("svc", 5, 30))
        async with asyncio.timeout(5):
            while await link.lookup("svc") != ["127.0.0.1:5"]:  # noqa: ASYNC110  # another process's state
                await asyncio.sleep(0.01)
        announcing.cancel()
    async with Link("http://127.0.0.1:9") as link:
        with pytest.raises(ServiceUnreachable, match="does not answer"):
            await link.lookup("svc")


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_an_envelope_or_one_error(body: bytes, compressed: bool) -> None:
    try:
        unpack(body, compressed=compressed)
    except MalformedMessage:
        return


def test_a_bomb_is_refused() -> None:
    bomb = zlib.compress(b"[" + b"1," * 1_000_000 + b"1]", wbits=31)
    with pytest.raises(MalformedMessage, match="too large"):
        unpack(bomb, compressed=True, body_max=1_000)
    assert unpack(pack("r", None, {"a": 1}, compress=True), compressed=True) == ("r", None, {"a": 1})
