"""Two endpoints over a path that loses, doubles, delays and reorders."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dhtex.identity import PublicKey
from dhtex.transport import Endpoint
from transport.support import ALICE, BOB, GROUP, Recorder, Relay


class Path:
    """Alice reaches Bob through a relay only; Bob answers where he hears her from."""

    def __init__(self, relay: Relay, alice: Endpoint, bob: Endpoint) -> None:
        self.relay = relay
        self.alice, self.bob = alice, bob
        self.heard_by_bob = Recorder()
        self.a, self.b = alice.attach(GROUP, Recorder()), bob.attach(GROUP, self.heard_by_bob)
        for channel in (self.a, self.b):
            channel.set_members({ALICE.node_id, BOB.node_id})
        assert self.a.set_peer(BOB.public_key, relay.address)


@asynccontextmanager
async def path(seed: int, **faults: float) -> AsyncIterator[Path]:
    async with (
        Endpoint(ALICE) as alice,
        Endpoint(BOB) as bob,
        Relay(bob.address, seed=seed, **faults) as relay,
    ):
        yield Path(relay, alice, bob)


@pytest.mark.parametrize("seed", range(3))
async def test_calls_take_effect_once_over_a_bad_path(seed: int) -> None:
    runs: Counter[int] = Counter()

    async def count(sender: PublicKey, params: list[Any]) -> int:
        runs[params[0]] += 1
        await asyncio.sleep(0)
        return int(params[0]) * 2

    async with path(seed, loss=0.2, doubling=0.2, delay=0.02) as bad:
        bad.b.register("count", count)
        body = bytes(700)  # one request a datagram
        calls = [bad.a.call(BOB.node_id, "count", [number, body], timeout=30) for number in range(30)]
        assert await asyncio.gather(*calls) == [2 * number for number in range(30)]
        assert runs == Counter(range(30))
        assert bad.alice.counters["requests_repeated"] > 0


async def test_hello_is_repeated_until_it_gets_through() -> None:
    async with path(seed=4, loss=0.4) as bad:
        answer = await bad.a.hello(bad.relay.address, timeout=30)
        assert answer.public_key == BOB.public_key


@pytest.mark.parametrize("seed", range(3))
async def test_long_messages_get_through_a_fifth_lost(seed: int) -> None:
    async with path(seed, loss=0.2, doubling=0.1, delay=0.01) as bad:
        bad.b.register("echo", lambda sender, params: params)
        body = bytes(range(256)) * 200
        for _ in range(3):
            assert await bad.a.call(BOB.node_id, "echo", [body], timeout=30) == [body]


async def test_reordering_and_doubling_alone_lose_and_repeat_nothing() -> None:
    async with path(seed=7, doubling=0.3, delay=0.005) as bad:
        for tag in range(300):
            bad.a.notify([BOB.node_id], [(tag, [b"x" * 500])])
            if tag % 20 == 0:
                await asyncio.sleep(0)
        said = await bad.heard_by_bob.wait_for(300)
        assert sorted(tag for tag, _ in said) == list(range(300))
        while not bad.bob.counters["dropped_replay"]:
            bad.a.notify([BOB.node_id], [(0, [])])
            await asyncio.sleep(0)


async def test_loss_narrows_the_window_and_quiet_widens_it() -> None:
    async with path(seed=9) as bad:
        link = bad.a._links.of_node(BOB.node_id)
        assert link is not None

        async def send_much() -> None:
            count = len(bad.heard_by_bob.said)
            for _ in range(4):
                bad.a.notify([BOB.node_id], [(1, [b"x" * 60_000])])
            await bad.heard_by_bob.wait_for(count + 4)

        start = link.flight.window.size
        await send_much()
        grown = link.flight.window.size
        assert grown > start
        bad.relay.loss = 0.15
        bad.b.register("echo", lambda sender, params: params)
        await bad.a.call(BOB.node_id, "echo", [b"x" * 100_000], timeout=30)
        assert link.flight.window.size < grown
        assert bad.alice.counters["datagrams_lost"] > 0
