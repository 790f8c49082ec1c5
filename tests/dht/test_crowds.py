"""One host with many ports, ids or values takes no more than its part from the others."""

from __future__ import annotations

from dht.rogue import Rogue
from dht.test_failures import address_of
from dhtex.dht import DhtNode, Item, Settings, methods, wire
from dhtex.dht.face import Address
from dhtex.dht.stores import LOOKUP_COUNT_MAX, Announcements, Items, fair_sample

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
