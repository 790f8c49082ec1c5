"""`docs/reference/prompt.md` against what the prompt takes and says."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from dhtex import Peer
from dhtex.cli.prompt import ORDER_SETTINGS, ORDER_WORDS, USAGE
from dhtex.cli.shell import Shell

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "prompt.md").read_text(encoding="utf-8")
LINES, EVENTS = (
    [row.split(" | ") for row in re.findall(r"^\| (`.*) \|$", part, re.MULTILINE)]
    for part in PAGE.split("## JSON lines")
)
WITHOUT_A_SCENE = "unknown"


class Recorder:
    """An output that remembers the fields of each event."""

    def __init__(self) -> None:
        self.unheard = asyncio.Event()
        self.fields: dict[str, list[str]] = {}

    def say(self, event: str, text: RenderableType | None, **fields: Any) -> None:
        self.fields[event] = list(fields)

    def check(self) -> None:
        """Never fails."""


def test_every_command_word_and_setting_is_told() -> None:
    assert [row[0].split()[0].strip("`") for row in LINES] == list(USAGE)
    for word in (*ORDER_WORDS, *ORDER_SETTINGS):
        assert f"`{word}`" in PAGE


async def test_every_event_is_told_with_its_fields() -> None:
    peer, said = Peer("BTC-USD"), Recorder()
    shell = Shell(peer, said)
    news = asyncio.create_task(shell.tell_news())
    async with peer:
        shell.started()
        for line in ("sell 1 50 account=a", "buy 1 50 account=b", "dance", *list(USAGE)[4:-1]):
            shell.do(line)
        await shell.settled()
    await news
    told = {row[0].strip("`"): re.findall(r"`(\w+)`", row[1]) for row in EVENTS}
    del told[WITHOUT_A_SCENE]
    assert told == said.fields
