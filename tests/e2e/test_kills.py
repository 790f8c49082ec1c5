"""SIGKILL in a loop: a peer that is killed over and over has what a peer has that was never killed."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest

from e2e.dhtex_process import Process, peer
from e2e.test_faults import accepted, orders
from e2e.test_market import assert_agree, assert_quiet, market

pytestmark = pytest.mark.e2e

BURST = 20
"""Orders that each peer is given between two kills."""


def hear_some(process: Process, count: int) -> None:
    """Wait for *count* more events of any kind."""
    for _ in range(count):
        process.hear(lambda _: True, "more", len(process.events))


def number(order: str) -> int:
    """The 42 of `c0ffee12:42`."""
    return int(order.partition(":")[2])


def buy_one(process: Process) -> int:
    """Send an order unlike those of `orders`; its number, once it is final."""
    since = len(process.events)
    process.tell("buy 1 50")
    final = process.hear(
        lambda event: event["event"] == "final" and event["command"] == "buy 1 50.00", "the last order", since
    )
    return number(final["order"])


def kill_in_a_loop(tmp_path: Path, kills: int, seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    with market(tmp_path, dev=False) as (bootstrap, peers), contextlib.ExitStack() as stack:
        never_killed = [peers["alice"], peers["bob"]]
        victim = peers["carol"]
        promised = 0
        for _ in range(kills):
            for process in never_killed:
                process.tell(*orders(rng, BURST))
            victim.tell(*orders(rng, BURST))
            hear_some(victim, rng.randrange(2 * BURST))
            victim.kill()
            victim.hear_said()
            promised = max([promised, *map(number, accepted(victim))])
            if rng.random() < 0.3:  # and once more, while it reads its journal or catches up
                with peer(tmp_path, "carol", bootstrap, dev=False) as again:
                    hear_some(again, rng.randrange(4))
            victim = peers["carol"] = stack.enter_context(peer(tmp_path, "carol", bootstrap, dev=False))
            last = buy_one(victim)
            assert last > promised, "a number was given twice"
            promised = last
            assert_agree(peers)
        # Each numbers its commands without a gap, and a position is one command: so all are there, each once.
        sent = [buy_one(process) for process in peers.values()]
        assert assert_agree(peers) == sum(sent)
        for process in peers.values():
            assert process.end() == 0
            assert_quiet(process)


def test_a_peer_that_is_killed_over_and_over_has_what_the_others_have(tmp_path: Path) -> None:
    kill_in_a_loop(tmp_path, kills=4, seed=random.SystemRandom().getrandbits(32))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_kills(tmp_path: Path) -> None:
    kill_in_a_loop(tmp_path, kills=200, seed=random.SystemRandom().getrandbits(32))
