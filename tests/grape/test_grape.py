"""Grapes as a program embeds them: finding each other, names, items, ports, endings."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import pytest

from dhtex.dht import Address, BootstrapReached, BootstrapUnreachable, DhtClient, Item, Settings
from dhtex.dht.addresses import split_host_port
from dhtex.dht.state import StateFile
from dhtex.dht.stores import Stored
from dhtex.errors import PortInUse, RpcError, UsageError
from dhtex.grape import Grape
from dhtex.identity import Identity
from grape.raw import RawClient, post, post_bytes

FAST = Settings(retry_s=0.05, retry_s_max=0.2)


async def test_alone_it_announces_and_looks_up() -> None:
    async with Grape() as grape:
        assert grape.is_ready
        assert await grape.announce("svc", 1337) == 1
        assert await grape.lookup("svc") == [("127.0.0.1", 1337)]
        assert await grape.unannounce("svc", 1337)
        assert await grape.lookup("svc") == []


@pytest.mark.parametrize("first", [0, 1])
async def test_two_find_each_other_in_either_order(first: int) -> None:
    async with Grape(http_port=None) as a, Grape(http_port=None) as b:
        names = [a.dht_address, b.dht_address]
    ports = [split_host_port(name)[1] for name in names]
    second = 1 - first
    grapes = [
        Grape(dht_port=port, http_port=None, bootstrap=[other], settings=FAST)
        for port, other in zip(ports, reversed(names), strict=True)
    ]
    events = grapes[first].events()
    async with grapes[first]:
        assert isinstance(await anext(events), BootstrapUnreachable)
        async with grapes[second]:
            await asyncio.gather(grapes[0].ready(), grapes[1].ready())
            await grapes[0].announce("svc", 1)
            assert await grapes[1].lookup("svc") == [("127.0.0.1", 1)]
            async with asyncio.timeout(5):
                while not isinstance(await anext(events), BootstrapReached):
                    pass


async def test_one_that_ends_and_starts_again_is_found_again() -> None:
    async with Grape(http_port=None, settings=FAST) as stays:
        restarted = Grape(http_port=None, bootstrap=[stays.dht_address], settings=FAST)
        async with restarted:
            await restarted.ready()
            port = split_host_port(restarted.dht_address)[1]
            name = restarted.dht_address
        async with (
            Grape(http_port=None, bootstrap=[name], settings=FAST) as knows_only_the_other,
            Grape(dht_port=port, http_port=None, settings=FAST) as restarted,
        ):
            await knows_only_the_other.ready()
            await restarted.announce("svc", 2)
            assert await knows_only_the_other.lookup("svc") == [("127.0.0.1", 2)]
        assert await stays.lookup("svc") == []


async def test_with_the_other_one_dead_requests_are_fast() -> None:
    async with Grape() as stays:
        async with Grape(bootstrap=[stays.dht_address]) as dies:
            await dies.ready()
            await dies.announce("svc", 3)
        started_s = asyncio.get_running_loop().time()
        await asyncio.gather(*(post(stays.http_address, "/lookup", f"name {n}") for n in range(64)))
        first_s = asyncio.get_running_loop().time() - started_s
        assert first_s < 5  # the original: 10 s; one time-out here
        sent = stays.node.counters["sent"]
        assert (await post(stays.http_address, "/lookup", "svc")).json == ["127.0.0.1:3"]
        assert (await post(stays.http_address, "/announce", ["svc", 4])).json == 1
        assert stays.node.counters["sent"] - sent <= 6  # nobody waits for the dead one again


async def test_an_announcement_is_visible_at_the_other_at_once() -> None:
    async with Grape() as a, Grape(bootstrap=[a.dht_address]) as b:
        await b.ready()
        await a.lookup("svc 0")
        async with await RawClient.open(a.http_address) as at_a, await RawClient.open(b.http_address) as at_b:
            for n in range(300):
                at_a.send(post_bytes("/announce", json.dumps({"data": [f"svc {n}", 1000 + n]}).encode()))
                assert (await at_a.response()).json == 1
                at_b.send(post_bytes("/lookup", json.dumps({"data": f"svc {n}"}).encode()))
                assert (await at_b.response()).json == [f"127.0.0.1:{1000 + n}"]
            # Also a second address of a name whose first was just looked up.
            at_a.send(post_bytes("/announce", b'{"data":["svc 0",999]}'))
            await at_a.response()
            at_b.send(post_bytes("/lookup", b'{"data":"svc 0"}'))
            assert sorted((await at_b.response()).json) == ["127.0.0.1:1000", "127.0.0.1:999"]
            at_b.send(post_bytes("/unannounce", b'{"data":["svc 0",999]}'))
            await at_b.response()
            at_a.send(post_bytes("/lookup", b'{"data":"svc 0"}'))
            # Taken back through the other Grape, which is the same host: a host may take back what is its own.
            assert (await at_a.response()).json == ["127.0.0.1:1000"]


async def test_announcements_end_with_their_age_and_live_while_announced() -> None:
    settings = Settings(age_s=0.6)
    async with (
        Grape(http_port=None, settings=settings) as a,
        Grape(http_port=None, bootstrap=[a.dht_address], settings=settings) as b,
    ):
        await b.ready()
        await b.announce("kept", 1)
        await b.node.announce_once("once", 2)
        assert await a.lookup("once") == [("127.0.0.1", 2)]
        loop = asyncio.get_running_loop()
        until_s = loop.time() + 1.5
        async with asyncio.timeout(10):
            while await a.lookup("once") or loop.time() < until_s:  # watched all along
                assert await a.lookup("kept") == [("127.0.0.1", 1)]
                await asyncio.sleep(0.02)
        assert loop.time() - until_s < 1


async def test_many_addresses_come_as_a_random_hundred() -> None:
    async with Grape(http_port=None) as grape:
        for port in range(1, 151):
            await grape.announce("svc", port)
        answers = [await grape.lookup("svc") for _ in range(3)]
        assert all(len(set(answer)) == 100 for answer in answers)
        assert answers[0] != answers[1] or answers[1] != answers[2]


async def test_a_hundred_grapes_find_one_service() -> None:
    async with Grape(http_port=None) as seed, contextlib.AsyncExitStack() as stack:
        grapes = [
            await stack.enter_async_context(Grape(http_port=None, bootstrap=[seed.dht_address]))
            for _ in range(99)
        ]
        await asyncio.gather(*(grape.ready() for grape in grapes))
        await grapes[13].announce("svc", 1313)
        for grape in (seed, *grapes):
            assert await grape.lookup("svc") == [("127.0.0.1", 1313)]
        assert await grapes[13].unannounce("svc", 1313)
        for grape in grapes[::10]:
            assert await grape.lookup("svc") == []


async def test_announce_tells_how_many_others_keep_it() -> None:
    async with Grape() as a, Grape(bootstrap=[a.dht_address]) as b, Grape(bootstrap=[a.dht_address]) as c:
        await asyncio.gather(b.ready(), c.ready())
        for _ in range(2):
            assert (await post(b.http_address, "/announce", ["svc", 5])).json == 2
        async with Grape(bootstrap=[a.dht_address]) as newcomer:
            await newcomer.ready()
            assert (await post(b.http_address, "/announce", ["svc", 5])).json == 3
            assert (await post(c.http_address, "/unannounce", ["svc", 5])).json == 1
            assert await newcomer.lookup("svc") == []


async def test_a_client_uses_the_network_and_stores_nothing() -> None:
    async with (
        Grape(http_port=None) as a,
        Grape(http_port=None, bootstrap=[a.dht_address]) as b,
        DhtClient(bootstrap=[a.dht_address], node_id=b"p" * 20) as client,
    ):
        await asyncio.gather(b.ready(), client.ready())
        assert await client.announce(b"m" * 20, 4444) == 2
        assert await client.lookup(b"m" * 20) == [("127.0.0.1", 4444)]
        item = Item.immutable("from a client")
        assert await client.put(item) == 2
        assert await b.get(item.key) == item
        assert (client.item_count, client.announcement_count) == (0, 0)
        assert b"p" * 20 not in [contact.id for contact in a.node.contacts + b.node.contacts]


async def test_a_client_tells_a_newcomer_that_never_called_at_it() -> None:
    async with Grape(http_port=None) as a, DhtClient(bootstrap=[a.dht_address]) as client:
        await client.ready()
        assert await client.announce("svc", 1) == 1
        async with Grape(http_port=None, bootstrap=[a.dht_address]) as b:
            await b.ready()
            assert await client.announce("svc", 1) == 2


async def test_mutable_items_follow_bep_44() -> None:
    owner = Identity(bytes(31) + b"\x09")
    async with Grape(http_port=None) as a, Grape(http_port=None, bootstrap=[a.dht_address]) as b:
        await b.ready()
        key = await a.put(Item.signed_by(owner, "one", seq=1))
        assert await b.put(Item.signed_by(owner, "two", seq=2), cas=1) == key
        with pytest.raises(RpcError, match="302"):
            await a.put(Item.signed_by(owner, "one again", seq=1))
        with pytest.raises(RpcError, match="301"):
            await a.put(Item.signed_by(owner, "three", seq=3), cas=1)
        assert await a.put(Item.signed_by(owner, "salted", seq=1, salt=b"s")) != key
        found = await a.get(key)
        assert found is not None
        assert (found.value, found.seq) == (b"two", 2)
        with pytest.raises(UsageError, match="signature"):
            await a.put(Item(b"3:bad", owner.public_key, b"", 9, bytes(64)))


async def test_two_writers_with_cas_cannot_both_win() -> None:
    owner = Identity(bytes(31) + b"\x0a")
    async with Grape(http_port=None) as a, contextlib.AsyncExitStack() as stack:
        grapes = [a] + [
            await stack.enter_async_context(Grape(http_port=None, bootstrap=[a.dht_address]))
            for _ in range(5)
        ]
        await asyncio.gather(*(grape.ready() for grape in grapes))
        await a.put(Item.signed_by(owner, "start", seq=1))
        results = await asyncio.gather(
            grapes[1].put(Item.signed_by(owner, "left", seq=2), cas=1),
            grapes[2].put(Item.signed_by(owner, "right", seq=2), cas=1),
            return_exceptions=True,
        )
        assert sum(isinstance(result, bytes) for result in results) <= 1


async def test_values_come_back_from_a_restarted_network_of_two(tmp_path: Path) -> None:
    owner = Identity(bytes(31) + b"\x0b")
    items = [Item.immutable("kept"), Item.signed_by(owner, "signed", seq=3)]
    async with (
        Grape(data_dir=tmp_path / "a") as a,
        Grape(bootstrap=[a.dht_address], data_dir=tmp_path / "b") as b,
    ):
        await b.ready()
        for item in items:
            await a.put(item)
    async with (
        Grape(data_dir=tmp_path / "a") as a,
        Grape(bootstrap=[a.dht_address], data_dir=tmp_path / "b") as b,
    ):
        await b.ready()
        for grape in (a, b):
            assert [await grape.get(item.key) for item in items] == items


async def test_a_value_is_saved_when_it_is_put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at the next of regular times: both Grapes of a network may be killed before it comes."""
    monkeypatch.setattr("dhtex.dht.state.SAVE_S", 3_600.0)
    saved: asyncio.Queue[set[bytes]] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    save = StateFile.save

    def watched(
        file: StateFile, contacts: list[Address], items: dict[bytes, Stored], offset_s: float
    ) -> None:
        save(file, contacts, items, offset_s)
        loop.call_soon_threadsafe(saved.put_nowait, set(items))

    monkeypatch.setattr(StateFile, "save", watched)
    async with Grape(http_port=None, data_dir=tmp_path) as grape:
        key = await grape.put(Item.immutable("kept"))
        assert await asyncio.wait_for(saved.get(), 10) == {key}


async def test_ports_in_use_are_one_sentence() -> None:
    async with Grape() as grape:
        assert grape.http_address is not None
        dht_port = split_host_port(grape.dht_address)[1]
        http_port = split_host_port(grape.http_address)[1]
        with pytest.raises(PortInUse, match=f"UDP 127.0.0.1:{dht_port}"):
            await Grape(dht_port=dht_port).__aenter__()
        with pytest.raises(PortInUse, match=f"TCP 127.0.0.1:{http_port}"):
            await Grape(http_port=http_port).__aenter__()


async def test_the_api_stays_on_this_machine_unless_told() -> None:
    with pytest.raises(UsageError, match="--api-public"):
        Grape(host="0.0.0.0")
    async with Grape(host="0.0.0.0", http_host="127.0.0.1") as grape:
        assert grape.http_address is not None
        assert grape.http_address.startswith("127.0.0.1:")
    async with Grape(host="0.0.0.0", http_public=True) as grape:
        assert (await post(grape.http_address, "/lookup", "x")).json == []


async def test_two_colons_take_ipv4_and_ipv6() -> None:
    async with Grape(host="::", http_public=True) as grape:
        port = split_host_port(str(grape.http_address))[1]
        for host in ("127.0.0.1", "[::1]"):
            assert (await post(f"{host}:{port}", "/lookup", "x")).json == []


async def test_metrics_and_health() -> None:
    async with Grape(bootstrap=["127.0.0.1:1"], settings=FAST) as grape:
        await grape.announce("svc", 1)
        await post(grape.http_address, "/lookup", "svc")
        async with await RawClient.open(grape.http_address) as client:
            client.send(b"GET /metrics HTTP/1.1\r\nHost: g\r\n\r\n")
            metrics = await client.response()
            assert b'dhtex_grape_requests_total{method="lookup"} 1.0' in metrics.body
            assert b"dhtex_grape_announcements 1.0" in metrics.body
            client.send(b"GET /healthz HTTP/1.1\r\nHost: g\r\n\r\n")
            health = await client.response()
            assert health.status == 503
            assert health.json["ready"] is False


async def test_a_grape_can_be_entered_again_and_leaves_nothing() -> None:
    grape = Grape()
    for _ in range(2):
        async with grape, await RawClient.open(grape.http_address) as idle:
            client_reads = asyncio.create_task(idle.reader.read())
            await grape.announce("svc", 1)
            await grape.__aexit__(None, None, None)
            with contextlib.suppress(ConnectionError):
                assert await client_reads == b""
