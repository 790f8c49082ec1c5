"""The 26 ways the package breaks an embedding program (`design: grape`), each tried with datagrams on real sockets.

The number in a test's name is the number there. What is no matter of datagrams alone (25, 26) is
tried on the part that was at fault as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
import random
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from dht.rogue import Rogue, reply
from dhtex.dht import ContactLost, DhtNode, Item, Settings, key_of, methods, wire
from dhtex.dht.addresses import split_host_port
from dhtex.dht.calls import Answer
from dhtex.dht.contacts import Contact, pack_contacts
from dhtex.dht.face import Address
from dhtex.dht.items import VALUE_SIZE_MAX
from dhtex.dht.network import TRIES
from dhtex.dht.protocol import Protocol
from dhtex.dht.state import StateFile
from dhtex.dht.table import Table
from dhtex.errors import JournalCorrupt, NotRunning, RpcError, RpcTimeout, UsageError
from dhtex.identity import Identity

FAST = Settings(retry_s=0.05, retry_s_max=0.2)


def address_of(node: DhtNode) -> Address:
    return split_host_port(node.dht_address)


def protocol_of(node: DhtNode) -> Protocol:
    return node._now.network.protocol


def contacts_result(contacts: list[Contact], *rest: Any) -> tuple[Any, ...]:
    return (*pack_contacts(contacts, 10_000), *rest)


async def eventually(check: Any, within_s: float = 10.0) -> None:
    """Wait for a state that no event tells of: counters and tables change in a datagram's callback."""
    async with asyncio.timeout(within_s):
        while not check():  # noqa: ASYNC110  # see above
            await asyncio.sleep(0.005)


@pytest.fixture
async def node() -> AsyncIterator[DhtNode]:
    async with DhtNode(settings=FAST) as node:
        yield node


@pytest.fixture
async def rogue() -> AsyncIterator[Rogue]:
    async with await Rogue.open(node_id=b"r" * 20) as rogue:
        yield rogue


HEADER = b"\x00" + bytes(20)


def _request(*body: Any) -> bytes:
    packed: bytes = msgpack.packb(list(body))
    return HEADER + packed


MALFORMED = {
    "one byte": b"\x00",
    "header only": HEADER,
    "no msgpack": HEADER + b"\xc1",
    "half of it": _request("ping", b"", b"", [], b"")[:-3],
    "more than it": _request("ping", b"", b"", [], b"") + b"more",
    "unknown kind": b"\x07" + bytes(20) + msgpack.packb([b"", b"", None]),
    "no array": HEADER + msgpack.packb("ping"),
    "arity of the package": _request("ping", [b"i" * 20]),
    "wrong types": _request(1, 2, 3, 4, 5),
    "method of bytes": _request(b"ping", b"", b"", [], b""),
    "id of 19": _request("ping", b"i" * 19, b"", [], b""),
    "id of 40": _request("ping", b"i" * 40, b"", [], b""),
    "a map": HEADER + msgpack.packb({"a": 1}),
    "deep": HEADER + b"\x91" * 900 + b"\xc0",
    "extension": HEADER + msgpack.packb(msgpack.ExtType(1, b"x")),
    "invalid text": HEADER + b"\x95\xa2\xff\xfe\xc4\x00\xc4\x00\x90\xc4\x00",
    "huge claim": HEADER + b"\xdd\xff\xff\xff\xff",
    "a kilobyte of noise": random.Random(1).randbytes(1024),
    "too long": HEADER + bytes(5000),
}


@pytest.mark.parametrize("datagram", MALFORMED.values(), ids=MALFORMED)
async def test_1_a_malformed_datagram_is_a_counter(node: DhtNode, rogue: Rogue, datagram: bytes) -> None:
    tasks = asyncio.all_tasks()
    rogue.send(datagram, address_of(node))
    answer = await rogue.ask(address_of(node), "ping", sender=b"")
    assert isinstance(answer, wire.Reply)
    assert asyncio.all_tasks() <= tasks
    counted = sum(
        n for word, n in node.counters.items() if word.startswith("malformed") or word == "unknown_reply"
    )
    assert counted == 1


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("no_such", []),
        ("__init__", []),
        ("ping", [1]),
        ("find_node", [b"short"]),
        ("find_node", [b"k" * 40]),
        ("find_node", ["k" * 20]),
        ("announce", [b"k" * 20, 70_000]),
        ("announce", [b"k" * 20, -1]),
        ("announce", [b"k" * 20, True]),
        ("put_item", [{}, b"", b"", 0, b"", None, 60]),
        ("store", [b"i" * 20, b"k" * 20, "v"]),
    ],
)
async def test_1_wrong_arguments_are_refused(
    node: DhtNode, rogue: Rogue, method: str, args: list[Any]
) -> None:
    answer = await rogue.ask(address_of(node), method, *args)
    assert isinstance(answer, wire.Refusal)
    assert answer.code == "malformed"


async def test_2_a_handler_that_raises_tells_its_caller(
    node: DhtNode, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(node._now.serving, "rpc_find_node", broken)
    async with DhtNode() as other:
        with caplog.at_level(logging.CRITICAL), pytest.raises(RpcError) as refused:
            await protocol_of(other).call(address_of(node), "find_node", bytes(20))
    assert refused.value.code == "internal"


async def test_3_a_reply_after_its_call_was_cancelled_is_ignored(node: DhtNode, rogue: Rogue) -> None:
    call = protocol_of(node).begin(rogue.address, "ping")
    request = wire.decode(await rogue.next())
    assert isinstance(request, wire.Request)
    call.cancel()
    await asyncio.sleep(0)
    rogue.send(reply(request, None, sender=rogue.node_id), address_of(node))
    await eventually(lambda: node.counters["unknown_reply"] == 1)


async def test_3_a_reply_that_comes_twice_at_once_counts_once(node: DhtNode, rogue: Rogue) -> None:
    """An event loop may hand over several datagrams before it tells whom a call has ended."""
    protocol = protocol_of(node)
    call = protocol.begin(rogue.address, "ping")
    request = wire.decode(await rogue.next())
    assert isinstance(request, wire.Request)
    for _ in range(2):
        protocol.datagram_received(reply(request, None, sender=rogue.node_id), rogue.address)
    assert await call is not None
    assert node.counters["internal_error"] == 0
    assert node.counters["unknown_reply"] == 1


async def test_4_a_cancelled_call_leaves_nothing(node: DhtNode, rogue: Rogue) -> None:
    task = asyncio.create_task(protocol_of(node).call(rogue.address, "ping"))
    await rogue.next()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert not protocol_of(node).calls_count


async def test_5_a_reply_counts_only_from_the_address_asked(node: DhtNode, rogue: Rogue) -> None:
    call = protocol_of(node).begin(rogue.address, "ping")
    request = wire.decode(await rogue.next())
    assert isinstance(request, wire.Request)
    async with await Rogue.open() as stranger:
        stranger.send(reply(request, None, sender=stranger.node_id), address_of(node))
        await eventually(lambda: node.counters["foreign_reply"] == 1)
    assert not call.done()
    rogue.send(reply(request, None, sender=rogue.node_id), address_of(node))
    assert (await call) is not None


async def test_6_a_misspelt_attribute_is_an_error(node: DhtNode) -> None:
    with pytest.raises(AttributeError, match="find_nodes"):
        protocol_of(node).find_nodes(("127.0.0.1", 1), bytes(20))


async def test_7_sizes_are_limited_both_ways(node: DhtNode, rogue: Rogue) -> None:
    with pytest.raises(UsageError, match="limit"):
        protocol_of(node).begin(rogue.address, "find_node", bytes(9000))
    call = protocol_of(node).begin(rogue.address, "find_node", bytes(20))
    request = wire.decode(await rogue.next())
    assert isinstance(request, wire.Request)
    rogue.send(reply(request, [bytes(26 * 300), b""], sender=rogue.node_id), address_of(node))
    await eventually(lambda: node.counters["malformed_size"] == 1)
    call.cancel()


async def test_8_closing_leaves_nothing_and_says_so() -> None:
    tasks = asyncio.all_tasks()
    async with await Rogue.open() as silent:
        node = DhtNode(bootstrap=[silent.name])
        async with node:
            protocol = protocol_of(node)
            pending = protocol.begin(silent.address, "ping")
            await silent.next()
        assert pending.done()
        assert pending.result() is None
        assert not protocol.calls_count
        assert asyncio.all_tasks() == tasks
        for use in (
            node.lookup("x"),
            node.announce("x", 1),
            node.get(bytes(20)),
            protocol.call(silent.address, "ping"),
        ):
            with pytest.raises(NotRunning):
                await use


async def test_9_and_11_putting_works_with_dead_neighbours_and_alone(node: DhtNode) -> None:
    assert await node.put(Item.immutable("alone")) == 1
    async with DhtNode(bootstrap=[node.dht_address]) as neighbour:
        await neighbour.ready()
    assert node.contacts
    assert await node.put(Item.immutable("all dead")) == 1
    assert await node.get(Item.immutable("all dead").key) == Item.immutable("all dead")
    assert await node.announce("svc", 5) == 1
    assert await node.lookup("svc") == [("127.0.0.1", 5)]


async def test_10_refreshing_survives_dead_neighbours(node: DhtNode, monkeypatch: pytest.MonkeyPatch) -> None:
    async with DhtNode(bootstrap=[node.dht_address]) as neighbour:
        await neighbour.ready()
    monkeypatch.setattr("dhtex.dht.keeper.REFRESH_S", 0.0)
    await node._now.keeper._refresh_stale()
    assert not any(task.done() for task in node._now._tasks)
    await eventually(lambda: not node.contacts)


async def test_12_every_announcer_of_a_key_is_found(node: DhtNode) -> None:
    async with (
        DhtNode(bootstrap=[node.dht_address]) as one,
        DhtNode(bootstrap=[node.dht_address]) as two,
    ):
        await one.ready()
        await two.ready()
        await asyncio.gather(one.announce("svc", 1), two.announce("svc", 2), node.announce("svc", 3))
        for asked in (node, one, two):
            assert sorted(await asked.lookup("svc")) == [("127.0.0.1", port) for port in (1, 2, 3)]


def _lying(item: Item, node_id: bytes) -> Any:
    """Answers every question about an item with *item*."""

    def answer(request: wire.Request, _: Address) -> bytes:
        result: Any = {"get_item": ("", "")}.get(request.method)
        if request.method == "get_item":
            result = (b"", b"", (item.v, item.k, item.salt, item.seq, item.sig))
        elif request.method == "find_node":
            result = (b"", b"")
        elif request.method == "find_peers":
            result = (b"", b"", b"", b"")
        return reply(request, result, sender=node_id)

    return answer


async def test_13_a_liar_changes_no_value(node: DhtNode) -> None:
    owner = Identity(bytes(31) + b"\x01")
    truth = Item.signed_by(owner, "new", seq=2)
    stale = Item.signed_by(owner, "old", seq=1)
    forged = Item(b"3:bad", owner.public_key, b"", 9, bytes(64))
    async with (
        await Rogue.open(_lying(stale, b"1" * 20), b"1" * 20) as first,
        await Rogue.open(_lying(forged, b"2" * 20), b"2" * 20) as second,
        DhtNode(bootstrap=[node.dht_address, first.name, second.name], settings=FAST) as reader,
    ):
        await node.put(truth)
        await eventually(lambda: len(reader.contacts) == 3)
        assert await reader.get(truth.key) == truth
        assert await reader.get(Item.immutable("never put").key) is None


async def test_13_the_first_valid_version_is_not_the_last_word() -> None:
    """The liar is quick with an old version; who has the new one answers only when it is asked again."""
    owner = Identity(bytes(31) + b"\x01")
    stale, truth = (Item.signed_by(owner, f"version {seq}", seq=seq) for seq in (1, 2))
    asked: list[bytes] = []

    def slow(request: wire.Request, address: Address) -> Any:
        if request.method == "get_item" and not asked:
            asked.append(request.message_id)
            return None
        return _lying(truth, b"2" * 20)(request, address)

    async with (
        await Rogue.open(_lying(stale, b"1" * 20), b"1" * 20) as liar,
        await Rogue.open(slow, b"2" * 20) as honest,
        DhtNode(bootstrap=[liar.name, honest.name], settings=FAST) as reader,
    ):
        await eventually(lambda: len(reader.contacts) == 2)
        assert await reader.get(truth.key) == truth
        assert asked


async def test_14_a_stale_copy_of_ones_own_is_not_preferred(node: DhtNode) -> None:
    owner = Identity(bytes(31) + b"\x02")
    async with DhtNode(bootstrap=[node.dht_address]) as other:
        await other.ready()
        await other.put(Item.signed_by(owner, "old", seq=1))
        newer = Item.signed_by(owner, "new", seq=2)
        assert other._now.serving is not None
        other._now.serving.put(newer, None, 60, other._now.network.now_s)
        assert await node.get(newer.key) == newer


def _contacts_of_port_zero() -> bytes:
    return b"c" * 20 + bytes([127, 0, 0, 1, 0, 0])


BAD_RESULTS: dict[str, Any] = {
    "nil": None,
    "host names": [["c" * 20, "example.org", 80]],
    "a text": "contacts",
    "an int": 5,
    "odd sizes": [b"x" * 27, b""],
    "a 40-byte id": [b"x" * 46, b""],
    "too many": [b"".join(os.urandom(26) for _ in range(80)), b""],
    "a 5-tuple": [b"", b"", b"", b"", b""],
    "odd sizes of addresses": [b"", b"", b"x" * 7, b""],
    "ports that are none": [
        ["c" * 20, "127.0.0.1", 70_000],
        ["d" * 20, "127.0.0.1", "x"],
        [None, None, None],
    ],
    "a map": {"value": "v"},
}


@pytest.mark.parametrize("result", BAD_RESULTS.values(), ids=BAD_RESULTS)
async def test_15_16_17_bad_results_break_nothing(node: DhtNode, result: Any) -> None:
    """15: bad contacts; 16: a bad port once closed the socket; 17: the same as the reply to a ping."""
    liar_id = b"l" * 20

    def answer(request: wire.Request, _: Address) -> bytes:
        # First the ping tells the truth, so that the liar is asked for more.
        truth = request.method == "ping" and result is not None
        return reply(request, None if truth else result, sender=liar_id)

    async with (
        await Rogue.open(answer, liar_id) as liar,
        DhtNode(bootstrap=[liar.name, node.dht_address], settings=FAST) as victim,
    ):
        await eventually(lambda: any(contact.id == node.node_id for contact in victim.contacts))
        await victim.announce("svc", 7)
        assert await victim.lookup("svc") == [("127.0.0.1", 7)]
        item = Item.immutable("kept")
        await victim.put(item)
        assert await node.get(item.key) == item
        assert any(word.startswith("malformed") for word in victim.counters)  # nothing of it was believed


@pytest.mark.parametrize("sender", [b"i" * 40, b"i" * 19])
@pytest.mark.parametrize("token", [b"t" * 8, b"t" * 300])
async def test_15_an_answer_with_an_id_that_is_none_is_none(
    node: DhtNode, rogue: Rogue, sender: bytes, token: bytes
) -> None:
    call = protocol_of(node).begin(rogue.address, "ping")
    request = wire.decode(await rogue.next())
    assert isinstance(request, wire.Request)
    rogue.send(reply(request, None, sender=sender, token=token), address_of(node))
    assert await call is None
    assert node.counters["malformed_sender"] == 1
    assert not node.contacts


@pytest.mark.parametrize(
    ("method", "args", "result"),
    [
        ("ping", (), 5),
        ("find_node", (bytes(20),), [b"x" * 27, b""]),
        ("find_node", (bytes(20),), [b"", b"x" * 39]),
        ("find_node", (bytes(20),), [b"n" * (26 * 65), b""]),
        ("find_peers", (bytes(20),), [b"", b"", b"x" * 7, b""]),
        ("find_peers", (bytes(20),), [b"", b"", b"", b"x" * 19]),
        ("get_item", (bytes(20),), [b"", b"", ["text", b"", b"", 0, b""]]),
        ("announce", (bytes(20), 5), b"x" * 7),
        ("unannounce", (bytes(20), 5), 1),
    ],
)
async def test_15_a_result_of_another_shape_is_none(
    node: DhtNode, rogue: Rogue, method: str, args: tuple[Any, ...], result: Any
) -> None:
    call = protocol_of(node).begin(rogue.address, method, *args)
    request = wire.decode(await rogue.next())
    assert isinstance(request, wire.Request)
    rogue.send(reply(request, result, sender=rogue.node_id), address_of(node))
    assert await call is None
    assert sum(n for word, n in node.counters.items() if word.startswith("malformed")) == 1


async def test_16_who_can_be_nowhere_is_not_asked(node: DhtNode, rogue: Rogue) -> None:
    """Port 0, no host, many hosts: sending there is an error of the socket."""
    v4 = [bytes([127, 0, 0, 1, 0, 0]), bytes([0, 0, 0, 0, 0, 9]), bytes([224, 0, 0, 1, 0, 9])]
    v6 = [bytes(16) + b"\0\x09", b"\xff\x02" + bytes(13) + b"\x01\0\x09", bytes(15) + b"\x01\0\0"]
    contacts = [b"".join(b"c" * 20 + packed for packed in family) for family in (v4, v6)]
    call = protocol_of(node).begin(rogue.address, "find_peers", bytes(20))
    request = wire.decode(await rogue.next())
    assert isinstance(request, wire.Request)
    rogue.send(
        reply(request, (*contacts, b"".join(v4), b"".join(v6)), sender=rogue.node_id), address_of(node)
    )
    outcome = await call
    assert isinstance(outcome, Answer)
    assert outcome.result == methods.Found([], [])


async def test_16_contacts_nobody_can_have_are_left_out(node: DhtNode) -> None:
    liar_id = b"l" * 20

    def answer(request: wire.Request, _: Address) -> bytes:
        nowhere = (
            _contacts_of_port_zero() + b"d" * 20 + bytes([224, 0, 0, 1, 0, 9]),
            b"d" * 20 + bytes(16) + b"\0\1",
        )
        results: dict[str, Any] = {
            "ping": None,
            "find_node": nowhere,
            "find_peers": (*nowhere, bytes(6), b""),
        }
        return reply(request, results.get(request.method), sender=liar_id)

    async with (
        await Rogue.open(answer, liar_id) as liar,
        DhtNode(bootstrap=[liar.name], settings=FAST) as victim,
    ):
        await victim.ready()
        assert await victim.lookup("svc") == []
        assert [contact.id for contact in victim.contacts] == [liar_id]
        assert not protocol_of(victim).closed.done()


@pytest.mark.parametrize("ping_result", [b"x" * 40, 5, ["id"], {"id": 1}])
async def test_17_a_bad_ping_reply_does_not_stop_the_bootstrap(node: DhtNode, ping_result: Any) -> None:
    async with (
        await Rogue.open(lambda request, _: reply(request, ping_result, sender=b"l" * 20)) as liar,
        DhtNode(bootstrap=[liar.name, node.dht_address], settings=FAST) as victim,
    ):
        await victim.ready()
        assert [contact.id for contact in victim.contacts] == [node.node_id]


async def test_18_one_lost_reply_removes_nobody(node: DhtNode) -> None:
    lossy_id, lost = b"y" * 20, 0

    def answer(request: wire.Request, _: Address) -> bytes | None:
        nonlocal lost
        if request.method == "find_peers" and lost < 1:
            lost += 1
            return None
        results: dict[str, Any] = {"ping": None, "find_node": (b"", b""), "find_peers": (b"", b"", b"", b"")}
        return reply(request, results[request.method], sender=lossy_id)

    async with (
        await Rogue.open(answer, lossy_id) as lossy,
        DhtNode(bootstrap=[lossy.name], settings=FAST) as asker,
    ):
        await asker.ready()
        assert await asker.lookup("svc") == []
        assert lost == 1
        assert [contact.id for contact in asker.contacts] == [lossy_id]
        assert asker.live_count == 1


async def test_18_one_call_without_an_answer_removes_nobody() -> None:
    """All transmissions of it are lost; the next question is answered."""
    lossy_id = b"y" * 20
    lost: set[bytes] = set()

    def answer(request: wire.Request, _: Address) -> bytes | None:
        if request.method == "find_peers":
            lost.add(request.message_id[: wire.CALL_ID_SIZE])
            return None
        results: dict[str, Any] = {"ping": None, "find_node": (b"", b"")}
        return reply(request, results[request.method], sender=lossy_id)

    async with (
        await Rogue.open(answer, lossy_id) as lossy,
        DhtNode(bootstrap=[lossy.name], settings=FAST) as asker,
    ):
        await asker.ready()
        events = asker.events()
        with pytest.raises(RpcTimeout):
            await protocol_of(asker).call(lossy.address, "find_peers", bytes(20))
        protocol_of(asker).settle(Contact(lossy_id, lossy.address), None)
        assert asker.live_count == 0
        await eventually(lambda: asker.live_count == 1)  # the keeper asks again whom it suspects
        assert not any(isinstance(event, ContactLost) for event in events._waiting)
        assert len(lost) == 1


async def test_19_forty_dead_contacts_do_not_hold_up_a_lookup(node: DhtNode) -> None:
    await node.announce("svc", 9)
    async with DhtNode(bootstrap=[node.dht_address]) as asker, contextlib.AsyncExitStack() as stack:
        await asker.ready()
        rogues = [
            await stack.enter_async_context(await Rogue.open(node_id=os.urandom(20))) for _ in range(40)
        ]
        for dead in rogues:
            protocol_of(asker).heard_from(Contact(dead.node_id, dead.address))
        async with asyncio.timeout(15):  # the package needs 35 s
            assert await asker.lookup("svc") == [("127.0.0.1", 9)]
            for name in ("other", "third"):
                assert await asker.lookup(name) == []
        # Each dead one costs one time-out, all at once: the next look-ups ask it no more.
        for dead in rogues:
            datagrams = [wire.decode(dead.received.get_nowait()) for _ in range(dead.received.qsize())]
            requests = [datagram for datagram in datagrams if isinstance(datagram, wire.Request)]
            asked = {
                request.message_id[: wire.CALL_ID_SIZE]
                for request in requests
                if request.method == "find_peers"
            }
            assert len(asked) <= 1


async def test_20_a_chain_of_made_up_nodes_ends(node: DhtNode) -> None:
    """Each answer names nodes nearer to the key, all at the attacker's addresses."""
    key = key_of("svc")
    chain_id = b"\xff" * 20
    attackers: list[Rogue] = []

    def answer(request: wire.Request, _: Address) -> bytes:
        nearer = [
            Contact(key[:17] + random.Random(n).randbytes(3), rogue.address)
            for n, rogue in enumerate(attackers * 6)
        ]
        results: dict[str, Any] = {
            "ping": None,
            "find_node": contacts_result(nearer),
            "find_peers": contacts_result(nearer, b"", b""),
        }
        return reply(request, results[request.method], sender=chain_id)

    async with contextlib.AsyncExitStack() as stack:
        attackers += [await stack.enter_async_context(await Rogue.open(answer, chain_id)) for _ in range(3)]
        async with DhtNode(bootstrap=[attackers[0].name], settings=FAST) as victim:
            await victim.ready()
            assert await victim.lookup("svc") == []
            calls = {
                (attacker, request.message_id[: wire.CALL_ID_SIZE])
                for attacker in attackers
                for request in attacker.requests
                if request.method == "find_peers"
            }
            assert 1 <= len(calls) <= TRIES * len(attackers)  # each address once in a look-up


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ((b"5:hello", b"", b"", 0, b"", None, 60), None),
        ((b"hello", b"", b"", 0, b"", None, 60), "bencode"),
        ((b"5:hello" * VALUE_SIZE_MAX, b"", b"", 0, b"", None, 60), "size"),
        ((b"5:hello", b"k" * 33, b"", 0, b"", None, 60), "malformed"),
        ((b"5:hello", b"", b"salt", 0, b"", None, 60), "item"),
        ((b"5:hello", b"k" * 32, b"s" * 65, 0, b"s" * 64, None, 60), "malformed"),
        ((b"5:hello", b"k" * 32, b"", 0, b"s" * 64, None, 60), "signature"),
        ((b"5:hello", b"", b"", 0, b"", None, 10**9), "malformed"),
    ],
)
async def test_21_only_what_proves_itself_is_stored(
    node: DhtNode, rogue: Rogue, fields: tuple[Any, ...], code: str | None
) -> None:
    token = await rogue.token_of(address_of(node))
    if code == "size":
        rogue.send(
            wire.encode_request(bytes(20), "put_item", b"", token, fields, pad=False), address_of(node)
        )
        await eventually(lambda: node.counters["malformed_size"] == 1)
    else:
        answer = await rogue.ask(address_of(node), "put_item", *fields, token=token)
        assert getattr(answer, "code", None) == code
    assert node.item_count == (code is None)


@pytest.mark.parametrize(
    "method", ["ping", "find_node", "find_peers", "get_item", "announce", "put_item", "nonsense"]
)
@pytest.mark.parametrize("token", [b"", b"forged!!"])
async def test_22_an_unproven_address_gets_no_more_bytes_than_it_sent(
    node: DhtNode, rogue: Rogue, method: str, token: bytes
) -> None:
    for n in range(30):
        protocol_of(node).router.add_contact(Contact(os.urandom(20), ("127.0.0.1", 1000 + n)))
    for port in range(1, 80):
        node._now.serving.announce(bytes(20), ("127.0.0.1", port), 0.0)  # type: ignore[union-attr]  # not a client
    key_args: tuple[Any, ...] = () if method == "ping" else (bytes(20),)
    shortest = _request(method, b"", token, key_args, b"")
    padded = [wire.encode_request(bytes(20), method, b"", token, key_args, pad=pad) for pad in (False, True)]
    for request in (shortest, *padded):
        rogue.send(request, address_of(node))
        async with await Rogue.open() as fence:  # what was answered before this answer has arrived
            await fence.ask(address_of(node), "ping", sender=b"")
        received = 0
        while not rogue.received.empty():
            received += len(rogue.received.get_nowait())
        assert received <= len(request)


async def test_22_a_stale_token_costs_one_more_round_trip(node: DhtNode) -> None:
    async with DhtNode(bootstrap=[node.dht_address]) as asker:
        await asker.ready()
        protocol_of(asker)._calls._tokens_held[address_of(node)] = b"outdated"
        assert await asker.announce("svc", 4) == 2
        assert node.counters["refused"] == 1


async def test_23_a_node_that_moves_is_followed_and_a_claim_is_not_believed(node: DhtNode) -> None:
    node_id = b"m" * 20

    def ping(request: wire.Request, _: Address) -> bytes:
        return reply(request, None, sender=node_id)

    async with await Rogue.open(ping, node_id) as before, await Rogue.open(ping, node_id) as after:
        for rogue in (before, after):
            token = await rogue.token_of(address_of(node))
            await rogue.ask(address_of(node), "ping", token=token)
        # The first still answers, so it keeps the id.
        await eventually(lambda: len(before.requests) == 1)
        assert [contact.address for contact in node.contacts] == [before.address]
        before.answerer = None
        await after.ask(address_of(node), "ping", token=await after.token_of(address_of(node)))
        await eventually(lambda: [contact.address for contact in node.contacts] == [after.address])


async def test_24_items_are_handed_over_to_the_node_that_should_keep_them() -> None:
    settings = Settings(ksize=2, alpha=2, concurrency=4)
    async with DhtNode(settings=settings, node_id=b"\x00" * 20) as seed:
        items = [Item.immutable(f"value {n}") for n in range(40)]
        for item in items:
            await seed.put(item)
        async with DhtNode(bootstrap=[seed.dht_address], settings=settings, node_id=b"\xff" * 20) as newcomer:
            await newcomer.ready()
            assert newcomer._now.serving is not None
            held = newcomer._now.serving.items
            await eventually(lambda: len(held) == len(items))
            assert {key for key, _ in held} == {item.key for item in items}
            # Hand-over keeps the rest of the life, it does not begin a new one.
            assert seed._now.serving is not None
            for key, stored in held:
                original = seed._now.serving.items.stored(key)
                assert original is not None
                assert stored.end_s <= original.end_s + 1


def test_25_find_neighbors_returns_the_closest() -> None:
    source = random.Random(25)
    for _ in range(300):
        own_id = source.randbytes(20)
        table = Table(own_id, 8)
        known = [Contact(source.randbytes(20), ("127.0.0.1", 1 + n)) for n in range(source.randrange(1, 200))]
        for contact in known:
            table.add_contact(contact)
        held = list(table)
        target = source.randbytes(20)
        want = sorted(held, key=lambda contact: contact.long_id ^ int.from_bytes(target, "big"))[:8]
        assert table.find_neighbors(target) == want


async def test_25_who_asks_is_told_the_closest(node: DhtNode, rogue: Rogue) -> None:
    """The same over the socket: 20 questions to a node that knows many."""
    source = random.Random(26)
    for n in range(400):
        protocol_of(node).heard_from(Contact(source.randbytes(20), ("127.0.0.1", 1 + n)))
    held = node.contacts
    assert len(held) > 2 * node.settings.ksize
    for _ in range(20):
        target = source.randbytes(20)
        answer = await rogue.ask(address_of(node), "find_node", target, sender=b"")
        assert isinstance(answer, wire.Reply)
        want = sorted(held, key=lambda contact: contact.long_id ^ int.from_bytes(target, "big"))
        found = methods.parse_result("find_node", answer.result)
        assert isinstance(found, methods.Found)
        assert list(found.contacts) == want[: 2 * node.settings.ksize]


async def test_26_a_pickle_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    """The package's state would run what is in it."""
    state, ran = tmp_path / "grape.sqlite", tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (ran,)

    trap = pickle.dumps(Trap())
    state.write_bytes(trap)
    with pytest.raises(JournalCorrupt, match="move it away"):
        await DhtNode(state=state).__aenter__()
    assert not ran.exists()
    assert state.read_bytes() == trap


async def test_26_a_node_that_ends_waits_for_a_save_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads at one SQLite connection, one of them closing it, end the process."""
    under_way = [0]
    go_on, begun = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    save, close = StateFile.save, StateFile.close

    def watched_save(file: StateFile, *rest: Any) -> None:
        under_way[0] += 1
        assert under_way[0] == 1
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(10)
        save(file, *rest)
        under_way[0] -= 1

    def watched_close(file: StateFile) -> None:
        assert under_way[0] == 0
        close(file)

    monkeypatch.setattr(StateFile, "save", watched_save)
    monkeypatch.setattr(StateFile, "close", watched_close)
    async with DhtNode(state=tmp_path / "grape.sqlite") as node:
        await node.put(Item.immutable("kept"))
        await begun.wait()
        loop.call_later(0.1, go_on.set)
    async with DhtNode(state=tmp_path / "grape.sqlite") as node:
        assert await node.get(Item.immutable("kept").key) == Item.immutable("kept")


async def test_26_state_survives_a_restart_without_pickle(tmp_path: Path) -> None:
    state = tmp_path / "grape.sqlite"
    owner = Identity(bytes(31) + b"\x03")
    items = [Item.immutable("kept"), Item.signed_by(owner, "signed", seq=7, salt=b"s")]
    async with DhtNode() as other, DhtNode(bootstrap=[other.dht_address], state=state) as node:
        await node.ready()
        node_id, where = node.node_id, other.dht_address
        for item in items:
            await node.put(item)
        port = address_of(other)[1]
    assert b"pickle" not in state.read_bytes()
    async with DhtNode(state=state) as node:
        assert node.node_id == node_id
        for item in items:
            assert await node.get(item.key) == item
        # The last contact comes back at its address, without any bootstrap given.
        async with DhtNode(port=port) as other:
            assert other.dht_address == where
            await eventually(lambda: node.live_count == 1)


async def test_26_also_ipv4_over_ipv6_and_host_names() -> None:
    async with DhtNode(host="::") as both:
        port = split_host_port(both.dht_address)[1]
        async with (
            DhtNode(bootstrap=[f"127.0.0.1:{port}"]) as over_4,
            DhtNode(host="::1", bootstrap=[f"[::1]:{port}"]) as over_6,
            DhtNode(bootstrap=[f"localhost:{port}"]) as by_name,
        ):
            for node in (over_4, over_6, by_name):
                await node.ready()
            await over_4.announce("svc", 4)
            await over_6.announce("svc", 6)
            assert {("127.0.0.1", 4), ("::1", 6)} <= set(await both.lookup("svc"))


async def test_26_also_a_slow_name_server_does_not_block_the_loop(
    rogue: Rogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go_on = threading.Event(), threading.Event()
    went_on: list[bool] = []

    def slow(*_: Any, **__: Any) -> Any:
        asked.set()
        went_on.append(go_on.wait(10))
        raise OSError("no such host")

    monkeypatch.setattr("socket.getaddrinfo", slow)
    async with DhtNode(bootstrap=["slow.example:20001"], settings=FAST) as node:
        await eventually(asked.is_set)
        await rogue.token_of(address_of(node))
        go_on.set()
        await eventually(lambda: went_on)
    assert all(went_on)


async def test_a_silent_node_is_a_timeout(node: DhtNode, rogue: Rogue) -> None:
    with pytest.raises(RpcTimeout, match="did not answer"):
        await protocol_of(node).call(rogue.address, "ping")
    assert rogue.received.qsize() == 3
