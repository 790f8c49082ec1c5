"""What a command says on standard output: lines for people, or one JSON object a line for programs."""

from __future__ import annotations

import json
import shutil
from typing import Any, Protocol

import click
from rich.console import Console, RenderableType


class Output(Protocol):
    """Says things. Answers go to standard output; errors and talk are the caller's to send elsewhere."""

    def say(self, event: str, text: RenderableType | None, **fields: Any) -> None:
        """One thing that happened.

        Args:
            event: a fixed word for programs.
            text: for people; None where only programs care.
            fields: for programs; plain JSON values.
        """
        ...


class JsonOutput:
    """`{"event": …, …}` a line."""

    def say(self, event: str, text: RenderableType | None, **fields: Any) -> None:
        """See `Output`."""
        click.echo(json.dumps({"event": event, **fields}))


class TextOutput:
    """Lines and tables. Rendered to text first, so that they appear whole above a prompt."""

    def say(self, event: str, text: RenderableType | None, **fields: Any) -> None:
        """See `Output`."""
        if text is None:
            return
        if isinstance(text, str):
            click.echo(text)
            return
        console = Console(width=min(shutil.get_terminal_size((100, 24)).columns, 100))
        with console.capture() as capture:
            console.print(text)
        click.echo(capture.get(), nl=False)
