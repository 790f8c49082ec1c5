"""One peer and another in virtual time: what a lossy, forging, repeating world can do to a link."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from dhtex.errors import MalformedMessage
from dhtex.transport import Budget, Limits
from dhtex.transport.codec import Notification
from dhtex.transport.limits import MESSAGE_BYTES_MAX, MESSAGE_LIFE
from dhtex.transport.link import ACK_DELAY, ACK_EVERY, ACK_PAUSE, ADDRESS_TRUST, HORIZON
from transport.support import ALICE, BOB, CAROL, WALL, Wire, wires

ELSEWHERE = ("198.51.100.7", 7)


def reason_of(hear: Callable[[], Any]) -> str:
    with pytest.raises(MalformedMessage) as caught:
        hear()
    return caught.value.reason


def test_what_is_said_in_one_turn_shares_datagrams() -> None:
    alice, bob = wires()
    for tag in range(50):
        alice.say(tag, b"x" * 30, now=0.0)
    datagrams = alice.out(0.0)
    assert len(datagrams) == 2
    assert all(len(datagram) <= 1200 for datagram in datagrams)
    heard = [message for datagram in datagrams for message in bob.hear(datagram, 0.0)]
    assert heard == [Notification(tag, [b"x" * 30]) for tag in range(50)]


@pytest.mark.parametrize("datagram_bytes", [512, 1200, 8192])
@pytest.mark.parametrize("size", [0, 1000, 5000, 65_536, MESSAGE_BYTES_MAX - 20])
def test_messages_of_any_size_arrive_in_datagrams_of_the_size_asked(datagram_bytes: int, size: int) -> None:
    alice, bob = wires(datagram_bytes=datagram_bytes)
    alice.say(1, b"x" * size, now=0.0)
    heard: list[Any] = []
    now = 0.0
    while not heard:
        datagrams = alice.out(now)
        assert datagrams
        for datagram in datagrams:
            assert len(datagram) <= datagram_bytes
            heard += bob.hear(datagram, now)
        for ack in bob.out(now + ACK_DELAY):
            alice.hear(ack, now + ACK_DELAY)
        now += ACK_DELAY
    assert heard == [Notification(1, [b"x" * size])]
    assert alice.link.backlog == 0


def test_a_datagram_counts_once() -> None:
    alice, bob = wires()
    alice.say(1, now=0.0)
    datagram = alice.one(0.0)
    assert len(bob.hear(datagram, 0.0)) == 1
    assert reason_of(lambda: bob.hear(datagram, 0.0)) == "replay"


def test_an_address_follows_the_latest_datagram_and_no_recorded_one() -> None:
    alice, bob = wires()
    alice.say(1, now=0.0)
    first = alice.one(0.0)
    alice.say(2, now=0.0)
    second = alice.one(0.0)
    alice.say(3, now=0.0)
    third = alice.one(0.0)
    bob.hear(second, 0.0, source=("192.0.2.50", 50))
    assert bob.link.address == ("192.0.2.50", 50)
    assert reason_of(lambda: bob.hear(second, 0.0, source=ELSEWHERE)) == "replay"
    bob.hear(first, 0.0, source=ELSEWHERE)  # held back on the way, or recorded and never delivered
    assert bob.link.address == ("192.0.2.50", 50)
    bob.hear(third, 0.0, source=("192.0.2.51", 51))
    assert bob.link.address == ("192.0.2.51", 51)


def test_hearsay_does_not_move_a_proved_address_until_it_has_gone_quiet() -> None:
    alice, bob = wires()
    alice.say(1, now=0.0)
    bob.hear(alice.one(0.0), 0.0, source=("192.0.2.50", 50))
    bob.link.set_address(ELSEWHERE, ADDRESS_TRUST)
    assert bob.link.address == ("192.0.2.50", 50)
    bob.link.set_address(ELSEWHERE, ADDRESS_TRUST + 0.1)
    assert bob.link.address == ELSEWHERE


def test_a_forged_datagram_changes_nothing() -> None:
    alice, bob = wires()
    mallory = Wire(CAROL, BOB)
    mallory.link.set_address(bob.address, 0.0)
    mallory.say(1, now=0.0)
    datagram = mallory.one(0.0)
    forged = alice.link._header + datagram[54:]
    assert reason_of(lambda: bob.hear(forged, 0.0, source=ELSEWHERE)) == "box"
    assert (bob.link.address, bob.link.heard_at, bob.link.deadline) == (alice.address, None, None)
    alice.say(1, now=0.0)
    assert bob.hear(alice.one(0.0), 0.0)


def test_a_receiver_that_starts_anew_is_not_fooled_by_recordings() -> None:
    alice = Wire(ALICE, BOB, wall=WALL - HORIZON - 5_000_000)
    alice.link.set_address(("192.0.2.1", 1), 0.0)
    alice.say(1, now=0.0)
    recorded = alice.one(0.0)
    bob = Wire(BOB, ALICE)
    assert reason_of(lambda: bob.hear(recorded, 0.0, source=ELSEWHERE)) == "stale"
    assert (bob.link.address, bob.link.heard_at) == (None, None)


def test_a_sender_whose_clock_is_behind_is_told_and_goes_on() -> None:
    alice, bob = Wire(ALICE, BOB, wall=WALL - 3600_000_000), Wire(BOB, ALICE)
    alice.link.set_address(bob.address, 0.0)
    alice.say(1, now=0.0)
    stale = alice.one(0.0)
    assert reason_of(lambda: bob.hear(stale, 0.0, source=ELSEWHERE)) == "stale"
    ((resync, address),) = bob.link.take(0.0)
    assert address == ELSEWHERE
    alice.hear(resync, 0.0)
    assert alice.counters["resynced"] == 1
    alice.say(2, now=0.1)
    assert bob.hear(alice.one(0.1), 0.1) == [Notification(2, [])]


def test_recordings_provoke_one_hint_a_second_and_their_author_ignores_it() -> None:
    alice, bob = wires()
    alice.say(1, now=0.0)
    recorded = alice.one(0.0)
    alice.link._number += 5000
    alice.say(2, now=0.0)
    bob.hear(alice.one(0.0), 0.0)
    bob.out(1.0)
    hints = []
    for step in range(20):
        now = 2.0 + step / 10
        with pytest.raises(MalformedMessage, match="stale"):
            bob.hear(recorded, now, source=ELSEWHERE)
        hints += bob.link.take(now)
    assert len(hints) == 2
    number = alice.link._number
    for hint, _ in hints:
        alice.hear(hint, 4.0)
    assert alice.link._number == number
    assert alice.counters["resynced"] == 0


def test_a_number_out_of_range_is_refused() -> None:
    alice, bob = wires()
    alice.link._number = 1 << 63
    alice.say(1, now=0.0)
    assert reason_of(lambda: bob.hear(alice.one(0.0), 0.0)) == "sequence"


def test_acknowledgements_ride_along_or_come_alone_after_a_moment() -> None:
    alice, bob = wires()
    alice.say(1, now=0.0)
    bob.hear(alice.one(0.0), 0.0)
    assert bob.out(0.0) == []
    assert bob.link.deadline == ACK_DELAY
    alone = bob.one(ACK_DELAY)
    alice.hear(alone, ACK_DELAY)
    assert len(alice.link.flight) == 0
    assert alice.link.deadline is None  # an acknowledgement is not itself acknowledged
    for tag in range(ACK_EVERY):
        alice.say(tag, now=1.0)
        bob.hear(alice.one(1.0), 1.0)
    assert len(bob.out(1.0)) == 1


def test_an_answer_carries_the_acknowledgement_but_not_every_one_of_many() -> None:
    alice, bob = wires()

    def exchange(now: float) -> int:
        alice.say(1, now=now)
        bob.hear(alice.one(now), now)
        bob.say(2, now=now)
        alice.hear(bob.one(now), now)
        return len(alice.link.flight)

    assert exchange(0.0) == 0, "they seldom talk: each answer carries it"
    assert exchange(ACK_PAUSE) == 0
    waiting = [exchange(ACK_PAUSE) for _ in range(ACK_EVERY)]
    assert waiting == [1, 2, 3, 0, 1, 2, 3, 0]
    assert bob.out(1.0) == []  # nothing is owed any more


def test_a_ping_is_acknowledged_at_once_with_what_is_said_anyway() -> None:
    alice, bob = wires()
    alice.say(1, now=0.0)
    bob.hear(alice.one(0.0), 0.0)
    bob.say(2, now=0.0)
    alice.hear(
        bob.one(0.0), 0.0, source=("192.0.2.50", 50)
    )  # carries an acknowledgement; the next one has to wait
    alice.say(3, now=0.0)
    bob.hear(alice.one(0.0), 0.0)  # a ping, since the address is doubted
    bob.say(4, now=0.0)
    alice.hear(bob.one(0.0), 0.0, source=("192.0.2.50", 50))
    assert not alice.link.path.is_doubted


def test_above_the_window_messages_wait_and_merge() -> None:
    alice, bob = wires()
    for tag in range(1000):
        alice.say(tag, b"x" * 200, now=0.0)
    first = alice.out(0.0)
    assert 30 <= len(first) <= 40
    assert alice.link.backlog > 150_000
    assert alice.out(0.0) == []
    for datagram in first:
        bob.hear(datagram, 0.001)
    for ack in bob.out(0.001):
        alice.hear(ack, 0.002)
    assert len(alice.out(0.002)) > len(first)


def test_a_queue_that_is_full_refuses_and_counts() -> None:
    alice, _ = wires(limits=Limits(member=Budget(datagrams=1e4, octets=1e8, requests=10, queued=1000)))
    for tag in range(20):
        alice.say(tag, b"x" * 100, now=0.0)
    assert alice.link.backlog <= 1000
    assert alice.counters["unsent_backlog"] == 20 - 1000 // 106


def test_what_waited_too_long_is_not_sent() -> None:
    alice, _ = wires()
    alice.say(1, now=0.0)
    assert alice.out(MESSAGE_LIFE) == []
    assert alice.counters["unsent_expired"] == 1


def test_nothing_is_sent_to_nowhere() -> None:
    alice = Wire(ALICE, BOB)
    alice.say(1, now=0.0)
    assert alice.out(0.0) == []


@pytest.mark.parametrize("seed", range(5))
def test_a_long_message_gets_through_heavy_loss(seed: int) -> None:
    rng = random.Random(seed)
    alice, bob = wires()
    alice.say(1, b"x" * 60_000, now=0.0)
    heard: list[Any] = []
    step = 0
    while not heard and step < 1500:
        now = step * 0.001
        alice.link.on_timer(now)
        for datagram in alice.out(now):
            if rng.random() > 0.3:
                heard += bob.hear(datagram, now)
        for datagram in bob.out(now):
            if rng.random() > 0.3:
                alice.hear(datagram, now)
        step += 1
    assert heard == [Notification(1, [b"x" * 60_000])]


def test_lost_small_messages_are_not_sent_again() -> None:
    alice, _ = wires()
    alice.say(1, now=0.0)
    alice.out(0.0)
    deadline = alice.link.deadline
    assert deadline is not None
    alice.link.on_timer(deadline)
    assert alice.out(deadline) == []
    assert alice.counters["datagrams_lost"] == 1


def test_a_dead_peer_costs_ever_less() -> None:
    alice, _ = wires()
    sent, now = 0, 0.0
    while now < 20.0:
        alice.say(1, b"x" * 20_000, now=now)
        alice.link.on_timer(now)
        sent += len(alice.out(now))
        now += 0.01
    assert sent < 200
    assert alice.link.backlog <= Limits().member.queued


def test_a_stranger_gets_no_memory_for_fragments_unless_asked() -> None:
    alice, bob = wires()
    bob.link.set_member(False, 0.0)
    alice.say(1, b"x" * 2000, now=0.0)
    for datagram in alice.out(0.0):
        assert bob.hear(datagram, 0.0) == []
    assert bob.counters["dropped_stranger"] == 2
    bob.link.calls.start(1, b"", now=0.0, deadline=9.0, delay=1.0, finish=lambda result, error: None)
    alice.say(2, b"y" * 2000, now=0.1)
    heard = [message for datagram in alice.out(0.1) for message in bob.hear(datagram, 0.1)]
    assert heard == [Notification(2, [b"y" * 2000])]


def test_one_who_sends_more_than_its_budget_is_cut_short() -> None:
    alice, bob = wires(limits=Limits(member=Budget(datagrams=10, octets=1e6, requests=10, queued=1 << 20)))
    heard = 0
    for tag in range(32):
        alice.say(tag, b"x" * 900, now=0.0)
        datagram = alice.one(0.0)
        try:
            heard += len(bob.hear(datagram, 0.0))
        except MalformedMessage as error:
            bob.counters[error.reason] += 1
    assert heard == 20
    assert bob.counters == {"budget": 12}


def test_malformed_contents_of_a_true_box_have_no_effect() -> None:
    alice, bob = wires()
    alice.link.send(b"\x93\x02\x01\x90", 0.0)
    alice.link.send(b"\x93\x02\xa1x\x90", 0.0)
    assert reason_of(lambda: bob.hear(alice.one(0.0), 0.0)) == "type"
    assert bob.link.heard_at is None
