"""Keeps web pages out: what a browser sends for a stranger's page never reaches the peer.

The API asks nobody who they are; whoever reaches the port is trusted. A browser on the same machine reaches it too, on
behalf of any page it shows. Two ways in, and what closes them:

* *A request across origins* (a form, `fetch`, a WebSocket): the browser names the page in `Origin` or
  `Sec-Fetch-Site`. Whatever changes something, and the stream, which no same-origin policy covers, is refused unless
  the page is our own. There are no CORS headers, so the page cannot read what it may ask for.
* *DNS rebinding*: a page's own name suddenly resolves to this address, which makes it "same origin". But then the
  browser sends that name in `Host`; only addresses, `localhost` and names that the operator gave are answered.

Programs send no `Origin` and are not affected. Source: the Fetch standard; RFC 9110, 7.2; RFC 6455, 10.2.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from dhtex.errors import UsageError
from dhtex.gateway.answers import Refusal

SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
_OWN_SITES: Final = frozenset({"same-origin", "none"})


def check_listener(host: str, *, public: bool) -> None:
    """Refuse to listen beyond this machine unless told to.

    Args:
        host: an address, or `localhost`.
    Raises:
        UsageError: *host* is not loopback, and *public* is false.
    """
    if public or host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback):
        return
    raise UsageError(
        f"the gateway asks nobody who they are and would listen on {host}; "
        "give it a loopback address (127.0.0.1), or say that it may be public (public=True, --api-public)"
    )


def check_host(host_header: str, names: frozenset[str]) -> None:
    """Refuse a name that is not ours.

    Args:
        host_header: `name`, `name:port`, `[::1]:port`.
        names: lower-case names under which the gateway may be reached, besides addresses and `localhost`.
    Raises:
        Refusal: 421.
    """
    name = _hostname(host_header)
    if name == "localhost" or name in names or _is_address(name):
        return
    raise Refusal(
        421,
        "host",
        "this host name is not known here; use an address or localhost, or start the gateway with the name in hosts",
    )


def check_origin(headers: Mapping[str, str]) -> None:
    """Refuse what a page of another origin asked a browser to send.

    Raises:
        Refusal: 403.
    """
    origin = headers.get("Origin")
    same = origin is None or _is_same(origin, headers.get("Host", ""))
    if same and headers.get("Sec-Fetch-Site", "none").lower() in _OWN_SITES:
        return
    raise Refusal(403, "origin", "a web page of another origin may not do this")


def _is_same(origin: str, host_header: str) -> bool:
    scheme, separator, authority = origin.partition("://")
    return bool(separator) and scheme in ("http", "https") and authority.lower() == host_header.lower() != ""


def _hostname(host_header: str) -> str:
    try:
        return urlsplit(f"//{host_header}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
