"""The HTTP API: its routes, and the status of each answer. `docs/reference/http-api.md` lists them all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from dhtex.gateway.answers import answer, error_answer
from dhtex.gateway.desk import LEVELS_MAX, Desk, Fields
from dhtex.gateway.feed import Feed
from dhtex.gateway.guard import SAFE_METHODS, check_host, check_origin
from dhtex.gateway.metrics import PeerCollector, make_registry, page
from dhtex.gateway.reading import read_json, read_number, read_wait
from dhtex.gateway.stream import serve_stream
from dhtex.peer import Peer

BODY_BYTES_MAX: Final = 4_096
"""An order with every field and the longest texts takes a quarter of this."""
STREAM_LEVELS: Final = 1_000

OPERATORS: Final = frozenset({"/metrics", "/healthz"})
"""Asked by machines of the operator under whatever name they know; they tell no orders."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Api:
    """Answers requests for one peer."""

    def __init__(self, peer: Peer, feed: Feed, hosts: frozenset[str]) -> None:
        """Args:
        hosts: names under which it may be reached, besides addresses and `localhost`.
        """
        self._peer = peer
        self._feed = feed
        self._hosts = hosts
        self._desk = Desk(peer, feed)
        self._collector = PeerCollector(peer, feed)
        self._registry = make_registry(self._collector)

    def application(self) -> web.Application:
        """The routes, behind the guard."""
        application = web.Application(middlewares=[self._guarded], client_max_size=BODY_BYTES_MAX)
        application.add_routes(
            [
                web.get("/status", self.status),
                web.get("/book", self.book),
                web.get("/trades", self.trades),
                web.get("/orders", self.orders),
                web.post("/orders", self.place),
                web.get("/orders/{id}", self.order),
                web.delete("/orders/{id}", self.cancel),
                web.get("/stream", self.stream),
                web.get("/metrics", self.metrics),
                web.get("/healthz", self.health),
            ]
        )
        application.on_shutdown.append(self._shut_down)
        return application

    async def _shut_down(self, _: web.Application) -> None:
        """Let go of everybody who waits."""
        self._desk.close()
        await self._feed.close()

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what a browser was tricked into; turn every error into JSON; count."""
        response: web.StreamResponse
        try:
            if request.path not in OPERATORS:
                check_host(request.headers.get("Host", ""), self._hosts)
            if request.method not in SAFE_METHODS or request.path == "/stream":
                check_origin(request.headers)
            response = await handler(request)
        except Exception as error:  # whatever it is, the client gets an answer
            response = error_answer(error)
        resource = request.match_info.route.resource
        path = resource.canonical if resource is not None else "other"  # never the client's text: bounded
        method = request.method if resource is not None else "other"
        self._collector.requests[method, path, str(response.status)] += 1
        return response

    async def status(self, _: web.Request) -> web.Response:
        """`GET /status`."""
        return answer(self._desk.status())

    async def book(self, request: web.Request) -> web.Response:
        """`GET /book?levels=`."""
        return answer(self._desk.book(request.query))

    async def trades(self, request: web.Request) -> web.Response:
        """`GET /trades?limit=`, oldest first."""
        return answer(self._desk.trades(request.query))

    async def orders(self, request: web.Request) -> web.Response:
        """`GET /orders?limit=`: own open and pending orders, oldest first."""
        return answer(self._desk.orders(request.query))

    async def place(self, request: web.Request) -> web.Response:
        """`POST /orders?wait=accepted|final`."""
        wait = read_wait(request.query)
        return _outcome(await self._desk.place(await read_json(request), wait))

    async def cancel(self, request: web.Request) -> web.Response:
        """`DELETE /orders/{id}?wait=accepted|final`."""
        return _outcome(await self._desk.cancel(request.match_info["id"], read_wait(request.query)))

    async def order(self, request: web.Request) -> web.Response:
        """`GET /orders/{id}?wait=final`: its result while it is remembered, else what is open of it."""
        return _outcome(await self._desk.order(request.match_info["id"], read_wait(request.query)))

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """`GET /stream?levels=`, a WebSocket."""
        levels = read_number(request.query, "levels", STREAM_LEVELS, 1, LEVELS_MAX)
        return await serve_stream(request, self._peer, self._feed, levels)

    async def metrics(self, _: web.Request) -> web.Response:
        """`GET /metrics`."""
        return web.Response(body=page(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def health(self, _: web.Request) -> web.Response:
        """`GET /healthz`: 200 while orders placed here become final, 503 and why not otherwise."""
        reason = self._desk.ailment()
        if reason is not None:
            return answer({"healthy": False, "error": "unhealthy", "sentence": reason}, 503)
        return answer({"healthy": True})


def _outcome(fields: Fields) -> web.Response:
    """What came of an order: 202 while it is pending."""
    return answer(fields, 202 if fields["status"] == "pending" else 200)
