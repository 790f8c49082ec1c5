"""Strangers trade: Grapes and peers as real processes on loopback."""

from __future__ import annotations

import contextlib
import random
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from dhtex.cli import main
from e2e.dhtex_process import Process, dht_address, grape, peer, run

pytestmark = pytest.mark.e2e

NAMES = ("alice", "bob", "carol")


@contextlib.contextmanager
def market(
    tmp_path: Path, *, names: tuple[str, ...] = NAMES, dev: bool = True
) -> Iterator[tuple[str, dict[str, Process]]]:
    """Two Grapes and a group of peers that are all members."""
    with contextlib.ExitStack() as stack:
        first = dht_address(stack.enter_context(grape(tmp_path, "grape-1")))
        second = dht_address(stack.enter_context(grape(tmp_path, "grape-2", first)))
        bootstrap = f"{first},{second}"
        peers = {name: stack.enter_context(peer(tmp_path, name, bootstrap, dev=dev)) for name in names}
        for process in peers.values():
            process.hear_view(len(names))
        yield bootstrap, peers


def facts(process: Process, position: int) -> tuple[int, str]:
    """Position and digest, once *position* is reached."""
    status = process.ask(f"status {position}" if position else "status", "status")
    return status["position"], status["digest"]


def assert_agree(peers: dict[str, Process]) -> int:
    """Equal positions, digests and books; the position."""
    last = max(process.ask("status")["position"] for process in peers.values())
    found = {name: facts(process, last) for name, process in peers.items()}
    assert len(set(found.values())) == 1, found
    books = [process.ask("book 1000") for process in peers.values()]
    assert all(book == books[0] for book in books)
    return int(last)


def assert_quiet(process: Process) -> None:
    """Nothing on standard error, so no warning, no traceback, nothing left open."""
    assert process.stderr == "", process.stderr


def test_three_peers_agree_on_a_thousand_random_orders_from_each(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    count = 1000
    with market(tmp_path, dev=False) as (_, peers):
        for process in peers.values():
            process.tell(
                *(
                    f"{rng.choice(['buy', 'sell'])} {rng.randint(1, 50)} {rng.randint(95, 105)}.{rng.randint(0, 99):02}"
                    for _ in range(count)
                )
            )
        for process in peers.values():
            finals = [process.next("final") for _ in range(count)]
            assert {final["order"] for final in finals} == {
                event["order"] for event in process.said("pending")
            }
            assert len({final["position"] for final in finals}) == count, "an order was final twice"
        assert assert_agree(peers) == count * len(peers)
        for process in peers.values():
            assert process.end() == 0
            assert_quiet(process)


def test_a_killed_peer_is_left_out_and_comes_back_from_its_journal(tmp_path: Path) -> None:
    with market(tmp_path) as (bootstrap, peers):
        peers["alice"].do("sell 10 50")
        accepted = peers["carol"].do("buy 4 50")
        peers["carol"].kill()
        since = {name: len(peers[name].events) for name in ("alice", "bob")}
        assert peers["bob"].do("buy 2 50")["status"] == "filled"
        for name, start in since.items():
            peers[name].hear_view(2, start)
        with peer(tmp_path, "carol", bootstrap) as carol:
            carol.hear_view(3)
            peers["carol"] = carol
            carol.ask(f"status {accepted['position']}", "status")
            assert carol.do("buy 1 50")["status"] == "filled"
            assert_agree(peers)
            assert carol.ask("book")["asks"] == [["50.00", "3"]]
            # The order id goes on where it was: nothing the dead process accepted is used again.
            n = int(carol.do("buy 1 49")["order"].split(":")[1])
            assert n == 3


def test_a_pipe_trades_and_tells(tmp_path: Path) -> None:
    with market(tmp_path, names=("alice", "bob")) as (bootstrap, peers):
        peers["alice"].do("sell 100 50")
        script = "buy 30 50\n# a comment\n\nbuy 10 market\nbook\norders\ntrades\npeers\nstatus\nhelp\n"
        done = run("peer", "--bn", bootstrap, "--ephemeral", stdin=script)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""
        assert re.search(r"[0-9a-f]{8}:1 pending: buy 30 50\.00\n", done.stdout)
        assert re.search(r"[0-9a-f]{8}:1 final at \d+: 30 filled \(30 @ 50\.00\)\n", done.stdout)
        assert re.search(r"50\.00\s*│\s*60\s", done.stdout), "what the book shows after both orders"
        assert re.findall(r"view (\d+):", done.stdout)[0] == "3", "views before its own are history"
        assert "\ntrade " not in run("peer", "--bn", bootstrap, "--ephemeral", "--observe").stdout


def test_the_prompts_bad_input_is_one_sentence_each_and_nothing_is_sent(tmp_path: Path) -> None:
    with market(tmp_path, names=("alice", "bob")) as (_, peers):
        alice, bob = peers["alice"], peers["bob"]
        theirs = bob.do("buy 1 40")["order"]
        facts(alice, 1)
        for line, words in (
            ("buy", "needs an amount and a price"),
            ("buy 1", "needs a price"),
            ("buy x 5", "not a plain decimal number"),
            ("buy 1 -3", "not positive"),
            ("buy 0 3", "not positive"),
            ("buy 1 0.001", "not a multiple of the tick 0.01"),
            ("buy 0.000000001 1", "not a multiple of the lot"),
            ("sell 1e400 1", "not a plain decimal number"),
            ("sell 1 NaN", "not a plain decimal number"),
            ("sell 1 " + "9" * 60, "above the market's highest"),
            ("buy 1 1 sometimes", "does not know 'sometimes'"),
            ("buy 1 1 ioc fok", "one time in force"),
            (f"cancel {theirs}", "not your order"),
            ("cancel c0ffee12:42", "no open order is called"),
            ("cancel", "needs one order id"),
            ("amend", "needs an order id"),
            ("dance", "not a command"),
            ("book x", "whole number"),
            ('buy "1', "quotes"),
        ):
            refused = alice.do(line)
            assert refused["event"] == "refused", line
            assert words in refused["reason"], (line, refused["reason"])
            assert "\n" not in refused["reason"]
        assert alice.ask("status")["position"] == 1, "something was sent"
        assert alice.finish() == 1
        assert_quiet(alice)


def test_a_peer_alone_says_that_orders_are_pending_and_why(tmp_path: Path) -> None:
    with market(tmp_path) as (_, peers):
        alice = peers["alice"]
        since = len(alice.events)
        peers["bob"].kill()
        peers["carol"].kill()
        lost = alice.hear(lambda event: event.get("kind") == "no_quorum", "loss of the quorum", since)
        assert "orders are pending" in lost["sentence"]
        alice.tell("buy 1 1")
        assert alice.hear_event("pending", since)
        assert alice.end() == 0
        alice.hear_said()
        assert not any(event["event"] == "final" for event in alice.events)
        assert any(event.get("kind") == "leaving" for event in alice.events), "why it took a while"
        assert_quiet(alice)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_the_group_in_order(tmp_path: Path, number: signal.Signals) -> None:
    with market(tmp_path) as (_, peers):
        since = len(peers["bob"].events)
        peers["alice"].signal(number)
        left = peers["bob"].hear_view(2, since)
        suspected = [e for e in peers["bob"].events[since:] if e.get("kind") == "suspected"]
        assert not suspected, f"{left}: it had to be suspected first"
        peers["alice"].hear_role("left")


def test_an_unreachable_bootstrap_is_told_and_retried_until_it_answers(tmp_path: Path) -> None:
    with grape(tmp_path, "probe") as probe:
        address = dht_address(probe)
    with peer(tmp_path, "alice", address) as alice:
        told = alice.hear(lambda event: event.get("kind") == "no_bootstrap", "word of the bootstrap")
        assert address in told["sentence"]
        assert "again" in told["sentence"]
        alice.tell("buy 1 1")
        with grape(tmp_path, "grape", dp=int(address.rpartition(":")[2])):
            alice.hear_role("member")
            alice.hear_event("final")


def test_two_groups_under_one_name_say_so_and_keep_apart(tmp_path: Path) -> None:
    with grape(tmp_path) as discovery:
        bootstrap = dht_address(discovery)
        with peer(tmp_path, "alice", bootstrap, "--found") as alice:
            alice.hear_role("member")
            with peer(tmp_path, "bob", bootstrap, "--found") as bob:
                bob.hear_role("member")
                bob.hear(lambda event: event.get("kind") == "conflict", "word of the other group")


class TestWrongStarts:
    """One sentence, the right exit code, no traceback."""

    def check(self, code: int, words: str, *arguments: str) -> None:
        done = run(*arguments)
        assert done.returncode == code, done.stdout + done.stderr
        assert words in done.stderr
        assert "Traceback" not in done.stderr

    def test_a_port_in_use(self, tmp_path: Path) -> None:
        with peer(tmp_path, "alice", "") as alice:
            port = alice.hear_event("started")["address"].rpartition(":")[2]
            self.check(1, "another program listens", "peer", "--bn", "", "--ephemeral", "--port", port)

    def test_a_second_process_on_the_same_journal(self, tmp_path: Path) -> None:
        with peer(tmp_path, "alice", "") as alice:
            alice.hear_event("started")
            folder = str(tmp_path / "data")
            self.check(
                1, "in use by process", "peer", "--bn", "", "--identity", "alice", "--data-dir", folder
            )

    def test_a_folder_that_cannot_be_used(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        self.check(1, "cannot use", "peer", "--bn", "", "--data-dir", str(tmp_path / "file" / "x"))

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("peer", "--tick", "0"), "tick"),
            (("peer", "--tick", "x"), "tick"),
            (("peer", "--market", "not a symbol"), "symbol"),
            (("peer", "--bn", "nowhere"), "host:port"),
            (("peer", "--port", "70000"), "70000"),
            (("peer", "--advertise", "x", "--ephemeral"), "host:port"),
            (("peer", "--advertise", "grape.example:1", "--ephemeral"), "numeric"),
            (("peer", "--host", "0.0.0.0", "--ephemeral"), "advertise"),
            (("peer", "--host", "::", "--ephemeral"), "advertise"),
            (("peer", "--identity", "../up"), "identity"),
            (("peer", "--found", "--join"), "exclude"),
            (("dance",), "dance"),
        ],
    )
    def test_bad_usage(self, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
        more = () if "--ephemeral" in arguments or arguments[0] != "peer" else ("--data-dir", str(tmp_path))
        self.check(2, words, *arguments, *more)

    def test_a_corrupt_journal_is_refused_and_kept(self, tmp_path: Path) -> None:
        with peer(tmp_path, "alice", "") as alice:
            alice.hear_role("member")
            assert alice.end() == 0
        (journal,) = (tmp_path / "data" / "journals").glob("*.journal")
        journal.write_bytes(b"this is no journal" * 1000)
        before = journal.read_bytes()
        folder = str(tmp_path / "data")
        self.check(1, str(journal), "peer", "--bn", "", "--identity", "alice", "--data-dir", folder)
        assert journal.read_bytes() == before


@pytest.mark.parametrize(
    ("command", "variable"),
    [
        ("peer", "DHTEX_PEER_PORT"),
        ("peer", "DHTEX_PEER_JSON"),
        ("peer", "DHTEX_PEER_FOUND"),
        ("grape", "DHTEX_GRAPE_DP"),
        ("grape", "DHTEX_GRAPE_DHT_PEER_MAXAGE"),
        ("journal export x", "DHTEX_JOURNAL_EXPORT_FORMAT"),
        ("simulate", "DHTEX_SIMULATE_SEED"),
    ],
)
def test_every_option_can_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, command: str, variable: str
) -> None:
    """By each spelling, as the command page lists them."""
    monkeypatch.setenv(variable, "not sensible")
    done = CliRunner().invoke(main, command.split())
    assert done.exit_code == 2
    assert "not sensible" in done.output


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("peer --found --join", "--found and --join exclude each other"),
        ("peer --api-name exchange.example", "give --api PORT too"),
        ("peer --api-public", "give --api or --grenache too"),
        ("peer --allow /nowhere", "cannot read /nowhere: No such file or directory\n"),
        ("simulate --seed 7 --seeds-of a", "exclude each other"),
        ("simulate --first 7 --seeds-of a", "exclude each other"),
    ],
)
def test_options_that_make_no_sense(command: str, sentence: str) -> None:
    done = run(*command.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in f"{done.stderr}\n"


def test_the_demo_ends_with_one_book() -> None:
    done = run("demo", timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "All three agree." in done.stdout
