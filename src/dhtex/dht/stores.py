"""What a node keeps for others: announcements (one key, many addresses) and items. Bounded, and time is an
argument.

The package's storage holds one value per key, never deletes and forgets nothing but by age (failures 12, 21).
Here every collection has a limit, and the least recently used goes first.
"""

from __future__ import annotations

import random
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from operator import itemgetter

from dhtex.dht.addresses import network_of
from dhtex.dht.face import Address
from dhtex.dht.items import Item, replaces
from dhtex.dht.methods import LIFETIME_S_MAX

LOOKUP_COUNT_MAX = 100
"""Addresses in one answer, as the original's."""

ANSWER_COUNT_MIN = 30
"""So many addresses fit into a node's answer even when all are IPv6."""


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
            # Of who has most: nobody crowds the others out of a name.
            crowd, _ = Counter(network_of(host) for host, _ in addresses).most_common(1)[0]
            self.remove(key, next(address for address in addresses if network_of(address[0]) == crowd))
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
        """Up to 100 addresses of *key* in random order; of more, a fair hundred."""
        self.expire(now_s)
        found = self._by_key.get(key)
        if found is None:
            return []
        if len(found) == 1:
            return list(found)
        return fair_sample(found, LOOKUP_COUNT_MAX)


def fair_sample(addresses: Collection[Address], count_max: int) -> list[Address]:
    """At most *count_max* of *addresses*, in random order as long as any answer holds all of them.

    Of more, one of each host comes before the second of any: a host that announces a thousand ports under the name of
    others does not make them disappear.
    """
    shuffled = random.sample(list(addresses), len(addresses))
    if len(shuffled) <= ANSWER_COUNT_MIN:
        return shuffled
    met: Counter[str] = Counter()
    turns: list[tuple[int, Address]] = []
    for address in shuffled:
        network = network_of(address[0])
        turns.append((met[network], address))
        met[network] += 1
    turns.sort(key=itemgetter(0))
    return [address for _, address in turns[:count_max]]


@dataclass(frozen=True, slots=True)
class Stored:
    """An item, who brought it, and its times, monotonic seconds.

    Attributes:
        source: the network of who brought it first; empty for the node itself.
        end_s: when it is forgotten unless somebody puts it again; hand-over does not change it.
        republish_s: when this node next offers it to the nodes closest to its key.
    """

    item: Item
    end_s: float
    republish_s: float
    source: str = ""

    def life_s(self, now_s: float) -> int:
        """Seconds it has left, for who is to keep it too: from 1 to a week."""
        return max(1, min(int(self.end_s - now_s), LIFETIME_S_MAX))


class Items:
    """Checked items by key; a later version takes the place of an earlier one, never the reverse.

    When there is no room, a source that has its share already, the same for all that have items here, loses the least
    recently used of its own, and only one that has less takes the place of others.
    """

    def __init__(self, *, count_max: int = 5_000) -> None:
        self._count_max = count_max
        self._stored: OrderedDict[bytes, Stored] = OrderedDict()
        self._by_source: dict[str, OrderedDict[bytes, None]] = {}
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
            self._forget(key)
            return None
        self._used(key, stored)
        return stored.item

    def stored(self, key: bytes) -> Stored | None:
        """The item of *key* with its times; does not count as use."""
        return self._stored.get(key)

    def put(self, key: bytes, item: Item, *, end_s: float, republish_s: float, source: str = "") -> bool:
        """Keep *item*, already checked, unless a later version is held; true when the content changed.

        The same version again moves its end later, never earlier.
        """
        held = self._stored.get(key)
        if held is None:
            self._make_room(source)
            self._keep(key, Stored(item, end_s, republish_s, source))
            return True
        if not replaces(item, held.item):
            if item == held.item:
                self._keep(key, Stored(item, max(end_s, held.end_s), republish_s, held.source))
            return False
        self._keep(key, Stored(item, end_s, republish_s, held.source))
        return True

    def _make_room(self, source: str) -> None:
        if len(self._stored) < self._count_max:
            return
        own = self._by_source.get(source, OrderedDict())
        has_share = len(own) * len(self._by_source) >= self._count_max
        self._forget(next(iter(own if has_share else self._stored)))

    def _keep(self, key: bytes, stored: Stored) -> None:
        self._stored[key] = stored
        self._by_source.setdefault(stored.source, OrderedDict())[key] = None
        self._used(key, stored)
        if self.on_put is not None:
            self.on_put()

    def _used(self, key: bytes, stored: Stored) -> None:
        self._stored.move_to_end(key)
        self._by_source[stored.source].move_to_end(key)

    def _forget(self, key: bytes) -> None:
        source = self._stored.pop(key).source
        own = self._by_source[source]
        del own[key]
        if not own:
            del self._by_source[source]

    def due(self, now_s: float, next_s: float) -> list[tuple[bytes, Stored]]:
        """Forget what is over; of the rest, what is to be offered now. Each is due again at *next_s*."""
        for key, stored in self:
            if stored.end_s <= now_s:
                self._forget(key)
        found = [(key, stored) for key, stored in self._stored.items() if stored.republish_s <= now_s]
        for key, stored in found:
            self._stored[key] = replace(stored, republish_s=next_s)
        return found
