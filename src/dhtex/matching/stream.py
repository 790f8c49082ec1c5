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

from dhtex.matching.commands import AMEND, CANCEL, OrderId, Row, command_of
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


class Reader:
    """Turns the stream of one batch into events.

    Args:
        rows: the commands that were applied; `None` for a batch that was malformed as a whole.
        owner: whose batch.
        first_n: the number of the first command applied.
        position: its position.
    """

    def __init__(self, rows: Sequence[Row] | None, owner: bytes, first_n: int, position: int) -> None:
        self._rows = rows
        self._owner = owner
        self._first_n = first_n
        self._position = position
        self._command = -1
        self._index = 0
        self._taker = OrderId(owner, first_n)

    def read(self, packed: bytes) -> list[Event]:
        """All events, in order."""
        stream: Stream = msgpack.unpackb(packed)
        events: list[Event] = []
        answered = True
        for at in records(stream):
            code = stream[at]
            fields = stream[at + 1 : at + 1 + _FIELDS[code]]
            if code == BEFORE or (code <= PHASE_SET and answered):
                self._command += 1
                self._index = 0
            if code == BEFORE or code <= PHASE_SET:
                answered = code != BEFORE
            if code != BEFORE:
                events.append(_READERS[code](self, *fields))
                self._index += 1
        return events

    @property
    def _at(self) -> tuple[int, int]:
        return self._position + self._command, self._index

    @property
    def _own_id(self) -> OrderId:
        return OrderId(self._owner, self._first_n + self._command)

    def _row(self) -> Row:
        if self._rows is None:
            raise ValueError("a malformed batch has only rejections")
        return self._rows[self._command]

    def _accepted(self) -> Event:
        self._taker = self._own_id
        return Accepted(*self._at, self._own_id, command_of(self._row()))

    def _rejected(self, reason: int) -> Event:
        return Rejected(*self._at, self._own_id, RejectReason(reason))

    def _cancelled(self, key: int, lots: int) -> Event:
        row = self._row()
        if row[0] != CANCEL:
            raise ValueError("the stream does not belong to the batch")
        return self._gone(OrderId(row[1], row[2]), key, lots, 0, CancelReason.REQUESTED)

    def _tag_cancelled(self, n: int, key: int, lots: int) -> Event:
        return self._gone(OrderId(self._owner, n), key, lots, 0, CancelReason.REQUESTED)

    def _amended(self, node_id: bytes, n: int, old_key: int, key: int, lots: int, kept: int) -> Event:
        self._taker = OrderId(node_id, n)
        return Amended(
            *self._at, self._taker, side_of(key), price_of(old_key), price_of(key), lots, bool(kept)
        )

    def _phase(self, phase: int, price: int | None) -> Event:
        return PhaseChanged(*self._at, Phase(phase), price)

    def _trade(self, key: int, lots: int, node_id: bytes, n: int) -> Event:
        return Trade(*self._at, abs(key), lots, OrderId(node_id, n), self._taker, side_of(key).opposite)

    def _cross(self, price: int, lots: int, *orders: Any) -> Event:
        buyer, buyer_n, _, seller, seller_n, _ = orders
        return Trade(*self._at, price, lots, OrderId(buyer, buyer_n), OrderId(seller, seller_n), None)

    def _dropped(self, node_id: bytes, n: int, key: int, lots: int, remaining: int, reason: int) -> Event:
        return self._gone(OrderId(node_id, n), key, lots, remaining, CancelReason(reason))

    def _gone(self, order: OrderId, key: int, lots: int, remaining: int, reason: CancelReason) -> Event:
        return Cancelled(*self._at, order, side_of(key), price_of(key), lots, remaining, reason)

    def _triggered(self, node_id: bytes, n: int, key: int) -> Event:
        self._taker = OrderId(node_id, n)
        return Triggered(*self._at, self._taker, side_of(key), price_of(key))

    def _replenished(self, node_id: bytes, n: int, key: int, shown: int, hidden: int) -> Event:
        return Replenished(*self._at, OrderId(node_id, n), side_of(key), abs(key), shown, hidden)

    def _expired(self, node_id: bytes, n: int, key: int, lots: int) -> Event:
        return Expired(*self._at, OrderId(node_id, n), side_of(key), price_of(key), lots)


_READERS: Final[dict[int, Callable[..., Event]]] = {
    ACCEPTED: Reader._accepted,
    REJECTED: Reader._rejected,
    CANCELLED: Reader._cancelled,
    TAG_CANCELLED: Reader._tag_cancelled,
    AMENDED: Reader._amended,
    PHASE_SET: Reader._phase,
    TRADE: Reader._trade,
    CROSS: Reader._cross,
    DROPPED: Reader._dropped,
    TRIGGERED: Reader._triggered,
    REPLENISHED: Reader._replenished,
    PHASE_CHANGED: Reader._phase,
    EXPIRED: Reader._expired,
}
