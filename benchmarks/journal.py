"""What durability costs: entries and commits a second, `fsync` against `os`, alone and with much in flight.

    python benchmarks/journal.py [--seconds 2] [--folder DIR]

The whole way is measured, from `Journal.persist` in an event loop to the callback there. "probe" is the disk itself:
appends of a page with fsync, nothing else. Figures of one run can be compared with each other, not with another day's.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from dhtex.identity import Identity
from dhtex.journal import Durability, Journal
from dhtex.replication.records import Appended, Installed, Record
from dhtex.replication.values import Entry, Member, make_view, signing_context

ME = Identity(bytes(32))
GROUP = bytes(20)
COMMANDS = 20
COMMAND_BYTES = 40
RAW = (
    b"\xdc"
    + COMMANDS.to_bytes(2, "big")
    + (b"\xc4" + bytes((COMMAND_BYTES - 2,)) + bytes(COMMAND_BYTES - 2)) * COMMANDS
)


@dataclass(frozen=True)
class Row:
    """One way to write.

    Attributes:
        in_flight: entries given to the journal and not yet reported.
        latency: seconds from `persist` to the callback, median and 99th percentile.
        cpu: processor seconds an entry.
    """

    durability: str
    in_flight: int
    entries_per_s: float
    commits_per_s: float
    latency_p50: float
    latency_p99: float
    cpu: float


def entries(count: int) -> list[Entry]:
    """Entries of 20 order-sized commands, all made before the clock runs."""
    first = Entry.sign(
        ME, signing_context(GROUP, GROUP), view=1, seq=1, timestamp=1, first_n=1, count=COMMANDS, commands=RAW
    )
    return [
        first._replace(
            seq=seq,
            timestamp=seq,
            first_n=COMMANDS * seq,
            raw=first.raw[:88] + seq.to_bytes(8, "big") * 3 + first.raw[112:],
        )
        for seq in range(1, count + 1)
    ]


async def measure(folder: Path, durability: Durability, in_flight: int, seconds: float) -> Row:
    """Keep *in_flight* entries on their way for *seconds*."""
    view = make_view(
        number=1, parent=GROUP, members=(Member(ME.public_key, "-", 1),), floor=0, cut=(), proposer=ME.node_id
    )
    prepared = entries(200_000)
    started: dict[int, float] = {}
    latencies: list[float] = []
    commits = 0
    done = asyncio.Event()
    room = asyncio.Semaphore(in_flight)
    durable = 0

    def on_persisted(ticket: int) -> None:
        nonlocal commits, durable
        now = time.perf_counter()
        commits += 1
        for number in range(durable + 1, ticket + 1):
            latencies.append(now - started.pop(number))
            room.release()
        durable = ticket
        done.set()

    def ignore(*_: object) -> None:
        raise SystemExit("the disk is full, or broken")

    async with Journal.open(
        folder / f"{durability}-{in_flight}",
        identity_node_id=ME.node_id,
        group_id=GROUP,
        durability=durability,
    ) as journal:
        journal.attach(on_persisted=on_persisted, on_full=ignore, on_room=ignore, on_failed=ignore)
        records: list[Record] = [Installed(view)]
        ticket = 0
        processor = time.process_time()
        begin = time.perf_counter()
        while time.perf_counter() - begin < seconds and ticket < len(prepared):
            await room.acquire()
            ticket += 1
            started[ticket] = time.perf_counter()
            journal.persist(ticket, [*records, Appended(prepared[ticket - 1])])
            records = []
        while durable < ticket:
            done.clear()
            await done.wait()
        elapsed = time.perf_counter() - begin
        processor = time.process_time() - processor
    latencies.sort()
    return Row(
        durability,
        in_flight,
        ticket / elapsed,
        commits / elapsed,
        statistics.median(latencies),
        latencies[len(latencies) * 99 // 100],
        processor / ticket,
    )


def probe(folder: Path, seconds: float) -> float:
    """Appends of 4 KiB with fsync, a second."""
    descriptor = os.open(folder / "probe", os.O_RDWR | os.O_CREAT, 0o600)
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        os.write(descriptor, bytes(4096))
        os.fsync(descriptor)
        count += 1
    os.close(descriptor)
    return count / (time.perf_counter() - begin)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="a row")
    parser.add_argument(
        "--folder", type=Path, help="on the disk to measure; default: the system's temporary folder"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        disk = probe(folder, arguments.seconds / 2)
        print(f"probe: {disk:,.0f} appends of 4 KiB with fsync a second; entries of {COMMANDS} commands\n")
        print(
            "durability  in flight   entries/s  commands/s  commits/s     p50 ms     p99 ms  cpu µs/entry  vs probe"
        )
        rows: dict[tuple[str, int], Row] = {}
        choices: tuple[Durability, ...] = ("fsync", "os")
        for in_flight in (1, 16, 256, 4096):
            for durability in choices:
                row = asyncio.run(measure(folder, durability, in_flight, arguments.seconds))
                rows[durability, in_flight] = row
                print(
                    f"{row.durability:10}  {row.in_flight:9,}  {row.entries_per_s:10,.0f}  "
                    f"{row.entries_per_s * COMMANDS:10,.0f}  {row.commits_per_s:9,.0f}  {row.latency_p50 * 1e3:9.2f}  "
                    f"{row.latency_p99 * 1e3:9.2f}  {row.cpu * 1e6:12.1f}  {row.entries_per_s / disk:7.2f}×"
                )
        print()
        for in_flight in (1, 16, 256, 4096):
            ratio = rows["os", in_flight].entries_per_s / rows["fsync", in_flight].entries_per_s
            print(f"os / fsync with {in_flight:,} in flight: {ratio:.1f}×")


if __name__ == "__main__":
    main()
