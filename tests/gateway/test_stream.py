"""The stream: a snapshot and what follows, at the reader's pace or not at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSCloseCode

from dhtex import Grape, Peer
from dhtex.gateway import Gateway, feed
from dhtex.gateway.feed import Feed, Reader


@pytest.fixture
async def stream(client: ClientSession) -> AsyncIterator[ClientWebSocketResponse]:
    async with client.ws_connect("/stream") as stream:
        yield stream


async def hear(stream: ClientWebSocketResponse) -> dict[str, Any]:
    news: dict[str, Any] = json.loads(await stream.receive_str())
    return news


def apply(book: dict[str, dict[str, str]], change: dict[str, Any]) -> None:
    levels = book["bids" if change["side"] == "buy" else "asks"]
    levels[change["price"]] = change["quantity"]
    if change["quantity"] == "0":
        del levels[change["price"]]


async def test_changes_applied_to_the_snapshot_give_the_book(
    stream: ClientWebSocketResponse, peer: Peer
) -> None:
    snapshot = await hear(stream)
    assert (snapshot["type"], snapshot["market"], snapshot["position"]) == ("snapshot", "BTC-USD", 0)
    book: dict[str, dict[str, str]] = {side: dict(snapshot[side]) for side in ("bids", "asks")}
    for price in ("49", "50", "51"):
        await peer.sell("2", price, account="maker")
    last = await peer.buy("5", "51", account="taker")
    position = (await last.final()).position
    trades: list[tuple[str, str]] = []
    while len(trades) < 3 or book["asks"] != {"51.00": "1"}:
        news = await hear(stream)
        assert news["position"] <= position
        match news["type"]:
            case "trade":
                trades.append((news["price"], news["quantity"]))
            case "book":
                apply(book, news)
    assert trades == [("49.00", "2"), ("50.00", "2"), ("51.00", "1")]
    assert book["bids"] == {}


async def test_a_late_reader_gets_the_book_and_nothing_from_before_it(
    client: ClientSession, peer: Peer, stream: ClientWebSocketResponse
) -> None:
    await (await peer.sell("2", "50")).final()
    async with client.ws_connect("/stream", params={"levels": "1"}) as late:
        assert (await hear(late))["asks"] == [["50.00", "2"]]
        await (await peer.sell("2", "49")).final()
        change = await hear(late)
        assert (change["type"], change["position"], change["price"]) == ("book", 2, "49.00")


async def test_group_events_are_told() -> None:
    async with (
        Grape(http_port=None) as grape,
        Peer("BTC-USD", bootstrap=[grape.dht_address]) as peer,
        Gateway(peer) as gateway,
        ClientSession(gateway.url) as client,
        client.ws_connect("/stream") as stream,
        Peer("BTC-USD", bootstrap=[grape.dht_address]) as other,
    ):
        while (news := await hear(stream)).get("kind") != "view":
            pass
        assert set(news["members"]) == {peer.node_id.hex(), other.node_id.hex()}
        assert news["sentence"]


async def test_a_slow_reader_is_told_and_closed_and_others_go_on(
    client: ClientSession, gateway: Gateway, stream: ClientWebSocketResponse
) -> None:
    await hear(stream)
    piece = "x" * 1000
    for _ in range(
        feed.OUTBOX_BYTES_MAX // len(piece) + 1
    ):  # in one turn of the loop: nobody can read meanwhile
        gateway._feed.publish("group", {"kind": "flood", "sentence": piece})
    kinds = [json.loads(message.data) async for message in stream]  # until it is closed
    assert kinds[-1]["error"] == "fell_behind"
    assert stream.close_code == WSCloseCode.TRY_AGAIN_LATER
    async with client.ws_connect("/stream") as again:
        assert (await hear(again))["type"] == "snapshot"
    async with client.get("/metrics") as response:
        assert "dhtex_peer_stream_slow_total 1.0" in await response.text()


async def test_an_outbox_is_bounded_and_a_slow_reader_gets_nothing_more() -> None:
    reader = Reader(after=5)
    reader.put("old", 5)
    reader.put("new", 6)
    reader.put("y" * feed.OUTBOX_BYTES_MAX, 7)
    reader.put("later", 8)
    assert reader.slow.is_set()
    assert [text async for text in reader.texts()] == []
    healthy = Reader(after=5)
    healthy.put("old", 5)
    healthy.put("new", 6)
    healthy.close()
    assert [text async for text in healthy.texts()] == ["new"]


async def test_a_gateway_that_fell_behind_itself_shows_no_gap(peer: Peer) -> None:
    news = Feed(peer)
    news.start()
    async with news.reader() as reader:
        never_read: list[Any] = [None] * 20_000  # too many
        peer._trades.publish(*never_read)
        await reader.slow.wait()
        assert not news.trades
    async with news.reader() as reader:  # and it goes on
        await peer.sell("1", "50", account="a")
        await (await peer.buy("1", "50", account="b")).final()
        async for text in reader.texts():
            if json.loads(text)["type"] == "trade":
                break
        assert len(news.trades) == 1
    await news.close()


async def test_readers_are_limited(
    client: ClientSession, stream: ClientWebSocketResponse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dhtex.gateway.stream.READERS_MAX", 1)
    await hear(stream)
    async with client.get("/stream", headers=HANDSHAKE) as response:
        assert (response.status, (await response.json())["error"]) == (503, "busy")


HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
}


async def test_the_end_is_said(peer: Peer) -> None:
    async with ClientSession() as client:
        async with Gateway(peer) as gateway:
            stream = await client.ws_connect(f"{gateway.url}/stream")
            assert (await hear(stream))["type"] == "snapshot"
            ending = asyncio.create_task(stream.receive())
        assert (await ending).data == WSCloseCode.GOING_AWAY
    assert not peer._changes  # nobody listens any more, so nothing is worked out


async def test_a_client_that_leaves_is_forgotten(client: ClientSession, gateway: Gateway) -> None:
    async with client.ws_connect("/stream") as stream:
        await hear(stream)
        await stream.send_str("nobody listens to this")
        assert len(gateway._feed) == 1
    while len(gateway._feed):
        await (await client.get("/healthz")).release()
