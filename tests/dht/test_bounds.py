"""Everything a node remembers of others has a bound, and it is met: by floods from addresses that are made up."""

from __future__ import annotations

import os
import tracemalloc

import pytest

from dht.rogue import Rogue
from dht.test_failures import address_of, protocol_of
from dhtex.dht import DhtNode, Item, Settings, wire
from dhtex.dht.calls import TOKENS_HELD_MAX
from dhtex.dht.contacts import Contact
from dhtex.dht.limits import Rates
from dhtex.dht.protocol import CHECKS_MAX, RECENT_PUTS_MAX, SEND_BUFFER_MAX, SILENT_MAX
from dhtex.dht.tokens import Tokens

BOUNDLESS = Settings(
    rates=Rates(stranger=1e9, stranger_burst=1e9, strangers=1e9, strangers_burst=1e9, share=1e9)
)


async def test_strangers_without_end_are_forgotten() -> None:
    """Requests of all kinds, each from another network; memory no longer grows once the bounds are reached."""
    async with DhtNode(settings=BOUNDLESS) as node:
        protocol = protocol_of(node)
        requests = [
            wire.encode_request(os.urandom(20), method, os.urandom(20), os.urandom(8), args, pad=True)
            for method, args in (
                ("ping", ()),
                ("find_peers", (bytes(20),)),
                ("announce", (bytes(20), 5)),
                ("x", ()),
            )
        ]
        tracemalloc.start()
        sizes: list[int] = []
        round_size = 2 * Tokens.CACHE_MAX  # all bounds are met in one
        for n in range(2 * round_size):
            protocol.datagram_received(requests[n % 4], (f"2001:db8:{n:x}::1", 7, 0, 0))
            if n % round_size == round_size - 1:
                sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        assert len(protocol._limits) <= 4_096
        assert len(protocol._tokens._issued) <= Tokens.CACHE_MAX
        assert len(node.counters) < 20
        assert not node.contacts
        assert sizes[1] - sizes[0] < sizes[0] / 10


async def test_repeated_puts_are_remembered_for_the_last_few() -> None:
    async with DhtNode(settings=BOUNDLESS) as node, await Rogue.open() as rogue:
        protocol = protocol_of(node)
        token = await rogue.token_of(address_of(node))
        item = Item.immutable("x")
        fields = (item.v, b"", b"", 0, b"", None, 60)
        for n in range(RECENT_PUTS_MAX + 50):
            message_id = n.to_bytes(2, "big") * 10
            request = wire.encode_request(message_id, "put_item", b"", token, fields, pad=False)
            protocol.datagram_received(request, rogue.address)
        assert node.counters["served_put_item"] == RECENT_PUTS_MAX + 50
        assert len(protocol._recent_puts) == RECENT_PUTS_MAX


async def test_who_is_silent_who_is_checked_and_whose_token_is_held() -> None:
    async with DhtNode() as node:
        protocol = protocol_of(node)
        for n in range(SILENT_MAX + 50):
            protocol.settle(Contact(os.urandom(20), (f"10.{n // 250}.{n % 250}.1", 7)), None)
        assert len(protocol._silent) == SILENT_MAX
        for n in range(TOKENS_HELD_MAX + 50):
            protocol._calls._hold_token((f"10.{n // 250}.{n % 250}.1", 7), b"8 bytes.")
        assert len(protocol._calls._tokens_held) == TOKENS_HELD_MAX
        for n in range(CHECKS_MAX + 50):
            protocol._check(Contact(os.urandom(20), ("127.0.0.1", 1 + n)))
        assert len(protocol._checks) == protocol.calls_count == CHECKS_MAX


async def test_what_the_kernel_does_not_take_is_lost_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async with DhtNode() as node, await Rogue.open() as rogue:
        transport = protocol_of(node).transport
        monkeypatch.setattr(type(transport), "get_write_buffer_size", lambda _: SEND_BUFFER_MAX + 1)
        protocol_of(node).begin(rogue.address, "ping").cancel()
        assert node.counters["send_overflow"] == 1
        assert node.counters["sent"] == 0


async def test_a_call_too_many_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dhtex.dht.calls.CALLS_MAX", 3)
    async with DhtNode() as node, await Rogue.open() as silent:
        calls = [protocol_of(node).begin(silent.address, "ping") for _ in range(4)]
        assert [call.done() for call in calls] == [False, False, False, True]
        assert node.counters["calls_overflow"] == 1
        for call in calls:
            call.cancel()
