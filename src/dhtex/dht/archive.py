"""Items: put and get with proof. Source: BEP 44.

Nothing here believes a value because somebody sent it: an immutable item is believed for its hash, a mutable
one for its signature, and of several valid versions the latest counts. A read of a mutable item therefore
asks all of the k closest nodes, so one that missed an update, or hides it, changes nothing as long as one
other is honest.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable

from dhtex.dht.calls import Answer, Outcome
from dhtex.dht.contacts import Contact
from dhtex.dht.items import Item, replaces
from dhtex.dht.methods import LIFETIME_S_MAX, Found
from dhtex.dht.network import Network
from dhtex.dht.serving import CAS_MISMATCH, REPUBLISH_S, SEQ_TOO_LOW, Serving
from dhtex.dht.wire import Refusal
from dhtex.errors import MalformedMessage, RpcError, Unreachable, UsageError

log = logging.getLogger(__name__)


class Archive:
    """Put and get items, for one node."""

    def __init__(self, network: Network, serving: Serving | None) -> None:
        self._network = network
        self._serving = serving
        self._offers: set[asyncio.Future[Outcome]] = set()
        self._told: OrderedDict[bytes, float] = OrderedDict()

    def contact_found(self) -> None:
        """Somebody new may have to keep what all others took already."""
        self._told.clear()

    def is_fresh(self, key: bytes) -> bool:
        """True when every node that keeps the immutable item took it within the last `answer_age_s`."""
        return self._told.get(key, 0.0) > self._network.now_s

    async def put(self, item: Item, cas: int | None = None, life_s: int = LIFETIME_S_MAX) -> int:
        """Store an item at the nodes closest to its key; how many keep it now.

        Args:
            cas: with a mutable item, store it only in place of the version with this seq.
            life_s: seconds it is kept unless put again, at most a week.
        Raises:
            UsageError: the item does not prove itself.
            RpcError: 301, *cas* names another version than the latest; 302, the latest is as late as this. Putting
                the latest itself again is refused so too, but renews its life.
            Unreachable: a client, or a mutable item that nobody took, and no node answered.
        """
        try:
            item.check()
        except MalformedMessage as error:
            raise UsageError(f"the item does not prove itself ({error})") from error
        key = item.key
        network = self._network
        if item.is_mutable:
            held, contacts = await self._latest(key)
            if held is not None:
                if cas is not None and held.seq != cas:
                    raise RpcError(*CAS_MISMATCH)
                if item.seq <= held.seq and item != held:
                    raise RpcError(*SEQ_TOO_LOW)
        else:
            held, contacts = None, await network.closest(key)
        args = (item.v, item.k, item.salt, item.seq, item.sig, cas, life_s)
        kept = 0
        if self._serving is not None and (network.keeps(key) or not contacts):
            # Here first: what a reader finds at this node is never older than what it sent away.
            self._serving.keep(key, item, life_s, network.now_s)
            kept = 1
        outcomes = await network.ask_all(contacts, "put_item", *args)
        kept += sum(isinstance(outcome, Answer) for outcome in outcomes)
        if item == held:
            # Put again, and so renewed everywhere, but no later than what is there.
            raise RpcError(*SEQ_TOO_LOW)
        refusals = [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
        conflicts = [refusal for refusal in refusals if refusal.code in (CAS_MISMATCH[0], SEQ_TOO_LOW[0])]
        if len(conflicts) >= max(1, kept):
            # Another writer was faster at half of the nodes or more: it must look again before it writes.
            raise RpcError(conflicts[0].code, conflicts[0].text)
        if not item.is_mutable and len(contacts) == sum(isinstance(outcome, Answer) for outcome in outcomes):
            self._told[key] = network.now_s + network.settings.answer_age_s
            if len(self._told) > network.settings.names_max:
                self._told.popitem(last=False)
        if not kept:
            raise Unreachable("no node took the item; check the connection to the network and put it again")
        return kept

    async def get(self, key: bytes) -> tuple[Item, bytes] | None:
        """The item of *key* and the id of a node that holds it, or None; always a valid one, the latest
        anybody has.
        """
        if self._serving is not None:
            held = self._serving.items.get(key, self._network.now_s)
            if held is not None and (not held.is_mutable or self._network.is_alone):
                return held, self._network.own_id
        latest, holders = await self._read(key)
        if latest is None:
            return None
        if self._serving is not None and self._serving.items.get(key, self._network.now_s) == latest:
            return latest, self._network.own_id
        return latest, holders[latest][0]

    async def _latest(self, key: bytes) -> tuple[Item | None, list[Contact]]:
        """The latest valid version among the k closest nodes and here, and those nodes."""
        contacts = await self._network.closest(key)
        latest = None if self._serving is None else self._serving.items.get(key, self._network.now_s)
        for outcome in await self._network.ask_all(contacts, "get_item", key):
            if isinstance(outcome, Answer) and isinstance(outcome.result, Found):
                item = _proved(outcome.result.item, key)
                if item is not None and replaces(item, latest):
                    latest = item
        return latest, contacts

    async def _read(self, key: bytes) -> tuple[Item | None, dict[Item, list[bytes]]]:
        """Look *key* up in the network and here; repairs the closest nodes that hold an earlier version or
        none.
        """
        network = self._network
        latest = None if self._serving is None else self._serving.items.get(key, network.now_s)
        holders: dict[Item, list[bytes]] = {}
        seen: list[tuple[Contact, Item | None]] = []

        def visit(contact: Contact, found: Found) -> bool:
            nonlocal latest
            item = _proved(found.item, key)
            seen.append((contact, item))
            if item is None:
                return False
            holders.setdefault(item, []).append(contact.id)
            if replaces(item, latest):
                latest = item
            return not item.is_mutable

        crawl = network.crawl("get_item", key, visit)
        try:
            closest = set(await crawl.done)
        finally:
            crawl.done.cancel()
        if latest is not None:
            behind = [contact for contact, item in seen if item != latest and contact in closest]
            kept_here = None if self._serving is None else self._serving.items.stored(key)
            life_s = (
                int(REPUBLISH_S)
                if kept_here is None or latest in holders
                else kept_here.life_s(network.now_s)
            )
            self._offer(latest, behind, life_s)
            # What is here already keeps its end, however often it is read.
            is_news = kept_here is None or kept_here.item != latest
            if self._serving is not None and network.keeps(key) and is_news and latest in holders:
                self._serving.items.put(
                    key, latest, end_s=network.now_s + REPUBLISH_S, republish_s=network.now_s + REPUBLISH_S
                )
        return latest, holders

    def _offer(self, item: Item, contacts: Iterable[Contact], life_s: int) -> None:
        """Send *item* to *contacts* without waiting for what they say."""
        for contact in contacts:
            call = self._network.protocol.begin(
                contact.address, "put_item", item.v, item.k, item.salt, item.seq, item.sig, None, life_s
            )
            self._offers.add(call)
            call.add_done_callback(self._offers.discard)


def _proved(item: Item | None, key: bytes) -> Item | None:
    """The item if it proves itself and belongs to *key*, else None."""
    if item is None or item.key != key:
        return None
    try:
        item.check()
    except MalformedMessage as error:
        log.debug("a node answered with an item that does not prove itself: %s", error)
        return None
    return item
