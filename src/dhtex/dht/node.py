"""A DHT node: `async with DhtNode(...)`, then announce, look up, put and get. The package's server, made
safe.

Names are the work of `directory.py`, items of `archive.py`, staying part of the network of `keeper.py`. This
file ties them to one socket and one life: nothing of a node is left when its `async with` ends (8).
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kademlia.network import Server

from dhtex.dht import addresses as addressing
from dhtex.dht.archive import Archive
from dhtex.dht.contacts import Contact
from dhtex.dht.directory import Directory, Kept
from dhtex.dht.events import EventFeed, EventStream
from dhtex.dht.face import Address, AnnouncementStored, ContactFound, ContactLost
from dhtex.dht.items import Item
from dhtex.dht.keeper import Keeper
from dhtex.dht.methods import LIFETIME_S_MAX
from dhtex.dht.network import Network
from dhtex.dht.protocol import Protocol
from dhtex.dht.serving import REPUBLISH_S, Serving
from dhtex.dht.settings import DEFAULTS, Settings
from dhtex.dht.state import Memory, Saved, StateFile
from dhtex.dht.stores import Announcements, Items, Stored
from dhtex.dht.table import Table
from dhtex.dht.upkeep import Upkeep
from dhtex.dht.wire import NODE_ID_SIZE
from dhtex.errors import NetworkError, NotRunning, PortInUse, UsageError

log = logging.getLogger(__name__)

RECEIVE_BUFFER = 1 << 22
"""Bytes asked of the kernel for datagrams that wait; it may grant fewer."""


def key_of(name: bytes | str) -> bytes:
    """The 20-byte key of a name: SHA-1 of its bytes, as the package's `digest`."""
    data = name.encode() if isinstance(name, str) else name
    return hashlib.sha1(data).digest()  # noqa: S324  # an id, not a proof


def check_key(key: bytes | str) -> bytes:
    """A text is a name and is hashed; 20 bytes are a key.

    Raises:
        UsageError: bytes of another length.
    """
    if isinstance(key, str):
        return key_of(key)
    if len(key) != NODE_ID_SIZE:
        raise UsageError(
            f"a key has {NODE_ID_SIZE} bytes, this has {len(key)}; give a text to have it hashed"
        )
    return bytes(key)


class DhtNode(Server):  # type: ignore[misc]  # kademlia ships no types
    """A full node. Several may live in one process and one event loop."""

    is_client = False

    def __init__(
        self,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        bootstrap: Iterable[str] = (),
        node_id: bytes | None = None,
        settings: Settings = DEFAULTS,
        state: Path | None = None,
    ) -> None:
        """A node that is not running yet.

        Args:
            port: UDP port to listen on, 0 for one from the system.
            host: address to bind; `"::"` takes IPv4 and IPv6.
            bootstrap: "host:port" of nodes to start from; they may be down and are tried until they answer.
            node_id: 20 bytes; by default what *state* remembers, or random.
            settings: limits and times.
            state: a file to keep the id, contacts and items in across restarts; None keeps nothing.
        Raises:
            UsageError: an argument makes no sense.
        """
        if node_id is not None and len(node_id) != NODE_ID_SIZE:
            raise UsageError(f"a node id has {NODE_ID_SIZE} bytes, this has {len(node_id)}")
        if not 0 <= port <= addressing.PORT_MAX:
            raise UsageError(f"{port} is not a port; give one from 1 to 65535, or 0 for any")
        self.settings = settings
        self._given_id = node_id
        self._node_id = node_id or secrets.token_bytes(NODE_ID_SIZE)
        self._state = state
        self._port = port
        self._host = host
        self._bootstrap = addressing.checked(bootstrap, "bootstrap")
        self._feed = EventFeed()
        self._running: _Running | None = None

    # --- life ---

    async def __aenter__(self) -> Self:
        """Bind the socket and start looking for the network in the background.

        Raises:
            PortInUse: another program has the port.
            NetworkError: the address is not one of this machine's.
            StorageError: the state file cannot be used; the sentence says what to do.
            UsageError: it runs already.
        """
        if self._running is not None:
            raise UsageError("the DHT node runs already")
        if self._state is None:
            self._running = await self._start(None, None)
            return self
        file = await asyncio.to_thread(StateFile.open, self._state)
        try:
            saved = await asyncio.to_thread(file.load, self._node_id)
            self._node_id = self._given_id or saved.node_id
            self._running = await self._start(file, saved)
        except BaseException:
            file.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        running, self._running = self._running, None
        if running is not None:
            await running.close()
        self._feed.close()

    async def _start(self, file: StateFile | None, saved: Saved | None) -> _Running:
        loop = asyncio.get_running_loop()
        table = Table(self._node_id, self.settings.ksize, loop.time())
        serving = None
        if not self.is_client:
            serving = Serving(
                table,
                Announcements(self.settings.age_s, count_max=self.settings.announcements_max),
                Items(count_max=self.settings.items_max),
            )
            serving.on_announced = lambda key, address: self._feed.tell(AnnouncementStored(key, address))
        listener = _bind(self._host, self._port)
        try:
            _, protocol = await loop.create_datagram_endpoint(
                lambda: Protocol(self._node_id, table, serving, self.settings.rates), sock=listener
            )
        except BaseException:
            listener.close()
            raise
        address = addressing.from_sockaddr(listener.getsockname())
        network = Network(protocol, table, self.settings, is_client=self.is_client)
        running = _Running(network, serving, address, self._bootstrap, self._feed, file)
        if saved is not None:
            running.restore(saved)
        log.info("listening on %s", addressing.format_address(address))
        return running

    @property
    def _now(self) -> _Running:
        if self._running is None:
            raise NotRunning("the DHT node is not running; use it inside its `async with`")
        return self._running

    # --- what it is ---

    @property
    def node_id(self) -> bytes:
        """20 bytes."""
        return self._node_id

    @property
    def dht_address(self) -> str:
        """Where the socket listens: `"127.0.0.1:20001"`, IPv6 as `"[::1]:20001"`."""
        return addressing.format_address(self._now.address)

    @property
    def contacts(self) -> list[Contact]:
        """The routing table."""
        return list(self._now.network.table)

    @property
    def live_count(self) -> int:
        """Contacts that answered last time."""
        return self._now.network.table.live_count

    @property
    def counters(self) -> Counter[str]:
        """What happened to datagrams, by fixed words: `received`, `malformed_arity`, `over_limit`, ..."""
        return self._now.network.protocol.counters

    @property
    def announcement_count(self) -> int:
        """Announcements kept for others and for itself."""
        serving = self._now.serving
        return 0 if serving is None else len(serving.announcements)

    @property
    def item_count(self) -> int:
        """Items kept."""
        serving = self._now.serving
        return 0 if serving is None else len(serving.items)

    @property
    def is_ready(self) -> bool:
        """True once a contact was found, or at once when no bootstrap was given."""
        return self._now.keeper.is_ready.is_set()

    async def ready(self) -> None:
        """Wait until `is_ready`."""
        await self._now.keeper.is_ready.wait()

    def events(self) -> EventStream:
        """What happens from now on, as an async iterator; a reader 1,000 events behind misses the oldest."""
        return self._feed.open()

    # --- what it does ---

    async def announce(self, key: bytes | str, port: int) -> int:
        """Say that a service is at this machine's address and *port*, until `unannounce`; see
        `Discovery.announce`.
        """
        return (await self._now.directory.keep_announcing(check_key(key), _check_port(port))).total

    async def announce_once(self, key: bytes | str, port: int) -> Kept:
        """As `announce`, but it ends with its age: whoever calls this calls it again. Says who keeps it."""
        return await self._now.directory.announce(check_key(key), _check_port(port))

    def announced(self, key: bytes, port: int) -> Kept | None:
        """Who keeps the service, if it was announced so lately that again would change nothing, else None."""
        return self._now.directory.told(key, port)

    async def unannounce(self, key: bytes | str, port: int) -> bool:
        """Take an announcement back, here and at the nodes that keep it; true when there was one."""
        return await self._now.directory.unannounce(check_key(key), _check_port(port))

    async def lookup(self, key: bytes | str) -> list[Address]:
        """Addresses announced under *key*, at most 100, in random order."""
        return await self._now.directory.lookup(check_key(key))

    def lookup_known(self, key: bytes | str) -> list[Address] | None:
        """As `lookup` when that needs no question to the network now, else None."""
        return self._now.directory.known(check_key(key))

    async def put(self, item: Item, *, cas: int | None = None, life_s: int = LIFETIME_S_MAX) -> int:
        """Store an item at the nodes closest to its key; see `Archive.put`."""
        return await self._now.archive.put(item, cas, life_s)

    def is_put(self, key: bytes) -> bool:
        """True when the immutable item was put so lately that doing it again would change nothing anywhere."""
        return self._now.archive.is_fresh(key)

    async def get(self, key: bytes) -> Item | None:
        """The latest valid item of a 20-byte *key*, or None."""
        found = await self._now.archive.get(check_key(key))
        return None if found is None else found[0]

    async def get_from(self, key: bytes) -> tuple[Item, bytes] | None:
        """As `get`, with the id of a node that holds it."""
        return await self._now.archive.get(check_key(key))

    async def set(self, key: Any, value: Any) -> bool:
        """Not offered: a value that proves nothing can be overwritten and lied about by anybody (12, 13).

        Raises:
            UsageError: always; use `put` with an `Item`, or `announce`.
        """
        raise UsageError("a value needs a proof: put an immutable or signed Item, or announce an address")

    def stop(self) -> None:
        """Not offered: it left tasks and timers behind (8).

        Raises:
            UsageError: always; leave the `async with` instead.
        """
        raise UsageError("leave the `async with` of the node to stop it")


class DhtClient(DhtNode):
    """A node that uses the network and stores nothing for others: it stays out of their routing tables (BEP
    43).
    """

    is_client = True


class _Running:
    """What exists only while a node runs."""

    def __init__(
        self,
        network: Network,
        serving: Serving | None,
        address: Address,
        bootstrap: tuple[str, ...],
        feed: EventFeed,
        file: StateFile | None,
    ) -> None:
        self.network = network
        self.serving = serving
        self.address = address
        self.directory = Directory(network, serving, address)
        self.archive = Archive(network, serving)
        self._feed = feed
        self.keeper = Keeper(network, bootstrap, feed.tell, self._tidy, self.directory.announce_soon)
        network.table.on_entered = self._contact_found
        network.table.on_left = self._contact_lost
        self._tasks = [
            _started(self.keeper.run),
            _started(self.directory.run),
        ]
        self._upkeep = None
        if serving is not None:
            self._upkeep = Upkeep(network, serving.items)
            self._tasks += [_started(self._upkeep.hand_over), _started(self._upkeep.republish)]
        self._memory = None
        if file is not None:
            self._memory = Memory(file, self._known_addresses, self._held_items)
            if serving is not None:
                serving.items.on_put = self._memory.changed
            self._tasks.append(_started(self._memory.run))

    def _known_addresses(self) -> list[Address]:
        return [contact.address for contact in self.network.table] or self.keeper.last_known()

    def _held_items(self) -> dict[bytes, Stored]:
        return {} if self.serving is None else self.serving.items.snapshot()

    def restore(self, saved: Saved) -> None:
        """Take up what was saved: contacts are tried, items kept for what is left of their life."""
        self.keeper.remember(saved.contacts)
        if self.serving is None:
            return
        now_s = self.network.now_s
        for item, end_wall_s in saved.items:
            left_s = end_wall_s - time.time()
            if left_s > 0:
                self.serving.items.put(
                    item.key, item, end_s=now_s + min(left_s, LIFETIME_S_MAX), republish_s=now_s + REPUBLISH_S
                )

    def _tidy(self) -> None:
        if self.serving is not None:
            self.serving.announcements.expire(self.network.now_s)

    def _contact_found(self, contact: Contact) -> None:
        self._feed.tell(ContactFound(contact.id, contact.address))
        if self._memory is not None:
            self._memory.changed()
        self.network.contact_found()
        self.directory.contact_found()
        self.archive.contact_found()
        if self._upkeep is not None:
            self._upkeep.contact_found(contact)

    def _contact_lost(self, contact: Contact) -> None:
        self.keeper.lost(contact)
        self._feed.tell(ContactLost(contact.id, contact.address))
        if self._memory is not None:
            self._memory.changed()

    async def close(self) -> None:
        """End tasks, calls and the socket, in this order, and wait for each."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._memory is not None:
            await self._memory.close()
        self.network.protocol.close()
        await self.network.protocol.closed


def _started(work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
    """A background task whose failure, a bug, is shown when it happens."""

    async def watched() -> None:
        try:
            await work()
        except Exception:
            log.exception("a bug: background work of a DHT node ended")

    return asyncio.create_task(watched())


def _check_port(port: int) -> int:
    if type(port) is not int or not 0 <= port <= addressing.PORT_MAX:
        raise UsageError(f"{port!r} is not a port; give one from 1 to 65535, or 0 for the DHT port")
    return port


def _bind(host: str, port: int) -> socket.socket:
    """A UDP socket; on `"::"` for IPv4 as well.

    Raises:
        PortInUse, NetworkError: it cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_DGRAM)
    try:
        listener.setblocking(False)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        where = f"UDP {addressing.format_address((host, port))}"
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(f"another program listens on {where}; choose another port, or stop it") from error
        raise NetworkError(f"cannot listen on {where}: {error.strerror or error}") from error
    return listener
