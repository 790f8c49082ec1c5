"""A Grape: a DHT node and, unless it is told otherwise, the HTTP API that Grenache clients speak."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from dhtex.dht import Address, DhtNode, EventStream, Item, Settings, key_of
from dhtex.dht.addresses import format_address, is_loopback
from dhtex.dht.settings import DEFAULTS
from dhtex.errors import NotRunning, UsageError
from dhtex.grape.api import Api
from dhtex.grape.listening import BACKLOG, listen
from dhtex.grape.metrics import Pages
from dhtex.grape.server import Server

BODY_MAX = 8_192
"""Bytes of a request body, the original's documented `--check_maxPayloadSize`."""

STATE_NAME = "grape.sqlite"


class Grape:
    """Discovery for services, embeddable: `async with Grape(...) as grape`. Several may live in one event
    loop.
    """

    def __init__(
        self,
        *,
        dht_port: int = 0,
        http_port: int | None = 0,
        bootstrap: Iterable[str] = (),
        host: str = "127.0.0.1",
        http_host: str | None = None,
        http_public: bool = False,
        node_id: bytes | None = None,
        data_dir: Path | None = None,
        settings: Settings = DEFAULTS,
        body_max: int = BODY_MAX,
    ) -> None:
        """A Grape that is not running yet.

        Args:
            dht_port: UDP port of the DHT, 0 for one from the system.
            http_port: TCP port of the HTTP API, 0 for one from the system, None for no API.
            bootstrap: "host:port" of other Grapes; they may be down and are tried until they answer.
            host: address to listen on; `"::"` takes IPv4 and IPv6.
            http_host: address of the HTTP API, *host* by default.
            http_public: the HTTP API, which asks nobody who they are, may listen beyond this machine.
            node_id: 20 bytes; random by default, or what *data_dir* remembers.
            data_dir: folder to keep the id, contacts and items in across restarts; None keeps nothing.
            settings: limits and times of the DHT.
            body_max: bytes of a request body.
        Raises:
            UsageError: an argument makes no sense, or the API would be public without *http_public*.
        """
        self._http_host = host if http_host is None else http_host
        if http_port is not None and not http_public and not is_loopback(self._http_host):
            raise UsageError(
                f"the HTTP API asks nobody who they are and would listen on {self._http_host}; "
                "give it a loopback address (--api-host 127.0.0.1), or say it may be public (--api-public)"
            )
        if http_port is not None and not 0 <= http_port <= 65_535:
            raise UsageError(f"{http_port} is not a port; give 1 to 65535, 0 for any, or None for no API")
        if body_max < 1:
            raise UsageError("the limit of a request body is at least one byte")
        self._http_port = http_port
        self._body_max = body_max
        self._node = DhtNode(
            port=dht_port,
            host=host,
            bootstrap=bootstrap,
            node_id=node_id,
            settings=settings,
            state=None if data_dir is None else data_dir / STATE_NAME,
        )
        self._server: Server | None = None
        self._listener: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Listen, and look for the other Grapes in the background.

        Raises:
            PortInUse: another program has a port.
            NetworkError: an address is not one of this machine's.
            UsageError: it runs already.
        """
        await self._node.__aenter__()
        try:
            if self._http_port is not None:
                await self._listen(self._http_host, self._http_port)
        except BaseException:
            await self._node.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        listener, self._listener = self._listener, None
        server, self._server = self._server, None
        if listener is not None and server is not None:
            listener.close()
            await server.close()
            await listener.wait_closed()
        await self._node.__aexit__(kind, error, traceback)

    async def _listen(self, host: str, port: int) -> None:
        pages = Pages(self._node)
        api = Api(self._node, {"/metrics": pages.metrics, "/healthz": pages.health})
        pages.watch(api)
        server = Server(api.handle, self._body_max)
        self._listener = await asyncio.get_running_loop().create_server(
            server, sock=listen(host, port), backlog=BACKLOG
        )
        server.start()
        self._server = server

    # --- what it is ---

    @property
    def node_id(self) -> bytes:
        """20 bytes."""
        return self._node.node_id

    @property
    def dht_address(self) -> str:
        """Where the DHT listens: `"127.0.0.1:20001"`."""
        return self._node.dht_address

    @property
    def http_address(self) -> str | None:
        """Where the HTTP API listens: `"127.0.0.1:30001"`; None when there is none.

        Raises:
            NotRunning: outside `async with`.
        """
        if self._http_port is None:
            return None
        if self._listener is None:
            raise NotRunning("the Grape is not running; use it inside its `async with`")
        host, port = self._listener.sockets[0].getsockname()[:2]
        return format_address((host, port))

    @property
    def node(self) -> DhtNode:
        """The DHT node, for what the Grape itself does not offer: contacts, counters."""
        return self._node

    @property
    def is_ready(self) -> bool:
        """True once another node was found, or at once when no bootstrap was given."""
        return self._node.is_ready

    async def ready(self) -> None:
        """Wait until `is_ready`."""
        await self._node.ready()

    def events(self) -> EventStream:
        """What happens from now on, as an async iterator of `DhtEvent`."""
        return self._node.events()

    # --- what it does ---

    async def announce(self, name: str | bytes, port: int) -> int:
        """Say that service *name* is at this machine's address and *port*, until `unannounce` or the end of
        the Grape.

        Announced again at half its age by itself.

        Args:
            name: any text or bytes.
            port: 1 to 65535, or 0 for the DHT port.
        Returns:
            How many nodes keep it, this one included.
        """
        return await self._node.announce(key_of(name), port)

    async def unannounce(self, name: str | bytes, port: int) -> bool:
        """Take an announcement back across the network; true when anybody had kept it."""
        return await self._node.unannounce(key_of(name), port)

    async def lookup(self, name: str | bytes) -> list[Address]:
        """Addresses of service *name*, at most 100, in random order."""
        return await self._node.lookup(key_of(name))

    async def put(self, item: Item, *, cas: int | None = None) -> bytes:
        """Store an item in the network and return its key.

        Args:
            item: `Item.immutable(value)`, or `Item.signed_by(identity, value, seq=...)`.
            cas: store a mutable item only in place of the version with this seq.
        Raises:
            RpcError: code 301, *cas* names another version than the latest; 302, the latest is as late as
                this. Putting the latest itself again is refused so too, but renews its life.
            UsageError: the item does not prove itself.
            Unreachable: no node took it.
        """
        await self._node.put(item, cas=cas)
        return item.key

    async def get(self, key: bytes) -> Item | None:
        """The latest valid item of a 20-byte *key*, or None when nobody has it."""
        return await self._node.get(key)
