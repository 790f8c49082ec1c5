"""Keeping items where they belong: handed over to newcomers, offered again every hour. Source: Kademlia paper,
section 2.5.

Both wait for answers before they go on, a few items at a time, so that thousands of items neither hold up the event
loop nor take the place of other calls. Whoever shows up under one new id after the other gets no more than one
hand-over at a time, with a rest after each as long as it took.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from dhtex.dht.contacts import Contact
from dhtex.dht.face import Address
from dhtex.dht.network import Network
from dhtex.dht.serving import REPUBLISH_S
from dhtex.dht.stores import Items, Stored

BATCH = 32
"""Items looked at, and at most offered, at once."""

NEWCOMERS_MAX = 256
"""Newcomers waiting for their items; one that is forgotten gets them when they are republished."""


class Upkeep:
    """Hands over and republishes the items of one node."""

    def __init__(self, network: Network, items: Items) -> None:
        self._network = network
        self._items = items
        self._newcomers: OrderedDict[Address, Contact] = OrderedDict()
        self._someone_came = asyncio.Event()

    def contact_found(self, newcomer: Contact) -> None:
        """Hand over to *newcomer*, soon, what it should keep."""
        self._newcomers[newcomer.address] = newcomer
        if len(self._newcomers) > NEWCOMERS_MAX:
            self._newcomers.popitem(last=False)
        self._someone_came.set()

    async def hand_over(self) -> None:
        """Serve newcomers one after the other, until cancelled."""
        while True:
            await self._someone_came.wait()
            self._someone_came.clear()
            while self._newcomers:
                _, newcomer = self._newcomers.popitem(last=False)
                began_s = self._network.now_s
                await self._hand_over_to(newcomer)
                await asyncio.sleep(self._network.now_s - began_s)

    async def _hand_over_to(self, newcomer: Contact) -> None:
        """Items go with the rest of their life, under their own key (24)."""
        items = list(self._items)
        for at in range(0, len(items), BATCH):
            meant = [stored for key, stored in items[at : at + BATCH] if self._is_for(newcomer, key)]
            calls = [
                self._network.protocol.begin(newcomer.address, "put_item", *self._fields(stored))
                for stored in meant
            ]
            outcomes = await asyncio.gather(*calls)
            if None in outcomes:
                self._network.protocol.settle(newcomer, None)
                return
            await asyncio.sleep(0)

    def _is_for(self, newcomer: Contact, key: bytes) -> bool:
        """True when *newcomer* should keep *key* and no node that was there already is closer than this one."""
        neighbours = self._network.table.find_neighbors(key)
        if newcomer not in neighbours:
            return False
        key_long = int.from_bytes(key, "big")
        own_distance = int.from_bytes(self._network.own_id, "big") ^ key_long
        return all(own_distance < contact.long_id ^ key_long for contact in neighbours if contact != newcomer)

    async def republish(self, tick_s: float = 30.0) -> None:
        """Offer what is due to the nodes closest to it, until cancelled."""
        while True:
            await asyncio.sleep(tick_s)
            now_s = self._network.now_s
            due = self._items.due(now_s, now_s + REPUBLISH_S)
            for at in range(0, len(due), BATCH):
                await asyncio.gather(*(self._offer(key, stored) for key, stored in due[at : at + BATCH]))

    async def _offer(self, key: bytes, stored: Stored) -> None:
        contacts = await self._network.closest(key)
        await self._network.ask_all(contacts, "put_item", *self._fields(stored))

    def _fields(self, stored: Stored) -> tuple[object, ...]:
        """What `put_item` takes."""
        item = stored.item
        life_s = stored.life_s(self._network.now_s)
        return item.v, item.k, item.salt, item.seq, item.sig, None, life_s
