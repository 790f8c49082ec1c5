"""What a final order costs: a group of real processes over loopback, and rivals in the same run.

    python benchmarks/replication.py [--durability os] [--members 3] [--seconds 5] [--no-rivals]

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
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rivals import etcd, jetstream, peers, pysyncobj
from rivals.figures import Figures, Load, Missing

Group = peers.Group | pysyncobj.Group | etcd.Group | jetstream.Group
IN_FLIGHT = 1_000
DURABILITIES = {
    "ephemeral": "kept in memory",
    "os": "written, synced when the system likes",
    "fsync": "synced before it is acknowledged",
}
Contestant = tuple[AbstractAsyncContextManager[Group], list[Load]]


def contestants(options: argparse.Namespace, durability: str, folder: Path) -> Iterator[Contestant]:
    """Who is measured, and how: dhtex first, then the rivals that promise the same of a command that is final."""
    members, seconds = options.members, options.seconds
    alone = Load(seconds, 1, 1, 1)
    one, every = Load(seconds, 1, IN_FLIGHT, 1), Load(seconds, members, IN_FLIGHT, 1)
    # One by one as the rivals are asked, and in runs as it does best; a group of one has no others to submit.
    own = [
        Load(seconds, submitters, IN_FLIGHT, run)
        for run in (options.run, 1)
        for submitters in dict.fromkeys((1, members))
    ]
    yield (
        peers.group(members, durability, folder, max_datagram=options.datagram, uvloop=options.uvloop),
        [alone, *own],
    )
    if not options.rivals:
        return
    if durability == "fsync":
        yield etcd.group(members, folder), [alone, one, every]
        return
    journal = durability == "os"
    for tuning, loads in (("for latency", [alone]), ("for load", [one, every])):
        yield pysyncobj.group(members, folder, tuning=tuning, journal=journal), loads
    yield (
        jetstream.group(members, folder, storage="file" if journal else "memory"),
        [alone, one, every],
    )


async def measure(
    options: argparse.Namespace, durability: str, folder: Path, console: Console
) -> list[Figures]:
    """All rows of one durability. Raises Disagreement when the peers end with more than one digest."""
    rows: list[Figures] = []
    for entered, loads in contestants(options, durability, folder):
        try:
            async with entered as group:
                for load in loads:
                    console.print(f"{group.name}: {describe(load)} ...", style="dim")
                    rows.append(await group.measure(load))
                if isinstance(group, peers.Group):
                    compare(await group.digests(), console)
        except Missing as sentence:
            console.print(str(sentence))
    return rows


class Disagreement(Exception):
    """Members of one group ended with different digests."""


def compare(digests: set[tuple[int, str]], console: Console) -> None:
    """Show where the members are. Raises Disagreement."""
    for position, digest in sorted(digests):
        console.print(f"digest {digest[:16]} after {position:,} commands")
    if len(digests) != 1:
        raise Disagreement("the members do not agree: this is a bug, please report it")


def describe(load: Load) -> str:
    """A load in a few words."""
    who = "one submits" if load.submitters == 1 else f"{load.submitters} submit"
    how = "one by one" if load.run == 1 else f"runs of {load.run}"
    return f"{who}, {load.in_flight:,} in flight, {how}"


def table(durability: str, rows: Sequence[Figures]) -> Table:
    """The figures; the ratio is that of a row's rate to the first row with as many in flight at as many submitters."""
    result = Table(title=DURABILITIES[durability])
    for heading in ("", "load"):
        result.add_column(heading)
    for heading in ("final/s", "ratio", "p50 ms", "p99 ms", "CPU µs", "bytes"):
        result.add_column(heading, justify="right")
    first: dict[tuple[int, int], Figures] = {}
    for figures in sorted(rows, key=lambda figures: (figures.load.in_flight, figures.load.submitters)):
        load = figures.load
        base = first.setdefault((load.submitters, load.in_flight), figures)
        result.add_row(
            figures.name,
            describe(load),
            f"{figures.rate:,.0f}",
            f"{figures.rate / base.rate:.2f}",
            f"{figures.p50 * 1e3:.2f}",
            f"{figures.p99 * 1e3:.2f}",
            f"{figures.cpu / figures.commands * 1e6:.1f}",
            "" if figures.octets is None else f"{figures.octets / figures.commands:.0f}",
        )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--run", type=int, default=50, help="commands submitted together (default 50)")
    parser.add_argument(
        "--durability",
        nargs="+",
        choices=tuple(DURABILITIES),
        default=list(DURABILITIES),
        help="what durable means (default: all three, one after the other)",
    )
    parser.add_argument("--datagram", type=int, default=1200, help="bytes of the largest one (default 1200)")
    parser.add_argument(
        "--rivals", action=argparse.BooleanOptionalAction, default=True, help="compare with what is installed"
    )
    parser.add_argument("--uvloop", action="store_true", help="run the peers on uvloop")
    parser.add_argument("--data-dir", type=Path, help="where journals go; by default the system's folder")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    console = Console()
    found: dict[str, list[Figures]] = {}
    for durability in options.durability:
        with tempfile.TemporaryDirectory(dir=options.data_dir) as folder:
            try:
                found[durability] = asyncio.run(measure(options, durability, Path(folder), console))
            except Disagreement as sentence:
                sys.exit(str(sentence))
    for durability, rows in found.items():
        console.print(table(durability, rows))
    if options.json:
        figures = {durability: [asdict(row) for row in rows] for durability, rows in found.items()}
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
