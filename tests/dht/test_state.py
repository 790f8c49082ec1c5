"""What a node remembers: whatever became of the file, it is used, or refused in one sentence and left alone."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dhtex.dht import DhtNode, Item
from dhtex.dht.state import Saved, StateFile
from dhtex.dht.stores import Stored
from dhtex.errors import JournalCorrupt, JournalForeign, StorageError
from dhtex.identity import Identity

OWNER = Identity(bytes(31) + b"\x04")
ITEMS = [Item.immutable("x" * 300), Item.signed_by(OWNER, "signed", seq=3, salt=b"s")]
CONTACTS = [("127.0.0.1", 5), ("::1", 6)]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "grape.sqlite"
    with closing(StateFile.open(path)) as file:
        file.load(b"n" * 20)
        file.save(CONTACTS, {item.key: Stored(item, 100.0, 50.0) for item in ITEMS}, 1_000_000_000.0)
    return path


def loaded(path: Path) -> Saved:
    with closing(StateFile.open(path)) as file:
        return file.load(bytes(20))


def test_what_was_saved_is_loaded(state: Path) -> None:
    saved = loaded(state)
    assert saved.node_id == b"n" * 20
    assert sorted(saved.contacts) == CONTACTS
    assert sorted(saved.items, key=lambda kept: kept[0].seq) == [(item, 1_000_000_100.0) for item in ITEMS]


def test_a_damaged_byte_is_refused_or_harmless(state: Path) -> None:
    source = random.Random(5)
    whole = state.read_bytes()
    written = [at for at, byte in enumerate(whole) if byte]
    refused = 0
    for at in source.sample(written, 150):
        damaged = bytearray(whole)
        damaged[at] = source.choice([0, 0xFF, damaged[at] ^ 1 << source.randrange(8)])
        state.write_bytes(damaged)
        try:
            saved = loaded(state)
        except StorageError:
            refused += 1
            continue
        for item, _ in saved.items:
            assert item in ITEMS
    assert refused


@pytest.mark.parametrize(
    ("change", "contacts", "items"),
    [
        ("UPDATE contact SET address = 10000000000000 WHERE length(address) = 6", 1, 2),
        ("UPDATE contact SET address = 'text' WHERE length(address) = 6", 1, 2),
        ("UPDATE item SET k = '' WHERE k = x''", 2, 1),
        ("UPDATE item SET k = 0 WHERE k = x''", 2, 1),
        ("UPDATE item SET seq = 'text' WHERE seq = 0", 2, 1),
        ("UPDATE item SET end_wall_s = 'text' WHERE seq = 0", 2, 1),
        ("UPDATE item SET v = x'69' WHERE seq = 0", 2, 1),
        ("UPDATE item SET v = '4:abcd' WHERE seq = 0", 2, 1),
        ("UPDATE item SET v = x'343A61626364' WHERE seq = 0", 2, 1),  # proper, but not what its key names
        ("UPDATE item SET sig = zeroblob(64) WHERE seq = 3", 2, 1),
    ],
)
def test_a_row_that_is_none_is_left_out(state: Path, change: str, contacts: int, items: int) -> None:
    with closing(sqlite3.connect(state)) as database:
        database.execute(change)
        database.commit()
    saved = loaded(state)
    assert (len(saved.contacts), len(saved.items)) == (contacts, items)


@pytest.mark.parametrize("content", [b"some text of somebody\n" * 100, b"SQLite format 3\0" + bytes(500)])
def test_a_file_that_is_something_else_is_left_as_it_was(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "grape.sqlite"
    path.write_bytes(content)
    with pytest.raises(JournalCorrupt, match="move it away"):
        StateFile.open(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("foreign", ["CREATE TABLE theirs (x)", "PRAGMA application_id = 7"])
def test_another_database_is_left_as_it_was(tmp_path: Path, foreign: str) -> None:
    path = tmp_path / "grape.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute(foreign)
        database.commit()
    before = path.read_bytes()
    with pytest.raises(JournalForeign, match="another folder"):
        StateFile.open(path)
    assert path.read_bytes() == before


def test_what_nobody_took_up_again_leaves_the_file(state: Path) -> None:
    """Items whose time ended while the node was away, and rows that are none."""
    with closing(StateFile.open(state)) as file:
        file.load(bytes(20))
        file.save([], {ITEMS[1].key: Stored(ITEMS[1], 100.0, 50.0)}, 1_000_000_000.0)
    with closing(sqlite3.connect(state)) as database:
        assert database.execute("SELECT key FROM item").fetchall() == [(ITEMS[1].key,)]


async def test_a_node_starts_with_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "grape.sqlite"
    path.touch()
    async with DhtNode(state=path) as node:
        node_id = node.node_id
    async with DhtNode(state=path) as node:
        assert node.node_id == node_id
