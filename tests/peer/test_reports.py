"""Values for the library's users: what they say of an engine's."""

from __future__ import annotations

import pytest

from dhtex.matching import Kind, MarketSpec, MatchingEngine, Place, Side
from dhtex.peer.reports import open_order


@pytest.mark.parametrize(
    ("order", "state"),
    [
        (Place(Side.SELL, 5, 100), "resting"),
        (Place(Side.SELL, 5, kind=Kind.STOP, trigger=9_950), "waits for 99.50"),
        (Place(Side.SELL, 5, kind=Kind.TRAILING_STOP, trail=50), "waits for the first trade"),
    ],
)
def test_an_open_order_says_what_it_waits_for(order: Place, state: str) -> None:
    engine = MatchingEngine(MarketSpec("TEST"))
    engine.apply(order, owner=b"alice".ljust(20, b"."), n=1, timestamp=1)
    (found,) = engine.orders()
    assert open_order(engine.spec, found).state == state
