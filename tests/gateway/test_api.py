"""Requests and their answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession

from dhtex import Founding, Grape, Peer
from dhtex.errors import NetworkError, NotRunning, PortInUse, UsageError
from dhtex.gateway import Gateway

FINAL = {"wait": "final"}


def order(**fields: Any) -> dict[str, Any]:
    return {"side": "buy", "quantity": "1", "price": "50", **fields}


async def post(client: ClientSession, body: Any, **query: str) -> tuple[int, dict[str, Any]]:
    async with client.post("/orders", json=body, params=query) as response:
        return response.status, await response.json()


async def get(client: ClientSession, path: str, **query: str) -> tuple[int, dict[str, Any]]:
    async with client.get(path, params=query) as response:
        return response.status, await response.json()


async def delete(client: ClientSession, name: str, **query: str) -> tuple[int, dict[str, Any]]:
    async with client.delete(f"/orders/{name}", params=query) as response:
        return response.status, await response.json()


async def test_an_order_from_its_placing_to_its_end(client: ClientSession, peer: Peer) -> None:
    status, placed = await post(client, order(quantity="2", tag="first"))
    assert (status, placed["status"]) in ((202, "pending"), (200, "open"))
    name = placed["order"]
    assert name == f"{peer.node_id[:4].hex()}:1"
    status, result = await get(client, f"/orders/{name}", **FINAL)
    assert (status, result["status"], result["remaining"], result["position"]) == (200, "open", "2", 1)
    assert (await get(client, "/book"))[1] == {
        "position": 1,
        "phase": "continuous",
        "last_price": None,
        "bids": [["50.00", "2"]],
        "asks": [],
    }
    _, listed = await get(client, "/orders")
    assert [(row["order"], row["remaining"]) for row in listed["open"]] == [(name, "2")]
    status, cancelled = await delete(client, name, **FINAL)
    assert (status, cancelled["status"]) == (200, "done")
    assert (await get(client, "/orders"))[1] == {
        "open": [],
        "open_count": 0,
        "pending": [],
        "pending_count": 0,
    }
    status, error = await delete(client, name)
    assert (status, error["error"]) == (404, "unknown_order")


async def test_an_id_with_more_digits_than_a_number_may_have_is_unknown(client: ClientSession) -> None:
    await post(client, order(), **FINAL)
    status, error = await delete(client, f"a:{'9' * 5000}")
    assert (status, error["error"]) == (404, "unknown_order")


async def test_trades_are_told_oldest_first_and_bounded(client: ClientSession, peer: Peer) -> None:
    async with peer.trades() as trades:
        for price in ("50", "51", "52"):
            for side in ("sell", "buy"):
                # Two accounts: one account does not trade with itself.
                status, result = await post(client, order(side=side, price=price, account=side), **FINAL)
                assert status == 200, result
            await anext(trades)
    assert result["status"] == "filled"
    assert result["fills"] == [{"price": "52.00", "quantity": "1"}]
    await asyncio.sleep(0)  # the gateway's own reader was woken by the same trade
    _, told = await get(client, "/trades", limit="2")
    assert [trade["price"] for trade in told["trades"]] == ["51.00", "52.00"]
    assert (await get(client, "/book"))[1]["last_price"] == "52.00"


async def test_what_the_market_rejects_is_a_result_not_an_error(client: ClientSession) -> None:
    await post(client, order(side="sell", account="a"), **FINAL)
    status, result = await post(client, order(post_only=True), **FINAL)
    assert (status, result["status"]) == (200, "rejected")
    assert result["reason"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (order(quantity=1), "text"),
        (order(price=49.5), "text"),
        (order(price="1.001"), "tick"),
        (order(quantity="-1"), "positive"),
        (order(quantity="1e400"), "plain decimal"),
        (order(side="hold"), "buy, sell"),
        (order(side=None), "side"),
        (order(quantity=None), "quantity"),
        (order(time_in_force="forever"), "gtc"),
        (order(self_trade=1), "self_trade"),
        (order(post_only="yes"), "true or false"),
        (order(expiry="soon"), "microseconds"),
        (order(expiry=True), "microseconds"),
        (order(tag=7), "printable"),
        (order(tag="\x00"), "printable"),
        (order(colour="red"), "colour"),
        ({}, "quantity"),
    ],
)
async def test_a_bad_order_is_a_sentence_and_nothing_is_sent(
    client: ClientSession, peer: Peer, body: dict[str, Any], says: str
) -> None:
    status, error = await post(client, body)
    assert (status, error["error"]) == (400, "order")
    assert says in error["sentence"]
    assert (peer.pending_count, peer.position().number) == (0, 0)


async def test_every_kind_of_order_can_be_asked_for(client: ClientSession, peer: Peer) -> None:
    bodies = [
        order(trigger="60", price=None),
        order(trigger="60", price="61"),
        order(trail="1", price=None),
        order(time_in_force="gtd", expiry=2**62),
        order(quantity="10", display="1", self_trade="off"),
        order(all_or_none=True),
    ]
    results = [(await post(client, body, **FINAL))[1]["status"] for body in bodies]
    assert results == ["open"] * len(bodies)
    assert len(peer.book.orders_of(peer.node_id)) == len(bodies)


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "word"),
    [
        ("GET", "/nothing", b"", {}, 404, "not_found"),
        ("PUT", "/orders", b"", {}, 405, "method"),
        ("POST", "/orders", b"{}", {"Content-Type": "text/plain"}, 415, "content_type"),
        ("POST", "/orders", b"{", {"Content-Type": "application/json"}, 400, "json"),
        ("POST", "/orders", b"\xff", {"Content-Type": "application/json"}, 400, "json"),
        ("POST", "/orders", b"[" * 3000, {"Content-Type": "application/json"}, 400, "json"),
        ("POST", "/orders", b"[]", {"Content-Type": "application/json"}, 400, "json"),
        ("POST", "/orders", b" " * 5000, {"Content-Type": "application/json"}, 413, "too_large"),
        ("POST", "/orders?wait=ever", b"{}", {"Content-Type": "application/json"}, 400, "query"),
        ("POST", "/orders?wait=final&timeout=1e9", b"{}", {}, 400, "query"),
        ("DELETE", "/orders/c0ffee12:42", b"", {}, 404, "unknown_order"),
        ("DELETE", "/orders/%00", b"", {}, 404, "unknown_order"),
        ("GET", "/orders/:1", b"", {}, 404, "unknown_order"),
        ("GET", "/book?levels=0", b"", {}, 400, "query"),
        ("GET", "/book?levels=%C2%B2", b"", {}, 400, "query"),
        ("GET", "/trades?limit=-1", b"", {}, 400, "query"),
        ("GET", "/stream", b"", {}, 426, "websocket"),
    ],
)
async def test_errors_are_json_with_the_right_status(
    client: ClientSession,
    method: str,
    path: str,
    body: bytes,
    headers: dict[str, str],
    status: int,
    word: str,
) -> None:
    async with client.request(method, path, data=body, headers=headers) as response:
        answer = await response.json()
        assert (response.status, answer["error"]) == (status, word)
        assert set(answer) == {"error", "sentence"}
        assert len(answer["sentence"]) > 10
        assert ("Allow" in response.headers) == (status == 405)


async def test_another_nodes_order_is_not_cancelled() -> None:
    async with (
        Grape(http_port=None) as grape,
        Peer("BTC-USD", bootstrap=[grape.dht_address]) as alice,
        Peer("BTC-USD", bootstrap=[grape.dht_address]) as bob,
        Gateway(bob) as gateway,
        ClientSession(gateway.url) as client,
    ):
        resting = await (await alice.sell("1", "50")).final()
        await bob.reached(resting.position)
        status, error = await delete(client, str(resting.order))
        assert (status, error["error"]) == (403, "not_owner")
        _, status_fields = await get(client, "/status")
        assert {row["node"] for row in status_fields["members"]} == {alice.node_id.hex(), bob.node_id.hex()}
        assert status_fields["quorum"] is True


async def test_a_peer_without_a_group_is_unhealthy_and_takes_no_orders() -> None:
    async with (
        Grape(http_port=None) as grape,
        Peer("BTC-USD", bootstrap=[grape.dht_address], founding=Founding.JOIN, wait=False) as peer,
        Gateway(peer) as gateway,
        ClientSession(gateway.url) as client,
    ):
        status, health = await get(client, "/healthz")
        assert (status, health["healthy"]) == (503, False)
        assert "founding" in health["sentence"]
        async with client.post("/orders", json=order()) as response:
            assert (response.status, (await response.json())["error"]) == (503, "busy")
            assert response.headers["Retry-After"] == "1"


@pytest.fixture
async def alone(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Peer]:
    """A member of two whose counterpart has fallen silent: what it accepts stays pending."""
    monkeypatch.setattr("dhtex.peer.peer.LEAVE_TIMEOUT_S", 0.05)
    async with (
        Grape(http_port=None) as grape,
        Peer("BTC-USD", bootstrap=[grape.dht_address]) as peer,
        Peer("BTC-USD", bootstrap=[grape.dht_address]) as other,
    ):
        assert other._driver is not None
        await other._driver.close()
        yield peer


async def test_without_a_quorum_orders_are_pending_and_the_peer_unhealthy(alone: Peer) -> None:
    async with (
        Gateway(alone) as gateway,
        ClientSession(gateway.url) as client,
        alone.group_events() as events,
    ):
        status, placed = await post(client, order(), wait="final", timeout="0")
        assert (status, placed["status"]) == (202, "pending")
        _, listed = await get(client, "/orders")
        assert listed["pending"] == [{"order": placed["order"], "command": "place"}]
        assert (await get(client, f"/orders/{placed['order']}"))[0] == 202
        assert (await delete(client, placed["order"]))[0] == 202
        assert (await get(client, "/orders"))[1]["pending_count"] == 2
        async for event in events:
            if event.kind == "no_quorum":
                break
        status, health = await get(client, "/healthz")
        assert (status, "orders are pending" in health["sentence"]) == (503, True)


async def test_who_waits_is_answered_when_the_gateway_closes(alone: Peer) -> None:
    async with Gateway(alone) as gateway, ClientSession(gateway.url) as client:
        waiting = asyncio.create_task(post(client, order(), wait="final", timeout="300"))
        while not alone.pending_count:
            await get(client, "/status")
        await gateway.__aexit__(None, None, None)
        status, error = await waiting
    assert (status, error["error"]) == (503, "not_running")


async def test_health_metrics_and_status_of_a_member(client: ClientSession, peer: Peer) -> None:
    assert await get(client, "/healthz") == (200, {"healthy": True})
    await post(client, order(), **FINAL)
    _, status = await get(client, "/status")
    assert (status["market"], status["tick"], status["role"]) == ("BTC-USD", "0.01", "member")
    assert (status["position"], status["digest"]) == (1, peer.position().digest.hex())
    await (await client.get("/no/such/path")).release()
    async with client.get("/metrics") as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        lines = (await response.text()).splitlines()
    for line in (
        "dhtex_peer_position 1.0",
        "dhtex_peer_members 1.0",
        "dhtex_peer_pending 0.0",
        "dhtex_peer_quorum 1.0",
        'dhtex_peer_role{role="member"} 1.0',
        'dhtex_peer_role{role="evicted"} 0.0',
        'dhtex_peer_requests_total{method="POST",path="/orders",status="200"} 1.0',
        'dhtex_peer_requests_total{method="other",path="other",status="404"} 1.0',
        f'dhtex_peer_info{{market="BTC-USD",node="{peer.node_id.hex()}"}} 1.0',
    ):
        assert line in lines


async def test_a_closed_peer_is_said_not_guessed() -> None:
    async with Peer("BTC-USD") as peer, Gateway(peer) as gateway, ClientSession(gateway.url) as client:
        await peer.__aexit__(None, None, None)
        for path in ("/status", "/healthz"):
            assert (await get(client, path))[0] == 503
        assert (await post(client, order()))[1]["error"] == "not_running"


async def test_it_stays_on_loopback_unless_told_otherwise(peer: Peer) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org", ""):
        with pytest.raises(UsageError, match="loopback"):
            Gateway(peer, host)
    with pytest.raises(UsageError, match="not a port"):
        Gateway(peer, port=70_000)
    async with Gateway(peer, "0.0.0.0", public=True) as gateway:
        port = gateway.address.rpartition(":")[2]
        async with ClientSession(f"http://127.0.0.1:{port}") as client:
            assert (await get(client, "/status"))[0] == 200


async def test_a_port_in_use_and_an_address_of_nobody_are_sentences(peer: Peer, gateway: Gateway) -> None:
    port = int(gateway.address.rpartition(":")[2])
    with pytest.raises(PortInUse, match="another program listens"):
        await Gateway(peer, port=port).__aenter__()
    with pytest.raises(NetworkError, match="cannot listen"):
        await Gateway(peer, "192.0.2.1", public=True).__aenter__()


async def test_it_has_an_address_only_inside_async_with(peer: Peer) -> None:
    gateway = Gateway(peer)
    assert "not listening" in repr(gateway)
    with pytest.raises(NotRunning):
        _ = gateway.url
    async with gateway:
        assert gateway.url in repr(gateway)
        with pytest.raises(UsageError, match="once"):
            await gateway.__aenter__()
