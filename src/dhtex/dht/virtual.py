"""A network of many nodes in one process and in virtual time: the real protocol, table and look-up over made-up wires.

`VirtualLoop` is an event loop whose clock jumps to the next timer, so a minute of time-outs passes in a moment and a
run with one seed is the same every time, but for the ids and tokens that come from the system. `VirtualNetwork`
delivers datagrams with a delay, or not at all. Used by the tests and by `benchmarks/dht_size.py`.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from bisect import bisect_left
from collections.abc import Iterable
from heapq import nsmallest
from typing import Any

from dhtex.dht.contacts import Contact
from dhtex.dht.face import Address
from dhtex.dht.limits import Rates
from dhtex.dht.network import Network
from dhtex.dht.protocol import Protocol
from dhtex.dht.serving import Serving
from dhtex.dht.settings import DEFAULTS, Settings
from dhtex.dht.stores import Announcements, Items
from dhtex.dht.table import ID_BITS, Table


class _Clock(selectors.SelectSelector):
    """A selector that never waits: no file ever becomes ready, time passes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing is left to happen, and somebody waits for it")
        self.now_s += max(timeout, 0.0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time; starts at 0."""

    def __init__(self) -> None:
        self._clock = _Clock()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now_s


class VirtualTransport(asyncio.DatagramTransport):
    """One node's socket."""

    def __init__(self, network: VirtualNetwork, address: Address) -> None:
        super().__init__()
        self._network = network
        self._address = address
        self._closing = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._address if name == "sockname" else default

    def get_write_buffer_size(self) -> int:
        """Nothing ever waits."""
        return 0

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    def sendto(self, data: Any, addr: Any = None) -> None:
        self._network.deliver(self._address, addr, data)


class VirtualNetwork:
    """Nodes with random ids, some of them dead, and routing tables as long-running nodes have them.

    A node comes to life when the first datagram reaches it; until then it is an id and an address.
    """

    def __init__(
        self,
        count: int,
        *,
        seed: int,
        dead_share: float = 0.0,
        delay_s: tuple[float, float] = (0.005, 0.05),
        settings: Settings = DEFAULTS,
    ) -> None:
        """A network.

        Args:
            count: nodes, the dead ones included; at most 16 million.
            dead_share: this share of the nodes never answers but is in the tables of the others.
            delay_s: a datagram takes a random time from this range.
        """
        self.random = random.Random(seed)
        self.settings = settings
        self._delay_s = delay_s
        ids = sorted(self.random.randbytes(ID_BITS // 8) for _ in range(count))
        self.contacts = [Contact(node_id, _address(n)) for n, node_id in enumerate(ids)]
        self._long_ids = [contact.long_id for contact in self.contacts]
        self._by_address = {contact.address: contact for contact in self.contacts}
        dead = self.random.sample(self.contacts, int(count * dead_share))
        self._dead = {contact.address for contact in dead}
        self.live = [contact for contact in self.contacts if contact.address not in self._dead]
        self._nodes: dict[Address, Network] = {}
        self.datagrams = 0

    def node(self, contact: Contact) -> Network:
        """The living node of *contact*."""
        node = self._nodes.get(contact.address)
        if node is None:
            node = self._nodes[contact.address] = self._start(contact)
        return node

    def _start(self, contact: Contact) -> Network:
        table = Table(contact.id, self.settings.ksize)
        for other in self._known_to(contact):
            table.add_contact(other)
        serving = Serving(table, Announcements(self.settings.age_s), Items())
        # Look-ups follow one another faster here than on a clock: no source may reach its limit.
        rates = Rates(stranger=1e9, stranger_burst=1e9, strangers=1e9, strangers_burst=1e9)
        protocol = Protocol(contact.id, table, serving, rates)
        protocol.connection_made(VirtualTransport(self, contact.address))
        return Network(protocol, table, self.settings, is_client=False)

    def _known_to(self, contact: Contact) -> Iterable[Contact]:
        """Up to k random nodes for each length of shared prefix: the buckets of a node that ran for long."""
        for depth in range(ID_BITS):
            size = 1 << (ID_BITS - depth - 1)
            start = (contact.long_id ^ size) & ~(size - 1)
            low, high = bisect_left(self._long_ids, start), bisect_left(self._long_ids, start + size)
            known = range(low, high)
            count = min(len(known), self.settings.ksize)
            yield from (self.contacts[at] for at in self.random.sample(known, count))
            own = start ^ size
            if bisect_left(self._long_ids, own + size) - bisect_left(self._long_ids, own) <= 1:
                return  # nobody shares a longer prefix

    def deliver(self, sender: Address, to: Address, data: bytes) -> None:
        """Carry a datagram, or lose it when nobody lives there."""
        self.datagrams += 1
        contact = self._by_address.get(to)
        if contact is None or to in self._dead:
            return
        node = self.node(contact)
        node.protocol.loop.call_later(
            self.random.uniform(*self._delay_s), node.protocol.datagram_received, data, sender
        )

    def closest(self, key: bytes) -> list[Contact]:
        """The true k closest living nodes."""
        key_long = int.from_bytes(key, "big")
        return nsmallest(self.settings.ksize, self.live, key=lambda contact: contact.long_id ^ key_long)


def _address(n: int) -> Address:
    return f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}", 20_001
