"""What a peer answers to those who reach it, whatever they came by: fields for JSON, or an error with a word."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Mapping
from typing import Any, Final

from dhtex.errors import DhtexError, NotRunning
from dhtex.gateway.feed import TRADES_KEPT, Feed
from dhtex.gateway.reading import Wait, read_number, read_order
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

LEVELS: Final = 10
LEVELS_MAX: Final = 10_000
ORDERS_SHOWN_MAX: Final = 1_000
HANDLES_KEPT: Final = 1_000
"""Orders placed here whose result can be asked for afterwards."""

Fields = dict[str, Any]
Question = Mapping[str, Any]
"""What is asked, by name: the query of an HTTP request, or the payload of a call."""


class Desk:
    """Answers questions about one peer and hands it orders. Everything raises `Refusal` or `DhtexError`."""

    def __init__(self, peer: Peer, feed: Feed) -> None:
        self._peer = peer
        self._feed = feed
        self._handles: OrderedDict[OrderId, Order] = OrderedDict()
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Let go of everybody who waits."""
        self._closing.set()

    # -- looking ------------------------------------------------------------------------------------------------

    def status(self) -> Fields:
        """What the peer is and how far."""
        peer = self._peer
        return {
            "market": peer.spec.symbol,
            "tick": plain(peer.spec.tick_size),
            "lot": plain(peer.spec.lot_size),
            "address": peer.address,
            **status_fields(peer),
            "quorum": peer.has_quorum,
            "members": peer_rows(peer),
        }

    def book(self, question: Question) -> Fields:
        """The best `levels` of each side."""
        levels = read_number(question, "levels", LEVELS, 1, LEVELS_MAX)
        book = self._peer.book
        return {
            "position": self._peer.position().number,
            "phase": book.phase.name.lower(),
            "last_price": None if book.last_price is None else plain(book.last_price),
            **depth_fields(book.depth(levels)),
        }

    def trades(self, question: Question) -> Fields:
        """The last trades, at most `limit`, oldest first."""
        limit = read_number(question, "limit", 100, 1, TRADES_KEPT)
        return {"trades": [trade_fields(trade) for trade in list(self._feed.trades)[-limit:]]}

    def orders(self, question: Question) -> Fields:
        """Own open and pending orders, at most `limit` of each, oldest first."""
        limit = read_number(question, "limit", ORDERS_SHOWN_MAX, 1, ORDERS_SHOWN_MAX)
        peer = self._peer
        opened, pending = peer.book.orders_of(peer.node_id), peer.pending()
        return {
            "open": [order_fields(order) for order in opened[:limit]],
            "open_count": len(opened),
            "pending": [
                {"order": str(order), "command": type(command).__name__.lower()}
                for order, command in pending[:limit]
            ],
            "pending_count": len(pending),
        }

    def ailment(self) -> str | None:
        """Why orders placed here would not become final now; None when they would."""
        peer = self._peer
        try:
            if not peer.is_ready:
                return f"the peer is not part of its group now, it is {peer.role.value}; orders are pending"
            if not peer.has_quorum:
                return "no quorum: fewer than a majority of the members are heard; orders are pending"
        except DhtexError as error:  # it failed, or was closed
            return str(error)
        return None

    # -- trading ------------------------------------------------------------------------------------------------

    async def place(self, body: Mapping[str, Any], wait: Wait) -> Fields:
        """Place the order that *body* describes."""
        command = read_order(body, self._peer.spec)
        return await self._follow(self._keep(self._peer.submit(command)), wait)

    async def cancel(self, order: str, wait: Wait) -> Fields:
        """Cancel an own order."""
        found = find_own(self._peer, order)
        return await self._follow(self._keep(self._peer.submit(Cancel(found))), wait)

    async def order(self, order: str, wait: Wait) -> Fields:
        """The result of an order while it is remembered; else what is open of it."""
        handle = next((known for key, known in self._handles.items() if order in _spellings(key)), None)
        if handle is not None:
            return await self._follow(handle, wait)
        found = find_own(self._peer, order)
        opened = self._peer.book.order(found)
        return _pending(found) if opened is None else {**order_fields(opened), "status": "open"}

    def _keep(self, order: Order) -> Order:
        self._handles[order.id] = order
        if len(self._handles) > HANDLES_KEPT:
            self._handles.popitem(last=False)
        return order

    async def _follow(self, order: Order, wait: Wait) -> Fields:
        """The result, or that it is pending, as soon as the client wants it."""
        await self._unless_closing(order.accepted(), None)
        if not wait.final and not order.is_final:
            return _pending(order.id)
        result: Result | None = await self._unless_closing(order.final(), wait.seconds)
        return _pending(order.id) if result is None else result_fields(result)

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


def _pending(order: OrderId) -> Fields:
    return {"order": str(order), "status": "pending"}


def _spellings(order: OrderId) -> tuple[str, str]:
    return str(order), f"{order.node_id.hex()}:{order.n}"
