"""What a command says on standard output: lines for people, or one JSON object a line for programs."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
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
        failure: why it could not be written, when it was not just left.
    """

    unheard: asyncio.Event
    failure: DhtexError | None

    def say(self, event: str, text: RenderableType | None, **fields: Any) -> None:
        """One thing that happened.

        Args:
            event: a fixed word for programs.
            text: for people; None where only programs care.
            fields: for programs; plain JSON values.
        """
        ...


class _StandardOutput:
    """Standard output for as long as it takes what is said."""

    def __init__(self) -> None:
        self.unheard = asyncio.Event()
        self.failure: DhtexError | None = None

    def _write(self, text: str) -> None:
        try:
            click.echo(text, nl=False)
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                self.failure = DhtexError(f"cannot write to standard output: {error.strerror}")
            end_output()
            self.unheard.set()


class JsonOutput(_StandardOutput):
    """`{"event": …, …}` a line."""

    def say(self, event: str, text: RenderableType | None, **fields: Any) -> None:
        """See `Output`."""
        self._write(json.dumps({"event": event, **fields}) + "\n")


class TextOutput(_StandardOutput):
    """Lines and tables. Rendered to text first, so that they appear whole above a prompt."""

    def say(self, event: str, text: RenderableType | None, **fields: Any) -> None:
        """See `Output`."""
        if text is None:
            return
        if isinstance(text, str):
            self._write(f"{text}\n")
            return
        console = Console(width=min(shutil.get_terminal_size((100, 24)).columns, 100))
        with console.capture() as capture:
            console.print(text)
        self._write(capture.get())
