"""Real days, with the fills that the real exchanges made; and recordings that do not hold."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from dhtex.errors import OrderError
from dhtex.matching import MarketSpec, MatchingEngine
from dhtex.matching.audit import audit
from dhtex.matching.flow import Day
from matching.support import shared_data

DAYS = sorted(shared_data().glob("*.jsonl.gz"))


def fresh() -> MatchingEngine:
    return MatchingEngine(MarketSpec("DAY", 1, 1))


@pytest.mark.skipif(not DAYS, reason=f"no recorded days in {shared_data()}; set DHTEX_SHARED to their folder")
@pytest.mark.parametrize("file", DAYS, ids=lambda file: file.name)
def test_a_recorded_day(file: Path) -> None:
    engine = fresh()
    day = Day(engine)
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for _ in day.play(lines):
            pass
    assert day.report.differences == []
    assert day.report.fills > 100_000
    audit(engine)
    again = fresh()
    again.restore(engine.snapshot())
    assert again.digest() == engine.digest()


ADD = '{"op":"add","id":1,"side":1,"px":100,"qty":5}'


@pytest.mark.parametrize(
    ("lines", "differences"),
    [
        ([ADD, '{"op":"take","side":-1,"px":100,"qty":2,"expect":[[1,2,100]]}'], 0),
        ([ADD, '{"op":"take","side":-1,"px":100,"qty":2,"expect":[[1,3,100]]}'], 1),
        ([ADD, '{"op":"take","side":-1,"px":null,"qty":2,"expect":[[1,2,100]]}'], 0),
        ([ADD, '{"op":"add","id":2,"side":-1,"px":100,"qty":2}'], 1),
        ([ADD, '{"op":"add","id":2,"side":-1,"px":100,"qty":0}'], 1),
        ([ADD, '{"op":"reduce","id":1,"by":2}', '{"op":"check","bids":[[100,3]],"asks":[]}'], 0),
        ([ADD, '{"op":"reduce","id":1,"by":5}', '{"op":"check","bids":[],"asks":[]}'], 0),
        ([ADD, '{"op":"check","bids":[[100,4]],"asks":[]}'], 1),
        ([ADD, '{"op":"cancel","id":1}', '{"op":"cancel","id":1}', '{"op":"cancel","id":9}'], 0),
    ],
)
def test_differences_are_found(lines: list[str], differences: int) -> None:
    day = Day(fresh())
    *_, report = day.play(lines)
    assert len(report.differences) == differences


@pytest.mark.parametrize(
    "line", ["", "5", "[]", "{}", '{"op":"dance"}', '{"op":"add","id":1}', '{"op":"add"']
)
def test_a_line_that_is_none_is_named(line: str) -> None:
    with pytest.raises(OrderError, match="line 2 is not one of a recorded day"):
        list(Day(fresh()).play([ADD, line]))
