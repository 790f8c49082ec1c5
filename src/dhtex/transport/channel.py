"""One group on an endpoint: who its peers are, what they may say, and the calls between them."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from dhtex.errors import DhtexError, MalformedMessage, NotRunning, Unreachable
from dhtex.identity import NodeId, PublicKey, node_id_of, short_id
from dhtex.transport.address import Address, canonical
from dhtex.transport.codec import INT_MAX, FrameEncoder, Notification, Request
from dhtex.transport.datagram import Datagram, Kind, header
from dhtex.transport.greeter import HelloAnswer
from dhtex.transport.limits import REQUEST_TIMEOUT_MAX, Limits
from dhtex.transport.link import Link, Message
from dhtex.transport.links import Links
from dhtex.transport.rpc import Method
from dhtex.transport.secure import Boxes, KeyRing
from dhtex.transport.server import RpcHandler, Server

logger = logging.getLogger(__name__)

P = TypeVar("P")
R = TypeVar("R")


class Handler(Protocol):
    """What a group does with what it is told. Synchronous; does not raise, does not block."""

    def on_notifications(
        self,
        sender: PublicKey,
        node_id: NodeId,
        address: Address,
        notifications: Sequence[tuple[int, list[Any]]],
    ) -> None:
        """Everything one sender said in one turn of the loop, as (tag, params) in order of arrival.

        Never empty. Tags and integers are within range, `params` are of plain types; their meaning is
        unchecked.
        """
        ...


class Outlet(Protocol):
    """What a channel needs of its endpoint."""

    def now(self) -> float:
        """Monotonic seconds."""
        ...

    def wall(self) -> int:
        """Microseconds since the Unix epoch."""
        ...

    def wake(self, link: Link) -> None:
        """Have `link.take` called before long."""
        ...

    @property
    def at_once(self) -> AbstractContextManager[None]:
        """Has `link.take` called at the end of a block, for every link that waits for it."""
        ...

    def can_reach(self, address: Address) -> bool:
        """True when the socket could send there."""
        ...

    def admit_newcomer(self, source: Address, now: float) -> bool:
        """True when an unknown key at *source* may cost a key agreement."""
        ...

    async def hello(self, channel: Channel, address: Address, timeout: float) -> HelloAnswer:
        """See `Channel.hello`."""
        ...

    def detach(self, channel: Channel) -> None:
        """Forget the channel."""
        ...


class Channel:
    """One group on an endpoint. Made by `Endpoint.attach`.

    Attributes:
        group_id: 20 bytes.
    """

    def __init__(
        self,
        outlet: Outlet,
        keys: KeyRing,
        group_id: bytes,
        handler: Handler,
        *,
        stranger_tags: frozenset[int],
        stranger_methods: frozenset[str],
        allow: frozenset[NodeId] | None,
        encoder: FrameEncoder,
        datagram_bytes: int,
        limits: Limits,
        rng: random.Random,
        counters: Counter[str],
    ) -> None:
        self.group_id = group_id
        self._view_number: int | None = 0
        self._outlet = outlet
        self._keys = keys
        self._handler = handler
        self._stranger_tags = stranger_tags
        self._allow = allow
        self._encoder = encoder
        self._datagram_bytes = datagram_bytes
        self._limits = limits
        self._random = rng
        self._counters = counters
        self._header = header(Kind.BOX, group_id, keys.public_key)
        self._links = Links(limits.strangers)
        self._server = Server(encoder, counters, stranger_methods, self._send)
        self._inbox: dict[Link, list[Notification]] = {}
        self._closed = False

    @property
    def view_number(self) -> int | None:
        """Told to whoever says HELLO; 0 until it is set. While it is None, HELLO is not answered.

        Raises:
            ValueError: when set to something below 0 or beyond 63 bits.
        """
        return self._view_number

    @view_number.setter
    def view_number(self, number: int | None) -> None:
        if number is not None and not 0 <= number <= INT_MAX:
            raise ValueError(f"a view number lies between 0 and {INT_MAX}, {number} does not")
        self._view_number = number

    # Who is who

    def set_members(self, members: Collection[NodeId]) -> None:
        """The whole membership from now on; everybody else has the rights and the budget of a stranger."""
        self._links.set_members(members, self._outlet.now())

    def set_peer(self, public_key: PublicKey, address: Address) -> bool:
        """Say who is where, from a view or a HELLO.

        An address that a box proved in the last seconds is kept: hearsay may be old.

        Returns:
            False, and nothing changes, when the host is not numeric or no single host, when the socket cannot
            reach it, or when the key is not a key, is our own, or is not on the allow-list: such data comes
            from others.
        """
        if not self._outlet.can_reach(address):
            self._counters["refused_address"] += 1
            return False
        now = self._outlet.now()
        try:
            link = self._links.of_key(public_key)
            if link is None:
                link = self._new_link(public_key, node_id_of(public_key), now)
                self._links.add(link, now)
        except MalformedMessage as error:
            self._counters[f"refused_{error.reason}"] += 1
            return False
        link.set_address(canonical(address), now)
        return True

    def address_of(self, node_id: NodeId) -> Address | None:
        """Where a peer was last heard, or said to be."""
        link = self._links.of_node(node_id)
        return None if link is None else link.address

    def public_key_of(self, node_id: NodeId) -> PublicKey | None:
        """The key behind a node id, if it is known."""
        link = self._links.of_node(node_id)
        return None if link is None else link.public_key

    def may_talk(self, node_id: NodeId) -> bool:
        """True when there is no allow-list, or the node is on it."""
        return self._allow is None or node_id in self._allow

    async def hello(self, address: Address, timeout: float) -> HelloAnswer:
        """Ask who listens at *address*, which may hold a name; repeated until *timeout* seconds have passed.

        The answer is a claim and changes nothing here; pass it to `set_peer` to talk to its author.

        Raises:
            RpcTimeout: nobody of this group answered.
            Unreachable: the name has no address that the socket could reach.
            NotRunning: the channel is, or was meanwhile, closed.
        """
        self._check_open()
        return await self._outlet.hello(self, address, timeout)

    # One-way messages

    def notify(self, node_ids: Sequence[NodeId], notifications: Sequence[tuple[int, Sequence[Any]]]) -> None:
        """Send (tag, params) one way to each of *node_ids*. What a turn of the loop says to a peer travels together.

        Never repeated, and dropped when the peer's address is unknown, when it waited for `MESSAGE_LIFE` or
        when too much waits already (see `backlog`): the counters tell. Replication has its own
        acknowledgements.

        Raises:
            ValueError, TypeError, OverflowError: params that msgpack cannot carry, or longer than
                `MESSAGE_BYTES_MAX`.
        """
        frames = [self._encoder.notification(tag, params) for tag, params in notifications]
        now = self._outlet.now()
        for node_id in node_ids:
            link = self._links.of_node(node_id)
            if link is None or link.address is None or self._closed:
                self._counters["unsent_no_address"] += len(frames)
                continue
            for frame in frames:
                link.send(frame, now)
            self._outlet.wake(link)

    def backlog(self, node_id: NodeId) -> int:
        """Bytes for this peer that wait for its window; 0 when nothing does. For back-pressure."""
        link = self._links.of_node(node_id)
        return 0 if link is None else link.backlog

    # Calls

    async def call(self, node_id: NodeId, method: str, params: Sequence[Any], *, timeout: float) -> Any:
        """Ask a peer and await its answer. The request is repeated with growing pauses, and takes effect at
        most once.

        Cancelling the call ends it; an answer that still comes is dropped.

        Args:
            timeout: seconds, above 0 and at most `REQUEST_TIMEOUT_MAX`.
        Raises:
            RpcTimeout: no answer in time; whether the request took effect is not known.
            RpcError: the peer refused.
            Unreachable: no address of the peer is known.
            NotRunning: the channel is, or was meanwhile, closed.
            ValueError, TypeError, OverflowError: as in `notify`, or *timeout* out of range.
        """
        self._check_open()
        if not 0 < timeout <= REQUEST_TIMEOUT_MAX:
            raise ValueError(
                f"a call takes more than 0 and at most {REQUEST_TIMEOUT_MAX} seconds, not {timeout}"
            )
        link = self._links.of_node(node_id)
        if link is None or link.address is None:
            raise Unreachable(
                f"no address is known of {short_id(node_id)}; say HELLO to one of its addresses first"
            )
        now = self._outlet.now()
        call_id = link.next_number()
        frame = self._encoder.request(call_id, method, params)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def finish(result: Any, error: DhtexError | None) -> None:
            if answer.done():
                return
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)

        link.calls.start(
            call_id,
            frame,
            now=now,
            deadline=now + timeout,
            delay=2 * link.flight.round_trip.patience,
            finish=finish,
        )
        link.send(frame, now)
        self._outlet.wake(link)
        try:
            return await answer
        finally:
            link.calls.cancel(call_id)

    async def invoke(self, method: Method[P, R], node_id: NodeId, params: P, *, timeout: float) -> R:
        """`call`, typed.

        Raises:
            MalformedMessage: the answer is not a result of *method*.
            Others: like `call`.
        """
        result = await self.call(node_id, method.name, method.pack_params(params), timeout=timeout)
        return method.unpack_result(result)

    @property
    def at_once(self) -> AbstractContextManager[None]:
        """A block at whose end everything said so far is sent, rather than at the end of this turn of the loop.

        For one who knows that nothing more is coming: what others wait for leaves a turn earlier. Not to be awaited
        in: until the block ends, what others say meanwhile waits, too.
        """
        return self._outlet.at_once

    def register(self, method: str, handler: RpcHandler) -> None:
        """Answer *method* with *handler*, which may be synchronous or a coroutine function.

        `RpcError` of the handler is the caller's answer; so is `MalformedMessage`, as code `params`. Any
        other exception is logged here, and the caller hears no more than `internal`.

        Raises:
            ValueError: the name is too long, empty, or taken.
        """
        self._server.register(method, handler)

    def serve(self, method: Method[P, R], handler: Callable[[PublicKey, P], Awaitable[R]]) -> None:
        """`register`, typed, for a coroutine function.

        Raises:
            ValueError: like `register`.
        """

        async def answer(sender: PublicKey, params: list[Any]) -> Any:
            return method.pack_result(await handler(sender, method.unpack_params(params)))

        self.register(method.name, answer)

    async def close(self) -> None:
        """Leave the endpoint: calls end with `NotRunning`, running handlers are cancelled. Idempotent."""
        if not self._closed:
            self._closed = True
            self._outlet.detach(self)
            self._inbox.clear()
            for link in self._links:
                link.calls.fail(NotRunning("the channel was closed while a call waited for its answer"))
        await self._server.close()

    def _check_open(self) -> None:
        if self._closed:
            raise NotRunning("the channel is closed; attach the group again to go on")

    # Datagrams in, called by the endpoint

    def receive(self, datagram: Datagram, source: Address, now: float) -> None:
        """Take in a box. Its notifications wait for `deliver`.

        Raises:
            MalformedMessage: it is dropped.
        """
        link = self._links.of_key(datagram.sender)
        if link is None:
            link, messages = self._first_heard(datagram, source, now)
        else:
            messages = self._open(link, datagram, source, now)
        self._links.touch(link)
        for message in messages:
            if isinstance(message, Notification):
                if link.is_member or message.tag in self._stranger_tags:
                    self._inbox.setdefault(link, []).append(message)
                else:
                    self._counters["dropped_stranger"] += 1
            elif isinstance(message, Request):
                self._server.on_request(link, message)
            elif not link.calls.answered(message):
                self._counters["dropped_no_call"] += 1

    def deliver(self) -> None:
        """Hand what has arrived to the group, one call a sender."""
        inbox, self._inbox = self._inbox, {}
        for link, notifications in inbox.items():
            if link.address is None:
                continue
            try:
                self._handler.on_notifications(link.public_key, link.node_id, link.address, notifications)
            except Exception:  # a bug in the handler must not stop the socket
                self._counters["handler_failed"] += 1
                logger.exception("the handler of group %s failed", self.group_id.hex())

    def _open(self, link: Link, datagram: Datagram, source: Address, now: float) -> list[Message]:
        try:
            return link.receive(datagram.body, source, now)
        finally:
            self._outlet.wake(link)  # it may owe an acknowledgement, or a hint that it is behind

    def _first_heard(self, datagram: Datagram, source: Address, now: float) -> tuple[Link, list[Message]]:
        """A key not seen before. Of a stranger only a box that opens is remembered."""
        node_id = node_id_of(datagram.sender)
        if node_id in self._links.members:
            link = self._new_link(datagram.sender, node_id, now)
            self._links.add(link, now)
            return link, self._open(link, datagram, source, now)
        if self.may_talk(node_id) and not self._outlet.admit_newcomer(source, now):
            raise MalformedMessage("budget", "too many newcomers")
        link = self._new_link(datagram.sender, node_id, now)
        try:
            return link, self._open(link, datagram, source, now)
        finally:
            if link.is_proved:
                self._links.add(link, now)

    def _new_link(self, public_key: PublicKey, node_id: NodeId, now: float) -> Link:
        if not self.may_talk(node_id):
            raise MalformedMessage("allow_list")
        if public_key == self._keys.public_key:
            raise MalformedMessage("self")
        return Link(
            public_key=public_key,
            node_id=node_id,
            boxes=Boxes(self._keys, self.group_id, public_key),
            header=self._header,
            encoder=self._encoder,
            datagram_bytes=self._datagram_bytes,
            limits=self._limits,
            rng=self._random,
            counters=self._counters,
            now=now,
            wall=self._outlet.wall(),
        )

    def _send(self, link: Link, frame: bytes) -> None:
        link.send(frame, self._outlet.now())
        self._outlet.wake(link)
