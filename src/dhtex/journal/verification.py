"""Does a journal hold together: tables, signatures, views, order, digest? `dhtex journal verify`.

Everything that can be wrong is a finding, a sentence; a sound journal has none. What is checked depends on what
compaction left: signatures and order of every kept entry, the digest from the oldest usable snapshot on.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from dhtex.errors import MalformedMessage
from dhtex.identity import Signer, short_id
from dhtex.journal.export import CONFIG
from dhtex.journal.load import (
    NEVER,
    UNREADABLE,
    Marks,
    base_snapshot,
    history,
    read_marks,
    read_snapshot,
    snapshot_ids,
)
from dhtex.journal.schema import Owner, open_to_read
from dhtex.replication.ledger import Ledger
from dhtex.replication.machine import StateMachine
from dhtex.replication.values import ID_SIZE, Entry, OrderKey, Snapshot, View, check_blob, signing_context

FINDINGS_MAX: Final = 100
"""Enough to see what is wrong; a broken disk can produce one for every entry."""
PROGRESS_EVERY: Final = 64

Progress = Callable[[int, int], None]
"""Told now and then how many of how many entries are checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What came out.

    Attributes:
        findings: what is wrong, a sentence each, `FINDINGS_MAX` at most. Empty: the journal is sound.
        entries: checked, each with its signature.
        views: checked.
        replayed: commands applied again; 0 without a state machine.
        start, position: where the replay began, and where it ended.
        digest: what it came to, or what the journal says without a replay.
    """

    findings: tuple[str, ...]
    entries: int
    views: int
    replayed: int
    start: int
    position: int
    digest: bytes


def verify(
    path: Path,
    signer: Signer,
    machine: Callable[[bytes], StateMachine] | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Check everything in a journal, whether a peer has it open or not: as it is when the check begins.

    Args:
        signer: anybody's; it is only asked to verify.
        machine: makes the fresh state machine of a market from its canonical bytes. None: nothing is replayed.
    Raises:
        JournalCorrupt, JournalForeign, StorageError: it is too damaged to be checked, or cannot be read.
    """
    with open_to_read(path) as (db, owner):
        return _Verifier(db, owner, signer, progress).run(machine)


class _Verifier:
    def __init__(
        self, db: sqlite3.Connection, owner: Owner, signer: Signer, progress: Progress | None
    ) -> None:
        self._db = db
        self._owner = owner
        self._signer = signer
        self._progress = progress
        self._findings: list[str] = []

    def run(self, machine: Callable[[bytes], StateMachine] | None) -> Verification:
        self._check_pages()
        self._check_market()
        marks = read_marks(self._db)
        views = self._check_views(marks)
        entries = self._check_entries(marks, views)
        start, ledger = 0, None
        if machine is not None:
            ledger = Ledger(machine(self._owner.market), CONFIG)
            start = self._replay(ledger, marks)
        return Verification(
            findings=tuple(self._findings[:FINDINGS_MAX]),
            entries=entries,
            views=len(views),
            replayed=0 if ledger is None else ledger.position - start,
            start=start,
            position=marks.final.position if ledger is None else ledger.position,
            digest=marks.final.digest if ledger is None else ledger.digest,
        )

    def _find(self, sentence: str) -> None:
        self._findings.append(sentence)

    def _check_pages(self) -> None:
        for (line,) in self._db.execute(f"PRAGMA integrity_check({FINDINGS_MAX})"):
            if line != "ok":
                self._find(f"SQLite: {line}")

    def _check_market(self) -> None:
        market, group_id = self._owner.market, self._owner.group_id
        if market and hashlib.blake2b(market, digest_size=ID_SIZE).digest() != group_id:
            self._find("the market in it is not the one that its group is named after")

    # -- views --------------------------------------------------------------------------------------------------

    def _check_views(self, marks: Marks) -> dict[int, View]:
        views: dict[int, View] = {}
        for number, record in self._db.execute("SELECT number, record FROM views ORDER BY number"):
            try:
                view = View.from_bytes(record)
            except MalformedMessage as error:
                self._find(f"view {number} does not decode ({error})")
                continue
            if view.number != number:
                self._find(f"view {number} says it is view {view.number}")
            views[number] = view
        for older, newer in pairwise(views.values()):
            if newer.number == older.number + 1 and not newer.follows(older):
                self._find(f"view {newer.number} does not follow from view {older.number}")
        if 1 in views and views[1].id != marks.lineage:
            self._find("view 1 is not the one the group descends from")
        if marks.view is not None and marks.view.number != max(views, default=0):
            self._find(f"view {max(views, default=0)} is later than the installed one")
        return views

    # -- entries ------------------------------------------------------------------------------------------------

    def _check_entries(self, marks: Marks, views: dict[int, View]) -> int:
        (total,) = self._db.execute("SELECT count(*) FROM entries").fetchone()
        context = signing_context(self._owner.group_id, marks.lineage)
        last: dict[tuple[int, bytes], Entry] = {}
        done = 0
        rows = self._db.execute(
            "SELECT id, view, origin, seq, timestamp, first_n, count, raw FROM entries "
            "WHERE (view, timestamp, origin) > (?, ?, ?) AND (view, timestamp, origin) <= (?, ?, ?) "
            "ORDER BY view, timestamp, origin",
            (*marks.compacted, *NEVER),
        )
        for row, *stored in rows:
            try:
                entry = Entry.from_bytes(check_blob(stored[-1]))
            except MalformedMessage as error:
                self._find(f"the entry in row {row} does not decode ({error})")
            else:
                if entry != tuple(stored):
                    self._find(f"{_name(entry)} is filed under numbers that are not its own")
                self._check_entry(entry, views, context, last.get((entry.view, entry.origin)))
                last[entry.view, entry.origin] = entry
            done += 1
            if self._progress is not None and done % PROGRESS_EVERY == 0:
                self._progress(done, total)
        self._check_cuts(marks, views, last)
        if self._progress is not None:
            self._progress(done, done)
        return done

    def _check_entry(
        self, entry: Entry, views: dict[int, View], context: bytes, before: Entry | None
    ) -> None:
        name = _name(entry)
        view = views.get(entry.view)
        place = None if view is None else view.index.get(entry.origin)
        if view is None or place is None:
            self._find(f"{name} is of nobody who was a member")
        elif not entry.verify(self._signer, view.members[place].public_key, context):
            self._find(f"{name} does not carry the signature of its origin")
        elif entry.timestamp <= view.floor:
            self._find(f"{name} is not above the floor of its view")
        if before is not None and entry.seq != before.seq + 1:
            self._find(f"{name} comes after {before.seq}: entries are missing or out of order")

    def _check_cuts(self, marks: Marks, views: dict[int, View], last: dict[tuple[int, bytes], Entry]) -> None:
        """Nothing beyond a cut, and everything up to it."""
        for number, view in views.items():
            closing = views.get(number + 1)
            if closing is None or len(closing.cut) != len(view.members):
                continue
            for origin, seq in zip(view.node_ids, closing.cut, strict=True):
                entry = last.get((number, origin))
                if entry is None:
                    continue  # none of them is kept, or there was none; the digest tells
                if entry.seq != seq and entry.key > marks.compacted:
                    self._find(
                        f"view {number} ends at entry {short_id(origin)}/{seq}, the last one kept is {entry.seq}"
                    )

    # -- digest -------------------------------------------------------------------------------------------------

    def _replay(self, ledger: Ledger, marks: Marks) -> int:
        """Apply history again from the oldest usable snapshot; gives the position where that began."""
        try:
            base = base_snapshot(self._db, marks.compacted)
            if base is not None:
                ledger.restore(base)
            start = ledger.position
            later = self._later_snapshots(ledger.key)
            due = next(later, None)
            for item in history(self._db, ledger.key, marks.final.key):
                while due is not None and due.key < item.key:
                    self._compare(ledger, due)
                    due = next(later, None)
                if isinstance(item, Entry):
                    ledger.apply(item)
                else:
                    ledger.install(item)
            while due is not None and due.key <= marks.final.key:
                self._compare(ledger, due)
                due = next(later, None)
        except UNREADABLE as error:
            self._find(f"history cannot be replayed ({error})")
            return ledger.position
        if (ledger.position, ledger.digest) != (marks.final.position, marks.final.digest):
            self._find(
                f"replaying comes to position {ledger.position} and digest {ledger.digest.hex()[:16]}, "
                f"the journal says {marks.final.position} and {marks.final.digest.hex()[:16]}"
            )
        return start

    def _later_snapshots(self, after: OrderKey) -> Iterator[Snapshot]:
        for number in snapshot_ids(self._db):
            snapshot = read_snapshot(self._db, number)
            if snapshot is not None and snapshot.key > after:
                yield snapshot

    def _compare(self, ledger: Ledger, snapshot: Snapshot) -> None:
        replayed = (ledger.position, ledger.digest, ledger.machine.snapshot())
        if replayed != (snapshot.position, snapshot.digest, snapshot.machine):
            self._find(f"the snapshot at position {snapshot.position} is not what replaying comes to")


def _name(entry: Entry) -> str:
    return f"entry {short_id(entry.origin)}/{entry.seq} of view {entry.view}"
