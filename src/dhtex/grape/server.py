"""The socket of the HTTP API: connections, keep-alive, pipelining, time limits. What to answer is the
handler's business.

One request of a connection is handled at a time and answers keep their order. A handler may answer at once,
without a task, which is what most look-ups do.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

from dhtex.grape.http1 import BadRequest, Parser, Request

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 5
"""An idle connection is closed after so long, as Node's."""

REQUEST_S = 60.0
"""A request must be whole after so long: nobody holds a connection by dripping bytes."""

CONNECTIONS_MAX = 2_000
BACKLOG_MAX = 64 * 1024
"""Bytes of pipelined requests that may wait; reading pauses beyond it."""

SWEEP_S = 1.0


@dataclass(frozen=True, slots=True)
class Response:
    """An answer.

    Attributes:
        status: 200, 301, 302, 413, 500, ...
        body: as it is sent.
        content_type: a header of that name, or none at all, as the original.
    """

    status: int
    body: bytes
    content_type: str | None = None


Handler = Callable[[Request], "Response | Awaitable[Response]"]
"""Answers a request, now or later. Must not raise."""


class Server:
    """All connections of one listening socket."""

    def __init__(self, handler: Handler, body_max: int) -> None:
        self.handler = handler
        self.body_max = body_max
        self.requests = 0
        self.connections: set[Connection] = set()
        self._date_s = -1
        self._date = b""
        self._sweeper: asyncio.TimerHandle | None = None

    def __call__(self) -> Connection:
        """A protocol for a new connection."""
        return Connection(self)

    def start(self) -> None:
        """Begin to close what is idle or too slow."""
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        now_s = time.monotonic()
        for connection in list(self.connections):
            connection.check_time(now_s)
        self.start()

    async def close(self) -> None:
        """Close every connection and wait until each is gone."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        gone = [connection.gone for connection in self.connections]
        for connection in list(self.connections):
            connection.abort()
        if gone:
            await asyncio.wait(gone)

    def date(self) -> bytes:
        """The `Date` of now."""
        now_s = int(time.time())
        if now_s != self._date_s:
            self._date_s = now_s
            self._date = formatdate(now_s, usegmt=True).encode()
        return self._date


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser = Parser(server.body_max)
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Future[None] | None = None
        self._waiting = 0
        self._paused = False
        self._writable = True
        self._ended = False
        self._since_s = time.monotonic()
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # create_server brings this kind
        if len(self._server.connections) >= CONNECTIONS_MAX:
            transport.abort()  # type: ignore[attr-defined]  # as above
        self._server.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._server.connections.discard(self)
        self._transport = None
        if self._task is not None:
            self._task.cancel()
        self.gone.set_result(None)

    def abort(self) -> None:
        """Close without waiting for anything."""
        if self._transport is not None:
            self._transport.abort()

    def pause_writing(self) -> None:
        """The client does not read: take nothing more from it."""
        self._writable = False

    def resume_writing(self) -> None:
        """The client reads again."""
        self._writable = True
        self._advance()

    def check_time(self, now_s: float) -> None:
        """Close the connection when it was idle or a request incomplete for too long."""
        if self._task is not None or self._transport is None:
            return
        limit_s = KEEP_ALIVE_S if self._parser.is_between_requests else REQUEST_S
        if now_s - self._since_s > limit_s:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._parser.is_between_requests:
            self._since_s = time.monotonic()
        self._parser.feed(data)
        self._waiting += len(data)
        self._advance()
        if self._task is not None and self._waiting > BACKLOG_MAX and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The client sends no more: what is whole is answered, half a request is refused."""
        self._ended = True
        self._advance()
        return True  # closing is done here, after the answers

    def _advance(self) -> None:
        """Answer whole requests one after the other until one takes time or none is left."""
        while self._task is None and self._writable and self._transport is not None:
            if self._transport.is_closing():
                return
            try:
                request = self._parser.next_request()
            except BadRequest as error:
                self._refuse(error)
                return
            if self._parser.wants_continue:
                self._parser.wants_continue = False
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if request is None:
                self._waiting = 0
                if self._ended:
                    self._finish()
                return
            self._server.requests += 1
            answer = self._server.handler(request)
            if isinstance(answer, Response):
                self._write(request, answer)
            else:
                self._task = asyncio.ensure_future(self._write_later(request, answer))

    def _finish(self) -> None:
        """The client sends no more and has its answers."""
        if self._parser.is_between_requests and self._transport is not None:
            self._transport.close()
        else:
            self._refuse(BadRequest(400))

    async def _write_later(self, request: Request, answer: Awaitable[Response]) -> None:
        response = await answer
        self._task = None
        self._write(request, response)
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        self._advance()

    def _write(self, request: Request, response: Response) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._since_s = time.monotonic()
        head = b"HTTP/1.1 %d %b\r\nDate: %b\r\n" % (
            response.status,
            HTTPStatus(response.status).phrase.encode(),
            self._server.date(),
        )
        if response.content_type is not None:
            head += b"Content-Type: %b\r\n" % response.content_type.encode()
        head += (
            b"Connection: keep-alive\r\nKeep-Alive: timeout=%d\r\n" % KEEP_ALIVE_S
            if request.keep_alive
            else b"Connection: close\r\n"
        )
        if request.method == "HEAD":
            transport.write(head + b"\r\n")
        elif request.is_1_1:
            transport.write(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(response.body), response.body))
        else:
            transport.write(b"%b\r\n%b" % (head, response.body))
        if not request.keep_alive:
            transport.close()

    def _refuse(self, error: BadRequest) -> None:
        if self._transport is None:
            return
        status = b"%d %b" % (error.status, HTTPStatus(error.status).phrase.encode())
        if error.bare:
            self._transport.write(b"HTTP/1.1 %b\r\nConnection: close\r\n\r\n" % status)
        else:
            self._transport.write(
                b"HTTP/1.1 %b\r\nConnection: close\r\nDate: %b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                % (status, self._server.date())
            )
        self._transport.close()
