"""The life of an order and the phases of a market, as tables: what a reader of events can rely on.

The engine does not consult them; `tests/matching/test_lifecycle.py` compares them with what it does, and draws the
diagrams in docs/reference/matching.md from them.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from dhtex.matching.market import Phase


class Life(Enum):
    """Where an order is between two commands."""

    UNKNOWN = "unknown"
    """It was not placed yet, or its placement was rejected."""
    RESTING = "resting"
    """In the displayed book."""
    BESIDE = "beside"
    """All-or-none, beside the displayed book."""
    ASLEEP = "asleep"
    """A stop that was not set off."""
    GONE = "gone"
    """Filled, cancelled or expired; its id is never used again."""


ORDER: Final = frozenset(
    {
        (Life.UNKNOWN, "Accepted", Life.RESTING),
        (Life.UNKNOWN, "Accepted", Life.BESIDE),
        (Life.UNKNOWN, "Accepted", Life.ASLEEP),
        (Life.UNKNOWN, "Trade", Life.RESTING),
        (Life.UNKNOWN, "Trade", Life.GONE),
        (Life.UNKNOWN, "Cancelled", Life.RESTING),
        (Life.UNKNOWN, "Cancelled", Life.GONE),
        (Life.UNKNOWN, "Triggered", Life.RESTING),
        (Life.RESTING, "Trade", Life.RESTING),
        (Life.RESTING, "Trade", Life.GONE),
        (Life.RESTING, "Replenished", Life.RESTING),
        (Life.RESTING, "Cancelled", Life.RESTING),
        (Life.RESTING, "Cancelled", Life.GONE),
        (Life.RESTING, "Expired", Life.GONE),
        (Life.RESTING, "Amended", Life.RESTING),
        (Life.BESIDE, "Trade", Life.GONE),
        (Life.BESIDE, "Cancelled", Life.GONE),
        (Life.BESIDE, "Expired", Life.GONE),
        (Life.BESIDE, "Amended", Life.BESIDE),
        (Life.ASLEEP, "Triggered", Life.RESTING),
        (Life.ASLEEP, "Trade", Life.RESTING),
        (Life.ASLEEP, "Trade", Life.GONE),
        (Life.ASLEEP, "Cancelled", Life.RESTING),
        (Life.ASLEEP, "Cancelled", Life.GONE),
        (Life.ASLEEP, "Expired", Life.GONE),
        (Life.ASLEEP, "Amended", Life.ASLEEP),
    }
)
"""(Where an order was before a command, the last of the command's events that names it, where it is afterwards)."""

PHASES: Final = frozenset(
    {
        (Phase.CONTINUOUS, "SetPhase", Phase.AUCTION),
        (Phase.CONTINUOUS, "SetPhase", Phase.HALTED),
        (Phase.CONTINUOUS, "price band", Phase.AUCTION),
        (Phase.AUCTION, "SetPhase", Phase.CONTINUOUS),
        (Phase.AUCTION, "SetPhase", Phase.HALTED),
        (Phase.AUCTION, "end of the pause", Phase.CONTINUOUS),
        (Phase.HALTED, "SetPhase", Phase.CONTINUOUS),
        (Phase.HALTED, "SetPhase", Phase.AUCTION),
    }
)
"""(Phase, what changes it, phase); into CONTINUOUS always through an uncross."""


def diagram(transitions: frozenset[tuple[Enum, str, Enum]]) -> str:
    """A table as a Mermaid state diagram, its lines in order."""
    edges: dict[tuple[str, str], list[str]] = {}
    for before, cause, after in transitions:
        edges.setdefault((before.name.lower(), after.name.lower()), []).append(cause)
    lines = [
        f"    {before} --> {after}: {', '.join(sorted(causes))}" for (before, after), causes in edges.items()
    ]
    return "\n".join(["stateDiagram-v2", *sorted(lines)])
