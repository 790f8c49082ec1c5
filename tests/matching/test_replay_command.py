"""`dhtex replay`: what it prints, and how it ends."""

from __future__ import annotations

import contextlib
import gzip
import os
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dhtex.cli import main
from dhtex.exchange import Exchange
from journal.market import SPEC, ordinary
from matching.support import SCENARIOS

ADD = '{"op":"add","id":1,"side":1,"px":100,"qty":5}\n'
TAKE = '{"op":"take","side":-1,"px":100,"qty":2,"expect":[[1,%d,100]]}\n'


def replay(file: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["replay", *options, str(file)])


def test_a_scenario() -> None:
    result = replay(SCENARIOS / "price-then-time.txt")
    assert result.exit_code == 0
    assert "    trade 5 @ 100 bob:1 dave:1\n" in result.output
    assert result.output.endswith("as expected: The best price trades first, then the oldest order.\n")


def test_a_scenario_that_does_not_hold(tmp_path: Path) -> None:
    file = tmp_path / "wrong.txt"
    file.write_text("alice buy 5 100\n= bids 100x6\n")
    result = replay(file, "--quiet")
    assert result.exit_code == 1
    assert "line 2: expected 'bids 100x6', there is 'bids 100x5'" in result.output


@pytest.mark.parametrize("packed", [True, False])
def test_a_recorded_day(tmp_path: Path, packed: bool) -> None:
    file = tmp_path / "some day.jsonl.gz"
    text = (ADD + TAKE % 2).encode()
    file.write_bytes(gzip.compress(text) if packed else text)
    result = replay(file)
    assert result.exit_code == 0
    assert "some-day, last trade at 100" in result.output
    assert "2 commands" in result.output
    assert "0 differ" in result.output


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress((ADD + TAKE % 2).encode()), "2 commands"),
        ((ADD + TAKE % 2).encode(), "2 commands"),
        (b"# A bid.\nalice buy 5 100\n", "as expected: A bid."),
    ],
    ids=["packed", "plain", "scenario"],
)
def test_what_comes_through_a_pipe(content: bytes, said: str) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(content)
    try:
        result = replay(Path(f"/dev/fd/{reading}"), "-q")
    finally:
        os.close(reading)
    assert result.exit_code == 0
    assert said in result.output


def test_a_recorded_day_that_differs(tmp_path: Path) -> None:
    file = tmp_path / "day.jsonl"
    file.write_text(ADD + TAKE % 3)
    result = replay(file, "-q")
    assert result.exit_code == 1
    assert "line 2: expected [[1, 3, 100]], found [[1, 2, 100]]" in result.output


@pytest.mark.parametrize("compacted", [False, True], ids=["from its beginning", "from a snapshot"])
def test_a_journal(tmp_path: Path, compacted: bool) -> None:
    file = tmp_path / "BTC-USD.journal"
    written = ordinary(file, compacted=compacted)
    result = replay(file)
    assert result.exit_code == 0
    assert "BTC-USD, last trade at" in result.output
    assert (
        f"of {60 if compacted else 100} entries up to position {written.ledger.position:,} in"
        in result.output
    )
    exchange = Exchange(SPEC)
    exchange.restore(written.ledger.take_snapshot(written.lineage).machine)
    assert (
        f"{len(exchange.engine):,} orders left, digest of the book {exchange.engine.digest().hex()[:16]}"
        in result.output
    )


def test_a_database_that_is_no_journal(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE t (x)")
    result = replay(file)
    assert result.exit_code == 1
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "has no commands"),
        (b"# only a title\n", "has no commands"),
        (b"alice dance\n", "line 1: 'alice dance' is not a command"),
        (b"alice\n", "'alice' is not a command: a command is such as: alice buy 5 100"),
        (b"at noon\n", "'at noon' is not a command: a command is such as: alice buy 5 100"),
        (b"\xff\xfe\x00", "neither a scenario"),
        (b'{"op":"dance"}\n', "line 1 is not one of a recorded day"),
        (gzip.compress(ADD.encode() * 50, mtime=0)[:40], "cannot be read to its end"),
        (gzip.compress(ADD.encode(), mtime=0)[:10] + b"\xff" * 20, "cannot be read to its end"),
    ],
)
def test_a_file_that_is_neither(tmp_path: Path, content: bytes, sentence: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    result = replay(file)
    assert result.exit_code == 2
    assert sentence in result.output
    assert "Traceback" not in result.output
