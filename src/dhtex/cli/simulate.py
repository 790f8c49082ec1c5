"""`dhtex simulate`: hunt for bugs in the replicated order, in virtual time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from functools import partial

import click
from click.core import ParameterSource
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dhtex.errors import UsageError
from dhtex.simulation import (
    Canary,
    Failure,
    Outcome,
    World,
    describe_plan,
    hunt,
    run_seed,
    seeds_of,
    shrink,
    timeline,
)


@click.command(short_help="Hunt for bugs in the replicated order.")
@click.option(
    "--seeds", type=click.IntRange(1), default=1000, show_default=True, help="How many seeds to run."
)
@click.option("--first", type=click.IntRange(0), default=1, show_default=True, help="The first of them.")
@click.option("--seed", "only", type=click.IntRange(0), help="Run just this one.")
@click.option("--seeds-of", "text", help="Take seeds made from this text, such as a commit hash.")
@click.option(
    "--seconds", type=click.FloatRange(min=0), help="Stop after so many seconds, whatever --seeds says."
)
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes to use.")
@click.option(
    "--shrink/--no-shrink", "shrinks", default=True, help="Look for a shorter history that fails too."
)
@click.option(
    "--moments", type=click.IntRange(1), default=60, show_default=True, help="Lines of the timeline."
)
@click.option("--messages", is_flag=True, help="Show every message in the timeline.")
@click.option("--canary", is_flag=True, help="Run a replica that acknowledges too early: must fail.")
@click.pass_context
def simulate(  # one argument an option
    context: click.Context,
    seeds: int,
    first: int,
    only: int | None,
    text: str | None,
    seconds: float | None,
    jobs: int,
    shrinks: bool,
    moments: int,
    messages: bool,
    canary: bool,
) -> None:
    """Hunt for bugs in the replicated order: real replicas, every fault, virtual time.

    Each seed is one group with its own network, clocks, disks, crashes and workload; the same seed always
    gives the same run. Ends with exit code 1 at the first seed that breaks a rule.
    """
    named = [name for name in ("first", "only", "text") if _is_given(context, name)]
    if len(named) > 1:
        raise UsageError("--first, --seed and --seeds-of exclude each other; give one of them, or none")
    replica = Canary if canary else None
    chosen: Iterable[int]
    if only is not None:
        chosen, seeds = [only], 1
    elif text is not None:
        chosen = itertools.islice(seeds_of(text), seeds)
    else:
        chosen = range(first, first + seeds)
    failure = _hunt(
        Console(stderr=True),
        hunt(chosen, jobs=jobs, seconds=seconds, run=partial(run_seed, replica_class=replica)),
        seeds,
    )
    if failure is None:
        return
    make_world = partial(World, replica_class=replica)
    click.echo(f"seed {failure.plan.seed} breaks a rule. {failure.violation}")
    if shrinks:
        click.echo("looking for a shorter history ...", err=True)
        failure = shrink(failure, make_world)
        click.echo(f"the shortest history found: {failure.violation}")
    for line in describe_plan(failure.plan):
        click.echo(f"  {line}")
    click.echo("timeline:")
    for moment in timeline(failure, make_world, moments_max=moments, messages=messages):
        click.echo(f"  {moment}")
    context.exit(1)


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) not in (
        None,
        ParameterSource.DEFAULT,
        ParameterSource.DEFAULT_MAP,
    )


def _hunt(console: Console, outcomes: Iterable[Outcome], total: int) -> Failure | None:
    """Run with a progress bar, say how fast it was, and give the failure if there is one."""
    begin, done, simulated, positions = time.monotonic(), 0, 0, 0
    failure = None
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_interactive) as progress:
        task = progress.add_task("seeds", total=total, rate="")
        for outcome in outcomes:
            if outcome.report is None:
                failure = outcome.failure
                break
            done += 1
            simulated += outcome.report.simulated
            positions += outcome.report.positions
            rate = done / max(time.monotonic() - begin, 1e-9)
            progress.update(task, advance=1, rate=f"{rate:.1f} seeds/s")
    lasted = max(time.monotonic() - begin, 1e-9)
    click.echo(
        f"{done:,} {'seed' if done == 1 else 'seeds'} passed in {lasted:.1f} s: {done / lasted:.1f} seeds per second, "
        f"{simulated / 1e6:,.0f} simulated seconds ({simulated / 1e6 / lasted:,.0f} a second), "
        f"{positions:,} final commands"
    )
    return failure
