"""`dhtex` on terminals, pipes and what else may stand in their place."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e.dhtex_process import DHTEX, PATIENCE_S, environment, run

pytestmark = pytest.mark.e2e

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")

SCENARIO = str(Path(__file__).parents[1] / "matching" / "scenarios" / "iceberg-goes-to-the-back.txt")
ALONE = ("peer", "--ephemeral", "--bn", "")


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal: ours, and the program's."""
    ours, theirs = pty.openpty()
    try:
        yield ours, theirs
    finally:
        os.close(ours)
        os.close(theirs)


def into_a_full_disk(*arguments: str) -> subprocess.CompletedProcess[str]:
    with Path("/dev/full").open("w") as full:
        return subprocess.run(
            [*DHTEX, *arguments],
            stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True,
            timeout=PATIENCE_S, env=environment(dev=False), check=False,
        )  # fmt: skip


@needs_full
@pytest.mark.parametrize(
    "arguments", [ALONE, ("grape", "--dp", "0", "--aph", "0"), ("demo",), ("replay", SCENARIO)]
)
def test_output_that_cannot_be_written_is_said(arguments: tuple[str, ...]) -> None:
    done = into_a_full_disk(*arguments)
    assert re.fullmatch(r"dhtex: .*No space left on device.*\n", done.stderr)
    assert done.returncode == 1


@needs_full
@pytest.mark.parametrize("command", ["inspect", "verify", "export"])
def test_what_a_journal_says_that_cannot_be_written_is_said(tmp_path: Path, command: str) -> None:
    trades = "".join(f"buy {n} 50\n" for n in range(1, 200))  # more than a buffer takes
    run("peer", "--bn", "", "--data-dir", str(tmp_path), stdin=trades)
    (journal,) = (tmp_path / "journals").glob("*.journal")
    done = into_a_full_disk("journal", command, str(journal))
    assert re.fullmatch(r"dhtex: .*No space left on device.*\n", done.stderr)
    assert done.returncode == 1


def test_a_demo_that_is_interrupted_did_not_agree() -> None:
    process = subprocess.Popen(
        [*DHTEX, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(dev=False)
    )
    try:
        assert process.stdout is not None
        while b"Two Grapes" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, errors) == (1, b"")
    finally:
        process.kill()
        process.communicate()


def test_input_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as unreadable:
        done = subprocess.run(
            [*DHTEX, *ALONE],
            stdin=unreadable, capture_output=True, text=True,
            timeout=PATIENCE_S, env=environment(dev=False), check=False,
        )  # fmt: skip
    assert done.stderr == "dhtex: cannot read standard input: Bad file descriptor\n"
    assert done.returncode == 1


def test_a_terminals_lines_with_answers_into_a_pipe_that_is_left() -> None:
    with terminal() as (ours, theirs):
        process = subprocess.Popen(
            [*DHTEX, *ALONE],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(False),
        )
        try:
            assert process.stdout is not None
            assert b" trades BTC-USD " in process.stdout.readline()
            os.write(ours, b"help\n")
            while b"leave the group and end" not in (line := process.stdout.readline()):
                assert line, "it ended"
                assert b"BTC-USD>" not in line, "a prompt is for people"
            process.stdout.close()
            os.write(ours, b"help\n")
            assert process.wait(PATIENCE_S) == 1
            assert process.stderr is not None
            assert process.stderr.read() == b""
        finally:
            process.kill()
            process.communicate()


def test_a_pipes_terminal_is_left_alone_when_there_is_nothing_to_catch_up() -> None:
    with terminal() as (ours, theirs):
        done = subprocess.run(
            [*DHTEX, *ALONE],
            input=b"status\n", stdout=subprocess.PIPE, stderr=theirs,
            timeout=PATIENCE_S, env=environment(False), check=False,
        )  # fmt: skip
        assert done.returncode == 0
        os.write(theirs, b"end")
        assert os.read(ours, 1000) == b"end"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_service_without_input_stays_until_a_signal(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [*DHTEX, *ALONE, "--stay"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(False),
    )  # fmt: skip
    try:
        assert process.stdout is not None
        while b"view 1" not in (line := process.stdout.readline()):
            assert line, "it ended"
        process.send_signal(number)
        rest, errors = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, errors) == (0, b"")
        assert b"has left the group" in rest
    finally:
        process.kill()
        process.communicate()


def test_the_trades_of_the_journal_are_history(tmp_path: Path) -> None:
    arguments = ("peer", "--bn", "", "--data-dir", str(tmp_path))
    first = run(*arguments, stdin="sell 3 50 account=a\nbuy 1 50 account=b\nbuy 1 50 account=b\ntrades\n")
    assert first.stdout.count("\ntrade 1 @ 50.00") == 2, first.stdout + first.stderr
    again = run(*arguments, stdin="buy 1 50 account=b\ntrades\n")
    assert again.stdout.count("\ntrade 1 @ 50.00") == 1, again.stdout + again.stderr
    assert again.stdout.count("│      1 │ 50.00 │") == 3
