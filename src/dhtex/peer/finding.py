"""From an order's id as people write it to the order: `c0ffee12:42`, or with the whole node id."""

from __future__ import annotations

from dhtex.errors import NotOwner, UnknownOrder
from dhtex.matching import OrderId
from dhtex.peer.book import read_id
from dhtex.peer.peer import Peer


def find_own(peer: Peer, text: str) -> OrderId:
    """The id of an own open or pending order.

    Raises:
        NotOwner: it is another node's.
        UnknownOrder: nothing open or pending is called so.
    """
    own, written = peer.node_id, read_id(text)
    if written is not None and own.hex().startswith(written[0]):
        order = OrderId(own, written[1])
        if peer.book.order(order) is not None or any(order == pending for pending, _ in peer.pending()):
            return order
    if peer.book.find(text):
        raise NotOwner(f"{text} is not your order; only its owner can cancel or amend it")
    raise UnknownOrder(f"no open order is called {text}; `orders` lists yours")
