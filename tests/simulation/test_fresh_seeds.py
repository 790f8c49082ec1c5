"""Seeds nobody has run before: made from the commit, so that a failure can be run again."""

from __future__ import annotations

import subprocess
from itertools import islice
from pathlib import Path

import pytest

from dhtex.simulation import run_seed, seeds_of

SEEDS = 40


def _commit() -> str:
    """The commit these tests belong to; a fixed word outside a repository."""
    found = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "released"


@pytest.mark.parametrize("seed", list(islice(seeds_of(_commit()), SEEDS)))
def test_a_fresh_seed_breaks_no_rule(seed: int) -> None:
    outcome = run_seed(seed)
    assert outcome.failure is None, f"dhtex simulate --seed {seed}: {outcome.failure.violation}"


def test_seeds_of_a_text_are_its_own() -> None:
    assert list(islice(seeds_of("a"), 3)) == list(islice(seeds_of("a"), 3))
    assert set(islice(seeds_of("a"), 50)).isdisjoint(islice(seeds_of("b"), 50))
