"""The hybrid logical clock never runs backwards, whatever the wall does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dhtex.clock import Clock

times = st.integers(min_value=0, max_value=2**62)


@given(steps=st.lists(st.tuples(st.sampled_from(["now", "tick", "observe"]), times)))
def test_never_backwards_and_ticks_are_unique(steps: list[tuple[str, int]]) -> None:
    clock = Clock()
    for name, time in steps:
        after: Clock = getattr(clock, name)(time)
        assert after.last >= max(clock.last, time)
        if name == "tick":
            assert after.last > clock.last
        else:
            assert after.last == max(clock.last, time)
        clock = after


def test_a_wall_set_back_still_ticks_forward_by_one() -> None:
    clock = Clock().tick(1_000)
    assert clock.tick(10).last == 1_001
    assert clock.now(10).last == 1_000
