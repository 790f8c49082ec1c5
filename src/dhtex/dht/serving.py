"""What a node answers: contacts, addresses, items. Called with checked arguments; time is an argument."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from dhtex.dht.addresses import network_of, pack_address
from dhtex.dht.contacts import pack_addresses, pack_contacts
from dhtex.dht.face import Address
from dhtex.dht.items import Item
from dhtex.dht.stores import Announcements, Items
from dhtex.dht.table import Table
from dhtex.dht.wire import PADDED_SIZE
from dhtex.errors import MalformedMessage

log = logging.getLogger(__name__)

ANSWER_OVERHEAD = 100
"""Bytes of an answer that are not contacts, addresses or the item: header, id, token, lengths."""

ANSWER_SIZE = PADDED_SIZE - ANSWER_OVERHEAD
"""Bytes of contacts, addresses and item: a first question, padded, gets the whole answer."""

ADDRESSES_SIZE = 540
NAMED_FACTOR = 2
"""Contacts named in an answer that has room, in multiples of k: with a third of them dead k are left to ask."""

REPUBLISH_S = 3_600.0


class Refused(Exception):  # an answer, not a failure; never leaves the protocol
    """The request is proper but is not carried out.

    Attributes:
        code: a short fixed word, or a number of BEP 44 as text.
        text: one sentence.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code)
        self.code = code
        self.text = text


CAS_MISMATCH = "301", "CAS mismatch, re-read and try again"
SEQ_TOO_LOW = "302", "sequence number less than current"


class Serving:
    """The methods of `methods.py` over a table and two stores."""

    def __init__(self, table: Table, announcements: Announcements, items: Items) -> None:
        self._table = table
        self.announcements = announcements
        self.items = items
        self.on_announced: Callable[[bytes, Address], None] | None = None
        self.on_unannounced: Callable[[bytes, Address], None] | None = None

    def serve(self, method: str, args: tuple[Any, ...], asker: Address, now_s: float) -> Any:
        """The result of *method*.

        Raises:
            Refused: the request is proper but is not carried out.
        """
        handler: Callable[..., Any] = getattr(self, f"rpc_{method}")
        return handler(asker, now_s, *args)

    def rpc_find_node(self, asker: Address, now_s: float, target: bytes) -> tuple[bytes, bytes]:
        """The known contacts closest to *target*."""
        return self._named(asker, target, ANSWER_SIZE)

    def _named(self, asker: Address, target: bytes, size: int) -> tuple[bytes, bytes]:
        count = NAMED_FACTOR * self._table.ksize
        return pack_contacts(self._table.find_neighbors(target, count, asker), size)

    def rpc_find_peers(self, asker: Address, now_s: float, key: bytes) -> tuple[bytes, bytes, bytes, bytes]:
        """Who announced *key* here, and the closest contacts."""
        found = self.announcements.addresses(key, now_s)
        addresses_v4, addresses_v6 = pack_addresses(found, ADDRESSES_SIZE)
        room = ANSWER_SIZE - len(addresses_v4) - len(addresses_v6)
        return *self._named(asker, key, room), addresses_v4, addresses_v6

    def rpc_announce(self, asker: Address, now_s: float, key: bytes, port: int) -> bytes:
        """Keep the asker's host with *port* under *key*; nobody can announce for somebody else."""
        address = (asker[0], port or asker[1])
        self.announce(key, address, now_s)
        return pack_address(address)

    def announce(self, key: bytes, address: Address, now_s: float) -> None:
        """Keep an announcement."""
        if self.announcements.add(key, address, now_s) and self.on_announced is not None:
            self.on_announced(key, address)

    def rpc_unannounce(self, asker: Address, now_s: float, key: bytes, port: int) -> bool:
        """Forget what the asker announced."""
        return self.unannounce(key, (asker[0], port or asker[1]))

    def unannounce(self, key: bytes, address: Address) -> bool:
        """Forget an announcement; true when there was one."""
        if self.on_unannounced is not None:
            self.on_unannounced(key, address)
        return self.announcements.remove(key, address)

    def rpc_get_item(
        self, asker: Address, now_s: float, key: bytes
    ) -> tuple[bytes, bytes, tuple[Any, ...] | None]:
        """The item of *key* if it is here, and the closest contacts."""
        item = self.items.get(key, now_s)
        if item is None:
            return *self._named(asker, key, ANSWER_SIZE), None
        room = ANSWER_SIZE - len(item.v) - len(item.k) - len(item.salt) - len(item.sig)
        return *self._named(asker, key, max(0, room)), (item.v, item.k, item.salt, item.seq, item.sig)

    def rpc_put_item(self, asker: Address, now_s: float, *fields: Any) -> None:
        """Keep an item that proves itself, unless a later version is here (BEP 44: 301, 302)."""
        *item, cas, life_s = fields
        self.put(Item(*item), cas, life_s, now_s, network_of(asker[0]))

    def put(self, item: Item, cas: int | None, life_s: float, now_s: float, source: str = "") -> None:
        """Check and keep an item for *life_s* seconds, brought by *source*, a network; empty for this node.

        Raises:
            Refused: it does not prove itself, `cas` names another version, or a version as late is held.
        """
        try:
            item.check()
        except MalformedMessage as error:
            raise Refused(error.reason, "the item does not prove itself") from error
        key = item.key
        held = self.items.get(key, now_s)
        if held is not None and held.is_mutable:
            if cas is not None and held.seq != cas:
                raise Refused(*CAS_MISMATCH)
            if item.seq <= held.seq:
                if item == held:  # renewed, although the putter is told that it is old
                    self.keep(key, item, life_s, now_s, source)
                raise Refused(*SEQ_TOO_LOW)
        self.keep(key, item, life_s, now_s, source)

    def keep(self, key: bytes, item: Item, life_s: float, now_s: float, source: str = "") -> None:
        """Keep an item that was checked, unless a version as late is held."""
        self.items.put(key, item, end_s=now_s + life_s, republish_s=now_s + REPUBLISH_S, source=source)
