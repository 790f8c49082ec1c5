"""`dhtex journal`: look into a journal, check it, write its history out; while its peer runs or not."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

import click
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from dhtex.cli.output import JsonOutput, TextOutput
from dhtex.errors import (
    DhtexError,
    JournalCorrupt,
    JournalForeign,
    MalformedMessage,
    MarketError,
    UsageError,
)
from dhtex.exchange import Exchange
from dhtex.identity import Identity, short_id
from dhtex.journal import FinalEntry, Summary, Verification, final_entries, inspect, verify
from dhtex.locks import LockRequest
from dhtex.matching import Amend, Cancel, CancelAll, MarketSpec, Place
from dhtex.matching.commands import SetPhase, command_of, decode_rows

_FILE = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")


@click.group()
def journal() -> None:
    """Look into a journal, check it, or write its history out.

    FILE is a peer's journal, journals/….journal in its --data-dir. The peer may be running; nothing is changed.
    """


@journal.command("inspect")
@_FILE
@_JSON
def inspect_command(file: Path, *, as_json: bool) -> None:
    """Say whose journal FILE is, of what, and how far it has come."""
    summary = inspect(file)
    _say(as_json, "journal", _summary_table(file, summary), file=str(file), **_summary_fields(summary))


@journal.command("verify", short_help="Check its tables, signatures, views, order and digest.")
@_FILE
@_JSON
@click.option("--no-replay", is_flag=True, help="Do not apply the orders again to compare digests.")
def verify_command(file: Path, *, as_json: bool, no_replay: bool) -> None:
    """Check FILE: the tables, every signature, the chain of views, the order, the digest.

    Ends with 1 if anything is wrong.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    hidden = as_json or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task("signatures", total=None)
        result = verify(
            file,
            Identity.generate(),  # anyone can verify
            None if no_replay else lambda market: _Replay(market_of(market)),
            lambda done, total: progress.update(task, completed=done, total=total),
        )
    _say(as_json, "verified", _verdict(result), file=str(file), **_verification_fields(result))
    if result.findings:
        raise JournalCorrupt(
            f"{len(result.findings)} things are wrong with {file}; "
            "restore it from a backup, or move it away and join the group as a new peer"
        )


@journal.command("export", short_help="Write its final commands out, one a line.")
@_FILE
@click.option(
    "--format", "layout", type=click.Choice(["jsonl", "csv"]), default="jsonl", help="One command a line."
)
@click.option(
    "-o", "--output", type=click.File("w", encoding="utf-8"), default="-", help="Where to; - is here."
)
def export_command(file: Path, layout: str, output: IO[str]) -> None:
    """Write the final commands kept in FILE, in their total order, one a line."""
    if Path(output.name).resolve() in {
        file.resolve().with_name(file.resolve().name + end) for end in _ENDINGS
    }:
        raise UsageError(f"{output.name} belongs to the journal that is read; give --output another name")
    market = market_of(inspect(file).owner.market)
    lines = (line for entry in final_entries(file) for line in _lines(entry, market))
    if layout == "jsonl":
        for line in lines:
            output.write(json.dumps(line) + "\n")
        return
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for line in lines:
        command = line.pop("command")
        row = {**line, **command, "command": json.dumps(command)}
        writer.writerow([row.get(column, "") for column in _COLUMNS])


def _say(as_json: bool, event: str, text: RenderableType, **fields: Any) -> None:
    output = JsonOutput() if as_json else TextOutput()
    output.say(event, text, **fields)
    output.check()


# -- inspect ------------------------------------------------------------------------------------------------------


def _summary_table(file: Path, summary: Summary) -> Table:
    table = Table(title=str(file), title_justify="left", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in _summary_rows(summary):
        table.add_row(name, value)
    return table


def _summary_rows(summary: Summary) -> Iterator[tuple[str, str]]:
    owner, view = summary.owner, summary.view
    yield "peer", owner.node_id.hex()
    yield "group", owner.group_id.hex()
    if (spec := _market_or_none(owner.market)) is not None:
        yield "market", f"{spec.symbol}, tick {spec.tick_size:f}, lot {spec.lot_size:f}"
    if view is None:
        yield "view", "none: the peer was in no group yet"
    else:
        frozen = ", frozen: the next one is being decided" if summary.frozen else ""
        members = "1 member" if len(view.members) == 1 else f"{len(view.members)} members"
        yield "view", f"{view.number}, {members}{frozen}"
        for member in view.members:
            own = " (this peer)" if member.node_id == owner.node_id else ""
            yield "", f"{short_id(member.node_id)} {member.address}{own}"
    yield "position", f"{summary.position:,} final commands"
    yield "digest", summary.digest.hex()
    yield "last final", _when(summary.final.timestamp) if summary.final.timestamp else "none in this view yet"
    yield "pending", f"{summary.pending:,} own commands in no entry"
    yield (
        "kept",
        (
            f"{summary.entries:,} entries, {summary.commands:,} commands, {_bytes(summary.entry_bytes)}, "
            f"{summary.views:,} views"
        ),
    )
    for snapshot in summary.snapshots:
        yield "snapshot", f"at position {snapshot.position:,}, {_bytes(snapshot.size)}"
    yield (
        "history from",
        "the beginning" if not summary.compacted.view else _when(summary.compacted.timestamp),
    )
    yield (
        "file",
        (
            f"{_bytes(summary.file_bytes)} ({_bytes(summary.free_bytes)} of it free), "
            f"log {_bytes(summary.wal_bytes)}, format {summary.format}"
        ),
    )


def _summary_fields(summary: Summary) -> dict[str, Any]:
    view = summary.view
    return {
        "format": summary.format,
        "node_id": summary.owner.node_id.hex(),
        "group_id": summary.owner.group_id.hex(),
        "lineage": summary.lineage.hex(),
        "view": None if view is None else view.number,
        "members": [] if view is None else [[m.node_id.hex(), m.address] for m in view.members],
        "frozen": summary.frozen,
        "position": summary.position,
        "digest": summary.digest.hex(),
        "ceiling": summary.ceiling,
        "pending": summary.pending,
        "entries": summary.entries,
        "commands": summary.commands,
        "entry_bytes": summary.entry_bytes,
        "snapshots": [list(snapshot) for snapshot in summary.snapshots],
        "file_bytes": summary.file_bytes,
        "wal_bytes": summary.wal_bytes,
        "free_bytes": summary.free_bytes,
    }


def _when(timestamp: int) -> str:
    try:
        return (
            datetime.fromtimestamp(timestamp / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            if timestamp
            else "-"
        )
    except (ValueError, OverflowError, OSError):
        return f"{timestamp} µs"


def _bytes(size: int) -> str:
    return f"{size:,} B" if size < 10_000 else f"{size / 1024:,.0f} KiB"


# -- verify -------------------------------------------------------------------------------------------------------


class _Replay(Exchange):
    """An exchange whose events nobody waits for."""

    def apply(self, *args: Any) -> bytes:
        """See `Exchange.apply`."""
        events = super().apply(*args)
        self.take_applied()
        return events


def _verdict(result: Verification) -> str:
    lines = [f"wrong: {finding}" for finding in result.findings]
    replayed = f"{result.replayed:,} commands replayed from position {result.start:,} to {result.position:,}"
    lines.append(
        f"{result.entries:,} entries with their signatures and {result.views:,} views checked, {replayed}, "
        f"digest {result.digest.hex()[:16]}: " + ("NOT sound" if result.findings else "sound")
    )
    return "\n".join(lines)


def _verification_fields(result: Verification) -> dict[str, Any]:
    return {
        "sound": not result.findings,
        "findings": list(result.findings),
        "entries": result.entries,
        "views": result.views,
        "replayed": result.replayed,
        "start": result.start,
        "position": result.position,
        "digest": result.digest.hex(),
    }


# -- export -------------------------------------------------------------------------------------------------------

_ENDINGS: Final = ("", "-wal", "-shm", ".lock")
"""Of the names of a journal and the files beside it."""
_COLUMNS: Final = (
    "position", "timestamp", "view", "origin", "n", "type", "side", "quantity", "price", "order", "command",
)  # fmt: skip


def _lines(final: FinalEntry, market: MarketSpec) -> Iterator[dict[str, Any]]:
    """One JSON-able line for every command that counts."""
    entry = final.entry
    try:
        rows: tuple[Any, ...] = decode_rows(entry.commands)
    except MalformedMessage:
        rows = ()
    if len(rows) != entry.count:  # rejected by every peer alike, command by command
        rows = (None,) * entry.count
    for place in range(final.skip, entry.count):
        yield {
            "position": final.position + place - final.skip,
            "timestamp": entry.timestamp,
            "view": entry.view,
            "origin": entry.origin.hex(),
            "n": entry.first_n + place,
            "command": _command_fields(rows[place], market),
        }


def _command_fields(row: Any, market: MarketSpec) -> dict[str, Any]:
    """A command with its numbers as people write them; `malformed` where no peer could read it."""
    try:
        command = command_of(row)
    except (MalformedMessage, TypeError, IndexError):
        return _lock_fields(row)
    said: dict[str, Any]
    match command:
        case Place():
            said = {
                "type": "place",
                "side": command.side.name.lower(),
                "quantity": market.format_quantity(command.quantity),
                "price": _price(command.price, market),
                "kind": command.kind.name.lower(),
                "time_in_force": command.time_in_force.name,
                "trigger": _price(command.trigger, market),
                "trail": _price(command.trail, market),
                "display": None if command.display is None else market.format_quantity(command.display),
                "expiry": command.expiry,
                "post_only": command.post_only or None,
                "all_or_none": command.all_or_none or None,
                "account": command.account or None,
                "tag": command.tag or None,
            }
        case Amend(order, quantity, price, account):
            said = {
                "type": "amend",
                "order": f"{order.node_id.hex()}:{order.n}",
                "quantity": None if quantity is None else market.format_quantity(quantity),
                "price": _price(price, market),
                "account": account or None,
            }
        case Cancel(order_or_none, account, tag):
            name = None if order_or_none is None else f"{order_or_none.node_id.hex()}:{order_or_none.n}"
            said = {"type": "cancel", "order": name, "account": account or None, "tag": tag or None}
        case CancelAll(side, of_account):
            said = {
                "type": "cancel_all",
                "side": None if side is None else side.name.lower(),
                "account": of_account,
            }
        case SetPhase(phase):
            said = {"type": "phase", "phase": phase.name.lower()}
    return {name: value for name, value in said.items() if value is not None}


def _price(ticks: int | None, market: MarketSpec) -> str | None:
    return None if ticks is None else market.format_price(ticks)


def _lock_fields(row: Any) -> dict[str, Any]:
    """A lock request travels as a row that begins with bytes, see `exchange.encode_lock`."""
    try:
        if isinstance(row[0], bytes):
            request = LockRequest.from_row(row[1:])
            return {"type": "lock", "name": request.name, "lease": request.lease}
    except (DhtexError, TypeError, IndexError, ValueError):
        pass
    return {"type": "malformed"}


# -- market -------------------------------------------------------------------------------------------------------


def market_of(canonical: bytes) -> MarketSpec:
    """The market that has these canonical bytes.

    Raises:
        JournalForeign: there is none in this version; a journal made without its market has none either.
    """
    try:
        return MarketSpec.from_canonical(canonical)
    except MarketError as error:
        raise JournalForeign(
            "the journal does not say which market it is of in a way that this version knows; "
            "verify it with --no-replay, or use the version that wrote it"
        ) from error


def _market_or_none(canonical: bytes) -> MarketSpec | None:
    try:
        return market_of(canonical)
    except JournalForeign:
        return None
