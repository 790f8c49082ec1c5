"""Real peers among liars: a member, somebody on the wire, and strangers who send noise.

None of them changes what the others agree on.
"""

from __future__ import annotations

import random
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dhtex.identity import Identity
from dhtex.matching import MarketSpec
from dhtex.transport.datagram import Kind, encode_hello, header
from e2e.dhtex_process import Process, dht_address, grape, peer
from e2e.network import Proxy
from e2e.test_faults import assert_all_well, hear_finals, memory_bytes, orders
from e2e.test_market import NAMES, facts, market

pytestmark = pytest.mark.e2e

HOSTILE = (sys.executable, str(Path(__file__).with_name("hostile_member.py")))
HARMLESS = (
    "forge",
    "alter",
    "replay",
    "truncate",
    "babble",
    "usurp",
    "usurp_rounds",
    "usurp_future",
    "lie",
    "flood",
)
GROWTH_BYTES_MAX = 100 << 20
"""Far more than the windows and caches of a peer, far below what a flood would fill without bounds."""
GARBAGE_DATAGRAMS = 3000
GROUP_ID = MarketSpec("BTC-USD").group_id


@contextmanager
def market_with_mallory(tmp_path: Path) -> Iterator[tuple[dict[str, Process], Process]]:
    """Three honest peers, and a member that lies when it is told to."""
    with market(tmp_path, dev=False) as (_, peers):
        contact = peers["alice"].hear_event("started")["address"]
        with Process(tmp_path, "mallory", contact, launcher=HOSTILE) as mallory:
            for process in peers.values():
                process.hear_view(4)
            yield peers, mallory


def assert_left_out(mallory: Process, peers: dict[str, Process], since: dict[str, int]) -> None:
    """Everybody has the proof, and the market goes on among the others."""
    node = mallory.hear_event("started")["node"]
    for name, process in peers.items():
        told = process.hear(lambda event: event.get("kind") == "equivocation", "the proof", since[name])
        assert told["node"] == node
        process.hear_view(3, since[name])
        process.do("sell 1 60")


def test_a_member_that_lies_changes_nothing_and_is_left_out_for_equivocation(tmp_path: Path) -> None:
    with market_with_mallory(tmp_path) as (peers, mallory):
        before = {name: memory_bytes(process.pid) for name, process in peers.items()}
        for attack in HARMLESS:
            mallory.tell(attack)
            assert mallory.next("did")["attack"] == attack
            for process in peers.values():
                assert process.do("sell 1 60")["status"] == "open", attack
                process.hear_said()
                assert not process_said(process, "equivocation"), f"{attack} slanders an honest member"
        since = {name: len(process.events) for name, process in peers.items()}
        mallory.tell("equivocate")
        assert_left_out(mallory, peers, since)
        for name, process in peers.items():
            assert memory_bytes(process.pid) - before[name] < GROWTH_BYTES_MAX
        assert_all_well(peers)


def test_two_entries_divided_among_the_others_make_one_market_all_the_same(tmp_path: Path) -> None:
    """None of them ever gets both from the liar: it takes their own reports to find out."""
    count = 30
    with market_with_mallory(tmp_path) as (peers, mallory):
        since = {name: len(process.events) for name, process in peers.items()}
        for process in peers.values():
            process.tell(*orders(random.Random(7), count))
        mallory.tell("divide")
        assert mallory.next("did")["attack"] == "divide"
        for process in peers.values():
            hear_finals(process, count)
        assert_left_out(mallory, peers, since)
        for process in peers.values():
            assert not process_said(process, "diverged")
        assert_all_well(peers)


def process_said(process: Process, kind: str) -> list[str]:
    return [event["sentence"] for event in process.said("group") if event["kind"] == kind]


def test_somebody_on_the_wire_changes_nothing(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    recorded: list[bytes] = []

    def tamper(datagram: bytes) -> list[bytes]:
        recorded.append(datagram)
        old = rng.choice(recorded)
        if len(recorded) > 500:
            recorded.pop(rng.randrange(len(recorded)))
        at = rng.randrange(len(datagram))
        turned = datagram[:at] + bytes([datagram[at] ^ 1 << rng.randrange(8)]) + datagram[at + 1 :]
        extra = [old, turned, datagram[:at], datagram + b"?", turned[:54] + datagram[54:]]
        return [datagram, *rng.sample(extra, k=rng.randrange(len(extra)))]

    count = 200
    with Proxy(tmp_path, random.Random(seed)) as wire:
        bootstrap = wire.grape()
        peers = {name: wire.peer(name, bootstrap) for name in NAMES}
        wire.tamper = tamper
        for process in peers.values():
            process.hear_view(len(NAMES))
        for process in peers.values():
            process.tell(*orders(rng, count))
        for process in peers.values():
            hear_finals(process, count)
        for process in peers.values():
            wrong = ("equivocation", "diverged", "clock", "conflict", "suspected")
            assert not [sentence for kind in wrong for sentence in process_said(process, kind)]
        assert_all_well(peers)


def udp_ports(process: Process) -> set[int]:
    """Every UDP port of a process, where the system tells."""
    place = Path(f"/proc/{process.pid}")
    if not place.exists():
        return set()
    links = (link.readlink() for link in (place / "fd").iterdir())
    inodes = {found[1] for link in links if (found := re.fullmatch(r"socket:\[(\d+)\]", str(link)))}
    rows = [line.split() for line in (place / "net" / "udp").read_text().splitlines()[1:]]
    return {int(row[1].partition(":")[2], 16) for row in rows if row[9] in inodes}


def garbage(rng: random.Random) -> bytes:
    """Noise that looks the more like the real thing the further one reads."""
    stranger = Identity.generate()
    heads = (
        b"",
        b"\xd8",
        header(Kind.BOX, GROUP_ID, stranger.public_key),
        header(Kind.BOX, GROUP_ID, stranger.public_key)[:-1],
        header(Kind.HELLO_ANSWER, GROUP_ID, stranger.public_key),
        encode_hello(GROUP_ID, stranger.public_key, bytes(16)),
        b"\x00" + rng.randbytes(20),  # a question of rpcudp
        b"\x01" + rng.randbytes(20),
        b"d1:ad2:id20:",  # one of BitTorrent's DHT
        b"\x93\x00\x01",  # an array that does not end
        b"\xdd\xff\xff\xff\xff",  # one of four thousand million elements
        b"\xc6\xff\xff\xff\xff",
        b"[" * 500,
    )
    return (rng.choice(heads) + rng.randbytes(rng.choice([0, 1, 40, 1000])))[:8000]


def test_garbage_on_every_udp_port_changes_nothing(tmp_path: Path) -> None:
    rng = random.Random(26)
    with grape(tmp_path) as discovery:
        bootstrap = dht_address(discovery)
        with (
            peer(tmp_path, "alice", bootstrap, dev=False) as alice,
            peer(tmp_path, "bob", bootstrap, dev=False) as bob,
        ):
            peers = {"alice": alice, "bob": bob}
            for process in peers.values():
                process.hear_view(2)
            alice.do("buy 1 50")
            before = {process: memory_bytes(process.pid) for process in (alice, bob, discovery)}
            facts_before = {name: facts(process, 1) for name, process in peers.items()}
            ports = {
                int(process.hear_event("started")["address"].rpartition(":")[2]) for process in peers.values()
            }
            ports |= {int(bootstrap.rpartition(":")[2])}
            ports |= udp_ports(alice) | udp_ports(bob) | udp_ports(discovery)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                for _ in range(GARBAGE_DATAGRAMS):
                    noise = garbage(rng)
                    for port in ports:
                        stranger.sendto(noise, ("127.0.0.1", port))
            assert {name: facts(process, 1) for name, process in peers.items()} == facts_before
            # Discovery goes on too: a third finds the two.
            with peer(tmp_path, "carol", bootstrap, dev=False) as carol:
                carol.hear_view(3)
                assert carol.do("sell 1 50")["status"] == "filled"
                for process, bytes_before in before.items():
                    assert memory_bytes(process.pid) - bytes_before < GROWTH_BYTES_MAX
                assert_all_well({**peers, "carol": carol})
        assert discovery.end() == 0
        assert discovery.stderr == ""
