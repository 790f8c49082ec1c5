"""Writing: what each record changes in the tables, one transaction for any number of records.

The meaning of a record is `DurableState.apply`; every method here is the same step on tables.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from dhtex.journal.load import read_marks
from dhtex.journal.schema import impatient
from dhtex.replication.records import (
    Appended,
    Ceiling,
    Compacted,
    FinalMark,
    Incarnation,
    Installed,
    Pending,
    Record,
    SnapshotTaken,
    Vote,
    Withdrawn,
    record_to_bytes,
)
from dhtex.replication.values import Entry, Snapshot, View

logger = logging.getLogger(__name__)

CHECKPOINT_BYTES: Final = 4 * 1024 * 1024
"""Put into rows since the write-ahead log was last copied into the file. The log is a few times that, because it
has whole pages; a start after a crash reads it."""
COMMIT_BYTES: Final = 12 * 1024
"""What a small commit costs there: the pages of the table, the index and the state."""
WAL_PAGES_MAX: Final = 16 * 1024
"""64 MiB. Beyond, readers are waited for, so that the log can start over."""
READERS_MS: Final = 20
"""How long: a peer's own reader is done by then. Whoever keeps `dhtex journal export | less` open has the log grow, and
must not hold up the commits that a whole group waits for."""
SWEEP_ROWS: Final = 512
"""Compacted entries taken out in one go, so that a commit waits milliseconds for it, not seconds."""
VACUUM_PAGES: Final = 512
"""Pages given back to the system in one go."""
FREE_PAGES_KEPT: Final = 1024
"""4 MiB. Free pages up to this, or a quarter of the file, are kept for what comes next."""
PIECE_BYTES: Final = 16 * 1024 * 1024
"""A snapshot is cut into rows of this size; SQLite takes no row of a gigabyte."""
SNAPSHOTS_KEPT: Final = 2
"""The newest to resume from; the one before to replay from, which proves the newest."""


class Store:
    """The tables of one journal, through the one connection that writes. Used by one thread at a time."""

    def __init__(self, db: sqlite3.Connection, node_id: bytes) -> None:
        """Of an existing file.

        Raises:
            one of `load.UNREADABLE`: it is damaged.
        """
        self._db = db
        self._node_id = node_id
        self._marks = read_marks(db)
        self._last_seq = self._read_last_seq()
        self._new_entries: list[Entry] = []
        self._maybe_pending = True
        self._unswept = True
        self._unvacuumed = True
        self._unchecked_bytes = CHECKPOINT_BYTES

    def close(self) -> None:
        """Close the connection; the write-ahead log goes into the file."""
        self._db.close()

    def _read_last_seq(self) -> dict[bytes, int]:
        """Of every origin, the seq of its newest entry of the installed view."""
        view, compacted = self._marks.view, self._marks.compacted
        if view is None:
            return {}
        rows = self._db.execute(
            "SELECT origin, max(seq) FROM entries WHERE (view, timestamp, origin) > (?, ?, ?) GROUP BY origin",
            max(compacted, view.key),
        )
        return dict(rows.fetchall())

    # -- records ------------------------------------------------------------------------------------------------

    def commit(self, records: Iterable[Record]) -> None:
        """Make *records* durable, in order: all of them, or none when it raises.

        Raises:
            sqlite3.Error: why not; nothing changed, and the same records can be tried again.
        """
        marks, last_seq = self._marks, dict(self._last_seq)
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            for record in records:
                self._apply(record)
            self._write_entries()
            if self._marks is not marks:
                self._write_marks()
            db.execute("COMMIT")
        except BaseException:
            self._marks, self._last_seq = marks, last_seq
            self._new_entries.clear()
            self._maybe_pending = True
            if db.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
            raise
        self._unchecked_bytes += COMMIT_BYTES

    def _apply(self, record: Record) -> None:
        match record:
            case Appended(entry):
                if entry.seq > self._last_seq.get(entry.origin, 0):
                    self._last_seq[entry.origin] = entry.seq
                    self._new_entries.append(entry)
            case Ceiling(timestamp):
                if timestamp > self._marks.ceiling:
                    self._marks = replace(self._marks, ceiling=timestamp)
            case FinalMark():
                if record > self._marks.final:
                    self._marks = replace(self._marks, final=record)
            case Pending():
                self._write_entries()
                self._pend([record])
            case Vote():
                self._marks = replace(self._marks, vote=record)
            case Installed(view):
                self._write_entries()
                self._install(view)
            case Incarnation(value, admitted):
                self._marks = replace(self._marks, incarnation=value, admitted=admitted)
            case SnapshotTaken(snapshot):
                self._write_entries()
                self._take_snapshot(snapshot)
            case Compacted(key, chains):
                if key > self._marks.compacted:
                    self._marks = replace(self._marks, compacted=key, compacted_chains=chains)
                self._unswept = True
            case Withdrawn(origin, seq):
                self._write_entries()
                self._withdraw(origin, seq)

    def _write_entries(self) -> None:
        """Rows for the entries gathered so far; own commands in them are no longer pending."""
        entries = self._new_entries
        if not entries:
            return
        # An entry is a tuple in the order of the columns. A row that is there already was compacted and not yet swept.
        self._db.executemany(
            "INSERT OR IGNORE INTO entries (view, origin, seq, timestamp, first_n, count, raw) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            entries,
        )
        self._unchecked_bytes += sum([len(entry.raw) for entry in entries])
        if self._maybe_pending:
            self._db.executemany(
                "DELETE FROM pending WHERE first_n >= ? AND first_n < ?",
                [(e.first_n, e.first_n + e.count) for e in entries if e.origin == self._node_id],
            )
            (self._maybe_pending,) = self._db.execute("SELECT EXISTS (SELECT 1 FROM pending)").fetchone()
        self._new_entries = []

    def _pend(self, pending: Iterable[Pending]) -> None:
        self._db.executemany("INSERT OR REPLACE INTO pending VALUES (?, ?, ?)", pending)
        self._maybe_pending = True

    def _install(self, view: View) -> None:
        marks = self._marks
        lineage = marks.lineage
        if marks.view is None:
            lineage = view.id
        else:
            self._void(marks.view, view.cut)
        self._write_view(view)
        final = max(marks.final, FinalMark(view.key, marks.final.position, marks.final.digest))
        self._marks = replace(marks, lineage=lineage, view=view, vote=None, ceiling=0, final=final)
        self._last_seq = {}

    def _void(self, closed: View, cut: Sequence[int]) -> None:
        """Take out what of *closed* lies beyond *cut*; own commands in it become pending.

        It may sort before what is final: entries of others with later timestamps can be within the cut.
        """
        last = dict(zip(closed.node_ids, cut, strict=True))
        rows = self._db.execute("SELECT id, origin, seq FROM entries WHERE view = ?", (closed.number,))
        void = [(row, origin) for row, origin, seq in rows if seq > last.get(origin, 0)]
        for row, origin in void:
            if origin == self._node_id:
                (raw,) = self._db.execute("SELECT raw FROM entries WHERE id = ?", (row,)).fetchone()
                self._pend([_commands_of(raw)])
        self._db.executemany("DELETE FROM entries WHERE id = ?", [(row,) for row, _ in void])

    def _withdraw(self, origin: bytes, seq: int) -> None:
        """Take out what *origin* signed beyond *seq*; nothing of it is final."""
        self._db.execute(
            "DELETE FROM entries WHERE (view, timestamp, origin) > (?, ?, ?) AND origin = ? AND seq > ?",
            (*self._marks.final.key, origin, seq),
        )
        self._last_seq[origin] = seq

    def _take_snapshot(self, snapshot: Snapshot) -> None:
        final_n = dict(snapshot.last_n).get(self._node_id, 0)
        if snapshot.key > self._marks.final.key:
            self._jump(snapshot, final_n)
        self._write_snapshot(snapshot)
        self._db.execute("DELETE FROM pending WHERE first_n + count <= ?", (final_n + 1,))

    def _jump(self, snapshot: Snapshot, final_n: int) -> None:
        """Everything before a fetched snapshot is replaced by it, but own commands that it does not include."""
        db, marks = self._db, self._marks
        if marks.view is not None:
            own = db.execute(
                "SELECT raw FROM entries WHERE (view, timestamp, origin) > (?, ?, ?) AND origin = ? "
                "AND first_n + count > ?",
                (*max(marks.compacted, marks.view.key), self._node_id, final_n + 1),
            )
            self._pend([_commands_of(raw) for (raw,) in own])
        # What is before it is swept later, being compacted; what is after it would count again.
        db.execute("DELETE FROM entries WHERE (view, timestamp, origin) > (?, ?, ?)", snapshot.key)
        db.execute("DELETE FROM views")
        db.execute("DELETE FROM snapshots")
        db.execute("DELETE FROM snapshot_pieces")
        self._write_view(snapshot.view)
        self._marks = replace(
            marks,
            lineage=snapshot.lineage,
            view=snapshot.view,
            vote=None,
            ceiling=0,
            final=FinalMark(snapshot.key, snapshot.position, snapshot.digest),
            compacted=snapshot.key,
            compacted_chains=snapshot.chains,
        )
        self._last_seq = {}
        self._unswept = True

    def _write_view(self, view: View) -> None:
        self._db.execute("INSERT OR REPLACE INTO views VALUES (?, ?)", (view.number, view.to_bytes()))

    def _write_snapshot(self, snapshot: Snapshot) -> None:
        db, data = self._db, snapshot.to_bytes()
        cursor = db.execute(
            "INSERT INTO snapshots (view, timestamp, origin, position, digest, size) VALUES (?, ?, ?, ?, ?, ?)",
            (*snapshot.key, snapshot.position, snapshot.digest, len(data)),
        )
        number = cursor.lastrowid
        db.executemany(
            "INSERT INTO snapshot_pieces VALUES (?, ?, ?)",
            ((number, at, data[at : at + PIECE_BYTES]) for at in range(0, len(data), PIECE_BYTES)),
        )
        db.execute(
            "DELETE FROM snapshots WHERE id NOT IN (SELECT id FROM snapshots ORDER BY id DESC LIMIT ?)",
            (SNAPSHOTS_KEPT,),
        )
        db.execute("DELETE FROM snapshot_pieces WHERE snapshot NOT IN (SELECT id FROM snapshots)")
        self._unchecked_bytes += len(data)

    def _write_marks(self) -> None:
        marks = self._marks
        self._db.execute(
            "UPDATE state SET incarnation = ?, admitted = ?, ceiling = ?, lineage = ?, view = ?, vote = ?, "
            "final_view = ?, final_timestamp = ?, final_origin = ?, final_position = ?, final_digest = ?, "
            "compacted_view = ?, compacted_timestamp = ?, compacted_origin = ?, compacted_chains = ?",
            (
                marks.incarnation,
                marks.admitted,
                marks.ceiling,
                marks.lineage,
                None if marks.view is None else marks.view.number,
                None if marks.vote is None else record_to_bytes(marks.vote),
                *marks.final.key,
                marks.final.position,
                marks.final.digest,
                *marks.compacted,
                marks.compacted_chains,
            ),
        )

    # -- upkeep: what nobody waits for --------------------------------------------------------------------------

    @property
    def is_tidy(self) -> bool:
        """True when `tidy` has nothing to do."""
        return not (self._unswept or self._unvacuumed or self._unchecked_bytes >= CHECKPOINT_BYTES)

    def tidy(self) -> None:
        """A little of what has to be done some time: a checkpoint, a sweep, a few pages given back.

        Raises:
            sqlite3.Error: not now; nothing is lost.
        """
        if self._unchecked_bytes >= CHECKPOINT_BYTES:
            self.checkpoint()
        elif self._unswept:
            self._sweep()
        elif self._unvacuumed:
            self._vacuum()

    def checkpoint(self) -> None:
        """Copy the write-ahead log into the file, so that it can start over."""
        self._unchecked_bytes = 0
        _, pages, done = self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if pages > WAL_PAGES_MAX and done < pages:
            logger.info("somebody reads the journal, its write-ahead log has %d pages", pages)
            with impatient(self._db, READERS_MS):
                self._db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()

    def _sweep(self) -> None:
        """Take out some rows of compacted history. Views go last: signatures are checked against them."""
        compacted = self._marks.compacted
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            swept = db.execute(
                "DELETE FROM entries WHERE id IN (SELECT id FROM entries "
                "WHERE (view, timestamp, origin) <= (?, ?, ?) ORDER BY view, timestamp, origin LIMIT ?)",
                (*compacted, SWEEP_ROWS),
            ).rowcount
            if swept < SWEEP_ROWS:
                db.execute("DELETE FROM views WHERE number < ?", (compacted.view,))
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        self._unswept = swept == SWEEP_ROWS
        self._unvacuumed = self._unvacuumed or swept > 0
        self._unchecked_bytes += COMMIT_BYTES + swept * 64

    def _vacuum(self) -> None:
        """Give some pages back to the system, if many are free."""
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        (total,) = self._db.execute("PRAGMA page_count").fetchone()
        spare = free - max(FREE_PAGES_KEPT, total // 4)
        if spare > 0:
            # `execute` would stop after the first page: the statement steps once a page, but has no columns.
            self._db.executescript(f"PRAGMA incremental_vacuum({min(spare, VACUUM_PAGES)})")
            self._unchecked_bytes += min(spare, VACUUM_PAGES) * 4096
        self._unvacuumed = spare > VACUUM_PAGES


def _commands_of(raw: bytes) -> Pending:
    entry = Entry.from_bytes(raw)
    return Pending(entry.first_n, entry.count, entry.commands)
