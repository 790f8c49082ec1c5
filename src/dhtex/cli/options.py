"""Kinds of option values that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dhtex.identity import NODE_ID_SIZE


class Addresses(click.ParamType[tuple[str, ...]]):
    """`host:port,host:port`, or nothing."""

    name = "host:port,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """The addresses as they were written; whoever uses them checks them."""
        if isinstance(value, tuple):
            return value
        return tuple(text.strip() for text in str(value).split(",") if text.strip())


class NodeIds(click.ParamType[frozenset[bytes]]):
    """A file of node ids, 40 hex digits a line; `#` starts a comment."""

    name = "file"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> frozenset[bytes]:
        """The node ids in the file."""
        if isinstance(value, frozenset):
            return value
        try:
            lines = Path(value).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            self.fail(f"cannot read {value}: {error}", param, ctx)
        found = set()
        for number, line in enumerate(lines, 1):
            text = line.partition("#")[0].strip()
            if not text:
                continue
            try:
                node_id = bytes.fromhex(text)
            except ValueError:
                node_id = b""
            if len(node_id) != NODE_ID_SIZE:
                self.fail(
                    f"line {number} of {value} is not a node id of {2 * NODE_ID_SIZE} hex digits", param, ctx
                )
            found.add(node_id)
        return frozenset(found)
