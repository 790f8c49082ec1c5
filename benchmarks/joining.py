"""What joining late costs: a newcomer, in a process of its own, and a group with a long history.

    python benchmarks/joining.py [--commands 1000000] [--resting 5000]

The first process founds a market and trades by itself until so many commands are final; then `dhtex peer` joins.
Seconds run from the start of that process to its membership, so the interpreter's start is in them. The newcomer must
have the founder's digest; the exit code is 1 when it has not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rivals.workload import MIDDLE, Flow

from dhtex import Grape, Orders, Peer, Place, Side
from dhtex.matching import Command

RUN = 500
IN_FLIGHT = 8


@dataclass(frozen=True)
class Row:
    """One newcomer.

    Attributes:
        commands: final before it came.
        resting: orders in the book then.
        seconds: until it was a member.
    """

    commands: int
    resting: int
    seconds: float


class Disagreement(Exception):
    """The newcomer's digest is not the founder's."""


def far(count: int) -> list[Command]:
    """Bids that nothing reaches."""
    return [Place(Side.BUY, 1_000 + n, MIDDLE // 2 - n % 1_000) for n in range(count)]


async def fill(founder: Peer, commands: int, flow: Flow, progress: Progress) -> None:
    """Make *commands* final, a few runs at a time."""
    bar = progress.add_task(f"{commands:,} commands", total=commands)
    in_flight: deque[Orders] = deque()
    for _ in range(0, commands, RUN):
        in_flight.append(await founder.send_all(flow.next(RUN)))
        if len(in_flight) > IN_FLIGHT:
            await in_flight.popleft().final()
        progress.advance(bar, RUN)
    for orders in in_flight:
        await orders.final()


async def join(bootstrap: str, resting: int, expected: tuple[int, str]) -> Row:
    """Start a newcomer, wait until it is a member, ask what it has, and end it."""
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "dhtex", "peer", "--bn", bootstrap, "--ephemeral", "--json",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    seconds, agrees = 0.0, False
    async for line in process.stdout:
        event = json.loads(line)
        if event.get("kind") == "role" and event["value"] == "member":
            seconds = time.perf_counter() - started
            process.stdin.write(f"status {expected[0]}\n".encode())
        elif event["event"] == "status":
            agrees = (event["position"], event["digest"]) == expected
            process.terminate()
    await process.wait()
    if not agrees:
        raise Disagreement(f"the newcomer never had the founder's digest {expected}: please report it")
    return Row(expected[0], resting, seconds)


async def measure(sizes: list[int], resting: int, folder: Path, console: Console) -> list[Row]:
    """A newcomer for each size of history, smallest first."""
    rows = []
    async with (
        Grape(http_port=None) as grape,
        Peer("BTC-USD", bootstrap=[grape.dht_address], data_dir=folder, durability="os") as founder,
    ):
        for first in range(0, resting, RUN):
            await (await founder.send_all(far(min(RUN, resting - first)))).final()
        flow = Flow(founder.node_id, seed=1, first_n=resting + 1)
        with Progress(console=console) as progress:
            for size in sizes:
                await fill(founder, size - founder.position().number, flow, progress)
                position = founder.position()
                there = len(founder.book.orders_of(founder.node_id))
                expected = (position.number, position.digest.hex())
                rows.append(await join(grape.dht_address, there, expected))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--commands", type=int, default=1_000_000, help="of the longest history")
    parser.add_argument("--resting", type=int, default=5_000, help="orders that stay in the book, about")
    options = parser.parse_args()
    console = Console()
    sizes = [size for size in (10_000, 100_000) if size < options.commands]
    with tempfile.TemporaryDirectory() as folder:
        try:
            rows = asyncio.run(measure([*sizes, options.commands], options.resting, Path(folder), console))
        except Disagreement as sentence:
            sys.exit(str(sentence))
    table = Table(title="until a newcomer is a member")
    for heading in ("final commands", "resting orders", "seconds"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(f"{row.commands:,}", f"{row.resting:,}", f"{row.seconds:.2f}")
    console.print(table)


if __name__ == "__main__":
    main()
