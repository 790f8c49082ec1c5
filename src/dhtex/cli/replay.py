"""`dhtex replay`: play a scenario, a recorded day or a journal, and say what the engine makes of it."""

from __future__ import annotations

import gzip
import re
import time
import zlib
from collections.abc import Iterator
from io import BufferedReader
from itertools import zip_longest
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from dhtex.cli.journal import market_of
from dhtex.errors import OrderError, ReplayMismatch, UsageError
from dhtex.exchange import Exchange
from dhtex.journal import final_entries, inspect
from dhtex.matching import MatchingEngine, Trade
from dhtex.matching.flow import Day, DayReport, recorded_market
from dhtex.matching.scenario import parse, play

_GZIP_MAGIC = b"\x1f\x8b"
_SQLITE_MAGIC = b"SQLite format 3\0"
# A check of a million levels has fewer bytes; a file without line ends must not fill the memory.
_LINE_MAX = 1 << 26
_DIFFERENCES_SHOWN = 5


@click.command(short_help="Play a scenario, a recorded day or a journal.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--depth",
    "levels_max",
    type=click.IntRange(1, 1000),
    default=10,
    help="Levels of the final book to show.",
)
@click.option("--quiet", "-q", is_flag=True, help="Only say whether everything came out as the file says.")
def replay(file: Path, levels_max: int, quiet: bool) -> None:
    """Play FILE: a scenario (text), a recorded day (JSON lines, gzip or not), or a peer's journal.

    Ends with 1 if something else comes out than the file expects.
    """
    with file.open("rb") as opened:
        head = opened.peek(len(_SQLITE_MAGIC))  # without moving on: it may be a pipe
        if head.startswith(_SQLITE_MAGIC):
            _replay_journal(file, levels_max, quiet=quiet)
        elif head.startswith((_GZIP_MAGIC, b"{")):
            _replay_day(file, opened, levels_max, quiet=quiet)
        else:
            _replay_scenario(file, opened, quiet=quiet)


def _replay_scenario(file: Path, opened: BufferedReader, *, quiet: bool) -> None:
    try:
        scenario = parse(opened.read().decode())
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is neither a scenario (text) nor a recorded day (JSON lines)") from error
    if not scenario.steps:
        raise UsageError(f"{file} has no commands; a scenario has one a line, such as: alice buy 5 100")
    for step, events in play(scenario):
        if not quiet:
            click.echo(step.text)
            for event in events:
                click.echo(f"    {event}")
    click.echo(f"as expected: {scenario.title or file.name}")


def _replay_day(file: Path, opened: BufferedReader, levels_max: int, *, quiet: bool) -> None:
    engine = MatchingEngine(recorded_market(_symbol_of(file)))
    day = Day(engine)
    started = time.perf_counter()
    sized = opened.seekable()
    with _progress(quiet=quiet) as progress:
        task = progress.add_task(file.name, total=file.stat().st_size if sized else None)
        for _ in day.play(_lines(opened)):
            if sized:
                progress.update(task, completed=opened.tell())
    report = day.report
    seconds = time.perf_counter() - started
    if not quiet:
        Console().print(_book_table(engine, levels_max))
    click.echo(_summary(report, len(engine), seconds))
    if report.differences:
        for line, expected, found in report.differences[:_DIFFERENCES_SHOWN]:
            click.echo(f"line {line}: expected {expected}, found {found}", err=True)
        raise ReplayMismatch(f"{len(report.differences):,} differences from the recording {file.name}")


def _replay_journal(file: Path, levels_max: int, *, quiet: bool) -> None:
    """Begin with the journal's oldest usable snapshot, and apply what became final after it."""
    summary = inspect(file)
    exchange = Exchange(market_of(summary.owner.market))
    entries = commands = trades = 0
    started = time.perf_counter()
    with _progress(quiet=quiet) as progress:
        task = progress.add_task(file.name, total=summary.position)
        for entry in final_entries(file, exchange):
            for applied in exchange.take_applied():
                commands += applied.count
                trades += sum(isinstance(event, Trade) for batch in applied.orders for event in batch)
            entries += 1
            progress.update(task, completed=entry.position)
    seconds = time.perf_counter() - started
    engine = exchange.engine
    if not quiet:
        Console().print(_book_table(engine, levels_max))
    click.echo(
        f"{commands:,} commands of {entries:,} entries up to position {engine.position:,} in {seconds:.1f} s "
        f"({commands / seconds:,.0f}/s, reading included), {trades:,} trades, {len(engine):,} orders left, "
        f"digest of the book {engine.digest().hex()[:16]}"
    )


def _progress(*, quiet: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=quiet or not console.is_interactive)


def _lines(raw: BufferedReader) -> Iterator[str]:
    """The lines of a recording, unpacked if need be."""
    packed = raw.peek(len(_GZIP_MAGIC)).startswith(_GZIP_MAGIC)
    opened = gzip.GzipFile(fileobj=raw) if packed else raw
    try:
        while line := opened.readline(_LINE_MAX):
            yield line.decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise OrderError(f"the recording cannot be read to its end: {error}") from error


def _summary(report: DayReport, resting: int, seconds: float) -> str:
    return (
        f"{report.commands:,} commands in {seconds:.1f} s ({report.commands / seconds:,.0f}/s, reading and comparing "
        f"included), {report.trades:,} trades, {resting:,} orders left; {report.fills:,} fills and "
        f"{report.checks:,} depths compared, {len(report.differences):,} differ"
    )


def _symbol_of(file: Path) -> str:
    """A market's name made of the file's."""
    name = re.sub(r"[^A-Za-z0-9-]", "-", file.name.split(".")[0])
    return name.lstrip("-")[:32] or "recorded"


def _book_table(engine: MatchingEngine, levels_max: int) -> Table:
    """The final book, best prices at the top of each side's columns."""
    depth = engine.depth(levels_max)
    spec = engine.spec
    last = "-" if engine.last_price is None else spec.format_price(engine.last_price)
    table = Table(title=f"{spec.symbol}, last trade at {last}")
    for heading in ("bid quantity", "bid", "ask", "ask quantity"):
        table.add_column(heading, justify="right")
    for bid, ask in zip_longest(depth.bids, depth.asks):
        left = (spec.format_quantity(bid[1]), spec.format_price(bid[0])) if bid else ("", "")
        right = (spec.format_price(ask[0]), spec.format_quantity(ask[1])) if ask else ("", "")
        table.add_row(*left, *right)
    return table
