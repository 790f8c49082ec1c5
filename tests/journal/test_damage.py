"""Whatever is wrong with a journal, each command and each start ends in an answer or in one sentence, and keeps it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner

from dhtex.cli import main
from dhtex.errors import StorageError
from dhtex.exchange import Exchange
from dhtex.journal import Journal
from dhtex.journal.schema import connect_writer
from dhtex.journal.store import Store
from dhtex.replication.config import ReplicaConfig
from dhtex.replication.records import Appended, Incarnation, Pending
from dhtex.replication.replica import Replica
from dhtex.replication.values import Now
from journal.author import IDENTITIES, ME, START
from journal.market import SPEC, ordinary

PAGE = 4096
COMMANDS = (
    ("inspect",),
    ("inspect", "--json"),
    ("verify",),
    ("export",),
    ("export", "--format", "csv"),
)
COLUMNS = {
    "journal": "node_id group_id market",
    "state": "incarnation admitted ceiling lineage view vote final_view final_timestamp final_origin final_position "
    "final_digest compacted_view compacted_timestamp compacted_origin compacted_chains",
    "views": "number record",
    "entries": "view origin seq timestamp first_n count raw",
    "pending": "first_n count commands",
    "snapshots": "id view timestamp origin position digest size",
    "snapshot_pieces": "snapshot piece data",
}
VALUES = (
    None, -1, 0, 1, 2, 3, 10**6, 2**40, 2**63 - 1, -(2**63), 1.5, float("inf"),
    "", "x", "\x1b[31m", b"", b"\0", b"\0" * 20, b"\0" * 32, b"\xc0",
)  # fmt: skip


def whole(path: Path, *, compacted: bool) -> bytes:
    """A member's journal with everything in it: history, snapshots, entries that are not final, pending commands."""
    journal = ordinary(path, compacted=compacted)
    store = Store(connect_writer(path, "os"), ME.node_id)
    tail = []
    for place in range(9):
        entry = journal.entry(IDENTITIES[place % 3], 2)
        journal.ledger.seqs[entry.origin] = entry.seq
        tail.append(Appended(entry))
    store.commit([Incarnation(7, admitted=True), *tail, Pending(5000, 2, b"\x92\xc0\xc0")])
    store.close()
    return path.read_bytes()


def damage_bytes(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data))
    page = slice(at - at % PAGE, at - at % PAGE + PAGE)
    match rng.randrange(6):
        case 0:
            data[at] ^= 1 << rng.randrange(8)
        case 1:
            for _ in range(rng.randrange(2, 40)):
                data[rng.randrange(len(data))] = rng.randrange(256)
        case 2:
            data[page] = bytes(PAGE)
        case 3:
            data[page] = rng.randbytes(PAGE)
        case 4:
            del data[at:]
        case _:
            data[rng.randrange(100)] = rng.randrange(256)
    path.write_bytes(data)


def damage_rows(path: Path, rng: random.Random) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        for _ in range(rng.randrange(1, 3)):
            table = rng.choice(list(COLUMNS))
            column = rng.choice(COLUMNS[table].split())
            one = f"WHERE rowid IN (SELECT rowid FROM {table} LIMIT 1 OFFSET ?)"
            at = rng.randrange(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] or 1)
            with contextlib.suppress(sqlite3.Error):  # some tables refuse some values
                if rng.random() < 0.1:
                    db.execute(f"DELETE FROM {table} {one}", (at,))
                else:
                    db.execute(f"UPDATE {table} SET {column} = ? {one}", (rng.choice(VALUES), at))
        db.commit()


def assert_answered(path: Path, command: tuple[str, ...], why: str) -> int:
    result = CliRunner().invoke(main, ["journal", *command, str(path)])
    assert result.exception is None or isinstance(result.exception, SystemExit), (why, result.exc_info)
    assert result.exit_code in (0, 1), why
    if result.exit_code:
        assert result.stderr.startswith("dhtex: "), why
        assert len(result.stderr.splitlines()) == 1, why
    return result.exit_code


def start(path: Path) -> None:
    """As a peer does.

    Raises:
        StorageError: it is refused.
    """
    journal = Journal.open(path, identity_node_id=ME.node_id, group_id=SPEC.group_id)
    try:
        now = Now(START + 10**9, 0)
        config = ReplicaConfig()
        rng = random.Random(1)
        Replica(
            SPEC.group_id,
            ME,
            Exchange(SPEC),
            config,
            rng,
            now,
            address="127.0.0.1:1",
            recovered=journal.state,
        )
    finally:
        asyncio.run(journal.close())


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("damage", [damage_bytes, damage_rows])
def test_any_damage_is_an_answer_or_a_sentence_and_the_file_is_kept(
    tmp_path: Path, damage: object, *, compacted: bool
) -> None:
    assert callable(damage)
    good = whole(tmp_path / "good", compacted=compacted)
    start(tmp_path / "good")
    codes, refusals = set(), list[str]()
    for seed in range(60):
        folder = tmp_path / str(seed)
        folder.mkdir()
        path = folder / "journal"
        path.write_bytes(good)
        damage(path, random.Random(seed))
        before = path.read_bytes()
        codes |= {assert_answered(path, command, f"seed {seed}") for command in COMMANDS}
        assert path.read_bytes() == before, f"seed {seed}"
        try:
            start(path)
        except StorageError as error:
            refusals.append(str(error))
            assert path.read_bytes() == before, f"seed {seed}"
    assert codes == {0, 1}
    assert len(refusals) > 10
    assert not [sentence for sentence in refusals if len(sentence.splitlines()) > 1]


def test_a_missing_entry_of_those_not_final_yet_is_damage(tmp_path: Path) -> None:
    """Its place would be taken by the next one, and served to others."""
    path = tmp_path / "journal"
    whole(path, compacted=False)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM entries WHERE id = (SELECT max(id) - 4 FROM entries)")
        db.commit()
    with pytest.raises(StorageError, match="entries are missing"):
        start(path)
