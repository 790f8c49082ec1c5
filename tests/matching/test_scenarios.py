"""The scenario files: what each says comes out, and a wrong one fails."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from dhtex.errors import OrderError, ReplayMismatch
from dhtex.matching import MatchingEngine
from dhtex.matching.audit import audit
from dhtex.matching.scenario import parse, play
from matching.support import SCENARIOS

FILES = sorted(SCENARIOS.glob("*.txt"))


def test_there_are_enough() -> None:
    assert len(FILES) >= 60


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_scenario(file: Path) -> None:
    scenario = parse(file.read_text(encoding="utf-8"))
    assert scenario.title, "a scenario starts with the rule it shows"
    assert any(step.views for step in scenario.steps), "a scenario says what can be seen at its end"
    for _ in play(scenario, audit):
        pass


def test_what_leaves_the_book_needs_no_garbage_collector() -> None:
    """Orders and levels that refer to one another would wait for it: on fills that took a quarter of the time."""
    scenarios = [parse(file.read_text(encoding="utf-8")) for file in FILES]
    engines: list[MatchingEngine] = []  # a book that is dropped whole is a matter for the collector
    gc.collect()
    gc.disable()
    try:
        for scenario in scenarios:
            for _ in play(scenario, engines.append):
                pass
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alice sell 5 100\nbob buy 5 100\n> accepted bob:1", "line 2"),
        ("alice sell 5 100\n= asks 100x4", "expected 'asks 100x4', there is 'asks 100x5'"),
        ("alice sell 0 100", "was to be carried out"),
        (
            "alice sell 5 100\nbob buy 5 100\n= asks none",
            "was to be carried out, with nothing else to follow",
        ),
        ("alice sell 5 100\n= weather", "cannot be seen"),
    ],
)
def test_a_scenario_that_does_not_hold_fails(text: str, said: str) -> None:
    with pytest.raises(ReplayMismatch, match="line") as caught:
        list(play(parse(text)))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        "alice",
        "alice dance",
        "alice buy",
        "alice buy five 100",
        "alice buy 5 100 quickly",
        "alice buy 5 100 until",
        "alice buy 5 100 self-trade maybe",
        "alice amend alice:1 colour 5",
        "alice amend alice quantity 5",
        "alice cancel all side up",
        "alice cancel alice:x",
        "alice phase open",
        "at noon",
    ],
)
def test_a_line_that_is_no_command_is_named(line: str) -> None:
    with pytest.raises(OrderError, match=r"^line 2: "):
        list(play(parse(f"# a title\n{line}")))


@pytest.mark.parametrize("terms", ["market tick", "market colour red", "market max-fun 3", "market tick 0"])
def test_terms_that_make_no_sense_are_refused(terms: str) -> None:
    with pytest.raises(OrderError, match="terms"):
        parse(terms)
