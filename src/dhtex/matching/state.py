"""Everything a market consists of between two commands, and the bookkeeping of open orders."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from dhtex.matching.book import Book
from dhtex.matching.market import BPS, MarketSpec, Phase
from dhtex.matching.orders import (
    KEY,
    LEVEL,
    NO_KEY,
    TERMS,
    N,
    Node,
    Owner,
    Terms,
    open_quantity,
)
from dhtex.matching.stops import Stops
from dhtex.matching.stream import DROPPED, Stream

_STALE_MAX = 64  # expiries of orders gone early that are kept before the heap is rebuilt


class State:
    """A market at one position.

    Attributes:
        spec: its terms.
        book: its resting orders.
        stops: its sleeping stops.
        owners: every node that has ever sent a command; a node's last number must never be forgotten.
        opened: open orders in all.
        expiries: a heap of (expiry, position placed, order); may hold orders that are gone.
        dated: how many open orders have an expiry.
        phase: what it does with orders.
        resume_at: the log time at which a band's pause ends, microseconds; 0 when none is on.
        last: the last trade price in ticks; `None` before the first trade.
        reference: the price of the last auction or else of the first trade; `None` before.
        position: that of the last command.
        timestamp: that of the last command.
    """

    __slots__ = (
        "book",
        "dated",
        "expiries",
        "last",
        "opened",
        "owners",
        "phase",
        "position",
        "reference",
        "resume_at",
        "spec",
        "stops",
        "timestamp",
    )

    def __init__(self, spec: MarketSpec) -> None:
        self.spec = spec
        self.book = Book()
        self.stops = Stops()
        self.owners: dict[bytes, Owner] = {}
        self.opened = 0
        self.expiries: list[tuple[int, int, Node]] = []
        self.dated = 0
        self.phase = spec.opening
        self.resume_at = 0
        self.last: int | None = None
        self.reference: int | None = None
        self.position = 0
        self.timestamp = 0

    def register(self, node: Node) -> None:
        """Enter a new open order under its id, tag, account and expiry."""
        terms: Terms = node[TERMS]
        owner = terms.owner
        owner.orders[node[N]] = node
        self.opened += 1
        if terms.account:
            owner.accounts[terms.account] = owner.accounts.get(terms.account, 0) + 1
        if terms.tag:
            owner.tags[terms.account, terms.tag] = node
        if terms.expiry is not None:
            self.dated += 1
            heappush(self.expiries, (terms.expiry, terms.placed, node))

    def forget(self, node: Node) -> None:
        """Strike an order that is no longer open from where `register` entered it."""
        terms: Terms = node[TERMS]
        owner = terms.owner
        del owner.orders[node[N]]
        self.opened -= 1
        if terms.account:
            count = owner.accounts[terms.account] - 1
            if count:
                owner.accounts[terms.account] = count
            else:
                del owner.accounts[terms.account]
        if terms.tag:
            del owner.tags[terms.account, terms.tag]
        if terms.expiry is not None:
            self.dated -= 1
            if len(self.expiries) > 2 * self.dated + _STALE_MAX:
                self.expiries = [entry for entry in self.expiries if is_open(entry[2])]
                heapify(self.expiries)

    def lift(self, node: Node) -> None:
        """Take an open order from where it waits, still registered."""
        if node[LEVEL] is not None:
            self.book.remove(node)
        elif node[TERMS].asleep:
            self.stops.remove(node)
        else:
            self.book.remove_beside(node)

    def drop(self, node: Node, reason: int, out: Stream) -> None:
        """Take an open order out for good, and say so."""
        self.lift(node)
        self.forget(node)
        out += (DROPPED, node[TERMS].owner.node_id, node[N], node[KEY], open_quantity(node), 0, reason)

    def next_expired(self, timestamp: int) -> Node | None:
        """Take the oldest expiry at or before *timestamp* from the heap; `None` when there is none."""
        while self.expiries and self.expiries[0][0] <= timestamp:
            node = heappop(self.expiries)[2]
            if is_open(node):
                return node
        return None

    def bound(self, key: int) -> int:
        """The worst key at which an order may trade now, given its own.

        That is where a price band ends; below all keys where the best price that faces it lies beyond one already.
        """
        facing = (self.book.asks if key > 0 else self.book.bids)[-1]
        if facing + key >= 0 and self.is_beyond(facing):
            return NO_KEY
        return self._within_bands(key)

    def is_beyond(self, key: int) -> bool:
        """Whether an order that rests with this key could trade only beyond a price band."""
        return self._within_bands(key) < key

    def _within_bands(self, key: int) -> int:
        spec = self.spec
        for reference, bps in ((self.last, spec.dynamic_band_bps), (self.reference, spec.static_band_bps)):
            if bps and reference is not None:
                width = reference * bps // BPS
                key = min(key, reference + width if key > 0 else width - reference)
        return key

    def crosses(self, key: int) -> bool:
        """Whether an order with this key meets a displayed order."""
        return (self.book.asks if key > 0 else self.book.bids)[-1] + key >= 0

    def room_for(self, key: int) -> bool:
        """Whether the book has a level for this key, or room for one more."""
        levels = self.book.levels
        return key in levels or len(levels) < self.spec.limits.levels

    @property
    def calm(self) -> bool:
        """Whether a plain order that meets nothing can simply rest: no phase, no bystander has a say."""
        beside = self.book.beside
        return self.phase is Phase.CONTINUOUS and not beside[0] and not beside[1]


def is_open(node: Node) -> bool:
    """Whether an order is still registered."""
    owner: Owner = node[TERMS].owner
    return owner.orders.get(node[N]) is node
