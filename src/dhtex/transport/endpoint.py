"""The asyncio socket: one UDP port that carries every group of a peer.

The face is settled here; the machinery behind it follows in the next commits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from dhtex.identity import Identity, NodeId, PublicKey

Address = tuple[str, int]
"""(numeric host, port), IPv4 or IPv6."""

Notification = tuple[int, list[Any]]
"""(tag, params) of a one-way message."""

RpcHandler = Callable[[PublicKey, list[Any]], "Awaitable[Any] | Any"]
"""Answers a request of *sender*; raises `RpcError` to refuse. May be a coroutine function."""


class Handler(Protocol):
    """What a group does with what it is told. Synchronous, does not raise, does not block."""

    def on_notifications(
        self, sender: PublicKey, node_id: NodeId, address: Address, notifications: list[Notification]
    ) -> None:
        """Everything one sender said in one turn of the loop, in order of arrival."""
        ...


@dataclass(frozen=True, slots=True)
class HelloAnswer:
    """Who listens at an address. A claim: only a box that opens proves the key."""

    public_key: PublicKey
    node_id: NodeId
    view_number: int
    address: Address


class Channel:
    """One group on an endpoint."""

    view_number: int

    def set_members(self, members: Collection[NodeId]) -> None:
        """The whole membership; everybody else is a stranger from now on."""
        raise NotImplementedError

    def set_peer(self, public_key: PublicKey, address: Address) -> bool:
        """Where a peer is said to be. False when the address is not numeric or the key is not a key."""
        raise NotImplementedError

    def address_of(self, node_id: NodeId) -> Address | None:
        """Where the peer was last heard or said to be."""
        raise NotImplementedError

    def public_key_of(self, node_id: NodeId) -> PublicKey | None:
        """The key behind a node id, when known."""
        raise NotImplementedError

    def notify(self, node_id: NodeId, notifications: Sequence[tuple[int, Sequence[Any]]]) -> None:
        """Send one-way messages; coalesced, never repeated."""
        raise NotImplementedError

    def backlog(self, node_id: NodeId) -> int:
        """Bytes that wait for the window of this destination."""
        raise NotImplementedError

    async def hello(self, address: Address, timeout: float) -> HelloAnswer:
        """Ask who listens at *address*. Raises RpcTimeout."""
        raise NotImplementedError

    async def call(
        self, node_id: NodeId, method: str, params: Sequence[Any], *, timeout: float
    ) -> Any:  # the wire's own type; `invoke` is the typed way
        """Raises RpcTimeout, RpcError, Unreachable (no address known), NotRunning (closed)."""
        raise NotImplementedError

    def register(self, method: str, handler: RpcHandler) -> None:
        """Answer *method* with *handler*."""
        raise NotImplementedError

    async def close(self) -> None:
        """Detach from the endpoint; ends every call. Idempotent."""
        raise NotImplementedError


class Endpoint:
    """One UDP socket for many groups."""

    counters: dict[str, int]

    def __init__(
        self,
        identity: Identity,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        advertise: Address | None = None,
        max_datagram: int = 1200,
    ) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    @property
    def address(self) -> Address:
        """Where the socket listens."""
        raise NotImplementedError

    @property
    def advertised(self) -> Address:
        """Where others should send: *advertise* when given, else `address`."""
        raise NotImplementedError

    def attach(
        self,
        group_id: bytes,
        handler: Handler,
        *,
        stranger_tags: frozenset[int] = frozenset(),
        stranger_methods: frozenset[str] = frozenset(),
        allow: frozenset[NodeId] | None = None,
    ) -> Channel:
        """Carry one group: its 20-byte id, who is told, what non-members may say, who may talk at all (None: anyone)."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close the socket and end every call and handler. Idempotent."""
        raise NotImplementedError
