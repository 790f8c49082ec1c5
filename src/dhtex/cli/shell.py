"""What `dhtex peer` does with lines and with what the market says: one class, driven by a prompt or by a pipe."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from dhtex.cli.output import Output
from dhtex.cli.prompt import USAGE, Quit, Send, Show, describe, parse
from dhtex.cli.render import (
    depth_table,
    orders_table,
    peers_table,
    result_line,
    status_line,
    trade_line,
    trades_table,
)
from dhtex.errors import Busy, DhtexError, FellBehind, NotRunning, OrderError
from dhtex.identity import short_id
from dhtex.matching import OrderId
from dhtex.peer import GroupEvent, Order, OrderStatus, Peer, Subscription, TradeReport
from dhtex.peer.fields import (
    depth_fields,
    event_fields,
    order_fields,
    peer_rows,
    plain,
    result_fields,
    status_fields,
    trade_fields,
)
from dhtex.peer.finding import find_own

T = TypeVar("T")

CATCHING_UP: Final = ("joining", "evicted")
"""Roles in which the views told are those of the past."""

TRADES_KEPT: Final = 1000
"""Trades the `trades` command can show; older ones are in the journal."""


class Shell:
    """One market's commands and news on one output.

    Attributes:
        refused: how many commands were refused, here or by the market.
    """

    def __init__(self, peer: Peer, output: Output) -> None:
        self.refused = 0
        self._peer = peer
        self._output = output
        self._trades: deque[TradeReport] = deque(maxlen=TRADES_KEPT)
        self._watching: set[asyncio.Task[None]] = set()
        self._began = _now()
        self._catching_up = False
        self._trade_news = peer.trades()  # subscribed before the peer starts, so that nothing is missed
        self._group_news = peer.group_events()

    # -- lines in -----------------------------------------------------------------------------------------------

    def do(self, line: str) -> bool:
        """Carry out one line; False when it asks to quit. Never raises for any text."""
        try:
            action = parse(line, self._peer.spec, self._find, _now())
            match action:
                case Send():
                    self._send(action)
                case Show():
                    self._show(action)
                case Quit():
                    return False
        except DhtexError as error:
            self.refuse(line.strip(), str(error))
        return True

    def refuse(self, line: str, sentence: str) -> None:
        """Say that *line* was refused, and why."""
        self.refused += 1
        self._output.say("refused", sentence, input=line, reason=sentence)

    def is_question(self, line: str) -> bool:
        """True for lines that only show something."""
        word = line.split(maxsplit=1)[0].lower() if line.strip() else ""
        return word in USAGE and word not in ("buy", "sell", "amend", "cancel", "help")

    def _find(self, text: str) -> OrderId:
        return find_own(self._peer, text)

    def _send(self, action: Send) -> None:
        try:
            order = self._peer.submit(action.command)
        except Busy as error:
            raise OrderError(f"{error}; the line was not sent") from error
        self._watch(self._follow(order, action.shown))

    def _watch(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    async def _tell_status(self, position: int) -> None:
        try:
            await self._peer.reached(position)
        except DhtexError as error:
            self._output.say("unknown", str(error), reason=str(error))
            return
        self._output.say("status", status_line(self._peer), **status_fields(self._peer))

    async def _follow(self, order: Order, shown: str) -> None:
        try:
            await order.accepted()
            self._output.say("pending", f"{order.id} pending: {shown}", order=str(order.id), command=shown)
            result = await order.final()
        except (NotRunning, FellBehind) as error:
            self._output.say("unknown", f"{order.id}: {error}", order=str(order.id), reason=str(error))
            return
        if result.status is OrderStatus.REJECTED:
            self.refused += 1
        self._output.say("final", result_line(result), command=shown, **result_fields(result))

    def _show(self, action: Show) -> None:
        peer, say = self._peer, self._output.say
        match action.what:
            case "book":
                depth = peer.book.depth(action.number)
                say("book", depth_table(depth, peer.spec.symbol), **depth_fields(depth))
            case "trades":
                last = list(self._trades)[-action.number :]
                say(
                    "trades", trades_table(last, peer.node_id), trades=[trade_fields(trade) for trade in last]
                )
            case "orders":
                orders = peer.book.orders_of(peer.node_id)
                pending = [(order, describe(command, peer.spec)) for order, command in peer.pending()]
                say(
                    "orders",
                    orders_table(orders, pending),
                    open=[order_fields(order) for order in orders],
                    pending=[{"order": str(order), "command": shown} for order, shown in pending],
                )
            case "peers":
                say("peers", peers_table(peer), peers=peer_rows(peer))
            case "status":
                self._watch(self._tell_status(action.number))
            case _:
                say(
                    "help", "\n".join(f"  {usage}" for usage in USAGE.values()), commands=list(USAGE.values())
                )

    async def settled(self) -> None:
        """Wait until everything sent from here is final."""
        while self._watching:
            await asyncio.wait(self._watching)

    async def close(self) -> None:
        """Let those who follow orders say how that ended."""
        await asyncio.gather(*self._watching, return_exceptions=True)

    # -- news out -----------------------------------------------------------------------------------------------

    def started(self, api: str | None = None, services: Sequence[str] = ()) -> None:
        """Say who this is and where.

        Args:
            api: URL of the HTTP API, when there is one.
            services: names under which Grenache clients find the peer.
        """
        peer = self._peer
        spec = peer.spec
        tick, lot = plain(spec.tick_size), plain(spec.lot_size)
        where = f"{peer.address}, HTTP API on {api}" if api else peer.address
        if services:
            where += f", for Grenache as {' and '.join(services)}"
        self._output.say(
            "started",
            f"{short_id(peer.node_id)} trades {spec.symbol} (tick {tick}, lot {lot}) at {where}",
            market=spec.symbol,
            tick=tick,
            lot=lot,
            node=peer.node_id.hex(),
            address=peer.address,
            api=api,
            services=list(services),
        )

    async def tell_news(self) -> None:
        """Say trades as they become final, and what happens to the group, until the peer closes."""
        await asyncio.gather(self._tell_trades(), self._tell_group())

    async def _tell_trades(self) -> None:
        peer = self._peer
        async for trade in _all(self._trade_news, peer.trades):
            self._trades.append(trade)
            # History is no news; `trades` shows the last of it.
            if trade.timestamp >= self._began and not peer.is_catching_up:
                self._output.say("trade", trade_line(trade, peer.node_id), **trade_fields(trade))

    async def _tell_group(self) -> None:
        async for event in _all(self._group_news, self._peer.group_events):
            if event.kind == "role":
                self._catching_up = event.value in CATCHING_UP
            history = event.kind == "view" and (self._catching_up or self._is_superseded(event))
            self._output.say("group", None if history else f"* {event.text}", **event_fields(event))

    def _is_superseded(self, view: GroupEvent) -> bool:
        """One of the views of the past, of which a market may have had thousands."""
        try:
            newest = self._peer.view
        except DhtexError:  # the peer is closed: these are its last words
            return False
        return newest is not None and int(view.value) < newest.number


def _now() -> int:
    return time.time_ns() // 1000


async def _all(news: Subscription[T], again: Callable[[], Subscription[T]]) -> AsyncIterator[T]:
    """Everything of *news*; where it came faster than it could be said, what follows."""
    while True:
        try:
            async for item in news:
                yield item
        except FellBehind:
            news = again()
        else:
            return
