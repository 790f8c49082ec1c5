"""The journal of one peer in one market, as the peer uses it: in the event loop, never blocking it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from dhtex.errors import NotRunning, StorageError, UsageError
from dhtex.journal.backend import Backend, Job, Listener
from dhtex.journal.disk import open_file
from dhtex.journal.memory import MemoryBackend
from dhtex.journal.schema import Durability, Owner
from dhtex.replication.records import Appended, DurableState, Pending, Record, SnapshotTaken
from dhtex.replication.values import ID_SIZE, HistoryItem, OrderKey, Snapshot

RECORD_BYTES = 64
"""What a record is counted as beside what it carries."""


class Journal:
    """What a peer must not forget. `open` it, give `state` to a replica, `attach` listeners, `persist` records.

    A ticket is durable when it is reported, together with all before it. Records of one ticket are durable
    together or not at all. `async with` closes it.
    """

    def __init__(self, backend: Backend, state: DurableState) -> None:
        """Of something that keeps records, and what it has kept; users call `open` or `ephemeral`."""
        self._backend = backend
        self._state: DurableState | None = state
        self._listener: Listener | None = None
        self._unreported: deque[tuple[int, int]] = deque()  # ticket, size
        self._backlog = 0
        self._failed = False
        self._closed = False

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        identity_node_id: bytes,
        group_id: bytes,
        market: bytes = b"",
        durability: Durability = "fsync",
    ) -> Journal:
        """The journal in the file *path*, made there with mode 0600 if there is none. Blocks while it is read.

        Args:
            identity_node_id: whose it is, 20 bytes.
            group_id: of which group, 20 bytes.
            market: what the group id was made of; kept in a new journal, for `dhtex journal verify`.
            durability: `fsync` survives a power cut; `os` survives the end of the process only, and is faster.
        Raises:
            JournalLocked: a running peer has it.
            JournalForeign: it belongs to another identity, market or version of this program.
            JournalCorrupt: it is damaged, or no journal. The file is left as it was.
            StorageError: it cannot be made, read or written.
            UsageError: an argument makes no sense.
        """
        if durability not in ("fsync", "os"):
            raise UsageError(f"durability is {durability!r}; it is either fsync or os")
        backend, state = open_file(Path(path), _owner(identity_node_id, group_id, market), durability)
        return cls(backend, state)

    @classmethod
    def ephemeral(cls, *, identity_node_id: bytes, group_id: bytes) -> Journal:
        """A journal without a file: it serves history to other peers, and is gone with the process."""
        owner = _owner(identity_node_id, group_id, b"")
        return cls(MemoryBackend(), DurableState(owner.node_id))

    @property
    def state(self) -> DurableState:
        """What was in it when it was opened; let go of by `attach`.

        Raises:
            NotRunning: too late.
        """
        if self._state is None:
            raise NotRunning("the state of a journal can be had before it is attached")
        return self._state

    @property
    def backlog(self) -> int:
        """Bytes given to `persist` and not yet reported durable, roughly: what waits when the disk is slow or full."""
        return self._backlog

    def attach(
        self,
        *,
        on_persisted: Callable[[int], None],
        on_full: Callable[[str], None],
        on_room: Callable[[], None],
        on_failed: Callable[[StorageError], None],
    ) -> None:
        """Begin to write. All four are called in the running event loop, never from within `persist`.

        Args:
            on_persisted: all tickets up to this one are durable. Once a commit at most.
            on_full: no room on the disk; a sentence says where. Nothing is lost: it is tried again until there is.
            on_room: it went on.
            on_failed: nothing more will be durable, and nothing after the last reported ticket may be relied on.
        Raises:
            NotRunning: it is closed.
            UsageError: it is attached already.
        """
        if self._closed:
            raise NotRunning("the journal is closed")
        if self._listener is not None:
            raise UsageError("the journal is attached already")
        self._listener = Listener(on_persisted, on_full, on_room, on_failed)
        self._state = None
        own = Listener(self._persisted, on_full, on_room, self._fail)
        self._backend.start(own, asyncio.get_running_loop())

    def persist(self, ticket: int, records: Sequence[Record], *, urgent: bool = True) -> None:
        """Make *records* durable after all before them; `on_persisted` tells. Never blocks.

        Args:
            ticket: above all before.
            urgent: False when nobody waits for it, so that it may ride on the next one.
        Raises:
            NotRunning: the journal is not attached, or closed.
        """
        if self._listener is None or self._closed:
            raise NotRunning("the journal is not attached, or closed")
        if self._failed:
            return
        size = sum([_size(record) for record in records])
        self._backlog += size
        self._unreported.append((ticket, size))
        self._backend.put(Job(ticket, records, size, urgent))

    def settle(self) -> None:
        """Call `on_persisted` now, if anything is durable that it was not called for; else it is soon called."""
        self._backend.settle()

    async def read_archive(self, after: OrderKey, limit_bytes: int) -> list[HistoryItem] | None:
        """Durable final history after *after*, about *limit_bytes* and at least one item if there is any.

        Gives None when history after *after* is no longer complete.

        Raises:
            StorageError: the file cannot be read.
            NotRunning: the journal is closed.
        """
        self._check_open()
        return await self._backend.read_archive(after, limit_bytes)

    async def read_snapshot(self) -> Snapshot | None:
        """The newest durable snapshot, or None.

        Raises:
            StorageError: the file cannot be read.
            NotRunning: the journal is closed.
        """
        self._check_open()
        return await self._backend.read_snapshot()

    async def close(self) -> None:
        """Write and report what was given to `persist`, as far as there is room, and let go of the file. Idempotent."""
        if not self._closed:
            self._closed = True
            self._state = None
            await self._backend.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise NotRunning("the journal is closed")

    def _persisted(self, ticket: int) -> None:
        unreported = self._unreported
        while unreported and unreported[0][0] <= ticket:
            self._backlog -= unreported.popleft()[1]
        if self._listener is not None:
            self._listener.on_persisted(ticket)

    def _fail(self, error: StorageError) -> None:
        self._failed = True
        self._backlog = 0
        self._unreported.clear()
        if self._listener is not None:
            self._listener.on_failed(error)


def _owner(node_id: bytes, group_id: bytes, market: bytes) -> Owner:
    for name, value in (("identity_node_id", node_id), ("group_id", group_id)):
        if len(value) != ID_SIZE:
            raise UsageError(f"{name} has {len(value)} bytes, it must have {ID_SIZE}")
    return Owner(bytes(node_id), bytes(group_id), bytes(market))


def _size(record: Record) -> int:
    match record:
        case Appended(entry):
            return RECORD_BYTES + len(entry.raw)
        case Pending(_, _, commands):
            return RECORD_BYTES + len(commands)
        case SnapshotTaken(snapshot):
            return RECORD_BYTES + len(snapshot.machine)
        case _:
            return RECORD_BYTES
