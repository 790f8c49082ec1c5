"""The engine: a pure function of the command sequence, kept as a book that changes.

Nine commands in ten are a plain limit order that meets nothing, or the cancel of one. `apply_batch` carries
these out in its own loop, with what it needs in local names; everything else goes through `answering`. Both
do the same to the same data; `tests/matching/test_against_reference.py` holds the two, and a slow third
engine, side by side.
"""

from __future__ import annotations

import hashlib
from bisect import insort
from collections.abc import Iterator, Sequence
from typing import Final

from dhtex.errors import MalformedMessage, UsageError, invariant
from dhtex.matching.answering import ANSWERS, resume
from dhtex.matching.auction import Indication, indicate
from dhtex.matching.batch import Batch
from dhtex.matching.commands import (
    CANCEL,
    Command,
    OrderId,
    Row,
    SelfTrade,
    Side,
    TimeInForce,
    full_row,
    row_of,
    unpack_rows,
)
from dhtex.matching.entering import settle_down
from dhtex.matching.events import CancelReason, Event, RejectReason
from dhtex.matching.market import MAX_INTEGER, NODE_ID_SIZE, MarketSpec, Phase
from dhtex.matching.orders import (
    KEY,
    NEXT,
    PREV,
    QTY,
    TERMS,
    N,
    Owner,
    Terms,
    new_node,
    open_quantity,
    side_of,
)
from dhtex.matching.snapshot import restore, snapshot
from dhtex.matching.state import State
from dhtex.matching.stream import ACCEPTED, BEFORE, CANCELLED, DROPPED, EXPIRED, REJECTED, Stream, pack
from dhtex.matching.taking import OFF, take_displayed, take_plain
from dhtex.matching.views import Depth, LevelChange, Order, order_of

DIGEST_SIZE: Final = 32

ONE_DIGIT: Final = 2**30 - 1
"""CPython compares whole numbers up to this one without a call; limits are mostly above it. 2 % of the loop."""
BUY: Final = int(Side.BUY)
SELL: Final = int(Side.SELL)
NEWEST: Final = int(SelfTrade.CANCEL_NEWEST)
GTC: Final = int(TimeInForce.GTC)
IOC: Final = int(TimeInForce.IOC)
UNFILLED: Final = int(CancelReason.UNFILLED)


class MatchingEngine:
    """One market.

    Args:
        spec: its terms; two engines with equal specs that are given equal commands stay equal, to the bit.
    """

    __slots__ = ("_banded", "_spec", "_state")

    def __init__(self, spec: MarketSpec) -> None:
        self._spec = spec
        self._banded = bool(spec.dynamic_band_bps or spec.static_band_bps)
        self._state = State(spec)

    def __repr__(self) -> str:
        return f"<MatchingEngine {self._spec.symbol} at {self.position}: {len(self)} open orders>"

    def __len__(self) -> int:
        """Open orders: resting, asleep and all-or-none."""
        return self._state.opened

    # Commands in, events out

    def apply(
        self, command: Command, *, owner: bytes, n: int, timestamp: int, position: int | None = None
    ) -> tuple[Event, ...]:
        """Carry out one command.

        Args:
            command: what to do; it is refused, not repaired, where the rules say so.
            owner: the 20-byte node id of the sender.
            n: the sender's number for the command, above all its earlier ones; with *owner*, the order's id.
            timestamp: microseconds since the epoch, by the log; expiries are measured against it.
            position: the command's place in the total order; one above the last when left out.

        Returns:
            Its events, in order; at least one.
        Raises:
            OrderError: *command* is not a command at all.
            RuntimeError: *position* is not above the last one.
        """
        return self._run((row_of(command),), owner, n, timestamp, position, 1, 0).events()

    def apply_batch(
        self,
        commands: bytes,
        *,
        owner: bytes,
        first_n: int,
        count: int,
        timestamp: int,
        position: int,
        skip: int = 0,
    ) -> Batch:
        """Carry out a batch as it comes out of the log. Never raises for any *commands*.

        Args:
            commands: what `encode_commands` wrote; anything else, or another number of commands than
                *count*, has all of them rejected as malformed.
            owner: the 20-byte node id of the sender.
            first_n: the sender's number for the first command of the batch.
            count: how many commands the log says there are.
            timestamp: microseconds since the epoch, for all of them.
            position: that of the first command that is not skipped.
            skip: leading commands that took effect before and are passed over.
        """
        return self._run(commands, owner, first_n, timestamp, position, count, skip)

    # The whole state as bytes

    def snapshot(self) -> bytes:
        """The whole state, canonical: equal markets give equal bytes."""
        return snapshot(self._state)

    def restore(self, data: bytes) -> None:
        """Become what wrote *data*.

        Raises:
            MalformedMessage: not a snapshot of this market; the engine stays what it was.
        """
        self._state = restore(self._spec, data)

    def digest(self) -> bytes:
        """BLAKE2b-256 of the snapshot, 32 bytes."""
        return hashlib.blake2b(self.snapshot(), digest_size=DIGEST_SIZE).digest()

    # What can be seen

    @property
    def spec(self) -> MarketSpec:
        """The market's terms."""
        return self._spec

    @property
    def position(self) -> int:
        """That of the last command; 0 before the first."""
        return self._state.position

    @property
    def phase(self) -> Phase:
        """What the market does with orders."""
        return self._state.phase

    @property
    def resume_at(self) -> int | None:
        """The log time, microseconds, at which a band's pause ends; `None` when none is on."""
        return self._state.resume_at or None

    @property
    def last_price(self) -> int | None:
        """The last trade price in ticks; `None` before the first trade."""
        return self._state.last

    @property
    def best_bid(self) -> int | None:
        """The highest displayed bid in ticks."""
        return self._state.book.best(Side.BUY)

    @property
    def best_ask(self) -> int | None:
        """The lowest displayed ask in ticks."""
        return self._state.book.best(Side.SELL)

    def depth(self, levels_max: int | None = None) -> Depth:
        """The displayed book by level (L2), at most *levels_max* a side, best first."""
        book = self._state.book
        return Depth(tuple(book.depth(Side.BUY, levels_max)), tuple(book.depth(Side.SELL, levels_max)))

    def changes(self, batch: Batch) -> tuple[LevelChange, ...]:
        """The levels that *batch* may have changed, as they are now; bids first, ascending by price.

        Applied in turn to the depth before the batch they give the depth after it. Ask right after the batch.

        Raises:
            UsageError: another batch was applied since.
        """
        if batch.position + len(batch) - 1 != self.position:
            raise UsageError("the changes of a batch can be asked for until the next one is applied")
        levels = self._state.book.levels
        found = [
            LevelChange(side_of(key), abs(key), levels[key][QTY] if key in levels else 0)
            for key in batch.touched_keys()
        ]
        return tuple(sorted(found))

    def order(self, order: OrderId) -> Order | None:
        """An open order; `None` when there is none of this id."""
        owner = self._state.owners.get(order.node_id)
        node = owner.orders.get(order.n) if owner is not None else None
        return None if node is None else order_of(node)

    def orders(self, owner: bytes | None = None) -> Iterator[Order]:
        """Every open order of a node, oldest first; by default of all nodes, in the order of their ids."""
        owners = self._state.owners
        for node_id in sorted(owners) if owner is None else [owner] if owner in owners else []:
            for node in owners[node_id].orders.values():
                yield order_of(node)

    def queue(self, side: Side) -> Iterator[Order]:
        """Every displayed order of a side (L3), in the order in which takers meet them."""
        return map(order_of, self._state.book.orders(side))

    def indication(self) -> Indication | None:
        """What an auction would do if it ended now; `None` when nothing crosses."""
        return indicate(self._state.book, self._state.last)

    # How it is done

    def _run(
        self,
        batch: bytes | Sequence[Row],
        owner: bytes,
        first_n: int,
        timestamp: int,
        position: int | None,
        count: int,
        skip: int,
    ) -> Batch:
        state = self._state
        if position is None:
            position = state.position + 1
        invariant(position > state.position and 0 <= skip <= count, "positions ascend")
        rows: Sequence[Row] | None
        try:
            rows = unpack_rows(batch) if isinstance(batch, bytes) else batch
        except MalformedMessage:
            rows = None
        out: Stream = []
        if skip == count:
            return Batch(pack(out), (), owner, first_n + skip, position, timestamp, 0, skip)
        state.timestamp = timestamp
        state.position = position - 1  # what time moves in a queue stands before what the command puts there
        self._pass_time(timestamp, out)
        state.position = position
        first_n += skip
        if rows is None or len(rows) != count:
            self._refuse_all(owner, first_n, count - skip, out)
            rows = None
        else:
            self._apply_all(rows[skip:] if skip else rows, owner, first_n, out)
        state.position = position + count - skip - 1
        kept = None if rows is None else batch
        return Batch(pack(out), kept, owner, first_n, position, timestamp, count - skip, skip)

    def _apply_all(self, rows: Sequence[Row], owner: bytes, first_n: int, out: Stream) -> None:
        """Carry out the rows that have a proper id; the first has the state's position."""
        proper = len(owner) == NODE_ID_SIZE
        begin = max(0, 1 - first_n) if proper else len(rows)
        end = max(begin, MAX_INTEGER + 1 - first_n)
        _refuse(rows[:begin], RejectReason.INVALID_ID, out)
        if rows[begin:end]:
            self._state.position += begin
            self._apply_rows(rows[begin:end], owner, first_n + begin, out)
        _refuse(rows[end:], RejectReason.INVALID_ID, out)

    def _apply_rows(self, rows: Sequence[Row], node_id: bytes, first_n: int, out: Stream) -> None:
        """Carry out the rows of one owner, whatever they are; the first has the state's position."""
        state = self._state
        owner = self._owner(node_id)
        repeated = min(max(owner.last_n + 1 - first_n, 0), len(rows))
        owner.last_n = max(owner.last_n, first_n + len(rows) - 1)
        if repeated:
            _refuse(rows[:repeated], RejectReason.DUPLICATE_ID, out)
            rows = rows[repeated:]
        book = state.book
        bids, asks, levels = book.bids, book.asks, book.levels
        buys, sells, trailing = state.stops.buys, state.stops.sells, state.stops.trailing
        mine = owner.orders
        price_max, quantity_max = self._spec.limits.price, self._spec.limits.quantity
        one_digit = min(ONE_DIGIT, price_max, quantity_max)
        first_n += repeated
        ahead = state.position + repeated - first_n  # what a position has more than its n
        terms = Terms(owner, state.timestamp, ahead, NEWEST)  # shared by the plain orders of the batch
        opened = state.opened - len(mine)  # kept as a difference while the loop changes nothing but *mine*
        calm = self._is_calm(len(rows), len(mine))
        for n, row in enumerate(rows, first_n):
            if calm and type(row) is tuple:
                mode, force = NEWEST, GTC
                length = len(row)
                if length == 3:
                    operation, first, second = row
                elif length == 4:
                    operation, first, second, mode = row
                elif length == 5:
                    operation, first, second, mode, force = row
                else:
                    operation = first = second = None
                # Side, quantity, price, perhaps self-trade mode, perhaps time in force: a plain limit order. What is
                # no whole number (True is none) is for `_answer` to refuse; `is` asks for type and value at once.
                if (
                    (operation is BUY or operation is SELL)
                    and type(first) is type(second) is int
                    and first > 0
                    and (first <= one_digit or first <= quantity_max)
                    and second > 0
                    and (second <= one_digit or second <= price_max)
                    and (mode is terms.mode or (type(mode) is int and 0 <= mode <= OFF))
                    and (force is GTC or force is IOC)
                ):
                    if mode is not terms.mode:
                        terms = Terms(owner, state.timestamp, ahead, mode)
                    out.append(ACCEPTED)
                    if operation:
                        key, keys, facing = -second, asks, bids
                    else:
                        key, keys, facing = second, bids, asks
                    left = first
                    if facing[-1] + key >= 0:
                        state.opened = opened + len(mine)
                        left = take_plain(state, facing, key, first, None if mode == OFF else owner, out)
                        if left and facing[-1] + key >= 0:  # an order that is not plain, or its owner's
                            taker = new_node(n, key, left, terms)
                            take_displayed(state, taker, key, n + ahead, out)
                            left = taker[QTY]
                        opened = state.opened - len(mine)
                    if left and force is GTC:
                        level = levels.get(key)
                        if level is None:
                            level = [None, None, 0, key, 0]
                            level[PREV] = level[NEXT] = level
                            levels[key] = level
                            insort(keys, key)
                        last = level[PREV]
                        # The level's own key, so that there is one number for all its orders.
                        mine[n] = level[PREV] = last[NEXT] = [
                            last, level, left, level[KEY], level, n, first, terms,
                        ]  # fmt: skip
                        level[QTY] += left
                    elif left:
                        out += (DROPPED, node_id, n, key, left, 0, UNFILLED)
                    if left != first and (buys or sells or trailing):
                        state.position = n + ahead
                        state.opened = opened + len(mine)
                        settle_down(state, out)
                        opened = state.opened - len(mine)
                        calm = self._is_calm(len(rows), len(mine))
                    continue
                # CANCEL, node id, n: of an own plain order, which therefore rests in the displayed book.
                if (
                    operation is CANCEL
                    and length == 3
                    and first == node_id
                    and type(second) is int
                    and (node := mine.get(second))
                ):
                    before, behind, quantity, key, level, _, _, its = node
                    if its.plain:
                        del mine[second]
                        before[NEXT] = behind
                        behind[PREV] = before
                        level[QTY] -= quantity
                        if before is behind:
                            book.drop_level(level)
                        out.extend((CANCELLED, key, quantity))
                        continue
            state.opened = opened + len(mine)
            state.position = n + ahead
            self._answer(row, owner, n, out)
            opened = state.opened - len(mine)
            calm = self._is_calm(len(rows), len(mine))
        state.opened = opened + len(mine)

    def _answer(self, row: Row, owner: Owner, n: int, out: Stream) -> None:
        """Carry out any command, and what it sets off."""
        state = self._state
        try:
            whole = full_row(row)
        except MalformedMessage:
            reason: RejectReason | None = RejectReason.MALFORMED
        else:
            reason = ANSWERS[whole[0]](state, whole, owner, n, out)
        if reason is not None:
            out += (REJECTED, int(reason))
        else:
            settle_down(state, out)

    def _is_calm(self, count: int, mine: int) -> bool:
        """Whether each of *count* plain orders that meet nothing can simply rest, whatever the others do."""
        state, limits = self._state, self._spec.limits
        return (
            state.calm
            and not self._banded
            and state.opened + count <= limits.orders
            and mine + count <= limits.orders_per_account
            and len(state.book.levels) + count <= limits.levels
        )

    def _pass_time(self, timestamp: int, out: Stream) -> None:
        """Before a command of *timestamp*: expiries up to it, then the end of a band's pause."""
        state = self._state
        marked = False
        if state.expiries and state.expiries[0][0] <= timestamp:
            while (node := state.next_expired(timestamp)) is not None:
                if not marked:
                    out.append(BEFORE)
                    marked = True
                state.lift(node)
                state.forget(node)
                out += (EXPIRED, node[TERMS].owner.node_id, node[N], node[KEY], open_quantity(node))
        if state.resume_at and state.resume_at <= timestamp:
            if not marked:
                out.append(BEFORE)
            resume(state, out)
        if out:
            settle_down(state, out)

    def _refuse_all(self, owner: bytes, first_n: int, count: int, out: Stream) -> None:
        """Reject a batch that is not one; its numbers are used up all the same."""
        out += (REJECTED, int(RejectReason.MALFORMED)) * count
        last_n = min(first_n + count - 1, MAX_INTEGER)
        if len(owner) == NODE_ID_SIZE and max(first_n, 1) <= last_n:
            record = self._owner(owner)
            record.last_n = max(record.last_n, last_n)

    def _owner(self, node_id: bytes) -> Owner:
        owner = self._state.owners.get(node_id)
        if owner is None:
            owner = self._state.owners[node_id] = Owner(node_id)
        return owner


def _refuse(rows: Sequence[Row], reason: RejectReason, out: Stream) -> None:
    """Reject each row for *reason*, unless it is none."""
    for row in rows:
        try:
            full_row(row)
        except MalformedMessage:
            out += (REJECTED, int(RejectReason.MALFORMED))
        else:
            out += (REJECTED, int(reason))
