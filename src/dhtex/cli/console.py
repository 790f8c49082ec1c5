"""The prompt: history, completion, news above the line that is being typed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.patch_stdout import patch_stdout

from dhtex.cli.progress import bar
from dhtex.cli.prompt import ORDER_SETTINGS, ORDER_WORDS, USAGE
from dhtex.cli.shell import Shell
from dhtex.errors import DhtexError
from dhtex.identity import short_id
from dhtex.peer import Peer

logger = logging.getLogger(__name__)


class _Words(Completer):
    """Commands first; then what the command takes: own orders, `market`, words and settings."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """See prompt_toolkit."""
        before = document.text_before_cursor.split(" ")
        typed = before[-1]
        for word in self._candidates(before[:-1]):
            if word.startswith(typed.lower()):
                text = word if word.endswith("=") else f"{word} "
                yield Completion(text, start_position=-len(typed), display=word)

    def _candidates(self, before: list[str]) -> list[str]:
        words = [word for word in before if word]
        if not words:
            return list(USAGE)
        match words[0].lower():
            case "buy" | "sell" if len(words) == 2:
                return ["market"]
            case "buy" | "sell" if len(words) > 2:
                return [*ORDER_WORDS, *ORDER_SETTINGS]
            case "cancel" | "amend" if len(words) == 1:
                own = [str(order.id) for order in self._peer.book.orders_of(self._peer.node_id)]
                return [*own, "all"] if words[0].lower() == "cancel" else own
            case _:
                return []


async def converse(shell: Shell, peer: Peer, folder: Path | None) -> None:
    """Prompt for commands until quit, Ctrl-D or Ctrl-C."""
    session: PromptSession[str] = PromptSession(
        history=_history(folder),
        completer=_Words(peer),
        complete_while_typing=False,
        bottom_toolbar=lambda: _toolbar(peer, progress),
        refresh_interval=0.5,
    )
    progress = _Progress()
    watching = asyncio.create_task(progress.watch(peer))
    try:
        with patch_stdout(raw=True):
            while True:
                try:
                    # Without a handler of its own for SIGINT: it would take ours away when it is done.
                    line = await session.prompt_async(
                        f"{short_id(peer.node_id)} {peer.spec.symbol}> ", handle_sigint=False
                    )
                except (EOFError, KeyboardInterrupt):
                    return
                if not shell.do(line):
                    return
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


class _Progress:
    """The newest step of catching up, for the toolbar."""

    def __init__(self) -> None:
        self.text = ""

    async def watch(self, peer: Peer) -> None:
        async with peer.progress() as steps:
            async for step in steps:
                self.text = f"  catching up {bar(step.done, step.target)}" if step.done < step.target else ""


def _toolbar(peer: Peer, progress: _Progress) -> str:
    try:
        view = peer.view
        members = len(view.members) if view else 0
        return (
            f" {peer.role.value} | {members} member{'' if members == 1 else 's'} | position {peer.position().number}"
            f" | {peer.pending_count} pending{progress.text}"
        )
    except DhtexError:  # it failed, or was closed
        return " closing"


class _FileHistory(FileHistory):
    """Where the file cannot be used, as on a full disk, the prompt goes on and remembers only while it runs."""

    def load_history_strings(self) -> Iterable[str]:
        """See prompt_toolkit."""
        try:
            return list(super().load_history_strings())
        except OSError as error:
            logger.warning("cannot read the history of the prompt: %s", error)
            return []

    def store_string(self, string: str) -> None:
        """See prompt_toolkit."""
        try:
            super().store_string(string)
        except OSError as error:
            logger.warning("cannot write the history of the prompt: %s", error)


def _history(folder: Path | None) -> History:
    return InMemoryHistory() if folder is None else _FileHistory(str(folder / "history"))
