"""Network addresses: numeric, validated once, compact on the wire.

An `Address` is `(host, port)` with a numeric IPv4 or IPv6 host in its one canonical spelling, so that two
spellings of one address never look like two. Packed, it takes 6 or 18 bytes, big end first (BEP 5, BEP 32).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from dhtex.dht.face import Address
from dhtex.errors import MalformedMessage, UsageError

PORT_MAX = 65_535
PACKED_V4_SIZE = 6
PACKED_V6_SIZE = 18
_MAPPED_PREFIX = "::ffff:"
_PORT = re.compile(r"[0-9]{1,5}")


def is_port(value: object) -> bool:
    """True for an int from 1 to 65535; a `bool` is not a number here."""
    return type(value) is int and 1 <= value <= PORT_MAX


@lru_cache(maxsize=8192)
def pack_address(address: Address) -> bytes:
    """6 bytes for IPv4, 18 for IPv6: the host, then the port."""
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.inet_pton(family, host) + port.to_bytes(2, "big")


@lru_cache(maxsize=8192)
def unpack_address(packed: bytes) -> Address:
    """The address in 6 or 18 bytes.

    Raises:
        MalformedMessage: another size, port 0, or an address that can belong to no host.
    """
    if len(packed) not in (PACKED_V4_SIZE, PACKED_V6_SIZE):
        raise MalformedMessage("address", f"{len(packed)} bytes")
    host_bytes, port = packed[:-2], int.from_bytes(packed[-2:], "big")
    ip = ipaddress.ip_address(host_bytes)
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if port == 0 or ip.is_unspecified or ip.is_multicast:
        raise MalformedMessage("address", "nobody can listen there")
    return str(ip), port


def from_sockaddr(sockaddr: tuple[Any, ...]) -> Address:
    """What the socket calls an address, in its canonical spelling: no scope, IPv4 never mapped into IPv6."""
    host: str = sockaddr[0]
    if ":" in host:
        host = host.partition("%")[0]
        if host.startswith(_MAPPED_PREFIX) and "." in host:
            host = host[len(_MAPPED_PREFIX) :]
    return host, sockaddr[1]


def host_for_others(listening: str) -> str:
    """Where others reach what listens at the host *listening*: there, or, when that stands for every address of this
    machine, at the one that leads out of it.

    Nothing is sent: a datagram socket that is connected only chooses its own address.
    """
    if not ipaddress.ip_address(listening).is_unspecified:
        return listening
    # Addresses of RFC 5737 and 3849 that are nobody's: only the route counts.
    for family, nobody in ((socket.AF_INET, "198.51.100.1"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((nobody, 9))
            except OSError:
                continue
            return from_sockaddr(probe.getsockname())[0]
    return "127.0.0.1"


def network_of(host: str) -> str:
    """What one party can be expected to own at the least: an IPv4 address, or the 2^64 addresses of an IPv6 network."""
    return _prefix(host) if ":" in host else host


@lru_cache(maxsize=8192)
def _prefix(host: str) -> str:
    return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, host)[:8] + bytes(8))


def source_of(address: Address) -> Address | str:
    """Who is held to account for what comes from *address*: its network, on this machine each socket for itself."""
    host = address[0]
    return address if host in ("127.0.0.1", "::1") else network_of(host)


def format_address(address: Address) -> str:
    """`127.0.0.1:20001`, `[::1]:20001`."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_host_port(text: str) -> tuple[str, int]:
    """The host, perhaps a name, and the port of `host:port` or `[host]:port`.

    Raises:
        UsageError: no host, or no port from 1 to 65535.
    """
    host, colon, port_text = text.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise UsageError(f"{text!r} is ambiguous; write an IPv6 address in brackets, like [::1]:20001")
    port = int(port_text) if _PORT.fullmatch(port_text) else 0
    if not colon or not host or not is_port(port):
        raise UsageError(f"{text!r} is not an address; write host:port, like 127.0.0.1:20001")
    return host, port


def checked(addresses: Iterable[str], what: str) -> tuple[str, ...]:
    """*addresses*, each found to be `host:port`.

    Args:
        what: what they are called, for the error.
    Raises:
        UsageError: one is not, or *addresses* is one text, whose letters would be taken for addresses.
    """
    if isinstance(addresses, str):
        raise UsageError(f"{what} is a list of addresses; write [{addresses!r}]")
    several = tuple(addresses)
    for address in several:
        split_host_port(address)
    return several


def is_loopback(host: str) -> bool:
    """True for a numeric loopback address and for `localhost`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
