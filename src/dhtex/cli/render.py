"""Trades, results, books and members as tables and lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from rich.table import Table

from dhtex.identity import short_id
from dhtex.matching import OrderId, RejectReason
from dhtex.peer import Depth, OpenOrder, OrderStatus, Peer, Result, TradeReport
from dhtex.peer.fields import peer_rows, plain
from dhtex.peer.reports import reason_text

_HINTS: Final = {
    reason_text(RejectReason.INVALID_COMBINATION): (
        " (post, aon and display= are for limit orders that rest; what else goes together is in"
        " docs/reference/matching.md)"
    ),
}
"""Reason of a rejection -> what makes it clear to somebody who typed the order."""


def trade_line(trade: TradeReport, own: bytes) -> str:
    """`trade  30 @ 49.50  you c0ffee12:3 <- 9a8b7c6d:1`."""
    aggressor = "auction" if trade.aggressor is None else trade.aggressor.name.lower()
    return (
        f"trade {plain(trade.quantity)} @ {plain(trade.price)}: {_name(trade.taker, own)} "
        f"({aggressor}) met {_name(trade.maker, own)}"
    )


def _name(order: OrderId, own: bytes) -> str:
    return f"your {order}" if order.node_id == own else str(order)


def result_line(result: Result) -> str:
    """`c0ffee12:3 final at 17: 30 filled (30 @ 49.50), 70 open`."""
    parts: list[str] = []
    if result.trades:
        fills = ", ".join(f"{plain(trade.quantity)} @ {plain(trade.price)}" for trade in result.trades)
        parts.append(f"{plain(result.filled)} filled ({fills})")
    match result.status:
        case OrderStatus.OPEN:
            parts.append(f"{plain(result.remaining)} open")
        case OrderStatus.CANCELLED:
            parts.append(
                f"the rest cancelled: {result.reason}" if result.trades else f"cancelled: {result.reason}"
            )
        case OrderStatus.REJECTED:
            parts.append(f"rejected: {result.reason}{_HINTS.get(result.reason or '', '')}")
        case OrderStatus.DONE:
            parts.append("done")
        case OrderStatus.FILLED:
            pass
    return f"{result.order} final at {result.position}: {', '.join(parts)}"


def _add_column(table: Table, name: str, *, right: bool = False) -> None:
    """A column that a narrow terminal folds: a price without its last digits would be another price."""
    table.add_column(name, justify="right" if right else "left", overflow="fold")


def depth_table(depth: Depth, title: str) -> Table:
    """A book, bids left, asks right, best on top."""
    table = Table(title=title, title_justify="left")
    for name in ("bid amount", "bid", "ask", "ask amount"):
        _add_column(table, name, right=name in ("bid amount", "bid"))
    for row in range(max(len(depth.bids), len(depth.asks), 1)):
        bid = depth.bids[row] if row < len(depth.bids) else None
        ask = depth.asks[row] if row < len(depth.asks) else None
        table.add_row(
            plain(bid.quantity) if bid else "",
            plain(bid.price) if bid else "",
            plain(ask.price) if ask else "",
            plain(ask.quantity) if ask else "",
        )
    return table


def trades_table(trades: Iterable[TradeReport], own: bytes) -> Table:
    """The last trades, oldest first."""
    table = Table(title="trades", title_justify="left")
    for name in ("id", "amount", "price", "taker", "maker"):
        _add_column(table, name, right=name in ("amount", "price"))
    for trade in trades:
        table.add_row(
            trade.trade_id,
            plain(trade.quantity),
            plain(trade.price),
            f"{_name(trade.taker, own)} {'' if trade.aggressor is None else trade.aggressor.name.lower()}",
            _name(trade.maker, own),
        )
    return table


def orders_table(orders: Sequence[OpenOrder], pending: Sequence[tuple[OrderId, str]]) -> Table:
    """Own orders: open in the book, and pending."""
    table = Table(title="your orders", title_justify="left")
    for name in ("id", "side", "open", "of", "price", "state"):
        _add_column(table, name, right=name in ("open", "of", "price"))
    for order in orders:
        price = "" if order.price is None else plain(order.price)
        table.add_row(
            str(order.id),
            order.side.name.lower(),
            plain(order.remaining),
            plain(order.quantity),
            price,
            order.state,
        )
    for order_id, shown in pending:
        table.add_row(str(order_id), shown, "", "", "", "pending")
    return table


def peers_table(peer: Peer) -> Table:
    """The members of the view."""
    table = Table(
        title=f"view {peer.view.number if peer.view else 0} of {peer.spec.symbol}", title_justify="left"
    )
    for name in ("node", "address", ""):
        _add_column(table, name)
    for row in peer_rows(peer):
        table.add_row(row["node"][:8], row["address"], "you" if row["you"] else "")
    return table


def status_line(peer: Peer) -> str:
    """Where a peer is, in a line."""
    position = peer.position()
    return (
        f"{short_id(peer.node_id)} is {peer.role.value} in view {peer.view.number if peer.view else 0}, "
        f"at position {position.number}, digest {position.digest.hex()[:16]}, {peer.pending_count} pending"
    )
