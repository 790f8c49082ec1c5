"""Discovery: a Kademlia DHT that names services and keeps small items, safe to embed.

`DhtNode` is a full node, `DhtClient` one that stores nothing for others. Both are used with `async with`.
"""

from dhtex.dht.events import EventStream
from dhtex.dht.face import (
    Address,
    AnnouncementStored,
    BootstrapReached,
    BootstrapUnreachable,
    ContactFound,
    ContactLost,
    DhtEvent,
    Discovery,
)
from dhtex.dht.items import Item
from dhtex.dht.node import DhtClient, DhtNode, key_of
from dhtex.dht.settings import Settings

__all__ = [
    "Address",
    "AnnouncementStored",
    "BootstrapReached",
    "BootstrapUnreachable",
    "ContactFound",
    "ContactLost",
    "DhtClient",
    "DhtEvent",
    "DhtNode",
    "Discovery",
    "EventStream",
    "Item",
    "Settings",
    "key_of",
]
