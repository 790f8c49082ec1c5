"""A node that follows no rules: a raw socket that sends what a test says and records what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgpack

from dhtex.dht import wire
from dhtex.dht.face import Address

Answerer = Callable[[wire.Request, Address], bytes | list[bytes] | None]


class Rogue(asyncio.DatagramProtocol):
    """One socket. With an *answerer* it answers requests; without one it is silent."""

    def __init__(self, answerer: Answerer | None = None, node_id: bytes = b"") -> None:
        self.node_id = node_id
        self.answerer = answerer
        self.received: asyncio.Queue[bytes] = asyncio.Queue()
        self.requests: list[wire.Request] = []

    @classmethod
    async def open(cls, answerer: Answerer | None = None, node_id: bytes = bytes(20)) -> Rogue:
        loop = asyncio.get_running_loop()
        _, rogue = await loop.create_datagram_endpoint(
            lambda: cls(answerer, node_id), local_addr=("127.0.0.1", 0)
        )
        return rogue

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.DatagramTransport = transport  # type: ignore[assignment]  # it is one
        self.address: Address = transport.get_extra_info("sockname")
        self.gone = asyncio.get_running_loop().create_future()

    def connection_lost(self, error: Exception | None) -> None:
        self.gone.set_result(None)

    async def __aenter__(self) -> Rogue:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.transport.close()
        await self.gone

    @property
    def name(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self.received.put_nowait(data)
        if data[:1] != b"\x00" or self.answerer is None:
            return
        request = wire.decode(data)
        assert isinstance(request, wire.Request)
        self.requests.append(request)
        answers = self.answerer(request, addr)
        for answer in answers if isinstance(answers, list) else [answers] if answers else []:
            self.send(answer, addr)

    def send(self, data: bytes, to: Address) -> None:
        self.transport.sendto(data, to)

    async def next(self) -> bytes:
        return await asyncio.wait_for(self.received.get(), 5)

    async def ask(
        self,
        to: Address,
        method: str,
        *args: Any,
        token: bytes = b"",
        pad: bool = True,
        sender: bytes | None = None,
    ) -> wire.Message:
        """Send a proper request and wait for the answer to it."""
        message_id = bytes(range(20))
        sender = self.node_id if sender is None else sender
        self.send(wire.encode_request(message_id, method, sender, token, args, pad=pad), to)
        return wire.decode(await self.next())

    async def token_of(self, to: Address) -> bytes:
        """The token *to* hands to this socket."""
        answer = await self.ask(to, "ping", sender=b"")
        assert isinstance(answer, wire.Reply)
        return answer.token


def reply(request: wire.Request, result: Any, *, sender: bytes, token: bytes = b"t" * 8) -> bytes:
    """A reply whose result may be anything msgpack can say."""
    packed: bytes = msgpack.packb([sender, token, result])
    return b"\x01" + request.message_id + packed
