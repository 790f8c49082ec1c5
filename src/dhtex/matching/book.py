"""The resting orders: displayed levels by price, and all-or-none orders beside them.

The displayed book keeps for each side the keys of its levels in a sorted list, best last, and for each
level a ring of orders, oldest first. All-or-none orders are kept apart, since the displayed book promises
quantities that anybody can trade with: they may stand at a price that the displayed book of the other side
has reached, and wait there for a taker that fills them whole.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

from dhtex.matching.commands import Side
from dhtex.matching.orders import HIDDEN, KEY, LEVEL, NEXT, NO_KEY, PREV, QTY, TERMS, Node, priority_of


class Book:
    """Both sides of a market.

    Attributes:
        bids: keys of the bid levels, ascending, after one sentinel below every key.
        asks: the same for the asks.
        levels: the level of each key; a key tells its side.
        beside: for each side the all-or-none orders as (−key, priority, order), best first.
        gained: for each side the lots that have come to rest there, ever, while all-or-none orders waited: until enough
            have come, these need not be looked at again.
    """

    __slots__ = ("asks", "beside", "bids", "gained", "levels")

    def __init__(self) -> None:
        self.bids = [NO_KEY]
        self.asks = [NO_KEY]
        self.levels: dict[int, Node] = {}
        self.beside: tuple[list[tuple[int, int, Node]], list[tuple[int, int, Node]]] = ([], [])
        self.gained = [0, 0]

    def add(self, node: Node) -> None:
        """Put an order at the back of its price's queue."""
        key = node[KEY]
        level = self.levels.get(key)
        if level is None:
            level = [None, None, 0, key, 0]
            level[PREV] = level[NEXT] = level
            self.levels[key] = level
            insort(self.bids if key > 0 else self.asks, key)
        last = level[PREV]
        node[PREV] = last
        node[NEXT] = level
        node[LEVEL] = level
        last[NEXT] = node
        level[PREV] = node
        level[QTY] += node[QTY]
        level[HIDDEN] += node[TERMS].hidden
        self.gained[key <= 0] += node[QTY] + node[TERMS].hidden

    def remove(self, node: Node) -> None:
        """Take an order out of its queue, and its level with it if it was the only one there."""
        level = node[LEVEL]
        before, behind = node[PREV], node[NEXT]
        before[NEXT] = behind
        behind[PREV] = before
        node[LEVEL] = None
        level[QTY] -= node[QTY]
        level[HIDDEN] -= node[TERMS].hidden
        if before is behind:
            self.drop_level(level)

    def reduce(self, node: Node, quantity: int) -> None:
        """Take lots from an order that keeps its place, hidden ones first; at least one is left."""
        level, terms = node[LEVEL], node[TERMS]
        hidden = min(quantity, terms.hidden)
        if hidden:
            terms.hidden -= hidden
            level[HIDDEN] -= hidden
            quantity -= hidden
        node[QTY] -= quantity
        level[QTY] -= quantity

    def drop_level(self, level: Node) -> None:
        """Take out a level that has no orders."""
        key = level[KEY]
        keys = self.bids if key > 0 else self.asks
        if keys[-1] == key:
            keys.pop()
        else:
            del keys[bisect_left(keys, key)]
        del self.levels[key]
        level.clear()  # it refers to itself; cleared, it needs no garbage collector

    def add_beside(self, node: Node) -> None:
        """Put an all-or-none order among those of its side, by price, then age."""
        insort(self.beside[node[KEY] <= 0], (-node[KEY], priority_of(node), node))
        self.gained[node[KEY] <= 0] += node[QTY]

    def remove_beside(self, node: Node) -> None:
        """Take an all-or-none order out."""
        queue = self.beside[node[KEY] <= 0]
        del queue[bisect_left(queue, (-node[KEY], priority_of(node)))]

    def best(self, side: Side) -> int | None:
        """The best displayed price of a side in ticks; `None` when it is empty."""
        key = (self.asks if side else self.bids)[-1]
        return None if key == NO_KEY else abs(key)

    def depth(self, side: Side, levels_max: int | None = None) -> list[tuple[int, int]]:
        """(price in ticks, lots shown) of each level of a side, best first."""
        keys = self.asks if side else self.bids
        count = len(keys) - 1 if levels_max is None else max(0, min(levels_max, len(keys) - 1))
        return [(abs(key), self.levels[key][QTY]) for key in keys[: len(keys) - 1 - count : -1]]

    def queue(self, key: int) -> Iterator[Node]:
        """The displayed orders at a key, oldest first; the book must not change meanwhile."""
        level = self.levels[key]
        node = level[NEXT]
        while node is not level:
            yield node
            node = node[NEXT]

    def orders(self, side: Side) -> Iterator[Node]:
        """The displayed orders of a side, best price first, then oldest first."""
        for key in (self.asks if side else self.bids)[:0:-1]:
            yield from self.queue(key)
