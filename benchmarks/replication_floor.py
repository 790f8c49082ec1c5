"""What no replica in Python gets below: the datagrams of one order alone, with their signatures and boxes, and no more.

    python benchmarks/replication_floor.py [--orders 5000]

Three processes on loopback. One signs an entry of one order and sends it to the two others; each verifies it and
sends a status to everybody; the first goes on when it has both. There is no event loop, no journal, no engine, no
window, no check of anything but the signature and the boxes. Compare with the first row of `replication.py`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import statistics
import struct
import time
from typing import Any, Final

import msgpack
from nacl.bindings import crypto_box_afternm, crypto_box_open_afternm
from nacl.signing import SigningKey

MEMBERS: Final = 3
WARM_UP: Final = 200
NONCE: Final = 24
HEADER: Final = struct.Struct(">I20sQQQH")
COMMANDS: Final = msgpack.packb([[1, 2, 10_000_000, 5_000_000, None, None]])
ENTRIES, STATUS, END = 1, 2, 3


class Member:
    """One process: its socket, and how it says and hears something.

    Args:
        boxed: seal and open a NaCl box for every datagram, sign and verify.
    """

    def __init__(self, place: int, sockets: list[socket.socket], *, boxed: bool) -> None:
        self.place = place
        self._socket = sockets[place]
        self._addresses = [each.getsockname() for each in sockets]
        self._boxed = boxed
        self._shared = bytes(32)
        self.key = SigningKey(bytes(32))
        self.others = [other for other in range(MEMBERS) if other != place]

    def say(self, to: int, tag: int, params: list[Any]) -> None:
        datagram = msgpack.packb([tag, params])
        if self._boxed:
            nonce = os.urandom(NONCE)
            datagram = nonce + crypto_box_afternm(datagram, nonce, self._shared)
        self._socket.sendto(datagram, self._addresses[to])

    def hear(self) -> list[Any]:
        datagram = self._socket.recv(65_536)
        if self._boxed:
            datagram = crypto_box_open_afternm(datagram[NONCE:], datagram[:NONCE], self._shared)
        message: list[Any] = msgpack.unpackb(datagram)
        return message

    def entry(self, seq: int) -> bytes:
        body = HEADER.pack(1, bytes(20), seq, time.time_ns() // 1000, seq, 1) + COMMANDS
        return bytes(self.key.sign(body)) if self._boxed else body

    def verify(self, entry: bytes) -> None:
        if self._boxed:
            self.key.verify_key.verify(entry)


def submit(member: Member, orders: int) -> list[float]:
    """The submitter: seconds from making an entry to having heard of it from all, for each."""
    found: list[float] = []
    for seq in range(orders + WARM_UP):
        begin = time.perf_counter()
        entry = member.entry(seq)
        for other in member.others:
            member.say(other, ENTRIES, [bytes(20), [entry]])
        missing = set(member.others)
        while missing:
            _, (place, have, *_) = member.hear()
            if have[0] == seq:
                missing.discard(place)
        found.append(time.perf_counter() - begin)
    for other in member.others:
        member.say(other, END, [])
    return found[WARM_UP:]


def follow(member: Member) -> None:
    """Another member: a status to everybody for every entry."""
    seq = 0
    while True:
        tag, params = member.hear()
        if tag == END:
            return
        if tag == ENTRIES:
            member.verify(params[1][0])
            now = time.time_ns() // 1000
            for other in sorted(member.others):
                member.say(other, STATUS, [member.place, [seq, 0, 0], now, now, bytes(32), bytes(48)])
            seq += 1


def measure(orders: int, *, boxed: bool) -> list[float]:
    """Latencies of the submitter, seconds."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(MEMBERS)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
        each.settimeout(10)  # a datagram was lost: nothing here sends it again
    context = multiprocessing.get_context("fork")
    followers = [
        context.Process(target=follow, args=(Member(place, sockets, boxed=boxed),), daemon=True)
        for place in range(1, MEMBERS)
    ]
    for follower in followers:
        follower.start()
    found = submit(Member(0, sockets, boxed=boxed), orders)
    for follower in followers:
        follower.join()
    for each in sockets:
        each.close()
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--orders", type=int, default=5_000)
    options = parser.parse_args()
    for boxed, name in ((False, "datagrams and msgpack"), (True, "with signatures and boxes")):
        found = measure(options.orders, boxed=boxed)
        p50, p99 = statistics.median(found), statistics.quantiles(found, n=100)[98]
        print(f"{name:26} p50 {p50 * 1e3:.3f} ms, p99 {p99 * 1e3:.3f} ms")


if __name__ == "__main__":
    main()
