"""What SQLite's errors mean for a journal, and the sentence for each."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Final

from dhtex.errors import JournalCorrupt, StorageError

ENOUGH_BYTES: Final = 64 * 1024 * 1024
"""Several times the largest transaction: with so much free the disk is not what is full."""
_NO_ROOM: Final = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_BUSY}
)
_OUT_OF_REACH: Final = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_NOMEM,
    }
)


def is_no_room(error: Exception) -> bool:
    """True when the same transaction can succeed later: it was rolled back, and nothing had to be on the disk yet.

    Quotas and file size limits come as a failed write. A failed fsync is no such error: after it nobody knows what
    the disk has, and a second fsync may report success for what was lost.
    """
    return isinstance(error, sqlite3.Error) and _code(error) in _NO_ROOM


def no_room(path: Path, error: sqlite3.Error, goes_on: str) -> str:
    """What to say of an error that `is_no_room`; *goes_on* says what comes after there is some."""
    if _code(error) == sqlite3.SQLITE_BUSY:
        return f"another program keeps the journal {path} locked; close it, and {goes_on}"
    try:
        octets = shutil.disk_usage(path.parent).free
    except OSError as unknown:
        free = f"free space unknown: {unknown.strerror}"
    else:
        why = "" if octets < ENOUGH_BYTES else ", so it is a quota or a limit on the size of files"
        free = f"{octets // 1024:,} KiB are free{why}"
    return f"no room to write the journal {path} ({free}); make room, and {goes_on}"


def unusable(path: Path, error: Exception) -> StorageError:
    """What to say when a journal cannot be opened or read.

    There is no room, it cannot be reached or written, or what it says makes no sense (`JournalCorrupt`).
    """
    if isinstance(error, sqlite3.Error):
        if is_no_room(error):
            return StorageError(no_room(path, error, "start again"))
        if _code(error) & 0xFF == sqlite3.SQLITE_READONLY:
            return unwritable(path)
        if _code(error) & 0xFF in _OUT_OF_REACH:
            return StorageError(f"cannot read the journal {path}: {error}; see who may read it, and the disk")
    what = " ".join(str(error).split())  # SQLite cites the file, line ends and all
    return JournalCorrupt(
        f"the journal {path} is damaged ({what}); it is left as it is: "
        "restore it from a backup, or move it away and join the group as a new peer"
    )


def unwritable(path: Path) -> StorageError:
    """What to say of a journal that can be read only."""
    return StorageError(f"cannot write the journal {path}; see who may write it and the files beside it")


def _code(error: sqlite3.Error) -> int:
    """SQLite's extended result code; its low eight bits are the result code without what makes it specific."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR))
