"""Every rule of the protocol, broken alone, must be caught."""

from __future__ import annotations

import pytest

from dhtex.simulation import Violation, World, draw_plan
from simulation.mutations import MUTATIONS, Mutation

QUICK_SEEDS = 30
"""What is caught within so many seeds is tested every time."""


def _is_caught(mutation: Mutation) -> bool:
    with mutation.applied():
        for seed in range(1, mutation.seeds_max + 1):
            try:
                World(mutation.provoked(draw_plan(seed, exchange=False))).run()
            except Violation:
                return True
    return False


def _parameters() -> list[object]:
    return [
        pytest.param(
            mutation,
            id=mutation.name.replace(" ", "-"),
            marks=() if mutation.seeds_max <= QUICK_SEEDS else pytest.mark.slow,
        )
        for mutation in MUTATIONS
    ]


@pytest.mark.parametrize("mutation", _parameters())
def test_a_broken_rule_is_caught(mutation: Mutation) -> None:
    assert _is_caught(mutation)
