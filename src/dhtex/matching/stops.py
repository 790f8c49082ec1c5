"""Stops that sleep until the last trade price reaches them.

Stops are kept sorted by trigger; trailing stops are few (`Limits.contingent`) and are looked at one by one,
because each of their triggers moves with the price.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

from dhtex.matching.commands import Kind
from dhtex.matching.orders import KEY, TERMS, Node, SpecialTerms, Terms, priority_of


class Stops:
    """All sleeping stops. The first three lists stay the same objects: loops hold on to them.

    Attributes:
        buys: (trigger, age, order), those that a rising price reaches first in front.
        sells: (−trigger, age, order), those that a falling price reaches first in front.
        trailing: (age, order), oldest first.
        called: those that a price has reached and whose turn has not come, in their order; empty between commands.
    """

    __slots__ = ("buys", "called", "sells", "trailing")

    def __init__(self) -> None:
        self.buys: list[tuple[int, int, Node]] = []
        self.sells: list[tuple[int, int, Node]] = []
        self.trailing: list[tuple[int, Node]] = []
        self.called: list[Node] = []

    def add(self, node: Node) -> None:
        """Put a stop to sleep; its age is its priority."""
        terms: Terms = node[TERMS]
        if terms.kind == Kind.TRAILING_STOP:
            insort(self.trailing, (priority_of(node), node))
        else:
            insort(*self._place_of(node))

    def remove(self, node: Node) -> None:
        """Take a sleeping stop out."""
        if node[TERMS].kind == Kind.TRAILING_STOP:
            del self.trailing[bisect_left(self.trailing, (priority_of(node),))]
        else:
            queue, entry = self._place_of(node)
            del queue[bisect_left(queue, entry[:2])]

    def _place_of(self, node: Node) -> tuple[list[tuple[int, int, Node]], tuple[int, int, Node]]:
        trigger: int = node[TERMS].trigger
        if node[KEY] > 0:
            return self.buys, (trigger, priority_of(node), node)
        return self.sells, (-trigger, priority_of(node), node)

    def follow(self, price: int) -> None:
        """Let the trailing stops follow a trade at *price*, also those that were called: a pause may hold them back."""
        for _, node in self.trailing:
            follow(node, price)
        for node in self.called:
            if node[TERMS].kind == Kind.TRAILING_STOP:
                follow(node, price)

    def reached(self, price: int) -> bool:
        """Whether a trade price sets any off."""
        return bool(
            (self.buys and self.buys[0][0] <= price)
            or (self.sells and -self.sells[0][0] >= price)
            or (self.trailing and any(_is_reached(node, price) for _, node in self.trailing))
        )

    def call(self, price: int) -> None:
        """Have what *price* sets off queue up: the ones it passed first, then by age."""
        count = bisect_right(self.buys, price, key=_rank)
        taken = [node for _, _, node in self.buys[:count]]
        del self.buys[:count]
        count = bisect_right(self.sells, -price, key=_rank)
        taken += [node for _, _, node in self.sells[:count]]
        del self.sells[:count]
        trailing = [node for _, node in self.trailing if _is_reached(node, price)]
        if trailing:
            self.trailing[:] = [entry for entry in self.trailing if not _is_reached(entry[1], price)]
            taken += trailing
        taken.sort(key=lambda node: (-abs(price - node[TERMS].trigger), priority_of(node)))
        self.called += taken

    def send_back(self) -> None:
        """Put those to sleep again whose turn did not come."""
        for node in self.called:
            self.add(node)
        self.called.clear()


def follow(node: Node, price: int) -> None:
    """Move a trailing stop's trigger after a trade at *price*, if that brings it closer."""
    terms: SpecialTerms = node[TERMS]
    trail = terms.trail or 0
    if node[KEY] > 0:
        terms.trigger = price + trail if terms.trigger is None else min(terms.trigger, price + trail)
    else:
        terms.trigger = price - trail if terms.trigger is None else max(terms.trigger, price - trail)


def _rank(entry: tuple[int, int, Node]) -> int:
    return entry[0]


def _is_reached(node: Node, price: int) -> bool:
    trigger: int | None = node[TERMS].trigger
    if trigger is None:
        return False
    return trigger <= price if node[KEY] > 0 else trigger >= price
