"""Budgets: per sender, and for senders that proved nothing."""

from __future__ import annotations

from typing import Any

import pytest

from dhtex.transport import Budget, Limits
from dhtex.transport.limits import SourceBudgets, TokenBucket

TINY = Budget(datagrams=1, octets=1, requests=1, queued=1)


@pytest.mark.parametrize(
    "change",
    [
        {"fragment_bytes": 1000},
        {"stranger": TINY},
        {"answers": 256},
        {"window_max": 8192},
        {"sources": 0},
        {"strangers": 0},
    ],
)
def test_bounds_that_contradict_each_other_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        Limits(**change)


def test_a_bucket_gives_its_burst_then_its_rate() -> None:
    bucket = TokenBucket(rate=10, burst=3, now=0.0)
    assert [bucket.take(1, 0.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.take(1, 0.1)
    assert not bucket.take(1, 0.1)
    assert [bucket.take(1, 100.0) for _ in range(4)] == [True, True, True, False]


def test_one_source_cannot_spend_what_is_for_all() -> None:
    sources = SourceBudgets(Limits(agreements=1000, agreements_per_source=5), 0.0)
    assert sum(sources.take("192.0.2.1", 0.0) for _ in range(100)) == 10
    granted = sum(sources.take(f"192.0.2.{host}", 0.0) for host in range(2, 100))
    assert granted >= 90


def test_many_sources_together_cannot_spend_more_than_is_for_all() -> None:
    sources = SourceBudgets(Limits(agreements=50, agreements_per_source=5), 0.0)
    assert sum(sources.take(f"10.0.{high}.{low}", 0.0) for high in range(4) for low in range(250)) == 50
