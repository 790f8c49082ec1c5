"""How far a peer is that catches up with its group."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from dhtex.peer import Peer

_BAR_WIDTH = 20


async def show_catch_up(peer: Peer) -> None:
    """A progress bar on standard error while the peer catches up, where that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("catching up"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("catching up", total=None, visible=False)
        async with peer.progress() as steps:
            async for step in steps:
                progress.update(task, completed=step.done, total=step.target, visible=step.done < step.target)


def bar(done: int, target: int) -> str:
    """A bar of text: `[########------------] 40 %`."""
    share = min(1.0, done / target) if target else 1.0
    filled = int(share * _BAR_WIDTH)
    return f"[{'#' * filled}{'-' * (_BAR_WIDTH - filled)}] {share:.0%}"
