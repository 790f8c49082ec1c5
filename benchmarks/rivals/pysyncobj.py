"""PySyncObj (PyPI): Raft in Python, each member a process; a replicated method that counts opaque commands.

As it comes it sends ten times a second, so a command alone waits 0.1 s and 1,000 in flight make at most 10,000 a
second. It is tuned here for one or the other: `appendEntriesUseBatch=False` sends each command at once, which is the
fastest for one alone; sending every 10 ms is the fastest for many. Its journal is never synced: it is compared with
what leaves durability to the system, or to memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import resource
import sys
import threading
import time
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rivals.children import Child, child
from rivals.figures import (
    Figures,
    Load,
    Missing,
    Share,
    free_ports,
    loopback_octets,
    octets_since,
    row,
    thinned,
)

COMMAND = b"\x96\x01\x02\xce\x00\x98\x96\x80\xce\x00\x4c\x4b\x40\xc0\xc0"
"""As long as a limit order."""
SETTLE_TIMEOUT = 10.0
TUNINGS: dict[str, dict[str, Any]] = {
    "for load": {"autoTickPeriod": 0.001, "appendEntriesPeriod": 0.01},
    "for latency": {"autoTickPeriod": 0.005, "appendEntriesPeriod": 0.05, "appendEntriesUseBatch": False},
}
STEADY = {
    "raftMinTimeout": 2.0,
    "raftMaxTimeout": 3.0,
    "logCompactionMinEntries": 10**8,
    "logCompactionMinTime": 10**6,
}
"""With either: a busy machine makes no elections, and a long run no pauses to write snapshots."""


class Group:
    """A running group."""

    def __init__(self, name: str, members: list[Child]) -> None:
        self.name = name
        self.members = members

    async def measure(self, load: Load) -> Figures:
        """Submit, from the leader when one submits, and wait until every member has everything."""
        leading = [await member.ask("leads") for member in self.members]
        members = sorted(self.members, key=lambda member: not leading[self.members.index(member)])
        before, octets = [await member.ask("usage") for member in members], loopback_octets()
        answers = await asyncio.gather(
            *(
                member.ask("load", seconds=load.seconds, in_flight=load.in_flight)
                for member in members[: load.submitters]
            )
        )
        shares = [Share(**answer) for answer in answers]
        count = before[0]["count"] + sum(share.commands for share in shares)
        ends = await asyncio.gather(*(member.ask("reached", count=count) for member in members))
        after = [await member.ask("usage") for member in members]
        cpu = sum(a["cpu"] - b["cpu"] for a, b in zip(after, before, strict=True))
        return row(self.name, load, shares, max(ends), cpu, octets_since(octets))


@contextlib.asynccontextmanager
async def group(members: int, folder: Path, *, tuning: str, journal: bool) -> AsyncIterator[Group]:
    """A group that has a leader; *tuning* is one of `TUNINGS`, *journal* keeps a file.

    Raises:
        Missing: PySyncObj is not installed.
    """
    if find_spec("pysyncobj") is None:
        raise Missing("PySyncObj is left out: `pip install pysyncobj` to compare with it")
    addresses = [f"127.0.0.1:{port}" for port in free_ports(members)]
    async with contextlib.AsyncExitStack() as stack:
        children = [
            await stack.enter_async_context(
                child(
                    "rivals.pysyncobj",
                    own=address,
                    others=[other for other in addresses if other != address],
                    tuning=TUNINGS[tuning] | STEADY,
                    journal=str(folder / f"pysyncobj-{number}") if journal else None,
                )
            )
            for number, address in enumerate(addresses)
        ]
        await asyncio.gather(*(each.ask("start") for each in children))
        yield Group(f"PySyncObj, {tuning}", children)


# -- in the child ------------------------------------------------------------------------------------------------


class _Member:
    """Blocking calls from the main thread; PySyncObj calls back from its own."""

    def __init__(self, options: dict[str, Any]) -> None:
        from pysyncobj import SyncObj, SyncObjConf, replicated  # noqa: PLC0415 - installed for the comparison only

        class Counting(SyncObj):  # type: ignore[misc]  # the package has no types
            def __init__(self) -> None:
                self.count = 0
                conf = SyncObjConf(
                    commandsQueueSize=1_000_000, journalFile=options["journal"], **options["tuning"]
                )
                super().__init__(options["own"], options["others"], conf)

            @replicated  # type: ignore[untyped-decorator]  # see above
            def put(self, command: bytes) -> int:
                self.count += 1
                return self.count

        self._make = Counting

    def start(self) -> None:
        self._object = self._make()
        while not self._object.isReady():
            time.sleep(0.01)

    def leads(self) -> bool:
        status = self._object.getStatus()
        return bool(status["leader"] == status["self"])

    def load(self, seconds: float, in_flight: int) -> dict[str, Any]:
        counting = self._object
        latencies: list[float] = []
        done = threading.Event()
        start = time.monotonic()
        end = start + seconds
        going = in_flight

        def submit() -> None:
            begin = time.monotonic()

            def applied(result: Any, error: int) -> None:
                nonlocal going
                if error == 0:
                    latencies.append(time.monotonic() - begin)
                if time.monotonic() < end:
                    submit()
                else:
                    going -= 1
                    if going == 0:
                        done.set()

            counting.put(COMMAND, callback=applied)

        for _ in range(in_flight):
            submit()
        done.wait(seconds + SETTLE_TIMEOUT)
        return {"start": start, "commands": len(latencies), "latencies": thinned(latencies)}

    def reached(self, count: int) -> float:
        end = time.monotonic() + SETTLE_TIMEOUT
        while self._object.count < count and time.monotonic() < end:
            time.sleep(0.0005)
        return time.monotonic()

    def usage(self) -> dict[str, Any]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {"count": self._object.count, "cpu": used.ru_utime + used.ru_stime}


def main() -> None:
    """A child."""
    # Sending each at once it sends many twice, and says of every repeated one that it took out what it had applied: a
    # critical message, hundreds of times. The figures would drown in it; docs/explanation/performance.md tells of it.
    logging.getLogger("pysyncobj").setLevel(logging.CRITICAL + 1)
    member = _Member(json.loads(sys.argv[1]))
    for line in sys.stdin:
        question = json.loads(line)
        answer = getattr(member, question.pop("what"))(**question)
        sys.stdout.write(json.dumps({"answer": answer}) + "\n")
        sys.stdout.flush()
