"""The prompt, the log beside it, and tables in a narrow terminal."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import signal
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console

from dhtex import Peer, Side, StorageError, TradeReport
from dhtex.cli.console import _Progress, _toolbar, converse
from dhtex.cli.logs import configure
from dhtex.cli.output import TextOutput
from dhtex.cli.render import trades_table
from dhtex.cli.shell import Shell
from dhtex.matching import OrderId


async def test_the_prompt_leaves_the_signals_to_the_command() -> None:
    signalled = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, signalled.set)
    try:
        with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
            async with Peer("BTC-USD") as peer:
                keys.send_text("status\rquit\r")
                await converse(Shell(peer, TextOutput()), peer, None)
                os.kill(os.getpid(), signal.SIGINT)
                await signalled.wait()
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def test_the_prompt_goes_on_where_its_history_cannot_be_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "history").mkdir()
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        async with Peer("BTC-USD") as peer:
            shell = Shell(peer, TextOutput())
            keys.send_text("dance\rquit\r")
            await converse(shell, peer, tmp_path)
            assert shell.refused == 1
    assert {record.name for record in caplog.records} == {"dhtex.cli.console"}


async def test_words_that_exclude_each_other_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    async with Peer("BTC-USD") as peer:
        shell = Shell(peer, TextOutput())
        shell.do("buy 1 market post")
        await shell.settled()
    assert (
        "rejected: invalid combination (post, aon and display= are for limit orders"
        in capsys.readouterr().out
    )


async def test_the_toolbar_bears_a_peer_that_failed() -> None:
    async with Peer("BTC-USD") as peer:
        assert "member" in _toolbar(peer, _Progress())
        peer._fail(StorageError("the disk is gone"))
        assert _toolbar(peer, _Progress()) == " closing"


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield root
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.mark.usefixtures("root_logger")
def test_the_log_goes_where_standard_error_is_by_then(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    root.handlers.clear()  # pytest's own are not for closing
    configure("info", as_json=False)
    above_the_prompt = io.StringIO()
    monkeypatch.setattr("sys.stderr", above_the_prompt)
    logging.getLogger("dhtex.test").info("said")
    assert above_the_prompt.getvalue().endswith("INFO dhtex.test: said\n")


def test_a_narrow_terminal_breaks_lines_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "  buy AMOUNT PRICE|market   [gtc|ioc|fok|post|aon]\n\n* c0ffee12 is a member"
    monkeypatch.setenv("COLUMNS", "30")
    for terminal, shown in (
        (True, "  buy AMOUNT PRICE|market\n    [gtc|ioc|fok|post|aon]\n\n* c0ffee12 is a member\n"),
        (False, f"{text}\n"),
    ):
        output = io.StringIO()
        monkeypatch.setattr(output, "isatty", lambda terminal=terminal: terminal)
        monkeypatch.setattr("sys.stdout", output)
        TextOutput().say("help", text)
        assert output.getvalue() == shown


def test_a_narrow_terminal_folds_and_cuts_nothing() -> None:
    order = OrderId(b"\xc0\xff\xee\x12" + bytes(16), 42)
    trade = TradeReport(Decimal("12345.67"), Decimal("0.00000001"), order, order, Side.BUY, "1-1", 1, 0)
    console = Console(width=30, file=io.StringIO())
    with console.capture() as capture:
        console.print(trades_table([trade], b""))
    shown = capture.get()
    assert "…" not in shown
    cells = zip(*(line.split("│")[1:-1] for line in shown.splitlines() if "│" in line), strict=True)
    assert ["".join(cell).replace(" ", "") for cell in cells][2] == "12345.67"
