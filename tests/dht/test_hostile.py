"""Whatever bytes arrive, a node goes on answering, nothing reaches the event loop, memory stays bounded."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from dataclasses import astuple
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dht.rogue import Rogue, reply
from dht.test_failures import address_of, protocol_of
from dhtex.dht import DhtClient, DhtNode, Item, Settings, wire
from dhtex.dht.addresses import source_of
from dhtex.dht.contacts import Contact
from dhtex.dht.limits import Rates, SourceLimits
from dhtex.dht.stores import Announcements, Items
from dhtex.dht.tokens import ROTATE_S, Tokens
from dhtex.errors import MalformedMessage
from dhtex.identity import Identity

KEYS = st.sampled_from([b"k" * 20, bytes(20), b"\xff" * 20, b"k" * 19])
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.binary(max_size=60)
    | st.text(max_size=20)
    | KEYS
    | st.floats()
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
METHODS = st.sampled_from(
    ["ping", "find_node", "find_peers", "announce", "unannounce", "get_item", "put_item", "store", "stun"]
)


def _packed(kind: int, body: Any) -> bytes:
    packed: bytes = msgpack.packb(body)
    return bytes([kind]) + b"i" * 20 + packed


PROPER = st.builds(
    lambda method, sender, token, args, padding: _packed(0, [method, sender, token, args, padding]),
    METHODS,
    st.sampled_from([b"", b"s" * 20]),
    st.sampled_from([b"", b"t" * 8]),
    st.lists(KEYS | LEAVES, max_size=7),
    st.sampled_from([b"", bytes(1000)]),
)


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    datagram = bytearray(draw(PROPER))
    for at in draw(st.lists(st.integers(0, len(datagram) - 1), max_size=4)):
        datagram[at] = draw(st.integers(0, 255))
    return bytes(datagram[: draw(st.integers(1, len(datagram)))])


DATAGRAMS = (
    st.binary(min_size=1, max_size=200)
    | PROPER
    | _damaged()
    | st.builds(_packed, st.integers(0, 3), VALUES)
    | st.builds(
        lambda n, lead: wire.encode_request(b"i" * 20, "ping", b"", b"", (), pad=False)[:21] + lead * n,
        st.integers(1, 2000),
        st.sampled_from([b"\x91", b"\x81", b"\xdc", b"\x93", b"\xc4"]),
    )
)


def _run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run in a loop of its own; fails when anything reaches its exception handler."""
    reached: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reached.append(context))
        await scenario()

    asyncio.run(main())
    assert not reached


@settings(max_examples=60, deadline=None)
@given(st.lists(DATAGRAMS, min_size=1, max_size=20))
def test_any_datagrams(datagrams: list[bytes]) -> None:
    async def scenario() -> None:
        async with DhtNode() as node, await Rogue.open() as rogue:
            for datagram in datagrams:
                rogue.send(datagram, address_of(node))
            async with await Rogue.open() as other:
                assert isinstance(await other.ask(address_of(node), "ping", sender=b""), wire.Reply)
            assert node.counters["internal_error"] == 0
            assert node.counters["bytes_sent"] <= node.counters["bytes_received"]
            assert not node.contacts  # nobody proved an address

    _run(scenario)


@settings(max_examples=50, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=6), st.sampled_from([b"l" * 20, b"", b"short", b"l" * 40]))
def test_any_answers(results: list[Any], sender: bytes) -> None:
    async def scenario() -> None:
        def answer(request: wire.Request, _: Any) -> list[bytes]:
            if request.method == "ping":
                return [reply(request, None, sender=b"l" * 20)]
            result = results[len(liar.requests) % len(results)]
            return [reply(request, result, sender=sender), reply(request, result, sender=b"l" * 20)]

        async with await Rogue.open(answer) as liar, DhtNode() as victim:
            for use in (
                lambda: victim.lookup("svc"),
                lambda: victim.announce("svc", 5),
                lambda: victim.put(Item.immutable("x")),
                lambda: victim.get(b"k" * 20),
                lambda: victim.unannounce("svc", 5),
            ):
                # A proper ping makes the liar a live contact again after each improper answer.
                await protocol_of(victim).call(liar.address, "ping")
                await use()
            assert await victim.get(Item.immutable("x").key) == Item.immutable("x")
            assert victim.counters["internal_error"] == 0
            assert not protocol_of(victim).calls_count

    _run(scenario)


FLOOD = """
import socket, sys, time
from dhtex.dht import wire
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.connect(("127.0.0.1", int(sys.argv[1])))
sender.send(wire.encode_request(bytes(20), "ping", b"", b"", (), pad=True))
token = wire.decode(sender.recv(4096)).token
sender.setblocking(False)
datagrams = [
    bytes.fromhex(part) if part else bytes([n % 3]) + bytes([n]) * 80 for n, part in enumerate(sys.argv[2:])
]
datagrams = [datagram.replace(b"8 bytes.", token) for datagram in datagrams]
while True:
    begin_s = time.monotonic()
    for n in range(200):
        try:
            sender.send(datagrams[n % len(datagrams)])
        except OSError:
            pass
    time.sleep(max(0.0, begin_s + 0.01 - time.monotonic()))
"""

FORGED = Item.signed_by(Identity(bytes(31) + b"\x06"), "value", seq=1)
FLOODS: dict[str, list[bytes]] = {
    "questions of a stranger, and noise": [
        wire.encode_request(bytes(20), "find_peers", b"", b"", (bytes(20),), pad=True),
        *(b"", b"", b""),
    ],
    "questions with a token": [
        wire.encode_request(bytes(20), "find_peers", b"", b"8 bytes.", (bytes(20),), pad=False)
    ],
    "forged signatures with a token": [
        wire.encode_request(
            (bytes([n]) * 20),
            "put_item",
            b"",
            b"8 bytes.",
            (*astuple(FORGED)[:3], 2, FORGED.sig, None, 60),
            pad=False,
        )
        for n in range(200)
    ],
}


@pytest.mark.e2e
@pytest.mark.parametrize("datagrams", FLOODS.values(), ids=FLOODS)
async def test_one_source_flooding_does_not_stop_others(datagrams: list[bytes]) -> None:
    """20,000 datagrams a second from one source; somebody else, who keeps nothing itself, is served all along."""
    async with DhtNode() as node, DhtClient(bootstrap=[node.dht_address]) as other:
        await other.ready()
        await node.announce("svc", 1)
        for n in range(40):
            protocol_of(node).heard_from(Contact(os.urandom(20), ("127.0.0.1", 1 + n)))
        flood = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", FLOOD, str(address_of(node)[1])),
            *(datagram.hex() for datagram in datagrams),
        )
        try:
            asked = served = 0
            while asked < 200 or node.counters["over_limit"] < 2_000:
                served += await other.lookup("svc") == [("127.0.0.1", 1)]
                asked += 1
            # Where the system itself loses what it has no time to deliver, a look-up may miss; it was two in 347.
            assert served >= 0.9 * asked
        finally:
            flood.kill()
            await flood.wait()


async def test_a_stranger_is_served_again_after_its_flood() -> None:
    rates = Rates(stranger=1_000, stranger_burst=20)
    async with DhtNode(settings=Settings(rates=rates)) as node, await Rogue.open() as rogue:
        for _ in range(200):
            rogue.send(b"\x00" + bytes(30), address_of(node))
        async with asyncio.timeout(10):
            while True:
                try:
                    async with asyncio.timeout(0.05):
                        await rogue.ask(address_of(node), "ping", sender=b"")
                        break
                except TimeoutError:
                    continue
        assert node.counters["over_limit"] >= 100


def test_limits_are_bounded_and_let_the_proven_through() -> None:
    limits = SourceLimits(
        Rates(stranger=10, stranger_burst=5, strangers=100, strangers_burst=50), 0.0, sources_max=64
    )
    assert sum(limits.take("one", 0.0) for _ in range(100)) == 5
    assert sum(limits.take(n, 0.0) for n in range(1_000)) == 45  # all strangers together: 50
    assert len(limits) <= 64
    limits.take("known", 10.0)
    limits.prove("known")
    assert sum(limits.take("known", 20.0) for _ in range(1_000)) == 1_000
    assert sum(limits.take(f"spoofed {n}", 20.0) for n in range(60)) == 50


async def test_who_used_its_time_up_waits_and_others_do_not() -> None:
    async with (
        DhtNode(settings=Settings(rates=Rates(share=1e-9, share_burst_s=1e-9))) as node,
        await Rogue.open() as one,
        await Rogue.open() as another,
    ):
        await one.token_of(address_of(node))  # answering that took longer than a nanosecond
        one.send(wire.encode_request(bytes(20), "ping", b"", b"", (), pad=True), address_of(node))
        await another.token_of(address_of(node))
        assert node.counters["over_limit"] == 1


def test_a_source_has_a_share_of_the_time() -> None:
    limits = SourceLimits(Rates(share=0.25, share_burst_s=0.5), 0.0)
    limits.take("one", 0.0)
    limits.prove("one")
    served = 0
    for tick in range(1_000):  # ten seconds in which it asks for what takes 10 ms
        if limits.take("one", tick / 100):
            limits.spent("one", 0.01)
            served += 1
        assert limits.take("another", tick / 100)
    assert served == pytest.approx(300, abs=3)


def test_who_owns_an_ipv6_network_is_one_source() -> None:
    """A home line has 2^64 addresses: each of them a stranger, nothing would be limited."""
    addresses = [(f"2001:db8:1:2::{n:x}", 7) for n in range(1, 200)]
    assert {source_of(address) for address in addresses} == {"2001:db8:1:2::"}
    assert source_of(("2001:db8:1:3::1", 7)) == "2001:db8:1:3::"
    assert source_of(("192.0.2.1", 7)) == source_of(("192.0.2.1", 8)) == "192.0.2.1"
    assert source_of(("::1", 7)) == ("::1", 7)
    stored = Announcements(60.0, per_source_max=50)
    for address in addresses:
        stored.add(b"k" * 20, address, 0.0)
    assert len(stored) == 50
    stored.expire(61.0)
    assert not stored._by_source


def test_stores_are_bounded_and_the_oldest_goes_first() -> None:
    stored = Announcements(60.0, count_max=100, per_key_max=10, per_source_max=50)
    for n in range(500):
        stored.add(bytes([n % 200]) * 20, ("10.0.0.1", 1 + n), float(n) / 100)
    assert len(stored) == 50
    for n in range(20):
        stored.add(b"k" * 20, ("10.0.0.2", 1 + n), 6.0)
    assert sorted(port for _, port in stored.addresses(b"k" * 20, 6.0)) == list(range(11, 21))
    for n in range(500):
        stored.add(b"k" * 20, (f"10.1.{n // 250}.{n % 250 + 1}", 5), 7.0)
    assert len(stored) <= 100
    stored.expire(100.0)
    assert len(stored) == 0
    assert not stored._by_key
    assert not stored._by_source

    items = Items(count_max=10)
    for n in range(30):
        items.put(bytes([n]) * 20, Item.immutable(n), end_s=100.0, republish_s=50.0)
        items.get(bytes(20), 1.0)  # the first is used again and again
    assert len(items) == 10
    assert items.get(bytes(20), 1.0) == Item.immutable(0)
    assert items.get(bytes(20), 100.0) is None


def test_tokens_belong_to_one_address_and_end() -> None:
    tokens = Tokens(0.0)
    mine, other = ("127.0.0.1", 1), ("127.0.0.1", 2)
    token = tokens.issue(mine, 0.0)
    assert tokens.is_valid(token, mine, ROTATE_S * 1.9)
    assert not tokens.is_valid(token, other, 0.0)
    assert not tokens.is_valid(b"", mine, 0.0)
    assert not tokens.is_valid(token, mine, ROTATE_S * 4)
    for port in range(1, 10_000):
        tokens.issue(("127.0.0.1", port), ROTATE_S * 4)
    assert len(tokens._issued) <= Tokens.CACHE_MAX


@given(st.binary(max_size=300))
def test_the_decoder_has_one_error(datagram: bytes) -> None:
    try:
        wire.decode(datagram)
    except MalformedMessage:
        return
