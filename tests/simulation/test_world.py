"""The simulation itself: repeatable, and able to fail."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial

import pytest

from dhtex.replication import Now, Replica
from dhtex.simulation import Canary, Failure, Violation, World, describe_plan, draw_plan, shrink, timeline
from dhtex.simulation.timepieces import EPOCH

_REPORT = "from dhtex.simulation import World, draw_plan; print(World(draw_plan(3, members=3)).run())"


def test_a_seed_gives_the_same_run_in_every_process() -> None:
    # Sets of bytes iterate in another order in every process: nothing may depend on it.
    reports = {
        subprocess.run(
            [sys.executable, "-c", _REPORT],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(reports) == 1
    assert "positions" in reports.pop()


def test_a_run_gets_something_done() -> None:
    report = World(draw_plan(5, members=5)).run()
    assert report.positions > 0
    assert report.views > 1
    assert report.datagrams > 1_000


def test_seeds_give_different_plans() -> None:
    plans = [draw_plan(seed) for seed in range(200)]
    assert {len(plan.nodes) for plan in plans} >= {1, 2, 3, 5, 7}
    assert any(plan.exchange for plan in plans)
    assert any(plan.real_keys for plan in plans)
    assert any(plan.network.loss for plan in plans)
    assert any(not plan.network.loss for plan in plans)
    kinds = {type(op).__name__ for plan in plans for op in plan.ops}
    assert kinds == {
        *(
            "Submit",
            "Crash",
            "Blackout",
            "Wipe",
            "Pause",
            "StepClock",
            "Cut",
            "Slow",
            "Full",
            "Leave",
            "Rejoin",
        )
    }


def test_the_canary_is_caught_shrunk_and_told() -> None:
    make_world = partial(World, replica_class=Canary)
    plan = draw_plan(1)
    with pytest.raises(Violation) as caught:
        make_world(plan).run()
    failure = Failure(plan, caught.value)
    small = shrink(failure, make_world, runs_max=60)
    assert small.violation.rule == failure.violation.rule
    assert len(small.plan.ops) < len(plan.ops)
    assert "member" in next(iter(describe_plan(small.plan)))
    moments = timeline(small, make_world)
    assert moments[-1].name == "!!"
    assert str(small.violation) == moments[-1].text


def test_memory_that_is_given_back_later_counts() -> None:
    class Hoarder(Replica):
        """Holds much until the faults end."""

        def tick(self, now: Now) -> None:
            self.hoard = bytes(8 << 20) if now.wall < EPOCH + plan.faults_until else b""
            super().tick(now)

    drawn = draw_plan(7)
    on_time = tuple(replace(node, skew=0, drift_ppm=0) for node in drawn.nodes)
    plan = replace(drawn, ops=(), nodes=on_time, core_only=True)
    with pytest.raises(Violation, match="memory-bound"):
        World(plan, replica_class=Hoarder).run()


def test_an_error_of_the_replica_is_a_violation() -> None:
    class Broken(Canary):
        def take_effects(self) -> list[object]:  # type: ignore[override]  # it never returns
            raise ZeroDivisionError("out of luck")

    with pytest.raises(Violation, match="exception: ZeroDivisionError: out of luck"):
        World(draw_plan(1), replica_class=Broken).run()
