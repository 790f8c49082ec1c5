"""What a command says on standard output: lines for people, or one JSON object a line for programs."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import textwrap
from typing import Any, Protocol

import click
from rich.console import Console, RenderableType

from dhtex.errors import DhtexError


def end_output() -> None:
    """Write what is still in the buffer of standard output; drop it if that fails, or the end would fail again."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


class Output(Protocol):
    """Says things. Answers go to standard output; errors and talk are the caller's to send elsewhere.

    Attributes:
        unheard: set once nobody reads standard output any more, as after `| head -1`, or it cannot be written; the
            rest is said to nobody.
    """

    unheard: asyncio.Event

    def say(self, event: str, text: RenderableType | None, **fields: Any) -> None:
        """One thing that happened.

        Args:
            event: a fixed word for programs.
            text: for people; None where only programs care.
            fields: for programs; plain JSON values.
        """
        ...

    def check(self) -> None:
        """Nothing, while everything was said, or nobody was there to read it.

        Raises:
            DhtexError: standard output could not be written, as on a full disk.
        """
        ...


class _StandardOutput:
    """Standard output for as long as it takes what is said."""

    def __init__(self) -> None:
        self.unheard = asyncio.Event()
        self._failure: DhtexError | None = None

    def check(self) -> None:
        """See `Output`."""
        if self._failure is not None:
            raise self._failure

    def _write(self, text: str) -> None:
        try:
            click.echo(text, nl=False)
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                self._failure = DhtexError(f"cannot write the output: {error.strerror}")
            end_output()
            self.unheard.set()


class JsonOutput(_StandardOutput):
    """`{"event": …, …}` a line."""

    def say(self, event: str, text: RenderableType | None, **fields: Any) -> None:
        """See `Output`."""
        self._write(json.dumps({"event": event, **fields}) + "\n")


def _folded(text: str, columns: int) -> str:
    """*text* broken between words, where a narrow terminal would break within one."""
    return "\n".join(
        textwrap.fill(
            line,
            columns,
            subsequent_indent=" " * (len(line) - len(line.lstrip()) + 2),
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in text.splitlines()
    )


class TextOutput(_StandardOutput):
    """Lines and tables. Rendered to text first, so that they appear whole above a prompt."""

    def say(self, event: str, text: RenderableType | None, **fields: Any) -> None:
        """See `Output`."""
        if text is None:
            return
        columns = shutil.get_terminal_size((100, 24)).columns
        if isinstance(text, str):
            self._write(f"{_folded(text, columns) if sys.stdout.isatty() else text}\n")
            return
        console = Console(width=min(columns, 100))
        with console.capture() as capture:
            console.print(text)
        self._write(capture.get())
