"""The HTTP parser and server: framing, limits, endings, any bytes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhtex.dht import Item, bencode
from dhtex.errors import MalformedMessage, UsageError
from dhtex.grape import Grape
from dhtex.grape import javascript as js
from dhtex.grape.http1 import DISCARD_MAX, HEAD_SIZE_MAX, BadRequest, Parser, Request
from grape.facts import CLOSES, GOES_ON
from grape.raw import RawClient, post, post_bytes

LOOKUP = b'{"rid":"x","data":"svc"}'


def parse(data: bytes, *, step: int | None = None, body_max: int = 100) -> list[Request | int]:
    """The requests in *data*, then the status of a refusal, fed in pieces of *step*."""
    parser = Parser(body_max)
    found: list[Request | int] = []
    for at in range(0, len(data), step or max(1, len(data))):
        parser.feed(data[at : at + (step or len(data))])
        try:
            while (request := parser.next_request()) is not None:
                found.append(request)
        except BadRequest as error:
            return [*found, error.status]
    return found


ENDLESS = HEAD_SIZE_MAX + 100
CHUNKED = b"POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAMS = {
    "length": (post_bytes("/a", b"body"), [b"body"]),
    "no body": (b"GET / HTTP/1.1\r\nHost: g\r\n\r\n", [b""]),
    "pipelined": (post_bytes("/a", b"1") + post_bytes("/b", b"2"), [b"1", b"2"]),
    "empty lines before": (b"\r\n\r\n" + post_bytes("/a", b"1"), [b"1"]),
    "chunks": (
        CHUNKED + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: 1\r\n\r\n" + post_bytes("/", b"n"),
        [b"abcde", b"n"],
    ),
    "too large, then another": (post_bytes("/a", bytes(101)) + post_bytes("/b", b"2"), [None, b"2"]),
    "chunks too large, then another": (
        CHUNKED
        + b"40\r\n"
        + bytes(64)
        + b"\r\n40\r\n"
        + bytes(64)
        + b"\r\n0\r\n\r\n"
        + post_bytes("/b", b"2"),
        [None, b"2"],
    ),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", [400]),
    "old": (b"GET / HTTP/1.0\r\n\r\n", [b""]),
    "older": (b"GET /\r\n\r\n", [b""]),
    "a version nobody made": (b"GET / HTTP/1.2\r\nHost: g\r\n\r\n", [400]),
    "garbage": (b"garbage\r\n\r\n", [400]),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: g\n\n", [400]),
    "unknown method": (b"FOO / HTTP/1.1\r\nHost: g\r\n\r\n", [400]),
    "two lengths": (b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", [400]),
    "length of letters": (b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: +1\r\n\r\na", [400]),
    "huge length": (b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: " + b"9" * 40 + b"\r\n\r\na", [400]),
    "length and chunks": (
        b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        [400],
    ),
    "other encoding": (b"POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", [400]),
    "bad chunk size": (CHUNKED + b"-1\r\n", [400]),
    "chunk without end": (CHUNKED + b"1\r\nab\r\n", [400]),
    "endless chunk size": (CHUNKED + b"1" * 2000, [400]),
    "endless chunk line": (CHUNKED + b"1;" + b"a" * HEAD_SIZE_MAX, [413]),
    "endless trailer": (CHUNKED + b"0\r\nA: " + b"a" * HEAD_SIZE_MAX, [431]),
    "endless spaces": (b"GET / HTTP/1.1\r\nHost: g\r\nX: " + b" " * ENDLESS, [431]),
    "endless headers": (b"GET / HTTP/1.1\r\nHost: g\r\n" + b"X:\r\n" * ENDLESS, [431]),
    "endless head": (b"GET / HTTP/1.1\r\nHost: g\r\nX: " + b"x" * ENDLESS, [431]),
    "space before colon": (b"GET / HTTP/1.1\r\nHost : g\r\n\r\n", [400]),
    "folded header": (b"GET / HTTP/1.1\r\nHost: g\r\n folded\r\n\r\n", [400]),
    "other expectation": (b"GET / HTTP/1.1\r\nHost: g\r\nExpect: coffee\r\n\r\n", [417]),
}


FACTS = (*GOES_ON.values(), *CLOSES.values())


@pytest.mark.parametrize(("stream", "expected"), STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("step", [None, 1, 7])
def test_streams(stream: bytes, expected: list[bytes | int | None], step: int | None) -> None:
    found = [
        item if isinstance(item, int) else None if item.too_large else item.body
        for item in parse(stream, step=step)
    ]
    assert found == expected


@given(
    st.binary(max_size=400)
    | st.lists(st.sampled_from([stream for stream, _ in (*STREAMS.values(), *FACTS)])).map(b"".join),
    st.integers(1, 50) | st.integers(1_000, 40_000),
)
def test_any_bytes_parse_the_same_in_any_pieces(data: bytes, step: int) -> None:
    assert _read(parse(data, step=step)) == _read(parse(data))


def _read(found: list[Request | int]) -> list[Request | str]:
    """Of bytes wrong in two ways, the pieces decide which is seen first."""
    return ["refused" if isinstance(item, int) else item for item in found]


def test_an_endless_body_is_thrown_away_and_ends() -> None:
    parser = Parser(10)
    parser.feed(b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 999999999999\r\n\r\n")
    request = parser.next_request()
    assert request is not None
    assert request.too_large
    with pytest.raises(BadRequest):  # noqa: PT012  # any of the pieces may be the last
        for _ in range(DISCARD_MAX // (1 << 20) + 1):
            parser.feed(bytes(1 << 20))
            assert parser.next_request() is None
            assert not parser._buffer


async def test_expect_and_halves_and_closing() -> None:
    async with Grape() as grape:
        async with await RawClient.open(grape.http_address) as client:
            whole = post_bytes("/lookup", LOOKUP, headers=b"Expect: 100-continue\r\n")
            client.send(whole[: -len(LOOKUP)])
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.send(LOOKUP)
            assert (await client.response()).json == []
            client.send(post_bytes("/lookup", bytes(9000), headers=b"Expect: 100-continue\r\n")[:-9000])
            refused = await client.response()
            assert (refused.status, refused.body) == (413, b"ERR_GRAPE_PAYLOAD_SIZE")
            assert await client.is_closed()
        async with await RawClient.open(grape.http_address) as client:
            client.send(post_bytes("/lookup", LOOKUP)[:-3])
            client.writer.write_eof()
            assert (await client.response()).status == 400
            assert await client.is_closed()
        async with await RawClient.open(grape.http_address) as client:
            client.send(post_bytes("/lookup", LOOKUP) * 3)
            client.writer.write_eof()
            for _ in range(3):
                assert (await client.response()).json == []
            assert await client.is_closed()
        async with await RawClient.open(grape.http_address) as client:
            client.send(post_bytes("/lookup", LOOKUP, headers=b"Connection: close\r\n"))
            assert (await client.response()).headers["connection"] == "close"
            assert await client.is_closed()


async def test_answers_keep_the_order_of_pipelined_requests() -> None:
    async with Grape() as a, Grape(bootstrap=[a.dht_address]) as b:
        await b.ready()
        await a.announce("svc", 5)
        async with await RawClient.open(b.http_address) as client:
            requests = [
                ("/lookup", b'{"data":"svc"}'),
                ("/nope", b'{"data":1}'),
                ("/get", b'{"data":"zz"}'),
            ] * 700
            client.send(b"".join(post_bytes(path, body) for path, body in requests))
            for path, _ in requests:
                expected = {"/lookup": ["127.0.0.1:5"], "/nope": "ERR_REQ_NOTFOUND", "/get": None}[path]
                assert (await client.response()).json == expected


@pytest.mark.parametrize(
    "sent",
    [b"", b"POST /lookup HT", post_bytes("/lookup", LOOKUP)[:-1]],
    ids=["nothing", "half a head", "half a body"],
)
async def test_a_request_that_never_comes_is_refused(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    for limit in ("HEAD_S", "REQUEST_S"):
        monkeypatch.setattr(f"dhtex.grape.server.{limit}", 0.0)
    monkeypatch.setattr("dhtex.grape.server.SWEEP_S", 0.02)
    async with Grape() as grape, await RawClient.open(grape.http_address) as client:
        client.send(sent)
        assert await asyncio.wait_for(client.reader.read(), 20) == REFUSED_408


REFUSED_408 = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n"


async def test_only_a_connection_that_had_an_answer_is_closed_when_idle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for limit in ("KEEP_ALIVE_S", "KEEP_ALIVE_SLACK_S"):
        monkeypatch.setattr(f"dhtex.grape.server.{limit}", 0)
    monkeypatch.setattr("dhtex.grape.server.SWEEP_S", 0.02)
    async with (
        Grape() as grape,
        await RawClient.open(grape.http_address) as first,
        await RawClient.open(grape.http_address) as second,
    ):
        second.send(post_bytes("/lookup", LOOKUP))
        assert (await second.response()).json == []
        assert await second.is_closed()
        first.send(post_bytes("/lookup", LOOKUP))
        assert (await first.response()).json == []


async def test_who_sends_too_much_reads_the_answer_all_the_same() -> None:
    """A connection closed over bytes that were not read is reset, and its client may lose what it was told."""
    body = bytes(4 << 20)
    async with Grape() as grape:
        for headers, version in ((b"Connection: close\r\n", "1.1"), (b"", "1.0")):
            async with await RawClient.open(grape.http_address) as client:
                client.send(post_bytes("/put", body, headers=headers, version=version))
                await client.writer.drain()
                assert (await client.response()).status == 413
                assert await client.is_closed()
        async with await RawClient.open(grape.http_address) as client:
            client.send(b"POST /put HTTP/1.1\r\n" + b"x" * len(body))
            await client.writer.drain()
            assert (await client.response()).status == 431
            assert await client.is_closed()


async def test_half_a_body_that_was_refused_gets_one_answer() -> None:
    async with Grape() as grape, await RawClient.open(grape.http_address) as client:
        client.send(post_bytes("/put", bytes(9_000))[:-1])
        client.writer.write_eof()
        assert (await client.response()).status == 413
        assert await client.is_closed()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers()
    | st.text(max_size=20)
    | st.sampled_from(["svc", "ab" * 20, "8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["v", "k", "sig", "seq", "salt", "cas", "hash", "type", "data"]),
            inner,
            max_size=7,
        )
    ),
)
PATHS = st.sampled_from(["/announce", "/unannounce", "/lookup", "/put", "/get", "/", "/metrics", "/x"])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(PATHS, JSON | st.binary(max_size=40)), min_size=1, max_size=20))
def test_any_bodies(requests: list[tuple[str, Any]]) -> None:
    async def scenario() -> None:
        reached: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reached.append(context))
        async with Grape() as grape, await RawClient.open(grape.http_address) as client:
            for path, data in requests:
                body = data if isinstance(data, bytes) else json.dumps({"rid": "x", "data": data}).encode()
                client.send(post_bytes(path, body))
                assert (await client.response()).status in (200, 301, 302, 500)
            assert (await post(grape.http_address, "/lookup", "never announced")).json == []
        assert not reached

    asyncio.run(scenario())


async def test_deep_and_odd_json(caplog: pytest.LogCaptureFixture) -> None:
    async with Grape() as grape, await RawClient.open(grape.http_address) as client:
        for body in (
            b'{"data":' + b"[" * 4000 + b"]" * 4000 + b"}",
            b'{"data":["x",' + b"9" * 8000 + b"]}",
            b'{"data":NaN}',
            b'{"data":["\\ud800",5]}',
            b'{"data":{"v":"\\udfff"}}',
            b'{"data":{"v":' + b"[" * 900 + b"]" * 900 + b"}}",
            b'{"data":{"v":' + b'{"a":' * 100 + b"1" + b"}" * 100 + b"}}",
            b'{"data":{"v":1e308}}',
            b'{"data":{"v":"x","k":5}}',
            b'{"data":{"v":"x","k":{"length":32}}}',
        ):
            client.send(post_bytes("/put" if b'"v"' in body else "/announce", body))
            assert (await client.response()).status in (200, 500)
    assert not caplog.records


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ("hello", b"5:hello"),
        (12345, b"i12345e"),
        (1.5, b"i1e"),
        (-1.5, b"i-1e"),
        (True, b"i1e"),
        ({"b": 1, "a": "x", "n": None}, b"d1:a1:x1:bi1ee"),
        (["a", None, 1], b"l1:ai1ee"),
        ("é", b"2:\xc3\xa9"),
        (2**53, b"i9007199254740992e"),
        (2**62, b"i-4611686018427388000e"),
        (-(2**62), b"i-4611686018427388000e"),
        (1e21, b"i3875820019684212700e"),
        (442220129275239252, b"i442220129275239230e"),
        (123456789012345678901234567890, b"i-4362897323387257000e"),
        (-0.5, b"i0e"),
    ],
)
def test_values_are_bencoded_as_the_original_does(value: Any, encoded: bytes) -> None:
    converted = js.to_bencode_value(value)
    assert converted is not None
    assert bencode.encode(converted) == encoded


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/lookup", "Lookup"),
        ("/Lookup", "Lookup"),
        ("/-lookup", "Lookup"),
        ("/_lookup", "Lookup"),
        ("/lookup-", "Lookup"),
        ("/look-up", "LookUp"),
        ("//lookup", "/Lookup"),
        ("/lookup?x=1", "Lookup?X=1"),
        ("/", ""),
        ("/LOOKUP", "LOOKUP"),
    ],
)
def test_paths_are_folded_as_the_original_does(target: str, name: str) -> None:
    assert js.handler_name(target) == name


BENCODE = st.recursive(
    st.binary(max_size=20) | st.integers(-(10**18), 10**18),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=5), inner, max_size=4),
)


@given(BENCODE)
def test_bencode_round_trip(value: Any) -> None:
    assert bencode.decode(bencode.encode(value)) == value


def test_bencode_refuses_what_it_has_no_words_for() -> None:
    deep: Any = []
    for _ in range(bencode.DEPTH_MAX):
        deep = [deep]
    assert bencode.decode(bencode.encode(deep)) == deep
    others: list[Any] = [[deep], {b"": deep}, ["text"], {"text": 1}, 0.5, None]
    for value in others:
        with pytest.raises(ValueError, match=r"deeper|neither|not bytes"):
            bencode.encode(value)
    for depth in (bencode.DEPTH_MAX + 2, 500):
        with pytest.raises(MalformedMessage):
            bencode.decode(b"l" * depth + b"e" * depth)
    with pytest.raises(UsageError, match="'text' is neither"):
        Item.immutable(["text"])  # type: ignore[list-item]  # that is the point


@given(st.binary(max_size=60) | st.text("ilde0123456789:-", max_size=40).map(str.encode))
def test_bencode_has_one_error_and_one_encoding(data: bytes) -> None:
    try:
        value = bencode.decode(data)
    except MalformedMessage:
        return
    assert bencode.encode(value) == data
