"""What a node remembers across restarts: its id, where its contacts were, and its items. SQLite, in one file.

The package pickles its state over the old file (26): loading it runs whatever is in it, and a crash leaves
half. Here a save is one transaction of plain rows, and every row is checked when it is read, as if a stranger
had sent it.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from dhtex.dht.addresses import pack_address, unpack_address
from dhtex.dht.face import Address
from dhtex.dht.items import Item
from dhtex.dht.stores import Stored
from dhtex.dht.wire import NODE_ID_SIZE
from dhtex.errors import JournalCorrupt, JournalForeign, JournalLocked, MalformedMessage, StorageError

log = logging.getLogger(__name__)

SAVE_S = 0.5
"""Pause after a save: what a killed node may forget of much that changes; the first change is saved at once."""

APPLICATION_ID = 0x64687467  # "dhtg"

_DAMAGED = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What reading a damaged file raises; the second when the damage is in what the first would tell."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS node (id BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS contact (address BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS item (
    key BLOB PRIMARY KEY, v BLOB NOT NULL, k BLOB NOT NULL, salt BLOB NOT NULL, seq INTEGER NOT NULL,
    sig BLOB NOT NULL, end_wall_s REAL NOT NULL
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Saved:
    """What was in the file.

    Attributes:
        items: proved again, each with the wall time of its end, seconds since the Unix epoch.
    """

    node_id: bytes
    contacts: list[Address]
    items: list[tuple[Item, float]]


class StateFile:
    """The file of one node. Methods block; a node calls them in a thread, one at a time."""

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self._path = path
        self._database = database
        self._written: dict[bytes, Stored] | None = None
        """What the file holds for sure; before the first save that may be anything, also what nobody wants."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or make the file; only one process may have it open.

        Raises:
            JournalLocked: another process has it.
            JournalForeign, JournalCorrupt: it is something else, or damaged; it is left as it was found.
            StorageError: it cannot be made or read.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=0)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(
                f"cannot open {path}: {error}; check that its folder can be written"
            ) from error
        try:
            cls._prepare(path, database)
        except BaseException:
            database.close()
            raise
        return cls(path, database)

    @classmethod
    def _prepare(cls, path: Path, database: sqlite3.Connection) -> None:
        try:
            database.execute("PRAGMA locking_mode=EXCLUSIVE")
            database.execute("BEGIN EXCLUSIVE")
            (application_id,) = database.execute("PRAGMA application_id").fetchone()
            (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if application_id != APPLICATION_ID and (tables or application_id):
                raise JournalForeign(f"{path} is not the state of a Grape; choose another folder")
            database.execute(f"PRAGMA application_id={APPLICATION_ID}")
            for statement in _SCHEMA.split(";"):
                database.execute(statement)
            database.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise JournalLocked(
                    f"another process uses {path}; stop it, or choose another folder"
                ) from error
            raise StorageError(f"cannot use {path}: {error}") from error
        except _DAMAGED as error:
            raise JournalCorrupt(
                f"{path} is damaged or no state of a Grape ({error}); move it away to start without it"
            ) from error

    def load(self, new_id: bytes) -> Saved:
        """What the file remembers; *new_id* becomes the node's id when it remembers none.

        Raises:
            JournalCorrupt: the file is damaged.
        """
        try:
            row = self._database.execute("SELECT id FROM node").fetchone()
            if row is None:
                self._database.execute("INSERT INTO node VALUES (?)", (new_id,))
                return Saved(new_id, [], [])
            if not isinstance(row[0], bytes) or len(row[0]) != NODE_ID_SIZE:
                raise JournalCorrupt(f"{self._path} holds no node id; move it away to start without it")
            packed = [found for (found,) in self._database.execute("SELECT address FROM contact")]
            rows = self._database.execute("SELECT key, v, k, salt, seq, sig, end_wall_s FROM item").fetchall()
        except _DAMAGED as error:
            raise JournalCorrupt(
                f"{self._path} is damaged ({error}); move it away to start without it"
            ) from error
        contacts: list[Address] = []
        items: list[tuple[Item, float]] = []
        for address in packed:
            try:
                contacts.append(_contact_of(address))
            except MalformedMessage as error:
                log.warning("left out a contact of %s: %s", self._path, error)
        for fields in rows:
            try:
                items.append(_item_of(fields))
            except MalformedMessage as error:
                log.warning("left out an item of %s: %s", self._path, error)
        return Saved(row[0], contacts, items)

    def save(self, contacts: list[Address], items: dict[bytes, Stored], end_offset_s: float) -> None:
        """Write what changed since the last save, whole or not at all.

        Args:
            end_offset_s: wall time minus monotonic time now, seconds.
        Raises:
            StorageError: it could not be written; the next save tries again.
        """
        written = self._written or {}
        gone = [(key,) for key in written if key not in items]
        changed = [
            (key, *_row(stored, end_offset_s))
            for key, stored in items.items()
            if written.get(key) is not stored
        ]
        try:
            with closing(self._database.cursor()) as cursor:
                cursor.execute("BEGIN")
                try:
                    cursor.execute("DELETE FROM contact")
                    cursor.executemany(
                        "INSERT OR IGNORE INTO contact VALUES (?)", [(pack_address(to),) for to in contacts]
                    )
                    if self._written is None:
                        cursor.execute("DELETE FROM item")
                    cursor.executemany("DELETE FROM item WHERE key = ?", gone)
                    cursor.executemany("INSERT OR REPLACE INTO item VALUES (?, ?, ?, ?, ?, ?, ?)", changed)
                    cursor.execute("COMMIT")
                except BaseException:
                    cursor.execute("ROLLBACK")
                    raise
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise StorageError(f"cannot write {self._path}: {error}") from error
        self._written = items

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


def _contact_of(packed: object) -> Address:
    if not isinstance(packed, bytes):
        raise MalformedMessage("address", type(packed).__name__)
    return unpack_address(packed)


def _item_of(fields: tuple[object, ...]) -> tuple[Item, float]:
    match fields:
        case key, bytes(v), bytes(k), bytes(salt), int(seq), bytes(sig), float(end_wall_s):
            item = Item(v, k, salt, seq, sig)
            item.check()
            if item.key != key:
                raise MalformedMessage("key")
            return item, end_wall_s
        case _:
            raise MalformedMessage("types")


def _row(stored: Stored, end_offset_s: float) -> tuple[bytes, bytes, bytes, int, bytes, float]:
    item = stored.item
    return item.v, item.k, item.salt, item.seq, item.sig, stored.end_s + end_offset_s


class Memory:
    """Keeps a `StateFile` up to date with a running node."""

    def __init__(
        self,
        file: StateFile,
        contacts: Callable[[], list[Address]],
        items: Callable[[], dict[bytes, Stored]],
    ) -> None:
        self._file = file
        self._contacts = contacts
        self._items = items
        self._saved: tuple[list[Address], dict[bytes, Stored]] | None = None
        self._changed = asyncio.Event()
        self._saving: asyncio.Task[None] | None = None

    def changed(self) -> None:
        """There is something to save."""
        self._changed.set()

    async def run(self) -> None:
        """Save what changed, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            # Cancelled here, the thread goes on with the file: `close` waits for it.
            self._saving = asyncio.create_task(self._save())
            await asyncio.shield(self._saving)
            await asyncio.sleep(SAVE_S)

    async def _save(self) -> None:
        contacts, items = self._contacts(), self._items()
        if self._saved == (contacts, items):
            return
        end_offset_s = time.time() - asyncio.get_running_loop().time()
        try:
            await asyncio.to_thread(self._file.save, contacts, items, end_offset_s)
        except StorageError as error:
            log.warning("%s; trying again in %g s", error, SAVE_S)
            self.changed()
            return
        self._saved = contacts, items

    async def close(self) -> None:
        """Save once more and let go of the file."""
        if self._saving is not None:
            await self._saving
        await self._save()
        await asyncio.to_thread(self._file.close)
