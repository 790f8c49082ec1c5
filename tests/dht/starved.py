"""A machine too slow for what it has to do: whole nodes in virtual time, one datagram handled after the other."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from dhtex.dht.virtual import VirtualLoop

BUFFER_DATAGRAMS = 200
"""What the kernel keeps for one socket; more are lost."""


class StarvedTransport(asyncio.DatagramTransport):
    """One node's socket. Its port comes from the system, its datagrams stay in the loop."""

    def __init__(
        self, loop: StarvedLoop, listener: socket.socket, protocol: asyncio.DatagramProtocol
    ) -> None:
        super().__init__()
        self._loop = loop
        self._listener = listener
        self.address: tuple[str, int] = listener.getsockname()
        self.protocol = protocol
        self.waiting = 0
        self.closing = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.address if name == "sockname" else default

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            del self._loop.sockets[self.address]
            self._listener.close()
            self._loop.call_soon(self.protocol.connection_lost, None)

    def sendto(self, data: Any, addr: Any = None) -> None:
        self._loop.carry(data, self.address, addr)


class StarvedLoop(VirtualLoop):
    """Handling a datagram takes `cost_s` of the one processor; what arrives meanwhile waits, or is lost."""

    cost_s = 0.0007

    def __init__(self) -> None:
        super().__init__()
        self.sockets: dict[tuple[str, int], StarvedTransport] = {}
        self._free_s = 0.0

    async def create_datagram_endpoint(
        self, protocol_factory: Callable[[], Any], *_: Any, **options: Any
    ) -> Any:
        protocol = protocol_factory()
        transport = StarvedTransport(self, options["sock"], protocol)
        self.sockets[transport.address] = transport
        protocol.connection_made(transport)
        return transport, protocol

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_DGRAM, 0, "", (host, port))]

    def carry(self, data: bytes, sender: tuple[str, int], to: tuple[str, int]) -> None:
        transport = self.sockets.get(to)
        if transport is None or transport.waiting == BUFFER_DATAGRAMS:
            return
        transport.waiting += 1
        self._free_s = max(self._free_s, self.time()) + self.cost_s
        self.call_at(self._free_s, self._arrive, transport, data, sender)

    def _arrive(self, transport: StarvedTransport, data: bytes, sender: tuple[str, int]) -> None:
        transport.waiting -= 1
        if not transport.closing:
            transport.protocol.datagram_received(data, sender)
