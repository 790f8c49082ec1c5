"""What becomes of an order that enters the market, and of those that its trades set off."""

from __future__ import annotations

from dhtex.matching.commands import Kind, TimeInForce
from dhtex.matching.events import CancelReason
from dhtex.matching.market import Phase
from dhtex.matching.orders import (
    KEY,
    MARKET_BUY,
    MARKET_SELL,
    QTY,
    TERMS,
    N,
    Node,
    SpecialTerms,
    Terms,
    move_to,
)
from dhtex.matching.state import State
from dhtex.matching.stops import follow
from dhtex.matching.stream import DROPPED, PHASE_CHANGED, TRIGGERED, Stream
from dhtex.matching.taking import can_fill, lots_lacking, take


def enter(state: State, node: Node, out: Stream, *, known: bool, force: int = TimeInForce.GTC) -> None:
    """Let an order trade, then rest, sleep, or go.

    Args:
        state: the market.
        node: linked nowhere; its QTY is all of its open quantity, its priority the command's position.
        out: receives the events.
        known: whether it is registered as open already: it was amended or set off.
        force: its time in force, which plain terms do not say: what rests by them is good till cancelled.
    """
    terms: Terms = node[TERMS]
    if terms.asleep:
        if terms.kind == Kind.TRAILING_STOP and terms.trigger is None and state.last is not None:
            follow(node, state.last)
        state.stops.add(node)
        if not known:
            state.register(node)
        return
    rests = force in (TimeInForce.GTC, TimeInForce.GTD) and node[KEY] not in (MARKET_BUY, MARKET_SELL)
    if state.phase is not Phase.CONTINUOUS:
        _settle(state, node, out, known=known, rests=rests, reason=CancelReason.PAUSED)
        return
    key = node[KEY]
    bound = state.bound(key)
    reason = CancelReason.UNFILLED
    if force == TimeInForce.FOK or terms.all_or_none:
        if can_fill(state, node, bound):
            take(state, node, bound, state.position, out)
        else:
            reason = CancelReason.KILLED
    else:
        take(state, node, bound, state.position, out)
        if bound < key and node[QTY] and state.crosses(key):
            pause(state, out)
            reason = CancelReason.PAUSED
    _settle(state, node, out, known=known, rests=rests, reason=reason)


def _settle(state: State, node: Node, out: Stream, *, known: bool, rests: bool, reason: CancelReason) -> None:
    """Put what is left of an order where it belongs, or cancel it for *reason*."""
    terms: Terms = node[TERMS]
    left, beside = node[QTY], terms.all_or_none
    if left and rests and not beside and not state.room_for(node[KEY]):
        rests, reason = False, CancelReason.LEVELS_FULL
    if left and rests:
        if not known:
            state.register(node)
        if beside:
            state.book.add_beside(node)
            return
        if isinstance(terms, SpecialTerms) and terms.display is not None:
            node[QTY] = min(terms.display, left)
            terms.hidden = left - node[QTY]
        state.book.add(node)
        return
    if left:
        out += (DROPPED, terms.owner.node_id, node[N], node[KEY], left, 0, int(reason))
    if known:
        state.forget(node)


def pause(state: State, out: Stream) -> None:
    """A price band was reached: gather orders from here on, for as long as the market's terms say."""
    state.phase = Phase.AUCTION
    state.resume_at = state.timestamp + state.spec.pause_us
    out += (PHASE_CHANGED, int(Phase.AUCTION), None)


def settle_down(state: State, out: Stream) -> None:
    """Run what the command set off, until nothing more is: each stop, each all-or-none order, as its own command.

    It ends, because each of them runs once: a stop never sleeps again, an all-or-none order is filled whole.
    """
    stops = state.stops
    while state.phase is Phase.CONTINUOUS:
        node = _fillable(state)
        if node is not None:
            state.lift(node)
            _set_off(state, node, out)
            continue
        if state.last is not None and stops.reached(state.last):
            stops.call(state.last)
        if not stops.called:
            return
        _wake(state, stops.called.pop(0), out)
    stops.send_back()  # a pause came first; they are looked at again after the auction


def _wake(state: State, node: Node, out: Stream) -> None:
    terms: SpecialTerms = node[TERMS]
    terms.kind = Kind.LIMIT if terms.kind == Kind.STOP_LIMIT else Kind.MARKET
    terms.trigger = terms.trail = None
    move_to(node, state.position)
    _set_off(state, node, out)


def _set_off(state: State, node: Node, out: Stream) -> None:
    out += (TRIGGERED, node[TERMS].owner.node_id, node[N], node[KEY])
    enter(state, node, out, known=True, force=node[TERMS].force)


def _fillable(state: State) -> Node | None:
    """The first all-or-none order, buys before sells, that the other side can now fill whole."""
    for queue in state.book.beside:
        for _, _, node in queue:
            key = state.bound(node[KEY])
            opposite = state.book.beside[node[KEY] > 0]
            meets = state.crosses(key) or (opposite and opposite[0][0] <= key)
            if meets and _enough_came(state, node, key) and can_fill(state, node, key):
                return node
    return None


def _enough_came(state: State, node: Node, bound: int) -> bool:
    """Whether so many lots came to the other side since *node* was last looked at that it is worth it again.

    A large all-or-none order far through the book would otherwise have every command walk over all levels.
    """
    terms: SpecialTerms = node[TERMS]
    gained = state.book.gained[node[KEY] > 0]
    if bound <= terms.looked_to and gained < terms.enough_at:
        return False
    lacking = lots_lacking(state, node, bound)
    terms.looked_to, terms.enough_at = bound, gained + lacking
    return not lacking
