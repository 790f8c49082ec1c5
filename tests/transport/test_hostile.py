"""Garbage, forgeries, floods: on a live endpoint nothing may change but counters."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhtex.errors import RpcTimeout
from dhtex.identity import Identity, PublicKey
from dhtex.transport import Budget, Channel, Limits
from dhtex.transport.datagram import HELLO_ANSWER_SIZE, Kind, encode_hello, header
from dhtex.transport.secure import Boxes, KeyRing
from transport.support import ALICE, BOB, CAROL, GROUP, WALL, Pair, Recorder, Relay, introduce

FUTURE = WALL * 2  # numbers well ahead of any honest sender's


def boxed(author: Identity, plaintext: bytes, number: int, group: bytes = GROUP) -> bytes:
    """A datagram for Bob whose box opens, whatever it says."""
    boxes = Boxes(KeyRing(author), group, BOB.public_key)
    return header(Kind.BOX, group, author.public_key) + boxes.seal(number, plaintext)


class Target:
    """Bob, with Alice as a true member, and a socket to attack him from."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.failures: list[dict[str, Any]] = []
        self.pair = Pair(limits=limits)

    async def open(self) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: self.failures.append(context))
        await self.pair.__aenter__()
        self.pair.b.register("ping", lambda sender, params: "pong")
        self.attacker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.attacker.setblocking(False)
        self.attacker.bind(("127.0.0.1", 0))
        await self.settle()

    async def close(self) -> None:
        self.attacker.close()
        await self.pair.__aexit__()

    async def settle(self) -> None:
        """Until Bob has read all that was sent to him before: one socket is read in order."""
        assert await self.pair.a.call(BOB.node_id, "ping", [], timeout=10) == "pong"

    def state(self) -> tuple[object, ...]:
        links = self.pair.b._links
        return (
            links.members,
            [(link.node_id, link.address, len(link.calls), link._reassembler.size) for link in links],
            list(self.pair.heard_by_bob.said),
        )

    async def attack(self, datagrams: list[bytes]) -> None:
        before = self.state()
        for datagram in datagrams:
            self.attacker.sendto(datagram, self.pair.bob.address)
        await self.settle()
        assert self.state() == before
        assert self.failures == []

    def replies(self) -> list[bytes]:
        found = []
        while True:
            try:
                found.append(self.attacker.recv(65536))
            except BlockingIOError:
                return found


class Arena:
    """A target in a loop of its own, so that a property can be tried on it many times."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.target = Target()
        self.runner.run(self.target.open())

    def attack(self, *datagrams: bytes) -> None:
        self.runner.run(self.target.attack(list(datagrams)))

    def close(self) -> None:
        self.runner.run(self.target.close())
        self.runner.close()


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    made = Arena()
    yield made
    made.close()


TRUE = boxed(ALICE, msgpack.packb([[2, 1, []]]), FUTURE)
BOX = header(Kind.BOX, GROUP, ALICE.public_key)
HEADERS = [
    header(kind, group, key)
    for kind in Kind
    for group in (GROUP, bytes(20))
    for key in (
        ALICE.public_key,
        BOB.public_key,
        CAROL.public_key,
        PublicKey(bytes(32)),
        PublicKey(b"\xff" * 32),
    )
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=1500), min_size=1, max_size=5))
def test_random_bytes_change_nothing(arena: Arena, datagrams: list[bytes]) -> None:
    arena.attack(*datagrams)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(HEADERS), st.binary(max_size=300))
def test_true_headers_with_random_bytes_change_nothing(arena: Arena, start: bytes, rest: bytes) -> None:
    arena.attack(start + rest)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(TRUE) - 1), st.integers(1, 255), st.integers(0, len(TRUE)), st.binary(max_size=5))
def test_true_datagrams_flipped_cut_and_extended_change_nothing(
    arena: Arena, position: int, change: int, length: int, extra: bytes
) -> None:
    flipped = bytearray(TRUE)
    flipped[position] ^= change
    arena.attack(bytes(flipped), TRUE[:length] if length < len(TRUE) else b"", TRUE + b"x" + extra)


hostile_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.binary(max_size=20)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(hostile_values.map(msgpack.packb) | st.binary(max_size=40), min_size=1, max_size=4))
def test_a_stranger_with_a_true_key_says_nothing_that_counts(arena: Arena, plaintexts: list[bytes]) -> None:
    # A key of its own each time; the budget for newcomers may refuse it even earlier, which is as well.
    author = Identity(os.urandom(32))
    target = arena.target
    members = target.pair.b._links.members
    for number, plaintext in enumerate(plaintexts):
        target.attacker.sendto(boxed(author, plaintext, FUTURE + number), target.pair.bob.address)
    arena.runner.run(target.settle())
    assert target.pair.b._links.members == members
    assert target.pair.heard_by_bob.said == []
    assert target.failures == []


@settings(max_examples=200, deadline=None)
@given(st.lists(hostile_values.map(msgpack.packb) | st.binary(max_size=40), min_size=1, max_size=4))
def test_a_hostile_member_can_only_say_what_is_well_formed(plaintexts: list[bytes]) -> None:
    async def main() -> None:
        target = Target()
        await target.open()
        target.pair.b.set_members({ALICE.node_id, BOB.node_id, CAROL.node_id})
        for number, plaintext in enumerate(plaintexts):
            target.attacker.sendto(boxed(CAROL, plaintext, FUTURE + number), target.pair.bob.address)
        await target.settle()
        assert all(type(tag) is int and type(params) is list for tag, params in target.pair.heard_by_bob.said)
        assert target.failures == []
        await target.close()

    asyncio.run(main())


async def test_garbage_gets_no_reply_and_is_counted_by_reason() -> None:
    target = Target()
    await target.open()
    await target.attack(
        [
            b"",
            b"hello",
            b"\0" * 100,
            bytes((0xD8, 0x20)) + bytes(100),
            bytes((0xD8, 0x15)) + bytes(100),
            header(Kind.BOX, bytes(20), ALICE.public_key) + bytes(100),
            header(Kind.BOX, GROUP, BOB.public_key) + bytes(100),
            BOX + (FUTURE).to_bytes(8, "big") + bytes(100),
            BOX + bytes(100),
            header(Kind.HELLO, GROUP, CAROL.public_key) + bytes(16),
            header(Kind.HELLO_ANSWER, GROUP, CAROL.public_key) + bytes(24),
            bytes(9000),
        ]
    )
    counters = target.pair.bob.counters
    dropped = {name: count for name, count in counters.items() if name.startswith("dropped_")}
    assert dropped == {
        "dropped_short": 2,
        "dropped_magic": 1,
        "dropped_version": 1,
        "dropped_kind": 1,
        "dropped_group": 1,
        "dropped_self": 1,
        "dropped_box": 2,
        "dropped_hello": 1,
        "dropped_no_call": 1,
        "dropped_oversize": 1,
    }
    assert target.replies() == []
    await target.close()


@pytest.mark.parametrize("depth", [900, 1000])
async def test_values_nested_as_deep_as_the_stack_end_in_no_log(depth: int) -> None:
    target = Target()
    await target.open()
    deep = b"\x91\x93\x02\x01" + b"\x91" * depth + b"\xc0"
    await target.attack([boxed(ALICE, deep, FUTURE)])
    assert target.pair.bob.counters["dropped_range"] == 1
    await target.close()


async def test_a_flood_of_hellos_is_answered_sparsely_shortly_and_kept_nowhere() -> None:
    target = Target(Limits(agreements_per_source=1))
    await target.open()
    links = len(target.pair.b._links)
    hellos = [encode_hello(GROUP, Identity(os.urandom(32)).public_key, os.urandom(16)) for _ in range(200)]
    await target.attack(hellos)
    replies = target.replies()
    assert 1 <= len(replies) <= 50
    assert all(len(reply) == HELLO_ANSWER_SIZE < len(hellos[0]) for reply in replies)
    assert target.pair.bob.counters["dropped_budget"] >= 150
    assert len(target.pair.b._links) == links
    assert len(target.pair.bob._keys) == 1
    await target.close()


async def test_a_flood_of_unknown_keys_costs_few_agreements_and_no_links() -> None:
    target = Target(Limits(agreements_per_source=1))
    await target.open()
    await target.attack(
        [header(Kind.BOX, GROUP, Identity(os.urandom(32)).public_key) + os.urandom(100) for _ in range(200)]
    )
    assert len(target.pair.bob._keys) <= 51
    assert len(target.pair.b._links) == 1
    assert target.pair.bob.counters["dropped_budget"] >= 150
    await target.close()


async def test_strangers_are_remembered_in_bounded_number() -> None:
    limits = Limits(strangers=5, agreements=1e6, agreements_per_source=1e6)
    async with Pair(limits=limits) as pair:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            for _ in range(50):
                author = Identity(os.urandom(32))
                out.sendto(boxed(author, msgpack.packb([]), FUTURE), pair.bob.address)
        pair.b.register("ping", lambda sender, params: "pong")
        assert await pair.a.call(BOB.node_id, "ping", [], timeout=5) == "pong"
        assert len(pair.b._links) == 1 + 5


async def test_a_flooding_member_is_cut_to_its_budget_and_others_are_served() -> None:
    limits = Limits(member=Budget(datagrams=20, octets=1e6, requests=10, queued=1 << 20))
    async with Pair(limits=limits) as pair:
        pair.b.set_members({ALICE.node_id, BOB.node_id, CAROL.node_id})
        pair.b.register("ping", lambda sender, params: "pong")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            for number in range(600):
                out.sendto(boxed(CAROL, msgpack.packb([[2, 1, []]]), FUTURE + number), pair.bob.address)
                if number % 50 == 0:
                    assert await pair.a.call(BOB.node_id, "ping", [], timeout=10) == "pong"
        assert await pair.a.call(BOB.node_id, "ping", [], timeout=10) == "pong"
        heard, refused = len(pair.heard_by_bob.said), pair.bob.counters["dropped_budget"]
        assert heard + refused == 600
        assert heard >= 40
        assert refused >= 100


async def test_fragments_that_never_complete_hold_bounded_memory() -> None:
    async with Pair() as pair:
        pair.b.set_members({ALICE.node_id, BOB.node_id, CAROL.node_id})
        pair.b.register("ping", lambda sender, params: "pong")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            for number in range(300):
                fragment = msgpack.packb([[3, number, 0, 2, bytes(7000)]])
                out.sendto(boxed(CAROL, fragment, FUTURE + number), pair.bob.address)
                if number % 50 == 0:
                    assert await pair.a.call(BOB.node_id, "ping", [], timeout=10) == "pong"
        assert await pair.a.call(BOB.node_id, "ping", [], timeout=10) == "pong"
        link = pair.b._links.of_node(CAROL.node_id)
        assert link is not None
        assert len(link._reassembler) == 64
        assert link._reassembler.size == 64 * 7000
        assert pair.bob.counters["dropped_fragments"] == 300 - 64


async def test_a_datagram_recorded_and_sent_from_elsewhere_moves_nothing() -> None:
    async with Pair() as pair, Relay(pair.bob.address, seed=1) as relay:
        alice = pair.a._links.of_node(BOB.node_id)
        assert alice is not None
        alice.path.trust(relay.address)
        pair.a.notify([BOB.node_id], [(1, [])])
        await pair.heard_by_bob.wait_for(1)
        (recorded,) = relay.passed
        before = pair.b.address_of(ALICE.node_id)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
            elsewhere.sendto(recorded, pair.bob.address)
            pair.b.register("ping", lambda sender, params: "pong")
            while not pair.bob.counters["dropped_replay"]:
                await pair.a.call(BOB.node_id, "ping", [], timeout=10)
        assert pair.b.address_of(ALICE.node_id) == before
        assert pair.heard_by_bob.said == [(1, [])]


async def test_an_answer_to_hello_counts_only_from_the_address_asked() -> None:
    """Somebody who saw the cookie answers faster, from elsewhere, with his own key."""
    async with Pair() as pair:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere,
        ):
            silent.setblocking(False)
            silent.bind(("127.0.0.1", 0))
            hello = asyncio.create_task(pair.a.hello(silent.getsockname(), timeout=0.3))
            asked = await asyncio.get_running_loop().sock_recv(silent, 1000)
            cookie = asked[54:70]
            forged = header(Kind.HELLO_ANSWER, GROUP, CAROL.public_key) + cookie + bytes(8)
            elsewhere.sendto(forged, pair.alice.address)
            with pytest.raises(RpcTimeout):
                await hello
        assert pair.alice.counters["dropped_no_call"] == 1


async def test_memory_stays_flat_under_a_long_mixed_flood() -> None:
    target = Target()
    await target.open()

    async def wave() -> None:
        for _ in range(20):
            noise = [
                os.urandom(200),
                BOX + os.urandom(100),
                TRUE[:80],
                encode_hello(GROUP, CAROL.public_key, os.urandom(16)),
            ]
            for datagram in noise * 5:
                target.attacker.sendto(datagram, target.pair.bob.address)
            await target.settle()
            target.replies()

    await wave()
    gc.collect()
    before = len(gc.get_objects())
    await wave()
    gc.collect()
    assert len(gc.get_objects()) - before < 500
    await target.close()


async def test_groups_cannot_be_crossed() -> None:
    """A box of one market, its header changed to another that the two share, is dropped."""
    other = b"h" * 20
    async with Pair() as pair:
        heard = Recorder()
        theirs: Channel = pair.bob.attach(other, heard)
        introduce(theirs, addresses=(pair.bob.address,), identities=(BOB,))
        theirs.set_members({ALICE.node_id, BOB.node_id})
        crossed = bytearray(boxed(ALICE, msgpack.packb([[2, 1, []]]), FUTURE))
        crossed[2:22] = other
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.sendto(bytes(crossed), pair.bob.address)
        pair.b.register("ping", lambda sender, params: "pong")
        await pair.a.call(BOB.node_id, "ping", [], timeout=5)
        assert pair.bob.counters["dropped_context"] == 1
        assert heard.said == []
