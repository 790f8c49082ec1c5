"""How far a peer is that catches up with its group."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from dhtex.peer import Peer

_BAR_WIDTH = 20


async def show_catch_up(peer: Peer) -> None:
    """A progress bar on standard error while the peer catches up, where that is a terminal.

    It hides the cursor, and one who is killed meanwhile does not bring it back: so it is there only while needed.
    """
    console = Console(stderr=True)
    columns = (TextColumn("catching up"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_interactive)
    task = progress.add_task("catching up", total=None)
    try:
        async with peer.progress() as steps:
            async for step in steps:
                progress.update(task, completed=step.done, total=step.target)
                if step.done < step.target:
                    progress.start()
                else:
                    progress.stop()
    finally:
        progress.stop()


def bar(done: int, target: int) -> str:
    """A bar of text: `[########------------] 40 %`."""
    share = min(1.0, done / target) if target else 1.0
    filled = int(share * _BAR_WIDTH)
    return f"[{'#' * filled}{'-' * (_BAR_WIDTH - filled)}] {share:.0%}"
