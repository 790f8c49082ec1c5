"""What the rest of the house sees of discovery: the face of `DhtNode` and `DhtClient`, and the events they
tell.

A `Discovery` is bootstrapped from "host:port" strings, keeps announcements alive until told otherwise, and
goes on trying in the background while nobody answers. Tests of a peer may bring a simpler one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

Address = tuple[str, int]
"""A numeric IPv4 or IPv6 address and a port from 1 to 65535: `("127.0.0.1", 20001)`."""


@dataclass(frozen=True, slots=True)
class BootstrapUnreachable:
    """None of the bootstrap addresses answered and no other contact is alive; the next try comes by itself.

    Attributes:
        addresses: the bootstrap addresses as they were given.
        attempt: how many rounds have failed in a row, from 1.
        retry_s: seconds until the next round.
    """

    addresses: tuple[str, ...]
    attempt: int
    retry_s: float

    def __str__(self) -> str:
        names = ", ".join(self.addresses)
        return f"no Grape answers at {names}; trying again in {self.retry_s:g} s"


@dataclass(frozen=True, slots=True)
class BootstrapReached:
    """The node is part of a network: the first time, or again after `BootstrapUnreachable`.

    Attributes:
        contacts: live contacts in the routing table.
    """

    contacts: int

    def __str__(self) -> str:
        return f"in touch with {self.contacts} node{'' if self.contacts == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class ContactFound:
    """A node entered the routing table."""

    node_id: bytes
    address: Address


@dataclass(frozen=True, slots=True)
class ContactLost:
    """A node left the routing table: it stopped answering, or another took its place."""

    node_id: bytes
    address: Address


@dataclass(frozen=True, slots=True)
class AnnouncementStored:
    """Somebody announced *address* under *key*, and this node keeps it for them."""

    key: bytes
    address: Address


DhtEvent = BootstrapUnreachable | BootstrapReached | ContactFound | ContactLost | AnnouncementStored


class Discovery(Protocol):
    """Announce, look up, see how discovery fares. Every method works while the `async with` is entered."""

    @property
    def node_id(self) -> bytes:
        """20 bytes."""
        ...

    @property
    def dht_address(self) -> str:
        """Where the DHT socket listens: `"127.0.0.1:20001"`, IPv6 as `"[::1]:20001"`."""
        ...

    @property
    def is_ready(self) -> bool:
        """True once a contact is alive, or at once when no bootstrap was given."""
        ...

    async def ready(self) -> None:
        """Wait until `is_ready`."""
        ...

    def events(self) -> AsyncIterator[DhtEvent]:
        """What happens from now on; a reader that falls 1,000 events behind misses the oldest."""
        ...

    async def announce(self, key: bytes | str, port: int) -> int:
        """Say that a service called *key* is at this machine's address and *port*, until `unannounce`.

        Announced again at half its age by itself, also when nobody could be reached.

        Args:
            key: 20 bytes are used as they are; a text is hashed (SHA-1 of its UTF-8).
            port: 1 to 65535, or 0 for the port of the DHT socket.
        Returns:
            How many nodes keep it now; 0 while nobody can be reached.
        Raises:
            UsageError: not a key, not a port.
            NotRunning: outside `async with`.
        """
        ...

    async def unannounce(self, key: bytes | str, port: int) -> None:
        """Take an announcement back, here and at the nodes that keep it. Unknown ones are fine."""
        ...

    async def lookup(self, key: bytes | str) -> list[Address]:
        """Addresses announced under *key*, in random order; empty when nobody is, or nobody answers."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
