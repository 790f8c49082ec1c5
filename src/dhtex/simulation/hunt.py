"""Many seeds, one after the other or on several cores, until one fails."""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass

from dhtex.replication import Replica
from dhtex.simulation.checks import Violation
from dhtex.simulation.draw import draw_plan
from dhtex.simulation.shrink import Failure
from dhtex.simulation.world import Report, World


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one seed: a report, or the failure."""

    seed: int
    report: Report | None
    failure: Failure | None


def run_seed(seed: int, replica_class: type[Replica] | None = None) -> Outcome:
    """Run the plan of *seed*, with a broken replica if one is given."""
    plan = draw_plan(seed)
    try:
        return Outcome(seed, World(plan, replica_class=replica_class).run(), None)
    except Violation as violation:
        return Outcome(seed, None, Failure(plan, violation))


def seeds_of(text: str) -> Iterator[int]:
    """Endless seeds from a text such as a commit hash: other ones for another text."""
    for index in itertools.count():
        yield int.from_bytes(hashlib.blake2b(f"{text} {index}".encode(), digest_size=6).digest(), "big")


def hunt(
    seeds: Iterable[int],
    *,
    jobs: int = 1,
    seconds: float | None = None,
    run: Callable[[int], Outcome] = run_seed,
) -> Iterator[Outcome]:
    """Outcomes as they come; ends with the first failure, with the seeds, or after *seconds*.

    Args:
        jobs: processes; with 1 everything runs in this one.
    """
    end = None if seconds is None else time.monotonic() + seconds
    outcomes = (run(seed) for seed in seeds) if jobs == 1 else _in_parallel(seeds, jobs, run)
    for outcome in outcomes:
        yield outcome
        if outcome.failure is not None or (end is not None and time.monotonic() >= end):
            return


def _in_parallel(seeds: Iterable[int], jobs: int, run: Callable[[int], Outcome]) -> Iterator[Outcome]:
    source = iter(seeds)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        running: set[Future[Outcome]] = {
            pool.submit(run, seed) for seed in itertools.islice(source, 2 * jobs)
        }
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    running |= {pool.submit(run, seed) for seed in itertools.islice(source, 1)}
                    yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
