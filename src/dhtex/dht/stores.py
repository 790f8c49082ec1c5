"""What a node keeps for others: announcements (one key, many addresses) and items. Bounded, and time is an
argument.

The package's storage holds one value per key, never deletes and forgets nothing but by age (failures 12, 21).
Here every collection has a limit, and the least recently used goes first.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from dhtex.dht.addresses import network_of
from dhtex.dht.face import Address
from dhtex.dht.items import Item, replaces
from dhtex.dht.methods import LIFETIME_S_MAX

LOOKUP_COUNT_MAX = 100
"""Addresses in one answer, as the original's."""


class Announcements:
    """Who announced what: addresses by key, each until its age is over.

    Every announcement has the same age, so the order of their last renewal is also the order of their end.
    """

    def __init__(
        self, age_s: float, *, count_max: int = 20_000, per_key_max: int = 1_000, per_source_max: int = 10_000
    ) -> None:
        self.age_s = age_s
        self._count_max = count_max
        self._per_key_max = per_key_max
        self._per_source_max = per_source_max
        self._ends: OrderedDict[tuple[bytes, Address], float] = OrderedDict()
        self._by_key: dict[bytes, dict[Address, None]] = {}
        self._by_source: dict[str, OrderedDict[tuple[bytes, Address], None]] = {}

    def __len__(self) -> int:
        return len(self._ends)

    def add(self, key: bytes, address: Address, now_s: float) -> bool:
        """Keep or renew an announcement; true when it is a new one."""
        self.expire(now_s)
        record = (key, address)
        is_new = record not in self._ends
        owner = network_of(address[0])
        source = self._by_source.setdefault(owner, OrderedDict())
        if is_new:
            self._make_room(key, source)
            source = self._by_source.setdefault(owner, source)
        self._ends[record] = now_s + self.age_s
        self._ends.move_to_end(record)
        source[record] = None
        source.move_to_end(record)
        addresses = self._by_key.setdefault(key, {})
        addresses.pop(address, None)
        addresses[address] = None
        return is_new

    def _make_room(self, key: bytes, source: OrderedDict[tuple[bytes, Address], None]) -> None:
        if len(source) >= self._per_source_max:
            self.remove(*next(iter(source)))
        addresses = self._by_key.get(key, {})
        if len(addresses) >= self._per_key_max:
            self.remove(key, next(iter(addresses)))
        if len(self._ends) >= self._count_max:
            self.remove(*next(iter(self._ends)))

    def remove(self, key: bytes, address: Address) -> bool:
        """Forget an announcement; true when there was one."""
        record = (key, address)
        if self._ends.pop(record, None) is None:
            return False
        addresses = self._by_key[key]
        del addresses[address]
        if not addresses:
            del self._by_key[key]
        owner = network_of(address[0])
        source = self._by_source[owner]
        del source[record]
        if not source:
            del self._by_source[owner]
        return True

    def expire(self, now_s: float) -> None:
        """Forget what is over its age."""
        while self._ends:
            record = next(iter(self._ends))
            if self._ends[record] > now_s:
                break
            self.remove(*record)

    def addresses(self, key: bytes, now_s: float) -> list[Address]:
        """Up to 100 addresses of *key* in random order; which 100 is random too."""
        self.expire(now_s)
        found = self._by_key.get(key)
        if found is None:
            return []
        if len(found) == 1:
            return list(found)
        return random.sample(list(found), min(len(found), LOOKUP_COUNT_MAX))


@dataclass(frozen=True, slots=True)
class Stored:
    """An item and its times, monotonic seconds.

    Attributes:
        end_s: when it is forgotten unless somebody puts it again; hand-over does not change it.
        republish_s: when this node next offers it to the nodes closest to its key.
    """

    item: Item
    end_s: float
    republish_s: float

    def life_s(self, now_s: float) -> int:
        """Seconds it has left, for who is to keep it too: from 1 to a week."""
        return max(1, min(int(self.end_s - now_s), LIFETIME_S_MAX))


class Items:
    """Checked items by key; a later version takes the place of an earlier one, never the reverse."""

    def __init__(self, *, count_max: int = 5_000) -> None:
        self._count_max = count_max
        self._stored: OrderedDict[bytes, Stored] = OrderedDict()
        self.on_put: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self._stored)

    def __iter__(self) -> Iterator[tuple[bytes, Stored]]:
        return iter(list(self._stored.items()))

    def snapshot(self) -> dict[bytes, Stored]:
        """All items with their times."""
        return dict(self._stored)

    def get(self, key: bytes, now_s: float) -> Item | None:
        """The item of *key*; using it keeps it from going first."""
        stored = self._stored.get(key)
        if stored is None:
            return None
        if stored.end_s <= now_s:
            del self._stored[key]
            return None
        self._stored.move_to_end(key)
        return stored.item

    def stored(self, key: bytes) -> Stored | None:
        """The item of *key* with its times; does not count as use."""
        return self._stored.get(key)

    def put(self, key: bytes, item: Item, *, end_s: float, republish_s: float) -> bool:
        """Keep *item*, already checked, unless a later version is held; true when the content changed.

        The same version again moves its end later, never earlier.
        """
        held = self._stored.get(key)
        if held is not None and not replaces(item, held.item):
            if item == held.item:
                self._keep(key, Stored(item, max(end_s, held.end_s), republish_s))
            return False
        self._keep(key, Stored(item, end_s, republish_s))
        return True

    def _keep(self, key: bytes, stored: Stored) -> None:
        self._stored[key] = stored
        self._stored.move_to_end(key)
        if len(self._stored) > self._count_max:
            self._stored.popitem(last=False)
        if self.on_put is not None:
            self.on_put()

    def due(self, now_s: float, next_s: float) -> list[tuple[bytes, Stored]]:
        """Forget what is over; of the rest, what is to be offered now. Each is due again at *next_s*."""
        for key, stored in self:
            if stored.end_s <= now_s:
                del self._stored[key]
        found = [(key, stored) for key, stored in self._stored.items() if stored.republish_s <= now_s]
        for key, stored in found:
            self._stored[key] = replace(stored, republish_s=next_s)
        return found
