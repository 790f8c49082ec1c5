"""A member that divides two stories among the others: one history all the same, and it goes on without the liar."""

from __future__ import annotations

import pytest

from dhtex.simulation import World
from dhtex.simulation.plan import Divide
from simulation.liars import draw_liar


@pytest.mark.parametrize("members", [3, 4, 5, 7])
@pytest.mark.parametrize("seed", range(1, 7))
def test_two_stories_make_one_history(seed: int, members: int) -> None:
    plan = draw_liar(seed, members)
    report = World(plan).run()
    assert any(isinstance(op, Divide) for op in plan.ops)
    assert report.positions > 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("members", [3, 4, 5, 6, 7])
def test_many_stories_make_one_history(members: int) -> None:
    for seed in range(1_000, 1_400):
        World(draw_liar(seed, members)).run()
