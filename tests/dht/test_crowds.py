"""One host with many ports, ids or values takes no more than its part from the others."""

from __future__ import annotations

import asyncio
import random

from dht.rogue import Rogue
from dht.test_failures import address_of
from dhtex.dht import DhtNode, Item, Settings, methods, wire
from dhtex.dht.contacts import Contact
from dhtex.dht.face import Address
from dhtex.dht.shortlist import SOURCE_FACTOR, Shortlist
from dhtex.dht.stores import LOOKUP_COUNT_MAX, Announcements, Items, fair_sample
from dhtex.dht.table import Table, part_of
from dhtex.dht.virtual import VirtualLoop, VirtualNetwork

CROWD = [("10.0.0.66", port) for port in range(1, 1_500)]
OTHERS = [(f"10.0.1.{n}", 7) for n in range(1, 21)]


def test_a_host_with_a_thousand_ports_does_not_make_others_disappear_from_a_name() -> None:
    stored = Announcements(60.0)
    for address in OTHERS:
        stored.add(b"k" * 20, address, 0.0)
    for address in CROWD:
        stored.add(b"k" * 20, address, 1.0)
    found = stored.addresses(b"k" * 20, 2.0)
    assert len(found) == LOOKUP_COUNT_MAX
    assert set(OTHERS) < set(found)


async def test_over_the_socket_too() -> None:
    """An answer has room for fewer than a hundred: the others are among those that fit."""
    async with DhtNode() as node, await Rogue.open() as asker:
        assert node._now.serving is not None
        for address in OTHERS + CROWD:
            node._now.serving.announce(bytes(20), address, node._now.network.now_s)
        answer = await asker.ask(address_of(node), "find_peers", bytes(20))
        assert isinstance(answer, wire.Reply)
        found = methods.parse_result("find_peers", answer.result)
        assert isinstance(found, methods.Found)
        assert set(OTHERS) < set(found.addresses)


def test_a_sample_of_few_is_all_of_them_in_random_order() -> None:
    few: list[Address] = [*CROWD[:25], *OTHERS[:5]]
    orders = [fair_sample(few, 100) for _ in range(5)]
    assert all(sorted(order) == sorted(few) for order in orders)
    assert len({tuple(order) for order in orders}) > 1
    assert len({order[0] for order in (fair_sample(few, 100) for _ in range(200))}) > 15


def _fill(items: Items, source: str, count: int) -> list[bytes]:
    made = [Item.immutable(f"{source} {n}") for n in range(count)]
    for item in made:
        items.put(item.key, item, end_s=100.0, republish_s=50.0, source=source)
    return [item.key for item in made]


def test_one_source_of_values_does_not_flush_those_of_others() -> None:
    items = Items(count_max=100)
    own, one = _fill(items, "", 40), _fill(items, "10.0.0.1", 10)
    _fill(items, "10.0.0.66", 1_000)
    assert len(items) == 100
    kept = {key for key, _ in items}
    assert set(own + one) <= kept  # there was room for 50, which is over its part: it lost its own oldest
    last = _fill(items, "10.0.0.2", 25)
    kept = {key for key, _ in items}
    assert set(last) <= kept
    assert len(items) == 100
    for key in kept:
        items.get(key, 101.0)
    assert not items._by_source


async def test_who_brought_a_value_is_who_sent_it() -> None:
    async with DhtNode(settings=Settings(items_max=4)) as node, await Rogue.open() as rogue:
        own = [Item.immutable(n) for n in range(2)]
        for item in own:
            await node.put(item)
        token = await rogue.token_of(address_of(node))
        for n in range(10):
            item = Item.immutable(f"flood {n}")
            fields = (item.v, b"", b"", 0, b"", None, 60)
            rogue.send(
                wire.encode_request(bytes([n]) * 20, "put_item", b"", token, fields, pad=False),
                address_of(node),
            )
            assert isinstance(wire.decode(await rogue.next()), wire.Reply)
            assert [await node.get(item.key) for item in own] == own
        assert node.item_count == 4


KSIZE = 20
PART = part_of(KSIZE)
KEY = b"k" * 20


def _near_key(count: int, host: str) -> list[Contact]:
    """Ids made up next to the key, all at one host."""
    return [Contact(KEY[:18] + n.to_bytes(2, "big"), (host, 1 + n)) for n in range(count)]


def _honest(count: int) -> list[Contact]:
    source = random.Random(8)
    return [Contact(source.randbytes(20), (f"10.1.{n // 200}.{n % 200}", 7)) for n in range(count)]


def _closest(contacts: list[Contact]) -> list[Contact]:
    return sorted(contacts, key=lambda contact: contact.long_id ^ int.from_bytes(KEY, "big"))


def _look_up(start: list[Contact], named: dict[Contact, list[Contact]], dead: set[Contact]) -> Shortlist:
    shortlist = Shortlist(
        KEY, start, own_id=bytes(20), is_silent=lambda _: False, ksize=KSIZE, alpha=8, inflight_max=24
    )
    while queries := shortlist.next_queries():
        for contact in queries:
            if contact in dead:
                shortlist.failed(contact)
            else:
                shortlist.answered(contact, named.get(contact, []), contact)
    assert shortlist.is_done
    return shortlist


def test_a_host_with_ids_next_to_a_key_does_not_have_the_key_to_itself() -> None:
    honest, crowd = _honest(40), _near_key(64, "10.0.0.66")
    named = {contact: crowd + _closest(honest)[:20] for contact in honest} | dict.fromkeys(crowd, crowd)
    found = _look_up(_closest(honest)[20:] + crowd[:10], named, set()).result()
    assert len([contact for contact in found if contact in crowd]) == PART
    assert [contact for contact in found if contact not in crowd] == _closest(honest)[: KSIZE - PART]


def test_a_host_named_a_hundred_times_is_not_sent_a_hundred_questions() -> None:
    """Whoever is asked can name an address of somebody else: that one must not be flooded."""
    honest, victim = _honest(30), _near_key(64, "10.0.0.99")
    named = dict.fromkeys(honest, victim)
    shortlist = _look_up(honest, named, set(victim))
    assert shortlist.queries <= len(honest) + SOURCE_FACTOR * PART
    assert shortlist.result() == _closest(honest)[:KSIZE]


def test_many_nodes_of_one_host_agree_on_who_keeps_a_key() -> None:
    """All of a network may live on one machine; those that keep a key are the closest of them."""
    source = random.Random(9)
    nodes = [Contact(source.randbytes(20), ("10.0.0.1", 1 + n)) for n in range(30)]
    named = {node: _closest(nodes) for node in nodes}
    for seed in range(5):
        start = random.Random(seed).sample(nodes, 10)
        assert _look_up(start, named, set()).result() == _closest(nodes)[:PART]


def test_one_host_does_not_fill_the_buckets_of_others() -> None:
    table = Table(bytes(20), KSIZE)
    crowd = [Contact(b"\xff" + n.to_bytes(19, "big"), ("10.0.0.66", 1 + n)) for n in range(60)]
    honest = [Contact(b"\xfe" + n.to_bytes(19, "big"), (f"10.1.0.{n}", 7)) for n in range(40)]
    for contact in crowd:
        table.add_contact(contact)
    assert len(table) == KSIZE  # nobody else wants the places
    for n, contact in enumerate(honest):
        table.add_contact(contact)
        table.add_contact(crowd[n])
    held = list(table)
    assert len([contact for contact in held if contact in crowd]) == PART
    assert [contact for contact in held if contact not in crowd] == honest[: KSIZE - PART]


def test_who_keeps_a_key_is_who_others_find() -> None:
    """A node that others leave out, because closer ones of its host have the part of the host, must know it."""

    async def scenario() -> None:
        network = VirtualNetwork(60, seed=10)
        contact = network.live[0]
        node = network.node(contact)
        key = contact.id[:17] + bytes(3)
        assert node.keeps(key)
        for n in range(1, PART + 1):
            assert node.keeps(key)
            node.table.add_contact(Contact(key[:19] + bytes([n]), (contact.address[0], n)))
        assert not node.keeps(key)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(scenario())
