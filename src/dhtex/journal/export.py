"""The final history in a journal, entry by entry with positions: `dhtex journal export`, and whoever wants to read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from dhtex.journal.load import base_snapshot, history, read_marks
from dhtex.journal.schema import open_to_read
from dhtex.replication.config import ReplicaConfig
from dhtex.replication.ledger import Ledger
from dhtex.replication.machine import StateMachine
from dhtex.replication.values import CommandBatch, Entry

CONFIG: Final = ReplicaConfig()


class FinalEntry(NamedTuple):
    """An entry, and what of it counts.

    Attributes:
        position: of the first command that counts; the others follow.
        skip: leading commands that were applied under an earlier entry, and do not count.
    """

    position: int
    entry: Entry
    skip: int


def final_entries(path: Path, machine: StateMachine | None = None) -> Iterator[FinalEntry]:
    """Every final entry kept after the oldest usable snapshot, in the total order, as of the first step.

    Entries of which nothing counts are left out.

    Args:
        machine: a fresh one; it begins with that snapshot, and each entry is applied to it before it is given.

    Raises:
        JournalCorrupt, JournalForeign, StorageError: the journal cannot be read.
    """
    with open_to_read(path) as (db, _):
        marks = read_marks(db)
        ledger = Ledger(machine if machine is not None else _Idle(), CONFIG)
        base = base_snapshot(db, marks.compacted)
        if base is not None:
            ledger.restore(base)
        for item in history(db, ledger.key, marks.final.key):
            if isinstance(item, Entry):
                done = ledger.apply(item)
                if done.skip < item.count:
                    yield FinalEntry(done.position, item, done.skip)


class _Idle:
    """A state machine for when only positions are wanted."""

    def apply(self, batch: CommandBatch, position: int, skip: int) -> bytes:
        """Nothing happens."""
        return b""

    def snapshot(self) -> bytes:
        """No state."""
        return b""

    def restore(self, snapshot: bytes) -> None:
        """No state."""

    def digest(self) -> bytes:
        """No state."""
        return b""
