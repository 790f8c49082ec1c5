"""A participant in one market: the class a program embeds.

cli, gateway, your program
        | buy, sell, cancel           trades, book changes, group events
        v                                          ^
      Peer ---- Ledger (handles) <---- results ----+
        |                                          |
      Driver ---- Replica ---- Exchange (engine and locks)
      |     |
Journal     Channel ---- Node (one UDP socket, one DHT client)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from pathlib import Path
from random import SystemRandom
from typing import Any, Final, Self

from dhtex.dht import BootstrapReached, BootstrapUnreachable, Discovery
from dhtex.dht.addresses import checked, format_address, split_host_port
from dhtex.errors import DhtexError, NotRunning, UsageError
from dhtex.exchange import Exchange, encode_lock
from dhtex.identity import NODE_ID_SIZE, Identity, NodeId, short_id
from dhtex.journal import Durability, Journal
from dhtex.locks import LockRequest
from dhtex.matching import (
    Command,
    MarketSpec,
    OrderId,
    encode_commands,
)
from dhtex.peer.book import Book
from dhtex.peer.driver import STRANGER_TAGS, Driver, now
from dhtex.peer.home import Home
from dhtex.peer.locking import Held, Locks
from dhtex.peer.meeting import Founding, Meeting
from dhtex.peer.narration import narrate
from dhtex.peer.node import Node
from dhtex.peer.orders import Ledger, Orders
from dhtex.peer.reports import BookChange, GroupEvent, Position, TradeReport, book_change, trades_of
from dhtex.peer.seeking import Seeking
from dhtex.peer.streams import Stream, Subscription
from dhtex.peer.trading import Trading
from dhtex.replication import (
    Accepted,
    CatchUp,
    Effect,
    Finalized,
    Persist,
    Replica,
    ReplicaConfig,
    Restored,
    Role,
    RoleChanged,
    Send,
    View,
)

logger = logging.getLogger(__name__)

HISTORY_TRADES: Final = 1_000
"""Trades of the journal's history, the last ones, that whoever subscribed before the start is told."""

LEAVE_TIMEOUT_S: Final = 5.0
"""How long an orderly leave may take; without a quorum it cannot be agreed, and is not waited for longer."""


class Peer(Trading):
    """One participant in one market. Use it with `async with`; several may run in one loop and one process.

    Attributes:
        spec: the market.
        book: the book as the final commands left it.
        node: identity and sockets, shared with other markets when it was given.
    """

    def __init__(
        self,
        market: str | MarketSpec,
        *,
        bootstrap: Sequence[str] = (),
        contacts: Sequence[str] = (),
        identity: Identity | str | None = None,
        data_dir: Path | str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        advertise: str | None = None,
        founding: Founding = Founding.AUTO,
        observe: bool = False,
        wait: bool = True,
        durability: Durability = "fsync",
        allow: Iterable[bytes] | None = None,
        max_datagram: int = 1200,
        config: ReplicaConfig | None = None,
        node: Node | None = None,
    ) -> None:
        """A peer that does nothing yet.

        Args:
            market: a symbol, for a market with the default tick 0.01 and lot 0.00000001, or a whole definition.
            bootstrap: `host:port` of Grapes. Without any, and without *contacts*, it founds a group of its own.
            contacts: `host:port` of peers of the market, asked beside those that Grapes name.
            identity: a key pair, or the name of one in *data_dir*; by default `default` there, or a fresh one.
            data_dir: where identities and journals are kept. None keeps nothing: such a peer is a new one after
                a crash, and what only it knew is gone.
            host, port, advertise, max_datagram: as for `Node`.
            founding: whether it may found a group, must, or must not.
            observe: follow the market without becoming a member: reads everything, submits nothing.
            wait: entering `async with` waits until the peer is part of its group, however long it takes; False
                returns once it listens, and `ready()` waits. A peer that was a member before accepts orders at once,
                and they are pending; a new one raises `Busy` until it has joined.
            durability: `fsync` survives power failure, `os` only the death of the process.
            allow: node ids that may talk in this market; None means anyone may join.
            config: timings and limits of replication.
            node: sockets and identity to share; then *identity*, *host*, *port*, *advertise*, *bootstrap* and
                *max_datagram* are the node's.
        Raises:
            MarketError, UsageError: an argument makes no sense.
            StorageError: *data_dir* or the key file cannot be used.
        """
        self.spec = market if isinstance(market, MarketSpec) else MarketSpec(market)
        self._home = Home(Path(data_dir)) if data_dir is not None else None
        self._owns_node = node is None
        self.node = node or Node(
            self._identity(identity),
            bootstrap=bootstrap,
            host=host,
            port=port,
            advertise=advertise,
            max_datagram=max_datagram,
        )
        self._contacts = tuple(split_host_port(contact) for contact in checked(contacts, "contacts"))
        if not isinstance(founding, Founding):
            raise UsageError(f"founding is a member of Founding, such as Founding.JOIN, not {founding!r}")
        self._founding = founding
        self._observe = observe
        self._wanted = frozenset({Role.OBSERVING if observe else Role.MEMBER})
        self._wait = wait
        self._durability = durability
        self._allow = _allowed(allow) if allow is not None else None
        self._config = config if config is not None else ReplicaConfig()
        self._exchange = Exchange(self.spec)
        self.book = Book(self.spec, self._exchange.engine)
        self._ledger = Ledger(self.spec, self.node_id)
        self._locks = Locks(self._submit_lock, lambda: now().wall)
        self._trades: Stream[TradeReport] = Stream()
        self._changes: Stream[BookChange] = Stream()
        self._events: Stream[GroupEvent] = Stream()
        self._progress: Stream[CatchUp] = Stream()
        self._moved = asyncio.Event()  # set, and replaced, whenever final commands or the role moved on
        self._failed: DhtexError | None = None
        self._started = False
        self._recovered = False
        self._told_role: Role | None = None
        self._stack = contextlib.AsyncExitStack()
        self._driver: Driver | None = None

    def _identity(self, identity: Identity | str | None) -> Identity:
        if isinstance(identity, Identity):
            return identity
        if self._home is not None:
            return self._home.identity(identity or "default")
        if identity is not None:
            raise UsageError("an identity by name needs a data directory to find it in")
        return Identity.generate()

    def __repr__(self) -> str:
        state = self.role.value if self._driver is not None else "not running"
        return f"<Peer {short_id(self.node_id)} {self.spec.symbol} {state}>"

    # -- life ---------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Listen, recover what the journal has, find the group.

        Raises:
            PortInUse, NetworkError: cannot listen.
            JournalLocked, JournalForeign, JournalCorrupt, StorageError: the journal cannot be used; it is kept.
            NotRunning: the given node is not running.
        """
        if self._started:
            raise UsageError("a peer runs once; make another one")
        self._started = True
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._end)
            await self._start(stack)
            if self._wait:
                await self.ready()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave the group in order, if that can be agreed within a few seconds, and close everything."""
        await self._stack.aclose()

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        if self._owns_node:
            await stack.enter_async_context(self.node)
        journal = self._open_journal()
        await stack.enter_async_context(journal)
        address = format_address(self.node.address)
        replica = Replica(
            self.spec.group_id,
            self.node.identity,
            self._exchange,
            self._config,
            SystemRandom(),
            now(),
            address=address,
            recovered=journal.state,
        )
        may_found = self._founding is not Founding.JOIN and not self._observe
        driver = Driver(replica, journal, self._hear, self._bug, may_found=may_found)
        journal.attach(
            on_persisted=driver.on_persisted,
            on_full=self._on_full,
            on_room=self._on_room,
            on_failed=self._fail,
        )
        channel = self.node.endpoint.attach(
            self.spec.group_id, driver, stranger_tags=STRANGER_TAGS, allow=self._allow
        )
        stack.push_async_callback(channel.close)
        meeting = Meeting(
            channel,
            self.node.discovery,
            node_id=self.node_id,
            own=self.node.address,
            direct=self._contacts,
            tell=lambda sentence: self._publish(GroupEvent("seeking", sentence)),
        )
        self._driver = driver
        stack.push_async_callback(self._stop, driver)
        driver.start(channel)
        self._recovered = True
        seeking = Seeking(driver, meeting, self._founding, observe=self._observe)
        tasks = [self._task(seeking.run())]
        if self.node.discovery is not None:
            tasks.append(self._task(self._watch_discovery(self.node.discovery)))
        stack.push_async_callback(_cancel, tasks)
        stack.push_async_callback(self._leave)

    def _open_journal(self) -> Journal:
        if self._home is None:
            return Journal.ephemeral(identity_node_id=self.node_id, group_id=self.spec.group_id)
        return Journal.open(
            self._home.journal(self.spec, self.node_id),
            identity_node_id=self.node_id,
            group_id=self.spec.group_id,
            market=self.spec.canonical(),
            durability=self._durability,
        )

    async def _stop(self, driver: Driver) -> None:
        await driver.close()
        self._driver = None
        self._ledger.abandon()
        self._locks.fail(NotRunning("the peer was closed while a lock was waited for"))
        self._wake()

    def _end(self) -> None:
        """Nothing more will be told; also when the start failed."""
        for stream in (self._trades, self._changes, self._events, self._progress):
            stream.close()

    async def _leave(self) -> None:
        """Tell the group, so that it goes on without waiting for this peer to be suspected."""
        driver = self._driver
        if driver is None or self._failed is not None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                driver.leave()
                if driver.replica.role in {Role.MEMBER, Role.FROZEN} and not driver.replica.has_quorum:
                    patience = (
                        f"{short_id(self.node_id)} leaves when a quorum agrees, or in {LEAVE_TIMEOUT_S:.0f} s"
                    )
                    self._publish(GroupEvent("leaving", patience))
                while driver.replica.role is not Role.LEFT and self._driver is not None:
                    await self._moved.wait()

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task whose failure is told and ends the peer's promises, rather than lost."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None or isinstance(error, NotRunning):
            return
        if isinstance(error, DhtexError):
            self._fail(error)
        else:
            self._bug(error)

    def _bug(self, error: BaseException) -> None:
        logger.error("a bug: the peer cannot go on", exc_info=error)
        self._fail(DhtexError(f"internal error: {error!r}; please report it"))

    async def _watch_discovery(self, discovery: Discovery) -> None:
        async for event in discovery.events():
            if isinstance(event, BootstrapUnreachable):
                self._publish(GroupEvent("no_bootstrap", str(event)))
            elif isinstance(event, BootstrapReached):
                self._publish(GroupEvent("bootstrap", str(event)))

    # -- what the replica and the journal say --------------------------------------------------------------------

    def _hear(self, effects: list[Effect]) -> None:
        moved = False
        for effect in effects:
            kind = type(effect)
            if kind is Send or kind is Persist:  # nearly all there are, and nothing to tell
                continue
            if kind is Finalized:
                moved = True
                continue
            match effect:
                case Accepted(first_n, count):
                    self._ledger.accept(first_n + count - 1)
                    continue
                case CatchUp():
                    self._progress.publish(effect)
                case Restored(_, _, own_n):
                    moved = True
                    self._ledger.skip(own_n)
                case RoleChanged(role):
                    moved = True
                    if not self._is_news(role):
                        continue
            event = narrate(effect, self.node_id, recovered=self._recovered)
            if event is not None:
                self._publish(event)
        if moved:
            self._apply()
            self._wake()

    def _is_news(self, role: Role) -> bool:
        """A member freezes for a moment at every change of the view; what people want to hear of is told as view."""
        if role is Role.FROZEN or role is self._told_role:
            return False
        self._told_role = role
        return True

    def _apply(self) -> None:
        trades: deque[TradeReport] = deque(maxlen=None if self._recovered else HISTORY_TRADES)
        for applied in self._exchange.take_applied():
            self._ledger.finalize(applied)
            for position, event in applied.locks:
                if event.node_id == self.node_id:
                    self._locks.on_event(event, position)
            if self._trades:
                trades.extend(trades_of(self.spec, applied))
            if self._changes:
                last = applied.position + applied.count - 1
                self._changes.publish(*(book_change(self.spec, change, last) for change in applied.changes))
        self._exchange.watched = bool(self._changes)
        if trades:
            self._trades.publish(*trades)

    def _publish(self, event: GroupEvent) -> None:
        logger.info("%s: %s", self.spec.symbol, event.text)
        self._events.publish(event)

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def _on_full(self, sentence: str) -> None:
        if self._driver is not None:
            self._driver.on_full()
        self._publish(GroupEvent("disk_full", sentence))

    def _on_room(self) -> None:
        if self._driver is not None:
            self._driver.on_room()
        self._publish(GroupEvent("disk_room", "the disk has room again; orders are accepted"))

    def _fail(self, error: DhtexError) -> None:
        """The peer cannot go on, as when its journal failed: nothing more can be promised."""
        self._failed = error
        self._publish(GroupEvent("failed", str(error)))
        self._ledger.abandon()
        self._locks.fail(error)
        self._wake()

    # -- what it is ---------------------------------------------------------------------------------------------

    @property
    def replica(self) -> Replica:
        """The replica behind this peer, for looking at.

        Raises:
            NotRunning: outside `async with`.
        """
        return self._running().replica

    def _running(self) -> Driver:
        if self._failed is not None:
            raise self._failed
        if self._driver is None:
            raise NotRunning("the peer runs inside `async with` only")
        return self._driver

    @property
    def node_id(self) -> NodeId:
        """20 bytes; the owner of this peer's orders."""
        return self.node.identity.node_id

    @property
    def address(self) -> str:
        """`host:port` where other peers reach this one."""
        return format_address(self.node.address)

    @property
    def role(self) -> Role:
        """What this peer is in its group now."""
        return self.replica.role

    @property
    def is_catching_up(self) -> bool:
        """True while what becomes final here is history to the group."""
        return self._driver is not None and self._driver.replica.role in (Role.JOINING, Role.EVICTED)

    @property
    def view(self) -> View | None:
        """The membership as this peer knows it, or None."""
        return self.replica.view

    @property
    def has_quorum(self) -> bool:
        """False while this peer hears fewer than a majority of the members: orders are pending."""
        return self.replica.has_quorum

    @property
    def is_ready(self) -> bool:
        """Part of its group: a member, or an observer when it only observes. False while it is being decided anew."""
        return self.replica.role in self._wanted

    @property
    def counters(self) -> dict[str, int]:
        """What happened to datagrams (of all markets on the node), and `malformed_…` messages of this market.

        The words of the datagrams are listed in `docs/reference/wire-format.md`.
        """
        malformed = {f"malformed_{reason}": n for reason, n in self._running().counters.items()}
        return {**self.node.endpoint.counters, **malformed}

    def position(self) -> Position:
        """How far this peer is in the total order, and the digest there."""
        replica = self.replica
        return Position(replica.position, replica.digest)

    def pending(self) -> list[tuple[OrderId, Command]]:
        """Own commands submitted by this process and not final yet, oldest first."""
        return self._ledger.pending()

    @property
    def pending_count(self) -> int:
        """How many commands `pending` lists."""
        return len(self._ledger)

    async def ready(self) -> None:
        """Wait until this peer is part of its group: a member, or an observer when it only observes.

        Raises:
            NotRunning: the peer was closed first.
            StorageError: the journal failed.
        """
        while self._running().replica.role not in self._wanted:
            await self._moved.wait()

    async def failure(self) -> DhtexError:
        """Wait until the peer cannot go on, as when its journal fails; gives the reason.

        Raises:
            NotRunning: the peer was closed first.
        """
        while self._failed is None:
            if self._driver is None:
                raise NotRunning("the peer was closed")
            await self._moved.wait()
        return self._failed

    async def reached(self, number: int) -> Position:
        """Wait until *number* commands are final here. Raises as `ready`."""
        while self._running().replica.position < number:
            await self._moved.wait()
        return self.position()

    # -- orders -------------------------------------------------------------------------------------------------

    def submit_all(self, commands: Sequence[Command]) -> Orders:
        """`send_all` without waiting. Raises as `submit`."""
        driver = self._submitting()
        blob = encode_commands(commands)
        return driver.submit(blob, len(commands), lambda first_n: self._ledger.add(first_n, commands))

    def _submitting(self) -> Driver:
        if self._observe:
            raise UsageError("an observer submits nothing; start without observe to trade")
        return self._running()

    async def _room(self) -> None:
        await self._moved.wait()

    # -- locks --------------------------------------------------------------------------------------------------

    def lock(self, name: str, lease_s: float = 30.0) -> contextlib.AbstractAsyncContextManager[Held]:
        """`async with peer.lock("settlement") as held:` one node at a time, in the order of asking.

        Args:
            name: 1 to 64 bytes of UTF-8.
            lease_s: seconds after which it is no longer held, so that a crash blocks nobody for longer; up to an hour.
                `held.renew()` begins another lease; `held.token` tells a later holder from an earlier one.
        Raises:
            UsageError: a name or lease out of range, or an observer asks.
            Busy: too many locks or waiters, or too much is pending.
            NotRunning, StorageError: the peer was closed, or its journal failed, while it waited.
        """
        return self._locks.hold(name, lease_s)

    def _submit_lock(self, request: LockRequest) -> int:
        return self._submitting().submit(encode_lock(request), 1, lambda n: n)

    # -- streams ------------------------------------------------------------------------------------------------

    def trades(self) -> Subscription[TradeReport]:
        """Every trade of the market from now on: `async for trade in peer.trades()`. Raises `FellBehind`.

        Before the start it also gives the last trades of the journal's history.
        """
        return self._trades.subscribe()

    def book_changes(self) -> Subscription[BookChange]:
        """Every changed price level from now on; applied to `book.depth()` taken before, they give the next."""
        self._exchange.watched = True
        return self._changes.subscribe()

    def group_events(self) -> Subscription[GroupEvent]:
        """Views, suspicions, quorum, catching up: what happens to the group, as sentences."""
        return self._events.subscribe()

    def progress(self) -> Subscription[CatchUp]:
        """How catching up goes, for a progress bar."""
        return self._progress.subscribe()


def _allowed(node_ids: Iterable[bytes]) -> frozenset[NodeId]:
    ids = frozenset(NodeId(node_id) for node_id in node_ids)
    if not {bytes}.issuperset(map(type, ids)) or any(len(node_id) != NODE_ID_SIZE for node_id in ids):
        raise UsageError(f"allow is a list of node ids, each of {NODE_ID_SIZE} bytes, not {node_ids!r}")
    return ids


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
