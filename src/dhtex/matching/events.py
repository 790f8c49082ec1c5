"""What a command did: immutable values, one class per kind, delivered together after the command.

Every event starts with `position`, the command's place in the total order, and `index`, its own place within the
command, from 0.

The events of one command come in this order:

1. `Expired`, for each order whose time ended before the command; `PhaseChanged` and auction trades, if a
   pause ended; what these set off, as under 4;
2. the answer: one of `Rejected`, `Accepted`, `Amended`, `Cancelled`, `PhaseChanged`;
3. what followed from it: `Trade`, `Replenished`, `Cancelled`, `PhaseChanged`;
4. for each all-or-none order that could now be filled, and for each stop that was set off: `Triggered`, then
   its own 3; all-or-none orders have precedence.

Source: `design: matching, Events`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple, TypeAlias

from dhtex.matching.commands import Command, OrderId, Row, Side, command_of
from dhtex.matching.market import Phase


class RejectReason(IntEnum):
    """Why a command was refused. The first reason that applies is given, in this order."""

    MALFORMED = 1
    """The bytes are no command, or the whole batch is not one."""
    INVALID_ID = 2
    """The sender is not a node id of 20 bytes, or its number is outside 1 … 2**63 - 1."""
    DUPLICATE_ID = 3
    """The sender's number is not above the last one it used."""
    UNKNOWN_ORDER = 4
    """Amend, cancel: no open order has this id or tag."""
    NOT_OWNER = 5
    """Amend, cancel: the order belongs to another node, or another account of this one."""
    NOT_OPERATOR = 6
    """Phase: only the market's operator may."""
    PHASE_UNCHANGED = 7
    """Phase: the market is in it already."""
    HALTED = 8
    """Place, amend: the market is halted."""
    NOT_IN_AUCTION = 9
    """Place: while orders gather there are no market, IOC, FOK, post-only and all-or-none orders."""
    INVALID_COMBINATION = 10
    """Fields that exclude each other, or one that is missing: see the table of kinds in the reference."""
    NOTHING_TO_AMEND = 11
    """Amend: neither a quantity nor a price, or a price for an order that has none."""
    INVALID_QUANTITY = 12
    """Outside 1 … the market's highest."""
    INVALID_PRICE = 13
    """Outside 1 … the market's highest."""
    INVALID_TRIGGER = 14
    """A trigger or trail outside 1 … the market's highest price."""
    INVALID_DISPLAY = 15
    """Outside 1 … the quantity, or more slices than the market allows."""
    INVALID_EXPIRY = 16
    """Not after the command's own timestamp, or above 2**63 - 1."""
    ALREADY_FILLED = 17
    """Amend: the new whole quantity is not above what is gone already."""
    TEXT_TOO_LONG = 18
    """Account or tag."""
    DUPLICATE_TAG = 19
    """The account has an open order with this tag."""
    MARKET_FULL = 20
    """Open orders in all are at the market's limit."""
    ACCOUNT_FULL = 21
    """Open orders of the account are at the market's limit."""
    CONTINGENT_FULL = 22
    """Trailing stops and all-or-none orders are at the market's limit."""
    LEVELS_FULL = 23
    """The book has no room for another price."""
    POST_ONLY = 24
    """Place, amend: a post-only order would trade at once."""


class CancelReason(IntEnum):
    """Why an order, or part of one, left the market without a trade."""

    REQUESTED = 0
    """By `Cancel` or `CancelAll`."""
    UNFILLED = 1
    """The remainder of an IOC or market order."""
    KILLED = 2
    """A fill-or-kill order that could not be filled whole."""
    SELF_TRADE = 3
    """It met an order of its own node and account."""
    PAUSED = 4
    """The remainder of an IOC or market order that ran into a price band."""
    LEVELS_FULL = 5
    """The remainder of an order that was set off where the book has no room for another price."""


class Accepted(NamedTuple):
    """A `Place` or `CancelAll` was let in.

    Attributes:
        order: the command's own id, that of the order it places.
        row: what was asked for, as it travelled.
    """

    position: int
    index: int  # type: ignore[assignment] # in place of tuple.index
    order: OrderId
    row: Row

    @property
    def command(self) -> Command:
        """What was asked for; made anew at each call."""
        return command_of(self.row)


class Rejected(NamedTuple):
    """A command was refused and changed nothing.

    Attributes:
        order: the command's own id, not that of an order it names.
        reason: the first that applies.
    """

    position: int
    index: int  # type: ignore[assignment] # in place of tuple.index
    order: OrderId
    reason: RejectReason


class Trade(NamedTuple):
    """Two orders met.

    Attributes:
        price: ticks; the maker's, or the auction's.
        quantity: lots.
        maker: the order that rested; in an auction, the buyer's.
        taker: the order that arrived; in an auction, the seller's.
        aggressor: the taker's side; `None` in an auction.
    """

    position: int
    index: int  # type: ignore[assignment] # in place of tuple.index
    price: int
    quantity: int
    maker: OrderId
    taker: OrderId
    aggressor: Side | None

    @property
    def trade_id(self) -> str:
        """`position-index`: unique, and the same at every replica."""
        return f"{self.position}-{self.index}"


class Cancelled(NamedTuple):
    """An order left, or shrank, without a trade.

    Attributes:
        order: which.
        side: its side.
        price: its limit in ticks; `None` if it has none.
        quantity: lots taken out.
        remaining: lots still open: above 0 only after a self-trade decrement.
        reason: why.
    """

    position: int
    index: int  # type: ignore[assignment] # in place of tuple.index
    order: OrderId
    side: Side
    price: int | None
    quantity: int
    remaining: int
    reason: CancelReason


class Expired(NamedTuple):
    """A good-till-date order reached its expiry.

    Attributes:
        order: which.
        side: its side.
        price: its limit in ticks; `None` if it has none.
        quantity: lots taken out.
    """

    position: int
    index: int  # type: ignore[assignment] # in place of tuple.index
    order: OrderId
    side: Side
    price: int | None
    quantity: int


class Amended(NamedTuple):
    """An order was changed. Without priority it re-enters as if new: trades may follow.

    Attributes:
        order: which.
        side: its side.
        previous_price: its limit in ticks until now; `None` if it has none.
        price: its limit in ticks from now on.
        quantity: lots open from now on.
        kept_priority: whether it kept its place in the queue.
    """

    position: int
    index: int  # type: ignore[assignment] # in place of tuple.index
    order: OrderId
    side: Side
    previous_price: int | None
    price: int | None
    quantity: int
    kept_priority: bool


class Triggered(NamedTuple):
    """A stop was set off, or a resting all-or-none order can be filled; what follows is its doing.

    Attributes:
        order: which.
        side: its side.
        price: its limit in ticks; `None` if it has none.
    """

    position: int
    index: int  # type: ignore[assignment] # in place of tuple.index
    order: OrderId
    side: Side
    price: int | None


class Replenished(NamedTuple):
    """An iceberg shows its next slice, at the back of its price's queue.

    Attributes:
        order: which.
        side: its side.
        price: ticks.
        quantity: lots shown.
        hidden: lots behind them.
    """

    position: int
    index: int  # type: ignore[assignment] # in place of tuple.index
    order: OrderId
    side: Side
    price: int
    quantity: int
    hidden: int


class PhaseChanged(NamedTuple):
    """The market went into another phase.

    Attributes:
        phase: the one it is in now.
        price: ticks; the auction's, if the change uncrossed one and orders met.
    """

    position: int
    index: int  # type: ignore[assignment] # in place of tuple.index
    phase: Phase
    price: int | None


Event: TypeAlias = (
    Accepted | Rejected | Trade | Cancelled | Expired | Amended | Triggered | Replenished | PhaseChanged
)
