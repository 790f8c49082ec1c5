"""What a browser can be tricked into, and what it gets."""

from __future__ import annotations

import pytest
from aiohttp import ClientSession, WSServerHandshakeError

from dhtex import Peer
from dhtex.gateway import Gateway
from dhtex.gateway.answers import Refusal
from dhtex.gateway.guard import check_host, check_origin

ORDER = {"side": "buy", "quantity": "1", "price": "50"}


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:80", "[::1]:8080", "LOCALHOST:9", "192.0.2.1:1", "Desk.example:80"]
)
def test_addresses_and_our_names_are_ours(host: str) -> None:
    check_host(host, frozenset({"desk.example"}))


@pytest.mark.parametrize(
    "host", ["", "evil.example", "evil.example:8080", "127.0.0.1.evil.example", "[", "localhost."]
)
def test_another_name_is_not(host: str) -> None:
    with pytest.raises(Refusal) as refused:
        check_host(host, frozenset({"desk.example"}))
    assert refused.value.status == 421


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://127.0.0.1:80", "Host": "127.0.0.1:80"},
        {"Origin": "https://desk.example", "Host": "desk.example"},
        {"Sec-Fetch-Site": "same-origin", "Host": "localhost"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_programs_and_our_own_pages_may(headers: dict[str, str]) -> None:
    check_origin(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "null", "Host": "127.0.0.1:80"},
        {"Origin": "http://evil.example", "Host": "127.0.0.1:80"},
        {"Origin": "http://127.0.0.1:81", "Host": "127.0.0.1:80"},
        {"Origin": "file://127.0.0.1:80", "Host": "127.0.0.1:80"},
        {"Origin": "http://", "Host": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:80", "Host": "127.0.0.1:80"},
    ],
)
def test_pages_of_others_may_not(headers: dict[str, str]) -> None:
    with pytest.raises(Refusal) as refused:
        check_origin(headers)
    assert refused.value.status == 403


async def test_a_strangers_page_can_neither_trade_nor_listen(client: ClientSession, peer: Peer) -> None:
    page = {"Origin": "http://evil.example"}
    async with client.post("/orders", json=ORDER, headers=page) as response:
        assert (response.status, (await response.json())["error"]) == (403, "origin")
    async with client.delete("/orders/c0ffee12:1", headers=page) as response:
        assert response.status == 403
    with pytest.raises(WSServerHandshakeError, match="403"):
        await client.ws_connect("/stream", headers=page)
    async with client.options(
        "/orders", headers={**page, "Access-Control-Request-Method": "POST"}
    ) as response:
        assert not [name for name in response.headers if name.lower().startswith("access-control")]
    assert (peer.pending_count, peer.position().number) == (0, 0)


async def test_a_rebound_name_reads_nothing_but_what_operators_scrape(client: ClientSession) -> None:
    rebound = {"Host": "evil.example:8080", "Origin": "http://evil.example:8080"}
    for path, status in (("/orders", 421), ("/status", 421), ("/metrics", 200), ("/healthz", 200)):
        async with client.get(path, headers=rebound) as response:
            assert response.status == status, path


async def test_a_name_that_the_operator_gave_is_answered(peer: Peer) -> None:
    async with Gateway(peer, hosts=["desk.example"]) as gateway, ClientSession(gateway.url) as client:
        same = {"Host": "desk.example", "Origin": "http://desk.example"}
        async with client.post("/orders", json=ORDER, headers=same) as response:
            assert response.status in (200, 202)
