"""Addresses: a numeric host and a port, the same for IPv4 and IPv6 sockets."""

from __future__ import annotations

import ipaddress
import socket

Address = tuple[str, int]
"""(numeric host, port), as in `("127.0.0.1", 20001)` or `("::1", 20001)`."""

_MAPPED = "::ffff:"


def is_usable(address: Address, family: socket.AddressFamily) -> bool:
    """True when one peer could listen there: numeric, not a group of hosts, reachable from a socket of
    *family*.

    A name is refused, since sending to one would block the loop for a look-up; so are multicast, broadcast
    and unspecified addresses, which a hostile peer could otherwise have others send to.
    """
    host, port = address
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    inner = _unmapped(ip)
    if (
        not 0 < port < 1 << 16
        or not host.isascii()  # a zone, as in fe80::1%eth0, may be any text, and for some of it a socket raises
        or not host.isprintable()
        or inner.is_multicast
        or inner.is_unspecified
        or str(inner) == "255.255.255.255"
    ):
        return False
    return ip.version == 4 or family is socket.AF_INET6


def canonical(address: Address) -> Address:
    """A usable address as sockets report it: one spelling of each."""
    return (str(_unmapped(ipaddress.ip_address(address[0]))), address[1])


def _unmapped(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An IPv4 address in IPv6 clothes is what it is inside."""
    return ip.ipv4_mapped or ip if isinstance(ip, ipaddress.IPv6Address) else ip


def to_socket(address: Address, family: socket.AddressFamily) -> Address:
    """The form a socket of *family* sends to: an IPv6 socket reaches IPv4 by mapped addresses."""
    if family is socket.AF_INET6 and ":" not in address[0]:
        return (_MAPPED + address[0], address[1])
    return address


def from_socket(name: tuple[str, int] | tuple[str, int, int, int]) -> Address:
    """What a socket reports, as an `Address`."""
    host = name[0]
    if host.startswith(_MAPPED) and "." in host:
        host = host[len(_MAPPED) :]
    return (host, name[1])
