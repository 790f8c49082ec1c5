"""The rules of the exchange, usable alone: no network, no clock, no randomness, no floats."""

from dhtex.matching.auction import Indication
from dhtex.matching.batch import Batch
from dhtex.matching.commands import (
    Amend,
    Cancel,
    CancelAll,
    Command,
    Kind,
    OrderId,
    Place,
    SelfTrade,
    SetPhase,
    Side,
    TimeInForce,
    decode_commands,
    encode_commands,
)
from dhtex.matching.engine import MatchingEngine
from dhtex.matching.events import (
    Accepted,
    Amended,
    Cancelled,
    CancelReason,
    Event,
    Expired,
    PhaseChanged,
    Rejected,
    RejectReason,
    Replenished,
    Trade,
    Triggered,
)
from dhtex.matching.market import Limits, MarketSpec, Phase
from dhtex.matching.reference import ReferenceEngine
from dhtex.matching.views import Depth, LevelChange, Order

__all__ = [
    "Accepted",
    "Amend",
    "Amended",
    "Batch",
    "Cancel",
    "CancelAll",
    "CancelReason",
    "Cancelled",
    "Command",
    "Depth",
    "Event",
    "Expired",
    "Indication",
    "Kind",
    "LevelChange",
    "Limits",
    "MarketSpec",
    "MatchingEngine",
    "Order",
    "OrderId",
    "Phase",
    "PhaseChanged",
    "Place",
    "ReferenceEngine",
    "RejectReason",
    "Rejected",
    "Replenished",
    "SelfTrade",
    "SetPhase",
    "Side",
    "TimeInForce",
    "Trade",
    "Triggered",
    "decode_commands",
    "encode_commands",
]
