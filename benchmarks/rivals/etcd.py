"""etcd (Debian: etcd-server): Raft in Go, always with fsync; one put a command, through its gRPC API.

The client is one process that asks all three members; its CPU is counted, as a submitter's is everywhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import resource
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
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
from rivals.window import Answer, latencies

READY_TIMEOUT = 20.0
KEYS = 1_000  # an order each; so the store keeps its size, as a book does


class Group:
    """A running cluster."""

    name = "etcd, fsync"

    def __init__(self, puts: list[Any], pids: list[int]) -> None:
        self._puts = puts
        self._pids = pids

    async def measure(self, load: Load) -> Figures:
        """Put, and count what was answered: it is on a majority's disk then."""
        before, octets = self._cpu(), loopback_octets()
        start = time.monotonic()
        stop = start + load.seconds
        requests = itertools.cycle([_put_request(b"order %06d" % number, COMMAND) for number in range(KEYS)])

        def putter(put: Any) -> Callable[[], Awaitable[Answer]]:
            async def submit() -> Answer:
                call: Answer = put(next(requests))
                return call

            return submit

        waited = await asyncio.gather(
            *(latencies(putter(put), load.in_flight, stop) for put in self._puts[: load.submitters])
        )
        end = time.monotonic()
        shares = [Share(start, len(share), share) for share in waited]
        return row(self.name, load, shares, end, self._cpu() - before, octets_since(octets))

    def _cpu(self) -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return sum(map(cpu_of, self._pids)) + used.ru_utime + used.ru_stime


@contextlib.asynccontextmanager
async def group(members: int, folder: Path) -> AsyncIterator[Group]:
    """A cluster that takes puts.

    Raises:
        Missing: etcd or grpcio is not installed.
    """
    program = shutil.which("etcd")
    if program is None or find_spec("grpc") is None:
        raise Missing(
            "etcd is left out: `apt install etcd-server` and `pip install grpcio` to compare with it"
        )
    import grpc  # noqa: PLC0415 - installed for the comparison only

    ports = free_ports(2 * members)
    clients = [f"http://127.0.0.1:{port}" for port in ports[:members]]
    peers = [f"http://127.0.0.1:{port}" for port in ports[members:]]
    cluster = ",".join(f"m{number}={url}" for number, url in enumerate(peers))
    async with contextlib.AsyncExitStack() as stack:
        pids: list[int] = []
        for number in range(members):
            command = [program, "--name", f"m{number}", "--data-dir", folder / f"etcd-{number}"]
            command += ["--listen-client-urls", clients[number], "--advertise-client-urls", clients[number]]
            command += ["--listen-peer-urls", peers[number], "--initial-advertise-peer-urls", peers[number]]
            command += ["--initial-cluster", cluster, "--log-level", "error"]
            log = folder / f"etcd-{number}.log"
            pids.append(await stack.enter_async_context(server(command, log)))
        puts = []
        for url in clients:
            channel = await stack.enter_async_context(
                grpc.aio.insecure_channel(
                    url.removeprefix("http://"), options=[("grpc.enable_http_proxy", 0)]
                )
            )
            puts.append(channel.unary_unary("/etcdserverpb.KV/Put"))
        for put in puts:
            await put(_put_request(b"ready", b""), timeout=READY_TIMEOUT, wait_for_ready=True)
        yield Group(puts, pids)


def _put_request(key: bytes, value: bytes) -> bytes:
    """`etcdserverpb.PutRequest` in protobuf: two short byte fields, so it needs no generated code."""
    return b"\x0a" + bytes([len(key)]) + key + b"\x12" + bytes([len(value)]) + value
