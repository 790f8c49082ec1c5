"""A peer as a Grenache service: programs that know nothing of dhtex look up a name and trade.

One call carries one question, `{"action": "book", "levels": 5}`; the answers are those of the HTTP API.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Self

from dhtex.errors import DhtexError
from dhtex.gateway.answers import Refusal, refusal_of
from dhtex.gateway.desk import Desk, Fields, Question
from dhtex.gateway.feed import Feed
from dhtex.gateway.guard import check_listener
from dhtex.gateway.reading import read_wait
from dhtex.grenache import GrenacheService, ServiceError
from dhtex.identity import short_id
from dhtex.peer import Peer

PREFIX: Final = "dhtex"


class GrenacheGateway:
    """Serves a peer to Grenache clients. Use it inside the peer's `async with`.

    Whoever reaches the port can trade as this peer, as with `Gateway`; callers find it at the host of the Grape.

    Attributes:
        names: what it is announced as: `dhtex:BTC-USD`, which any peer of the market answers, and
            `dhtex:BTC-USD:c0ffee12`, which only this one does. Who places an order must ask the same peer to cancel it.
    """

    def __init__(
        self, peer: Peer, grape: str, host: str = "127.0.0.1", port: int = 0, *, public: bool = False
    ) -> None:
        """A gateway that is not announced yet.

        Args:
            peer: whose; running when the gateway is entered.
            grape: the HTTP API of a Grape on this machine, `http://127.0.0.1:30001`; the original's will do.
            host: address to listen on.
            port: TCP; 0 lets the system choose.
            public: it may listen beyond this machine, where everybody who reaches it can trade as this peer.
        Raises:
            UsageError: *host* is not loopback, and *public* is false.
        """
        check_listener(host, public=public)
        market = f"{PREFIX}:{peer.spec.symbol}"
        self.names = (market, f"{market}:{short_id(peer.node_id)}")
        self._feed = Feed(peer)
        self._desk = Desk(peer, self._feed)
        self._service = GrenacheService(grape, list(self.names), self._answer, port=port, host=host)
        self._stack = contextlib.AsyncExitStack()
        self._actions: Mapping[str, Callable[[Question], Awaitable[Fields]]] = {
            "status": self._status,
            "book": self._book,
            "trades": self._trades,
            "orders": self._orders,
            "order": self._order,
            "place": self._place,
            "cancel": self._cancel,
        }

    async def __aenter__(self) -> Self:
        """Listen and announce.

        Raises:
            PortInUse, NetworkError: it cannot listen.
            ServiceUnreachable, GrapeError: the Grape could not be told.
        """
        async with contextlib.AsyncExitStack() as stack:
            self._feed.start()
            stack.push_async_callback(self._feed.close)
            await stack.enter_async_context(self._service)
            stack.callback(self._desk.close)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Answer whoever waits, take the announcements back, close everything."""
        await self._stack.aclose()

    @property
    def port(self) -> int:
        """Where it listens. Raises `NotRunning` outside `async with`."""
        return self._service.port

    async def _answer(self, _: str, payload: Any) -> Fields:
        try:
            action = self._actions.get(str(payload.get("action"))) if isinstance(payload, dict) else None
            if action is None:
                words = ", ".join(self._actions)
                raise Refusal(
                    400, "query", f'give an action, such as {{"action": "book"}}; it is one of {words}'
                )
            return await action(payload)
        except DhtexError as error:
            raise _service_error(refusal_of(error)) from error
        except Refusal as error:
            raise _service_error(error) from error

    async def _status(self, _: Question) -> Fields:
        return self._desk.status()

    async def _book(self, question: Question) -> Fields:
        return self._desk.book(question)

    async def _trades(self, question: Question) -> Fields:
        return self._desk.trades(question)

    async def _orders(self, question: Question) -> Fields:
        return self._desk.orders(question)

    async def _order(self, question: Question) -> Fields:
        return await self._desk.order(_text(question, "order"), read_wait(question))

    async def _place(self, question: Question) -> Fields:
        order = question.get("order")
        if not isinstance(order, dict):
            raise Refusal(400, "json", 'the order is an object, such as {"side": "buy", "quantity": "1"}')
        return await self._desk.place(order, read_wait(question))

    async def _cancel(self, question: Question) -> Fields:
        return await self._desk.cancel(_text(question, "order"), read_wait(question))


def _text(question: Question, name: str) -> str:
    value = question.get(name)
    if not isinstance(value, str):
        raise Refusal(400, "query", f'{name} names an order, such as "c0ffee12:42"')
    return value


def _service_error(refusal: Refusal) -> ServiceError:
    """As Grenache's own errors read: a word in capitals first, for programs."""
    return ServiceError(f"ERR_{refusal.error.upper()}: {refusal.sentence}")
