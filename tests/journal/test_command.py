"""`dhtex journal`, as it is called."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dhtex.cli import main
from dhtex.cli.journal import market_of
from dhtex.errors import JournalForeign
from dhtex.matching import Limits, MarketSpec, Phase
from journal.market import MarketJournal, ordinary


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["journal", *arguments])


def test_inspect_shows_whose_it_is_and_how_far_it_has_come(tmp_path: Path) -> None:
    journal = ordinary(tmp_path / "journal")
    result = run("inspect", str(tmp_path / "journal"))
    assert result.exit_code == 0
    for shown in (
        "BTC-USD",
        "2, 3 members",
        f"{journal.ledger.position:,} final",
        journal.ledger.digest.hex()[:20],
    ):
        assert shown in result.stdout
    assert "none in this view" not in result.stdout
    fields = json.loads(run("inspect", "--json", str(tmp_path / "journal")).stdout)
    assert fields["position"] == journal.ledger.position
    assert len(fields["members"]) == 3


def test_inspect_says_that_nothing_is_final_in_a_new_view(tmp_path: Path) -> None:
    journal = MarketJournal(tmp_path / "journal")
    journal.trade(3)
    journal.next_view()
    journal.close()
    assert re.search("last final .* none in this view yet", run("inspect", str(tmp_path / "journal")).stdout)


def test_verify_ends_with_0_or_with_1(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = ordinary(path)
    result = run("verify", str(path))
    assert (result.exit_code, result.stdout.strip().endswith(": sound")) == (0, True), result.output
    assert f"digest {journal.ledger.digest.hex()[:16]}" in result.stdout
    with sqlite3.connect(path) as db:
        db.execute("UPDATE state SET final_digest = zeroblob(32)")
    db.close()
    result = run("verify", str(path))
    assert result.exit_code == 1
    assert "wrong: replaying comes to" in result.stdout
    assert "restore it from a backup" in result.stderr
    assert run("verify", "--no-replay", str(path)).exit_code == 0
    assert json.loads(run("verify", "--json", str(path)).stdout)["sound"] is False


def test_export_writes_every_final_command_in_order(tmp_path: Path) -> None:
    journal = ordinary(tmp_path / "journal")
    result = run("export", str(tmp_path / "journal"))
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["position"] for line in lines] == list(range(1, journal.ledger.position + 1))
    placed = next(line for line in lines if line["command"]["type"] == "place")
    assert placed["command"]["price"].count(".") == 1
    assert {line["command"]["type"] for line in lines} == {"place", "cancel"}
    target = tmp_path / "history.csv"
    assert run("export", "--format", "csv", "-o", str(target), str(tmp_path / "journal")).exit_code == 0
    rows = list(csv.DictReader(io.StringIO(target.read_text())))
    assert [int(row["position"]) for row in rows] == [line["position"] for line in lines]
    assert [row["price"] for row in rows] == [line["command"].get("price", "") for line in lines]


@pytest.mark.parametrize("name", ["inspect", "verify", "export"])
def test_what_cannot_be_read_is_one_sentence_and_1(tmp_path: Path, name: str) -> None:
    (tmp_path / "journal").write_text("not a journal " * 50)
    for path in ("journal", "nowhere"):
        result = run(name, str(tmp_path / path))
        assert result.exit_code == 1
        assert result.stderr.startswith("dhtex: ")
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("ending", ["", "-wal", "-shm", ".lock"])
def test_export_does_not_write_over_the_journal_it_reads(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "journal"
    ordinary(path)
    before = path.read_bytes()
    (tmp_path / "elsewhere").symlink_to(tmp_path)
    for target in (tmp_path, tmp_path / "elsewhere"):
        result = run("export", "-o", str(target / f"journal{ending}"), str(path))
        assert result.exit_code == 2
        assert "give --output another name" in result.stderr
    assert path.read_bytes() == before
    assert {each.name for each in tmp_path.iterdir()} == {"journal", "elsewhere"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("name", ["inspect", "verify", "export"])
def test_no_room_for_the_answer_is_a_sentence(tmp_path: Path, name: str) -> None:
    ordinary(tmp_path / "journal")
    command = [sys.executable, "-m", "dhtex", "journal", name, str(tmp_path / "journal")]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60
        )
    assert done.returncode == 1
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("dhtex: ")
    assert "No space left on device" in sentence


@pytest.mark.parametrize("name", ["inspect", "verify", "export"])
def test_a_journal_out_of_reach_is_a_sentence(tmp_path: Path, name: str) -> None:
    result = run(name, str(tmp_path / ("x" * 300)))  # a folder that may not be entered ends the same way
    assert result.exit_code == 1
    assert "cannot read the journal" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_market_is_known_again_by_its_bytes() -> None:
    spec = MarketSpec(
        "ETH/EUR",
        "0.05",
        "0.001",
        limits=Limits(orders=7),
        opening=Phase.AUCTION,
        operator=b"o" * 20,
        static_band_bps=5,
    )
    assert market_of(spec.canonical()) == spec
    for bytes_of_nothing in (b"", b"\xc0", b"\x93\x01\x02\x03", spec.canonical()[:-1]):
        with pytest.raises(JournalForeign):
            market_of(bytes_of_nothing)
