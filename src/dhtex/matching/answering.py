"""Validate, then mutate: each command's answer.

Every function here takes a checked row (`commands.full_row`) and either returns the reason why it refuses,
having changed nothing, or carries the command out and returns `None`. Reasons are tried in the order of
`RejectReason`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dhtex.matching.auction import uncross
from dhtex.matching.commands import (
    ALL_OR_NONE,
    AMEND,
    CANCEL,
    CANCEL_ALL,
    CANCEL_TAG,
    PHASE,
    POST_ONLY,
    Kind,
    Row,
    Side,
    TimeInForce,
)
from dhtex.matching.entering import enter
from dhtex.matching.events import CancelReason, RejectReason
from dhtex.matching.market import MAX_INTEGER, Phase
from dhtex.matching.orders import (
    KEY,
    MARKET_BUY,
    MARKET_SELL,
    NO_KEY,
    QTY,
    TERMS,
    TOTAL,
    N,
    Node,
    Owner,
    SpecialTerms,
    Terms,
    key_of,
    move_to,
    new_node,
    open_quantity,
    side_of,
)
from dhtex.matching.state import State
from dhtex.matching.stream import (
    ACCEPTED,
    AMENDED,
    CANCELLED,
    PHASE_CHANGED,
    PHASE_SET,
    TAG_CANCELLED,
    Stream,
)

_WAITS: Final = (TimeInForce.GTC, TimeInForce.GTD)


def place(state: State, row: Row, owner: Owner, n: int, out: Stream) -> RejectReason | None:
    """A new order."""
    side, quantity, price, mode, force, kind, flags, display, expiry, trigger, trail, account, tag = row
    reason = (
        _refuse_phase(state, kind, force, flags)
        or _refuse_shape(row)
        or _refuse_numbers(state, row)
        or _refuse_texts(state, owner, account, tag)
    )
    if reason is not None:
        return reason
    key = key_of(side, price)
    waits = kind >= Kind.STOP or (kind == Kind.LIMIT and force in _WAITS)
    contingent = kind == Kind.TRAILING_STOP or bool(flags & ALL_OR_NONE)
    reason = _refuse_room(state, owner, account, key, waits=waits, contingent=contingent)
    if reason is not None:
        return reason
    if flags & POST_ONLY and _meets(state, key, quantity):
        return RejectReason.POST_ONLY
    ahead = state.position - n
    if (kind, flags, display, expiry, account, tag) == (Kind.LIMIT, 0, None, None, "", ""):
        terms = Terms(owner, state.timestamp, ahead, mode)
    else:
        terms = SpecialTerms(
            owner,
            state.timestamp,
            ahead,
            mode,
            kind=kind,
            force=force,
            expiry=expiry,
            post_only=bool(flags & POST_ONLY),
            all_or_none=bool(flags & ALL_OR_NONE),
            display=display,
            account=account,
            tag=tag,
            trigger=trigger,
            trail=trail,
            placed=state.position,
        )
    node = new_node(n, key, quantity, terms)
    out.append(ACCEPTED)
    enter(state, node, out, known=False, force=force)
    return None


def _refuse_phase(state: State, kind: int, force: int, flags: int) -> RejectReason | None:
    if state.phase is Phase.HALTED:
        return RejectReason.HALTED
    gathers = kind >= Kind.STOP or (kind == Kind.LIMIT and force in _WAITS and not flags)
    if state.phase is Phase.AUCTION and not gathers:
        return RejectReason.NOT_IN_AUCTION
    return None


def _refuse_shape(row: Row) -> RejectReason | None:
    """Whether the fields belong together; the table is in docs/reference/matching.md."""
    _, _, price, _, force, kind, flags, display, expiry, trigger, trail, _, _ = row
    priced = kind in (Kind.LIMIT, Kind.STOP_LIMIT)
    fits = (
        priced == (price is not None)
        and (kind in (Kind.STOP, Kind.STOP_LIMIT)) == (trigger is not None)
        and (kind == Kind.TRAILING_STOP) == (trail is not None)
        and (force == TimeInForce.GTD) == (expiry is not None)
        and (kind != Kind.MARKET or force != TimeInForce.GTD)
        and (kind not in (Kind.STOP, Kind.TRAILING_STOP) or force in _WAITS)
        and flags != POST_ONLY | ALL_OR_NONE
        and (not (flags or display is not None) or (kind == Kind.LIMIT and force in _WAITS))
        and not (flags & ALL_OR_NONE and display is not None)
    )
    return None if fits else RejectReason.INVALID_COMBINATION


def _refuse_numbers(state: State, row: Row) -> RejectReason | None:
    _, quantity, price, _, _, _, _, display, expiry, trigger, trail, _, _ = row
    limits = state.spec.limits
    if not 0 < quantity <= limits.quantity:
        return RejectReason.INVALID_QUANTITY
    if price is not None and not 0 < price <= limits.price:
        return RejectReason.INVALID_PRICE
    if trigger is not None and not 0 < trigger <= limits.price:
        return RejectReason.INVALID_TRIGGER
    if trail is not None and not 0 < trail <= limits.price:
        return RejectReason.INVALID_TRIGGER
    if display is not None and not 0 < display <= quantity <= display * limits.slices:
        return RejectReason.INVALID_DISPLAY
    if expiry is not None and not state.timestamp < expiry <= MAX_INTEGER:
        return RejectReason.INVALID_EXPIRY
    return None


def _refuse_texts(state: State, owner: Owner, account: str, tag: str) -> RejectReason | None:
    text_max = state.spec.limits.text
    if len(account.encode()) > text_max or len(tag.encode()) > text_max:
        return RejectReason.TEXT_TOO_LONG
    if tag and (account, tag) in owner.tags:
        return RejectReason.DUPLICATE_TAG
    return None


def _refuse_room(
    state: State, owner: Owner, account: str, key: int, *, waits: bool, contingent: bool
) -> RejectReason | None:
    limits = state.spec.limits
    if not waits:
        return None
    if state.opened >= limits.orders:
        return RejectReason.MARKET_FULL
    if owner.open_of(account) >= limits.orders_per_account:
        return RejectReason.ACCOUNT_FULL
    if contingent:
        beside = state.book.beside
        if len(state.stops.trailing) + len(beside[0]) + len(beside[1]) >= limits.contingent:
            return RejectReason.CONTINGENT_FULL
    elif key not in (MARKET_BUY, MARKET_SELL) and not state.room_for(key):
        return RejectReason.LEVELS_FULL
    return None


def _meets(state: State, key: int, quantity: int) -> bool:
    """Whether an order would find a counterparty at once."""
    beside = state.book.beside[key > 0]
    return state.crosses(key) or any(
        minus_key <= key and node[QTY] <= quantity for minus_key, _, node in beside
    )


def amend(state: State, row: Row, owner: Owner, n: int, out: Stream) -> RejectReason | None:
    """A change of quantity, price or both."""
    _, node_id, order_n, quantity, price, account = row
    node = _find(state, node_id, order_n)
    if node is None:
        return RejectReason.UNKNOWN_ORDER
    terms: Terms = node[TERMS]
    if terms.owner is not owner or terms.account != account:
        return RejectReason.NOT_OWNER
    if state.phase is Phase.HALTED:
        return RejectReason.HALTED
    key = node[KEY]
    if (quantity is None and price is None) or (price is not None and key in (MARKET_BUY, MARKET_SELL)):
        return RejectReason.NOTHING_TO_AMEND
    limits = state.spec.limits
    if quantity is not None and not 0 < quantity <= limits.quantity:
        return RejectReason.INVALID_QUANTITY
    if price is not None and not 0 < price <= limits.price:
        return RejectReason.INVALID_PRICE
    left = open_quantity(node)
    total = node[TOTAL] if quantity is None else quantity
    new_left = left + total - node[TOTAL]
    if terms.display is not None and new_left > terms.display * limits.slices:
        return RejectReason.INVALID_DISPLAY
    if new_left <= 0:
        return RejectReason.ALREADY_FILLED
    new_key = key if price is None else key_of(side_of(key), price)
    if new_key != key and not terms.all_or_none and not state.room_for(new_key):
        return RejectReason.LEVELS_FULL
    keeps = new_key == key and new_left <= left
    if terms.post_only and not keeps and state.phase is Phase.CONTINUOUS and _meets(state, new_key, new_left):
        return RejectReason.POST_ONLY
    node[TOTAL] = total
    out += (AMENDED, node_id, order_n, key, new_key, new_left, int(keeps))
    if keeps:
        _shrink(state, node, left - new_left)
        return None
    state.lift(node)
    if isinstance(terms, SpecialTerms):
        terms.hidden, terms.looked_to = 0, NO_KEY
    node[KEY], node[QTY] = new_key, new_left
    move_to(node, state.position)
    enter(state, node, out, known=True, force=terms.force)
    return None


def _shrink(state: State, node: Node, quantity: int) -> None:
    """Take lots from an order that keeps its place: hidden ones first."""
    terms: Terms = node[TERMS]
    if terms.asleep or terms.all_or_none:
        node[QTY] -= quantity
        if isinstance(terms, SpecialTerms):
            terms.looked_to = NO_KEY  # it needs fewer lots than when it was looked at
    else:
        state.book.reduce(node, quantity)


def cancel(state: State, row: Row, owner: Owner, n: int, out: Stream) -> RejectReason | None:
    """Take one order out, by id."""
    _, node_id, order_n, account = row
    node = _find(state, node_id, order_n)
    if node is None:
        return RejectReason.UNKNOWN_ORDER
    if node[TERMS].owner is not owner or node[TERMS].account != account:
        return RejectReason.NOT_OWNER
    state.lift(node)
    state.forget(node)
    out += (CANCELLED, node[KEY], open_quantity(node))
    return None


def cancel_tag(state: State, row: Row, owner: Owner, n: int, out: Stream) -> RejectReason | None:
    """Take one order out, by the client's own name for it."""
    _, tag, account = row
    node = owner.tags.get((account, tag))
    if node is None:
        return RejectReason.UNKNOWN_ORDER
    state.lift(node)
    state.forget(node)
    out += (TAG_CANCELLED, node[N], node[KEY], open_quantity(node))
    return None


def cancel_all(state: State, row: Row, owner: Owner, n: int, out: Stream) -> RejectReason | None:
    """Take all, or a side's or an account's, out."""
    _, side, account = row
    out.append(ACCEPTED)
    for node in list(owner.orders.values()):
        if side in (None, side_of(node[KEY])) and account in (None, node[TERMS].account):
            state.drop(node, CancelReason.REQUESTED, out)
    return None


def set_phase(state: State, row: Row, owner: Owner, n: int, out: Stream) -> RejectReason | None:
    """Open, call an auction, uncross, or halt."""
    phase = Phase(row[1])
    if owner.node_id != state.spec.operator:
        return RejectReason.NOT_OPERATOR
    if phase is state.phase:
        return RejectReason.PHASE_UNCHANGED
    change_phase(state, phase, PHASE_SET, out)
    return None


def change_phase(state: State, phase: Phase, code: int, out: Stream) -> None:
    """Go into another phase; into the continuous one by uncrossing what gathered."""
    state.phase = phase
    state.resume_at = 0
    at = len(out)
    price = uncross(state, out) if phase is Phase.CONTINUOUS else None
    out[at:at] = (code, int(phase), price)


def resume(state: State, out: Stream) -> None:
    """A band's pause is over."""
    change_phase(state, Phase.CONTINUOUS, PHASE_CHANGED, out)


def _find(state: State, node_id: bytes, n: int) -> Node | None:
    owner = state.owners.get(node_id)
    return owner.orders.get(n) if owner is not None else None


Answer = Callable[[State, Row, Owner, int, Stream], RejectReason | None]

ANSWERS: Final[dict[int, Answer]] = {
    int(Side.BUY): place,
    int(Side.SELL): place,
    AMEND: amend,
    CANCEL: cancel,
    CANCEL_TAG: cancel_tag,
    CANCEL_ALL: cancel_all,
    PHASE: set_phase,
}
