"""The `dhtex` command; one file a subcommand."""

from __future__ import annotations

import click


@click.group()
def main() -> None:
    """A peer-to-peer exchange."""
