"""What the tests of the transport share: a handler that can be awaited, links in virtual time, a lossy relay."""

from __future__ import annotations

import asyncio
import random
import socket
from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

from dhtex.identity import Identity, NodeId, PublicKey
from dhtex.transport import Address, Channel, Endpoint, Limits
from dhtex.transport.codec import FrameEncoder
from dhtex.transport.datagram import HEADER_SIZE, Kind, header
from dhtex.transport.link import Link, Message
from dhtex.transport.secure import Boxes, KeyRing

GROUP = b"g" * 20
WALL = 1_700_000_000_000_000

ALICE = Identity(b"a" * 32)
BOB = Identity(b"b" * 32)
CAROL = Identity(b"c" * 32)


class Recorder:
    """A handler that keeps what it is told, and can be waited for."""

    def __init__(self) -> None:
        self.calls: list[tuple[NodeId, Address, list[tuple[int, list[Any]]]]] = []
        self.said: list[tuple[int, list[Any]]] = []
        self._more = asyncio.Event()

    def on_notifications(
        self,
        sender: PublicKey,
        node_id: NodeId,
        address: Address,
        notifications: Sequence[tuple[int, list[Any]]],
    ) -> None:
        self.calls.append((node_id, address, [(tag, params) for tag, params in notifications]))
        self.said.extend((tag, params) for tag, params in notifications)
        self._more.set()

    async def wait_for(self, count: int) -> list[tuple[int, list[Any]]]:
        """Until *count* notifications were recorded in all."""
        while len(self.said) < count:
            self._more.clear()
            await self._more.wait()
        return self.said


def introduce(*channels: Channel, addresses: Sequence[Address], identities: Sequence[Identity]) -> None:
    """Make everybody a member of everybody's group, and tell where they are."""
    members = {identity.node_id for identity in identities}
    for channel, own in zip(channels, identities, strict=True):
        channel.set_members(members)
        for identity, address in zip(identities, addresses, strict=True):
            if identity is not own:
                assert channel.set_peer(identity.public_key, address)


class Pair:
    """Alice and Bob, two endpoints, members of one group."""

    def __init__(self, *, limits: Limits | None = None, max_datagram: int = 1200, host: str = "127.0.0.1"):
        self.alice = Endpoint(ALICE, host, limits=limits, max_datagram=max_datagram)
        self.bob = Endpoint(BOB, host, limits=limits, max_datagram=max_datagram)
        self.heard_by_alice = Recorder()
        self.heard_by_bob = Recorder()
        self.a: Channel
        self.b: Channel

    async def __aenter__(self) -> Self:
        await self.alice.__aenter__()
        await self.bob.__aenter__()
        self.a = self.alice.attach(GROUP, self.heard_by_alice)
        self.b = self.bob.attach(GROUP, self.heard_by_bob)
        introduce(
            self.a,
            self.b,
            addresses=(self.alice.address, self.bob.address),
            identities=(ALICE, BOB),
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.alice.close()
        await self.bob.close()


class Wire:
    """A link with a clock of its own making; datagrams are handed over by the test."""

    def __init__(
        self,
        own: Identity,
        other: Identity,
        *,
        wall: int = WALL,
        now: float = 0.0,
        member: bool = True,
        limits: Limits | None = None,
        datagram_bytes: int = 1200,
        group: bytes = GROUP,
    ) -> None:
        self.own = own
        self.counters: Counter[str] = Counter()
        self.encoder = FrameEncoder()
        self.address: Address = ("192.0.2.1", own.public_key[0] + 1)
        self.link = Link(
            public_key=other.public_key,
            node_id=other.node_id,
            boxes=Boxes(KeyRing(own), group, other.public_key),
            header=header(Kind.BOX, group, own.public_key),
            encoder=self.encoder,
            datagram_bytes=datagram_bytes,
            limits=limits or Limits(),
            rng=random.Random(1),
            counters=self.counters,
            now=now,
            wall=wall,
        )
        self.link.set_member(member, now)

    def say(self, tag: int, *params: Any, now: float) -> None:
        self.link.send(self.encoder.notification(tag, params), now)

    def out(self, now: float) -> list[bytes]:
        return [datagram for datagram, _ in self.link.take(now)]

    def one(self, now: float) -> bytes:
        """The only datagram to send now."""
        (datagram,) = self.out(now)
        return datagram

    def hear(self, datagram: bytes, now: float, source: Address | None = None) -> list[Message]:
        return self.link.receive(datagram[HEADER_SIZE:], source or self.link.address or ("192.0.2.9", 9), now)


def wires(**options: Any) -> tuple[Wire, Wire]:
    """Alice's link to Bob and Bob's to Alice, each knowing the other's address."""
    alice, bob = Wire(ALICE, BOB, **options), Wire(BOB, ALICE, **options)
    alice.link.set_address(bob.address, 0.0)
    bob.link.set_address(alice.address, 0.0)
    return alice, bob


class Relay:
    """A UDP path between a caller and a listener that loses, doubles, delays and reorders, by a seed.

    The caller sends to `address`; the listener sees datagrams from another port and answers there.
    """

    def __init__(
        self,
        target: Address,
        *,
        seed: int,
        loss: float = 0.0,
        doubling: float = 0.0,
        delay: float = 0.0,
    ) -> None:
        self.target = target
        self.loss = loss
        self.doubling = doubling
        self.delay = delay
        self.passed: list[bytes] = []
        self._random = random.Random(seed)
        self._caller: Address | None = None
        self._front = self._open()
        self._back = self._open()
        self._timers: set[asyncio.TimerHandle] = set()

    def _open(self) -> socket.socket:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        opened.bind(("127.0.0.1", 0))
        return opened

    @property
    def address(self) -> Address:
        host, port = self._front.getsockname()
        return (host, port)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._front, self._from_caller)
        self._loop.add_reader(self._back, self._from_target)
        return self

    async def __aexit__(self, *exc: object) -> None:
        for timer in self._timers:
            timer.cancel()
        for opened in (self._front, self._back):
            self._loop.remove_reader(opened)
            opened.close()

    def _from_caller(self) -> None:
        datagram, self._caller = self._front.recvfrom(65536)
        self._pass(self._back, datagram, self.target)

    def _from_target(self) -> None:
        datagram, _ = self._back.recvfrom(65536)
        if self._caller is not None:
            self._pass(self._front, datagram, self._caller)

    def _pass(self, out: socket.socket, datagram: bytes, address: Address) -> None:
        if self._random.random() < self.loss:
            return
        self.passed.append(datagram)
        copies = 2 if self._random.random() < self.doubling else 1
        for _ in range(copies):
            if self.delay:
                pause = self._random.uniform(0, self.delay)
                self._timers.add(self._loop.call_later(pause, out.sendto, datagram, address))
            else:
                out.sendto(datagram, address)
