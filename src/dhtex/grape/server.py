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

from dhtex.grape.http1 import BadRequest, Parser, Request

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 5
"""A connection that had an answer may be idle for so long, as Node's."""

KEEP_ALIVE_SLACK_S = 1.0
"""It is closed so much later: a client counts from when the answer arrived."""

HEAD_S = 60.0
"""A first request must begin, and the head of any must be whole, after so long, as Node's: nobody holds a connection
by dripping bytes.
"""

REQUEST_S = 300.0
"""A request must be whole after so long, as Node's."""

LINGER_S = 2.0
"""A client that still sends has so long to read a last answer."""

REASONS = {
    200: b"OK",
    301: b"Moved Permanently",
    302: b"Found",
    400: b"Bad Request",
    408: b"Request Timeout",
    413: b"Payload Too Large",
    417: b"Expectation Failed",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    503: b"Service Unavailable",
}
"""Node's words; Python's for 413 change with its version."""

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
        self._answered = False
        self._lingers = False
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
        if self._lingers or not self._writable:
            if now_s - self._since_s > (LINGER_S if self._lingers else REQUEST_S):
                self._transport.abort()
            return
        is_idle = self._answered and self._parser.is_between_requests
        busy_s = REQUEST_S if self._parser.is_in_body else HEAD_S
        limit_s = KEEP_ALIVE_S + KEEP_ALIVE_SLACK_S if is_idle else busy_s
        if now_s - self._since_s <= limit_s:
            return
        if is_idle:
            self._transport.close()
        else:
            self._refuse(BadRequest(408))

    def data_received(self, data: bytes) -> None:
        if self._lingers:
            return
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
        if self._lingers and self._transport is not None:
            self._transport.close()
        self._advance()
        return True  # closing is done here, after the answers

    def _advance(self) -> None:
        """Answer whole requests one after the other until one takes time or none is left."""
        while self._task is None and self._writable and self._transport is not None:
            if self._lingers or self._transport.is_closing():
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
        self._answered = True
        head = b"HTTP/1.1 %d %b\r\nDate: %b\r\n" % (
            response.status,
            REASONS[response.status],
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
        if request.too_large and not request.keep_alive:
            self._linger()
        elif not request.keep_alive:
            transport.close()

    def _linger(self) -> None:
        """Nothing follows, the client closes: closing over bytes that were not read would reset the connection, and
        the client might lose the answer. Source: RFC 9112, 9.6.
        """
        if self._transport is None:
            return
        if self._ended:
            self._transport.close()
            return
        self._lingers = True
        self._since_s = time.monotonic()
        self._transport.write_eof()

    def _refuse(self, error: BadRequest) -> None:
        if self._transport is None:
            return
        if not self._parser.is_discarding:  # that request has its answer
            self._transport.write(self._refusal(error))
        self._linger()

    def _refusal(self, error: BadRequest) -> bytes:
        line = b"HTTP/1.1 %d %b\r\n" % (error.status, REASONS[error.status])
        close = b"Connection: close\r\n"
        if error.bare:
            return line + close + b"\r\n"
        date = b"Date: %b\r\n" % self._server.date()
        head = line + (close + date if error.status == 400 else date + close)  # Node's order
        return head + (b"\r\n" if error.to_head else b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
