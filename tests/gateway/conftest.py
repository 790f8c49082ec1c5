"""A peer that is a market of its own, its gateway, and a client that speaks to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession

from dhtex import Peer
from dhtex.gateway import Gateway


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with Peer("BTC-USD") as peer:
        yield peer


@pytest.fixture
async def gateway(peer: Peer) -> AsyncIterator[Gateway]:
    async with Gateway(peer) as gateway:
        yield gateway


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[ClientSession]:
    async with ClientSession(gateway.url) as client:
        yield client
