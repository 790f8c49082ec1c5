"""What all markets of one participant share: identity, UDP socket, and a place in the DHT."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Sequence
from typing import Self

from dhtex.dht import DhtClient, Discovery
from dhtex.dht.addresses import checked, format_address, split_host_port
from dhtex.errors import NotRunning, UsageError
from dhtex.identity import Identity
from dhtex.transport import Address, Endpoint


class Node:
    """One participant on the network; several `Peer`s, one a market, may run on it. Use it with `async with`.

    A `Peer` makes one of its own unless it is given one.
    """

    def __init__(
        self,
        identity: Identity | None = None,
        *,
        bootstrap: Sequence[str] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        advertise: str | None = None,
        max_datagram: int = 1200,
    ) -> None:
        """A node that does not listen yet.

        Args:
            identity: a fresh one by default.
            bootstrap: `host:port` of Grapes; none means that nobody is looked up.
            host: where to listen; loopback unless told otherwise. On all addresses (`0.0.0.0`, `::`), *advertise*
                says which of them others should use.
            port: UDP; 0 lets the system choose.
            advertise: `host:port` that others should use, when that differs, as behind a NAT.
            max_datagram: bytes; more than 1,200 is for paths known to carry it, such as a LAN.
        Raises:
            UsageError: an address is not `host:port`, the advertised one has a name for a host, or is missing.
        """
        self.identity = identity if identity is not None else Identity.generate()
        self.bootstrap = checked(bootstrap, "bootstrap")
        advertised = _advertised(advertise) if advertise else None
        if advertised is None and _is_unspecified(host):
            raise UsageError(
                f"{host} listens everywhere; advertise the address others should use, as in 203.0.113.7:{port or 41000}"
            )
        self.endpoint = Endpoint(self.identity, host, port, advertise=advertised, max_datagram=max_datagram)
        self._host = host
        self._discovery: Discovery | None = None
        self._stack = contextlib.AsyncExitStack()
        self._running = False

    @property
    def discovery(self) -> Discovery | None:
        """The DHT client, or None when there is no bootstrap."""
        return self._discovery

    @property
    def is_running(self) -> bool:
        """Inside `async with`."""
        return self._running

    @property
    def address(self) -> Address:
        """Where others send: numeric host and port.

        Raises:
            NotRunning: outside `async with`.
        """
        if not self._running:
            raise NotRunning("the node listens inside `async with` only")
        return self.endpoint.advertised

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            PortInUse: another program has the port.
            NetworkError: the host is no address of this machine.
        """
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.endpoint)
            if self.bootstrap:
                client = DhtClient(host=self._host, node_id=self.identity.node_id, bootstrap=self.bootstrap)
                self._discovery = await stack.enter_async_context(client)
            self._stack = stack.pop_all()
        self._running = True
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close everything. Peers on the node are closed before it."""
        self._running = False
        await self._stack.aclose()

    def __repr__(self) -> str:
        where = format_address(self.endpoint.advertised) if self._running else "not listening"
        return f"<Node {self.identity!r} {where}>"


def _is_unspecified(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _advertised(text: str) -> Address:
    """The address to give to others, who take numeric ones only: a look-up for each datagram would be in their way."""
    host, port = split_host_port(text)
    try:
        numeric = not ipaddress.ip_address(host).is_unspecified
    except ValueError:
        numeric = False
    if not numeric:
        raise UsageError(
            f"others cannot send to {host!r}; advertise a numeric address, as in 203.0.113.7:{port}"
        )
    return host, port
