"""The file: its tables, how it comes into being, and how connections to it are opened.

Docs: `docs/reference/journal-format.md`. Rule for change: raise `FORMAT` and say there what changed.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

from dhtex.errors import JournalCorrupt, JournalForeign, MalformedMessage, StorageError
from dhtex.identity import short_id
from dhtex.journal.failures import unusable
from dhtex.replication.values import ID_SIZE, NO_DIGEST, NO_LINEAGE, check_blob, check_bytes

Durability = Literal["fsync", "os"]
"""`fsync`: what is reported durable survives a power cut. `os`: it survives the end of the process, however violent;
a power cut or a crash of the system may take the last moments, and leaves the file consistent."""

APPLICATION_ID: Final = 0x64687478  # "dhtx"; in the header, so `file` and SQLite's shell show it
FORMAT: Final = 2

BUSY_MS: Final = 5_000
"""How long a statement waits for another program that has the file locked."""
WAL_BYTES_KEPT: Final = 16 * 1024 * 1024
"""Above this the write-ahead log is cut back when it starts over; below, its blocks are used again as they are."""
CACHE_KIB: Final = 8 * 1024

_SCHEMA: Final = """
CREATE TABLE journal (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    node_id BLOB NOT NULL,
    group_id BLOB NOT NULL,
    market BLOB NOT NULL
);
CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    incarnation INTEGER NOT NULL,
    admitted INTEGER NOT NULL,
    ceiling INTEGER NOT NULL,
    lineage BLOB NOT NULL,
    view INTEGER,
    vote BLOB,
    final_view INTEGER NOT NULL,
    final_timestamp INTEGER NOT NULL,
    final_origin BLOB NOT NULL,
    final_position INTEGER NOT NULL,
    final_digest BLOB NOT NULL,
    compacted_view INTEGER NOT NULL,
    compacted_timestamp INTEGER NOT NULL,
    compacted_origin BLOB NOT NULL,
    compacted_chains BLOB NOT NULL
);
CREATE TABLE views (
    number INTEGER PRIMARY KEY,
    record BLOB NOT NULL
);
CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    view INTEGER NOT NULL,
    origin BLOB NOT NULL,
    seq INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    first_n INTEGER NOT NULL,
    count INTEGER NOT NULL,
    raw BLOB NOT NULL
);
CREATE UNIQUE INDEX entries_in_order ON entries (view, timestamp, origin);
CREATE TABLE pending (
    first_n INTEGER PRIMARY KEY,
    count INTEGER NOT NULL,
    commands BLOB NOT NULL
);
CREATE TABLE snapshots (
    id INTEGER PRIMARY KEY,
    view INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    origin BLOB NOT NULL,
    position INTEGER NOT NULL,
    digest BLOB NOT NULL,
    size INTEGER NOT NULL
);
CREATE TABLE snapshot_pieces (
    snapshot INTEGER NOT NULL,
    piece INTEGER NOT NULL,
    data BLOB NOT NULL
);
"""


class Owner(NamedTuple):
    """Whose journal it is.

    Attributes:
        node_id: 20 bytes.
        group_id: 20 bytes.
        market: what the group id was made of, `MarketSpec.canonical()`; empty where nobody said.
    """

    node_id: bytes
    group_id: bytes
    market: bytes


def wal_of(path: Path) -> Path:
    """The write-ahead log that belongs to *path*."""
    return path.with_name(path.name + "-wal")


def _has_log(path: Path) -> bool:
    log = wal_of(path)
    return log.exists() and log.stat().st_size > 0


def create(path: Path, owner: Owner) -> None:
    """Make an empty journal with mode 0600: complete or not at all, whenever the process or the power dies.

    Raises:
        JournalCorrupt: there is no journal at *path* but a write-ahead log of one.
        StorageError: the file cannot be made.
    """
    # SQLite would play such a log into the new file: it belongs to whichever file has the name.
    if _has_log(path):
        raise JournalCorrupt(
            f"{path} is missing, but its write-ahead log {wal_of(path).name} is there; "
            "restore both from one backup, or move the log away to begin anew"
        )
    partial = path.with_name(path.name + ".new")
    try:
        for leftover in (partial, wal_of(partial), partial.with_name(partial.name + "-shm")):
            leftover.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        _fill(partial, owner)
        _sync(partial)
        partial.replace(path)
        _sync(path.parent)
    except (OSError, sqlite3.Error) as error:
        for leftover in (partial, wal_of(partial), partial.with_name(partial.name + "-shm")):
            with contextlib.suppress(OSError):
                leftover.unlink(missing_ok=True)
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise StorageError(
            f"cannot make the journal {path}: {reason}; see that the folder is writable and has room"
        ) from error


def _fill(path: Path, owner: Owner) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {FORMAT}")
        db.executescript("BEGIN;" + _SCHEMA)
        db.execute("INSERT INTO journal VALUES (1, ?, ?, ?)", owner)
        db.execute(
            "INSERT INTO state VALUES (1, 0, 0, 0, ?, NULL, NULL, 0, 0, x'', 0, ?, 0, 0, x'', x'')",
            (NO_LINEAGE, NO_DIGEST),
        )
        db.execute("COMMIT")


def _sync(path: Path) -> None:
    """Make a file, or the names in a folder, durable."""
    if path.is_dir() and os.name != "posix":
        return  # Windows has no such call, and makes renames durable itself
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def connect_writer(path: Path, durability: Durability) -> sqlite3.Connection:
    """The one connection that writes; may be handed to another thread."""
    db = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000, cached_statements=64
    )
    fsync = durability == "fsync"
    try:
        db.execute(f"PRAGMA synchronous = {'FULL' if fsync else 'NORMAL'}")
        db.execute(f"PRAGMA fullfsync = {int(fsync)}")  # macOS: what fsync means elsewhere
        db.execute("PRAGMA wal_autocheckpoint = 0")  # `Store.tidy` does it, when nobody waits for a commit
        db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        db.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        db.close()
        raise
    return db


@contextlib.contextmanager
def impatient(db: sqlite3.Connection, wait_ms: int) -> Iterator[None]:
    """Statements inside wait no longer than *wait_ms* for others, instead of `BUSY_MS`."""
    db.execute(f"PRAGMA busy_timeout = {wait_ms}")
    try:
        yield
    finally:
        db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")


def connect_reader(path: Path, *, alone: bool = False) -> sqlite3.Connection:
    """A connection that cannot write.

    Args:
        alone: nobody else has the file open, and nobody will: not even the files beside it are touched then.
    """
    frozen = alone and not _has_log(path)
    uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if frozen else ''}"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_MS / 1000)
    try:
        db.execute("PRAGMA query_only = ON")
        db.execute("PRAGMA cell_size_check = ON")
    except BaseException:
        db.close()
        raise
    return db


def read_owner(db: sqlite3.Connection, path: Path) -> Owner:
    """Whose journal this is.

    Raises:
        JournalCorrupt: it is no journal.
        JournalForeign: another version of this program wrote it.
        sqlite3.Error, MalformedMessage, TypeError: it is damaged.
    """
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise JournalCorrupt(f"{path} is not a dhtex journal; move it away, or choose another --data-dir")
    if version != FORMAT:
        age = "newer" if version > FORMAT else "older"
        raise JournalForeign(
            f"the journal {path} was written by {age} dhtex (format {version}, this one reads {FORMAT}); "
            "use that version, or choose another --data-dir"
        )
    node_id, group_id, market = db.execute("SELECT node_id, group_id, market FROM journal").fetchone()
    return Owner(check_bytes(node_id, ID_SIZE), check_bytes(group_id, ID_SIZE), check_blob(market))


def check_owner(found: Owner, expected: Owner, path: Path) -> None:
    """Refuse another peer's journal, and another market's.

    Raises:
        JournalForeign: it is one.
    """
    if found.node_id != expected.node_id:
        raise JournalForeign(
            f"the journal {path} belongs to peer {short_id(found.node_id)}, this is {short_id(expected.node_id)}; "
            "start with the identity it was made with, or choose another --data-dir"
        )
    if found.group_id != expected.group_id:
        raise JournalForeign(
            f"the journal {path} belongs to another market or to other terms of it "
            f"(group {short_id(found.group_id)}, this is {short_id(expected.group_id)}); "
            "give the same tick, lot and limits as before, or choose another --data-dir"
        )


@contextlib.contextmanager
def open_to_read(path: Path) -> Iterator[tuple[sqlite3.Connection, Owner]]:
    """A journal as it is at this moment, whether a peer writes to it or not; and whose it is.

    Raises:
        JournalCorrupt, JournalForeign, StorageError: it cannot be read, also when that shows inside.
    """
    try:
        found = path.is_file()
    except OSError as error:
        raise StorageError(
            f"cannot read the journal {path}: {error.strerror}; see who may read it"
        ) from error
    if not found:
        raise StorageError(
            f"there is no journal {path}; its name ends in .journal, under the --data-dir of the peer"
        )
    try:
        db = _connect_any(path)
        with contextlib.closing(db), one_moment(db):
            yield db, read_owner(db, path)
    except (sqlite3.DatabaseError, MalformedMessage, ValueError, TypeError) as error:
        raise unusable(path, error) from error


def _connect_any(path: Path) -> sqlite3.Connection:
    db = connect_reader(path)
    try:
        db.execute("SELECT * FROM sqlite_schema LIMIT 1").fetchall()
    except sqlite3.OperationalError as error:
        # The folder is read-only, and no peer has left the files that reading takes.
        db.close()
        if _has_log(path) and not os.access(path.parent, os.W_OK):
            log = wal_of(path).name
            raise StorageError(
                f"the journal {path} has a write-ahead log, and reading that takes a folder where files can be made; "
                f"copy {path.name} and {log} to one, and read them there"
            ) from error
        return connect_reader(path, alone=True)
    except BaseException:
        db.close()
        raise
    return db


@contextlib.contextmanager
def one_moment(db: sqlite3.Connection) -> Iterator[None]:
    """Everything read inside is from one moment, however much is written meanwhile."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.execute("ROLLBACK")
