"""A peer as a Grenache service: calls and their answers, found through a Grape."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dhtex import Grape, Peer, UsageError
from dhtex.errors import NotRunning
from dhtex.gateway import GrenacheGateway
from dhtex.grenache import GrenacheClient, ServiceError, ServiceNotFound, ServiceUnreachable

MARKET = "dhtex:BTC-USD"
SELL = {"side": "sell", "quantity": "2", "price": "50"}


@pytest.fixture
async def grape() -> AsyncIterator[Grape]:
    async with Grape() as grape:
        yield grape


@pytest.fixture
async def url(grape: Grape) -> str:
    return f"http://{grape.http_address}"


@pytest.fixture
async def gateway(grape: Grape, url: str) -> AsyncIterator[GrenacheGateway]:
    async with Peer("BTC-USD", bootstrap=[grape.dht_address]) as peer, GrenacheGateway(peer, url) as gateway:
        yield gateway


async def test_an_order_from_its_placing_to_its_end(url: str, gateway: GrenacheGateway) -> None:
    async with GrenacheClient(url) as client:

        async def ask(action: str, **question: Any) -> Any:
            return await client.request(MARKET, {"action": action, **question})

        placed = await ask("place", order=SELL, wait="final")
        assert (placed["status"], placed["remaining"], placed["position"]) == ("open", "2", 1)
        assert (await ask("book", levels=5))["asks"] == [["50.00", "2"]]
        bought = {"side": "buy", "quantity": "1", "price": "50", "account": "other"}
        assert (await ask("place", order=bought, wait="final"))["status"] == "filled"
        assert [trade["quantity"] for trade in (await ask("trades", limit="10"))["trades"]] == ["1"]
        assert (await ask("orders"))["open"][0]["remaining"] == "1"
        assert (await ask("order", order=placed["order"]))["position"] == 1
        assert (await ask("cancel", order=placed["order"], wait="final"))["status"] == "done"
        status = await ask("status")
        assert (status["market"], status["position"], status["quorum"]) == ("BTC-USD", 3, True)


async def test_each_peer_answers_to_its_own_name_too(
    grape: Grape, url: str, gateway: GrenacheGateway
) -> None:
    async with (
        Peer("BTC-USD", bootstrap=[grape.dht_address]) as other,
        GrenacheGateway(other, url) as theirs,
        GrenacheClient(url) as client,
    ):
        assert gateway.names[0] == theirs.names[0] == MARKET
        placed = await client.request(gateway.names[1], {"action": "place", "order": SELL, "wait": "final"})
        await other.reached(placed["position"])
        with pytest.raises(ServiceError, match=r"^ERR_NOT_OWNER: "):
            await client.request(theirs.names[1], {"action": "cancel", "order": placed["order"]})
        assert len(await client.map(MARKET, {"action": "status"})) == 2


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (None, "ERR_QUERY: give an action"),
        ("book", "ERR_QUERY: give an action"),
        ({"action": "steal"}, "ERR_QUERY: give an action"),
        ({"action": ["book"]}, "ERR_QUERY: give an action"),
        ({"action": "book", "levels": -1}, "ERR_QUERY: levels is a whole number"),
        ({"action": "book", "levels": True}, "ERR_QUERY: levels is a whole number"),
        ({"action": "place"}, "ERR_JSON: the order is an object"),
        ({"action": "place", "order": {**SELL, "price": "1.001"}}, "ERR_ORDER: .*tick"),
        ({"action": "place", "order": {**SELL, "price": 50}}, "ERR_ORDER: .*text"),
        ({"action": "place", "order": SELL, "wait": "ever"}, "ERR_QUERY: wait is accepted or final"),
        ({"action": "cancel"}, "ERR_QUERY: order names an order"),
        ({"action": "cancel", "order": "c0ffee12:42"}, "ERR_UNKNOWN_ORDER: "),
        ({"action": "order", "order": 7}, "ERR_QUERY: order names an order"),
    ],
)
async def test_what_makes_no_sense_is_said_with_a_word(
    url: str, gateway: GrenacheGateway, payload: Any, says: str
) -> None:
    async with GrenacheClient(url) as client:
        with pytest.raises(ServiceError, match=f"^{says}"):
            await client.request(MARKET, payload)


async def test_who_waits_is_answered_when_it_ends_and_nobody_is_found_afterwards(
    grape: Grape, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dhtex.peer.peer.LEAVE_TIMEOUT_S", 0.05)
    async with (
        GrenacheClient(url, cache_s=0) as client,
        Peer("BTC-USD", bootstrap=[grape.dht_address]) as peer,
        Peer("BTC-USD", bootstrap=[grape.dht_address]) as other,
    ):
        async with GrenacheGateway(peer, url) as gateway:
            assert other._driver is not None
            await other._driver.close()  # silent: what the peer accepts stays pending
            question = {"action": "place", "order": SELL, "wait": "final", "timeout": 300}
            waiting = asyncio.create_task(client.request(gateway.names[1], question))
            while not peer.pending_count:
                await client.request(MARKET, {"action": "status"})
        with pytest.raises(ServiceError, match=r"^ERR_NOT_RUNNING: "):
            await waiting
        with pytest.raises(ServiceNotFound):
            await client.request(MARKET, {"action": "status"})


async def test_it_stays_on_loopback_and_says_when_no_grape_answers() -> None:
    async with Peer("BTC-USD") as peer:
        with pytest.raises(UsageError, match="loopback"):
            GrenacheGateway(peer, "http://127.0.0.1:30001", "0.0.0.0")
        gateway = GrenacheGateway(peer, "http://127.0.0.1:9")
        with pytest.raises(ServiceUnreachable, match=r"127\.0\.0\.1:9 does not answer"):
            await gateway.__aenter__()
        with pytest.raises(NotRunning):
            _ = gateway.port
