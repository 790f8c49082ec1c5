"""Nodes that went and come back, services that go while something about them is under way."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from dht.rogue import Rogue, reply
from dht.test_failures import FAST, address_of, eventually
from dhtex.dht import DhtClient, DhtNode, Item, wire
from dhtex.dht.addresses import pack_address
from dhtex.dht.contacts import Contact, pack_contacts
from dhtex.dht.face import Address


@pytest.mark.parametrize("sender", [b"", b"s" * 20])
@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("ping", ()),
        ("find_node", (bytes(20),)),
        ("find_peers", (bytes(20),)),
        ("get_item", (bytes(20),)),
        ("announce", (bytes(20), 0)),
        ("unannounce", (bytes(20), 0)),
        ("put_item", (b"0:", b"", b"", 0, b"", None, 1)),
    ],
)
async def test_a_void_token_is_always_answered_with_a_new_one(
    sender: bytes, method: str, args: tuple[Any, ...]
) -> None:
    """A node that started again honours no token of its life before; who gets no answer holds it for dead."""
    async with DhtNode() as node, await Rogue.open() as asker:
        answer = await asker.ask(address_of(node), method, *args, token=b"outdated", pad=False, sender=sender)
        assert isinstance(answer, wire.Reply | wire.Refusal)
        assert answer.token


async def test_a_client_finds_its_only_grape_again_after_that_was_away() -> None:
    async with DhtNode() as grape:
        port, name = address_of(grape)[1], grape.dht_address
        client = DhtClient(bootstrap=[name], settings=FAST)
        await client.__aenter__()
        await client.ready()
    try:
        await client.lookup("svc")
        await eventually(lambda: not client.contacts)
        async with DhtNode(port=port):
            await eventually(lambda: client.contacts)
            assert await client.announce("svc", 5) == 1
    finally:
        await client.__aexit__(None, None, None)


@pytest.mark.parametrize("name", ["a" * 64 + ":1", "two..dots:1", "zero\0:1"])
async def test_a_name_no_host_can_have_does_not_end_the_search_for_others(name: str) -> None:
    async with DhtNode() as grape, DhtNode(bootstrap=[name, grape.dht_address], settings=FAST) as node:
        await node.ready()
        assert await node.announce("svc", 1) == 2


RESULTS: dict[str, Any] = {
    "ping": None,
    "find_node": (b"", b""),
    "announce": pack_address(("127.0.0.1", 5)),
    "unannounce": True,
}


@pytest.mark.parametrize("slow", ["find_node", "announce"])
async def test_taking_back_is_the_last_word(slow: str) -> None:
    """Whether the announcement under way looks for whom to tell, or waits for an answer and is sent again."""
    held: list[bytes] = []
    is_slow = asyncio.Event()

    def answer(request: wire.Request, _: Address) -> bytes | None:
        proper = reply(request, RESULTS[request.method], sender=storer.node_id)
        if request.method != slow or len(held) == 2:
            return proper
        held.append(proper)  # the first question and its repetition
        is_slow.set()
        return None

    async with DhtNode() as node, await Rogue.open(answer, b"r" * 20) as storer:
        await node._now.network.protocol.call(storer.address, "ping")
        announcing = asyncio.create_task(node.announce("svc", 5))
        await is_slow.wait()
        assert await node.unannounce("svc", 5)
        await announcing
        words = [
            request.method for request in storer.requests if request.method in ("announce", "unannounce")
        ]
        assert words[-1] == "unannounce"
        assert node.announcement_count == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_what_is_announced_to_a_lone_node_on_all_addresses_can_be_reached(host: str) -> None:
    """Nobody has told the node yet where it is; 0.0.0.0 would mean another machine to everybody else."""
    async with DhtNode(host=host) as lone:
        await lone.announce_once("svc", 7)
        async with DhtNode(bootstrap=[f"127.0.0.1:{address_of(lone)[1]}"]) as other:
            await other.ready()
            ((found, port),) = await other.lookup("svc")
        assert port == 7
        with socket.socket(socket.AF_INET6 if ":" in found else socket.AF_INET) as here:
            here.bind((found, 0))
        assert found not in ("0.0.0.0", "::")
        assert await lone.unannounce("svc", 7)
        assert lone.announcement_count == 0


async def test_a_service_that_moves_is_at_its_new_place_at_once() -> None:
    """Also for who looked it up a moment before, and may answer from that for a second."""
    async with (
        DhtNode() as before,
        DhtNode(bootstrap=[before.dht_address]) as after,
        DhtNode(bootstrap=[before.dht_address]) as asker,
    ):
        await asyncio.gather(after.ready(), asker.ready())
        await before.announce("svc", 1)
        assert await asker.lookup("svc") == [("127.0.0.1", 1)]
        await before.unannounce("svc", 1)
        await after.announce("svc", 2)
        for node in (before, after, asker):
            assert await node.lookup("svc") == [("127.0.0.1", 2)]


async def test_two_nodes_that_have_only_ipv6() -> None:
    async with DhtNode(host="::1") as one, DhtNode(host="::1", bootstrap=[one.dht_address]) as two:
        await two.ready()
        await one.announce("svc", 1)
        assert await two.lookup("svc") == [("::1", 1)]
        key = Item.immutable("over IPv6").key
        assert await two.put(Item.immutable("over IPv6")) == 2
        assert await one.get(key) == Item.immutable("over IPv6")
        assert await one.unannounce("svc", 1)
        assert await two.lookup("svc") == []


async def test_who_has_only_ipv4_does_not_wait_for_who_has_only_ipv6() -> None:
    elsewhere = pack_contacts([Contact(bytes([n]) * 20, (f"2001:db8::{n}", 7)) for n in range(1, 9)], 1_000)
    results = RESULTS | {"find_node": elsewhere, "find_peers": (*elsewhere, b"", b"")}

    def answer(request: wire.Request, _: Address) -> bytes:
        return reply(request, results[request.method], sender=both.node_id)

    async with (
        await Rogue.open(answer, b"b" * 20) as both,
        DhtNode(bootstrap=[both.name], settings=FAST) as node,
    ):
        await node.ready()
        assert await node.lookup("svc") == []
        assert node.counters["unreachable_family"] == 0
