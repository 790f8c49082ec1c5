"""Reading: from tables back to `DurableState`, history and snapshots.

Rows at or before the compacted key may still be there, because sweeping them out takes its time; nothing here sees
them.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter
from typing import Final

from dhtex.errors import MalformedMessage
from dhtex.replication.records import (
    DurableState,
    FinalMark,
    Pending,
    Vote,
    key_from,
    pending_from,
    record_from_bytes,
)
from dhtex.replication.values import (
    CHAIN_SIZE,
    DIGEST_SIZE,
    ID_SIZE,
    MEMBERS_MAX,
    ORIGIN_OF_HISTORY,
    Entry,
    HistoryItem,
    OrderKey,
    Snapshot,
    View,
    check_blob,
    check_bytes,
    check_int,
)

NEVER: Final = OrderKey(2**32, 0, b"")
"""After everything: view numbers have 32 bits."""

UNREADABLE: Final = (sqlite3.DatabaseError, MalformedMessage, ValueError, TypeError, KeyError)
"""What reading a damaged file can raise."""

ENTRIES_BETWEEN: Final = """
    SELECT raw FROM entries
    WHERE (view, timestamp, origin) > (?, ?, ?) AND (view, timestamp, origin) <= (?, ?, ?)
    ORDER BY view, timestamp, origin
"""


@dataclass(frozen=True, slots=True)
class Marks:
    """The small part of the durable state: one row, rewritten when it changes."""

    incarnation: int
    admitted: bool
    ceiling: int
    lineage: bytes
    view: View | None
    vote: Vote | None
    final: FinalMark
    compacted: OrderKey
    compacted_chains: bytes


def read_marks(db: sqlite3.Connection) -> Marks:
    """The row of `state`, and the installed view.

    Raises:
        one of `UNREADABLE`.
    """
    row = db.execute("SELECT * FROM state").fetchone()
    if row is None:
        raise ValueError("its state is missing")
    _, incarnation, admitted, ceiling, lineage, number, vote, *rest = row
    final_key, position, digest, compacted, chains = rest[:3], rest[3], rest[4], rest[5:8], rest[8]
    view = None
    if number is not None:
        found = db.execute("SELECT record FROM views WHERE number = ?", (number,)).fetchone()
        if found is None:
            raise ValueError(f"view {number} is missing")
        view = View.from_bytes(found[0])
    decoded = None if vote is None else record_from_bytes(vote)
    if decoded is not None and not isinstance(decoded, Vote):
        raise ValueError("its vote is something else")
    return Marks(
        incarnation=check_int(incarnation),
        admitted=bool(check_int(admitted, 0, 1)),
        ceiling=check_int(ceiling),
        lineage=check_bytes(lineage, ID_SIZE),
        view=view,
        vote=decoded,
        final=FinalMark(key_from(final_key), check_int(position), check_bytes(digest, DIGEST_SIZE)),
        compacted=key_from(compacted),
        compacted_chains=check_blob(chains, CHAIN_SIZE * MEMBERS_MAX),
    )


def load_state(db: sqlite3.Connection, node_id: bytes) -> DurableState:
    """What a replica resumes from; equal to the reduction of all records, but for closed history before the snapshot.

    That part can be large, and is asked for by key, of `read_archive`.

    Raises:
        one of `UNREADABLE`.
    """
    marks = read_marks(db)
    snapshot = read_snapshot(db)
    after = marks.compacted if snapshot is None else max(marks.compacted, snapshot.key)
    state = DurableState.restore(
        node_id,
        lineage=marks.lineage,
        incarnation=marks.incarnation,
        admitted=marks.admitted,
        ceiling=marks.ceiling,
        vote=marks.vote,
        snapshot=snapshot,
        final=marks.final,
        compacted=marks.compacted,
        compacted_chains=marks.compacted_chains,
        history=_recent(db, marks, after),
        pending=read_pending(db),
    )
    for log in state.logs.values():
        if any(later.seq != earlier.seq + 1 for earlier, later in pairwise(log)):
            raise ValueError("entries are missing")
    return state


def _recent(db: sqlite3.Connection, marks: Marks, after: OrderKey) -> Iterator[HistoryItem]:
    """Closed history after *after*, the installed view, and all of its entries that are kept."""
    view = marks.view
    if view is None:
        return
    yield from history(db, after, OrderKey(view.number, -1, b""))
    yield view
    start, end = max(marks.compacted, view.key), OrderKey(view.number + 1, -1, b"")
    yield from _in_order(_entries(db, start, NEVER), start, end)


def history(db: sqlite3.Connection, after: OrderKey, upto: OrderKey) -> Iterator[HistoryItem]:
    """Views and entries after *after* up to and with *upto*, in the total order."""
    views = (
        View.from_bytes(record)
        for (record,) in db.execute(
            "SELECT record FROM views WHERE number > ? AND (number, 0, x'') <= (?, ?, ?) ORDER BY number",
            (after.view, *upto),
        )
    )
    items: list[Iterable[HistoryItem]] = [views, _entries(db, after, upto)]
    return _in_order(heapq.merge(*items, key=attrgetter("key")), after, upto)


def _in_order(items: Iterable[HistoryItem], after: OrderKey, upto: OrderKey) -> Iterator[HistoryItem]:
    """*items*, which are found by the numbers beside them: their own may be others in a damaged file."""
    for item in items:
        key = item.key
        if not after < key <= upto:
            raise ValueError("its history is not in order")
        after = key
        yield item


def _entries(db: sqlite3.Connection, after: OrderKey, upto: OrderKey) -> Iterator[Entry]:
    for (raw,) in db.execute(ENTRIES_BETWEEN, (*after, *upto)):
        yield Entry.from_bytes(raw)


def read_pending(db: sqlite3.Connection) -> list[Pending]:
    """Own commands that are in no entry, ascending by n."""
    rows = db.execute("SELECT first_n, count, commands FROM pending ORDER BY first_n")
    return [pending_from(list(row)) for row in rows]


def read_archive(db: sqlite3.Connection, after: OrderKey, limit_bytes: int) -> list[HistoryItem] | None:
    """Final history after *after*, at least one item if there is any; None when it is no longer complete."""
    marks = read_marks(db)
    if after < marks.compacted:
        return None
    found: list[HistoryItem] = []
    for item in history(db, after, marks.final.key):
        limit_bytes -= len(item.raw) if isinstance(item, Entry) else len(item.to_bytes())
        if found and limit_bytes < 0:
            break
        found.append(item)
    return found


def snapshot_ids(db: sqlite3.Connection) -> list[int]:
    """The snapshots kept, oldest first."""
    return [number for (number,) in db.execute("SELECT id FROM snapshots ORDER BY id")]


def read_snapshot(db: sqlite3.Connection, number: int | None = None) -> Snapshot | None:
    """A snapshot kept, the newest one unless *number* says which; None when there is none."""
    if number is None:
        (number,) = db.execute("SELECT max(id) FROM snapshots").fetchone()
    if number is None:
        return None
    pieces = db.execute("SELECT data FROM snapshot_pieces WHERE snapshot = ? ORDER BY piece", (number,))
    data = b"".join([piece for (piece,) in pieces])
    return Snapshot.from_bytes(data)


def base_snapshot(db: sqlite3.Connection, compacted: OrderKey) -> Snapshot | None:
    """The oldest snapshot after which history is complete; None when history is complete from its beginning.

    Raises:
        ValueError: history was compacted, and no snapshot reaches to where it begins.
    """
    if compacted == ORIGIN_OF_HISTORY:
        return None
    for number in snapshot_ids(db):
        snapshot = read_snapshot(db, number)
        if snapshot is not None and snapshot.key >= compacted:
            return snapshot
    raise ValueError("no snapshot reaches to where its history begins")
