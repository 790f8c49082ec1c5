"""A sound journal verifies; whatever is altered in it is found."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from dhtex.errors import JournalCorrupt, StorageError
from dhtex.exchange import Exchange
from dhtex.identity import Identity
from dhtex.journal import Verification, final_entries, inspect, verify
from dhtex.replication.values import Snapshot, View
from journal.market import SPEC, MarketJournal, ordinary


def check(path: Path) -> Verification:
    return verify(path, Identity(bytes(32)), lambda market: Exchange(SPEC))


def alter(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as db:
        for statement in statements:
            assert db.execute(statement).rowcount, f"changed nothing: {statement}"
    db.close()


@pytest.mark.parametrize("compacted", [False, True])
def test_a_sound_journal_verifies_to_the_same_digest(tmp_path: Path, *, compacted: bool) -> None:
    journal = ordinary(tmp_path / "journal", compacted=compacted)
    seen: list[tuple[int, int]] = []
    result = verify(
        tmp_path / "journal",
        Identity(bytes(32)),
        lambda market: Exchange(SPEC),
        lambda done, total: seen.append((done, total)),
    )
    assert result.findings == ()
    assert (result.position, result.digest) == (journal.ledger.position, journal.ledger.digest)
    assert result.entries == (60 if compacted else 100)
    assert (result.start > 0) is compacted
    assert result.replayed == result.position - result.start
    assert seen[-1] == (result.entries, result.entries)


def test_without_a_machine_all_but_the_digest_is_checked(tmp_path: Path) -> None:
    journal = ordinary(tmp_path / "journal")
    result = verify(tmp_path / "journal", Identity(bytes(32)))
    assert result.findings == ()
    assert (result.entries, result.views, result.replayed) == (100, 2, 0)
    assert result.position == journal.ledger.position


FLIPPED = "CAST(substr(raw, 1, length(raw) - 1) || x'7f' AS BLOB)"


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        (f"UPDATE entries SET raw = {FLIPPED} WHERE id = 50", "does not carry the signature"),
        ("UPDATE entries SET raw = x'00' WHERE id = 50", "does not decode"),
        (
            "UPDATE entries SET first_n = first_n + 1 WHERE id = 50",
            "filed under numbers that are not its own",
        ),
        ("DELETE FROM entries WHERE id = 50", "entries are missing or out of order"),
        ("DELETE FROM entries WHERE id = 100", "replaying comes to position"),
        ("DELETE FROM entries WHERE id IN (58, 59, 60)", "ends at entry"),
        ("UPDATE state SET final_digest = zeroblob(32)", "replaying comes to"),
        ("UPDATE state SET final_position = final_position + 1", "replaying comes to"),
        ("UPDATE state SET lineage = zeroblob(20)", "not the one the group descends from"),
        ("UPDATE journal SET group_id = zeroblob(20)", "does not carry the signature"),
        ("UPDATE journal SET market = x'91c0'", "not the one that its group is named after"),
        ("DELETE FROM views WHERE number = 1", "of nobody who was a member"),
        ("UPDATE views SET record = x'c0' WHERE number = 1", "view 1 does not decode"),
        ("UPDATE state SET view = 1", "is later than the installed one"),
        ("DELETE FROM snapshot_pieces WHERE snapshot = 2", "cannot be replayed"),
    ],
)
def test_what_is_altered_is_found(tmp_path: Path, statement: str, finding: str) -> None:
    ordinary(tmp_path / "journal")
    alter(tmp_path / "journal", statement)
    result = check(tmp_path / "journal")
    assert any(finding in sentence for sentence in result.findings), result.findings


def test_a_snapshot_of_something_else_is_found(tmp_path: Path) -> None:
    ordinary(tmp_path / "journal")
    with sqlite3.connect(tmp_path / "journal") as db:
        (data,) = db.execute("SELECT data FROM snapshot_pieces WHERE snapshot = 2").fetchone()
        wrong = replace(Snapshot.from_bytes(data), machine=Exchange(SPEC).snapshot())
        db.execute("UPDATE snapshot_pieces SET data = ? WHERE snapshot = 2", (wrong.to_bytes(),))
    db.close()
    findings = check(tmp_path / "journal").findings
    assert any("is not what replaying comes to" in sentence for sentence in findings)


def test_a_view_that_does_not_follow_is_found(tmp_path: Path) -> None:
    journal = ordinary(tmp_path / "journal")
    view = journal.view
    stranger = View(view.number, b"z" * 20, view.members, view.floor, view.cut, view.proposer)
    with sqlite3.connect(tmp_path / "journal") as db:
        db.execute("UPDATE views SET record = ? WHERE number = 2", (stranger.to_bytes(),))
    db.close()
    assert any("does not follow" in sentence for sentence in check(tmp_path / "journal").findings)


def test_broken_pages_are_found(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    ordinary(path)
    data = bytearray(path.read_bytes())
    data[-20_000:] = bytes(20_000)
    path.write_bytes(data)
    try:
        findings = check(path).findings
    except JournalCorrupt as error:
        findings = (str(error),)
    assert findings


def test_the_summary_says_how_far_it_is(tmp_path: Path) -> None:
    journal = ordinary(tmp_path / "journal")
    summary = inspect(tmp_path / "journal")
    assert (summary.position, summary.digest) == (journal.ledger.position, journal.ledger.digest)
    assert summary.view == journal.view
    assert (summary.entries, summary.views, len(summary.snapshots)) == (100, 2, 2)
    assert summary.commands == summary.position
    assert summary.owner.market == SPEC.canonical()


def test_reading_does_not_disturb_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = MarketJournal(path)
    journal.trade(10)
    before = journal.ledger.position
    entries = final_entries(path)
    first = next(entries)
    journal.trade(10)  # after the first step: not seen
    assert first.position == 1
    assert sum(1 for _ in entries) == 9
    assert inspect(path).position > before
    assert check(path).findings == ()
    journal.close()


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no journal"):
        inspect(tmp_path / "nowhere")
    assert not list(tmp_path.iterdir())
    (tmp_path / "text").write_text("hello " * 100)
    with pytest.raises(JournalCorrupt):
        inspect(tmp_path / "text")
