"""Reports as plain values for JSON: numbers as text, so that nothing is rounded on the way; ids in hex.

One copy for everything that speaks JSON: the command line and the HTTP API.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from dhtex.peer.peer import Peer
from dhtex.peer.reports import BookChange, Depth, GroupEvent, OpenOrder, Result, TradeReport


def plain(number: Decimal) -> str:
    """A decimal without an exponent."""
    return format(number, "f")


def trade_fields(trade: TradeReport) -> dict[str, Any]:
    """A trade."""
    return {
        "id": trade.trade_id,
        "position": trade.position,
        "price": plain(trade.price),
        "quantity": plain(trade.quantity),
        "maker": trade.maker.node_id.hex() + f":{trade.maker.n}",
        "taker": trade.taker.node_id.hex() + f":{trade.taker.n}",
        "aggressor": None if trade.aggressor is None else trade.aggressor.name.lower(),
        "timestamp": trade.timestamp,
    }


def result_fields(result: Result) -> dict[str, Any]:
    """A result."""
    return {
        "order": str(result.order),
        "position": result.position,
        "status": result.status.value,
        "filled": plain(result.filled),
        "remaining": plain(result.remaining),
        "reason": result.reason,
        "fills": [{"price": plain(t.price), "quantity": plain(t.quantity)} for t in result.trades],
    }


def depth_fields(depth: Depth) -> dict[str, Any]:
    """A book: `[price, quantity]` a level, best first."""
    return {
        "bids": [[plain(level.price), plain(level.quantity)] for level in depth.bids],
        "asks": [[plain(level.price), plain(level.quantity)] for level in depth.asks],
    }


def change_fields(change: BookChange) -> dict[str, Any]:
    """A changed level; quantity `"0"` means that it is gone."""
    return {
        "position": change.position,
        "side": change.side.name.lower(),
        "price": plain(change.price),
        "quantity": plain(change.quantity),
    }


def order_fields(order: OpenOrder) -> dict[str, Any]:
    """An open order."""
    return {
        "order": str(order.id),
        "side": order.side.name.lower(),
        "quantity": plain(order.quantity),
        "remaining": plain(order.remaining),
        "price": None if order.price is None else plain(order.price),
        "state": order.state,
    }


def event_fields(event: GroupEvent) -> dict[str, Any]:
    """Something that happened to the group."""
    return {
        "kind": event.kind,
        "sentence": event.text,
        "node": None if event.node_id is None else event.node_id.hex(),
        "value": event.value,
        "members": [node_id.hex() for node_id in event.members],
    }


def peer_rows(peer: Peer) -> list[dict[str, Any]]:
    """The members of the view."""
    if peer.view is None:
        return []
    return [
        {"node": member.node_id.hex(), "address": member.address, "you": member.node_id == peer.node_id}
        for member in peer.view.members
    ]


def status_fields(peer: Peer) -> dict[str, Any]:
    """Where a peer is."""
    position = peer.position()
    return {
        "node": peer.node_id.hex(),
        "role": peer.role.value,
        "view": peer.view.number if peer.view else 0,
        "position": position.number,
        "digest": position.digest.hex(),
        "pending": peer.pending_count,
    }
