"""What a member may ask of the market, and how that travels.

On the wire a batch is one msgpack array of rows, a row an array of its operation's number and its fields, trailing
defaults left out. What is no array of rows is malformed as a whole, a row that is no command by itself.

    buy  0, sell 1   quantity, price, self-trade, time in force, kind, flags, display, expiry,
                     trigger, trail, account, tag
    amend        2   node id, n, quantity, price, account
    cancel       3   node id, n, account
    cancel tag   4   tag, account
    cancel all   5   side, account
    phase        6   phase

`None` is nil. Rules for change: new fields last, with a default; never another type for an old one.
Source: `design: matching, Commands`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from operator import attrgetter
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

import msgpack

from dhtex.errors import MalformedMessage, OrderError
from dhtex.matching.market import MAX_INTEGER, NODE_ID_SIZE, Phase
from dhtex.matching.splitting import split_array

Row: TypeAlias = tuple[Any, ...]
"""A command as it is on the wire: its operation's number, then its fields."""


class Side(IntEnum):
    """Which way an order trades; the number is its operation on the wire."""

    BUY = 0
    SELL = 1

    @property
    def opposite(self) -> Side:
        """The side it trades with."""
        return Side.SELL if self is Side.BUY else Side.BUY


class Kind(IntEnum):
    """How an order finds its price."""

    LIMIT = 0
    """Trades at its price or better."""
    MARKET = 1
    """Trades at any price; what is left over is cancelled."""
    STOP = 2
    """Sleeps until the last trade price reaches the trigger, then is a market order."""
    STOP_LIMIT = 3
    """Sleeps likewise, then is a limit order."""
    TRAILING_STOP = 4
    """A stop whose trigger follows the last trade price at the distance of its trail."""


class TimeInForce(IntEnum):
    """How long an order lives."""

    GTC = 0
    """Good till cancelled: the remainder rests."""
    IOC = 1
    """Immediate or cancel: the remainder is cancelled."""
    FOK = 2
    """Fill or kill: all at once, or nothing at all."""
    GTD = 3
    """Good till its expiry, a time of the log."""


class SelfTrade(IntEnum):
    """What the newer order asks for where it would trade with an order of its own node and account."""

    CANCEL_NEWEST = 0
    CANCEL_OLDEST = 1
    CANCEL_BOTH = 2
    DECREMENT = 3
    """Both lose the smaller of the two quantities, without a trade."""
    OFF = 4
    """They trade."""


class OrderId(NamedTuple):
    """An order's name: the node that placed it, and which of that node's commands did."""

    node_id: bytes
    n: int

    def __str__(self) -> str:
        return f"{self.node_id[:4].hex()}:{self.n}"


@dataclass(frozen=True, slots=True)
class Place:
    """A new order. Quantities in lots, prices in ticks; ranges are the engine's to check.

    Attributes:
        side: buy or sell.
        quantity: lots to trade, at least 1.
        price: ticks; of limit and stop-limit orders only.
        kind: how it finds its price.
        time_in_force: how long it lives.
        expiry: GTD only: microseconds since the epoch; it expires before the first command of that time or
            later.
        trigger: ticks, of stop and stop-limit orders only.
        trail: ticks between a trailing stop's trigger and the last trade price.
        post_only: rejected where it would trade on arrival, as is an amend that would make it trade.
        all_or_none: trades whole with one taker, or as one taker, or rests beside the displayed book.
        display: lots an iceberg shows at a time.
        self_trade: what happens where it meets an order of its own node and account.
        account: whose order it is within the node; text.
        tag: the client's own name for the order, unique among the account's open orders; text.
    """

    side: Side
    quantity: int
    price: int | None = None
    kind: Kind = Kind.LIMIT
    time_in_force: TimeInForce = TimeInForce.GTC
    expiry: int | None = None
    trigger: int | None = None
    trail: int | None = None
    post_only: bool = False
    all_or_none: bool = False
    display: int | None = None
    self_trade: SelfTrade = SelfTrade.CANCEL_NEWEST
    account: str = ""
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Amend:
    """A change to an open order. Only a smaller quantity at the same price keeps its place in the queue.

    Attributes:
        order: whose.
        quantity: the new whole quantity in lots, what was filled already included; `None` leaves it.
        price: the new limit in ticks; `None` leaves it.
        account: the order's account, if it has one.
    """

    order: OrderId
    quantity: int | None = None
    price: int | None = None
    account: str = ""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Take an open order out, by its id or by its client tag.

    Attributes:
        order: the id; `None` where *tag* names the order.
        account: the order's account, if it has one.
        tag: the client tag; looked up among the open orders of the sender's *account*.
    """

    order: OrderId | None = None
    account: str = ""
    tag: str = ""


@dataclass(frozen=True, slots=True)
class CancelAll:
    """Take out all open orders of the sender, oldest first.

    Attributes:
        side: only these; `None` for both.
        account: only these; `None` for every account.
    """

    side: Side | None = None
    account: str | None = None


@dataclass(frozen=True, slots=True)
class SetPhase:
    """The operator opens, calls an auction, uncrosses or halts."""

    phase: Phase


Command: TypeAlias = Place | Amend | Cancel | CancelAll | SetPhase

AMEND: Final = 2
CANCEL: Final = 3
CANCEL_TAG: Final = 4
CANCEL_ALL: Final = 5
PHASE: Final = 6

POST_ONLY: Final = 1
ALL_OR_NONE: Final = 2

_INT: Final = frozenset({int})
_TEXT: Final = frozenset({str})
_INT_OR_NIL: Final = frozenset({int, type(None)})

_FIELD_TYPES: Final = frozenset({int, str, bytes, type(None)})
_PLACE_TYPES: Final = (
    _INT, _INT, _INT_OR_NIL, _INT, _INT, _INT, _INT,
    _INT_OR_NIL, _INT_OR_NIL, _INT_OR_NIL, _INT_OR_NIL, _TEXT, _TEXT,
)  # fmt: skip
_TYPES: Final[dict[int, tuple[frozenset[type], ...]]] = {
    Side.BUY: _PLACE_TYPES,
    Side.SELL: _PLACE_TYPES,
    AMEND: (_INT, frozenset({bytes}), _INT, _INT_OR_NIL, _INT_OR_NIL, _TEXT),
    CANCEL: (_INT, frozenset({bytes}), _INT, _TEXT),
    CANCEL_TAG: (_INT, _TEXT, _TEXT),
    CANCEL_ALL: (_INT, _INT_OR_NIL, frozenset({str, type(None)})),
    PHASE: (_INT, _INT),
}
_PLACE_NAMES: Final = (
    "side", "quantity", "price", "self_trade", "time_in_force", "kind", "flags",
    "display", "expiry", "trigger", "trail", "account", "tag",
)  # fmt: skip
_NAMES: Final[dict[int, tuple[str, ...]]] = {
    Side.BUY: _PLACE_NAMES,
    Side.SELL: _PLACE_NAMES,
    AMEND: ("operation", "node id", "n", "quantity", "price", "account"),
    CANCEL: ("operation", "node id", "n", "account"),
    CANCEL_TAG: ("operation", "tag", "account"),
    CANCEL_ALL: ("operation", "side", "account"),
    PHASE: ("operation", "phase"),
}
_PLACE_DEFAULTS: Final[Row] = (0, 0, None, 0, 0, 0, 0, None, None, None, None, "", "")
_DEFAULTS: Final[dict[int, Row]] = {
    Side.BUY: _PLACE_DEFAULTS,
    Side.SELL: _PLACE_DEFAULTS,
    AMEND: (0, b"", 0, None, None, ""),
    CANCEL: (0, b"", 0, ""),
    CANCEL_TAG: (0, "", ""),
    CANCEL_ALL: (0, None, None),
    PHASE: (0, 0),
}
_REST_OF_PLACE: Final = attrgetter(*[field.name for field in fields(Place)][3:])
_PLAIN_REST: Final = tuple(field.default for field in fields(Place)[3:])
_REQUIRED: Final = {Side.BUY: 3, Side.SELL: 3, AMEND: 3, CANCEL: 3, CANCEL_TAG: 2, CANCEL_ALL: 1, PHASE: 2}


def row_of(command: Command) -> Row:
    """The command as it travels, trailing defaults left out."""
    row: Row
    match command:
        case Place():
            flags = (POST_ONLY if command.post_only else 0) | (ALL_OR_NONE if command.all_or_none else 0)
            row = (
                _plain(command.side),
                command.quantity,
                command.price,
                _plain(command.self_trade),
                _plain(command.time_in_force),
                _plain(command.kind),
                flags,
                command.display,
                command.expiry,
                command.trigger,
                command.trail,
                command.account,
                command.tag,
            )
        case Amend(OrderId() as order, quantity, price, account):
            row = (AMEND, order.node_id, order.n, quantity, price, account)
        case Cancel(order=None):
            row = (CANCEL_TAG, command.tag, command.account)
        case Cancel(order=OrderId() as order):
            row = (CANCEL, order.node_id, order.n, command.account)
        case CancelAll(side, account_or_all):
            row = (CANCEL_ALL, None if side is None else _plain(side), account_or_all)
        case SetPhase(phase):
            row = (PHASE, _plain(phase))
        case _:
            raise OrderError(f"{command!r} is not a command")
    return _trimmed(row)


def _plain(member: object) -> object:
    """The number of an enumeration's member; anything else stays as it is and is malformed later."""
    return int(member) if isinstance(member, IntEnum) else member


def _trimmed(row: Row) -> Row:
    operation = row[0]
    if operation not in _DEFAULTS or len(row) > len(_DEFAULTS[operation]):
        return row  # a side that is none: malformed later
    defaults, shortest, length = _DEFAULTS[operation], _REQUIRED[operation], len(row)
    while length > shortest and row[length - 1] == defaults[length - 1]:
        length -= 1
    return row[:length]


def full_row(row: Row) -> Row:
    """*row* with its defaults filled in, each field of the right type, each enumeration within its range.

    Raises:
        MalformedMessage: not such a row: `type`, `operation`, `arity`, `range` or `text`.
    """
    if type(row) is not tuple or not row:
        raise MalformedMessage("arity", "a command is a non-empty array")
    operation = row[0]
    if type(operation) is not int or operation not in _TYPES:
        raise MalformedMessage("operation", "a command starts with the number of its operation")
    types, length = _TYPES[operation], len(row)
    if not _REQUIRED[operation] <= length <= len(types):
        raise MalformedMessage("arity", f"operation {operation} has no {length} fields")
    for name, value, allowed in zip(_NAMES[operation], row, types, strict=False):
        if type(value) not in allowed:
            raise MalformedMessage("type", f"{name} is of type {type(value).__name__}")
        if type(value) is str and not _is_text(value):
            raise MalformedMessage("text", f"{name} is not UTF-8")
    whole = row + _DEFAULTS[operation][length:]
    if operation <= Side.SELL:
        in_range = 0 <= whole[3] <= 4 and 0 <= whole[4] <= 3 and 0 <= whole[5] <= 4 and 0 <= whole[6] <= 3
    elif operation in (AMEND, CANCEL):
        in_range = len(whole[1]) == NODE_ID_SIZE and 0 < whole[2] <= MAX_INTEGER
    elif operation == CANCEL_TAG:
        in_range = whole[1] != ""
    elif operation == CANCEL_ALL:
        in_range = whole[1] is None or 0 <= whole[1] <= 1
    else:
        in_range = 0 <= whole[1] <= 2
    if not in_range:
        raise MalformedMessage("range", f"operation {operation} has a field outside its range")
    return whole


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair; msgpack could not write it
        return False
    return True


def command_of(row: Row) -> Command:
    """The command that travels as *row*.

    Raises:
        MalformedMessage: it is not one; ranges of quantities and prices are the engine's to check.
    """
    whole = full_row(row)
    match whole[0]:
        case Side.BUY | Side.SELL:
            (
                side,
                quantity,
                price,
                self_trade,
                force,
                kind,
                flags,
                display,
                expiry,
                trigger,
                trail,
                account,
                tag,
            ) = whole
            return Place(
                side=Side(side),
                quantity=quantity,
                price=price,
                kind=Kind(kind),
                time_in_force=TimeInForce(force),
                expiry=expiry,
                trigger=trigger,
                trail=trail,
                post_only=bool(flags & POST_ONLY),
                all_or_none=bool(flags & ALL_OR_NONE),
                display=display,
                self_trade=SelfTrade(self_trade),
                account=account,
                tag=tag,
            )
        case 2:
            return Amend(OrderId(whole[1], whole[2]), whole[3], whole[4], whole[5])
        case 3:
            return Cancel(OrderId(whole[1], whole[2]), whole[3])
        case 4:
            return Cancel(None, whole[2], whole[1])
        case 5:
            return CancelAll(None if whole[1] is None else Side(whole[1]), whole[2])
        case _:
            return SetPhase(Phase(whole[1]))


def encode_commands(commands: Sequence[Command]) -> bytes:
    """A batch as it travels: one msgpack array.

    Raises:
        OrderError: a field has a type or a value that cannot travel.
    """
    try:
        packed: bytes = msgpack.packb([_checked_row(command) for command in commands])
    except (MalformedMessage, OverflowError) as error:
        raise OrderError(f"the command cannot be sent: {error}") from error
    return packed


def _checked_row(command: Command) -> Row:
    """The command as it travels, found to be one.

    Plain limit orders and cancels by id are most of what is sent, and checking and trimming them field by field is
    most of what submitting costs: in them a few comparisons find the same (a test compares).
    """
    if type(command) is Place:
        side, quantity, price = command.side, command.quantity, command.price
        plain = type(side) is Side and type(quantity) is int and type(price) is int
        if plain and _REST_OF_PLACE(command) == _PLAIN_REST:
            return (side, quantity, price)
    elif type(command) is Cancel:
        order = command.order
        if type(order) is OrderId and command.account == "":
            node_id, n = order
            if (
                type(node_id) is bytes
                and len(node_id) == NODE_ID_SIZE
                and type(n) is int
                and 0 < n <= MAX_INTEGER
            ):
                return (CANCEL, node_id, n)
    row = row_of(command)
    full_row(row)
    return row


def _refuse(*_: object) -> NoReturn:
    raise ValueError("no command has maps or extension types in it")


def unpack_rows(batch: bytes) -> tuple[Row, ...]:
    """The rows of a batch as they came: each still to be checked, also for being a row at all.

    What a row is, and whether a batch is one, must not depend on whose decoder reads it: versions of msgpack and its
    pure-Python twin differ in the depth they follow, in timestamps, in keys of maps. No command has these, so
    a row in which they occur is none, and all others are what they are.

    Raises:
        MalformedMessage: *batch* is not one msgpack array.
    """
    try:
        rows = _unpack(batch)
    except Exception:  # whatever the bytes, what can be read of them is read
        rows = tuple(map(_row_or_nothing, split_array(batch)))
    if type(rows) is not tuple:
        raise MalformedMessage("msgpack", "not an array")
    return rows


def _unpack(data: bytes) -> Any:
    return msgpack.unpackb(data, use_list=False, ext_hook=_refuse, object_pairs_hook=_refuse)


def _row_or_nothing(item: bytes) -> Row:
    try:
        row: Row = _unpack(item)
    except Exception:  # as above
        return ()
    return row


def decode_rows(batch: bytes) -> tuple[Row, ...]:
    """The rows of a batch, the fields of each whole numbers, texts, bytes and nil, but not checked further.

    A row with anything else in it is no command, and is given as an empty one.

    Raises:
        MalformedMessage: *batch* is not one msgpack array.
    """
    return tuple(row if _is_flat(row) else () for row in unpack_rows(batch))


def _is_flat(row: object) -> bool:
    return type(row) is tuple and _FIELD_TYPES.issuperset(map(type, row))


def decode_commands(batch: bytes) -> list[Command]:
    """The commands of a batch.

    Raises:
        MalformedMessage: *batch* is not a batch, or one of its rows is no command.
    """
    return [command_of(row) for row in decode_rows(batch)]
