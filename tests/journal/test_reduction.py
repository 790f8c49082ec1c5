"""Whatever is written, in whatever transactions: what is read is the reduction of the records."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhtex.journal.load import load_state, read_archive
from dhtex.journal.memory import MemoryStore
from dhtex.journal.schema import Owner, connect_reader, connect_writer, create, one_moment
from dhtex.journal.store import Store
from dhtex.replication.records import Appended, DurableState, Record
from dhtex.replication.values import OrderKey
from journal.author import GROUP, ME, Author
from journal.compare import visible

OWNER = Owner(ME.node_id, GROUP, b"")

scripts = st.lists(
    st.tuples(st.sampled_from(Author.STEPS), st.sampled_from(("same", "same", "commit", "reopen", "tidy"))),
    min_size=60,  # shorter ones hardly ever get to a second view
    max_size=200,
)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    memory = Path(
        "/dev/shm"
    )  # where there is one: no power cut is tested here, and fsync costs nothing there
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@functools.cache
def empty_journal() -> bytes:
    """Making one waits for the disk several times."""
    with scratch() as folder:
        create(folder / "journal", OWNER)
        return (folder / "journal").read_bytes()


class File:
    """A store that can be opened again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(empty_journal())
        self.store = self._open()

    def _open(self) -> Store:
        return Store(connect_writer(self.path, "os"), ME.node_id)

    def reopen(self) -> None:
        self.store.close()
        self.store = self._open()

    def load(self) -> DurableState:
        with contextlib.closing(connect_reader(self.path)) as db, one_moment(db):
            return load_state(db, ME.node_id)

    def kill_and_copy(self, folder: Path) -> DurableState:
        """What a process that died now left behind."""
        folder.mkdir()
        for name in (self.path.name, self.path.name + "-wal"):
            if (self.path.parent / name).exists():
                shutil.copy(self.path.parent / name, folder / name)
        with contextlib.closing(connect_reader(folder / self.path.name, alone=True)) as db, one_moment(db):
            return load_state(db, ME.node_id)


def keys_of(records: list[Record]) -> list[OrderKey]:
    return [record.entry.key for record in records if isinstance(record, Appended)]


@settings(max_examples=30, deadline=None)
@given(scripts, st.integers(0, 2**32), st.integers(1, 3000))
def test_what_is_read_is_the_reduction_of_what_was_written(
    script: list[tuple[str, str]], seed: int, limit: int
) -> None:
    source = random.Random(seed)
    author = Author(source)
    memory = MemoryStore()
    durable: list[Record] = []
    waiting: list[Record] = []
    with scratch() as folder:
        file = File(folder / "journal")
        for number, (step, then) in enumerate(script):
            waiting += author.write(step)
            if then == "same":
                continue
            file.store.commit(waiting)
            durable += waiting
            waiting = []
            if then == "reopen":
                expected = visible(DurableState(ME.node_id, durable))
                assert visible(file.kill_and_copy(folder / str(number))) == expected
                file.reopen()
                assert visible(file.load()) == expected
            while then == "tidy" and not file.store.is_tidy:
                file.store.tidy()
        file.store.commit(waiting)
        durable += waiting
        reduced = DurableState(ME.node_id, durable)
        assert visible(file.load()) == visible(reduced)
        for record in durable:
            memory.apply(record)
        asked = [reduced.compacted, reduced.final.key, OrderKey(0, 0, b""), *keys_of(durable)[-20:]]
        with contextlib.closing(connect_reader(file.path)) as db:
            for after in asked:
                for bytes_max in (limit, 10**9):
                    expected_items = reduced.read_archive(after, bytes_max)
                    assert read_archive(db, after, bytes_max) == expected_items
                    assert memory.read_archive(after, bytes_max) == expected_items
        assert memory.snapshot == reduced.snapshot
        file.store.close()


def test_a_transaction_that_fails_changes_nothing_and_can_be_tried_again(tmp_path: Path) -> None:
    author = Author(random.Random(5))
    first = [record for _ in range(40) for record in author.write("append")]
    second = [record for step in Author.STEPS * 3 for record in author.write(step)]
    file = File(tmp_path / "journal")
    file.store.commit(first)
    expected = visible(DurableState(ME.node_id, first))

    class Breaks(list[Record]):
        def __iter__(self) -> Iterator[Record]:
            yield from second
            raise sqlite3.OperationalError("pulled the plug")

    with pytest.raises(sqlite3.OperationalError):
        file.store.commit(Breaks())
    assert visible(file.load()) == expected
    file.store.commit(second)
    assert visible(file.load()) == visible(DurableState(ME.node_id, first + second))
    file.store.close()
