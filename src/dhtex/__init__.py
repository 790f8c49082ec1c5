"""A peer-to-peer exchange: Kademlia discovery, one agreed order of events, a real matching engine.

`Grape` is discovery, `Peer` a participant in a market, `MatchingEngine` the rules of the exchange. Each can be used
alone; everything starts and stops with `async with`.

Names are imported when they are first used, so that `import dhtex.matching` loads no network and no event loop.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dhtex.errors import (
        Busy,
        DhtexError,
        FellBehind,
        LockLost,
        NetworkError,
        NotRunning,
        OrderError,
        PeerError,
        StorageError,
        UsageError,
    )
    from dhtex.grape import Grape
    from dhtex.identity import Identity
    from dhtex.matching import (
        Amend,
        Cancel,
        CancelAll,
        Kind,
        MarketSpec,
        MatchingEngine,
        OrderId,
        Place,
        SelfTrade,
        Side,
        TimeInForce,
    )
    from dhtex.peer import (
        BookChange,
        Depth,
        Founding,
        GroupEvent,
        Held,
        Level,
        Node,
        OpenOrder,
        Order,
        Orders,
        OrderStatus,
        Peer,
        Position,
        Result,
        TradeReport,
    )

_ROOMS: Final = {
    "dhtex.errors": (
        "Busy",
        "DhtexError",
        "FellBehind",
        "LockLost",
        "NetworkError",
        "NotRunning",
        "OrderError",
        "PeerError",
        "StorageError",
        "UsageError",
    ),
    "dhtex.matching": (
        "Amend",
        "Cancel",
        "CancelAll",
        "Kind",
        "MarketSpec",
        "MatchingEngine",
        "OrderId",
        "Place",
        "SelfTrade",
        "Side",
        "TimeInForce",
    ),
    "dhtex.peer": (
        "BookChange",
        "Depth",
        "Founding",
        "GroupEvent",
        "Held",
        "Level",
        "Node",
        "OpenOrder",
        "Order",
        "OrderStatus",
        "Orders",
        "Peer",
        "Position",
        "Result",
        "TradeReport",
    ),
    "dhtex.grape": ("Grape",),
    "dhtex.identity": ("Identity",),
}
"""Where each public name lives."""

_HOMES: Final = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    """A public name, from the room it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dhtex' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


__all__ = [
    "Amend",
    "BookChange",
    "Busy",
    "Cancel",
    "CancelAll",
    "Depth",
    "DhtexError",
    "FellBehind",
    "Founding",
    "Grape",
    "GroupEvent",
    "Held",
    "Identity",
    "Kind",
    "Level",
    "LockLost",
    "MarketSpec",
    "MatchingEngine",
    "NetworkError",
    "Node",
    "NotRunning",
    "OpenOrder",
    "Order",
    "OrderError",
    "OrderId",
    "OrderStatus",
    "Orders",
    "Peer",
    "PeerError",
    "Place",
    "Position",
    "Result",
    "SelfTrade",
    "Side",
    "StorageError",
    "TimeInForce",
    "TradeReport",
    "UsageError",
]
