"""Nodes that know too little, or wait too short, because their machine is too busy: they must notice."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest

from dht.rogue import Rogue, reply
from dht.starved import StarvedLoop
from dht.test_failures import address_of, eventually, protocol_of
from dhtex.dht import DhtNode, Settings, key_of, wire
from dhtex.dht.contacts import Contact
from dhtex.dht.directory import Directory
from dhtex.dht.network import Network
from dhtex.dht.timing import UNIT_S_MAX, UNIT_S_MIN, UNIT_S_START, RoundTrips
from dhtex.dht.virtual import VirtualLoop, VirtualNetwork


@pytest.mark.parametrize("seed", [1, 2])
def test_after_a_storm_of_joins_everybody_finds_a_service(seed: int) -> None:
    """Sixty nodes join through one at once, where a datagram takes ten times what it should."""

    async def scenario() -> None:
        source = random.Random(seed)
        async with DhtNode(node_id=source.randbytes(20)) as first, contextlib.AsyncExitStack() as stack:
            joined = [
                await stack.enter_async_context(
                    DhtNode(bootstrap=[first.dht_address], node_id=source.randbytes(20))
                )
                for _ in range(60)
            ]
            await asyncio.gather(*(node.ready() for node in joined))
            for n in range(0, 60, 6):
                assert await joined[n].announce(f"svc {n}", 1 + n) >= 15
            for n in range(0, 60, 6):
                for node in (first, *joined):
                    assert await node.lookup(f"svc {n}") == [("127.0.0.1", 1 + n)]

    with asyncio.Runner(loop_factory=StarvedLoop) as runner:
        runner.run(scenario())


def _directory(network: VirtualNetwork, contact: Contact) -> tuple[Network, Directory]:
    node = network.node(contact)
    return node, Directory(node, node.protocol._serving, contact.address)


def test_who_knows_few_of_many_announces_where_others_look() -> None:
    """A table with fewer than k contacts does not say that there are no more."""

    async def scenario() -> None:
        network = VirtualNetwork(500, seed=3)
        contact, other = network.random.sample(network.live, 2)
        node, directory = _directory(network, contact)
        key = key_of("svc")
        for known in list(node.table)[:-5]:
            node.table.remove_contact(known)
        for bucket in node.table.buckets:
            bucket.replacement_nodes.clear()
        kept = await directory.announce(key, 1)
        assert kept.others == node.settings.ksize
        _, looking = _directory(network, other)
        assert await looking.lookup(key) == [(contact.address[0], 1)]

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(scenario())


def test_in_a_small_network_nobody_is_asked_whom_to_tell() -> None:
    """One round trip for an announcement, as soon as a look-up met everybody."""

    async def scenario() -> None:
        network = VirtualNetwork(5, seed=4)
        node, directory = _directory(network, network.live[0])
        assert not node.is_small
        await directory.announce(key_of("first"), 1)
        assert node.is_small
        sent = network.datagrams
        assert (await directory.announce(key_of("second"), 1)).others == 4
        assert network.datagrams - sent == 2 * 4
        node.contact_found()
        assert not node.is_small

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(scenario())


def test_a_lookup_that_few_answered_is_made_again() -> None:
    """Everybody known at first is dead but one, and that one knows the others only when it is asked again."""

    async def scenario() -> None:
        network = VirtualNetwork(60, seed=5, dead_share=0.8, settings=Settings(ksize=8, alpha=3))
        node = network.node(network.live[0])
        found = await node.closest_by_asking(network.live[1].id)
        assert network.live[1] in found

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(scenario())


async def test_a_late_answer_still_tells_that_its_sender_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dhtex.dht.protocol.RESEND_AT", (0.01, 0.02, 0.03))
    async with DhtNode() as node, await Rogue.open(node_id=b"r" * 20) as slow:
        protocol = protocol_of(node)
        assert await protocol.begin(slow.address, "ping") is None
        request = wire.decode(await slow.next())
        protocol.settle(Contact(slow.node_id, slow.address), None)
        assert protocol.is_silent(slow.address)
        assert isinstance(request, wire.Request)
        slow.send(reply(request, None, sender=slow.node_id), address_of(node))
        await eventually(lambda: node.counters["late_reply"] == 1)
        assert not protocol.is_silent(slow.address)
        assert [contact.address for contact in node.contacts] == [slow.address]
        slow.send(reply(request, None, sender=slow.node_id), address_of(node))
        await eventually(lambda: node.counters["unknown_reply"] == 1)  # it counts once


async def test_an_answer_to_the_second_transmission_is_measured_from_there() -> None:
    """Karn's ambiguity: without the number a lost first datagram would look like a slow network."""
    async with DhtNode() as node, await Rogue.open(node_id=b"r" * 20) as lossy:
        protocol = protocol_of(node)
        call = protocol.begin(lossy.address, "ping")
        await lossy.next()
        second = wire.decode(await lossy.next())
        assert isinstance(second, wire.Request)
        assert second.message_id[-1] == 1
        lossy.send(reply(second, None, sender=lossy.node_id), address_of(node))
        assert await call is not None
        assert protocol.round_trips.unit_s < UNIT_S_START


def test_the_time_out_follows_what_answers_take() -> None:
    round_trips = RoundTrips()
    assert round_trips.unit_s == UNIT_S_START
    for _ in range(50):
        round_trips.answered(0.001)
    assert round_trips.unit_s == UNIT_S_MIN
    for _ in range(50):
        round_trips.answered(0.8)
    assert 0.8 < round_trips.unit_s < 1.0
    round_trips.answered(60.0)
    assert round_trips.unit_s == UNIT_S_MAX
