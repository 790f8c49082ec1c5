"""The journal in a file: opened with care, written by one thread, read by another."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from dhtex.errors import StorageError
from dhtex.journal.backend import Job, Listener
from dhtex.journal.failures import unusable, unwritable
from dhtex.journal.load import UNREADABLE, load_state, read_archive, read_snapshot
from dhtex.journal.lock import FileLock
from dhtex.journal.schema import (
    Durability,
    Owner,
    check_owner,
    connect_reader,
    connect_writer,
    create,
    one_moment,
    read_owner,
)
from dhtex.journal.store import Store
from dhtex.journal.writer import Writer
from dhtex.replication.records import DurableState
from dhtex.replication.values import HistoryItem, OrderKey, Snapshot

T = TypeVar("T")


def open_file(path: Path, owner: Owner, durability: Durability) -> tuple[DiskBackend, DurableState]:
    """The journal in *path*, made there if there is none, and what is in it.

    It is read, whole, before anything may write to it: what is refused is left as it was found.

    Raises:
        JournalLocked, JournalForeign, JournalCorrupt, StorageError: see `Journal.open`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot make the folder {path.parent}: {error.strerror}; choose another --data-dir"
        ) from error
    lock = FileLock(path.with_name(path.name + ".lock"))
    try:
        if not path.exists():
            create(path, owner)
        elif not os.access(path, os.W_OK):  # SQLite would leave files that nobody may write beside it
            raise unwritable(path)
        state = _load(path, owner)
        store = _open_store(path, owner, durability)
    except BaseException:
        lock.release()
        raise
    return DiskBackend(path, store, lock), state


def _load(path: Path, owner: Owner) -> DurableState:
    try:
        with contextlib.closing(connect_reader(path, alone=True)) as db, one_moment(db):
            check_owner(read_owner(db, path), owner, path)
            return load_state(db, owner.node_id)
    except UNREADABLE as error:
        raise unusable(path, error) from error


def _open_store(path: Path, owner: Owner, durability: Durability) -> Store:
    try:
        db = connect_writer(path, durability)
        try:
            # Whether it can write shows now, before anything is promised.
            db.execute("BEGIN IMMEDIATE")
            db.execute("UPDATE state SET ceiling = ceiling")
            db.execute("ROLLBACK")
            return Store(db, owner.node_id)
        except BaseException:
            db.close()
            raise
    except UNREADABLE as error:
        raise unusable(path, error) from error


class DiskBackend:
    """An open file, its writer and its reader."""

    def __init__(self, path: Path, store: Store, lock: FileLock) -> None:
        self._path = path
        self._store = store
        self._lock = lock
        self._reader = Reader(path)
        self._writer: Writer | None = None

    def start(self, listener: Listener, loop: asyncio.AbstractEventLoop) -> None:
        """Start the writer's thread."""
        self._writer = Writer(self._store, self._path, listener, loop)

    def put(self, job: Job) -> None:
        """Queue *job* for the writer."""
        if self._writer is not None:
            self._writer.put(job)

    def settle(self) -> None:
        """The writer tells when it has written."""

    async def read_archive(self, after: OrderKey, limit_bytes: int) -> list[HistoryItem] | None:
        """See `Journal.read_archive`."""
        return await self._reader.run(lambda db: read_archive(db, after, limit_bytes))

    async def read_snapshot(self) -> Snapshot | None:
        """See `Journal.read_snapshot`."""
        return await self._reader.run(read_snapshot)

    async def stop(self) -> None:
        """Reader first: the last connection to close puts the write-ahead log into the file."""
        try:
            await self._reader.stop()
            if self._writer is not None:
                await self._writer.stop()
            else:
                self._store.close()
        finally:
            self._lock.release()


class Reader:
    """A connection that only reads, in a thread of its own, both made when first needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread: ThreadPoolExecutor | None = None
        self._db: sqlite3.Connection | None = None

    async def run(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """What *read* gives, all of it from one moment.

        Raises:
            StorageError: the file cannot be read; `JournalCorrupt` when what it says makes no sense.
        """
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="dhtex journal reader")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, read)

    def _read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._db is None:
                self._db = connect_reader(self._path)
            with one_moment(self._db):
                return read(self._db)
        except UNREADABLE as error:
            raise unusable(self._path, error) from error

    async def stop(self) -> None:
        """Close the connection and end the thread. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(thread, self._close)
            thread.shutdown()

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
