"""Real days, with the fills that the real exchanges made; and recordings that do not hold."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from dhtex.errors import OrderError
from dhtex.matching import MatchingEngine
from dhtex.matching.audit import audit
from dhtex.matching.flow import Day, recorded_market
from matching.support import shared_data

DAYS = sorted(shared_data().glob("*.jsonl.gz"))


def fresh() -> MatchingEngine:
    return MatchingEngine(recorded_market("DAY"))


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
        ([ADD, '{"op":"reduce","id":1,"by":5}', '{"op":"check","bids":[[100,5]],"asks":[]}'], 1),
        ([ADD, '{"op":"reduce","id":1,"by":9}', '{"op":"check","bids":[[100,5]],"asks":[]}'], 1),
        ([ADD, '{"op":"reduce","id":1,"by":0}', '{"op":"check","bids":[[100,5]],"asks":[]}'], 0),
        ([ADD, '{"op":"reduce","id":7,"by":3}', '{"op":"check","bids":[[100,5]],"asks":[]}'], 0),
        ([ADD, '{"op":"check","bids":[[100,5],[99,1]],"asks":[[101,1]]}'], 2),
        (
            [
                '{"op":"submit","id":"b-7","side":-1,"px":9223372036854775807,"qty":9223372036854775807,"expect":[]}',
                '{"op":"submit","id":-1,"side":1,"px":9223372036854775807,"qty":1,"expect":[["b-7",1,9223372036854775807]]}',
                '{"op":"cancel","id":"b-7","why":"tired"}',
                '{"op":"submit","id":"b-7","side":1,"px":4,"qty":6,"expect":[]}',
                '{"op":"take","id":5,"side":-1,"px":3,"qty":10,"expect":[["b-7",6,4]]}',
                '{"op":"submit","id":6,"side":-1,"px":null,"qty":1,"expect":[]}',
                '{"op":"cancel","id":5}',
                '{"op":"check","bids":[],"asks":[]}',
            ],
            0,
        ),
        ([ADD, '{"op":"check","bids":[[100,4]],"asks":[]}'], 1),
        ([ADD, '{"op":"cancel","id":1}', '{"op":"cancel","id":1}', '{"op":"cancel","id":9}'], 0),
    ],
)
def test_differences_are_found(lines: list[str], differences: int) -> None:
    day = Day(fresh())
    *_, report = day.play(lines)
    assert len(report.differences) == differences


def test_a_difference_in_depth_names_the_level() -> None:
    day = Day(fresh())
    *_, report = day.play([ADD, '{"op":"check","bids":[[100,5],[99,1]],"asks":[]}'])
    assert report.differences == [(2, "level 2 of the bids (99, 1)", "None")]


def test_a_recording_may_hold_more_orders_than_an_account_usually_may() -> None:
    day = Day(fresh())
    *_, report = day.play([ADD] * 100_001)
    assert (len(day.engine), report.differences) == (100_001, [])


@pytest.mark.parametrize(
    "line",
    [
        "", "5", "[]", "{}", '{"op":"dance"}', '{"op":"add","id":1}', '{"op":"add"', "[" * 100_000,
        '{"op":"add","side":0,"px":100,"qty":5}',
        '{"op":"add","side":"buy","px":100,"qty":5}',
        '{"op":"add","side":1,"px":100.5,"qty":5}',
        '{"op":"add","side":1,"px":9223372036854775808,"qty":5}',
        '{"op":"add","side":1,"px":NaN,"qty":5}',
        '{"op":"submit","side":1,"px":100,"qty":"5"}',
        '{"op":"take","side":1,"px":100,"qty":null}',
        '{"op":"add","id":[1],"side":1,"px":100,"qty":5}',
        '{"op":"reduce","id":1,"by":-2}',
        '{"op":"reduce","id":1}',
        '{"op":"reduce","id":1,"by":0.5}',
        '{"op":"check","bids":[[100,5]]}',
        '{"op":"check","bids":5,"asks":[]}',
    ],
    ids=lambda line: line[:60],
)  # fmt: skip
def test_a_line_that_is_none_is_named(line: str) -> None:
    with pytest.raises(OrderError, match=r"line 2 is not one of a recorded day: ."):
        list(Day(fresh()).play([ADD, line, ADD]))
