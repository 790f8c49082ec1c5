"""NATS JetStream with three replicas (Debian: nats-server): Raft in Go, one published message a command.

File storage leaves durability to the system, memory storage keeps nothing: as `os` and `ephemeral` of dhtex. The
client is one process with `nats-py`; its CPU is counted, as a submitter's is everywhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import resource
import shutil
import time
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rivals.children import server
from rivals.figures import (
    Figures,
    Load,
    Missing,
    Share,
    cpu_of,
    free_ports,
    loopback_octets,
    octets_since,
    row,
)
from rivals.pysyncobj import COMMAND
from rivals.window import latencies

READY_TIMEOUT = 20.0
RETRY = 0.2


class Group:
    """A running cluster with one stream."""

    def __init__(self, name: str, streams: list[Any], pids: list[int]) -> None:
        self.name = name
        self._streams = streams
        self._pids = pids

    async def measure(self, load: Load) -> Figures:
        """Publish, and count what was acknowledged: a majority has it then."""
        before, octets = self._cpu(), loopback_octets()
        start = time.monotonic()
        stop = start + load.seconds
        publishers = [
            functools.partial(stream.publish_async, "orders", COMMAND)
            for stream in self._streams[: load.submitters]
        ]
        waited = await asyncio.gather(*(latencies(publish, load.in_flight, stop) for publish in publishers))
        end = time.monotonic()
        return row(
            self.name,
            load,
            [Share(start, len(share), share) for share in waited],
            end,
            self._cpu() - before,
            octets_since(octets),
        )

    def _cpu(self) -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return sum(map(cpu_of, self._pids)) + used.ru_utime + used.ru_stime


@contextlib.asynccontextmanager
async def group(members: int, folder: Path, *, storage: str) -> AsyncIterator[Group]:
    """A cluster with a stream of *members* replicas; *storage* is `file` or `memory`.

    Raises:
        Missing: nats-server or nats-py is not installed.
    """
    program = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin")
    if program is None or find_spec("nats") is None:
        raise Missing(
            "JetStream is left out: `apt install nats-server`, `pip install nats-py` to compare with it"
        )
    import nats  # noqa: PLC0415 - installed for the comparison only
    from nats.js.api import StorageType  # noqa: PLC0415 - see above

    ports = free_ports(2 * members)
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports[members:])
    async with contextlib.AsyncExitStack() as stack:
        pids: list[int] = []
        for number in range(members):
            config = folder / f"nats-{number}.conf"
            config.write_text(
                f'server_name: m{number}\nlisten: "127.0.0.1:{ports[number]}"\n'
                f'jetstream {{ store_dir: "{folder / f"nats-{number}"}" }}\n'
                f'cluster {{ name: bench, listen: "127.0.0.1:{ports[members + number]}", routes: [{routes}] }}\n'
            )
            command = [program, "--config", config]
            pids.append(await stack.enter_async_context(server(command, folder / f"nats-{number}.log")))
        streams = []
        for number in range(members):
            url = f"nats://127.0.0.1:{ports[number]}"
            client = await _retried(functools.partial(nats.connect, url, error_cb=_quiet))
            stack.push_async_callback(client.close)
            streams.append(client.jetstream(timeout=READY_TIMEOUT, publish_async_max_pending=100_000))
        kind = StorageType.FILE if storage == "file" else StorageType.MEMORY
        await _retried(
            lambda: streams[0].add_stream(
                name="orders", subjects=["orders"], num_replicas=members, storage=kind, max_msgs=1_000_000
            )
        )
        await streams[0].publish("orders", COMMAND)
        yield Group(f"JetStream, {storage}", streams, pids)


async def _quiet(error: Exception) -> None:
    """A server that is not up yet is asked again, see below."""


async def _retried(ask: Any) -> Any:
    """What `ask()` gives, as soon as the servers have found each other."""
    end = time.monotonic() + READY_TIMEOUT
    while True:
        try:
            return await ask()
        except Exception:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(RETRY)
