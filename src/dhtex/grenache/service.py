"""Serving a Grenache HTTP service."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from dhtex.errors import MalformedMessage, NetworkError, NotRunning, PortInUse
from dhtex.grenache.envelope import BODY_MAX, COMPRESS_HEADER, pack, unpack
from dhtex.grenache.errors import ServiceError
from dhtex.grenache.link import Link, read_whole

log = logging.getLogger(__name__)

Handler = Callable[[str, Any], Awaitable[Any]]
"""Takes the name that was called and the payload; returns a JSON value, or raises `ServiceError`."""

ANNOUNCE_S = 30.0
"""Pause between announcements: a quarter of the two minutes a Grape keeps one."""

BROWSER_HEADERS = frozenset({"Origin", "Sec-Fetch-Site"})
"""What browsers add to a request of a web page. A service asks nobody who they are, and a page of any stranger reaches
loopback through the browser that shows it; programs send none of these."""


class GrenacheService:
    """Serves on one port and keeps it announced under one or several names. `async with`."""

    def __init__(
        self,
        grape: str,
        names: str | list[str],
        handler: Handler,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        announce_s: float = ANNOUNCE_S,
    ) -> None:
        """A service that is not running yet.

        Args:
            grape: the Grape's HTTP API; callers find the service at the Grape's host.
            names: what to be found as.
            handler: answers the calls.
            port: TCP port, 0 for one from the system.
            host: address to listen on.
            announce_s: pause between announcements, below the Grape's `--dpa`.
        """
        self._link = Link(grape)
        self._names = [names] if isinstance(names, str) else list(names)
        self._handler = handler
        self._port = port
        self._host = host
        self._announce_s = announce_s
        self._runner: web.ServerRunner | None = None
        self._announcing: list[asyncio.Task[None]] = []

    @property
    def port(self) -> int:
        """Where it listens."""
        if self._runner is None or not self._runner.addresses:
            raise NotRunning("the service is not running; use it inside its `async with`")
        port: int = self._runner.addresses[0][1]
        return port

    async def __aenter__(self) -> Self:
        """Listen and announce; the first announcement is made before this returns.

        Raises:
            PortInUse: another program has the port.
            NetworkError: the host is no address of this machine.
            ServiceUnreachable, GrapeError: the Grape could not be told.
        """
        async with contextlib.AsyncExitStack() as stack:
            runner = web.ServerRunner(web.Server(self._serve), shutdown_timeout=1.0)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            try:
                await web.TCPSite(runner, self._host, self._port).start()
            except OSError as error:
                kind = PortInUse if error.errno == errno.EADDRINUSE else NetworkError
                raise kind(f"cannot listen on TCP {self._host}:{self._port}: {error.strerror}") from error
            self._runner = runner
            await stack.enter_async_context(self._link)
            for name in self._names:
                await self._link.announce(name, self.port)
            self._announcing = [asyncio.create_task(self._keep_announcing(name)) for name in self._names]
            stack.pop_all()
        return self

    async def _keep_announcing(self, name: str) -> None:
        await asyncio.sleep(self._announce_s)
        await self._link.keep_announcing(name, self.port, self._announce_s)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._announcing:
            task.cancel()
        await asyncio.gather(*self._announcing, return_exceptions=True)
        runner, self._runner = self._runner, None
        if runner is None:
            return
        port: int = runner.addresses[0][1]
        for name in self._names:
            with contextlib.suppress(
                Exception
            ):  # the original cannot; then the announcement ends with its age
                await self._link.unannounce(name, port)
        await self._link.__aexit__(kind, error, traceback)
        await runner.cleanup()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        if not BROWSER_HEADERS.isdisjoint(request.headers):
            return web.Response(status=403, body=b'[null,"ERR_ORIGIN",null]')
        compressed = "gzip" in request.headers.get(COMPRESS_HEADER, "")
        body = await read_whole(request.content, BODY_MAX)
        if body is None:
            return web.Response(status=413, body=b'[null,"ERR_PAYLOAD_SIZE",null]')
        try:
            rid, name, payload = unpack(body, compressed=compressed)
        except MalformedMessage as error:
            log.debug("refused a request: %s", error)
            return web.Response(status=500, body=b'[null,"ERR_REQUEST_PARSE",null]')
        failure: str | None = None
        result: Any = None
        try:
            result = await self._handler(str(name), payload)
        except ServiceError as error:
            failure = str(error)
        except Exception:
            log.exception("the handler of %s failed", name)
            failure = "ERR_INTERNAL"
        try:
            answer = pack(rid, failure, result, compress=compressed)
        except (TypeError, ValueError):
            log.exception("the handler of %s returned what is no JSON value", name)
            answer = pack(rid, "ERR_INTERNAL", None, compress=compressed)
        return web.Response(body=answer)
