"""dhtex: each member a process that embeds a `Peer`, as any program would."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from dhtex.errors import DhtexError
from dhtex.peer import Founding, Orders, Peer
from rivals.children import Child, child
from rivals.figures import Figures, Load, Share, row, thinned
from rivals.workload import Flow

SETTLE_TIMEOUT = 60.0
HEADER_OCTETS = 28
"""Of IPv4 and UDP, with each datagram: what is counted of rivals includes theirs."""


class Group:
    """A running group of peers."""

    def __init__(self, name: str, members: list[Child]) -> None:
        self.name = name
        self.members = members

    async def measure(self, load: Load) -> Figures:
        """Submit, and wait until every member has everything."""
        members = self.members
        before = [await member.ask("usage") for member in members]
        answers = await asyncio.gather(
            *(
                member.ask(
                    "load",
                    seconds=load.seconds,
                    in_flight=load.in_flight,
                    run=load.run,
                )
                for member in members[: load.submitters]
            )
        )
        shares = [Share(**answer) for answer in answers]
        position = before[0]["position"] + sum(share.commands for share in shares)
        ends = await asyncio.gather(*(member.ask("reached", position=position) for member in members))
        after = [await member.ask("usage") for member in members]
        return row(
            self.name,
            load,
            shares,
            max(ends),
            sum(a["cpu"] - b["cpu"] for a, b in zip(after, before, strict=True)),
            sum(
                a["octets"] - b["octets"] + HEADER_OCTETS * (a["datagrams"] - b["datagrams"])
                for a, b in zip(after, before, strict=True)
            ),
        )

    async def digests(self) -> set[tuple[int, str]]:
        """(position, digest) of every member: one, if all is well."""
        return {tuple(await member.ask("digest")) for member in self.members}


@contextlib.asynccontextmanager
async def group(
    members: int, durability: str, folder: Path, *, max_datagram: int, uvloop: bool
) -> AsyncIterator[Group]:
    """A group of *members* peers, all of them ready. Durability `ephemeral` keeps no file."""
    async with contextlib.AsyncExitStack() as stack:
        peers: list[Child] = []
        contacts: list[str] = []
        for number in range(members):
            peer = await stack.enter_async_context(
                child(
                    "rivals.peers",
                    seed=number,
                    durability=durability,
                    data_dir=str(folder / f"peer-{number}"),
                    max_datagram=max_datagram,
                    uvloop=uvloop,
                )
            )
            contacts = [await peer.ask("start", contacts=contacts)]
            peers.append(peer)
        await asyncio.gather(*(peer.ask("members", count=members) for peer in peers))
        yield Group(f"dhtex, {durability}", peers)


# -- in the child ------------------------------------------------------------------------------------------------


class _Member:
    def __init__(self, options: dict[str, Any], stack: contextlib.AsyncExitStack) -> None:
        self._options = options
        self._stack = stack
        self._peer: Peer
        self._flow: Flow

    async def start(self, contacts: list[str]) -> str:
        options = self._options
        ephemeral = options["durability"] == "ephemeral"
        peer = Peer(
            "BTC-USD",
            contacts=contacts,
            data_dir=None if ephemeral else options["data_dir"],
            durability="fsync" if ephemeral else options["durability"],
            founding=Founding.JOIN if contacts else Founding.FOUND,
            max_datagram=options["max_datagram"],
        )
        self._peer = await self._stack.enter_async_context(peer)
        self._flow = Flow(peer.node_id, options["seed"], 1)
        return peer.address

    async def members(self, count: int) -> None:
        events = self._peer.group_events()
        while self._peer.view is None or len(self._peer.view.members) < count:
            await anext(events)
        events.close()

    async def load(self, seconds: float, in_flight: int, run: int) -> dict[str, Any]:
        """Keep *in_flight* commands in flight. Own commands become final in their order, so one waits for many."""
        peer, flow = self._peer, self._flow
        latencies: list[float] = []
        window: deque[tuple[float, Orders]] = deque()
        width = max(1, in_flight // run)
        start = time.monotonic()
        end = start + seconds
        while True:
            while len(window) < width and (begin := time.monotonic()) < end:
                window.append((begin, peer.submit_all(flow.next(run))))
            if not window:
                break
            await window[0][1].final()
            now = time.monotonic()
            while window and window[0][1].is_final:
                latencies.append(now - window.popleft()[0])
        return {"start": start, "commands": len(latencies) * run, "latencies": thinned(latencies)}

    async def reached(self, position: int) -> float:
        async with asyncio.timeout(SETTLE_TIMEOUT):
            await self._peer.reached(position)
        return time.monotonic()

    async def usage(self) -> dict[str, Any]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "position": self._peer.position().number,
            "cpu": used.ru_utime + used.ru_stime,
            "octets": self._peer.node.endpoint.counters["bytes_out"],
            "datagrams": self._peer.node.endpoint.counters["datagrams_out"],
        }

    async def digest(self) -> tuple[int, str]:
        number, digest = self._peer.position().number, self._peer.position().digest
        return number, digest.hex()


async def _serve(options: dict[str, Any]) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    async with contextlib.AsyncExitStack() as stack:
        member = _Member(options, stack)
        while line := await reader.readline():
            question = json.loads(line)
            try:
                answer = {"answer": await getattr(member, question.pop("what"))(**question)}
            except (DhtexError, TimeoutError) as error:
                answer = {"error": repr(error)}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


def main() -> None:
    """A child."""
    options = json.loads(sys.argv[1])
    if options["uvloop"]:
        import uvloop  # noqa: PLC0415 - only where asked for

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(options))
    else:
        asyncio.run(_serve(options))
