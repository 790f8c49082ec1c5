"""Seeds that once broke a rule. Each failed before the fix that is named beside it."""

from __future__ import annotations

import pytest

from dhtex.simulation import run_seed

FOUND = {
    1084: "a vote of the view before, synced late, went out as one of the next view, not durable there",
    1305: "the same, in another group",
    1093: "a final mark within a closed view covered own void entries; the restart replayed them as final",
    1037: "an observer of an idle group waited for ever for history whose final mark was not written",
    1189: "the same, in another group",
    1109: "a leaver ended before the others knew the decision, which needed its vote to be made again",
    204441814930802: "a leaver left the others alone with a member that had lost its disk and was not suspected yet",
    70643698422168: "the same, with two leavers",
    1172: "an evicted member of an idle group never caught up, so never asked to join",
}


@pytest.mark.parametrize("seed", FOUND, ids=str)
def test_what_was_found_stays_fixed(seed: int) -> None:
    failure = run_seed(seed).failure
    assert failure is None, f"{FOUND[seed]}: {failure.violation}"
