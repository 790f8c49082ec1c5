"""One total order by (timestamp, node id), without a leader and without locks.

Sans-IO: see `replica.Replica`.
"""

from __future__ import annotations

from dhtex.replication.config import ReplicaConfig
from dhtex.replication.machine import RandomSource, StateMachine
from dhtex.replication.records import DurableState
from dhtex.replication.replica import Replica
from dhtex.replication.values import CommandBatch, Entry, Member, Now, OrderKey, Snapshot, View

__all__ = [
    "CommandBatch",
    "DurableState",
    "Entry",
    "Member",
    "Now",
    "OrderKey",
    "RandomSource",
    "Replica",
    "ReplicaConfig",
    "Snapshot",
    "StateMachine",
    "View",
]
