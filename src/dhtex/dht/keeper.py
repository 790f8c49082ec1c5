"""Staying part of the network: bootstrap with back-off, pinging the silent, refreshing buckets, tidying the
stores.

One task for each node. It never gives up: a bootstrap address that does not answer is tried again for as long
as the node lives, and when every contact is lost, the addresses of the last ones are tried beside the
bootstrap's.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections import deque
from collections.abc import Callable, Sequence

from dhtex.dht.addresses import from_sockaddr, split_host_port
from dhtex.dht.calls import Answer
from dhtex.dht.contacts import Contact
from dhtex.dht.face import Address, BootstrapReached, BootstrapUnreachable, DhtEvent
from dhtex.dht.network import Network
from dhtex.dht.table import ID_BITS, Bucket

log = logging.getLogger(__name__)

TICK_S = 1.0
"""Pause between looks at suspects and stores."""

REFRESH_S = 900.0
"""A bucket no look-up passed through for so long gets one of its own (the paper says an hour, BEP 5 fifteen
minutes).
"""

PINGS_MAX = 16
"""Contacts pinged in one tick."""


class Keeper:
    """Keeps one node connected. `run` until cancelled."""

    def __init__(
        self,
        network: Network,
        bootstrap: Sequence[str],
        tell: Callable[[DhtEvent], None],
        tidy: Callable[[], None],
        connected: Callable[[], None],
    ) -> None:
        """A keeper.

        Args:
            bootstrap: "host:port" names to start from.
            tell: takes the events of discovery.
            tidy: called every tick, to forget what is over its age.
            connected: called when the node finds others after it was alone.
        """
        self._network = network
        self._bootstrap = tuple(bootstrap)
        self._tell = tell
        self._tidy = tidy
        self._connected = connected
        self._last_lost: deque[Address] = deque(maxlen=network.settings.ksize)
        self._failed_rounds = 0
        self.is_ready = asyncio.Event()
        if not bootstrap:
            self.is_ready.set()

    def remember(self, addresses: list[Address]) -> None:
        """Where contacts were before a restart: tried beside the bootstrap while the node is alone."""
        self._last_lost.extend(addresses)

    def last_known(self) -> list[Address]:
        """Addresses of contacts that were lost last."""
        return list(self._last_lost)

    def lost(self, contact: Contact) -> None:
        """Remember where a contact was, for when nobody else is left."""
        self._last_lost.append(contact.address)

    async def run(self) -> None:
        """Keep the node connected until cancelled."""
        next_round_s = 0.0
        was_alone = True
        while True:
            if self._network.now_s >= next_round_s:
                next_round_s = self._network.now_s + await self._round()
            if was_alone and not self._network.is_alone:
                await self._settle_in()
            was_alone = self._network.is_alone
            if was_alone:
                next_round_s = min(next_round_s, self._network.now_s + self._pause_s())
            await self._ping_silent()
            await self._refresh_stale()
            self._tidy()
            until_round_s = next_round_s - self._network.now_s
            await asyncio.sleep(max(0.0, min(TICK_S, until_round_s)))

    async def _round(self) -> float:
        """Ping the bootstrap addresses that are not in touch; seconds until the next round."""
        network = self._network
        missing = [
            address
            for address in await self._resolved()
            if network.table.at(address) is None and network.protocol.can_reach(address)
        ]
        calls = [network.protocol.begin(address, "ping") for address in missing]
        if calls:
            await asyncio.wait(calls)
        if not network.is_alone:
            self._failed_rounds = 0
            missed = sum(not isinstance(call.result(), Answer) for call in calls)
            return network.settings.retry_s_max if not missed else min(network.settings.retry_s_max, 10.0)
        pause_s = self._pause_s()
        if self._bootstrap:
            self._failed_rounds += 1
            event = BootstrapUnreachable(self._bootstrap, self._failed_rounds, pause_s)
            log.info("%s", event)
            self._tell(event)
        return pause_s

    def _pause_s(self) -> float:
        settings = self._network.settings
        return min(settings.retry_s * 2.0 ** min(self._failed_rounds, 16), settings.retry_s_max)

    async def _resolved(self) -> list[Address]:
        """The bootstrap addresses as numbers, and the last known contacts when alone. A name does not block
        the loop.
        """
        found: list[Address] = list(self._last_lost) if self._network.is_alone else []
        for name in self._bootstrap:
            host, port = split_host_port(name)
            try:
                infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
            except (OSError, ValueError) as error:  # a text that can be no name is a ValueError
                log.debug("cannot resolve %s: %s", host, error)
                continue
            found += [from_sockaddr(info[4]) for info in infos]
        return list(dict.fromkeys(found))

    async def _settle_in(self) -> None:
        """Find the own neighbourhood and become known there (Kademlia paper, section 2.3, on joining)."""
        network = self._network
        neighbours = await network.closest_by_asking(network.own_id)
        if not network.is_client:
            # They answered without proof that this node is where it says; with the token of that answer it
            # is.
            await network.ask_all(neighbours, "ping")
        own = network.table.bucket_of(network.own_id)
        for bucket in list(network.table.buckets):
            if bucket is not own:
                await self._refresh(bucket)
        if network.is_alone:
            return
        self._failed_rounds = 0
        self.is_ready.set()
        event = BootstrapReached(network.table.live_count)
        log.info("%s", event)
        self._tell(event)
        self._connected()

    async def _ping_silent(self) -> None:
        """Ping suspects, and contacts not heard from for `liveness_s`."""
        network = self._network
        now_s = network.now_s
        silent = [
            contact
            for contact in network.table
            if now_s - network.table.heard_s(contact) > network.settings.liveness_s
        ]
        to_ping = (network.table.suspects() + silent)[:PINGS_MAX]
        if to_ping:
            await network.ask_all(to_ping, "ping")

    async def _refresh_stale(self) -> None:
        network = self._network
        for bucket in network.table.stale_buckets(network.now_s, REFRESH_S)[:1]:
            await self._refresh(bucket)

    async def _refresh(self, bucket: Bucket) -> None:
        """Look up a random id of the bucket's range."""
        target = random.randint(*bucket.range).to_bytes(ID_BITS // 8, "big")
        await self._network.closest_by_asking(target)
