"""Items stay where they belong whoever comes, however many there are, and at a cost that has bounds."""

from __future__ import annotations

import asyncio
import os

import pytest

from dht.rogue import Rogue
from dht.test_failures import FAST, address_of, eventually, protocol_of
from dhtex.dht import ContactFound, ContactLost, DhtNode, Item, Settings, wire
from dhtex.dht.contacts import Contact
from dhtex.dht.upkeep import BATCH


def fill(node: DhtNode, count: int, *, due_in_s: float = 3_600.0) -> set[bytes]:
    """Keys of so many items that are at *node* only."""
    now = node._now
    items = [Item.immutable(f"value {n}") for n in range(count)]
    assert now.serving is not None
    for item in items:
        due_s = now.network.now_s + due_in_s
        now.serving.items.put(item.key, item, end_s=now.network.now_s + 9_000.0, republish_s=due_s)
    return {item.key for item in items}


def keys_at(node: DhtNode) -> set[bytes]:
    serving = node._now.serving
    assert serving is not None
    return {key for key, _ in serving.items}


async def test_a_newcomer_gets_every_item_it_should_keep() -> None:
    """In a network of two that is all of them: the older node may end before an hour is over."""
    async with DhtNode() as node:
        keys = fill(node, 10 * BATCH + 1)
        async with DhtNode(bootstrap=[node.dht_address]) as newcomer:
            await eventually(lambda: keys_at(newcomer) == keys)


async def test_a_newcomer_gets_no_item_that_it_should_not_keep() -> None:
    """With k = 1: what another node is nearer to."""
    settings = Settings(ksize=1, alpha=1, concurrency=1)
    async with (
        DhtNode(node_id=b"\x00" * 20, settings=settings) as node,
        DhtNode(node_id=b"\x40" * 20, settings=settings, bootstrap=[node.dht_address]) as near,
    ):
        await near.ready()
        await eventually(lambda: node.contacts)
        keys = fill(node, 200)
        far = DhtNode(node_id=b"\xff" * 20, settings=settings, bootstrap=[node.dht_address])
        async with far:
            await eventually(lambda: keys_at(far) == {key for key in keys if key[0] & 0x80})


async def test_republishing_loses_none_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dhtex.dht.calls.CALLS_MAX", 2 * BATCH)
    async with DhtNode() as node, DhtNode(bootstrap=[node.dht_address]) as other:
        await other.ready()
        await eventually(lambda: node.contacts)
        keys = fill(node, 10 * BATCH + 1, due_in_s=0.0)
        upkeep = node._now._upkeep
        assert upkeep is not None
        republishing = asyncio.create_task(upkeep.republish(tick_s=0.01))
        await eventually(lambda: keys_at(other) == keys)
        assert node.counters["calls_overflow"] == 0
        republishing.cancel()
        await asyncio.wait([republishing])


async def test_who_shows_up_under_one_id_after_the_other_takes_no_calls_from_others() -> None:
    """Each id is a newcomer that should keep everything, and never answers."""
    async with DhtNode() as node, await Rogue.open() as rogue:
        fill(node, 2 * BATCH)
        token = await rogue.token_of(address_of(node))
        for _ in range(100):
            request = wire.encode_request(os.urandom(20), "ping", os.urandom(20), token, (), pad=False)
            rogue.send(request, address_of(node))
        await eventually(lambda: node.counters["served_ping"] == 101)
        assert protocol_of(node).calls_count <= BATCH


async def test_events_tell_who_is_in_the_table_and_nobody_else() -> None:
    async with DhtNode(node_id=bytes(20), settings=FAST) as node:
        events = node.events()
        protocol = protocol_of(node)
        for n in range(100):  # one bucket that does not split: the own id is not in it
            protocol.heard_from(Contact(b"\xff" + os.urandom(19), ("10.0.0.1", 1 + n)))
        held = node.contacts
        assert len(held) == node.settings.ksize
        protocol.heard_from(Contact(b"\xff" + os.urandom(19), held[0].address))  # it came back under a new id
        protocol.router.remove_contact(held[1])
        inside: set[bytes] = set()
        while inside != {contact.id for contact in node.contacts}:
            event = await asyncio.wait_for(anext(events), 5)
            assert isinstance(event, ContactFound | ContactLost)
            (inside.add if isinstance(event, ContactFound) else inside.remove)(event.node_id)
        assert len(inside) == node.settings.ksize
        assert not events._waiting
