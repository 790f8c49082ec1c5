"""Look-ups: right in large networks in virtual time, merged when under way at once, and right through churn."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Coroutine
from typing import Any

import pytest

from dht.test_failures import FAST, address_of
from dhtex.dht import DhtNode, Settings, key_of
from dhtex.dht.contacts import Contact
from dhtex.dht.crawl import CRAWL_S_MAX
from dhtex.dht.shortlist import QUERIES_MAX, Shortlist
from dhtex.dht.table import FAILURES_MAX, Table
from dhtex.dht.virtual import VirtualLoop, VirtualNetwork


def run_virtually(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(work)


@pytest.mark.parametrize("dead_share", [0.0, 0.3])
def test_lookups_find_the_true_k_closest(dead_share: float) -> None:
    async def scenario() -> None:
        network = VirtualNetwork(1_000, seed=4, dead_share=dead_share)
        wrong = 0
        for _ in range(100):
            key = network.random.randbytes(20)
            contact = network.random.choice(network.live)
            crawl = network.node(contact).crawl("find_node", key)
            found = await crawl.done
            want = [other for other in network.closest(key) if other != contact]
            wrong += found[: len(want)] != want
            assert crawl.shortlist.hops <= 5
        assert wrong == 0

    run_virtually(scenario())


def test_a_dead_contact_costs_one_timeout() -> None:
    async def scenario() -> None:
        network = VirtualNetwork(30, seed=5, dead_share=0.5)
        contact = network.live[0]
        node = network.node(contact)
        loop = asyncio.get_running_loop()
        durations: list[float] = []
        for _ in range(2):
            started_s = loop.time()
            await node.crawl("find_node", bytes(20)).done
            durations.append(loop.time() - started_s)
        assert durations[0] > 0.5
        assert durations[1] < 0.5
        await asyncio.sleep(3)

    run_virtually(scenario())


def test_a_lookup_among_the_dead_ends() -> None:
    """One after the other they would take two minutes."""

    async def scenario() -> None:
        settings = Settings(alpha=1, concurrency=1)
        network = VirtualNetwork(60, seed=6, dead_share=0.95, settings=settings)
        loop = asyncio.get_running_loop()
        node = network.node(network.live[0])
        await node.crawl("find_node", bytes(20)).done
        assert loop.time() == pytest.approx(CRAWL_S_MAX)

    run_virtually(scenario())


def _contacts(count: int, seed: int) -> list[Contact]:
    source = random.Random(seed)
    return [Contact(source.randbytes(20), (f"10.0.0.{1 + n}", 7)) for n in range(count)]


def _shortlist(start: list[Contact], **changes: Any) -> Shortlist:
    arguments: dict[str, Any] = {
        "own_id": b"o" * 20,
        "is_silent": lambda _: False,
        "ksize": 4,
        "alpha": 2,
        "inflight_max": 6,
    } | changes
    return Shortlist(bytes(20), start, **arguments)


def test_a_late_contact_gives_up_its_place() -> None:
    shortlist = _shortlist(_contacts(8, 1))
    first = shortlist.next_queries()
    assert len(first) == 2
    assert shortlist.next_queries() == []
    shortlist.stalled(first[0])
    assert len(shortlist.next_queries()) == 1
    for contact in first[1:]:
        shortlist.stalled(contact)
    while queries := shortlist.next_queries():
        for contact in queries:
            shortlist.stalled(contact)
    assert shortlist.queries == 6  # inflight_max


def test_a_shortlist_is_bounded_whatever_is_named() -> None:
    shortlist = _shortlist(_contacts(1, 2))
    source = random.Random(3)
    asked = 0
    while queries := shortlist.next_queries():
        for contact in queries:
            asked += 1
            nearer = [
                Contact(
                    bytes(asked // 256 + 1) + source.randbytes(19 - asked // 256),
                    (f"10.{source.randrange(256)}.{source.randrange(256)}.2", 7),
                )
                for _ in range(64)
            ]
            shortlist.answered(contact, nearer, contact)
    assert asked <= QUERIES_MAX
    assert shortlist.is_done
    assert len(shortlist._candidates) <= QUERIES_MAX + 16


def test_two_ids_at_one_address_do_not_hold_a_lookup_up() -> None:
    """A node that came back under a new id is known under both: the second of them is nobody to wait for."""
    source = random.Random(11)
    for count in range(1, 12):
        contacts = [Contact(source.randbytes(20), (f"10.0.0.{1 + n // 2}", 7)) for n in range(2 * count)]
        shortlist = _shortlist(contacts)
        while queries := shortlist.next_queries():
            for contact in queries:
                shortlist.answered(contact, [], contact)
        assert shortlist.is_done


def test_a_node_under_a_new_id_answers_in_place_of_the_old() -> None:
    old, new = _contacts(2, 6)
    shortlist = _shortlist([old])
    assert shortlist.next_queries() == [old]
    shortlist.answered(old, [], Contact(new.id, old.address))
    assert shortlist.is_done
    assert [contact.id for contact in shortlist.result()] == [new.id]


def test_a_table_against_a_plain_list() -> None:
    """Adds, failures and removals in any order; the table never holds a contact twice or forgets its bounds."""
    source = random.Random(7)
    for round_seed in range(20):
        table = Table(source.randbytes(20), 4)
        everybody = _contacts(200, round_seed)
        for _ in range(600):
            contact = source.choice(everybody)
            action = source.random()
            if action < 0.7:
                table.add_contact(contact)
            elif action < 0.95:
                table.failed(contact)
            else:
                table.remove_contact(contact)
            held = list(table)
            assert (
                len({one.id for one in held}) == len({one.address for one in held}) == len(held) == len(table)
            )
            assert all(table.get(one.id) == one and table.at(one.address) == one for one in held)
            assert all(len(bucket.nodes) <= 4 for bucket in table.buckets)
            assert 0 <= table.live_count <= len(table)


def test_a_contact_leaves_after_several_failures() -> None:
    table = Table(bytes(20), 4)
    (contact,) = _contacts(1, 8)
    table.add_contact(contact)
    for _ in range(FAILURES_MAX - 1):
        table.failed(contact)
        assert table.is_suspect(contact)
        assert table.find_neighbors(bytes(20)) == []
    table.failed(contact)
    assert len(table) == 0


async def test_lookups_for_one_name_at_once_are_one() -> None:
    async with DhtNode() as node, DhtNode(bootstrap=[node.dht_address]) as other:
        await other.ready()
        await node.announce("svc", 1)
        served = node.counters["served_find_peers"]
        answers = await asyncio.gather(*(other.lookup("svc") for _ in range(100)))
        assert answers == [[("127.0.0.1", 1)]] * 100
        assert node.counters["served_find_peers"] - served == 1
        # A waiter that gives up takes nothing from the others.
        waiting = [asyncio.create_task(other.lookup("fresh")) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        assert await asyncio.gather(*waiting[1:]) == [[], []]


async def test_an_answer_is_not_reused_where_changes_would_not_arrive() -> None:
    """Reused only by nodes that keep the key, and never when it was empty."""
    async with (
        DhtNode(settings=Settings(answer_age_s=60)) as node,
        DhtNode(bootstrap=[node.dht_address]) as other,
    ):
        await other.ready()
        assert await node.lookup("svc") == []
        await other.announce("svc", 1)
        assert await node.lookup("svc") == [("127.0.0.1", 1)]
        assert node.lookup_known("svc") == [("127.0.0.1", 1)]
        await other.announce("svc", 2)
        assert sorted(node.lookup_known("svc") or []) == [("127.0.0.1", 1), ("127.0.0.1", 2)]
        await other.unannounce("svc", 1)
        assert await node.lookup("svc") == [("127.0.0.1", 2)]


@pytest.mark.slow
async def test_churn() -> None:
    """Half of 60 nodes restart over a minute; look-ups through the survivors find every living service, and no dead
    one.
    """
    age_s = 12.0
    settings = Settings(age_s=age_s, retry_s=0.05, retry_s_max=1.0)
    async with contextlib.AsyncExitStack() as stack:
        seed = await stack.enter_async_context(DhtNode(settings=settings))
        nodes = [seed] + [
            await stack.enter_async_context(DhtNode(bootstrap=[seed.dht_address], settings=settings))
            for _ in range(59)
        ]
        await asyncio.gather(*(node.ready() for node in nodes))
        survivors, restarted = nodes[:30], nodes[30:]
        for n, node in enumerate(survivors):
            await node.announce(f"svc {n}", 1000 + n)
        for n, node in enumerate(restarted):
            await node.announce(f"gone {n}", 3000 + n)
        loop = asyncio.get_running_loop()
        gone_s: dict[int, float] = {}

        async def restart_all() -> None:
            for n, node in enumerate(restarted):
                port = address_of(node)[1]
                await node.__aexit__(None, None, None)
                gone_s[n] = loop.time()
                await asyncio.sleep(1)
                again = DhtNode(port=port, bootstrap=[seed.dht_address], settings=settings)
                await stack.enter_async_context(again)
                await asyncio.sleep(1)

        churning = asyncio.create_task(restart_all())
        looked = missed = stale = 0
        source = random.Random(9)
        while not churning.done():
            chosen = [source.randrange(30) for _ in range(40)]
            answers = await asyncio.gather(*(source.choice(survivors).lookup(f"svc {n}") for n in chosen))
            looked += len(chosen)
            missed += sum(
                ("127.0.0.1", 1000 + n) not in found for n, found in zip(chosen, answers, strict=True)
            )
            n = source.randrange(30)
            if n in gone_s and loop.time() - gone_s[n] > age_s + 1:
                stale += bool(await source.choice(survivors).lookup(f"gone {n}"))
            await asyncio.sleep(0.005)
        await churning
        assert looked > 1_000
        assert missed <= looked / 1_000
        assert stale == 0


async def test_small_churn() -> None:
    """The minute of `test_churn` in three seconds: every second node of ten restarts."""
    async with contextlib.AsyncExitStack() as stack:
        seed = await stack.enter_async_context(DhtNode(settings=FAST))
        nodes = [seed] + [
            await stack.enter_async_context(DhtNode(bootstrap=[seed.dht_address], settings=FAST))
            for _ in range(9)
        ]
        await asyncio.gather(*(node.ready() for node in nodes))
        survivors, restarted = nodes[:5], nodes[5:]
        for n, node in enumerate(survivors):
            await node.announce(f"svc {n}", 1000 + n)
        for node in restarted:
            port = address_of(node)[1]
            await node.__aexit__(None, None, None)
            again = await stack.enter_async_context(
                DhtNode(port=port, bootstrap=[seed.dht_address], settings=FAST)
            )
            await again.ready()
            for n in range(5):
                for asker in (*survivors, again):
                    assert await asker.lookup(f"svc {n}") == [("127.0.0.1", 1000 + n)]


def test_keys() -> None:
    assert key_of("svc") == key_of(b"svc")
    assert len(key_of("")) == 20
