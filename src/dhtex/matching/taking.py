"""How an order takes what rests: price, then time, and the conditions that orders put on it.

Source: `design: matching, Rules`.
"""

from __future__ import annotations

from dhtex.matching.commands import SelfTrade
from dhtex.matching.events import CancelReason
from dhtex.matching.orders import (
    HIDDEN,
    KEY,
    LEVEL,
    NEXT,
    NO_KEY,
    PREV,
    QTY,
    TERMS,
    N,
    Node,
    Owner,
    SpecialTerms,
    Terms,
    move_to,
    open_quantity,
    priority_of,
)
from dhtex.matching.state import State
from dhtex.matching.stream import DROPPED, REPLENISHED, TRADE, Stream

OFF = int(SelfTrade.OFF)


def take(state: State, taker: Node, bound: int, position: int, out: Stream) -> None:
    """Fill *taker* from the other side, as far as *bound* (a key) allows; its QTY becomes what is left.

    All-or-none orders on the other side join in at their rank where what is left fills them whole and no price band is
    in the way. A taker that self-trade prevention ends has nothing left.
    """
    for minus_key, priority, maker in list(state.book.beside[taker[KEY] > 0]):
        if minus_key > bound or not taker[QTY]:  # −key > bound: they do not cross, nor does any behind
            break
        if maker[QTY] <= taker[QTY] and not state.is_beyond(-minus_key):
            take_displayed(state, taker, minus_key - 1, position, out)
            _take_elders(state, taker, -minus_key, priority, position, out)
            if maker[QTY] <= taker[QTY]:
                _take_beside(state, taker, maker, out)
    take_displayed(state, taker, bound, position, out)


def take_displayed(state: State, taker: Node, bound: int, position: int, out: Stream) -> None:
    """Fill *taker* from the displayed book, as far as *bound* (a key) allows."""
    book, terms = state.book, taker[TERMS]
    keys = book.asks if taker[KEY] > 0 else book.bids
    avoided = None if terms.mode == OFF or terms.account else terms.owner
    while True:
        taker[QTY] = take_plain(state, keys, bound, taker[QTY], avoided, out)
        if not taker[QTY] or keys[-1] + bound < 0:
            return
        _take_one(state, taker, book.levels[keys[-1]][NEXT], position, out)


def take_plain(
    state: State, keys: list[int], bound: int, left: int, avoided: Owner | None, out: Stream
) -> int:
    """Take from plain orders until one comes that is not, or is *avoided*'s; the loop that most trades are made in.

    Args:
        state: the market.
        keys: the side to take from.
        bound: how far, a key.
        left: lots wanted.
        avoided: whose orders it must not trade with.
        out: receives the trades.

    Returns:
        Lots still wanted.
    """
    levels = state.book.levels
    while left and (best := keys[-1]) + bound >= 0:
        level = levels[best]
        maker = level[NEXT]
        wanted = left
        while left and maker is not level:
            _, behind, shown, _, _, n, _, terms = maker
            owner = terms.owner
            if owner is avoided or not terms.plain:
                break
            if shown > left:
                maker[QTY] = shown - left
                out.extend((TRADE, best, left, owner.node_id, n))
                left = 0
                break
            out.extend((TRADE, best, shown, owner.node_id, n))
            left -= shown
            del owner.orders[n]
            state.opened -= 1
            # Two filled neighbours that held one another would need the garbage collector.
            behind[PREV] = level
            maker = behind
        if left == wanted:
            break
        price = best if best > 0 else -best
        if price != state.last:
            _print(state, price)
        if maker is level:
            keys.pop()
            del levels[best]
            level.clear()  # see Book.drop_level
        else:
            level[NEXT] = maker  # those before it are filled
            level[QTY] -= wanted - left
    return left


def _take_elders(state: State, taker: Node, key: int, priority: int, position: int, out: Stream) -> None:
    """Fill *taker* from what is displayed at *key* and took its place before *priority*."""
    levels = state.book.levels
    while taker[QTY] and key in levels and priority_of(levels[key][NEXT]) < priority:
        _take_one(state, taker, levels[key][NEXT], position, out)


def _take_one(state: State, taker: Node, maker: Node, position: int, out: Stream) -> None:
    """Take what the first order of its queue shows, or do what self-trade prevention asks for instead."""
    if is_self_trade(taker, maker):
        _prevent(state, taker, maker, position, out)
        return
    quantity = min(taker[QTY], maker[QTY])
    out += (TRADE, maker[KEY], quantity, maker[TERMS].owner.node_id, maker[N])
    _print(state, abs(maker[KEY]))
    taker[QTY] -= quantity
    _reduce(state, maker, quantity, position, out)


def _reduce(state: State, maker: Node, quantity: int, position: int, out: Stream) -> None:
    """Take lots from those that a displayed order shows; after the last it goes, or shows its next slice."""
    if quantity == open_quantity(maker):
        state.lift(maker)
        state.forget(maker)
        return
    level = maker[LEVEL]
    maker[QTY] -= quantity
    level[QTY] -= quantity
    if not maker[QTY]:
        maker[PREV][NEXT] = maker[NEXT]
        maker[NEXT][PREV] = maker[PREV]
        _replenish(level, maker, position, out)


def _print(state: State, price: int) -> None:
    """A trade took place at *price*, in ticks."""
    state.last = price
    if state.reference is None:
        state.reference = price
    if state.stops.trailing or state.stops.called:
        state.stops.follow(price)


def _replenish(level: Node, maker: Node, position: int, out: Stream) -> None:
    """Put the next slice of an iceberg, whose shown lots were just taken, at the back of its queue."""
    terms: SpecialTerms = maker[TERMS]
    shown = min(terms.display or 0, terms.hidden)
    terms.hidden -= shown
    level[HIDDEN] -= shown
    level[QTY] += shown
    last = level[PREV]
    move_to(maker, position)
    maker[QTY], maker[PREV], maker[NEXT] = shown, last, level
    last[NEXT] = maker
    level[PREV] = maker
    out += (REPLENISHED, terms.owner.node_id, maker[N], maker[KEY], shown, terms.hidden)


def _take_beside(state: State, taker: Node, maker: Node, out: Stream) -> None:
    """Fill an all-or-none order whole; it is not larger than what *taker* has left."""
    quantity, price = maker[QTY], abs(maker[KEY])
    if is_self_trade(taker, maker):
        _prevent(state, taker, maker, 0, out)
        return
    state.lift(maker)
    state.forget(maker)
    taker[QTY] -= quantity
    out += (TRADE, maker[KEY], quantity, maker[TERMS].owner.node_id, maker[N])
    _print(state, price)


def is_self_trade(taker: Node, maker: Node) -> bool:
    """Whether the two belong to one node and account, and the taker minds."""
    asks: Terms = taker[TERMS]
    its: Terms = maker[TERMS]
    return its.owner is asks.owner and asks.mode != OFF and its.account == asks.account


def _prevent(state: State, taker: Node, maker: Node, position: int, out: Stream) -> None:
    """Do what *taker* asks for instead of a trade with *maker*; its QTY becomes what is left."""
    mode = taker[TERMS].mode
    if mode == SelfTrade.DECREMENT:
        _decrement(state, taker, maker, position, out)
        return
    if mode != SelfTrade.CANCEL_NEWEST:
        state.drop(maker, CancelReason.SELF_TRADE, out)
    if mode != SelfTrade.CANCEL_OLDEST:
        _drop_taker(taker, taker[QTY], out)


def _decrement(state: State, taker: Node, maker: Node, position: int, out: Stream) -> None:
    """Take the smaller quantity from both; of an iceberg, from the lots it shows."""
    quantity = min(taker[QTY], maker[QTY])
    remaining = open_quantity(maker) - quantity
    out += (
        DROPPED,
        maker[TERMS].owner.node_id,
        maker[N],
        maker[KEY],
        quantity,
        remaining,
        int(CancelReason.SELF_TRADE),
    )
    _reduce(state, maker, quantity, position, out)
    _drop_taker(taker, quantity, out)


def _drop_taker(taker: Node, quantity: int, out: Stream) -> None:
    taker[QTY] -= quantity
    reason = int(CancelReason.SELF_TRADE)
    out += (DROPPED, taker[TERMS].owner.node_id, taker[N], taker[KEY], quantity, taker[QTY], reason)


def lots_lacking(state: State, taker: Node, bound: int) -> int:
    """How many lots fewer face *taker* than it needs, found level by level; 0 when there are enough to look closer.

    Whoever's they are, and whether or not a band is in the way: it is lower again only when lots come to that side, or
    *bound* rises.
    """
    book = state.book
    buys = taker[KEY] > 0
    keys = book.asks if buys else book.bids
    need: int = taker[QTY]
    need -= sum(maker[QTY] for minus_key, _, maker in book.beside[buys] if minus_key <= bound)
    for at in range(len(keys) - 1, 0, -1):
        if need <= 0 or keys[at] + bound < 0:
            break
        need -= book.levels[keys[at]][QTY] + book.levels[keys[at]][HIDDEN]
    return max(0, need)


def can_fill(state: State, taker: Node, bound: int) -> bool:
    """Whether `take` would fill *taker* whole, found out without touching anything."""
    if lots_lacking(state, taker, bound):  # the usual answer
        return False
    book = state.book
    buys = taker[KEY] > 0
    keys, need = (book.asks if buys else book.bids), taker[QTY]
    beside = [
        maker
        for minus_key, _, maker in book.beside[buys]
        if minus_key <= bound and not state.is_beyond(-minus_key)
    ]
    beside.reverse()
    at = len(keys) - 1
    while need > 0:
        best = keys[at] if keys[at] + bound >= 0 else NO_KEY
        best = max(best, beside[-1][KEY]) if beside else best
        if best == NO_KEY:
            return False
        queue = list(book.queue(best)) if best in book.levels else []
        while beside and beside[-1][KEY] == best:
            queue.append(beside.pop())
        # An all-or-none order of the same position was there first: an order rests after what it set off.
        queue.sort(key=lambda node: (priority_of(node), node[LEVEL] is not None))
        hidden = 0
        for maker in queue:
            if maker[LEVEL] is None and maker[QTY] > need:
                continue
            if is_self_trade(taker, maker):
                if taker[TERMS].mode != SelfTrade.CANCEL_OLDEST:
                    return False
                continue
            need -= maker[QTY]
            hidden += open_quantity(maker) - maker[QTY]
            if need <= 0:
                return True
        need -= hidden  # later slices come after all who stood in the queue
        if keys[at] == best:
            at -= 1
    return True
