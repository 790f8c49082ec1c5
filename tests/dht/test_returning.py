"""Nodes that went and come back, services that go while something about them is under way."""

from __future__ import annotations

from typing import Any

import pytest

from dht.rogue import Rogue
from dht.test_failures import FAST, address_of, eventually
from dhtex.dht import DhtClient, DhtNode, wire


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
