"""What a datagram costs: two processes over loopback, one sends notifications, the other counts them.

    python benchmarks/transport.py [--seconds 3] [--uvloop]

Prints, per datagram and message size: messages and megabytes a second received, microseconds of CPU per
datagram on either side; then the round trip of a call alone; then the two ways to read a socket from asyncio,
side by side. Figures of one run are comparable with each other, hardly with another machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import multiprocessing.connection
import os
import resource
import socket
import statistics
import time
from collections.abc import Sequence
from typing import Any

from dhtex.identity import Identity, NodeId, PublicKey
from dhtex.transport import Address, Channel, Endpoint

GROUP = bytes(20)
BACKLOG_MAX = 256 << 10  # bytes; the sender waits above it, as a peer does
ROUND_TRIPS = 2000


class Counting:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.count = 0

    def on_notifications(
        self,
        sender: PublicKey,
        node_id: NodeId,
        address: Address,
        notifications: Sequence[tuple[int, list[Any]]],
    ) -> None:
        self.count += len(notifications)


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def receive(pipe: multiprocessing.connection.Connection, max_datagram: int) -> None:
    """The other process: counts until told to stop, then reports."""
    counting = Counting()
    async with Endpoint(Identity.generate(), max_datagram=max_datagram) as endpoint:
        channel = endpoint.attach(GROUP, counting)
        channel.register("echo", lambda sender, params: params)
        pipe.send((endpoint.identity.public_key, endpoint.address))
        loop = asyncio.get_running_loop()
        sender = await loop.run_in_executor(None, pipe.recv)
        channel.set_members({sender, endpoint.identity.node_id})
        pipe.send("ready")
        cpu = cpu_seconds()
        await loop.run_in_executor(None, pipe.recv)
        pipe.send((counting.count, cpu_seconds() - cpu, dict(endpoint.counters)))


def receiver_process(pipe: multiprocessing.connection.Connection, max_datagram: int) -> None:
    run(receive(pipe, max_datagram))


def run(main: Any) -> Any:
    if os.environ.get("BENCH_UVLOOP"):
        import uvloop  # noqa: PLC0415 - only where asked for

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main)
    return asyncio.run(main)


async def flood(channel: Channel, other: NodeId, message_bytes: int, seconds: float) -> None:
    batch = [(1, [os.urandom(message_bytes)])] * max(1, 8192 // message_bytes)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        if channel.backlog(other) < BACKLOG_MAX:
            channel.notify([other], batch)
        await asyncio.sleep(0)


async def measure(max_datagram: int, message_bytes: int, seconds: float) -> None:
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=receiver_process, args=(theirs, max_datagram), daemon=True)
    process.start()
    public_key, address = pipe.recv()
    async with Endpoint(Identity.generate(), max_datagram=max_datagram) as endpoint:
        channel = endpoint.attach(GROUP, Counting())
        channel.set_peer(public_key, address)
        answer = await channel.hello(address, 5)
        channel.set_members({answer.node_id, endpoint.identity.node_id})
        pipe.send(endpoint.identity.node_id)
        pipe.recv()
        if message_bytes == 0:
            trips = []
            for _ in range(ROUND_TRIPS):
                start = time.perf_counter()
                await channel.call(answer.node_id, "echo", [b"x" * 32], timeout=5)
                trips.append((time.perf_counter() - start) * 1e3)
            trips.sort()
            p99 = trips[len(trips) * 99 // 100]
            print(f"call alone: p50 {statistics.median(trips):.3f} ms, p99 {p99:.3f} ms")
            pipe.send("stop")
            pipe.recv()
        else:
            cpu = cpu_seconds()
            await flood(channel, answer.node_id, message_bytes, seconds)
            cpu = cpu_seconds() - cpu
            out = endpoint.counters["datagrams_out"]
            lost = endpoint.counters["datagrams_lost"]
            pipe.send("stop")
            count, their_cpu, theirs_counted = pipe.recv()
            received = theirs_counted["datagrams_in"]
            megabytes = count * message_bytes / 1e6
            print(
                f"{max_datagram:5} B datagrams, {message_bytes:6} B messages: "
                f"{count / seconds:9,.0f} messages/s {megabytes / seconds:6.1f} MB/s "
                f"{received / seconds:8,.0f} datagrams/s, "
                f"CPU per datagram {cpu / out * 1e6:4.1f} µs out {their_cpu / received * 1e6:4.1f} µs in, "
                f"lost {lost}"
            )
    process.join()


class _Tally(asyncio.DatagramProtocol):
    """Counts datagrams and says when a burst is complete. A datagram protocol for one of the two ways."""

    def __init__(self, burst: int) -> None:
        self.burst = burst
        self.count = 0
        self.complete = asyncio.Event()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.count += 1
        if self.count % self.burst == 0:
            self.complete.set()


async def read_both_ways(count: int = 20_000, burst: int = 50) -> None:
    """CPU per datagram of asyncio's datagram protocol, and of a reader that drains the socket."""
    loop = asyncio.get_running_loop()

    async def cost(address: Address, tally: _Tally) -> float:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            payload = bytes(1200)
            start = cpu_seconds()
            for _ in range(count // burst):
                for _ in range(burst):
                    out.sendto(payload, address)
                await tally.complete.wait()
                tally.complete.clear()
            return (cpu_seconds() - start) / count * 1e6

    tally = _Tally(burst)
    transport, _ = await loop.create_datagram_endpoint(lambda: tally, local_addr=("127.0.0.1", 0))
    by_protocol = await cost(transport.get_extra_info("sockname"), tally)
    transport.close()

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as into:
        into.setblocking(False)
        into.bind(("127.0.0.1", 0))
        tally = _Tally(burst)

        def drain() -> None:
            while True:
                try:
                    tally.datagram_received(*into.recvfrom(8193))
                except BlockingIOError:
                    return

        loop.add_reader(into, drain)
        by_drain = await cost(into.getsockname(), tally)
        loop.remove_reader(into)
    print(
        f"sending and reading a datagram, {burst} at a time: "
        f"{by_protocol:.1f} µs by protocol, {by_drain:.1f} µs by draining"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="per measurement")
    parser.add_argument("--uvloop", action="store_true", help="run both processes on uvloop")
    options = parser.parse_args()
    if options.uvloop:
        os.environ["BENCH_UVLOOP"] = "1"
    for max_datagram, message_bytes in (
        (1200, 100),
        (1200, 1000),
        (1200, 16_000),
        (8192, 1000),
        (8192, 16_000),
    ):
        run(measure(max_datagram, message_bytes, options.seconds))
    run(measure(1200, 0, options.seconds))
    run(read_both_ways())


if __name__ == "__main__":
    main()
