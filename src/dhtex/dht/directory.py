"""Names: announcing own services, keeping the announcements alive, and looking others up.

A look-up asks the k closest nodes and takes everything they name. When this node is itself among the k
closest, every announcer tells it directly, so the network's answer, joined with what arrives here meanwhile,
may serve again for `Settings.answer_age_s`: only announcements whose datagrams were all lost, or made while
this node was away, can be seen that much later. Empty answers are never reused, and look-ups for one name
under way at once are one.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, OrderedDict
from typing import NamedTuple
from weakref import WeakValueDictionary

from dhtex.dht.addresses import host_for_others
from dhtex.dht.calls import Answer
from dhtex.dht.contacts import Contact
from dhtex.dht.crawl import Crawl
from dhtex.dht.face import Address
from dhtex.dht.methods import Found
from dhtex.dht.network import TRIES, Network
from dhtex.dht.serving import Serving
from dhtex.dht.stores import LOOKUP_COUNT_MAX, fair_sample

log = logging.getLogger(__name__)

_Service = tuple[bytes, int]

REFRESH_CONCURRENCY = 16
"""Own announcements renewed at once."""


class Kept(NamedTuple):
    """Who keeps an announcement: how many other nodes, and whether this one does."""

    others: int
    here: bool

    @property
    def total(self) -> int:
        """How many nodes keep it."""
        return self.others + self.here


_NEVER = (0.0, Kept(0, False))


class Directory:
    """Announce and look up, for one node."""

    def __init__(self, network: Network, serving: Serving | None, own_address: Address) -> None:
        self._network = network
        self._serving = serving
        self._own_port = own_address[1]
        self._first_host = self._own_host = host_for_others(own_address[0])
        self._answers: OrderedDict[bytes, tuple[float, frozenset[Address]]] = OrderedDict()
        self._crawls: dict[bytes, asyncio.Future[list[Address]]] = {}
        self._told: OrderedDict[_Service, tuple[float, Kept]] = OrderedDict()
        self._services: dict[_Service, float] = {}
        self._turns: WeakValueDictionary[_Service, asyncio.Lock] = WeakValueDictionary()
        self._changed = asyncio.Event()
        if serving is not None:
            serving.on_unannounced = self._forget_answer

    # --- announce ---

    def told(self, key: bytes, port: int) -> Kept | None:
        """Who keeps the service, if every node that should took it within the last `answer_age_s`, else None."""
        until_s, kept = self._told.get((key, port), _NEVER)
        return kept if until_s > self._network.now_s else None

    def contact_found(self) -> None:
        """Somebody new may have to keep what all others took already."""
        self._told.clear()

    def _turn(self, service: _Service) -> asyncio.Lock:
        """What is done about one service is done in turn: an announcement still under way, or sent once more because
        its answer was lost, would undo taking it back.
        """
        return self._turns.setdefault(service, asyncio.Lock())

    async def announce(self, key: bytes, port: int) -> Kept:
        """Announce once; who keeps it now."""
        service = (key, port)
        turn = self._turn(service)
        has_to_wait = turn.locked()
        async with turn:
            return (has_to_wait and self.told(key, port)) or await self._announce(service)

    async def _renew(self, service: _Service) -> None:
        async with self._turn(service):
            if service in self._services:
                await self._announce(service)

    async def _announce(self, service: _Service) -> Kept:
        key, port = service
        network = self._network
        now_s = network.now_s
        contacts = await network.closest(key)
        outcomes = await network.ask_all(contacts[: network.settings.ksize], "announce", key, port)
        kept_at = Counter(
            outcome.result[0] for outcome in outcomes if isinstance(outcome, Answer) and outcome.result
        )
        if kept_at:
            # What most storers saw is what others will connect to.
            self._own_host = kept_at.most_common(1)[0][0]
        here = self._serving is not None and (network.keeps(key) or not kept_at)
        if self._serving is not None and here:
            self._serving.announce(key, (self._own_host, port or self._own_port), network.now_s)
        kept = Kept(kept_at.total(), here)
        if kept.others == len(contacts):
            self._told[service] = now_s + network.settings.answer_age_s, kept
            if len(self._told) > network.settings.names_max:
                self._told.popitem(last=False)
        return kept

    async def keep_announcing(self, key: bytes, port: int) -> Kept:
        """Announce now and again at half age until `unannounce`."""
        self._services[key, port] = self._next_s()
        self._changed.set()
        return await self.announce(key, port)

    async def unannounce(self, key: bytes, port: int) -> bool:
        """Take an announcement back everywhere; true when anybody had kept it."""
        self._services.pop((key, port), None)
        async with self._turn((key, port)):
            return await self._unannounce(key, port)

    async def _unannounce(self, key: bytes, port: int) -> bool:
        self._told.pop((key, port), None)
        was_kept = False
        if self._serving is not None:
            for host in {self._own_host, self._first_host}:
                was_kept |= self._serving.unannounce(key, (host, port or self._own_port))
        contacts = await self._network.closest(key)
        outcomes = await self._network.ask_all(contacts, "unannounce", key, port)
        self._answers.pop(key, None)
        return was_kept or any(isinstance(outcome, Answer) and outcome.result for outcome in outcomes)

    def _next_s(self) -> float:
        # Half the age, a little earlier at random, so that services announced together do not stay together.
        return self._network.now_s + self._network.settings.age_s / 2 * random.uniform(0.9, 1.0)

    async def run(self) -> None:
        """Renew own announcements at half age, until cancelled."""
        while True:
            if not self._services:
                self._changed.clear()
                await self._changed.wait()
            now_s = self._network.now_s
            due = [service for service, at_s in self._services.items() if at_s <= now_s]
            for at in range(0, len(due), REFRESH_CONCURRENCY):
                batch = [
                    service for service in due[at : at + REFRESH_CONCURRENCY] if service in self._services
                ]
                for service in batch:
                    self._services[service] = self._next_s()
                await asyncio.gather(*(self._renew(service) for service in batch))
            if self._services:
                pause_s = max(0.0, min(self._services.values()) - self._network.now_s)
                self._changed.clear()
                try:
                    await asyncio.wait_for(self._changed.wait(), pause_s)
                except TimeoutError:
                    continue

    def announce_soon(self) -> None:
        """The network changed from nobody to somebody: tell it of every own service now."""
        self._told.clear()
        for service in self._services:
            self._services[service] = 0.0
        self._changed.set()

    # --- look up ---

    def known(self, key: bytes) -> list[Address] | None:
        """The answer to a look-up if it needs no question to anybody, else None."""
        if self._serving is None:
            return None
        now_s = self._network.now_s
        if self._network.is_alone:
            return self._serving.announcements.addresses(key, now_s)
        answer = self._answers.get(key)
        if answer is None:
            return None
        fresh_until_s, remote = answer
        if fresh_until_s <= now_s:
            del self._answers[key]
            return None
        return _join(self._serving.announcements.addresses(key, now_s), remote)

    async def lookup(self, key: bytes) -> list[Address]:
        """Addresses of *key* in random order, at most 100."""
        known = self.known(key)
        if known is not None:
            return known
        under_way = self._crawls.get(key)
        if under_way is None:
            under_way = self._start(key)
        return list(await asyncio.shield(under_way))

    def _start(self, key: bytes) -> asyncio.Future[list[Address]]:
        found_remote: set[Address] = set()

        def visit(contact: Contact, found: Found) -> bool:
            found_remote.update(found.addresses)
            return False

        answer: asyncio.Future[list[Address]] = self._network.protocol.loop.create_future()
        self._crawls[key] = answer

        def ask(tries_left: int) -> None:
            crawl = self._network.crawl("find_peers", key, visit)
            crawl.done.add_done_callback(lambda _: ended(crawl, tries_left - 1))

        def ended(crawl: Crawl, tries_left: int) -> None:
            if tries_left and not found_remote and crawl.shortlist.is_thin:
                ask(tries_left)
                return
            del self._crawls[key]
            if not answer.done():
                answer.set_result(self._answer(key, frozenset(found_remote)))

        ask(TRIES)
        return answer

    def _answer(self, key: bytes, remote: frozenset[Address]) -> list[Address]:
        network = self._network
        if self._serving is None:
            return _join([], remote)
        now_s = network.now_s
        reuse_s = min(network.settings.answer_age_s, network.settings.age_s / 20)
        if remote and reuse_s > 0 and network.keeps(key):
            self._answers[key] = (now_s + reuse_s, remote)
            if len(self._answers) > network.settings.names_max:
                self._answers.popitem(last=False)
        return _join(self._serving.announcements.addresses(key, now_s), remote)

    def _forget_answer(self, key: bytes, address: Address) -> None:
        self._answers.pop(key, None)
        self._told.pop((key, address[1]), None)


def _join(local: list[Address], remote: frozenset[Address]) -> list[Address]:
    if len(local) <= 1 and remote.issuperset(local) and len(remote) == 1:
        return list(remote)
    return fair_sample(remote.union(local), LOOKUP_COUNT_MAX)
