"""The journal of a peer that keeps nothing: history to serve others from, within what compaction leaves."""

from __future__ import annotations

import asyncio
import bisect

from dhtex.journal.backend import Job, Listener
from dhtex.replication.records import (
    Appended,
    Compacted,
    FinalMark,
    Installed,
    Record,
    SnapshotTaken,
    Withdrawn,
)
from dhtex.replication.values import (
    ORIGIN_OF_HISTORY,
    Entry,
    HistoryItem,
    OrderKey,
    Snapshot,
    View,
)


class MemoryStore:
    """What `DurableState` says of history, kept in order so that reading costs what is read.

    Attributes:
        snapshot: the newest one, or None.
    """

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self._view: View | None = None
        self._final = ORIGIN_OF_HISTORY
        self._compacted = ORIGIN_OF_HISTORY
        self._last_seq: dict[bytes, int] = {}
        self._keys: list[OrderKey] = []
        self._items: list[HistoryItem] = []

    def apply(self, record: Record) -> None:
        """One record further."""
        match record:
            case Appended(entry):
                if entry.seq > self._last_seq.get(entry.origin, 0):
                    self._last_seq[entry.origin] = entry.seq
                    self._insert(entry)
            case FinalMark(key, _, _):
                self._final = max(self._final, key)
            case Installed(view):
                self._install(view)
            case SnapshotTaken(snapshot):
                self.snapshot = snapshot
                if snapshot.key > self._final:
                    self._keys, self._items = [snapshot.view.key], [snapshot.view]
                    self._view, self._last_seq = snapshot.view, {}
                    self._final = self._compacted = snapshot.key
            case Compacted(key, _):
                self._compacted = max(self._compacted, key)
                drop = bisect.bisect_right(self._keys, self._compacted)
                del self._keys[:drop], self._items[:drop]
            case Withdrawn(origin, seq):
                self._withdraw(origin, seq)

    def _withdraw(self, origin: bytes, seq: int) -> None:
        first = bisect.bisect_right(self._keys, self._final)
        rest = [
            item
            for item in self._items[first:]
            if isinstance(item, View) or item.origin != origin or item.seq <= seq
        ]
        self._items[first:] = rest
        self._keys[first:] = [item.key for item in rest]
        self._last_seq[origin] = seq

    def _insert(self, item: HistoryItem) -> None:
        place = bisect.bisect_right(self._keys, item.key)
        self._keys.insert(place, item.key)
        self._items.insert(place, item)

    def _install(self, view: View) -> None:
        if self._view is not None:
            cut = dict(zip(self._view.node_ids, view.cut, strict=True))
            first = bisect.bisect_left(self._keys, self._view.key)
            rest = [
                item
                for item in self._items[first:]
                if isinstance(item, View) or item.seq <= cut.get(item.origin, 0)
            ]
            self._items[first:] = rest
            self._keys[first:] = [item.key for item in rest]
        self._view, self._last_seq = view, {}
        self._final = max(self._final, view.key)
        self._insert(view)

    def read_archive(self, after: OrderKey, limit_bytes: int) -> list[HistoryItem] | None:
        """Final history after *after*, at least one item if there is any; None when it is no longer complete."""
        if after < self._compacted:
            return None
        found: list[HistoryItem] = []
        for at in range(bisect.bisect_right(self._keys, after), bisect.bisect_right(self._keys, self._final)):
            item = self._items[at]
            limit_bytes -= len(item.raw) if isinstance(item, Entry) else len(item.to_bytes())
            if found and limit_bytes < 0:
                break
            found.append(item)
        return found


class MemoryBackend:
    """Durable as soon as put, for as long as the process lives."""

    def __init__(self) -> None:
        self._store = MemoryStore()
        self._listener: Listener | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._soon: asyncio.Handle | None = None
        self._durable = 0

    def start(self, listener: Listener, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to take jobs."""
        self._listener, self._loop = listener, loop

    def put(self, job: Job) -> None:
        """Keep the records, and say so in the next turn of the loop."""
        for record in job.records:
            self._store.apply(record)
        if self._loop is not None and self._soon is None:
            self._soon = self._loop.call_soon(self.settle)
        self._durable = job.ticket

    def settle(self) -> None:
        """Say now what was put."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
            if self._listener is not None:
                self._listener.on_persisted(self._durable)

    async def read_archive(self, after: OrderKey, limit_bytes: int) -> list[HistoryItem] | None:
        """See `Journal.read_archive`."""
        return self._store.read_archive(after, limit_bytes)

    async def read_snapshot(self) -> Snapshot | None:
        """See `Journal.read_snapshot`."""
        return self._store.snapshot

    async def stop(self) -> None:
        """Report what was put; keep nothing."""
        self.settle()
        self._listener = None
        self._store = MemoryStore()
