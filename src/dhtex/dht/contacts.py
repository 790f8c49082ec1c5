"""A node of the network as another knows it: an id, proved or claimed, at a numeric address."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from kademlia.node import Node

from dhtex.dht.addresses import (
    PACKED_V4_SIZE,
    PACKED_V6_SIZE,
    pack_address,
    unpack_address,
)
from dhtex.dht.face import Address
from dhtex.dht.wire import NODE_ID_SIZE
from dhtex.errors import MalformedMessage

CONTACT_V4_SIZE = NODE_ID_SIZE + PACKED_V4_SIZE
CONTACT_V6_SIZE = NODE_ID_SIZE + PACKED_V6_SIZE


class Contact(Node):  # type: ignore[misc]  # kademlia ships no types
    """The package's node, never changed after it was made, compared by id and address.

    Raises:
        ValueError: the id is not 20 bytes.
    """

    __slots__ = ("address", "id", "ip", "long_id", "port")

    id: bytes
    ip: str
    port: int
    long_id: int

    def __init__(self, node_id: bytes, address: Address) -> None:
        if len(node_id) != NODE_ID_SIZE:
            raise ValueError(f"a node id has {NODE_ID_SIZE} bytes, this has {len(node_id)}")
        self.id = node_id
        self.address = address
        self.ip, self.port = address
        self.long_id = int.from_bytes(node_id, "big")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Contact) and self.id == other.id and self.address == other.address

    def __hash__(self) -> int:
        return hash((self.id, self.address))

    def __iter__(self) -> Iterator[Any]:
        return iter((self.id, self.ip, self.port))

    def pack(self) -> bytes:
        """26 bytes for IPv4, 38 for IPv6 (BEP 5, BEP 32)."""
        return self.id + pack_address(self.address)


def pack_contacts(contacts: Iterable[Contact], size_max: int) -> tuple[bytes, bytes]:
    """The first *contacts* that fit into *size_max* bytes: those with IPv4, those with IPv6."""
    packed_v4: list[bytes] = []
    packed_v6: list[bytes] = []
    for contact in contacts:
        packed = contact.pack()
        size_max -= len(packed)
        if size_max < 0:
            break
        (packed_v4 if len(packed) == CONTACT_V4_SIZE else packed_v6).append(packed)
    return b"".join(packed_v4), b"".join(packed_v6)


def unpack_contacts(packed_v4: bytes, packed_v6: bytes, count_max: int) -> list[Contact]:
    """The contacts somebody names; those that can exist nowhere (port 0, multicast) are left out.

    Raises:
        MalformedMessage: a length that is no multiple of a contact's size, or more than *count_max*.
    """
    count = len(packed_v4) // CONTACT_V4_SIZE + len(packed_v6) // CONTACT_V6_SIZE
    if len(packed_v4) % CONTACT_V4_SIZE or len(packed_v6) % CONTACT_V6_SIZE or count > count_max:
        raise MalformedMessage("contacts", f"{len(packed_v4)} and {len(packed_v6)} bytes")
    return [
        contact
        for packed, size in ((packed_v4, CONTACT_V4_SIZE), (packed_v6, CONTACT_V6_SIZE))
        for at in range(0, len(packed), size)
        if (contact := _unpack(packed[at : at + size])) is not None
    ]


@lru_cache(maxsize=8192)
def _unpack(packed: bytes) -> Contact | None:
    try:
        return Contact(packed[:NODE_ID_SIZE], unpack_address(packed[NODE_ID_SIZE:]))
    except MalformedMessage:
        return None


def pack_addresses(addresses: Iterable[Address], size_max: int) -> tuple[bytes, bytes]:
    """The first *addresses* that fit into *size_max* bytes: IPv4, IPv6."""
    packed_v4: list[bytes] = []
    packed_v6: list[bytes] = []
    for address in addresses:
        packed = pack_address(address)
        size_max -= len(packed)
        if size_max < 0:
            break
        (packed_v4 if len(packed) == PACKED_V4_SIZE else packed_v6).append(packed)
    return b"".join(packed_v4), b"".join(packed_v6)


def unpack_addresses(packed_v4: bytes, packed_v6: bytes) -> list[Address]:
    """The addresses somebody names; those that can exist nowhere are left out.

    Raises:
        MalformedMessage: a length that is no multiple of an address's size.
    """
    if len(packed_v4) % PACKED_V4_SIZE or len(packed_v6) % PACKED_V6_SIZE:
        raise MalformedMessage("addresses", f"{len(packed_v4)} and {len(packed_v6)} bytes")
    found: list[Address] = []
    for packed, size in ((packed_v4, PACKED_V4_SIZE), (packed_v6, PACKED_V6_SIZE)):
        for at in range(0, len(packed), size):
            try:
                found.append(unpack_address(packed[at : at + size]))
            except MalformedMessage:
                continue
    return found
