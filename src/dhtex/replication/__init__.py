"""One total order by (timestamp, node id), without a leader and without locks.

Sans-IO: see `replica.Replica`.
"""

from __future__ import annotations

from dhtex.replication.config import ReplicaConfig
from dhtex.replication.effects import (
    Accepted,
    CatchUp,
    ClockRefused,
    Destination,
    DigestMismatch,
    Effect,
    Equivocation,
    Finalized,
    GroupConflict,
    JoinRefused,
    Persist,
    PromiseBroken,
    QuorumBack,
    QuorumLost,
    ReadArchive,
    Restored,
    Role,
    RoleChanged,
    Send,
    Suspected,
    Unsuspected,
    ViewInstalled,
)
from dhtex.replication.founding import Candidate, Decision, decide
from dhtex.replication.machine import RandomSource, StateMachine
from dhtex.replication.messages import STRANGERS_MAY_SEND, TAGS, AskViews, Message, Status, decode, encode
from dhtex.replication.records import DurableState, Record
from dhtex.replication.replica import Replica
from dhtex.replication.values import CommandBatch, Entry, HistoryItem, Member, Now, OrderKey, Snapshot, View

__all__ = [
    "STRANGERS_MAY_SEND",
    "TAGS",
    "Accepted",
    "AskViews",
    "Candidate",
    "CatchUp",
    "ClockRefused",
    "CommandBatch",
    "Decision",
    "Destination",
    "DigestMismatch",
    "DurableState",
    "Effect",
    "Entry",
    "Equivocation",
    "Finalized",
    "GroupConflict",
    "HistoryItem",
    "JoinRefused",
    "Member",
    "Message",
    "Now",
    "OrderKey",
    "Persist",
    "PromiseBroken",
    "QuorumBack",
    "QuorumLost",
    "RandomSource",
    "ReadArchive",
    "Record",
    "Replica",
    "ReplicaConfig",
    "Restored",
    "Role",
    "RoleChanged",
    "Send",
    "Snapshot",
    "StateMachine",
    "Status",
    "Suspected",
    "Unsuspected",
    "View",
    "ViewInstalled",
    "decide",
    "decode",
    "encode",
]
