"""The slow engine: the rules again, written to be read, to hold the fast one against.

It keeps all open orders in one list, in the order in which they took their place in a queue, and looks everything up by
walking it. It shares with the fast engine only the values that go in and come out, the layout of the stream and the
snapshot, and the auction's tie rule. Whether something would work it finds out by trying it on a copy.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dhtex.errors import MalformedMessage
from dhtex.matching import stream
from dhtex.matching.auction import Indication, best_indication
from dhtex.matching.batch import Batch
from dhtex.matching.commands import (
    Amend,
    Cancel,
    CancelAll,
    Command,
    Kind,
    OrderId,
    Place,
    Row,
    SelfTrade,
    SetPhase,
    Side,
    TimeInForce,
    command_of,
    decode_rows,
    row_of,
)
from dhtex.matching.events import CancelReason, Event, RejectReason
from dhtex.matching.market import BPS, MAX_INTEGER, NODE_ID_SIZE, MarketSpec, Phase
from dhtex.matching.orders import key_of
from dhtex.matching.snapshot import ASLEEP, BESIDE, DISPLAYED, pack_state
from dhtex.matching.views import Depth

WAITS = (TimeInForce.GTC, TimeInForce.GTD)


@dataclass(eq=False)
class Open:
    """An open order, or one on its way in."""

    id: OrderId
    ask: Place
    kind: Kind
    price: int | None
    total: int
    shown: int
    hidden: int
    priority: int
    time: int
    trigger: int | None
    placed: int

    @property
    def side(self) -> Side:
        return self.ask.side

    @property
    def left(self) -> int:
        return self.shown + self.hidden

    @property
    def key(self) -> int:
        return key_of(self.side, self.price)

    @property
    def asleep(self) -> bool:
        return self.kind in (Kind.STOP, Kind.STOP_LIMIT, Kind.TRAILING_STOP)

    @property
    def displayed(self) -> bool:
        return not self.asleep and not self.ask.all_or_none


@dataclass
class ReferenceEngine:
    """The same face as `MatchingEngine`, as far as comparing them needs it; the same answers, slowly."""

    spec: MarketSpec
    position: int = 0
    timestamp: int = 0
    phase: Phase = Phase.CONTINUOUS
    resume_at: int = 0
    last_price: int | None = None
    reference: int | None = None
    numbers: dict[bytes, int] = field(default_factory=dict)
    book: list[Open] = field(default_factory=list)
    out: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.phase = self.spec.opening

    # Commands in, events out

    def apply(
        self, command: Command, *, owner: bytes, n: int, timestamp: int, position: int | None = None
    ) -> tuple[Event, ...]:
        """See `MatchingEngine.apply`."""
        at = self.position + 1 if position is None else position
        return self._run((row_of(command),), None, owner, n, 1, timestamp, at, 0).events()

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
        """See `MatchingEngine.apply_batch`."""
        try:
            rows: Sequence[Row] | None = decode_rows(commands)
        except MalformedMessage:
            rows = None
        return self._run(rows, commands, owner, first_n, count, timestamp, position, skip)

    def _run(
        self,
        rows: Sequence[Row] | None,
        blob: bytes | None,
        owner: bytes,
        first_n: int,
        count: int,
        timestamp: int,
        position: int,
        skip: int,
    ) -> Batch:
        self.out = []
        if rows is None or len(rows) != count:
            rows = None
        for at in range(skip, count):
            self.timestamp, self.position = timestamp, position + at - skip - 1
            self._pass_time()
            self.position += 1
            try:
                command = None if rows is None else command_of(rows[at])
            except MalformedMessage:
                command = None
            self._answer(command, owner, first_n + at)
        kept = None if rows is None else blob if blob is not None else rows
        packed = stream.pack(self.out)
        return Batch(packed, kept, owner, first_n + skip, position, timestamp, count - skip, skip)

    def _answer(self, command: Command | None, owner: bytes, n: int) -> None:
        known_id = len(owner) == NODE_ID_SIZE and 0 < n <= MAX_INTEGER
        repeated = known_id and n <= self.numbers.get(owner, 0)
        if known_id:
            self.numbers[owner] = max(n, self.numbers.get(owner, 0))
        if command is None:
            reason: RejectReason | None = RejectReason.MALFORMED
        elif not known_id:
            reason = RejectReason.INVALID_ID
        elif repeated:
            reason = RejectReason.DUPLICATE_ID
        else:
            reason = self._try(command, OrderId(owner, n))
        if reason is not None:
            self.out += [stream.REJECTED, int(reason)]

    def _try(self, command: Command, own: OrderId) -> RejectReason | None:
        """Refuse, or carry out."""
        match command:
            case Place():
                checks = self._place_checks(command, own)
            case Amend():
                checks = self._amend_checks(command, own)
            case Cancel():
                checks = self._cancel_checks(command, own)
            case SetPhase(phase):
                checks = [
                    (RejectReason.NOT_OPERATOR, lambda: own.node_id != self.spec.operator),
                    (RejectReason.PHASE_UNCHANGED, lambda: phase is self.phase),
                ]
            case CancelAll():
                checks = []
        for reason, applies in checks:
            if applies():
                return reason
        match command:
            case Place():
                self._place(command, own)
            case Amend():
                self._amend(command)
            case Cancel():
                self._cancel(command, own)
            case CancelAll():
                self._cancel_all(command, own)
            case SetPhase(phase):
                self._change_phase(phase, stream.PHASE_SET)
        self._settle_down()
        return None

    # Refusals, in order

    def _place_checks(self, place: Place, own: OrderId) -> list[tuple[RejectReason, Callable[[], bool]]]:
        limits = self.spec.limits
        kind, force = place.kind, place.time_in_force
        stop = kind in (Kind.STOP, Kind.STOP_LIMIT, Kind.TRAILING_STOP)
        resting_limit = kind is Kind.LIMIT and force in WAITS
        waits = stop or resting_limit
        contingent = kind is Kind.TRAILING_STOP or place.all_or_none
        mine = [order for order in self.book if order.id.node_id == own.node_id]
        account = [order for order in mine if order.ask.account == place.account]
        special = place.post_only or place.all_or_none

        def misfit() -> bool:
            return (
                (place.price is None) == (kind in (Kind.LIMIT, Kind.STOP_LIMIT))
                or (place.trigger is None) == (kind in (Kind.STOP, Kind.STOP_LIMIT))
                or (place.trail is None) == (kind is Kind.TRAILING_STOP)
                or (place.expiry is None) == (force is TimeInForce.GTD)
                or (kind is Kind.MARKET and force is TimeInForce.GTD)
                or (kind in (Kind.STOP, Kind.TRAILING_STOP) and force not in WAITS)
                or (special and not resting_limit)
                or (place.display is not None and not resting_limit)
                or place.post_only + place.all_or_none + (place.display is not None and place.all_or_none) > 1
            )

        def outside(value: int | None, highest: int) -> bool:
            return value is not None and not 1 <= value <= highest

        def bad_display() -> bool:
            display = place.display
            return display is not None and (
                not 1 <= display <= place.quantity or -(-place.quantity // display) > limits.slices
            )

        def crowded() -> bool:
            return waits and contingent and self._contingent() >= limits.contingent

        def no_level() -> bool:
            key = key_of(place.side, place.price)
            needs = waits and not contingent and place.price is not None
            return needs and not self._room_for(key)

        return [
            (RejectReason.HALTED, lambda: self.phase is Phase.HALTED),
            (
                RejectReason.NOT_IN_AUCTION,
                lambda: self.phase is Phase.AUCTION and not stop and (special or not resting_limit),
            ),
            (RejectReason.INVALID_COMBINATION, misfit),
            (RejectReason.INVALID_QUANTITY, lambda: outside(place.quantity, limits.quantity)),
            (RejectReason.INVALID_PRICE, lambda: outside(place.price, limits.price)),
            (
                RejectReason.INVALID_TRIGGER,
                lambda: outside(place.trigger, limits.price) or outside(place.trail, limits.price),
            ),
            (RejectReason.INVALID_DISPLAY, bad_display),
            (
                RejectReason.INVALID_EXPIRY,
                lambda: place.expiry is not None and not self.timestamp < place.expiry <= MAX_INTEGER,
            ),
            (
                RejectReason.TEXT_TOO_LONG,
                lambda: max(len(place.account.encode()), len(place.tag.encode())) > limits.text,
            ),
            (
                RejectReason.DUPLICATE_TAG,
                lambda: place.tag != "" and any(order.ask.tag == place.tag for order in account),
            ),
            (RejectReason.MARKET_FULL, lambda: waits and len(self.book) >= limits.orders),
            (RejectReason.ACCOUNT_FULL, lambda: waits and len(account) >= limits.orders_per_account),
            (RejectReason.CONTINGENT_FULL, crowded),
            (RejectReason.LEVELS_FULL, no_level),
            (
                RejectReason.POST_ONLY,
                lambda: (
                    place.post_only
                    and self._would_meet(place.side, key_of(place.side, place.price), place.quantity)
                ),
            ),
        ]

    def _amend_checks(self, amend: Amend, own: OrderId) -> list[tuple[RejectReason, Callable[[], bool]]]:
        order = self._find(amend.order)
        if order is None:
            return [(RejectReason.UNKNOWN_ORDER, lambda: True)]
        limits = self.spec.limits
        total = order.total if amend.quantity is None else amend.quantity
        left = order.left + total - order.total
        display = order.ask.display
        key = key_of(order.side, amend.price) if amend.price is not None else order.key
        return [
            (
                RejectReason.NOT_OWNER,
                lambda: own.node_id != order.id.node_id or amend.account != order.ask.account,
            ),
            (RejectReason.HALTED, lambda: self.phase is Phase.HALTED),
            (
                RejectReason.NOTHING_TO_AMEND,
                lambda: (
                    (amend.quantity is None and amend.price is None)
                    or (amend.price is not None and order.price is None)
                ),
            ),
            (RejectReason.INVALID_QUANTITY, lambda: not 1 <= total <= limits.quantity),
            (
                RejectReason.INVALID_PRICE,
                lambda: amend.price is not None and not 1 <= amend.price <= limits.price,
            ),
            (
                RejectReason.INVALID_DISPLAY,
                lambda: display is not None and left > 0 and -(-left // display) > limits.slices,
            ),
            (RejectReason.ALREADY_FILLED, lambda: left < 1),
            (
                RejectReason.LEVELS_FULL,
                lambda: key != order.key and not order.ask.all_or_none and not self._room_for(key),
            ),
            (
                RejectReason.POST_ONLY,
                lambda: (
                    order.ask.post_only
                    and self.phase is Phase.CONTINUOUS
                    and (key != order.key or left > order.left)
                    and self._would_meet(order.side, key, left)
                ),
            ),
        ]

    def _cancel_checks(self, cancel: Cancel, own: OrderId) -> list[tuple[RejectReason, Callable[[], bool]]]:
        order = self._find_cancelled(cancel, own)
        if order is None:
            return [(RejectReason.UNKNOWN_ORDER, lambda: True)]
        return [
            (
                RejectReason.NOT_OWNER,
                lambda: own.node_id != order.id.node_id or cancel.account != order.ask.account,
            )
        ]

    def _room_for(self, key: int) -> bool:
        keys = {order.key for order in self.book if order.displayed}
        return key in keys or len(keys) < self.spec.limits.levels

    def _contingent(self) -> int:
        return sum(order.kind is Kind.TRAILING_STOP or order.ask.all_or_none for order in self.book)

    def _would_meet(self, side: Side, key: int, quantity: int) -> bool:
        return any(
            order.side is not side
            and not order.asleep
            and order.key + key >= 0
            and (order.displayed or order.left <= quantity)
            for order in self.book
        )

    # Commands

    def _place(self, place: Place, own: OrderId) -> None:
        self.out.append(stream.ACCEPTED)
        order = Open(
            own, place, place.kind, place.price, place.quantity, place.quantity, 0,
            self.position, self.timestamp, place.trigger, self.position,
        )  # fmt: skip
        self._enter(order)

    def _amend(self, amend: Amend) -> None:
        order = self._find(amend.order)
        assert order is not None
        old_key, old_left = order.key, order.left
        total = order.total if amend.quantity is None else amend.quantity
        price = order.price if amend.price is None else amend.price
        left = old_left + total - order.total
        order.total = total
        keeps = left <= old_left and price == order.price
        new_key = key_of(order.side, price)
        self.out += [stream.AMENDED, *order.id, old_key, new_key, left, int(keeps)]
        if keeps:
            order.hidden = max(0, left - order.shown)
            order.shown = left - order.hidden
        else:
            self.book.remove(order)
            order.price, order.shown, order.hidden, order.priority = price, left, 0, self.position
            self._enter(order)

    def _cancel(self, cancel: Cancel, own: OrderId) -> None:
        order = self._find_cancelled(cancel, own)
        assert order is not None
        self.book.remove(order)
        if cancel.order is not None:
            self.out += [stream.CANCELLED, order.key, order.left]
        else:
            self.out += [stream.TAG_CANCELLED, order.id.n, order.key, order.left]

    def _cancel_all(self, command: CancelAll, own: OrderId) -> None:
        self.out.append(stream.ACCEPTED)
        mine = [order for order in self.book if order.id.node_id == own.node_id]
        for order in sorted(mine, key=lambda order: order.id.n):
            if command.side in (None, order.side) and command.account in (None, order.ask.account):
                self._drop(order, CancelReason.REQUESTED)

    def _change_phase(self, phase: Phase, code: int) -> None:
        self.phase, self.resume_at = phase, 0
        indication = self.indication() if phase is Phase.CONTINUOUS else None
        self.out += [code, int(phase), None if indication is None else indication.price]
        if indication is not None:
            self._uncross(indication)

    def _uncross(self, indication: Indication) -> None:
        left = indication.quantity
        while left:
            buyer, seller = self._queue(Side.BUY)[0], self._queue(Side.SELL)[0]
            quantity = min(left, buyer.left, seller.left)
            self.out += [stream.CROSS, indication.price, quantity]
            self.out += [*buyer.id, buyer.key, *seller.id, seller.key]
            for order in (buyer, seller):
                rest = order.left - quantity
                order.shown = rest if order.ask.display is None else min(rest, order.ask.display)
                order.hidden = rest - order.shown
                if not rest:
                    self.book.remove(order)
            left -= quantity
        self.reference = indication.price
        self._print(indication.price)

    def indication(self) -> Indication | None:
        """See `MatchingEngine.indication`."""
        curve = []
        for price in sorted({abs(order.key) for order in self.book if order.displayed}):
            want = sum(o.left for o in self.book if o.displayed and o.side is Side.BUY and o.key >= price)
            offer = sum(o.left for o in self.book if o.displayed and o.side is Side.SELL and -o.key <= price)
            if want and offer:
                curve.append(Indication(price, min(want, offer), want - offer))
        return best_indication(curve, self.last_price) if curve else None

    # Before and after a command

    def _pass_time(self) -> None:
        due = [
            order
            for order in self.book
            if order.ask.expiry is not None and order.ask.expiry <= self.timestamp
        ]
        due.sort(key=lambda order: (order.ask.expiry, order.placed))
        resumes = 0 < self.resume_at <= self.timestamp
        if due or resumes:
            self.out.append(stream.BEFORE)
        for order in due:
            self.book.remove(order)
            self.out += [stream.EXPIRED, *order.id, order.key, order.left]
        if resumes:
            self._change_phase(Phase.CONTINUOUS, stream.PHASE_CHANGED)
        if due or resumes:
            self._settle_down()

    def _settle_down(self) -> None:
        chosen: list[Open] = []
        while self.phase is Phase.CONTINUOUS:
            order = self._fillable()
            if order is None:
                reached = [stop for stop in self.book if stop not in chosen and self._reached(stop)]
                reached.sort(key=lambda stop: -abs((self.last_price or 0) - (stop.trigger or 0)))
                chosen += reached
                if not chosen:
                    return
                order = chosen.pop(0)
                order.kind = Kind.LIMIT if order.kind is Kind.STOP_LIMIT else Kind.MARKET
                order.trigger, order.priority = None, self.position
            self.book.remove(order)
            self.out += [stream.TRIGGERED, *order.id, order.key]
            self._enter(order)

    def _fillable(self) -> Open | None:
        for side in Side:
            waiting = [o for o in self.book if o.side is side and not o.asleep and o.ask.all_or_none]
            for order in sorted(waiting, key=lambda order: -order.key):
                if self._can_fill(order):
                    return order
        return None

    def _reached(self, order: Open) -> bool:
        if not order.asleep or order.trigger is None or self.last_price is None:
            return False
        return (
            order.trigger <= self.last_price if order.side is Side.BUY else order.trigger >= self.last_price
        )

    # Trading

    def _enter(self, order: Open) -> None:
        if order.asleep:
            if order.kind is Kind.TRAILING_STOP and order.trigger is None and self.last_price is not None:
                self._follow(order, self.last_price)
            self.book.append(order)
            return
        force = order.ask.time_in_force
        rests = order.kind is Kind.LIMIT and force in WAITS
        reason = CancelReason.UNFILLED
        if self.phase is Phase.CONTINUOUS:
            if force is TimeInForce.FOK or order.ask.all_or_none:
                if self._can_fill(order):
                    self._take(order)
                else:
                    reason = CancelReason.KILLED
            else:
                self._take(order)
                meets = any(
                    o.displayed and o.side is not order.side and o.key + order.key >= 0 for o in self.book
                )
                if order.left and meets:  # nothing but a band kept it from going on
                    self.phase = Phase.AUCTION
                    self.resume_at = self.timestamp + self.spec.pause_us
                    self.out += [stream.PHASE_CHANGED, int(Phase.AUCTION), None]
                    reason = CancelReason.PAUSED
        if not order.left:
            return
        if rests and not order.ask.all_or_none and not self._room_for(order.key):
            rests, reason = False, CancelReason.LEVELS_FULL
        if not rests:
            self.out += [stream.DROPPED, *order.id, order.key, order.left, 0, int(reason)]
            return
        if order.ask.display is not None:
            left = order.left
            order.shown = min(left, order.ask.display)
            order.hidden = left - order.shown
        self.book.append(order)

    def _bands(self) -> list[tuple[int, int]]:
        """Between which prices a trade may take place now: (reference price in ticks, basis points) of each band."""
        spec = self.spec
        bands = ((self.last_price, spec.dynamic_band_bps), (self.reference, spec.static_band_bps))
        return [(price, bps) for price, bps in bands if bps and price is not None]

    def _can_fill(self, order: Open) -> bool:
        """Try it on a copy."""
        trial = copy.deepcopy(self)
        twin = copy.deepcopy(order)
        trial.book = [other for other in trial.book if other.id != order.id]
        wanted, trial.out = twin.left, []
        trial._take(twin)
        ended = [at for at in _dropped(trial.out) if at == tuple(order.id)]
        return wanted > 0 and twin.left == 0 and not ended

    def _take(self, taker: Open) -> None:
        bands = self._bands()
        passed: list[Open] = []
        while taker.left:
            maker = next((o for o in self._queue(taker.side.opposite, beside=True) if o not in passed), None)
            if maker is None or maker.key + taker.key < 0:
                return
            price = abs(maker.key)
            beyond = any(abs(price - middle) * BPS > bps * middle for middle, bps in bands)
            if beyond and maker.displayed:
                return
            if maker.ask.all_or_none and (beyond or maker.left > taker.left):
                passed.append(maker)
            elif self._is_self_trade(taker, maker):
                self._prevent(taker, maker)
            else:
                quantity = min(taker.left, maker.shown)
                self.out += [stream.TRADE, maker.key, quantity, *maker.id]
                taker.shown -= quantity
                maker.shown -= quantity
                self._print(abs(maker.key))
                self._replenish(maker)

    def _queue(self, side: Side, *, beside: bool = False) -> list[Open]:
        """Orders of a side in priority; the sort keeps the list's order within a price."""
        found = [o for o in self.book if o.side is side and not o.asleep and (beside or o.displayed)]
        return sorted(found, key=lambda order: -order.key)

    def _replenish(self, maker: Open) -> None:
        if maker.shown:
            return
        self.book.remove(maker)
        if maker.hidden:
            maker.shown = min(maker.hidden, maker.ask.display or 0)
            maker.hidden -= maker.shown
            maker.priority = self.position
            self.book.append(maker)
            self.out += [stream.REPLENISHED, *maker.id, maker.key, maker.shown, maker.hidden]

    def _is_self_trade(self, taker: Open, maker: Open) -> bool:
        return (
            taker.ask.self_trade is not SelfTrade.OFF
            and taker.id.node_id == maker.id.node_id
            and taker.ask.account == maker.ask.account
        )

    def _prevent(self, taker: Open, maker: Open) -> None:
        mode = taker.ask.self_trade
        if mode is SelfTrade.DECREMENT:
            quantity = min(taker.left, maker.shown)
            maker.shown -= quantity
            self._say_dropped(maker, quantity)
            self._replenish(maker)
            taker.shown -= quantity
            self._say_dropped(taker, quantity)
            return
        if mode in (SelfTrade.CANCEL_OLDEST, SelfTrade.CANCEL_BOTH):
            self._drop(maker, CancelReason.SELF_TRADE)
        if mode in (SelfTrade.CANCEL_NEWEST, SelfTrade.CANCEL_BOTH):
            quantity, taker.shown = taker.shown, 0
            self._say_dropped(taker, quantity)

    def _say_dropped(self, order: Open, quantity: int) -> None:
        reason = int(CancelReason.SELF_TRADE)
        self.out += [stream.DROPPED, *order.id, order.key, quantity, order.left, reason]

    def _drop(self, order: Open, reason: CancelReason) -> None:
        self.book.remove(order)
        self.out += [stream.DROPPED, *order.id, order.key, order.left, 0, int(reason)]

    def _print(self, price: int) -> None:
        self.last_price = price
        if self.reference is None:
            self.reference = price
        for order in self.book:
            if order.kind is Kind.TRAILING_STOP:
                self._follow(order, price)

    def _follow(self, order: Open, price: int) -> None:
        trail = order.ask.trail or 0
        if order.side is Side.BUY:
            order.trigger = price + trail if order.trigger is None else min(order.trigger, price + trail)
        else:
            order.trigger = price - trail if order.trigger is None else max(order.trigger, price - trail)

    # Views

    def _find(self, order_id: OrderId) -> Open | None:
        return next((order for order in self.book if order.id == order_id), None)

    def _find_cancelled(self, cancel: Cancel, own: OrderId) -> Open | None:
        if cancel.order is not None:
            return self._find(cancel.order)
        wanted = (own.node_id, cancel.account, cancel.tag)
        return next((o for o in self.book if (o.id.node_id, o.ask.account, o.ask.tag) == wanted), None)

    def depth(self) -> Depth:
        """See `MatchingEngine.depth`."""
        sides = []
        for side in Side:
            lots: dict[int, int] = {}
            for order in self._queue(side):
                lots[abs(order.key)] = lots.get(abs(order.key), 0) + order.shown
            sides.append(tuple(lots.items()))
        return Depth(*sides)

    def snapshot(self) -> bytes:
        """See `MatchingEngine.snapshot`."""
        owners = sorted(self.numbers.items())
        index = {node_id: at for at, (node_id, _) in enumerate(owners)}
        placed = [(DISPLAYED, order) for side in Side for order in self._queue(side)]
        placed += [(BESIDE, o) for side in Side for o in self._queue(side, beside=True) if not o.displayed]
        placed += [(ASLEEP, order) for order in self.book if order.asleep]
        rows = [
            [
                index[o.id.node_id], o.id.n, place, o.key, o.shown, o.total, o.priority, o.time,
                int(o.ask.self_trade), _terms_row(o),
            ]
            for place, o in placed
        ]  # fmt: skip
        header = (
            self.position,
            self.timestamp,
            int(self.phase),
            self.resume_at,
            self.last_price,
            self.reference,
        )
        return pack_state(self.spec, header, owners, rows)

    def digest(self) -> bytes:
        """See `MatchingEngine.digest`."""
        return hashlib.blake2b(self.snapshot(), digest_size=32).digest()


def _dropped(out: list[Any]) -> list[tuple[bytes, int]]:
    """The ids of all orders that a stream says were dropped."""
    return [(out[at + 1], out[at + 2]) for at in stream.records(out) if out[at] == stream.DROPPED]


def _terms_row(order: Open) -> list[Any] | None:
    ask = order.ask
    plain = (Kind.LIMIT, TimeInForce.GTC, False, False, None, "", "")
    asked = (ask.kind, ask.time_in_force, ask.post_only, ask.all_or_none, ask.display, ask.account, ask.tag)
    if asked == plain:
        return None
    trail = ask.trail if order.asleep else None
    return [
        int(order.kind), int(ask.time_in_force), ask.expiry, int(ask.post_only), int(ask.all_or_none), ask.display,
        order.hidden, ask.account, ask.tag, order.trigger, trail, order.placed,
    ]  # fmt: skip
