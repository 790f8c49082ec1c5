"""The requests of the API and their answers; `docs/reference/http-api.md` lists them all."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from dhtex.errors import DhtexError, NotRunning
from dhtex.gateway.answers import answer, error_answer
from dhtex.gateway.feed import TRADES_KEPT, Feed
from dhtex.gateway.guard import SAFE_METHODS, check_host, check_origin
from dhtex.gateway.metrics import PeerCollector, make_registry, page
from dhtex.gateway.reading import Wait, read_json, read_number, read_order, read_wait
from dhtex.gateway.stream import serve_stream
from dhtex.matching import Cancel, OrderId
from dhtex.peer import Order, Peer, Result
from dhtex.peer.fields import (
    depth_fields,
    order_fields,
    peer_rows,
    plain,
    result_fields,
    status_fields,
    trade_fields,
)
from dhtex.peer.finding import find_own

BODY_BYTES_MAX: Final = 4_096
"""An order with every field and the longest texts takes a quarter of this."""
LEVELS: Final = 10
STREAM_LEVELS: Final = 1_000
LEVELS_MAX: Final = 10_000
ORDERS_SHOWN_MAX: Final = 1_000
HANDLES_KEPT: Final = 1_000
"""Orders placed here whose result can be asked for afterwards."""

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
        self._handles: OrderedDict[OrderId, Order] = OrderedDict()
        self._closing = asyncio.Event()
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
        self._closing.set()
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

    # -- looking ------------------------------------------------------------------------------------------------

    async def status(self, _: web.Request) -> web.Response:
        """`GET /status`."""
        peer = self._peer
        return answer(
            {
                "market": peer.spec.symbol,
                "tick": plain(peer.spec.tick_size),
                "lot": plain(peer.spec.lot_size),
                "address": peer.address,
                **status_fields(peer),
                "quorum": peer.has_quorum,
                "members": peer_rows(peer),
            }
        )

    async def book(self, request: web.Request) -> web.Response:
        """`GET /book?levels=`."""
        levels = read_number(request.query, "levels", LEVELS, 1, LEVELS_MAX)
        book = self._peer.book
        return answer(
            {
                "position": self._peer.position().number,
                "phase": book.phase.name.lower(),
                "last_price": None if book.last_price is None else plain(book.last_price),
                **depth_fields(book.depth(levels)),
            }
        )

    async def trades(self, request: web.Request) -> web.Response:
        """`GET /trades?limit=`, oldest first."""
        limit = read_number(request.query, "limit", 100, 1, TRADES_KEPT)
        return answer({"trades": [trade_fields(trade) for trade in list(self._feed.trades)[-limit:]]})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """`GET /stream?levels=`, a WebSocket."""
        levels = read_number(request.query, "levels", STREAM_LEVELS, 1, LEVELS_MAX)
        return await serve_stream(request, self._peer, self._feed, levels)

    async def metrics(self, _: web.Request) -> web.Response:
        """`GET /metrics`."""
        return web.Response(body=page(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def health(self, _: web.Request) -> web.Response:
        """`GET /healthz`: 200 while orders placed here become final, 503 and why not otherwise."""
        reason = _ailment(self._peer)
        if reason is not None:
            return answer({"healthy": False, "error": "unhealthy", "sentence": reason}, 503)
        return answer({"healthy": True})

    # -- trading ------------------------------------------------------------------------------------------------

    async def orders(self, request: web.Request) -> web.Response:
        """`GET /orders`: own open and pending orders, oldest first."""
        limit = read_number(request.query, "limit", ORDERS_SHOWN_MAX, 1, ORDERS_SHOWN_MAX)
        peer = self._peer
        opened, pending = peer.book.orders_of(peer.node_id), peer.pending()
        return answer(
            {
                "open": [order_fields(order) for order in opened[:limit]],
                "open_count": len(opened),
                "pending": [
                    {"order": str(order), "command": type(command).__name__.lower()}
                    for order, command in pending[:limit]
                ],
                "pending_count": len(pending),
            }
        )

    async def place(self, request: web.Request) -> web.Response:
        """`POST /orders?wait=accepted|final`."""
        wait = read_wait(request.query)
        command = read_order(await read_json(request), self._peer.spec)
        return await self._follow(self._keep(self._peer.submit(command)), wait)

    async def cancel(self, request: web.Request) -> web.Response:
        """`DELETE /orders/{id}?wait=accepted|final`."""
        wait = read_wait(request.query)
        found = find_own(self._peer, request.match_info["id"])
        return await self._follow(self._keep(self._peer.submit(Cancel(found))), wait)

    async def order(self, request: web.Request) -> web.Response:
        """`GET /orders/{id}?wait=final`: its result while it is remembered, else what is open of it."""
        wait = read_wait(request.query)
        text = request.match_info["id"]
        handle = next((order for key, order in self._handles.items() if text in _spellings(key)), None)
        if handle is not None:
            return await self._follow(handle, wait)
        found = find_own(self._peer, text)
        opened = self._peer.book.order(found)
        if opened is None:
            return _pending(found)
        return answer({**order_fields(opened), "status": "open"})

    def _keep(self, order: Order) -> Order:
        self._handles[order.id] = order
        if len(self._handles) > HANDLES_KEPT:
            self._handles.popitem(last=False)
        return order

    async def _follow(self, order: Order, wait: Wait) -> web.Response:
        """202 and pending, or 200 and the result, as soon as the client wants it."""
        await self._unless_closing(order.accepted(), None)
        if not wait.final and not order.is_final:
            return _pending(order.id)
        result: Result | None = await self._unless_closing(order.final(), wait.seconds)
        return _pending(order.id) if result is None else answer(result_fields(result))

    async def _unless_closing(self, work: Awaitable[Any], seconds: float | None) -> Any:
        """The result of *work*, None after *seconds*.

        Raises:
            NotRunning: the gateway closes.
        """
        working = asyncio.ensure_future(work)
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait({working, closing}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            if closing.done():
                raise NotRunning("the gateway closes; an order that was accepted takes effect all the same")
            return None
        finally:
            for task in (working, closing):
                task.cancel()
            await asyncio.gather(working, closing, return_exceptions=True)


def _pending(order: OrderId) -> web.Response:
    return answer({"order": str(order), "status": "pending"}, 202)


def _spellings(order: OrderId) -> tuple[str, str]:
    return str(order), f"{order.node_id.hex()}:{order.n}"


def _ailment(peer: Peer) -> str | None:
    """Why orders placed here would not become final now; None when they would."""
    try:
        if not peer.is_ready:
            return f"the peer is not part of its group now, it is {peer.role.value}; orders are pending"
        if not peer.has_quorum:
            return "no quorum: fewer than a majority of the members are heard; orders are pending"
    except DhtexError as error:  # it failed, or was closed
        return str(error)
    return None
