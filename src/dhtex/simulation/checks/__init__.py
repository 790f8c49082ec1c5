"""What must hold, judged by code that shares nothing with the replica but the bytes it reads.

`history`: one order, ascending, every command exactly once. `wire`: what a member says binds it.
`durability`: nothing is final or said before it is on enough disks. `bounds`: messages and memory.
"""

from __future__ import annotations

from dhtex.simulation.checks.bounds import BoundsChecker
from dhtex.simulation.checks.durability import DurabilityChecker
from dhtex.simulation.checks.history import HistoryChecker
from dhtex.simulation.checks.violation import Violation
from dhtex.simulation.checks.wire import WireChecker

__all__ = ["BoundsChecker", "DurabilityChecker", "HistoryChecker", "Violation", "WireChecker"]
