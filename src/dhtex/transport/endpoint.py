"""The asyncio socket: one UDP port that carries every group of a peer.

Reads are drained in one go per turn of the loop (a protocol of `create_datagram_endpoint` is handed one
datagram a turn; `docs/explanation/transport.md` has the difference), and each group is told once. Decisions
live in `link`, `channel` and below; here are the socket, and who gets what it receives.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import random
import socket
import time
from collections import Counter, deque
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from dhtex.errors import MalformedMessage, NetworkError, NotRunning, PortInUse, Unreachable
from dhtex.identity import Identity, NodeId, node_id_of
from dhtex.transport.address import Address, canonical, from_socket, is_usable, to_socket
from dhtex.transport.channel import Channel, Handler
from dhtex.transport.codec import FrameEncoder
from dhtex.transport.datagram import (
    GROUP_ID_SIZE,
    Datagram,
    Kind,
    decode_hello,
    encode_hello_answer,
    parse,
)
from dhtex.transport.greeter import Greeter, HelloAnswer
from dhtex.transport.limits import (
    DATAGRAM_BYTES,
    DATAGRAM_BYTES_MAX,
    DATAGRAM_BYTES_MIN,
    Limits,
    SourceBudgets,
)
from dhtex.transport.link import Link
from dhtex.transport.pacer import Pacer
from dhtex.transport.secure import KeyRing

logger = logging.getLogger(__name__)

DRAIN_MAX = 128  # datagrams read before others get a turn: a few milliseconds
UNSENT_MAX = 1024  # datagrams kept while the system's send buffer is full


class Endpoint:
    """One UDP socket for many groups; use it with `async with`.

    Several may run in one loop and one process.

    Attributes:
        identity: whose boxes these are.
        counters: how often what happened, by reason; listed in `docs/reference/wire-format.md`.
    """

    def __init__(
        self,
        identity: Identity,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        advertise: Address | None = None,
        max_datagram: int = DATAGRAM_BYTES,
        limits: Limits | None = None,
    ) -> None:
        """An endpoint that does not listen yet.

        Args:
            host: numeric, or a name of this machine; `::` listens on IPv6 and IPv4.
            port: 0 lets the system choose.
            advertise: where others should send, when that differs, as behind a NAT.
            max_datagram: bytes of the largest datagram sent; up to 8,192 are always received.
        Raises:
            ValueError: *max_datagram* is not within 512..8192.
        """
        if not DATAGRAM_BYTES_MIN <= max_datagram <= DATAGRAM_BYTES_MAX:
            raise ValueError(
                f"max_datagram must be {DATAGRAM_BYTES_MIN} to {DATAGRAM_BYTES_MAX} bytes, not {max_datagram}"
            )
        self.identity = identity
        self.counters: Counter[str] = Counter()
        self._host = host
        self._port = port
        self._advertise = advertise
        self._datagram_bytes = max_datagram
        self._limits = limits or Limits()
        self._keys = KeyRing(identity)
        self._encoder = FrameEncoder()
        self._random = random.SystemRandom()  # numbers that a peer cannot foresee, see `path`
        self._greeter = Greeter(identity.public_key, self._transmit, self._random)
        self._channels: dict[bytes, Channel] = {}
        self._touched: dict[Channel, None] = {}
        self._unsent: deque[tuple[bytes, Address]] = deque()
        self._socket: socket.socket | None = None
        self._family = socket.AF_INET
        self._loop: asyncio.AbstractEventLoop
        self._pacer: Pacer
        self._sources: SourceBudgets

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            PortInUse: another program has the port.
            NetworkError: there is no such address on this machine.
        """
        self._loop = asyncio.get_running_loop()
        self._pacer = Pacer(self._loop, self._transmit)
        self._sources = SourceBudgets(self._limits, self.now())
        self._socket = await self._open_socket()
        self._family = self._socket.family
        self._loop.add_reader(self._socket, self._on_readable)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def address(self) -> Address:
        """Where the socket listens.

        Raises:
            NotRunning: it does not.
        """
        return from_socket(self._running().getsockname())

    @property
    def advertised(self) -> Address:
        """Where others should send: *advertise* when given, else `address`."""
        return self._advertise or self.address

    def attach(
        self,
        group_id: bytes,
        handler: Handler,
        *,
        stranger_tags: frozenset[int] = frozenset(),
        stranger_methods: frozenset[str] = frozenset(),
        allow: frozenset[NodeId] | None = None,
    ) -> Channel:
        """Carry one group.

        Args:
            group_id: 20 bytes; not attached yet.
            handler: told of notifications.
            stranger_tags: the notifications that non-members may send.
            stranger_methods: the methods that non-members may call.
            allow: who may talk at all; None: anyone.
        Raises:
            ValueError: *group_id* is of another length, or attached.
            NotRunning: the endpoint does not listen.
        """
        self._running()
        if len(group_id) != GROUP_ID_SIZE:
            raise ValueError(f"a group id has {GROUP_ID_SIZE} bytes, this has {len(group_id)}")
        if group_id in self._channels:
            raise ValueError(f"group {group_id.hex()} is attached to this endpoint already")
        channel = self._channels[group_id] = Channel(
            self,
            self._keys,
            group_id,
            handler,
            stranger_tags=stranger_tags,
            stranger_methods=stranger_methods,
            allow=allow,
            encoder=self._encoder,
            datagram_bytes=self._datagram_bytes,
            limits=self._limits,
            rng=self._random,
            counters=self.counters,
        )
        return channel

    async def close(self) -> None:
        """Send what waits for the end of the turn; end every call, cancel every handler. Idempotent."""
        for channel in list(self._channels.values()):
            await channel.close()
        if self._socket is not None:
            self._pacer.close()
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
            self._socket = None
            self._unsent.clear()

    # What channels need: the `Outlet` protocol

    def now(self) -> float:
        """Monotonic seconds, the loop's."""
        return self._loop.time()

    def wall(self) -> int:
        """Microseconds since the Unix epoch."""
        return time.time_ns() // 1000

    def wake(self, link: Link) -> None:
        """Have `link.take` called at the end of this turn."""
        self._pacer.wake(link)

    @property
    def at_once(self) -> AbstractContextManager[None]:
        """See `Channel.at_once`."""
        return self._pacer

    def can_reach(self, address: Address) -> bool:
        """True when the socket could send there."""
        return is_usable(address, self._family)

    def admit_newcomer(self, source: Address, now: float) -> bool:
        """True when an unknown key at *source* may cost a key agreement."""
        return self._sources.take(source[0], now)

    async def hello(self, channel: Channel, address: Address, timeout: float) -> HelloAnswer:
        """See `Channel.hello`."""
        if not self.can_reach(address):
            address = await self._resolve(address)
        return await self._greeter.ask(channel.group_id, canonical(address), timeout)

    def detach(self, channel: Channel) -> None:
        """Forget a channel that closes, once what it has said is sent."""
        self._pacer.flush()
        del self._channels[channel.group_id]
        self._touched.pop(channel, None)
        closed = NotRunning("the channel was closed while a HELLO waited for its answer")
        self._greeter.fail(closed, channel.group_id)

    # Datagrams in

    def _on_readable(self) -> None:
        with self._pacer:
            self._read()

    def _read(self) -> None:
        now = self.now()
        for _ in range(DRAIN_MAX):
            try:
                datagram, name = self._running().recvfrom(DATAGRAM_BYTES_MAX + 1)
            except BlockingIOError:
                break
            except OSError as error:
                self._count_error("receive_failed", error)
                break
            source = name if self._family is socket.AF_INET else from_socket(name)
            self.counters["datagrams_in"] += 1
            self.counters["bytes_in"] += len(datagram)
            try:
                self._dispatch(parse(datagram), source, now)
            except MalformedMessage as error:
                self.counters[f"dropped_{error.reason}"] += 1
                logger.debug("dropped a datagram of %s: %s", source, error)
        touched, self._touched = self._touched, {}
        for channel in touched:
            channel.deliver()

    def _dispatch(self, datagram: Datagram, source: Address, now: float) -> None:
        channel = self._channels.get(datagram.group_id)
        if channel is None:
            raise MalformedMessage("group")
        if datagram.kind == Kind.BOX:
            self._touched[channel] = None
            channel.receive(datagram, source, now)
        elif datagram.kind == Kind.HELLO:
            self._on_hello(channel, datagram, source, now)
        else:
            self._greeter.on_answer(datagram, source)

    def _on_hello(self, channel: Channel, datagram: Datagram, source: Address, now: float) -> None:
        cookie = decode_hello(datagram.body)
        if datagram.sender == self.identity.public_key:
            raise MalformedMessage("self")
        if not channel.may_talk(node_id_of(datagram.sender)):
            raise MalformedMessage("allow_list")
        view_number = channel.view_number
        if view_number is None:
            return
        if not self._sources.take(source[0], now):
            raise MalformedMessage("budget", "too many newcomers")
        answer = encode_hello_answer(channel.group_id, self.identity.public_key, cookie, view_number)
        self._transmit(answer, source)

    # Datagrams out

    def _transmit(self, datagram: bytes, address: Address) -> None:
        if self._unsent:
            self._keep(datagram, address)
        elif self._socket is not None and not self._try_send(datagram, address):
            self._keep(datagram, address)
            self._loop.add_writer(self._socket, self._on_writable)

    def _try_send(self, datagram: bytes, address: Address) -> bool:
        """False when the system has no room at the moment."""
        try:
            self._running().sendto(datagram, to_socket(address, self._family))
        except BlockingIOError:
            return False
        except OSError as error:
            self._count_error("send_failed", error)
        else:
            self.counters["datagrams_out"] += 1
            self.counters["bytes_out"] += len(datagram)
        return True

    def _keep(self, datagram: bytes, address: Address) -> None:
        if len(self._unsent) < UNSENT_MAX:
            self._unsent.append((datagram, address))
        else:
            self.counters["unsent_buffer"] += 1

    def _on_writable(self) -> None:
        while self._unsent and self._try_send(*self._unsent[0]):
            self._unsent.popleft()
        if not self._unsent:
            self._loop.remove_writer(self._running())

    def _count_error(self, counter: str, error: OSError) -> None:
        self.counters[counter] += 1
        logger.debug("%s: %s", counter, error)

    # The socket

    def _running(self) -> socket.socket:
        if self._socket is None:
            raise NotRunning("the endpoint does not listen; use it inside `async with`")
        return self._socket

    async def _open_socket(self) -> socket.socket:
        place = f"{self._host} port {self._port}"
        try:
            found = await self._loop.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)
        except (OSError, OverflowError, UnicodeError) as error:
            raise NetworkError(f"cannot listen on {place}: {error}") from error
        family, kind, protocol, _, name = found[0]
        opened = socket.socket(family, kind, protocol)
        try:
            opened.setblocking(False)
            if family is socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                opened.setsockopt(
                    socket.SOL_SOCKET, buffer, self._limits.window_max
                )  # the system grants what it allows
            opened.bind(name)
        except OSError as error:
            opened.close()
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(
                    f"another program listens on {place}; choose another port, or 0 for any"
                ) from error
            raise NetworkError(f"cannot listen on {place}: {error.strerror}") from error
        return opened

    async def _resolve(self, address: Address) -> Address:
        host, port = address
        try:
            found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except (OSError, OverflowError, UnicodeError) as error:
            raise Unreachable(f"cannot find {host} port {port}: {error}") from error
        for *_, name in found:
            candidate = from_socket((str(name[0]), int(name[1])))
            if self.can_reach(candidate):
                return candidate
        raise Unreachable(f"{host} port {port} cannot be reached from this socket")
