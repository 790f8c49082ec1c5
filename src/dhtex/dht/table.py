"""The routing table: the package's k-buckets, with its mistakes mended and no input or output of its own.

Kademlia paper, sections 2.2 to 2.4 and 4.2 (accelerated look-ups are not used: a bucket splits only when it
holds the own id, so the table keeps to k contacts for each shared bit of prefix).

What differs from `kademlia.routing`, and why:

* `find_neighbors` returns the k closest, not the first k met (25), and reads the table without touching it.
* A contact leaves after several failures in a row, not after one (18); between the first and the last it is
  *suspect*: look-ups leave it out and the node's keeper pings it, so a dead contact costs one time-out and
  not one for each look-up (19).
* A known id may move to another address once the old one has failed (23); one address holds one id.
* In a full bucket a source with more than its part of the places gives one up to another: one host with many ports
  does not fill the tables of others with its ids.
* Nothing here sends a ping: which contact to check is returned as a value, so the table can be simulated.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator

from kademlia.routing import KBucket, RoutingTable

from dhtex.dht.addresses import source_of
from dhtex.dht.contacts import Contact
from dhtex.dht.face import Address

ID_BITS = 160
FAILURES_MAX = 3
"""Calls in a row that a contact may leave unanswered; the third removes it."""

CHECK_S = 30.0
"""A contact heard from within so long keeps its place unchecked when another could have it."""

REPLACEMENTS_FACTOR = 1
"""Contacts waiting for a place, in multiples of k."""


def part_of(ksize: int) -> int:
    """Of k places, how many one source may have."""
    return max(1, ksize // 4)


class Bucket(KBucket):  # type: ignore[misc]  # kademlia ships no types
    """The package's bucket for the ids from *lower* up to and with *upper*."""

    range: tuple[int, int]
    nodes: dict[bytes, Contact]
    replacement_nodes: dict[bytes, Contact]

    def __init__(self, lower: int, upper: int, ksize: int, now_s: float) -> None:
        super().__init__(lower, upper, ksize, replacementNodeFactor=REPLACEMENTS_FACTOR)
        self.used_s = now_s

    def covers(self, long_id: int) -> bool:
        """True when the range holds *long_id*."""
        return self.range[0] <= long_id <= self.range[1]

    def crowd(self) -> Contact | None:
        """The contact heard from longest ago of a source that has more than its part of the places."""
        sources = Counter(source_of(contact.address) for contact in self.nodes.values())
        source, count = sources.most_common(1)[0]
        if count <= part_of(self.ksize):
            return None
        return next(contact for contact in self.nodes.values() if source_of(contact.address) == source)

    def split(self) -> tuple[Bucket, Bucket]:
        """Two halves that share the contacts."""
        middle = (self.range[0] + self.range[1]) // 2
        low = Bucket(self.range[0], middle, self.ksize, self.used_s)
        high = Bucket(middle + 1, self.range[1], self.ksize, self.used_s)
        for contact in self.nodes.values():
            half = low if contact.long_id <= middle else high
            half.nodes[contact.id] = contact
        for contact in self.replacement_nodes.values():
            half = low if contact.long_id <= middle else high
            half.replacement_nodes[contact.id] = contact
        return low, high


class Table(RoutingTable):  # type: ignore[misc]  # kademlia ships no types
    """Contacts by distance from the own id. Time is an argument; nothing is sent from here."""

    buckets: list[Bucket]

    def __init__(self, own_id: bytes, ksize: int, now_s: float = 0.0) -> None:
        self._now_s = now_s
        self._uppers: list[int] = []
        self._by_address: dict[Address, bytes] = {}
        self._failures: dict[bytes, int] = {}
        self._heard_s: dict[bytes, float] = {}
        self.on_entered: Callable[[Contact], None] | None = None
        self.on_left: Callable[[Contact], None] | None = None
        self.own_id = own_id
        self._own_long_id = int.from_bytes(own_id, "big")
        super().__init__(None, ksize, None)

    def flush(self) -> None:
        """Forget every contact."""
        self.buckets = [Bucket(0, 2**ID_BITS - 1, self.ksize, self._now_s)]
        self._index()
        self._by_address.clear()
        self._failures.clear()
        self._heard_s.clear()

    def _index(self) -> None:
        self._uppers = [bucket.range[1] for bucket in self.buckets]

    def __len__(self) -> int:
        return len(self._by_address)

    def __iter__(self) -> Iterator[Contact]:
        """Every contact in a bucket, replacements not."""
        for bucket in self.buckets:
            yield from bucket.nodes.values()

    def suspects(self) -> list[Contact]:
        """Contacts that left their last call unanswered."""
        return [contact for node_id in self._failures if (contact := self.get(node_id)) is not None]

    def bucket_of(self, node_id: bytes) -> Bucket:
        """The bucket whose range holds *node_id*."""
        return self.buckets[self._bucket_index(int.from_bytes(node_id, "big"))]

    def _bucket_index(self, long_id: int) -> int:
        return bisect_right(self._uppers, long_id - 1)

    def get_bucket_for(self, node: Contact) -> int:
        """The index of the bucket whose range holds the contact's id."""
        return self._bucket_index(node.long_id)

    def get(self, node_id: bytes) -> Contact | None:
        """The contact with *node_id*, if it has a place."""
        return self.bucket_of(node_id).nodes.get(node_id)

    def at(self, address: Address) -> Contact | None:
        """The contact at *address*, if it has a place."""
        node_id = self._by_address.get(address)
        return None if node_id is None else self.get(node_id)

    def is_suspect(self, contact: Contact) -> bool:
        """True when the contact left its last call unanswered."""
        return contact.id in self._failures

    @property
    def live_count(self) -> int:
        """Contacts that answered last time."""
        return len(self) - len(self._failures)

    def heard_s(self, contact: Contact) -> float:
        """When *contact* was last heard from, or the start when it never was."""
        return self._heard_s.get(contact.id, self._now_s)

    def add_contact(self, contact: Contact, now_s: float = 0.0) -> Contact | None:
        """A contact whose address is proved was heard from: keep it, or renew it.

        Returns:
            None when it has a place now, or waits for one; else a contact whose place it could have, because
            that one is suspect or was long silent: check it, and when it fails, the waiting one moves in. The
            same id at another address is such a case too (23).
        """
        if contact.id == self.own_id:
            return None
        self._drop_other_id_at(contact)
        while True:
            index = self._bucket_index(contact.long_id)
            bucket = self.buckets[index]
            held = bucket.nodes.get(contact.id)
            if held is not None and held.address != contact.address:
                bucket.replacement_nodes[contact.id] = contact
                return held
            if held is not None or len(bucket.nodes) < self.ksize:
                bucket.nodes.pop(contact.id, None)
                bucket.replacement_nodes.pop(contact.id, None)
                self._failures.pop(contact.id, None)
                self._heard_s[contact.id] = now_s
                self._place(bucket, contact, is_new=held is None)
                return None
            if not bucket.covers(self._own_long_id) or len(self.buckets) >= ID_BITS:
                break
            self._split(index)
        bucket.replacement_nodes.pop(contact.id, None)
        bucket.replacement_nodes[contact.id] = contact
        while len(bucket.replacement_nodes) > bucket.max_replacement_nodes:
            del bucket.replacement_nodes[next(iter(bucket.replacement_nodes))]
        crowd = bucket.crowd()
        if crowd is not None and source_of(crowd.address) != source_of(contact.address):
            bucket.replacement_nodes.pop(crowd.id, None)  # nor does another address of it take the place
            self.remove_contact(crowd)  # the newest that waits, which is *contact*, takes its place
            self._heard_s[contact.id] = now_s
            return None
        suspect = next((held for held in bucket.nodes.values() if held.id in self._failures), None)
        if suspect is not None:
            return suspect
        oldest: Contact = bucket.head()
        return oldest if now_s - self.heard_s(oldest) > CHECK_S else None

    def _split(self, index: int) -> None:
        halves = self.buckets[index].split()
        self.buckets[index : index + 1] = halves
        self._index()
        for half in halves:
            while len(half.nodes) < self.ksize and self._promote(half):
                pass

    def _promote(self, bucket: Bucket) -> bool:
        """Give a free place to the newest contact that waits for one; false when none does."""
        for node_id in reversed(list(bucket.replacement_nodes)):
            if node_id not in bucket.nodes:
                contact = bucket.replacement_nodes.pop(node_id)
                self._drop_other_id_at(contact)
                self._place(bucket, contact, is_new=True)
                return True
        return False

    def _place(self, bucket: Bucket, contact: Contact, *, is_new: bool) -> None:
        bucket.nodes[contact.id] = contact
        self._by_address[contact.address] = contact.id
        if is_new and self.on_entered is not None:
            self.on_entered(contact)

    def _drop_other_id_at(self, contact: Contact) -> None:
        other_id = self._by_address.get(contact.address)
        if other_id is not None and other_id != contact.id:
            other = self.get(other_id)
            if other is not None:
                self.remove_contact(other)

    def failed(self, contact: Contact) -> None:
        """A call to *contact* got no answer: it is suspect, or leaves."""
        held = self.get(contact.id)
        if held is None or held.address != contact.address:
            return
        failures = self._failures.get(contact.id, 0) + 1
        self._failures[contact.id] = failures
        bucket = self.bucket_of(contact.id)
        moved = bucket.replacement_nodes.get(contact.id)
        if failures >= FAILURES_MAX or moved is not None or len(bucket.replacement_nodes) > 0:
            self.remove_contact(contact)

    def remove_contact(self, contact: Contact) -> None:
        """Forget *contact*; the newest that waits takes its place."""
        bucket = self.bucket_of(contact.id)
        held = bucket.nodes.pop(contact.id, None)
        if held is None:
            return
        self._by_address.pop(held.address, None)
        self._failures.pop(contact.id, None)
        self._heard_s.pop(contact.id, None)
        moved = bucket.replacement_nodes.pop(contact.id, None)
        if moved is not None:
            bucket.replacement_nodes[contact.id] = moved  # newest: its old address is the one that just left
        if self.on_left is not None:
            self.on_left(held)
        self._promote(bucket)

    def find_neighbors(
        self, target: bytes, k: int | None = None, exclude: Address | None = None
    ) -> list[Contact]:
        """The known contacts closest to *target*, nearest first; suspects are nobody's business until they
        answer.

        Args:
            target: 160-bit id; need not belong to a node.
            k: at most so many, at least 1; the table's k by default.
            exclude: an address to leave out, that of who asks.
        Source: Kademlia paper, section 2.3: closest over all buckets.
        """
        count = self.ksize if k is None else k
        target_long = int.from_bytes(target, "big")
        found: list[Contact] = []
        # Every id of a bucket shares a prefix of distance, so no contact of a later bucket is closer than one
        # of an earlier: whole buckets, nearest first, until there are enough.
        for bucket in sorted(self.buckets, key=lambda bucket: _range_distance(bucket, target_long)):
            found += (
                contact
                for contact in bucket.nodes.values()
                if contact.address != exclude and contact.id not in self._failures
            )
            if len(found) >= count:
                break
        found.sort(key=lambda contact: contact.long_id ^ target_long)
        return found[:count]

    def mark_used(self, target: bytes, now_s: float) -> None:
        """A look-up passed through the bucket of *target*: it needs no refresh for a while."""
        self.bucket_of(target).used_s = now_s

    def stale_buckets(self, now_s: float, age_s: float) -> list[Bucket]:
        """Buckets no look-up has passed through for *age_s*."""
        return [bucket for bucket in self.buckets if now_s - bucket.used_s >= age_s]


def _range_distance(bucket: Bucket, target_long: int) -> int:
    """The smallest XOR distance from the target to any id of the bucket's aligned range."""
    lower, upper = bucket.range
    size = upper - lower + 1  # a power of two; the range is aligned to it
    return (lower ^ target_long) & ~(size - 1)
