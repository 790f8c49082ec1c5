"""What a peer tells its user: frozen values with decimals, made from the exchange's ticks and lots at the edge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import overload

from dhtex.exchange import Applied
from dhtex.matching import (
    Accepted,
    Cancelled,
    CancelReason,
    Command,
    Event,
    Expired,
    Kind,
    LevelChange,
    MarketSpec,
    OrderId,
    Place,
    Rejected,
    RejectReason,
    Side,
    Trade,
)
from dhtex.matching import Order as EngineOrder


class OrderStatus(StrEnum):
    """What a command had come to when it was final."""

    OPEN = "open"
    """Rests in the book, or waits for its trigger; maybe after some fills."""
    FILLED = "filled"
    CANCELLED = "cancelled"
    """Nothing of it is open, and not all of it traded; the reason says why."""
    DONE = "done"
    """A command that places nothing, such as a cancel, took effect."""
    REJECTED = "rejected"
    """It changed nothing; the reason says why."""


@dataclass(frozen=True, slots=True)
class TradeReport:
    """One trade.

    Attributes:
        price, quantity: exact decimals.
        maker, taker: the order that rested, and the one that arrived.
        aggressor: the taker's side; None in an auction.
        trade_id: `position-index`, the same at every peer.
        position: of the command that caused it, in the total order.
        timestamp: microseconds since the epoch, of that command.
    """

    price: Decimal
    quantity: Decimal
    maker: OrderId
    taker: OrderId
    aggressor: Side | None
    trade_id: str
    position: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one command, once and for all peers.

    Attributes:
        order: its id.
        position: its place in the total order.
        status: see `OrderStatus`.
        trades: those it took part in as it arrived.
        filled: quantity traded so far, 0 for commands that place nothing.
        remaining: quantity still open.
        reason: why it was rejected or cancelled, a lower-case phrase; None otherwise.
    """

    order: OrderId
    position: int
    status: OrderStatus
    trades: tuple[TradeReport, ...]
    filled: Decimal
    remaining: Decimal
    reason: str | None


@dataclass(frozen=True, slots=True)
class Level:
    """One price of the book and the quantity shown there, exact decimals."""

    price: Decimal
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Depth:
    """The best levels of the book, best first."""

    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class BookChange:
    """One price level as it is from now on; quantity 0 means that it is gone.

    Attributes:
        position: of the last command of the entry that changed it.
    """

    position: int
    side: Side
    price: Decimal
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order that is open in the market, with decimals.

    Attributes:
        quantity: what was asked for.
        remaining: what can still trade.
        price: its limit, or None.
        state: `resting`, or what it waits for.
    """

    id: OrderId
    side: Side
    quantity: Decimal
    remaining: Decimal
    price: Decimal | None
    state: str


@dataclass(frozen=True, slots=True)
class Position:
    """How far a peer is in the total order: equal numbers have equal digests on every peer.

    Attributes:
        number: commands applied.
        digest: BLAKE2b-256 chain over all of them and their events.
    """

    number: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class GroupEvent:
    """Something that happened to the group rather than in the market.

    Attributes:
        kind: a fixed word for programs, such as `view`, `role`, `suspected`, `no_quorum`.
        text: one sentence for people.
        node_id: whom it is about, or None.
        value: the role of a `role`, the number of a `view`; else empty.
        members: node ids of a `view`, ascending.
    """

    kind: str
    text: str
    node_id: bytes | None = None
    value: str = ""
    members: tuple[bytes, ...] = ()


def reason_text(reason: RejectReason | CancelReason) -> str:
    """`NOT_OWNER` as people say it: `not owner`."""
    return reason.name.lower().replace("_", " ")


def exact(text: str) -> Decimal:
    """A formatted price or quantity as a number."""
    return Decimal(text)


def open_order(spec: MarketSpec, order: EngineOrder) -> OpenOrder:
    """*order* with decimals."""
    state = "resting"
    if order.trigger is not None:
        state = f"waits for {spec.format_price(order.trigger)}"
    elif order.kind is Kind.TRAILING_STOP:
        state = "waits for the first trade"
    return OpenOrder(
        id=order.id,
        side=order.side,
        quantity=exact(spec.format_quantity(order.quantity)),
        remaining=exact(spec.format_quantity(order.remaining)),
        price=None if order.price is None else exact(spec.format_price(order.price)),
        state=state,
    )


def trade_report(spec: MarketSpec, trade: Trade, timestamp: int) -> TradeReport:
    """*trade* with decimals; *timestamp* of its command, microseconds."""
    return TradeReport(
        price=exact(spec.format_price(trade.price)),
        quantity=exact(spec.format_quantity(trade.quantity)),
        maker=trade.maker,
        taker=trade.taker,
        aggressor=trade.aggressor,
        trade_id=trade.trade_id,
        position=trade.position,
        timestamp=timestamp,
    )


def trades_of(spec: MarketSpec, applied: Applied) -> Iterator[TradeReport]:
    """Every trade of one final entry, in order."""
    for batch in applied.orders:
        for event in batch.events():
            if isinstance(event, Trade):
                yield trade_report(spec, event, applied.timestamp)


def book_change(spec: MarketSpec, change: LevelChange, position: int) -> BookChange:
    """*change* with decimals."""
    return BookChange(
        position=position,
        side=change.side,
        price=exact(spec.format_price(change.price)),
        quantity=exact(spec.format_quantity(change.quantity)),
    )


class Outcomes:
    """What became of the commands of one final entry; its events are read once, when first asked for."""

    def __init__(self, spec: MarketSpec, applied: Applied) -> None:
        self._spec = spec
        self._applied = applied
        self._events: dict[int, list[Event]] | None = None  # by position

    def of(self, n: int, command: Command) -> Result:
        """The result of *command* of the entry, the origin's number *n*."""
        applied = self._applied
        position = applied.position + n - applied.first_n
        if self._events is None:
            self._events = {}
            for batch in applied.orders:
                for event in batch.events():
                    self._events.setdefault(event.position, []).append(event)
        events = self._events.get(position, ())
        return _result(self._spec, OrderId(applied.origin, n), position, command, events, applied.timestamp)


class Results(Sequence[Result]):
    """The results of a run of commands, in order; each is made when it is looked at."""

    def __init__(self, outcomes: Outcomes, first_n: int, commands: Sequence[Command]) -> None:
        self._outcomes = outcomes
        self._first_n = first_n
        self._commands = commands

    def __len__(self) -> int:
        return len(self._commands)

    @overload
    def __getitem__(self, index: int) -> Result: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Result, ...]: ...

    def __getitem__(self, index: int | slice) -> Result | tuple[Result, ...]:
        found = range(len(self._commands))[index]
        if isinstance(found, range):
            return tuple(self[at] for at in found)
        return self._outcomes.of(self._first_n + found, self._commands[found])


def _result(
    spec: MarketSpec,
    order: OrderId,
    position: int,
    command: Command,
    events: Sequence[Event],
    timestamp: int,
) -> Result:
    zero = Decimal(0)
    trades = tuple(
        trade_report(spec, event, timestamp)
        for event in events
        if isinstance(event, Trade) and order in (event.maker, event.taker)
    )
    rejected = next((e for e in events if isinstance(e, Rejected) and e.order == order), None)
    if rejected is not None:
        return Result(order, position, OrderStatus.REJECTED, (), zero, zero, reason_text(rejected.reason))
    if not isinstance(command, Place) or not any(isinstance(e, Accepted) for e in events):
        return Result(order, position, OrderStatus.DONE, trades, zero, zero, None)
    filled = sum((trade.quantity for trade in trades), zero)
    gone, reason = zero, None
    for event in events:
        if isinstance(event, Cancelled | Expired) and event.order == order:
            gone += exact(spec.format_quantity(event.quantity))
            reason = reason_text(event.reason) if isinstance(event, Cancelled) else "expired"
    remaining = exact(spec.format_quantity(command.quantity)) - filled - gone
    if remaining:
        status = OrderStatus.OPEN
    elif gone:
        status = OrderStatus.CANCELLED
    else:
        status = OrderStatus.FILLED
    return Result(order, position, status, trades, filled, remaining, reason)
