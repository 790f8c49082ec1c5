"""What a final order costs: a group of real processes over loopback, and rivals in the same run.

    python benchmarks/replication.py [--durability os] [--members 3] [--seconds 5] [--rivals]

Each row: how many commands were submitted together, and kept in flight by each submitter; commands a second that
became final on every member; latency from submission to the submitter's knowledge that it is final; CPU of all
processes and bytes on the wire per command. Figures of one run are comparable with each other, hardly with
another machine's. At the end all members must have one digest; the exit code is 1 when they have not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rivals import peers
from rivals.figures import Figures, Load


def loads(members: int, seconds: float, run: int) -> list[Load]:
    """What every group is put through."""
    return [
        Load(seconds, 1, 1, 1),
        Load(seconds, 1, 1_000, 1),
        Load(seconds, 1, 1_000, run),
        *([Load(seconds, members, 1_000, run)] if members > 1 else []),
    ]


async def measure(options: argparse.Namespace, folder: Path, console: Console) -> tuple[list[Figures], bool]:
    """All rows, and whether every group ended with one digest."""
    rows: list[Figures] = []
    agreed = True
    for durability in options.durability:
        async with peers.group(
            options.members,
            durability,
            folder / durability,
            max_datagram=options.datagram,
            uvloop=options.uvloop,
        ) as group:
            for load in loads(options.members, options.seconds, options.run):
                console.print(f"measuring {group.name}: {describe(load)} ...", style="dim")
                rows.append(await group.measure(load))
            digests = await group.digests()
        agreed = agreed and len(digests) == 1
        for position, digest in sorted(digests):
            console.print(f"{group.name}: digest {digest[:16]} after {position:,} commands")
    return rows, agreed


def describe(load: Load) -> str:
    """A load in a few words."""
    who = "one submits" if load.submitters == 1 else f"{load.submitters} submit"
    how = "one by one" if load.run == 1 else f"runs of {load.run}"
    return f"{who}, {load.in_flight:,} in flight, {how}"


def table(rows: Sequence[Figures]) -> Table:
    """The figures, and how each row compares with the first of the same load."""
    result = Table(title="final on every member")
    result.add_column("")
    for heading in ("submit", "in flight", "together", "final/s", "p50 ms", "p99 ms", "CPU µs", "bytes", "ratio"):
        result.add_column(heading, justify="right")
    first: dict[tuple[bool, int, int], Figures] = {}
    for figures in rows:
        load = figures.load
        base = first.setdefault((load.submitters == 1, load.in_flight, load.run), figures)
        result.add_row(
            figures.name,
            str(load.submitters),
            f"{load.in_flight:,}",
            str(load.run),
            f"{figures.rate:,.0f}",
            f"{figures.p50 * 1e3:.2f}",
            f"{figures.p99 * 1e3:.2f}",
            f"{figures.cpu / figures.commands * 1e6:.1f}",
            "" if figures.octets is None else f"{figures.octets / figures.commands:.0f}",
            f"{figures.rate / base.rate:.2f}",
        )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--run", type=int, default=50, help="commands submitted together (default 50)")
    parser.add_argument(
        "--durability",
        nargs="+",
        choices=("ephemeral", "os", "fsync"),
        default=["ephemeral", "os", "fsync"],
        help="what durable means (default: all three, one after the other)",
    )
    parser.add_argument("--datagram", type=int, default=1200, help="bytes of the largest one (default 1200)")
    parser.add_argument("--uvloop", action="store_true", help="run the peers on uvloop")
    parser.add_argument("--data-dir", type=Path, help="where journals go; by default the system's folder")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory(dir=options.data_dir) as folder:
        rows, agreed = asyncio.run(measure(options, Path(folder), console))
    console.print(table(rows))
    if options.json:
        options.json.write_text(json.dumps([asdict(figures) for figures in rows], indent=1))
    if not agreed:
        sys.exit("the members do not agree: this is a bug, please report it")


if __name__ == "__main__":
    main()
