"""A full disk delays and loses nothing; compaction gives room back."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dhtex.journal.schema import BUSY_MS, connect_reader, connect_writer, create, one_moment
from dhtex.journal.store import READERS_MS, SWEEP_ROWS, Store
from dhtex.replication.records import Appended, Compacted, FinalMark, Installed, Record, SnapshotTaken
from dhtex.replication.values import NO_DIGEST, Entry, Snapshot
from journal.author import IDENTITIES, ME, START, entry_of, founding_view
from journal.test_kill import TESTS
from journal.test_reduction import OWNER

VIEW = founding_view()


def run_child(command: list[str]) -> list[str]:
    """Its three lines: full, room, found."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def check(lines: list[str]) -> None:
    full, room, found = lines
    assert full.startswith("full ")
    assert "no room to write the journal" in full
    assert "nothing lost" in full
    assert int(room.split()[1]) >= 1
    assert room.endswith("backlog 0 failed None")
    _, ceiling, _, written, _, count = found.replace(",", "").split()
    assert int(ceiling) == int(written) == int(count) > 20


@pytest.mark.e2e
@pytest.mark.skipif(sys.platform == "win32", reason="no limit on file sizes to set")
def test_a_limit_on_file_sizes_is_waited_out(tmp_path: Path) -> None:
    check(run_child([sys.executable, "-m", "journal.child", "limit", str(tmp_path / "journal")]))


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    probe = ["unshare", "--mount", "--map-root-user", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def in_small_file_system(tmp_path: Path, size: str, script: str) -> list[str]:
    """What *script* says with a file system of *size* in the folder $1; $2 is Python."""
    if not can_mount():
        pytest.skip("no file system may be mounted in a namespace here")
    script = f'mount -t tmpfs -o size={size} none "$1" && {script}'
    namespace = ["unshare", "--mount", "--map-root-user"]
    return run_child([*namespace, "sh", "-c", script, "sh", str(tmp_path), sys.executable])


@pytest.mark.e2e
def test_a_full_file_system_is_waited_out(tmp_path: Path) -> None:
    script = (
        'head -c 4000000 /dev/zero > "$1/ballast" && '
        'exec "$2" -m journal.child full "$1/journal" "$1/ballast"'
    )
    check(in_small_file_system(tmp_path, "6m", script))


@pytest.mark.e2e
def test_a_start_on_a_full_file_system_says_so(tmp_path: Path) -> None:
    script = 'exec "$2" -m journal.child start "$1/journal" "$1/ballast"'
    refused, opened = in_small_file_system(tmp_path, "300k", script)
    assert refused.startswith("no room to write the journal")
    assert "(0 KiB are free); make room, and start again" in refused
    assert opened == "opened"


class Trading:
    """Days of entries, snapshots and compaction as a replica orders them, straight into a store."""

    INTERVAL = 200  # entries between snapshots

    def __init__(self, path: Path) -> None:
        self.path = path
        create(path, OWNER)
        self.store = Store(connect_writer(path, "os"), ME.node_id)
        self.store.commit([Installed(VIEW)])
        self.seq = 0
        self.position = 0
        self.slices = 0
        self.snapshots: list[Snapshot] = []

    def interval(self, entry_bytes: int) -> None:
        """One snapshot further."""
        for _ in range(self.INTERVAL // 20):
            entries = [self._entry(entry_bytes) for _ in range(20)]
            records: list[Record] = [Appended(entry) for entry in entries]
            self.position += 20 * entries[0].count
            self.store.commit([*records, FinalMark(entries[-1].key, self.position, NO_DIGEST)])
            self.store.tidy()
        self._snapshot(entries[-1])
        while not self.store.is_tidy:
            self.store.tidy()
            self.slices += 1

    def _entry(self, size: int) -> Entry:
        self.seq += 1
        commands = b"\xdc\x00\x14\xc6" + size.to_bytes(4, "big") + os.urandom(size) + b"\xc0" * 19
        return entry_of(
            IDENTITIES[self.seq % 3],
            view=1,
            seq=self.seq,
            timestamp=START + self.seq,
            first_n=20 * self.seq,
            count=20,
            commands=commands,
        )

    def _snapshot(self, last: Entry) -> None:
        snapshot = Snapshot(
            lineage=VIEW.id,
            view=VIEW,
            key=last.key,
            position=self.position,
            digest=NO_DIGEST,
            seqs=(self.seq,) * 3,
            last_n=(),
            machine=os.urandom(300_000),
        )
        self.snapshots.append(snapshot)
        self.store.commit([SnapshotTaken(snapshot), Compacted(self.snapshots[-2:][0].key)])

    def size(self) -> int:
        """Bytes on disk."""
        return sum(
            (self.path.parent / name).stat().st_size
            for name in ("journal", "journal-wal")
            if (self.path.parent / name).exists()
        )


def test_a_month_of_trading_does_not_grow_without_bound(tmp_path: Path) -> None:
    trading = Trading(tmp_path / "journal")
    for _ in range(10):
        trading.interval(entry_bytes=2000)
    early = trading.size()
    for _ in range(20):
        trading.interval(entry_bytes=2000)
    assert trading.position == 30 * 200 * 20
    assert trading.size() <= early * 1.1
    trading.store.close()


def test_a_reader_that_stays_holds_up_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `dhtex journal export | less` does."""
    monkeypatch.setattr("dhtex.journal.store.WAL_PAGES_MAX", 1024)
    trading = Trading(tmp_path / "journal")
    said: list[str] = []
    trading.store._db.set_trace_callback(said.append)
    trading.interval(entry_bytes=20_000)
    with contextlib.closing(connect_reader(trading.path)) as reader, one_moment(reader):
        (seen,) = reader.execute("SELECT count(*) FROM entries").fetchone()
        trading.interval(entry_bytes=20_000)
        trading.store.checkpoint()
        assert reader.execute("SELECT count(*) FROM entries").fetchone() == (seen,)
        at = said.index("PRAGMA wal_checkpoint(RESTART)")
        assert said[at - 1] == f"PRAGMA busy_timeout = {READERS_MS}"
        assert said[at + 1] == f"PRAGMA busy_timeout = {BUSY_MS}"
    trading.interval(entry_bytes=20_000)
    trading.store.checkpoint()
    trading.store.commit([FinalMark(VIEW.key, trading.position, NO_DIGEST)])
    trading.store.close()
    assert not (tmp_path / "journal-wal").exists()


def test_after_a_busy_day_the_file_gets_small_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dhtex.journal.store.FREE_PAGES_KEPT", 16)
    trading = Trading(tmp_path / "journal")
    trading.interval(entry_bytes=30_000)
    assert trading.size() > 6_000_000
    for _ in range(3):
        trading.interval(entry_bytes=200)
    trading.store.close()
    assert trading.path.stat().st_size < 1_500_000


def test_a_large_compaction_is_done_a_little_at_a_time(tmp_path: Path) -> None:
    trading = Trading(tmp_path / "journal")
    trading.INTERVAL = 3000
    trading.interval(entry_bytes=100)
    assert trading.slices > 3000 // SWEEP_ROWS
    trading.store.close()
