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
    MODE,
    NEXT,
    NO_KEY,
    OWNER,
    PREV,
    PRIORITY,
    QTY,
    TERMS,
    N,
    Node,
    Terms,
    account_of,
    open_quantity,
)
from dhtex.matching.state import State
from dhtex.matching.stream import DROPPED, REPLENISHED, TRADE, Stream

OFF = int(SelfTrade.OFF)
NO_BAR = (NO_KEY, 0)


def take(state: State, taker: Node, bound: int, position: int, out: Stream) -> None:
    """Fill *taker* from the other side, as far as *bound* (a key) allows; its QTY becomes what is left.

    All-or-none orders on the other side join in at their rank where what is left fills them whole. A taker
    that self-trade prevention ends has nothing left.
    """
    beside = state.book.beside[taker[KEY] > 0]
    if beside:
        for minus_key, priority, maker in list(beside):
            if minus_key > bound:  # −key > bound: they do not cross, nor does any behind
                break
            if maker[QTY] > taker[QTY]:
                continue
            take_displayed(state, taker, bound, position, out, (-minus_key, priority))
            if maker[QTY] <= taker[QTY]:
                _take_beside(state, taker, maker, out)
            if not taker[QTY]:
                return
    take_displayed(state, taker, bound, position, out, NO_BAR)


def take_displayed(
    state: State, taker: Node, bound: int, position: int, out: Stream, bar: tuple[int, int]
) -> None:
    """Fill *taker* from the displayed book, but only with what ranks before *bar* (a key and a priority)."""
    book = state.book
    levels = book.levels
    keys = book.asks if taker[KEY] > 0 else book.bids
    owner, mode, left = taker[OWNER], taker[MODE], taker[QTY]
    bar_key, bar_priority = bar
    worst = max(-bound, bar_key)
    trailing = state.stops.trailing
    filled = 0
    while left and (best := keys[-1]) >= worst:
        level = levels[best]
        maker = level[NEXT]
        if best == bar_key and maker[PRIORITY] >= bar_priority:
            break
        taken, stopped = 0, None
        while left and maker is not level:
            _, behind, shown, _, _, of, n, priority, _, _, _, terms = maker
            if best == bar_key and priority >= bar_priority:
                break
            if of is owner and mode != OFF and account_of(maker) == account_of(taker):
                stopped = maker
                break
            if shown > left:
                maker[QTY] = shown - left
                out += (TRADE, best, left, of.node_id, n)
                taken += left
                left = 0
                break
            out += (TRADE, best, shown, of.node_id, n)
            taken += shown
            left -= shown
            if terms is None:
                del of.orders[n]
                filled += 1
            else:
                level[NEXT] = behind
                behind[PREV] = level
                if terms.hidden:
                    _replenish(level, maker, position, out)
                    behind = level[NEXT]
                else:
                    state.forget(maker)
            maker = behind
        level[NEXT] = maker  # those before it are filled
        maker[PREV] = level
        level[QTY] -= taken
        price = best if best > 0 else -best
        if taken and price != state.last:
            if trailing or state.reference is None:
                _print(state, price)
            state.last = price
        if maker is level:
            keys.pop()
            del levels[best]
            level.clear()
        elif stopped is not None:
            taker[QTY] = left
            _prevent(state, taker, stopped, position, out)
            left = taker[QTY]
    state.opened -= filled
    taker[QTY] = left


def _print(state: State, price: int) -> None:
    """A trade took place at *price*, which is not that of the trade before."""
    state.last = price
    if state.reference is None:
        state.reference = price
    if state.stops.trailing:
        state.stops.follow(price)


def _replenish(level: Node, maker: Node, position: int, out: Stream) -> None:
    """Put the next slice of an iceberg, whose shown lots were just taken, at the back of its queue."""
    terms: Terms = maker[TERMS]
    shown = min(terms.display or 0, terms.hidden)
    terms.hidden -= shown
    level[HIDDEN] -= shown
    level[QTY] += shown
    last = level[PREV]
    maker[QTY], maker[PRIORITY], maker[PREV], maker[NEXT] = shown, position, last, level
    last[NEXT] = maker
    level[PREV] = maker
    out += (REPLENISHED, maker[OWNER].node_id, maker[N], maker[KEY], shown, terms.hidden)


def _take_beside(state: State, taker: Node, maker: Node, out: Stream) -> None:
    """Fill an all-or-none order whole; it is not larger than what *taker* has left."""
    quantity, price = maker[QTY], abs(maker[KEY])
    if is_self_trade(taker, maker):
        _prevent(state, taker, maker, 0, out)
        return
    state.lift(maker)
    state.forget(maker)
    taker[QTY] -= quantity
    out += (TRADE, maker[KEY], quantity, maker[OWNER].node_id, maker[N])
    if price != state.last:
        _print(state, price)


def is_self_trade(taker: Node, maker: Node) -> bool:
    """Whether the two belong to one node and account, and the taker minds."""
    return (
        maker[OWNER] is taker[OWNER]
        and taker[MODE] != SelfTrade.OFF
        and account_of(maker) == account_of(taker)
    )


def _prevent(state: State, taker: Node, maker: Node, position: int, out: Stream) -> None:
    """Do what *taker* asks for instead of a trade with *maker*; its QTY becomes what is left."""
    mode = taker[MODE]
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
        maker[OWNER].node_id,
        maker[N],
        maker[KEY],
        quantity,
        remaining,
        int(CancelReason.SELF_TRADE),
    )
    level = maker[LEVEL]
    if not remaining:
        state.lift(maker)
        state.forget(maker)
    else:
        maker[QTY] -= quantity
        level[QTY] -= quantity
        if not maker[QTY]:
            maker[PREV][NEXT] = maker[NEXT]
            maker[NEXT][PREV] = maker[PREV]
            _replenish(level, maker, position, out)
    _drop_taker(taker, quantity, out)


def _drop_taker(taker: Node, quantity: int, out: Stream) -> None:
    taker[QTY] -= quantity
    reason = int(CancelReason.SELF_TRADE)
    out += (DROPPED, taker[OWNER].node_id, taker[N], taker[KEY], quantity, taker[QTY], reason)


def can_fill(state: State, taker: Node, bound: int) -> bool:
    """Whether `take` would fill *taker* whole, found out without touching anything."""
    book = state.book
    buys = taker[KEY] > 0
    keys, need = (book.asks if buys else book.bids), taker[QTY]
    beside = [maker for minus_key, _, maker in book.beside[buys] if minus_key <= bound]
    at_most = sum(maker[QTY] for maker in beside)
    for at in range(len(keys) - 1, 0, -1):
        if at_most >= need or keys[at] + bound < 0:
            break
        at_most += book.levels[keys[at]][QTY] + book.levels[keys[at]][HIDDEN]
    if at_most < need:  # the usual answer, found level by level instead of order by order
        return False
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
        queue.sort(key=lambda node: (node[PRIORITY], node[LEVEL] is not None))
        hidden = 0
        for maker in queue:
            if maker[LEVEL] is None and maker[QTY] > need:
                continue
            if is_self_trade(taker, maker):
                if taker[MODE] != SelfTrade.CANCEL_OLDEST:
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
