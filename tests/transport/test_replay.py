"""The window of received numbers, against a model that remembers everything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dhtex.transport.replay import WINDOW, ReceiveWindow

START = 10_000


def test_what_lies_before_the_horizon_is_not_new() -> None:
    window = ReceiveWindow(START)
    assert not window.is_new(START)
    assert not window.is_new(START - 1)
    assert not window.is_stale(START - WINDOW + 1)
    assert window.is_stale(START - WINDOW)
    assert window.is_new(START + 1)


def test_only_the_highest_so_far_is_reported_as_such() -> None:
    window = ReceiveWindow(START)
    assert window.mark(START + 5)
    assert not window.mark(START + 3)
    assert window.mark(START + 6)


@given(st.lists(st.integers(START - 50, START + 3 * WINDOW), max_size=60))
def test_every_number_counts_at_most_once(numbers: list[int]) -> None:
    window = ReceiveWindow(START)
    seen: set[int] = set()
    highest = START
    for number in numbers:
        fresh = number > START and number not in seen and number > highest - WINDOW
        assert window.is_new(number) == fresh
        if fresh:
            window.mark(number)
            seen.add(number)
            highest = max(highest, number)
        assert window.highest == highest
        ack = window.ack()
        assert ack.highest == highest
        for behind in range(128):
            asked = highest - behind
            assert bool(ack.bits >> behind & 1) == (asked in seen or START - WINDOW < asked <= START), asked
