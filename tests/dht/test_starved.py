"""Nodes that know too little, or wait too short, because their machine is too busy: they must notice."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import sys
from collections import Counter
from dataclasses import astuple, replace
from typing import Any

import pytest

from dht.rogue import Rogue, reply
from dht.starved import StarvedLoop
from dht.test_failures import address_of, eventually, protocol_of
from dhtex.dht import DhtNode, Item, Settings, key_of, wire
from dhtex.dht.addresses import pack_address
from dhtex.dht.calls import GIVEN_UP_MAX, Answer
from dhtex.dht.contacts import Contact, pack_contacts
from dhtex.dht.directory import Directory
from dhtex.dht.face import Address
from dhtex.dht.network import TRIES, Network
from dhtex.dht.shortlist import Shortlist
from dhtex.dht.timing import SOURCES_MAX, UNIT_S_MAX, UNIT_S_MIN, UNIT_S_START, RoundTrips
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
    monkeypatch.setattr("dhtex.dht.calls.RESEND_AT", (0.01, 0.02, 0.03))
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
        assert protocol.round_trips.unit_s(lossy.address) < UNIT_S_START


@pytest.mark.parametrize("named", [1, 2, 255])
async def test_an_answer_that_names_another_transmission_is_an_answer(named: int) -> None:
    """Who answers a transmission that was never sent is believed, but nothing is measured."""
    async with DhtNode() as node, await Rogue.open(node_id=b"r" * 20) as liar:
        protocol = protocol_of(node)
        call = protocol.begin(liar.address, "ping")
        request = wire.decode(await liar.next())
        assert isinstance(request, wire.Request)
        other = replace(request, message_id=request.message_id[: wire.CALL_ID_SIZE] + bytes([named]))
        liar.send(reply(other, None, sender=liar.node_id), address_of(node))
        assert await call is not None
        assert protocol.round_trips.unit_s(liar.address) == UNIT_S_START


async def test_calls_given_up_are_few_and_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dhtex.dht.calls.RESEND_AT", (0.0, 0.0, 0.0))
    async with DhtNode() as node, await Rogue.open() as silent:
        calls = protocol_of(node)._calls
        item = Item.immutable("x" * 900)
        for _ in range(GIVEN_UP_MAX // 64 + 2):
            await asyncio.gather(
                *(
                    protocol_of(node).begin(silent.address, "put_item", *astuple(item), None, 60)
                    for _ in range(64)
                )
            )
        assert len(calls._given_up) == GIVEN_UP_MAX
        assert sum(deep_size(given_up) for given_up in calls._given_up.values()) < 500 * GIVEN_UP_MAX
        assert len(calls) == 0


def deep_size(value: object) -> int:
    """Bytes of a value and what it refers to."""
    return sys.getsizeof(value) + sum(
        deep_size(part) for part in gc.get_referents(value) if part is not type(value)
    )


async def test_two_refusals_of_an_old_token_end_no_call() -> None:
    """On a busy machine a question is sent twice before the first refusal arrives; the second says nothing new."""
    async with DhtNode() as node, await Rogue.open(node_id=b"r" * 20) as renewed:
        call = protocol_of(node).begin(renewed.address, "announce", key_of("svc"), 7)
        for transmission in (0, 1):
            request = wire.decode(await renewed.next())
            assert isinstance(request, wire.Request)
            assert request.message_id[-1] == transmission
        for transmission in (0, 1):
            old = request.message_id[: wire.CALL_ID_SIZE] + bytes([transmission])
            renewed.send(
                wire.encode_refusal(old, renewed.node_id, b"fresh...", "token", ""), address_of(node)
            )
        again = wire.decode(await renewed.next())
        assert isinstance(again, wire.Request)
        assert again.token == b"fresh..."
        assert again.message_id[-1] == 2
        renewed.send(reply(again, pack_address(("127.0.0.1", 7)), sender=renewed.node_id), address_of(node))
        assert isinstance(await call, Answer)


def test_the_time_out_follows_what_answers_take() -> None:
    round_trips = RoundTrips()
    assert round_trips.unit_s("anybody") == UNIT_S_START
    for n in range(50):
        round_trips.answered(n % 5, 0.001)
    assert round_trips.unit_s("anybody") == UNIT_S_MIN
    for n in range(50):
        round_trips.answered(n % 5, 0.3)
    assert round_trips.unit_s("anybody") == pytest.approx(0.6)
    for n in range(5):
        round_trips.answered(n, 60.0)
    assert round_trips.unit_s("anybody") == UNIT_S_MAX
    for _ in range(12):  # the machine is quick again
        for n in range(5):
            round_trips.answered(n, 0.001)
    assert round_trips.unit_s("anybody") < 2 * UNIT_S_MIN
    for n in range(5):
        round_trips.answered(n, 60.0)
        round_trips.missed(n)
    assert round_trips.unit_s("anybody") == UNIT_S_START
    for n in range(1_000):
        round_trips.answered(n, 0.001)
    assert len(round_trips._peaks_s) == SOURCES_MAX


@pytest.mark.parametrize(("honest", "liars"), [(2, 1), (4, 1), (9, 3), (24, 7)])
def test_who_answers_late_on_purpose_slows_nobody_else(honest: int, liars: int) -> None:
    round_trips = RoundTrips()
    for n in range(1_000):
        round_trips.answered(f"honest {n % honest}", 0.002)
        round_trips.answered(f"liar {n % liars}", 3_600.0)
        assert n < honest or round_trips.unit_s("anybody") == UNIT_S_MIN
    assert round_trips.unit_s("liar 0") == UNIT_S_START


async def test_an_answer_an_hour_late_moves_nothing() -> None:
    """The liar keeps a question and answers it when it likes."""
    async with contextlib.AsyncExitStack() as stack:
        liar = await stack.enter_async_context(await Rogue.open(node_id=b"r" * 20))
        node = await stack.enter_async_context(DhtNode())
        protocol = protocol_of(node)
        call = protocol.begin(liar.address, "ping")
        kept = wire.decode(await liar.next())
        assert isinstance(kept, wire.Request)
        assert await call is None
        for _ in range(3):
            other = await stack.enter_async_context(DhtNode(bootstrap=[node.dht_address]))
            await protocol.call(address_of(other), "ping")
        given_up = protocol._calls._given_up
        call_id, late = given_up.popitem()
        given_up[call_id] = late._replace(sent_s=tuple(sent_s - 3_600 for sent_s in late.sent_s))
        liar.send(reply(kept, None, sender=liar.node_id), address_of(node))
        await eventually(lambda: node.counters["late_reply"] == 1)
        assert protocol.round_trips.unit_s(address_of(other)) == UNIT_S_MIN
        assert protocol.round_trips.unit_s(liar.address) == UNIT_S_START


def _answered(ksize: int, answered: int, failed: int) -> Shortlist:
    contacts = [Contact(bytes([n]) * 20, (f"10.0.0.{1 + n}", 7)) for n in range(answered + failed)]
    shortlist = Shortlist(
        bytes(20), contacts, own_id=b"o" * 20, is_silent=lambda _: False, ksize=ksize, alpha=9, inflight_max=9
    )
    while queries := shortlist.next_queries():
        for contact in queries:
            if contact in contacts[:answered]:
                shortlist.answered(contact, [], contact)
            else:
                shortlist.failed(contact)
    assert shortlist.is_done
    return shortlist


def test_a_look_up_that_most_did_not_answer_says_nothing_about_the_size_of_the_network() -> None:
    """Five of thousands are known and none of them is heard: there are others all the same."""
    assert _answered(20, 5, 0).met_everybody
    assert _answered(20, 5, 4).met_everybody
    assert not _answered(20, 2, 3).met_everybody
    assert not _answered(20, 0, 5).met_everybody
    assert not _answered(20, 0, 0).met_everybody
    assert not _answered(5, 5, 0).met_everybody


async def test_contacts_made_up_by_a_liar_cost_one_more_look_up_and_no_address_two_questions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made_up = [Contact(os.urandom(20), ("127.0.0.1", 1 + n)) for n in range(60)]

    def answer(request: wire.Request, _: Address) -> bytes:
        if request.method == "ping":
            return reply(request, None, sender=b"l" * 20)
        named = pack_contacts(made_up[len(liar.requests) % 3 :: 3], 2_000)
        return reply(
            request, (*named, b"", b"") if request.method == "find_peers" else named, sender=b"l" * 20
        )

    async with await Rogue.open(answer, b"l" * 20) as liar, DhtNode(bootstrap=[liar.name]) as victim:
        await victim.ready()
        before = len(liar.requests)
        asked: Counter[Address] = Counter()
        calls = protocol_of(victim)._calls
        begin = calls.begin

        def counted(address: Address, *rest: Any) -> Any:
            asked[address] += 1
            return begin(address, *rest)

        monkeypatch.setattr(calls, "begin", counted)
        assert await victim.lookup("svc") == []
        assert len([request for request in liar.requests[before:] if request.method == "find_peers"]) <= TRIES
        del asked[liar.address]
        assert max(asked.values(), default=0) <= 1
