"""Deterministic simulation: the real replica under every fault, in virtual time, from one seed.

`draw_plan(seed)` says what will happen, `World(plan).run()` lets it happen and checks it, `shrink` makes a
failure short. See `docs/explanation/simulation.md`.
"""

from __future__ import annotations

from dhtex.simulation.canary import Canary
from dhtex.simulation.checks import Violation
from dhtex.simulation.describe import describe_plan, timeline
from dhtex.simulation.draw import draw_plan
from dhtex.simulation.hunt import Outcome, hunt, run_seed, seeds_of
from dhtex.simulation.plan import Plan
from dhtex.simulation.shrink import Failure, shrink
from dhtex.simulation.world import Report, World

__all__ = [
    "Canary",
    "Failure",
    "Outcome",
    "Plan",
    "Report",
    "Violation",
    "World",
    "describe_plan",
    "draw_plan",
    "hunt",
    "run_seed",
    "seeds_of",
    "shrink",
    "timeline",
]
