"""Where a command's time goes: one submitter and another member, sampled by py-spy, by stage.

    python benchmarks/replication_stages.py [--durability os] [--submitters 1] [--seconds 6]

Needs `pip install py-spy`, and the right to look into one's own children. A sample counts for the innermost room of
dhtex on its stack; boxes, signatures and the system call that sends count for themselves. Waiting counts for nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rivals import peers
from rivals.figures import Load

LEAVES = {
    "signatures": "nacl/bindings/crypto_sign",
    "boxes": "nacl/bindings/crypto_box",
    "sendto": "Endpoint._try_send",
}
WAITING = ("selectors.py", "concurrent/futures", "_next (dhtex/journal/writer.py")
STAGES = {
    "encoding commands": ("encode_commands",),
    "making the load": ("rivals/",),
    "matching": ("dhtex/matching", "dhtex/exchange"),
    "journal": ("dhtex/journal",),
    "transport": ("dhtex/transport",),
    "replication": ("dhtex/replication", "dhtex/identity", "dhtex/clock"),
    "peer": ("dhtex/peer",),
}
SAMPLES_PER_SECOND = 300


def stage_of(stack: Sequence[str]) -> str | None:
    """The stage of one sample, outermost frame first; None for one that waits."""
    leaf = stack[-1]
    if any(mark in leaf for mark in WAITING):
        return None
    for stage, mark in LEAVES.items():
        if mark in leaf:
            return stage
    if any("encode_commands" in frame for frame in stack):
        return "encoding commands"
    for frame in reversed(stack):
        for stage, marks in STAGES.items():
            if any(mark in frame for mark in marks):
                return stage
    return "event loop"


def stages(samples: Path) -> Counter[str]:
    """Samples by stage, of a file in py-spy's raw format."""
    counted: Counter[str] = Counter()
    for line in samples.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        stage = stage_of(stack.split(";"))
        if stage is not None:
            counted[stage] += int(count)
    return counted


async def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--durability", choices=("ephemeral", "os", "fsync"), default="os")
    parser.add_argument("--submitters", type=int, choices=(1, 3), default=1)
    parser.add_argument("--in-flight", type=int, default=1_000)
    parser.add_argument("--run", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=6)
    options = parser.parse_args()
    program = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if program is None:
        sys.exit("py-spy is not here: pip install py-spy")
    with tempfile.TemporaryDirectory() as folder:
        async with peers.group(3, options.durability, Path(folder), max_datagram=1200, uvloop=False) as group:
            load = Load(options.seconds + 2, options.submitters, options.in_flight, options.run)
            outputs = [Path(folder) / f"samples-{number}" for number in (0, 1)]
            samplers = [
                await asyncio.create_subprocess_exec(
                    program,
                    *(
                        "record",
                        "--format",
                        "raw",
                        "--rate",
                        str(SAMPLES_PER_SECOND),
                        "--pid",
                        str(member.pid),
                    ),
                    *("--duration", str(options.seconds), "--output", output),
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,
                )
                for member, output in zip(group.members, outputs, strict=False)
            ]
            figures = await group.measure(load)
            for sampler in samplers:
                await sampler.wait()
        print(f"{figures.rate:,.0f} final/s, {figures.cpu / figures.commands * 1e6:.1f} µs of CPU each")
        for who, output in zip(("submitter", "another member"), outputs, strict=True):
            counted = stages(output)
            print(f"\n{who}")
            for stage, count in counted.most_common():
                print(f"  {count / counted.total():4.0%} {stage}")


if __name__ == "__main__":
    asyncio.run(main())
