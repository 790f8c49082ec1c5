"""Logging of the command line: the library has none of its own."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

LEVELS: Final = ("debug", "info", "warning", "error")


class _Handler(logging.Handler):
    """To standard error as it is at that moment: while there is a prompt, what is said goes above it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            click.echo(self.format(record), err=True)
        except Exception:
            self.handleError(record)


class _JsonFormatter(logging.Formatter):
    """One object a line, for collectors."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def log_options(command: F) -> F:
    """`--log-level` and `--log-json`."""
    command = click.option("--log-json", is_flag=True, help="Log one JSON object a line.")(command)
    return click.option(
        "--log-level", type=click.Choice(LEVELS), default="warning", help="What to log to standard error."
    )(command)


def configure(level: str, as_json: bool) -> None:
    """Log to standard error from *level* on."""
    handler = _Handler()
    handler.setFormatter(
        _JsonFormatter() if as_json else logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
