"""`dhtex simulate` as people meet it."""

from __future__ import annotations

from click.testing import CliRunner

from dhtex.cli.simulate import simulate


def test_seeds_that_pass() -> None:
    result = CliRunner().invoke(simulate, ["--seeds", "3", "--first", "5"])
    assert result.exit_code == 0
    assert "3 seeds passed" in result.stdout
    assert "seeds per second" in result.stdout
    assert result.stderr == ""


def test_the_canary_ends_with_its_timeline() -> None:
    result = CliRunner().invoke(simulate, ["--canary", "--seed", "1", "--no-shrink", "--moments", "5"])
    assert result.exit_code == 1
    assert "seed 1 breaks a rule" in result.stdout
    lines = result.stdout.splitlines()
    assert "!!" in lines[-1]
    assert len(lines) - lines.index("timeline:") == 6


def test_several_processes() -> None:
    result = CliRunner().invoke(simulate, ["--seeds", "4", "--jobs", "2"])
    assert result.exit_code == 0
    assert "4 seeds passed" in result.stdout


def test_a_time_budget_ends_the_hunt() -> None:
    result = CliRunner().invoke(simulate, ["--seconds", "0"])
    assert result.exit_code == 0
    assert result.stdout.startswith("1 seed passed")


def test_seeds_of_a_text() -> None:
    result = CliRunner().invoke(simulate, ["--seeds", "1", "--seeds-of", "a commit"])
    assert result.exit_code == 0
