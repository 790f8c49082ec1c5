"""The methods nodes call on each other: what each takes and returns, checked field by field.

| method       | arguments                                  | result                           |
| ------------ | ------------------------------------------ | -------------------------------- |
| `ping`       |                                            | nil                              |
| `find_node`  | target                                     | contacts v4, contacts v6         |
| `find_peers` | key                                        | contacts (2), addresses v4, v6   |
| `announce`   | key, port (0: the port it is sent from)    | the address that was stored      |
| `unannounce` | key, port                                  | whether it was stored            |
| `get_item`   | key                                        | contacts (2), item or nil        |
| `put_item`   | v, k, salt, seq, sig, cas or nil, seconds  | nil                              |

Nothing of the package's `store` and `find_value` is served: a value that proves nothing can be overwritten by
anybody and lied about by anybody (failures 12, 13, 21); items prove themselves, announcements name only their
sender.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dhtex.dht.addresses import PORT_MAX, unpack_address
from dhtex.dht.contacts import Contact, unpack_addresses, unpack_contacts
from dhtex.dht.face import Address
from dhtex.dht.items import (
    KEY_SIZE,
    PUBLIC_KEY_SIZE,
    SALT_SIZE_MAX,
    SEQ_MAX,
    SEQ_MIN,
    SIGNATURE_SIZE,
    VALUE_SIZE_MAX,
    Item,
)
from dhtex.errors import MalformedMessage

CONTACTS_MAX = 64
"""Most contacts believed from one answer; a node names its k closest, 20."""

LIFETIME_S_MAX = 604_800
"""Longest life of an item that nobody puts again: a week, as the package's storage."""

NEEDS_TOKEN = frozenset({"announce", "unannounce", "put_item"})
"""Methods refused without a valid token: the sender must own the address it speaks for."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a node answers to a question about a key."""

    contacts: list[Contact]
    addresses: list[Address]
    item: Item | None = None


def check_args(method: str, args: tuple[Any, ...]) -> None:
    """Check the arguments of a request.

    Raises:
        MalformedMessage: unknown method, wrong count, type, size or range.
    """
    match method, args:
        case "ping", ():
            return
        case (("find_node" | "find_peers" | "get_item"), (bytes(key),)) if len(key) == KEY_SIZE:
            return
        case (("announce" | "unannounce"), (bytes(key), int(port))) if (
            len(key) == KEY_SIZE and port is not True and port is not False and 0 <= port <= PORT_MAX
        ):
            return
        case "put_item", (bytes(v), bytes(k), bytes(salt), int(seq), bytes(sig), cas, int(life_s)) if (
            len(v) <= VALUE_SIZE_MAX
            and len(k) in (0, PUBLIC_KEY_SIZE)
            and len(salt) <= SALT_SIZE_MAX
            and len(sig) in (0, SIGNATURE_SIZE)
            and _is_seq(seq)
            and (cas is None or _is_seq(cas))
            and type(life_s) is int
            and 0 < life_s <= LIFETIME_S_MAX
        ):
            return
        case (("ping" | "find_node" | "find_peers" | "get_item" | "announce" | "unannounce" | "put_item"), _):
            raise MalformedMessage("args", method)
        case _:
            raise MalformedMessage("method")


def _is_seq(value: object) -> bool:
    return type(value) is int and SEQ_MIN <= value <= SEQ_MAX


def parse_result(method: str, result: Any) -> Found | Address | bool | None:
    """The checked result of a reply, by its method.

    Raises:
        MalformedMessage: anything that method does not return.
    """
    match method, result:
        case (("ping" | "put_item"), None):
            return None
        case "find_node", (bytes(v4), bytes(v6)):
            return Found(unpack_contacts(v4, v6, CONTACTS_MAX), [])
        case "find_peers", (bytes(v4), bytes(v6), bytes(a4), bytes(a6)):
            return Found(unpack_contacts(v4, v6, CONTACTS_MAX), unpack_addresses(a4, a6))
        case "get_item", (bytes(v4), bytes(v6), None):
            return Found(unpack_contacts(v4, v6, CONTACTS_MAX), [])
        case "get_item", (bytes(v4), bytes(v6), (bytes(v), bytes(k), bytes(salt), int(seq), bytes(sig))):
            return Found(unpack_contacts(v4, v6, CONTACTS_MAX), [], Item(v, k, salt, seq, sig))
        case "announce", bytes(packed):
            return unpack_address(packed)
        case "unannounce", bool(was_stored):
            return was_stored
        case _:
            raise MalformedMessage("result", method)
