"""The network as one node sees it: who is closest to a key, found through the table or by a look-up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable

from dhtex.dht.addresses import host_for_others, source_of
from dhtex.dht.calls import Outcome
from dhtex.dht.contacts import Contact
from dhtex.dht.crawl import Crawl, Visit, nothing_to_see
from dhtex.dht.protocol import Protocol
from dhtex.dht.settings import Settings
from dhtex.dht.shortlist import CANDIDATES_FACTOR, Shortlist
from dhtex.dht.table import Table, part_of

SMALL_S = 10.0
"""How long a look-up that met fewer than k nodes speaks for the size of the network."""

TRIES = 2
"""Look-ups made when fewer than k answered and others did not."""


class Network:
    """A table and a protocol, and the questions the rest of a node asks of them."""

    def __init__(self, protocol: Protocol, table: Table, settings: Settings, *, is_client: bool) -> None:
        self.protocol = protocol
        self.table = table
        self.settings = settings
        self.is_client = is_client
        self.own_id = protocol.own_id
        self._own_long_id = int.from_bytes(protocol.own_id, "big")
        self._own_source = source_of((host_for_others(protocol.address[0]), protocol.address[1]))
        self._small_until_s = 0.0

    @property
    def now_s(self) -> float:
        """Monotonic seconds of the event loop."""
        return self.protocol.loop.time()

    @property
    def is_alone(self) -> bool:
        """True while no contact is alive."""
        return self.table.live_count == 0

    def keeps(self, key: bytes) -> bool:
        """True when this node is, as far as it knows, among the k closest to *key*: it should keep what is
        stored there.
        """
        if self.is_client:
            return False
        key_long = int.from_bytes(key, "big")
        own_distance = self._own_long_id ^ key_long
        part = part_of(self.settings.ksize)
        closer: Counter[Hashable] = Counter()
        for contact in self.table.find_neighbors(key, CANDIDATES_FACTOR * self.settings.ksize):
            if contact.long_id ^ key_long > own_distance:
                break
            closer[source_of(contact.address)] += 1
        places = sum(min(count, part) for count in closer.values())
        return places < self.settings.ksize and closer[self._own_source] < part

    def crawl(self, method: str, key: bytes, visit: Visit = nothing_to_see) -> Crawl:
        """Start a look-up."""
        self.table.mark_used(key, self.now_s)
        shortlist = Shortlist(
            key,
            self.table.find_neighbors(key, CANDIDATES_FACTOR * self.settings.ksize),
            own_id=self.own_id,
            is_silent=self.protocol.is_silent,
            ksize=self.settings.ksize,
            alpha=self.settings.alpha,
            inflight_max=self.settings.concurrency,
        )
        crawl = Crawl(self.protocol, shortlist, method, key, visit)
        crawl.done.add_done_callback(lambda _: self._measure(shortlist))
        return crawl

    def _measure(self, shortlist: Shortlist) -> None:
        if shortlist.is_done:
            self._small_until_s = self.now_s + SMALL_S if shortlist.met_everybody else 0.0

    def contact_found(self) -> None:
        """Somebody new may know others: whether the network is small must be found out again."""
        self._small_until_s = 0.0

    @property
    def is_small(self) -> bool:
        """True when a look-up met fewer than k nodes a moment ago, and nobody new was heard from since.

        How many are in the table does not tell: a node that joined a large network a moment ago, or on a
        machine so busy that answers are lost, knows few of many. And nobody new calls at a client.
        """
        return (
            not self.is_client and self._small_until_s > self.now_s and len(self.table) < self.settings.ksize
        )

    async def closest(self, key: bytes) -> list[Contact]:
        """The k closest live contacts, nearest first.

        Every node of a small network is among the k closest to every key, so there the table is the answer.
        Otherwise a look-up finds them.
        """
        if self.is_small:
            return self.table.find_neighbors(key)
        return await self.closest_by_asking(key)

    async def closest_by_asking(self, key: bytes) -> list[Contact]:
        """The k closest contacts that answer a look-up now, nearest first.

        Asks once more when many did not answer: with those left out, others come into view.
        """
        for _ in range(TRIES):
            crawl = self.crawl("find_node", key)
            try:
                found = await crawl.done
            finally:
                crawl.done.cancel()
            if not crawl.shortlist.is_thin:
                break
        return found

    async def ask_all(self, contacts: list[Contact], method: str, *args: object) -> list[Outcome]:
        """Call *method* on each contact at once; how each call ended, in the same order."""
        calls = [self.protocol.begin(contact.address, method, *args) for contact in contacts]
        try:
            outcomes = await asyncio.gather(*calls)
        finally:
            for call in calls:
                call.cancel()
        for contact, outcome in zip(contacts, outcomes, strict=True):
            self.protocol.settle(contact, outcome)
        return outcomes
