"""The face of the journal: tickets, callbacks, reading while writing, closing."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dhtex.errors import JournalCorrupt, NotRunning, UsageError
from dhtex.journal import Journal
from dhtex.journal.writer import BATCH_BYTES_MAX
from dhtex.replication.records import (
    KINDS,
    Appended,
    Ceiling,
    DurableState,
    FinalMark,
    Installed,
    Record,
    SnapshotTaken,
)
from dhtex.replication.values import NO_DIGEST, ORIGIN_OF_HISTORY, Entry, Snapshot, View
from journal.author import GROUP, IDENTITIES, ME, START, Author, entry_of, founding_view, tickets
from journal.compare import visible
from journal.support import Recorder, open_journal, state_of


def entries(count: int, *, first_seq: int = 1, size: int = 0) -> list[Entry]:
    return [
        entry_of(
            ME,
            view=1,
            seq=seq,
            timestamp=START + seq,
            first_n=seq,
            commands=b"\x91\xc6" + size.to_bytes(4, "big") + bytes(size),
        )
        for seq in range(first_seq, first_seq + count)
    ]


async def test_what_was_reported_is_there_when_opened_again(tmp_path: Path) -> None:
    written = list(tickets(seed=1, count=50))
    async with open_journal(tmp_path / "journal", "fsync") as journal:
        recorder = Recorder(journal)
        for records in written:
            recorder.write(records)
        await recorder.until_durable(50)
        assert journal.backlog == 0
    everything = [record for records in written for record in records]
    state = await state_of(tmp_path / "journal")
    assert visible(state) == visible(DurableState(ME.node_id, everything))


def modes_in(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def test_the_file_is_private_and_nothing_lies_beside_it_when_closed(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "journal") as journal:
        recorder = Recorder(journal)
        await recorder.until_durable(recorder.write([Ceiling(1)]))
        assert set(modes_in(tmp_path).values()) == {0o600}
    assert set(modes_in(tmp_path)) == {"journal", "journal.lock"}


async def test_tickets_that_gather_during_a_commit_are_reported_by_one_callback(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "journal", "fsync") as journal:
        recorder = Recorder(journal)
        for number in range(1000):
            recorder.write([Ceiling(number)])
        await recorder.until_durable(1000)
    assert len(recorder.persisted) < 500
    assert recorder.persisted == sorted(recorder.persisted)


async def test_closing_writes_and_reports_what_was_queued(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal")
    recorder = Recorder(journal)
    for number in range(1, 101):
        recorder.write([Ceiling(number)], urgent=number % 2 == 0)
    await journal.close()
    assert recorder.durable == 100
    assert (await state_of(tmp_path / "journal")).ceiling == 100


async def test_what_nobody_waits_for_becomes_durable_all_the_same(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "journal") as journal:
        recorder = Recorder(journal)
        await recorder.until_durable(recorder.write([Ceiling(1)], urgent=False))
        lazy = recorder.write([Ceiling(2)], urgent=False)
        await recorder.until_durable(recorder.write([Ceiling(3)]))
        assert recorder.durable > lazy


async def test_records_of_one_ticket_are_never_split_however_large(tmp_path: Path) -> None:
    size = 40_000
    count = BATCH_BYTES_MAX // size * 2
    async with open_journal(tmp_path / "journal") as journal:
        recorder = Recorder(journal)
        ticket = recorder.write([Installed(founding_view()), *map(Appended, entries(count, size=size))])
        assert journal.backlog > BATCH_BYTES_MAX
        await recorder.until_durable(ticket)
        assert journal.backlog == 0
    assert len((await state_of(tmp_path / "journal")).logs[ME.node_id]) == count


async def test_final_history_is_read_while_more_is_written(tmp_path: Path) -> None:
    view = founding_view()
    written = entries(600)
    async with open_journal(tmp_path / "journal") as journal:
        recorder = Recorder(journal)
        recorder.write([Installed(view)])
        for number, entry in enumerate(written, 1):
            ticket = recorder.write([Appended(entry), FinalMark(entry.key, number, NO_DIGEST)])
        found: list[View | Entry] = []
        after = ORIGIN_OF_HISTORY
        while len(found) < 601:
            items = await journal.read_archive(after, 2_000)
            assert items is not None
            found += items
            after = found[-1].key if found else after
        await recorder.until_durable(ticket)
    assert found == [view, *written]


async def test_a_limit_of_nothing_gives_one_item(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "journal") as journal:
        recorder = Recorder(journal)
        await recorder.until_durable(recorder.write([Installed(founding_view())]))
        assert await journal.read_archive(ORIGIN_OF_HISTORY, 0) == [founding_view()]


def snapshot_of(size: int, *, position: int = 10) -> Snapshot:
    view = founding_view()
    return Snapshot(
        lineage=view.id,
        view=view,
        key=entries(position)[-1].key,
        position=position,
        digest=NO_DIGEST,
        seqs=(0,) * len(view.members),
        last_n=(),
        machine=random.Random(1).randbytes(size),
    )


async def test_a_snapshot_of_several_pieces_comes_back_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dhtex.journal.store.PIECE_BYTES", 1000)
    snapshot = snapshot_of(12_345)
    async with open_journal(tmp_path / "journal") as journal:
        recorder = Recorder(journal)
        assert await journal.read_snapshot() is None
        await recorder.until_durable(recorder.write([SnapshotTaken(snapshot)]))
        assert await journal.read_snapshot() == snapshot
        assert await journal.read_archive(ORIGIN_OF_HISTORY, 1000) is None
        assert await journal.read_archive(snapshot.key, 1000) == []
    assert (await state_of(tmp_path / "journal")).snapshot == snapshot


async def test_an_ephemeral_journal_has_the_same_face_and_no_file() -> None:
    view, written = founding_view(), entries(20)
    async with Journal.ephemeral(identity_node_id=ME.node_id, group_id=GROUP) as journal:
        assert visible(journal.state) == visible(DurableState(ME.node_id))
        recorder = Recorder(journal)
        recorder.write([Installed(view), *map(Appended, written)])
        ticket = recorder.write([FinalMark(written[-1].key, 20, NO_DIGEST)])
        assert not recorder.persisted, "never from within persist"
        await recorder.until_durable(ticket)
        assert recorder.persisted == [ticket]
        ticket = recorder.write([Ceiling(1)])
        journal.settle()
        journal.settle()
        assert recorder.persisted == [2, ticket]
        assert await journal.read_archive(view.key, 10**6) == written
        assert await journal.read_snapshot() is None
        recorder.write([SnapshotTaken(snapshot_of(10, position=30))])
        assert await journal.read_snapshot() == snapshot_of(10, position=30)
    assert recorder.persisted == [2, 3, 4], "each once"


async def test_each_step_has_its_time(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal")
    with pytest.raises(NotRunning):
        journal.persist(1, [Ceiling(1)])
    recorder = Recorder(journal)
    with pytest.raises(NotRunning):
        _ = journal.state
    with pytest.raises(UsageError):
        Recorder(journal)
    await journal.close()
    await journal.close()
    for use in (lambda: recorder.write([Ceiling(1)]), lambda: Recorder(journal)):
        with pytest.raises(NotRunning):
            use()
    with pytest.raises(NotRunning):
        await journal.read_archive(ORIGIN_OF_HISTORY, 1)
    with pytest.raises(NotRunning):
        await journal.read_snapshot()


def test_arguments_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="either fsync or os"):
        open_journal(tmp_path / "journal", "sometimes")  # type: ignore[arg-type]  # that is the point
    with pytest.raises(UsageError, match="19 bytes"):
        Journal.open(tmp_path / "journal", identity_node_id=bytes(19), group_id=GROUP)
    assert not list(tmp_path.iterdir())


async def test_nothing_is_left_running(tmp_path: Path) -> None:
    before = threading.active_count()
    for _ in range(3):
        async with open_journal(tmp_path / "journal") as journal:
            recorder = Recorder(journal)
            await recorder.until_durable(recorder.write([Ceiling(1)]))
            await journal.read_snapshot()
    async with open_journal(tmp_path / "journal"):
        pass  # never attached
    assert threading.active_count() == before
    gc.collect()  # a connection left open would warn now


@pytest.mark.e2e
def test_a_program_that_forgets_to_close_ends_all_the_same_and_leaves_what_was_reported(
    tmp_path: Path,
) -> None:
    program = """
import asyncio, sys
from pathlib import Path
from dhtex.replication.records import Ceiling
from journal.support import Recorder, open_journal

async def forgetful():
    recorder = Recorder(open_journal(Path(sys.argv[1])))
    await recorder.until_durable(recorder.write([Ceiling(7)]))
    recorder.write([Ceiling(8)])

asyncio.run(forgetful())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "journal")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert asyncio.run(state_of(tmp_path / "journal")).ceiling in (7, 8)


async def test_an_error_that_is_not_a_full_disk_ends_it_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with open_journal(path) as journal:
        recorder = Recorder(journal)
        await recorder.until_durable(recorder.write([Ceiling(1)]))
        vandal = sqlite3.connect(path)
        vandal.execute("DROP TABLE state")
        vandal.commit()
        vandal.close()
        recorder.write([Ceiling(2)])
        while recorder.failed is None:
            await recorder.change()
        assert "see to the disk" in str(recorder.failed)
        recorder.write([Ceiling(3)])  # goes nowhere, and raises nothing
        assert journal.backlog == 0
        with pytest.raises(JournalCorrupt):
            await journal.read_archive(ORIGIN_OF_HISTORY, 1)
    assert recorder.durable == 1


async def test_a_program_that_keeps_the_file_locked_only_delays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dhtex.journal.schema.BUSY_MS", 1)
    async with open_journal(tmp_path / "journal") as journal:
        recorder = Recorder(journal)
        await recorder.until_durable(recorder.write([Ceiling(1)]))
        intruder = sqlite3.connect(tmp_path / "journal", isolation_level=None)
        intruder.execute("BEGIN IMMEDIATE")
        ticket = recorder.write([Ceiling(2)])
        await recorder.change()
        assert "another program" in recorder.full[0]
        intruder.execute("ROLLBACK")
        intruder.close()
        await recorder.until_durable(ticket)
        assert recorder.room == 1


async def test_a_million_commands_are_read_from_the_middle_by_an_index(tmp_path: Path) -> None:
    """Not by time: SQLite says how it would look them up."""
    async with open_journal(tmp_path / "journal"):
        pass
    from dhtex.journal.load import ENTRIES_BETWEEN  # noqa: PLC0415

    db = sqlite3.connect(tmp_path / "journal")
    plan = db.execute("EXPLAIN QUERY PLAN " + ENTRIES_BETWEEN, (1, 2, b"", 3, 4, b"")).fetchall()
    db.close()
    assert len(plan) == 1
    assert "USING INDEX entries_in_order ((view,timestamp,origin)>(?,?,?) AND" in plan[0][-1]


async def test_the_author_of_these_tests_gets_everywhere() -> None:
    """The other tests mean little if histories stay trivial."""
    author = Author(random.Random(3))
    kinds: set[type[Record]] = set()
    for _ in range(400):
        kinds |= {type(record) for record in author.write(author.random.choice(Author.STEPS))}
    assert len(kinds) == len(KINDS)
    assert author.state.view is not None
    assert author.state.view.number > 5
    assert len(IDENTITIES) == 4
