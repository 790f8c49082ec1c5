"""The events of a batch as one flat msgpack array: what the log's digest covers and events are read from.

A record is its number followed by its fields. A command's answer is one of the first six; it may be short,
because who asked and for what stands in the batch itself. What a command found to do before it was answered
stands before the answer, behind one `BEFORE`. So the stream and its batch together say everything, and no
event is an object until somebody asks.

    0 accepted                                     6 trade          maker's key, lots, maker
    1 rejected       reason                        7 cross          price, lots, buyer, key, seller, key
    2 cancelled      key, lots                     8 dropped        order, key, lots, remaining, reason
    3 tag cancelled  n, key, lots                  9 triggered      order, key
    4 amended        order, old key, key, lots,   10 replenished    order, key, shown, hidden
                     kept                         11 phase changed  phase, price
    5 phase set      phase, price                 12 expired        order, key, lots
                                                  13 before

An order is its node id and n; a key is a price, negative for a sell; a price that is not there is nil.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgpack

from dhtex.matching.commands import AMEND, OrderId, Row, Side
from dhtex.matching.events import (
    Accepted,
    Amended,
    Cancelled,
    CancelReason,
    Event,
    Expired,
    PhaseChanged,
    Rejected,
    RejectReason,
    Replenished,
    Trade,
    Triggered,
)
from dhtex.matching.market import Phase
from dhtex.matching.orders import MARKET_BUY, MARKET_SELL, key_of, price_of, side_of

ACCEPTED: Final = 0
REJECTED: Final = 1
CANCELLED: Final = 2
TAG_CANCELLED: Final = 3
AMENDED: Final = 4
PHASE_SET: Final = 5
TRADE: Final = 6
CROSS: Final = 7
DROPPED: Final = 8
TRIGGERED: Final = 9
REPLENISHED: Final = 10
PHASE_CHANGED: Final = 11
EXPIRED: Final = 12
BEFORE: Final = 13

_FIELDS: Final = (0, 1, 2, 3, 6, 2, 4, 8, 6, 3, 5, 2, 4, 0)
_KEYS: Final = ((), (), (1,), (2,), (3, 4), (), (1,), (5, 8), (3,), (3,), (3,), (), (3,), ())
"""Where in each record keys stand, the record's number counted as 0."""

BUY: Final = Side.BUY
SELL: Final = Side.SELL
REQUESTED: Final = CancelReason.REQUESTED

Stream = list[Any]
"""Records as they are gathered, flat."""


def pack(stream: Stream) -> bytes:
    """The canonical bytes of a batch's events."""
    return bytes(msgpack.packb(stream))


def records(stream: Stream) -> Iterator[int]:
    """Where each record of a stream starts."""
    at = 0
    while at < len(stream):
        yield at
        at += 1 + _FIELDS[stream[at]]


def touched_keys(packed: bytes, rows: Sequence[Row] | None) -> set[int]:
    """The keys of all orders that these events are about: no other displayed level can have changed."""
    stream: Stream = msgpack.unpackb(packed)
    touched: set[int] = set()
    command, answered = -1, True
    for at in records(stream):
        code = stream[at]
        if code == BEFORE or (code <= PHASE_SET and answered):
            command += 1
        if code == BEFORE or code <= PHASE_SET:
            answered = code != BEFORE
        if code == ACCEPTED and rows is not None and rows[command][0] < AMEND:
            touched.add(key_of(rows[command][0], rows[command][2]))
        for field in _KEYS[code]:
            touched.add(stream[at + field])
    return touched - {MARKET_BUY, MARKET_SELL}


def read_events(
    packed: bytes, rows: Sequence[Row] | None, owner: bytes, first_n: int, position: int
) -> tuple[Event, ...]:
    """The events of a batch, in order.

    Args:
        packed: the stream.
        rows: the commands that were applied; `None` for a batch that was malformed as a whole.
        owner: whose batch.
        first_n: the number of the first command applied.
        position: its position.
    """
    stream: Stream = msgpack.unpackb(packed)
    events: list[Event] = []
    answered, n, index = True, first_n - 1, 0
    position -= 1
    own = taker = OrderId(owner, n)
    for at in records(stream):
        code = stream[at]
        if code <= PHASE_SET or code == BEFORE:
            if answered:
                n += 1
                position += 1
                index = 0
                own = taker = OrderId(owner, n)
            answered = code != BEFORE
            if not answered:
                continue
        if code == ACCEPTED and rows is not None:
            taker = own
            events.append(Accepted(position, index, own, rows[n - first_n]))
        elif code == TRADE:
            _, key, lots, node_id, maker_n = stream[at : at + 5]
            maker, aggressor = OrderId(node_id, maker_n), SELL if key > 0 else BUY
            events.append(Trade(position, index, abs(key), lots, maker, taker, aggressor))
        elif code == CANCELLED and rows is not None:
            _, node_id, order_n, *_ = rows[n - first_n]
            key, lots = stream[at + 1], stream[at + 2]
            order, side = OrderId(node_id, order_n), BUY if key > 0 else SELL
            events.append(Cancelled(position, index, order, side, price_of(key), lots, 0, REQUESTED))
        elif code == REJECTED:
            events.append(Rejected(position, index, own, RejectReason(stream[at + 1])))
        else:
            event = _READERS[code](position, index, own, *stream[at + 1 : at + 1 + _FIELDS[code]])
            if isinstance(event, Amended | Triggered):  # from here on trades are this order's doing
                taker = event.order
            events.append(event)
        index += 1
    return tuple(events)


def _tag_cancelled(at: int, index: int, own: OrderId, n: int, key: int, lots: int) -> Event:
    return Cancelled(at, index, OrderId(own.node_id, n), side_of(key), price_of(key), lots, 0, REQUESTED)


def _amended(
    at: int, index: int, own: OrderId, node_id: bytes, n: int, old: int, key: int, lots: int, kept: int
) -> Event:
    return Amended(
        at,
        index,
        OrderId(node_id, n),
        side_of(key),
        price_of(old),
        price_of(key),
        lots,
        kept_priority=bool(kept),
    )


def _phase(at: int, index: int, own: OrderId, phase: int, price: int | None) -> Event:
    return PhaseChanged(at, index, Phase(phase), price)


def _cross(at: int, index: int, own: OrderId, price: int, lots: int, *orders: Any) -> Event:
    buyer, buyer_n, _, seller, seller_n, _ = orders
    return Trade(at, index, price, lots, OrderId(buyer, buyer_n), OrderId(seller, seller_n), None)


def _dropped(
    at: int, index: int, own: OrderId, node_id: bytes, n: int, key: int, lots: int, left: int, why: int
) -> Event:
    order = OrderId(node_id, n)
    return Cancelled(at, index, order, side_of(key), price_of(key), lots, left, CancelReason(why))


def _triggered(at: int, index: int, own: OrderId, node_id: bytes, n: int, key: int) -> Event:
    return Triggered(at, index, OrderId(node_id, n), side_of(key), price_of(key))


def _replenished(
    at: int, index: int, own: OrderId, node_id: bytes, n: int, key: int, shown: int, hidden: int
) -> Event:
    return Replenished(at, index, OrderId(node_id, n), side_of(key), abs(key), shown, hidden)


def _expired(at: int, index: int, own: OrderId, node_id: bytes, n: int, key: int, lots: int) -> Event:
    return Expired(at, index, OrderId(node_id, n), side_of(key), price_of(key), lots)


_READERS: Final[dict[int, Callable[..., Event]]] = {
    TAG_CANCELLED: _tag_cancelled,
    AMENDED: _amended,
    PHASE_SET: _phase,
    CROSS: _cross,
    DROPPED: _dropped,
    TRIGGERED: _triggered,
    REPLENISHED: _replenished,
    PHASE_CHANGED: _phase,
    EXPIRED: _expired,
}
"""Those that are rarely read; the others are in the loop above."""
