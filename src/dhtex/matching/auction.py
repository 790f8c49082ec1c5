"""The call auction: one price for all, found from the orders that gathered.

Of the limits of the orders the price is the one at which most lots trade; of several, the one that leaves the
smaller surplus; of several, the highest if buyers are left over at all of them, the lowest if sellers are. Else it
is the last trade price if that lies between them, or the one nearest to it; where there was no trade yet, the
lowest. All-or-none orders and sleeping stops stand aside; icebergs take part with all they have; self-trade
prevention does not apply, since nobody is the taker.
Source: `design: matching`; the tie rule is that of Xetra's market model.
"""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

from dhtex.matching.book import Book
from dhtex.matching.orders import HIDDEN, KEY, NEXT, QTY, TERMS, N, Node, open_quantity
from dhtex.matching.state import State
from dhtex.matching.stream import CROSS, Stream


class Indication(NamedTuple):
    """What an auction would do if it ended now.

    Attributes:
        price: ticks.
        quantity: lots that would trade.
        surplus: lots left over at that price: above 0 if buyers', below if sellers'.
    """

    price: int
    quantity: int
    surplus: int


def indicate(book: Book, last: int | None) -> Indication | None:
    """The auction price of a book as it stands; `None` when nothing would trade.

    Args:
        book: only displayed orders count.
        last: the last trade price in ticks, for the tie rule.
    """
    best_bid, best_ask = book.bids[-1], -book.asks[-1]
    if book.bids[-1] + book.asks[-1] < 0:
        return None
    # Every price at which the outcome can change lies between the best ask and the best bid.
    bids = [key for key in book.bids[1:] if key >= best_ask]
    asks = [-key for key in reversed(book.asks[1:]) if -key <= best_bid]
    bid_lots = [book.levels[price][QTY] + book.levels[price][HIDDEN] for price in bids]
    ask_lots = [book.levels[-price][QTY] + book.levels[-price][HIDDEN] for price in asks]
    supply = dict(zip(asks, accumulate(ask_lots), strict=True))
    demand = dict(zip(reversed(bids), accumulate(reversed(bid_lots)), strict=True))
    return best_indication(_curve(sorted({*bids, *asks}), supply, demand), last)


def _curve(prices: list[int], supply: dict[int, int], demand: dict[int, int]) -> list[Indication]:
    """What would trade at each price, ascending."""
    offered, wanted = 0, 0
    offers, wants = [], []
    for price in prices:
        offered = supply.get(price, offered)
        offers.append(offered)
    for price in reversed(prices):
        wanted = demand.get(price, wanted)
        wants.append(wanted)
    wants.reverse()
    return [
        Indication(price, min(want, offer), want - offer)
        for price, offer, want in zip(prices, offers, wants, strict=True)
    ]


def best_indication(curve: list[Indication], last: int | None) -> Indication:
    """The one that the tie rule picks.

    Args:
        curve: every limit at which lots would trade, ascending; at least one.
        last: the last trade price in ticks.
    """
    most = max(point.quantity for point in curve)
    best = [point for point in curve if point.quantity == most]
    least = min(abs(point.surplus) for point in best)
    best = [point for point in best if abs(point.surplus) == least]
    if all(point.surplus > 0 for point in best):
        return best[-1]
    if all(point.surplus < 0 for point in best) or last is None:
        return best[0]
    price = min(max(last, best[0].price), best[-1].price)
    wanted = next(point.quantity + max(point.surplus, 0) for point in curve if point.price >= price)
    offered = next(
        point.quantity - min(point.surplus, 0) for point in reversed(curve) if point.price <= price
    )
    return Indication(price, min(wanted, offered), wanted - offered)


def uncross(state: State, out: Stream) -> int | None:
    """Trade everything that crosses, at one price; best price first, then oldest, on both sides.

    Returns:
        The price in ticks; `None` when nothing crossed.
    """
    found = indicate(state.book, state.last)
    if found is None:
        return None
    left = found.quantity
    buyers, sellers = state.book.bids, state.book.asks
    while left:
        buyer = state.book.levels[buyers[-1]][NEXT]
        seller = state.book.levels[sellers[-1]][NEXT]
        quantity = min(left, open_quantity(buyer), open_quantity(seller))
        out += (
            CROSS, found.price, quantity,
            buyer[TERMS].owner.node_id, buyer[N], buyer[KEY], seller[TERMS].owner.node_id, seller[N], seller[KEY],
        )  # fmt: skip
        _fill(state, buyer, quantity)
        _fill(state, seller, quantity)
        left -= quantity
    state.last = state.reference = found.price
    state.stops.follow(found.price)
    return found.price


def _fill(state: State, node: Node, quantity: int) -> None:
    """Take lots from an order at the head of its queue, which keeps its place while any are left."""
    if quantity == open_quantity(node):
        state.lift(node)
        state.forget(node)
        return
    level = state.book.levels[node[KEY]]
    terms = node[TERMS]
    rest = open_quantity(node) - quantity
    shown = rest if terms.display is None else min(rest, terms.display)
    level[QTY] += shown - node[QTY]
    node[QTY] = shown
    if terms.hidden:
        level[HIDDEN] += rest - shown - terms.hidden
        terms.hidden = rest - shown
