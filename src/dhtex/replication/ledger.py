"""The final side: the state machine, the position, the digest chain, exactly-once, and recent history.

Final entries arrive here in the total order and never leave it.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from typing import NamedTuple

from dhtex.errors import invariant
from dhtex.replication.config import ReplicaConfig
from dhtex.replication.effects import Finalized
from dhtex.replication.machine import StateMachine
from dhtex.replication.records import FinalMark
from dhtex.replication.values import (
    NO_DIGEST,
    ORIGIN_OF_HISTORY,
    Entry,
    HistoryItem,
    OrderKey,
    Snapshot,
    View,
    next_digest,
)

DIGESTS_KEPT = 4096
"""Recent (position, digest) pairs to compare statuses with; a status older than that many entries says
nothing.
"""


class Mismatch(NamedTuple):
    """Two digests for one position."""

    node_id: bytes
    position: int
    ours: bytes
    theirs: bytes


class Ledger:
    """Applies final entries.

    Attributes:
        key: of the last history item.
        position: number of final commands.
        digest: the chain after them.
        last_n: origin -> last n applied; commands up to it are skipped when they come again.
        seqs: origin -> number of its entries of the installed view that are final.
        snapshot: the newest one known to be complete, or None.
        compacted: history up to here is not kept anywhere.
    """

    def __init__(self, machine: StateMachine, config: ReplicaConfig) -> None:
        self.machine = machine
        self.key = ORIGIN_OF_HISTORY
        self.position = 0
        self.digest = NO_DIGEST
        self.last_n: dict[bytes, int] = {}
        self.seqs: dict[bytes, int] = {}
        self.view: View | None = None
        self.snapshot: Snapshot | None = None
        self.compacted = ORIGIN_OF_HISTORY
        self.recent = RecentHistory(config.history_bytes_max)
        self._digests: dict[int, bytes] = {}
        self._claims: dict[bytes, tuple[int, bytes]] = {}  # node id -> digest of a position not reached yet

    def apply(self, entry: Entry) -> Finalized:
        """The next final entry. Commands that were applied before are skipped and take no position."""
        key = entry.key
        invariant(key > self.key, "final entries ascend")
        last = self.last_n.get(entry.origin, 0)
        skip = min(max(last + 1 - entry.first_n, 0), entry.count)
        first = self.position + 1
        events = self.machine.apply(entry.batch, first, skip) if skip < entry.count else b""
        self.digest = next_digest(self.digest, entry, events)
        if skip < entry.count:
            self.position += entry.count - skip
            self.last_n[entry.origin] = entry.first_n + entry.count - 1
            self._digests[self.position] = self.digest
            if len(self._digests) > DIGESTS_KEPT:
                del self._digests[next(iter(self._digests))]
        self.key = key
        self.seqs[entry.origin] = entry.seq
        self.recent.add(key, entry, len(entry.raw))
        return Finalized(first, entry, skip, self.digest)

    def install(self, view: View) -> None:
        """The next view begins."""
        invariant(view.key > self.key, "views ascend")
        self.view, self.key, self.seqs = view, view.key, {}
        self.recent.add(view.key, view, len(view.to_bytes()))

    def take_snapshot(self, lineage: bytes, chains: bytes = b"") -> Snapshot:
        """The state now; *chains*: see `Snapshot`. Needs an installed view."""
        view = self.view
        invariant(view is not None, "a snapshot lies in a view")
        assert view is not None  # for the type checker; `invariant` has made sure
        self.snapshot = Snapshot(
            lineage=lineage,
            view=view,
            key=self.key,
            position=self.position,
            digest=self.digest,
            seqs=tuple(self.seqs.get(node_id, 0) for node_id in view.node_ids),
            last_n=tuple(sorted(self.last_n.items())),
            machine=self.machine.snapshot(),
            chains=chains,
        )
        return self.snapshot

    def restore(self, snapshot: Snapshot) -> None:
        """Become the state of *snapshot*; nothing before it is known any more."""
        self.machine.restore(snapshot.machine)
        self.view, self.key = snapshot.view, snapshot.key
        self.position, self.digest = snapshot.position, snapshot.digest
        self.last_n = dict(snapshot.last_n)
        self.seqs = {n: seq for n, seq in zip(snapshot.view.node_ids, snapshot.seqs, strict=True) if seq}
        self.snapshot, self.compacted = snapshot, snapshot.key
        self.recent.restart(snapshot.key)
        self._digests = {self.position: self.digest}
        self._claims = {}

    def mark(self) -> FinalMark:
        """For the journal: everything so far is final."""
        return FinalMark(self.key, self.position, self.digest)

    def compare(self, node_id: bytes, position: int, digest: bytes) -> Mismatch | None:
        """*node_id* says its digest at *position* is *digest*: the contradiction, if there is one.

        A claim about a position not reached yet is kept, one per member, until it can be compared.
        """
        if position > self.position:
            self._claims.setdefault(node_id, (position, digest))
            return None
        ours = self._digests.get(position)
        if ours is None or ours == digest:
            return None
        return Mismatch(node_id, position, ours, digest)

    def compare_claims(self) -> Mismatch | None:
        """The first contradiction among the claims whose position has been reached."""
        for node_id, (position, digest) in list(self._claims.items()):
            if position <= self.position:
                del self._claims[node_id]
                found = self.compare(node_id, position, digest)
                if found is not None:
                    return found
        return None

    def forget_claims(self, keep: Iterable[bytes]) -> None:
        """Only members make claims."""
        kept = set(keep)
        self._claims = {node_id: claim for node_id, claim in self._claims.items() if node_id in kept}


class RecentHistory:
    """The newest history items, in order, within a number of bytes.

    Attributes:
        start: everything after this key (and up to the head) is here.
    """

    def __init__(self, bytes_max: int) -> None:
        self.start = ORIGIN_OF_HISTORY
        self._bytes_max = bytes_max
        self._bytes = 0
        self._keys: list[OrderKey] = []
        self._items: list[HistoryItem] = []
        self._sizes: list[int] = []

    def add(self, key: OrderKey, item: HistoryItem, size: int) -> None:
        """The next item of history."""
        self._keys.append(key)
        self._items.append(item)
        self._sizes.append(size)
        self._bytes += size
        if self._bytes > self._bytes_max:
            self._forget()

    def _forget(self) -> None:
        """Down to three quarters, so that forgetting is rare and its cost per item small."""
        drop = 0
        while self._bytes > self._bytes_max * 3 // 4 and drop < len(self._keys) - 1:
            self._bytes -= self._sizes[drop]
            drop += 1
        if drop:
            self.start = self._keys[drop - 1]
            del self._keys[:drop], self._items[:drop], self._sizes[:drop]

    def restart(self, key: OrderKey) -> None:
        """Nothing up to *key* is here."""
        self.start = key
        self._bytes = 0
        self._keys, self._items, self._sizes = [], [], []

    def after(self, key: OrderKey, limit_bytes: int, count_max: int) -> list[HistoryItem] | None:
        """Items after *key*, about *limit_bytes*; None when some of them are no longer here."""
        if key < self.start:
            return None
        first = bisect.bisect_right(self._keys, key)
        last = first
        while last < len(self._keys) and last - first < count_max:
            limit_bytes -= self._sizes[last]
            if limit_bytes < 0 and last > first:
                break
            last += 1
        return self._items[first:last]
