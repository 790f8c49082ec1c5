"""What several commands make of their options' text; callbacks, as click calls them."""

from __future__ import annotations

from pathlib import Path

import click

from dhtex.identity import NODE_ID_SIZE


def addresses(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    """`host:port,host:port` or nothing, as they were written; whoever uses them checks them."""
    return tuple(text.strip() for text in value.split(",") if text.strip())


def node_ids(ctx: click.Context, param: click.Parameter, value: str | None) -> frozenset[bytes] | None:
    """The node ids in a file, 40 hex digits a line; `#` starts a comment.

    Raises:
        BadParameter: the file cannot be read, or a line is no node id.
    """
    if value is None:
        return None
    try:
        lines = Path(value).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise click.BadParameter(f"cannot read {value}: {error.strerror}", ctx, param) from error
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{value} is not text", ctx, param) from error
    return frozenset(
        _node_id(text, f"line {number} of {value}", ctx, param)
        for number, line in enumerate(lines, 1)
        if (text := line.partition("#")[0].strip())
    )


def _node_id(text: str, where: str, ctx: click.Context, param: click.Parameter) -> bytes:
    try:
        node_id = bytes.fromhex(text)
    except ValueError:
        node_id = b""
    if len(node_id) != NODE_ID_SIZE:
        raise click.BadParameter(f"{where} is not a node id of {2 * NODE_ID_SIZE} hex digits", ctx, param)
    return node_id
