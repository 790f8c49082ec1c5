"""Real peers on bad networks, paused, restarted and with wrong clocks: nothing accepted is lost, all agree."""

from __future__ import annotations

import contextlib
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.dhtex_process import (
    DHTEX,
    PATIENCE_S,
    Event,
    Process,
    dht_address,
    environment,
    finished,
    grape,
    peer,
)
from e2e.network import Namespaces, Network, Proxy, Weather
from e2e.test_market import assert_agree, assert_quiet, facts, market

pytestmark = pytest.mark.e2e

FIVE = ("alice", "bob", "carol", "dave", "erin")
STORM = Weather(loss=0.20, delay_s=0.050, jitter_s=0.030)
MEMORY_BYTES_MAX = 400 << 20
"""Several times what a peer takes that has nothing to do, far below what one without bounds would."""


@contextlib.contextmanager
def network(kind: str, tmp_path: Path, *, weather: bool = False) -> Iterator[Network]:
    """The kernel's where this machine has it, or else the test's; or the one asked for."""
    seed = random.SystemRandom().randrange(2**32)
    why_not = Namespaces.why_not(weather=weather) if kind != "proxy" else "not asked for"
    if not why_not:
        with Namespaces(tmp_path, weather=weather) as namespaces:
            yield namespaces
    elif kind == "namespaces":
        pytest.skip(why_not)
    else:
        print(f"proxy with seed {seed}; no namespaces: {why_not}")
        with Proxy(tmp_path, random.Random(seed)) as proxy:
            yield proxy


def gather(network: Network) -> dict[str, Process]:
    """A group of five."""
    bootstrap = network.grape()
    peers = {name: network.peer(name, bootstrap) for name in FIVE}
    for process in peers.values():
        process.hear_view(len(FIVE))
    return peers


def orders(rng: random.Random, count: int) -> list[str]:
    """Lines that trade with each other."""
    return [
        f"{rng.choice(['buy', 'sell'])} {rng.randint(1, 50)} {rng.randint(95, 105)}" for _ in range(count)
    ]


def accepted(process: Process) -> list[str]:
    """Ids of the orders that *process* called pending."""
    return [event["order"] for event in process.said("pending")]


def hear_finals(process: Process, count: int) -> None:
    """*count* orders become final, each once, and they are those that were accepted."""
    hear_all = {event["order"]: event["position"] for event in (process.next("final") for _ in range(count))}
    assert len(hear_all) == count, "an order was final twice"
    assert len(set(hear_all.values())) == count, "two orders have one position"
    assert set(accepted(process)) == set(hear_all), "what was accepted is not what became final"


def memory_bytes(pid: int) -> int:
    """What a process has in RAM; 0 where the system does not tell."""
    path = Path(f"/proc/{pid}/statm")
    if not path.exists():
        return 0
    return int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def assert_all_well(peers: dict[str, Process]) -> None:
    """Equal digests and books, bounded memory, an orderly end, and nothing on standard error."""
    assert_agree(peers)
    for process in peers.values():
        assert memory_bytes(process.pid) < MEMORY_BYTES_MAX
    for process in peers.values():
        assert process.end() == 0
        assert_quiet(process)


@pytest.mark.parametrize("kind", ["any", pytest.param("proxy", marks=pytest.mark.slow)])
def test_five_peers_trade_through_a_storm(tmp_path: Path, kind: str) -> None:
    rng = random.Random(20)
    count = 40
    with network(kind, tmp_path, weather=True) as storm:
        peers = gather(storm)
        storm.weather(STORM)
        for process in peers.values():
            process.tell(*orders(rng, count))
        for process in peers.values():
            hear_finals(process, count)
        assert assert_agree(peers) == count * len(peers)
        storm.weather(Weather())
        assert_all_well(peers)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["any", "proxy"])
def test_a_group_is_founded_once_in_a_storm(tmp_path: Path, kind: str) -> None:
    with network(kind, tmp_path, weather=True) as storm:
        storm.weather(STORM)
        peers = gather(storm)
        assert not any(event.get("kind") == "conflict" for p in peers.values() for event in p.events)
        assert_agree(peers)


@pytest.mark.parametrize("kind", ["any", pytest.param("proxy", marks=pytest.mark.slow)])
def test_a_split_of_three_and_two_heals_by_itself(tmp_path: Path, kind: str) -> None:
    length_s = 10.0  # of the split
    with network(kind, tmp_path) as wires:
        peers = gather(wires)
        few, many = ("dave", "erin"), ("alice", "bob", "carol")
        peers["dave"].do("sell 5 100")
        since = {name: len(process.events) for name, process in peers.items()}
        begun = time.monotonic()
        wires.cut_off(few)
        # Accepted at once, while nobody knows yet; and once more when the two know that they are few.
        for name in few:
            peers[name].tell("buy 1 90")
        for name in few:
            lost = peers[name].hear(is_no_quorum, "loss of the quorum", since[name])
            assert "2 of 5 members heard, 3 needed; orders are pending" in lost["sentence"]
            peers[name].tell("buy 2 91")
        for name in many:
            peers[name].hear_view(3, since[name])
        assert peers["alice"].do("buy 2 100")["status"] == "filled"
        print(f"the majority went on after {time.monotonic() - begun:.1f} s")
        time.sleep(max(0.0, begun + length_s - time.monotonic()))
        for name in few:
            peers[name].hear_said()
            assert not any(
                event["event"] in ("final", "trade") for event in peers[name].events[since[name] :]
            )
            assert len(accepted(peers[name])) == (3 if name == "dave" else 2)
        since = {name: len(process.events) for name, process in peers.items()}
        begun = time.monotonic()
        wires.cut_off(())
        for name in few:
            finals = [
                peers[name].hear(final_of(order), f"{order} final", since[name])
                for order in accepted(peers[name])[-2:]
            ]
            assert [final["status"] for final in finals] == ["open", "open"]
        print(f"what was pending is final after {time.monotonic() - begun:.1f} s")
        for name, process in peers.items():
            process.hear_view(5, since[name])
        assert assert_agree(peers) == 6
        for name in few:
            ids = [event["order"] for event in peers[name].said("final")]
            assert sorted(ids) == sorted(accepted(peers[name])), "exactly once"
        for name in few:  # these two may have found no Grape either, and said so
            assert peers[name].end() == 0
            assert all("no Grape answers" in line for line in peers[name].stderr.splitlines())
        assert_all_well({name: peers[name] for name in many})


def is_no_quorum(event: Event) -> bool:
    return bool(event.get("kind") == "no_quorum")


def final_of(order: str) -> Callable[[Event], bool]:
    return lambda event: event["event"] == "final" and event["order"] == order


def test_a_peer_that_sleeps_for_five_seconds_comes_back_by_itself(tmp_path: Path) -> None:
    length_s = 5.0
    with market(tmp_path, dev=False) as (_, peers):
        carol = peers["carol"]
        since = {name: len(process.events) for name, process in peers.items()}
        begun = time.monotonic()
        carol.signal(signal.SIGSTOP)
        try:
            carol.tell("buy 7 90")  # waits in the pipe
            for name in ("alice", "bob"):
                peers[name].hear_view(2, since[name])
            assert peers["bob"].do("sell 1 100")["status"] == "open"
            time.sleep(max(0.0, begun + length_s - time.monotonic()))
        finally:
            carol.signal(signal.SIGCONT)
        for name, process in peers.items():
            process.hear_view(3, since[name] + (name != "carol"))
        assert carol.hear_event("final", since["carol"])["status"] == "open"
        assert assert_agree(peers) == 2
        assert_all_well(peers)


def test_every_member_is_restarted_in_turn_under_load(tmp_path: Path) -> None:
    rng = random.Random(7)
    count = 100
    with market(tmp_path, dev=False) as (bootstrap, peers), contextlib.ExitStack() as stack:
        said_pending: dict[str, set[str]] = {name: set() for name in peers}
        for name in list(peers):
            for process in peers.values():
                process.tell(*orders(rng, count))
            old = peers[name]
            old.next("final")  # in the middle of it
            since = {other: len(process.events) for other, process in peers.items()}
            assert old.end() == 0
            old.hear_said()
            assert_quiet(old)
            said_pending[name] |= set(accepted(old))
            for other, process in peers.items():
                if other != name:
                    process.tell(*orders(rng, count))
            peers[name] = again = stack.enter_context(peer(tmp_path, name, bootstrap, dev=False))
            again.tell(*orders(rng, count))
            again.hear_view(len(peers))
            for other, process in peers.items():
                if other != name:
                    process.hear_view(len(peers), since[other])
        # Each numbers its commands without a gap, and a position is one command: so they are all there, each once.
        last: dict[str, int] = {}
        for name, process in peers.items():
            process.tell("buy 9.75 1")
            final = process.hear(
                lambda event: event.get("command") == "buy 9.75 1.00" and "position" in event, "end"
            )
            last[name] = int(final["order"].partition(":")[2])
            said_pending[name] |= set(accepted(process))
            assert all(int(order.partition(":")[2]) <= last[name] for order in said_pending[name])
        assert assert_agree(peers) == sum(last.values())
        assert_all_well(peers)


@pytest.mark.parametrize("hours", [1, pytest.param(-1, marks=pytest.mark.slow)])
def test_a_clock_that_is_an_hour_wrong_is_refused_on_both_sides(tmp_path: Path, hours: int) -> None:
    launcher = (sys.executable, str(Path(__file__).with_name("wrong_clock.py")), str(hours * 3600))
    with market(tmp_path, names=("alice", "bob"), dev=False) as (bootstrap, peers):
        since = {name: len(process.events) for name, process in peers.items()}
        with peer(tmp_path, "mallory", bootstrap, dev=False, launcher=launcher) as mallory:
            told = mallory.hear(is_clock, "word of its clock")
            way = "ahead" if hours > 0 else "behind"
            assert "this machine's clock is 3" in told["sentence"]
            assert f" s {way}; set it right" in told["sentence"]
            mallory.tell("buy 1 1")
            node = mallory.hear_event("started")["node"]
            heard = [
                process.hear(is_clock, "word of another's clock", since[name])
                for name, process in peers.items()
                if process is peers["alice"]
            ]
            assert all(f"the clock of {node[:8]} is 3" in event["sentence"] for event in heard)
            assert peers["alice"].do("buy 1 1")["status"] == "open"
            assert mallory.end() == 0
            assert not mallory.said("final")
        assert_all_well(peers)


def is_clock(event: Event) -> bool:
    return bool(event.get("kind") == "clock")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_a_peer_bears_that_its_streams_are_closed(closed: str) -> None:
    command = f"echo 'buy 1 1' | {shlex.join(DHTEX)} peer --bn '' --ephemeral {closed}"
    done = finished("sh", "-c", command)
    assert done.returncode == 0
    assert done.stderr == ""


def test_a_peer_ends_in_order_when_nobody_reads_what_it_says(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*DHTEX, "peer", "--bn", "", "--ephemeral"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(dev=False),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"trades BTC-USD" in process.stdout.readline()
        process.stdout.close()
        process.stdin.write(b"buy 1 1\n")
        process.stdin.flush()  # and stays open: it is not the end of the input that ends it
        assert process.wait(PATIENCE_S) == 1
        assert process.stderr.read() == b""


def test_an_observer_founds_nothing_and_follows_once_there_is_a_group(tmp_path: Path) -> None:
    with grape(tmp_path) as discovery:
        bootstrap = dht_address(discovery)
        with peer(tmp_path, "olga", bootstrap, "--observe", dev=False) as olga:
            olga.hear(lambda event: "no group to join yet" in event.get("sentence", ""), "word that it waits")
            with peer(tmp_path, "alice", bootstrap, dev=False) as alice:
                alice.do("buy 1 50")
                assert facts(olga, 1) == facts(alice, 1)
                olga.tell("buy 1 1")
                assert "observer" in olga.hear_event("refused")["reason"]
                assert olga.end() == 0
                assert_quiet(olga)
