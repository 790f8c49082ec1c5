"""SIGKILL at any instant: what was reported durable is there, and what is there is a prefix of what was written."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dhtex.journal.load import load_state
from dhtex.journal.schema import connect_reader, one_moment
from dhtex.replication.records import DurableState, Record
from journal.author import ME, tickets
from journal.compare import visible
from journal.support import Recorder, open_journal, state_of

TESTS = Path(__file__).parents[1]
TICKETS = 60
"""Most that one child writes."""


class NeverKilled:
    """The same records, reduced in a process that lives."""

    def __init__(self, written: Iterator[list[Record]]) -> None:
        self._written = written
        self._state = DurableState(ME.node_id)
        self._reached = 0

    def at(self, ticket: int) -> DurableState:
        """The state after *ticket*, which may not go back."""
        for records in itertools.islice(self._written, ticket - self._reached):
            for record in records:
                self._state.apply(record)
        self._reached = ticket
        return self._state


def run_and_kill(path: Path, seed: int, durability: str, lines: int) -> int:
    """Start a child, kill it after *lines* of what it says; gives the last ticket it reported durable."""
    command = [sys.executable, "-m", "journal.child", "kill", str(path), str(seed), str(TICKETS), durability]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as child:
        try:
            assert child.stdout is not None
            said = [child.stdout.readline() for _ in range(lines)]
        finally:
            child.kill()
        said += child.stdout  # what it said before it died, and nobody had read
    return max(int(line.split()[-1]) for line in said if line.endswith(b"\n"))


def hunt(folder: Path, *, kills: int, seed: int) -> None:
    source = random.Random(seed)
    reference = NeverKilled(tickets(seed, kills * TICKETS))
    path = folder / "journal"
    reached = 0
    for kill in range(kills):
        acknowledged = run_and_kill(path, seed, source.choice(("fsync", "os")), source.randrange(1, TICKETS))
        found = asyncio.run(state_of(path)) if kill % 2 else _peek(path)
        assert found.ceiling >= max(acknowledged, reached), f"lost tickets: seed {seed}, kill {kill}"
        assert visible(found) == visible(reference.at(found.ceiling)), f"seed {seed}, kill {kill}"
        reached = found.ceiling
    assert reached > kills, "the children got nowhere"


def _peek(path: Path) -> DurableState:
    """Look without repairing anything, so that the next child finds what the last one left."""
    with contextlib.closing(connect_reader(path)) as db, one_moment(db):
        return load_state(db, ME.node_id)


@pytest.mark.e2e
def test_twenty_kills_lose_nothing_that_was_reported(tmp_path: Path) -> None:
    hunt(tmp_path, kills=20, seed=1)


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_three_hundred_kills_lose_nothing_that_was_reported(tmp_path: Path) -> None:
    hunt(tmp_path, kills=300, seed=random.SystemRandom().getrandbits(32))


async def test_a_log_torn_anywhere_gives_a_prefix(tmp_path: Path) -> None:
    """A power cut leaves the write-ahead log cut off, or with garbage at its end."""
    written = list(tickets(seed=9, count=60))
    async with open_journal(tmp_path / "journal") as journal:
        recorder = Recorder(journal)
        for records in written:
            await recorder.until_durable(recorder.write(records))
        data, log = ((tmp_path / name).read_bytes() for name in ("journal", "journal-wal"))
    source = random.Random(10)
    reached = set()
    for at in sorted(source.sample(range(len(log)), 60)):
        folder = tmp_path / str(at)
        folder.mkdir()
        (folder / "journal").write_bytes(data)
        torn = log[:at] + source.choice((b"", source.randbytes(min(5000, len(log) - at))))
        (folder / "journal-wal").write_bytes(torn)
        state = await state_of(folder / "journal")
        records_of_prefix = [record for records in written[: state.ceiling] for record in records]
        assert visible(state) == visible(DurableState(ME.node_id, records_of_prefix))
        reached.add(state.ceiling)
    assert len(reached) > 20
