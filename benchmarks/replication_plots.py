"""Draws the two plots of docs/explanation/performance.md: what members cost, and what history costs.

    python benchmarks/replication_plots.py [--seconds 3] [--commands 1000000]

CPU time, not speed, so that a busy machine changes little. Needs matplotlib.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
from matplotlib import pyplot as plt
from rivals import peers
from rivals.figures import Load

FOLDER = Path(__file__).parent.parent / "docs" / "explanation"
MEMBERS = (1, 2, 3, 4, 5, 6, 7)
IN_FLIGHT, RUN = 1_000, 50


class Cost(NamedTuple):
    """At *x*: CPU microseconds and bytes sent by the submitter, per command, and CPU of another member."""

    x: int
    submitter: float
    octets: float
    other: float


async def cost(group: peers.Group, x: int, seconds: float) -> Cost:
    """One submitter for *seconds*."""
    before = [await member.ask("usage") for member in group.members]
    figures = await group.measure(Load(seconds, 1, IN_FLIGHT, RUN))
    after = [await member.ask("usage") for member in group.members]
    cpu = [(a["cpu"] - b["cpu"]) / figures.commands * 1e6 for a, b in zip(after, before, strict=True)]
    octets = (after[0]["octets"] - before[0]["octets"]) / figures.commands
    return Cost(x or after[0]["position"], cpu[0], octets, cpu[-1])


async def by_members(seconds: float, folder: Path) -> list[Cost]:
    """Groups of 1 to 7."""
    costs = []
    for members in MEMBERS:
        async with peers.group(
            members, "os", folder / f"{members}", max_datagram=1200, uvloop=False
        ) as group:
            await group.measure(Load(1, 1, IN_FLIGHT, RUN))
            costs.append(await cost(group, members, seconds))
            print(costs[-1])
    return costs


async def by_history(commands: int, seconds: float, folder: Path) -> list[Cost]:
    """One group of three, on and on."""
    costs: list[Cost] = []
    async with peers.group(3, "os", folder / "history", max_datagram=1200, uvloop=False) as group:
        while not costs or costs[-1].x < commands:
            costs.append(await cost(group, 0, seconds))
            print(costs[-1])
    return costs


def draw(costs: Sequence[Cost], name: str, title: str, label: str) -> None:
    """One plot, as SVG: CPU on the left, bytes on the right."""
    figure, left = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
    x = [each.x for each in costs]
    left.plot(x, [each.submitter for each in costs], "o-", label="CPU µs, submitter")
    left.plot(x, [each.other for each in costs], "s-", label="CPU µs, another member")
    left.set(xlabel=label, ylabel="CPU µs per command", title=title)
    left.set_ylim(bottom=0)
    right = left.twinx()
    right.plot(x, [each.octets for each in costs], "^--", color="tab:gray", label="bytes sent, submitter")
    right.set_ylabel("bytes per command")
    right.set_ylim(bottom=0)
    lines = [*left.get_lines(), *right.get_lines()]
    left.legend(lines, [line.get_label() for line in lines], loc="lower right", fontsize="small")
    figure.savefig(FOLDER / name, metadata={"Date": None})


async def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="of each point")
    parser.add_argument("--commands", type=int, default=1_000_000, help="how long the history grows")
    parser.add_argument(
        "--figures", type=Path, help="read the figures from here when it exists, else write them"
    )
    options = parser.parse_args()
    if options.figures and options.figures.exists():
        members, history = (
            [Cost(*each) for each in costs] for costs in json.loads(options.figures.read_text())
        )
    else:
        with tempfile.TemporaryDirectory() as folder:
            members = await by_members(options.seconds, Path(folder))
            history = await by_history(options.commands, options.seconds, Path(folder))
        if options.figures:
            options.figures.write_text(json.dumps([members, history]))
    mpl.rcParams["svg.hashsalt"] = "dhtex"  # the same figures, the same file
    draw(members, "replication-members.svg", "One submitter, by members of the group", "members")
    draw(history, "replication-history.svg", "Three members, as the history grows", "final commands")


if __name__ == "__main__":
    asyncio.run(main())
