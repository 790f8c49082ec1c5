"""`dhtex demo`: the main job, start to end, with real processes on loopback."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console

from dhtex.cli.demo.children import nursery
from dhtex.cli.demo.story import Story
from dhtex.cli.running import run
from dhtex.errors import DhtexError

DURATION_S_MAX = 120
"""The story takes some fifteen seconds; a machine this much slower is stuck."""


@click.command(short_help="Two Grapes and three peers trade, and one is killed.")
def demo() -> None:
    """Two Grapes and three peers trade for a moment: crossing orders, a kill, a recovery, one agreed book.

    Exit code 0 only if all three peers agree at the end. Leaves no process and no file behind.
    """
    sys.exit(run(_demo, signalled=1))


async def _demo() -> int:
    with tempfile.TemporaryDirectory(prefix="dhtex-demo-") as name:
        folder = Path(name)
        try:
            async with asyncio.timeout(DURATION_S_MAX), nursery(folder) as children:
                return 0 if await Story(children, folder, Console()).tell() else 1
        except TimeoutError:
            raise DhtexError(
                f"the story did not end within {DURATION_S_MAX} s; try again when the machine is less busy"
            ) from None
