"""Clients nobody here wrote: Grenache's own for Node, against dhtex Grapes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dhtex.grape import Grape
from dhtex.grenache import GrenacheClient, GrenacheService, Link, ServiceError, ServiceNotFound
from e2e.dhtex_process import Process
from grenache.node import free_port, line_of, output_of, started, two_originals

pytestmark = pytest.mark.e2e


@contextlib.asynccontextmanager
async def two_grapes() -> AsyncIterator[tuple[str, str]]:
    async with Grape() as a, Grape(bootstrap=[a.dht_address]) as b:
        await b.ready()
        yield f"http://{a.http_address}", f"http://{b.http_address}"


def _without_chance(seen: dict[str, Any]) -> dict[str, Any]:
    for name in ("get", "readList", "mutableGet"):
        if name in seen:
            assert re.fullmatch("[0-9a-f]{40}", seen[name]["res"].pop("id"))
            seen[name]["res"].pop("token")
    return seen


async def test_the_link_sees_what_it_sees_of_the_original() -> None:
    async with two_grapes() as ours:
        seen = _without_chance(await output_of("link.js", *ours))
    assert seen["lookup"] == {"err": None, "code": None, "res": ["127.0.0.1:1337"]}
    assert seen["unknown"]["err"] == "ERR_GRAPE_LOOKUP_EMPTY"
    assert seen["get"]["res"] == {"v": "hello world"}
    assert seen["noSuchPath"]["res"] == "ERR_REQ_NOTFOUND"
    async with two_originals() as originals:
        assert seen == _without_chance(await output_of("link.js", *originals))


async def test_the_link_puts_mutable_items() -> None:
    async with two_grapes() as ours:
        seen = _without_chance(await output_of("link.js", *ours, MUTABLE="1"))
    assert seen["mutable"]["res"] == "9ad19e0f16eef714cb90c6f195dbce66e94580f9"
    assert (seen["again"]["err"], seen["again"]["code"]) == ("302 sequence number less than current", 302)
    assert seen["mutableGet"]["res"]["v"] == "hello 1"


@pytest.mark.parametrize("kind", ["http", "ws"])
async def test_node_peers_find_each_other_and_talk(kind: str) -> None:
    ports = free_port(), free_port()
    async with two_grapes() as (a, b), contextlib.AsyncExitStack() as stack:
        for port in ports:
            server = await stack.enter_async_context(started("server.js", kind, a, "rpc_test", port))
            assert await line_of(server) == "announced"
        seen = await output_of("client.js", kind, b, "rpc_test")
    assert seen["request"]["res"]["echo"] == {"hello": "wörld", "n": [1, 2.5, None]}
    assert seen["failure"]["err"] == "ERR_ON_PURPOSE"
    assert sorted(answer["from"] for answer in seen["map"]["res"]) == sorted(ports)
    assert seen["nobody"]["err"] == "ERR_GRAPE_LOOKUP_EMPTY"


async def test_the_links_cache_and_retry() -> None:
    """A Grape that starts while the link retries, a service that moves behind its cache, a Grape that ends."""
    port = free_port()
    async with started("retry.js", f"http://127.0.0.1:{port}") as link, contextlib.AsyncExitStack() as stack:

        async def seen() -> Any:
            return json.loads(await line_of(link))

        def go_on() -> None:
            assert link.stdin is not None
            link.stdin.write(b"\n")

        assert (await seen())["refused"]["err"] == "ECONNREFUSED"
        go_on()
        assert await seen() == {"retrying": True}
        grape = await stack.enter_async_context(Grape(http_port=port))
        go_on()
        there = {"err": None, "res": ["127.0.0.1:1337"]}
        assert await seen() == {"late": {"err": None, "res": 1}, "lookup": there}
        await grape.unannounce("svc", 1337)
        await grape.announce("svc", 1338)
        go_on()
        assert await seen() == {"cached": there, "asked": {"err": None, "res": ["127.0.0.1:1338"]}}
        await stack.aclose()
        go_on()
        assert await seen() == {
            "cachedWithoutGrape": {"err": None, "res": ["127.0.0.1:1338"]},
            "other": {"err": "ECONNREFUSED", "res": None},
        }


async def test_a_subscriber_hears_a_publisher() -> None:
    async with two_grapes() as ours:
        assert await output_of("pubsub.js", *ours, free_port()) == {"heard": "tick"}


NETWORKS = pytest.mark.parametrize("network", [two_grapes, two_originals], ids=["ours", "the original"])


@NETWORKS
async def test_python_calls_a_node_service(network: Any) -> None:
    port = free_port()
    async with network() as (a, b), started("server.js", "http", a, "rpc_test", port) as server:
        assert await line_of(server) == "announced"
        async with GrenacheClient(b) as client:
            for compress in (False, True):
                answer = await client.request("rpc_test", {"ä": [1]}, compress=compress)
                assert answer == {"from": port, "key": "rpc_test", "echo": {"ä": [1]}}
            assert [answer["from"] for answer in await client.map("rpc_test", None)] == [port]
            with pytest.raises(ServiceError, match="ERR_ON_PURPOSE"):
                await client.request("rpc_test", {"fail": True})
            with pytest.raises(ServiceNotFound):
                await client.request("nobody", None)


async def _echo(name: str, payload: Any) -> Any:
    if payload == {"fail": True}:
        raise ServiceError("ERR_ON_PURPOSE")
    return {"from": 0, "key": name, "echo": payload}


@NETWORKS
async def test_node_calls_a_python_service(network: Any) -> None:
    async with network() as (a, b):
        async with GrenacheService(a, "rpc_test", _echo):
            seen = await output_of("client.js", "http", b, "rpc_test")
        assert seen["request"]["res"]["echo"] == {"hello": "wörld", "n": [1, 2.5, None]}
        assert seen["failure"] == {"err": "ERR_ON_PURPOSE", "res": None}
        assert seen["gzip"]["res"]["echo"] == "x" * 5000
        assert len(seen["map"]["res"]) == 1
        if network is two_grapes:
            async with Link(b) as link:
                assert await link.lookup("rpc_test") == []  # it took its announcement back


async def test_python_rpc_through_the_original_grape() -> None:
    async with two_originals() as (a, b), GrenacheService(a, "py", _echo), GrenacheClient(b) as client:
        for compress in (False, True):
            assert (await client.request("py", 5, compress=compress))["echo"] == 5
        with pytest.raises(ServiceNotFound):
            await client.request("nobody", None)


async def test_a_node_program_trades_through_a_peer_process(tmp_path: Path) -> None:
    async with two_grapes() as (near, far):
        with Process(
            tmp_path, "peer", "peer", "--ephemeral", "--found", "--bn", "", "--grenache", near
        ) as peer:
            started_as = await asyncio.to_thread(peer.hear_event, "started")
            seen = await output_of("trade.js", far)
            assert seen["placed"]["status"] == "open"
            assert seen["refused"].startswith("ERR_ORDER: price 1.001 is not a multiple of the tick")
            assert seen["book"]["bids"] == [["50.00", "100"]]
            assert started_as["services"] == ["dhtex:BTC-USD", f"dhtex:BTC-USD:{started_as['node'][:8]}"]
            assert await asyncio.to_thread(peer.end) == 0
        async with Link(far) as link:
            assert await link.lookup("dhtex:BTC-USD") == []
