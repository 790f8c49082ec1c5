"""The class a program embeds: a peer's HTTP server, from `async with` to its end."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable
from typing import Final, Self

from aiohttp import web

from dhtex.errors import NetworkError, NotRunning, PortInUse, UsageError
from dhtex.gateway.api import Api
from dhtex.gateway.feed import Feed
from dhtex.gateway.guard import check_listener
from dhtex.peer import Peer

PORT_MAX: Final = 65_535
SHUTDOWN_S: Final = 6.0
"""A little longer than a client of the stream may take for its last words; whoever still hangs on is cut off."""


class Gateway:
    """How others reach a peer: HTTP, a WebSocket, metrics. Use it inside the peer's `async with`.

    It asks nobody who they are: whoever reaches the port can trade as this peer. So it listens on loopback unless it
    is told that it may be public, and answers no web page but its own (see `dhtex.gateway.guard`).
    """

    def __init__(
        self,
        peer: Peer,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        public: bool = False,
        hosts: Iterable[str] = (),
    ) -> None:
        """A gateway that does not listen yet.

        Args:
            peer: whose; running when the gateway is entered.
            host: an address of this machine, or `localhost`.
            port: TCP; 0 lets the system choose.
            public: it may listen beyond this machine, where everybody who reaches it can trade as this peer.
            hosts: names under which clients reach it. Addresses and `localhost` are always answered, another name
                never, because a web page could bring it along (DNS rebinding).
        Raises:
            UsageError: *host* is not loopback and *public* is false, or *port* is no port.
        """
        check_listener(host, public=public)
        if not 0 <= port <= PORT_MAX:
            raise UsageError(f"{port} is not a port; give 1 to {PORT_MAX}, or 0 for one from the system")
        self._host = host
        self._port = port
        self._feed = Feed(peer)
        self._api = Api(peer, self._feed, frozenset(name.lower() for name in hosts))
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            PortInUse: another program has the port.
            NetworkError: *host* is no address of this machine.
            UsageError: it listens already.
        """
        if self._runner is not None:
            raise UsageError("a gateway runs once; make another one")
        self._runner = runner = web.AppRunner(
            self._api.application(), access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_S
        )
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(runner.cleanup)
            await runner.setup()
            try:
                await web.TCPSite(runner, self._host, self._port).start()
            except OSError as error:
                raise _cannot_listen(self._host, self._port, error) from error
            self._feed.start()
            stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Tell the readers of the stream, answer whoever waits, close everything."""
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def address(self) -> str:
        """`host:port` where it listens.

        Raises:
            NotRunning: outside `async with`.
        """
        if self._runner is None or not self._runner.addresses:
            raise NotRunning("the gateway listens inside `async with` only")
        host, port = self._runner.addresses[0][:2]
        return _format(host, port)

    @property
    def url(self) -> str:
        """`http://host:port`. Raises as `address`."""
        return f"http://{self.address}"

    def __repr__(self) -> str:
        listens = self._runner is not None and bool(self._runner.addresses)
        return f"<Gateway {self.url if listens else 'not listening'}>"


def _cannot_listen(host: str, port: int, error: OSError) -> NetworkError:
    where = _format(host, port)
    if error.errno == errno.EADDRINUSE:
        return PortInUse(f"another program listens on TCP {where}; choose another port, or stop it")
    return NetworkError(f"cannot listen on TCP {where}: {error.strerror or error}")


def _format(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
