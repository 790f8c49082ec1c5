"""From an order's id as people write it to the order: `c0ffee12:42`, or with the whole node id."""

from __future__ import annotations

from dhtex.errors import NotOwner, UnknownOrder
from dhtex.matching import OrderId
from dhtex.peer.peer import Peer


def find_own(peer: Peer, text: str) -> OrderId:
    """The id of an own open or pending order.

    Raises:
        NotOwner: it is another node's.
        UnknownOrder: nothing open or pending is called so.
    """
    for order, _ in peer.pending():
        if is_written(order, text):
            return order
    own = peer.node_id
    prefix, _, n = text.lower().partition(":")
    if prefix and own.hex().startswith(prefix) and n.isascii() and n.isdecimal() and len(n) < 20:
        order = OrderId(own, int(n))
        if peer.book.order(order) is not None:
            return order
    if peer.book.find(text):
        raise NotOwner(f"{text} is not your order; only its owner can cancel or amend it")
    raise UnknownOrder(f"no open order is called {text}; `orders` lists yours")


def is_written(order: OrderId, text: str) -> bool:
    """Whether *text* is a way to write *order*."""
    prefix, _, n = text.lower().partition(":")
    return n == str(order.n) and bool(prefix) and order.node_id.hex().startswith(prefix)
