"""What can be seen of a market: single orders, and the levels that a batch changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from dhtex.matching.commands import Kind, OrderId, SelfTrade, Side, TimeInForce
from dhtex.matching.orders import (
    KEY,
    QTY,
    TERMS,
    TOTAL,
    N,
    Node,
    Terms,
    price_of,
    priority_of,
    side_of,
)


@dataclass(frozen=True, slots=True)
class Order:
    """An open order as it is now.

    Attributes:
        id: node id and number.
        side: buy or sell.
        kind: LIMIT for all that rest; a stop's own kind while it sleeps.
        price: its limit in ticks; `None` if it has none.
        quantity: lots asked for.
        shown: lots that are open and shown; all that is open of a stop or an all-or-none order.
        hidden: lots of an iceberg behind them.
        priority: the position at which it took its place in the queue.
        timestamp: of the command that placed it, microseconds.
        time_in_force: GTC or GTD; a sleeping stop-limit order's may be IOC or FOK.
        expiry: microseconds; GTD only.
        trigger: ticks; of a sleeping stop.
        trail: ticks; of a sleeping trailing stop.
        post_only: whether it must not trade as a taker.
        all_or_none: whether it trades whole or not at all.
        display: lots an iceberg shows at a time.
        self_trade: its self-trade mode.
        account: whose it is within the node.
        tag: the client's own name for it.
    """

    id: OrderId
    side: Side
    kind: Kind
    price: int | None
    quantity: int
    shown: int
    hidden: int
    priority: int
    timestamp: int
    time_in_force: TimeInForce
    expiry: int | None
    trigger: int | None
    trail: int | None
    post_only: bool
    all_or_none: bool
    display: int | None
    self_trade: SelfTrade
    account: str
    tag: str

    @property
    def remaining(self) -> int:
        """Lots that can still trade."""
        return self.shown + self.hidden


class LevelChange(NamedTuple):
    """A level as it is after a batch: apply them to a depth by replacing what it has at the side and price.

    Attributes:
        side: which side of the book.
        price: ticks.
        quantity: lots shown there now; 0 when the level is gone.
    """

    side: Side
    price: int
    quantity: int


class Depth(NamedTuple):
    """The displayed book by level, best first: (price in ticks, lots shown)."""

    bids: tuple[tuple[int, int], ...]
    asks: tuple[tuple[int, int], ...]


def order_of(node: Node) -> Order:
    """The order in *node* as a value."""
    terms: Terms = node[TERMS]
    return Order(
        id=OrderId(terms.owner.node_id, node[N]),
        side=side_of(node[KEY]),
        kind=Kind(terms.kind),
        price=price_of(node[KEY]),
        quantity=node[TOTAL],
        shown=node[QTY],
        hidden=terms.hidden,
        priority=priority_of(node),
        timestamp=terms.time,
        time_in_force=TimeInForce(terms.force),
        expiry=terms.expiry,
        trigger=terms.trigger,
        trail=terms.trail,
        post_only=terms.post_only,
        all_or_none=terms.all_or_none,
        display=terms.display,
        self_trade=SelfTrade(terms.mode),
        account=terms.account,
        tag=terms.tag,
    )
