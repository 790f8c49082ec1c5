"""Drives a replica: feeds it what happens, carries out what it wants, in one order, and decides nothing.

Three doors in: a command of the user, datagrams, and time (the timer, and the journal's word that something is
durable). After each: drain the effects, carry them out in order, re-arm the timer. The simulator drives the same
`Replica` class with doors of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol, TypeVar

from dhtex.dht.addresses import format_address, split_host_port
from dhtex.errors import MalformedMessage, StorageError, UsageError
from dhtex.identity import NodeId, PublicKey, node_id_of, short_id
from dhtex.replication import (
    STRANGERS_MAY_SEND,
    TAGS,
    AskViews,
    Destination,
    Effect,
    HistoryItem,
    Message,
    Now,
    OrderKey,
    Persist,
    ReadArchive,
    Record,
    Replica,
    Send,
    Status,
    ViewInstalled,
    decode,
    encode,
)
from dhtex.replication.values import node_id_of_key
from dhtex.transport import Address, Channel

logger = logging.getLogger(__name__)

T = TypeVar("T")

STRANGER_TAGS: Final = STRANGERS_MAY_SEND | {TAGS[Status]}
"""A member that was cut off while it slept shows by its status that it lacks views; without this it would not be
heard, and never learn. The replica takes nothing else from the status of a stranger."""


def now() -> Now:
    """This moment, for the replica."""
    return Now(time.time_ns() // 1000, time.monotonic_ns() // 1000)


class Store(Protocol):
    """What the driver needs of a journal."""

    def persist(self, ticket: int, records: Sequence[Record], *, urgent: bool) -> None:
        """Make durable, in order; never blocks."""
        ...

    def settle(self) -> None:
        """Say now what is durable already, rather than later in the loop."""
        ...

    async def read_archive(self, after: OrderKey, limit_bytes: int) -> list[HistoryItem] | None:
        """History after a key, or None when it is no longer kept."""
        ...


class Guard:
    """A bug below would leave a peer that looks alive and has no timer any more: stop instead, and say so."""

    def __init__(self, fail: Callable[[Exception], None]) -> None:
        self._fail = fail

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if not isinstance(error, Exception):
            return False
        self._fail(error)
        return True


class Driver:
    """One replica, its journal and its channel, in one event loop.

    Attributes:
        counters: what was dropped here, by reason.
    """

    def __init__(
        self,
        replica: Replica,
        store: Store,
        tell: Callable[[list[Effect]], None],
        fail: Callable[[Exception], None],
        *,
        may_found: bool,
    ) -> None:
        """Args:
        tell: gets everything the replica has to say, in order, after it was carried out.
        fail: gets what a bug raised where only the event loop would hear of it; the driver does nothing after it.
        may_found: without a view, answer whoever looks for a group. One who never founds has nothing to say to
            them: a newcomer would wait for it to found the group, for ever.
        """
        self.replica = replica
        self.counters: dict[str, int] = {}
        self._store = store
        self._tell = tell
        self._guard = Guard(self._stop)
        self._fail = fail
        self._may_found = may_found
        self._channel: Channel | None = None
        self._contacts: set[NodeId] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0
        self._drain_soon: asyncio.Handle | None = None
        self._open = True
        self._draining = False
        self._doers: dict[type[Any], Callable[[Any], None]] = {
            Send: self._send,
            Persist: self._persist,
            ReadArchive: self._read,
            ViewInstalled: lambda _: self._know_members(),
        }

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self, channel: Channel) -> None:
        """Begin; the effects of the replica's recovery are carried out first."""
        self._channel = channel
        self._know_members()
        self.drain()

    async def close(self) -> None:
        """Carry out nothing more. Idempotent."""
        self._open = False
        for handle in (self._timer, self._drain_soon):
            if handle is not None:
                handle.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- in -----------------------------------------------------------------------------------------------------

    def submit(self, commands: bytes, count: int, register: Callable[[int], T]) -> T:
        """Give own commands to the replica. Raises what `Replica.submit` raises.

        Args:
            register: gets the number of the first command, before anything is said about it.
        """
        alone = self._drain_soon is None and not self.replica.pending_count
        registered = register(self.replica.submit(commands, count, now()))
        # What is submitted in one turn travels together at its end, but nobody waits for company that may not come.
        if alone:
            self._drain_at_once()
        elif self._drain_soon is None:
            self._drain_soon = asyncio.get_running_loop().call_soon(self._on_turn)
        return registered

    def on_notifications(
        self,
        sender: PublicKey,
        node_id: NodeId,
        address: Address,
        notifications: Sequence[tuple[int, list[Any]]],
    ) -> None:
        """Everything one sender said in one turn of the loop."""
        if not self._open:
            return
        messages: list[Message] = []
        for tag, params in notifications:
            try:
                messages.append(decode(tag, params))
            except MalformedMessage as error:
                self.counters[error.reason] = self.counters.get(error.reason, 0) + 1
                logger.debug("dropped a message of %s: %s", short_id(node_id), error)
        if messages:
            with self._guard:
                self.replica.receive(sender, format_address(address), messages, now())
                self.drain()
                self._store.settle()

    def on_persisted(self, ticket: int) -> None:
        """The journal holds everything up to *ticket*."""
        with self._guard:
            if self._open:
                self.replica.persisted(ticket, now())
                self._drain_at_once()

    def on_full(self) -> None:
        """The journal has no room."""
        with self._guard:
            if self._open:
                self.replica.storage_full(now())
                self.drain()

    def on_room(self) -> None:
        """The journal has room again."""
        with self._guard:
            if self._open:
                self.replica.storage_ok(now())
                self.drain()

    def join(self, contacts: Iterable[Destination]) -> None:
        """Follow the group of *contacts* and become a member."""
        known = list(contacts)
        self._contacts = {node_id_of(contact.public_key) for contact in known}
        self._know_members()
        self.replica.join(known, now())
        self.drain()

    def observe(self, contacts: Iterable[Destination]) -> None:
        """Follow the group of *contacts* without becoming a member."""
        known = list(contacts)
        self._contacts = {node_id_of(contact.public_key) for contact in known}
        self._know_members()
        self.replica.observe(known, now())
        self.drain()

    def learn(self, contact: Destination) -> None:
        """Somebody of the group is at this address, by its own word. Asking for views makes two groups meet."""
        channel, view = self._channel, self.replica.view
        address = _address(contact.address)
        if channel is None or address is None or not channel.set_peer(contact.public_key, address):
            return
        node_id = node_id_of(contact.public_key)
        if view is not None and node_id not in view.index:
            channel.notify([node_id], [encode(AskViews(self.replica.lineage, view.number))])

    def found(self) -> None:
        """Found a group of one."""
        self.replica.found(now())
        self.drain()

    def leave(self) -> None:
        """Let what is pending become final, then leave the group."""
        self.replica.leave(now())
        self.drain()

    def _on_turn(self) -> None:
        self._drain_soon = None
        with self._guard:
            self.drain()

    def _on_timer(self) -> None:
        self._timer = None
        with self._guard:
            self.replica.tick(now())
            self.drain()

    def _stop(self, error: Exception) -> None:
        self._open = False
        self._fail(error)

    # -- out ----------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Carry out everything the replica wants, tell the rest, and set the timer to its next deadline."""
        if self._draining:  # a listener called back in; the loop below goes on with what that caused
            return
        self._draining = True
        try:
            while self._open and (effects := self.replica.take_effects()):
                for effect in effects:
                    carry_out = self._doers.get(type(effect))
                    if carry_out is not None:
                        carry_out(effect)
                self._tell(effects)
        finally:
            self._draining = False
        self._arm()

    def _drain_at_once(self) -> None:
        """`drain`, and send what it wants sent now rather than at the end of this turn: others wait for it."""
        with self._channel.at_once if self._channel is not None else contextlib.nullcontext():
            self.drain()

    def _persist(self, effect: Persist) -> None:
        self._store.persist(effect.ticket, effect.records, urgent=effect.urgent)

    def _read(self, effect: ReadArchive) -> None:
        task = asyncio.ensure_future(self._read_archive(effect))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _send(self, effect: Send) -> None:
        channel = self._channel
        if channel is None:
            return
        receivers: list[NodeId] = []
        for destination in effect.to:
            node_id = node_id_of_key(destination.public_key)
            if channel.address_of(node_id) is None:
                address = _address(destination.address)
                if address is None or not channel.set_peer(destination.public_key, address):
                    logger.debug("no usable address for %s: %r", short_id(node_id), destination.address)
                    continue
            receivers.append(node_id)
        channel.notify(receivers, [encode(effect.message)])

    async def _read_archive(self, effect: ReadArchive) -> None:
        try:
            items = await self._store.read_archive(effect.after, effect.limit_bytes)
        except StorageError as error:
            logger.warning("cannot read the journal for another peer: %s", error)
            items = None
        with self._guard:
            if self._open:
                self.replica.archive(effect.request, items, now())
                self.drain()

    def _know_members(self) -> None:
        """Who may say more than a stranger: members of the view, and those this peer follows."""
        if self._channel is None:
            return
        view = self.replica.view
        members = {NodeId(node_id) for node_id in view.node_ids} if view is not None else set()
        self._channel.set_members(members | self._contacts)
        if view is not None:
            self._channel.view_number = view.number
        else:
            self._channel.view_number = 0 if self._may_found else None

    def _arm(self) -> None:
        # A timer that fires too early finds nothing to do and is set anew: cheaper than moving it with every input.
        deadline = self.replica.next_deadline
        if not self._open or (self._timer is not None and self._timer_at <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        delay = max(0, deadline - time.monotonic_ns() // 1000) / 1e6
        self._timer_at = deadline
        self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)


def _address(text: str) -> Address | None:
    """The address that a member gave; None for what is not one."""
    try:
        return split_host_port(text)
    except UsageError:
        return None
