"""What a journal is about, at a glance: `dhtex journal inspect`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dhtex.journal.load import NEVER, read_marks
from dhtex.journal.schema import FORMAT, Owner, open_to_read, wal_of
from dhtex.replication.values import OrderKey, View, check_int


class SnapshotSummary(NamedTuple):
    """A snapshot kept.

    Attributes:
        position: number of final commands it includes.
        size: bytes.
    """

    position: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A journal at one moment.

    Attributes:
        owner: whose it is.
        format: of the file.
        incarnation: 0 when the peer never asked to join.
        lineage: id of view 1; zeros while there is none.
        view: the installed view, or None.
        frozen: a vote for the next view is in it.
        ceiling: no clock value above it has been promised in the view, microseconds.
        position: number of final commands.
        digest: the chain after them.
        final, compacted: the last final key, and the one up to which history is gone.
        entries, entry_bytes, commands: kept, final or not.
        pending: own commands in no entry.
        views: view records kept.
        snapshots: oldest first.
        file_bytes, wal_bytes, free_bytes: of the file, of its write-ahead log, and unused within the file.
    """

    owner: Owner
    format: int
    incarnation: int
    lineage: bytes
    view: View | None
    frozen: bool
    ceiling: int
    position: int
    digest: bytes
    final: OrderKey
    compacted: OrderKey
    entries: int
    entry_bytes: int
    commands: int
    pending: int
    views: int
    snapshots: tuple[SnapshotSummary, ...]
    file_bytes: int
    wal_bytes: int
    free_bytes: int


def inspect(path: Path) -> Summary:
    """Look at a journal, whether a peer has it open or not.

    Raises:
        JournalCorrupt, JournalForeign, StorageError: it cannot be read.
    """
    with open_to_read(path) as (db, owner):
        marks = read_marks(db)
        entries, entry_bytes, commands = db.execute(
            "SELECT count(*), coalesce(sum(length(raw)), 0), coalesce(sum(count), 0) FROM entries "
            "WHERE (view, timestamp, origin) > (?, ?, ?) AND (view, timestamp, origin) <= (?, ?, ?)",
            (*marks.compacted, *NEVER),
        ).fetchone()
        (pending,) = db.execute("SELECT coalesce(sum(count), 0) FROM pending").fetchone()
        (views,) = db.execute("SELECT count(*) FROM views").fetchone()
        snapshots = db.execute("SELECT position, size FROM snapshots ORDER BY id").fetchall()
        (free,) = db.execute("PRAGMA freelist_count").fetchone()
        (page,) = db.execute("PRAGMA page_size").fetchone()
        wal = wal_of(path)
        return Summary(
            owner=owner,
            format=FORMAT,
            incarnation=marks.incarnation,
            lineage=marks.lineage,
            view=marks.view,
            frozen=marks.vote is not None,
            ceiling=marks.ceiling,
            position=marks.final.position,
            digest=marks.final.digest,
            final=marks.final.key,
            compacted=marks.compacted,
            entries=entries,
            entry_bytes=entry_bytes,
            commands=check_int(commands),
            pending=check_int(pending),
            views=views,
            snapshots=tuple(SnapshotSummary(check_int(at), check_int(size)) for at, size in snapshots),
            file_bytes=path.stat().st_size,
            wal_bytes=wal.stat().st_size if wal.exists() else 0,
            free_bytes=free * page,
        )
