"""What is not this peer's sound journal is refused with a sentence, and left as it was."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dhtex.errors import JournalCorrupt, JournalForeign, JournalLocked, StorageError
from dhtex.journal import Journal, inspect
from dhtex.replication.records import Ceiling
from journal.author import GROUP, ME, tickets
from journal.market import MarketJournal
from journal.support import Recorder, open_journal, state_of


async def filled(path: Path, count: int = 60) -> None:
    """A journal of some pages."""
    async with open_journal(path) as journal:
        recorder = Recorder(journal)
        for records in tickets(seed=2, count=count):
            ticket = recorder.write(records)
        await recorder.until_durable(ticket)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the lock."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}


def not_sqlite(path: Path) -> None:
    path.write_bytes(b"once upon a time " * 1000)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def other_database(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE shopping (item TEXT)")
    db.close()


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_to_a_stump(path: Path) -> None:
    os.truncate(path, 50)


def overwritten(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = random.Random(1).randbytes(len(data) - 4096)
    path.write_bytes(data)


def without_its_state(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM state")
    db.close()


def without_a_table(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE entries")
    db.close()


def with_a_broken_entry(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("UPDATE entries SET raw = x'00'")
    db.close()


def with_a_broken_view(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("UPDATE views SET record = x'c0'")
    db.close()


def with_a_broken_snapshot(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("UPDATE snapshot_pieces SET data = x'93'")
    db.close()


DAMAGES = [
    not_sqlite,
    empty,
    other_database,
    truncated,
    cut_to_a_stump,
    overwritten,
    without_its_state,
    without_a_table,
    with_a_broken_entry,
    with_a_broken_view,
    with_a_broken_snapshot,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
async def test_a_damaged_journal_is_refused_and_kept(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "journal"
    await filled(path)
    damage(path)
    before = contents(tmp_path)
    for _ in range(2):
        with pytest.raises(JournalCorrupt, match=r"restore it from a backup|move it away"):
            open_journal(path)
        assert contents(tmp_path) == before


async def test_flipped_bits_are_refused_or_harmless_and_never_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    await filled(path)
    sound = path.read_bytes()
    source = random.Random(4)
    for _ in range(60):
        data = bytearray(sound)
        for _ in range(source.randrange(1, 30)):
            data[source.randrange(len(data))] ^= 1 << source.randrange(8)
        path.write_bytes(data)
        before = contents(tmp_path)
        try:
            journal = open_journal(path)
        except StorageError:
            assert contents(tmp_path) == before
        else:
            await journal.close()


async def test_another_identity_another_market_another_format_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    await filled(path)
    before = contents(tmp_path)
    with pytest.raises(JournalForeign, match="belongs to peer"):
        Journal.open(path, identity_node_id=b"x" * 20, group_id=GROUP)
    with pytest.raises(JournalForeign, match="another market"):
        Journal.open(path, identity_node_id=ME.node_id, group_id=b"x" * 20)
    assert contents(tmp_path) == before
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    before = contents(tmp_path)
    with pytest.raises(JournalForeign, match="written by newer dhtex"):
        open_journal(path)
    assert contents(tmp_path) == before


async def test_a_second_opener_is_told_who_has_it(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with open_journal(path):
        with pytest.raises(JournalLocked, match=f"process {os.getpid()}"):
            open_journal(path)
    async with open_journal(path):
        pass


@pytest.mark.e2e
def test_a_process_that_is_killed_holds_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    program = f"""
import sys, time
from pathlib import Path
from dhtex.journal import Journal
journal = Journal.open(Path({str(path)!r}), identity_node_id={ME.node_id!r}, group_id={GROUP!r})
print("open", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"open\n"
        with pytest.raises(JournalLocked, match=f"process {child.pid}"):
            open_journal(path)
        child.send_signal(signal.SIGKILL)
    asyncio.run(state_of(path))


async def test_a_log_without_its_journal_is_not_played_into_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with open_journal(path) as journal:
        recorder = Recorder(journal)
        await recorder.until_durable(recorder.write([Ceiling(1)]))
        log = (tmp_path / "journal-wal").read_bytes()
    path.unlink()
    (tmp_path / "journal-wal").write_bytes(log)
    with pytest.raises(JournalCorrupt, match="journal-wal is there"):
        open_journal(path)
    assert contents(tmp_path) == {"journal-wal": log}


async def test_what_a_crash_left_of_a_journal_being_made_is_no_obstacle(tmp_path: Path) -> None:
    for name in ("journal.new", "journal.new-wal", "journal.new-shm"):
        (tmp_path / name).write_bytes(b"half")
    assert (await state_of(tmp_path / "journal")).ceiling == 0
    assert set(contents(tmp_path)) == {"journal"}


def test_a_folder_that_cannot_be_made_or_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot make the folder"):
        open_journal(tmp_path / "file" / "journal")
    with pytest.raises(StorageError, match="cannot"):
        open_journal(Path("/proc/journal"))


not_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)


@not_root
async def test_a_journal_that_may_not_be_written_is_refused_before_anything_is_promised(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal"
    await filled(path)
    path.chmod(0o400)
    before = contents(tmp_path)
    with pytest.raises(StorageError, match="cannot write the journal"):
        open_journal(path)
    assert contents(tmp_path) == before, "files that nobody may write would be in the way later"
    path.chmod(0o600)
    assert (await state_of(path)).ceiling


@not_root
async def test_a_log_that_may_not_be_written_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    await filled(path)
    for name in ("journal-wal", "journal-shm"):
        (tmp_path / name).touch(0o400)
    with pytest.raises(StorageError, match="the files beside it"):
        open_journal(path)


@not_root
def test_a_log_in_a_folder_that_may_not_be_written_can_be_read_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    there = tmp_path / "there" / "journal"
    journal = MarketJournal(tmp_path / "journal")
    journal.trade(5)
    for name in ("journal", "journal-wal"):
        shutil.copy(tmp_path / name, there.with_name(name))
    journal.close()
    there.parent.chmod(0o500)
    with pytest.raises(StorageError, match="copy journal and journal-wal to one"):
        inspect(there)
    there.parent.chmod(0o700)
    assert inspect(there).position == journal.ledger.position


@not_root
def test_a_folder_that_may_not_be_written_is_a_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="make it writable"):
        open_journal(tmp_path / "journal")
    tmp_path.chmod(0o700)
