"""An open order in memory: a list, because it is made and read more often than anything else here.

A list of eight fields is made in a quarter of the time of an object with slots and read as fast; prices
are *keys*: the price for a buy, its negative for a sell. So on both sides a larger key is a better price, a
bid and an ask cross where their keys add up to 0 or more, and one piece of code serves both sides.

A level is a list too, and the first four fields mean the same in both: a level is the head of the ring of
its orders, so linking and unlinking know no special case.

What else an order asked for is in its terms. Those that asked for nothing else, nine in ten, share theirs with
the others of their batch. Measured on the mix of `benchmarks/matching.py`.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from dhtex.matching.commands import Kind, Side, TimeInForce
from dhtex.matching.market import MAX_INTEGER

Node: TypeAlias = list[Any]
"""An order or a level, see the indices below."""

PREV: Final = 0
"""The order before it in the queue, or the level; a level's last order."""
NEXT: Final = 1
"""The order behind it in the queue, or the level; a level's first order."""
QTY: Final = 2
"""Lots shown and open; a level's sum of them."""
KEY: Final = 3
"""Price for a buy, −price for a sell."""
LEVEL: Final = 4
"""The level it rests at; `None` outside the displayed book."""
HIDDEN: Final = 4
"""A level's sum of the lots its icebergs hide."""
N: Final = 5
"""The number of the command that placed it: with the owner's node id, its id."""
TOTAL: Final = 6
"""Lots asked for, whatever became of them since."""
TERMS: Final = 7
"""Its `Terms`."""

MARKET_BUY: Final = MAX_INTEGER + 1
"""The key of a buy at any price: above every price."""
MARKET_SELL: Final = 0
"""The key of a sell at any price: above every sell's."""
NO_KEY: Final = -(2**64)
"""Below every key, so that an empty side crosses nothing."""


class Owner:
    """A node that has sent commands: its last number, and its open orders."""

    __slots__ = ("accounts", "last_n", "node_id", "orders", "tags")

    def __init__(self, node_id: bytes, last_n: int = 0) -> None:
        self.node_id = node_id
        self.last_n = last_n
        self.orders: dict[int, Node] = {}
        """By number, in ascending order of it: commands come in that order and an order is entered once."""
        self.accounts: dict[str, int] = {}
        """Open orders of each named account; those of the unnamed one are the rest."""
        self.tags: dict[tuple[str, str], Node] = {}

    def open_of(self, account: str) -> int:
        """How many open orders *account* has."""
        return self.accounts.get(account, 0) if account else len(self.orders) - sum(self.accounts.values())


class Terms:
    """Whose order it is and since when: all there is to say of a plain one beyond price and quantity.

    A plain order is a limit, good till cancelled, without account and tag. Others of its batch have the same terms,
    so these never change; an order that gets another place in the queue gets other terms.
    """

    __slots__ = ("ahead", "mode", "owner", "plain", "time")

    # What `SpecialTerms` can say otherwise.
    kind: int = Kind.LIMIT
    force: int = TimeInForce.GTC
    expiry: int | None = None
    post_only: bool = False
    all_or_none: bool = False
    display: int | None = None
    hidden: int = 0
    account: str = ""
    tag: str = ""
    trigger: int | None = None
    trail: int | None = None
    placed: int = 0

    def __init__(self, owner: Owner, time: int, ahead: int, mode: int) -> None:
        self.owner = owner
        self.time = time
        """The timestamp of the command that placed it, microseconds."""
        self.ahead = ahead
        """What the position at which it took its place in the queue has more than its number."""
        self.mode = mode
        """Its self-trade mode."""
        self.plain = True
        """Whether these are the terms of a plain order."""

    @property
    def asleep(self) -> bool:
        """Whether it is a stop that was not set off."""
        return self.kind >= Kind.STOP


class SpecialTerms(Terms):
    """What an order asked for beyond price and quantity, and where that has led it; its own."""

    __slots__ = (
        "account", "all_or_none", "display", "enough_at", "expiry", "force", "hidden", "kind", "looked_to", "placed",
        "post_only", "tag", "trail", "trigger",
    )  # fmt: skip

    def __init__(
        self,
        owner: Owner,
        time: int,
        ahead: int,
        mode: int,
        *,
        kind: int,
        force: int,
        expiry: int | None,
        post_only: bool,
        all_or_none: bool,
        display: int | None,
        account: str,
        tag: str,
        trigger: int | None,
        trail: int | None,
        placed: int,
        hidden: int = 0,
    ) -> None:
        super().__init__(owner, time, ahead, mode)
        self.plain = False
        self.kind = kind
        """A stop's until it is set off; from then on LIMIT or MARKET."""
        self.force = force
        self.expiry = expiry
        self.post_only = post_only
        """Whether it must not trade as a taker, now and when it is amended."""
        self.all_or_none = all_or_none
        self.display = display
        self.hidden = hidden
        """Lots of an iceberg behind those shown."""
        self.account = account
        self.tag = tag
        self.trigger = trigger
        """Ticks; `None` for a trailing stop that has seen no trade yet."""
        self.trail = trail
        self.placed = placed
        """The position at which it was placed."""
        self.looked_to = NO_KEY
        """All-or-none, waiting: the key up to which the other side was last searched for its lots."""
        self.enough_at = 0
        """All-or-none, waiting: what the other side must have gained before there can be enough of them."""


def side_of(key: int) -> Side:
    """The side of an order with this key."""
    return Side.BUY if key > 0 else Side.SELL


def price_of(key: int) -> int | None:
    """The limit in ticks of an order with this key; `None` for a market order."""
    return None if key in (MARKET_BUY, MARKET_SELL) else abs(key)


def key_of(side: int, price: int | None) -> int:
    """The key of a limit in ticks, or of none, on this side."""
    if price is None:
        return MARKET_BUY if side == Side.BUY else MARKET_SELL
    return price if side == Side.BUY else -price


def open_quantity(node: Node) -> int:
    """Lots that can still trade, shown and hidden."""
    quantity: int = node[QTY] + node[TERMS].hidden
    return quantity


def priority_of(node: Node) -> int:
    """The position at which it took its place in the queue."""
    position: int = node[N] + node[TERMS].ahead
    return position


def move_to(node: Node, position: int) -> None:
    """Give it its place in the queue anew."""
    terms: Terms = node[TERMS]
    ahead = position - node[N]
    if terms.plain:
        node[TERMS] = Terms(terms.owner, terms.time, ahead, terms.mode)
    else:
        terms.ahead = ahead


def new_node(n: int, key: int, quantity: int, terms: Terms) -> Node:
    """An order, linked nowhere."""
    return [None, None, quantity, key, None, n, quantity, terms]
