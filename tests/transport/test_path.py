"""A datagram's source can be forged: nobody is made to send much to where nobody has shown that it listens."""

from __future__ import annotations

import time

from dhtex.identity import Identity
from dhtex.transport.codec import Ack, FrameEncoder, Notification, Resync, join_frames
from dhtex.transport.datagram import HEADER_SIZE
from dhtex.transport.limits import MESSAGE_LIFE
from dhtex.transport.link import ACK_DELAY, ADDRESS_TRUST
from dhtex.transport.path import AMPLIFICATION_MAX, PING_EVERY, SPENT_PAUSE
from dhtex.transport.replay import WINDOW
from transport.support import ALICE, BOB, WALL, Wire
from transport.test_hostile import Target, boxed
from transport.test_link import ELSEWHERE


def newcomer(*, member: bool = False) -> tuple[Wire, Wire, int]:
    """Alice has found Bob, who hears her for the first time; and how many bytes that took."""
    alice, bob = Wire(ALICE, BOB, member=member), Wire(BOB, ALICE, member=member)
    alice.link.set_address(bob.address, 0.0)
    alice.say(1, now=0.0)
    question = alice.one(0.0)
    bob.hear(question, 0.0, source=alice.address)
    return alice, bob, len(question)


def test_a_long_answer_waits_until_the_asker_shows_that_it_hears() -> None:
    alice, bob, _ = newcomer()
    bob.say(2, b"x" * 20_000, now=0.0)
    ping = bob.one(0.0)
    assert len(ping) < 160
    assert bob.out(0.01) == []
    assert alice.hear(ping, 0.01) == []
    assert bob.hear(alice.one(0.01), 0.02) == []  # told at once
    assert len(bob.out(0.02)) > 16
    assert bob.link.backlog == 0


def test_a_forged_source_is_sent_no_more_than_three_times_what_came_from_there() -> None:
    for member in (False, True):
        _, bob, octets = newcomer(member=member)
        bob.say(2, b"x" * 60_000, now=0.0)
        sent = []
        now = 0.0
        for _ in range(100):
            sent += bob.out(now)
            deadline = bob.link.deadline
            if deadline is None:
                break
            assert deadline >= now, "a timer that does not advance"
            now = max(deadline, now + 1e-6)
            bob.link.on_timer(now)
        assert 0 < sum(map(len, sent)) <= AMPLIFICATION_MAX * octets
        assert bob.link.deadline is None
        assert bob.link.backlog == 0, "what nobody may be sent is let go of"
        assert now <= MESSAGE_LIFE + PING_EVERY


def test_who_asked_from_a_forged_source_is_not_believed_later_either() -> None:
    """An answer that took long is addressed to where the question came from."""
    alice, bob, octets = newcomer()
    later = ADDRESS_TRUST + 1
    bob.link.set_address(alice.address, later)
    bob.say(2, b"x" * 60_000, now=later)
    assert sum(map(len, bob.out(later))) <= AMPLIFICATION_MAX * octets


def test_two_that_lost_every_ping_meet_again_when_there_is_something_to_say() -> None:
    alice, bob, _ = newcomer()
    lost: list[bytes] = []
    now = 0.0
    while len(lost) < 3:
        bob.say(2, now=now)
        lost += bob.out(now)
        now += PING_EVERY
    bob.say(2, now=now)
    assert bob.out(now) == []
    now += SPENT_PAUSE
    bob.say(3, now=now)
    alice.hear(bob.one(now), now)
    bob.hear(alice.one(now), now)
    assert alice.hear(bob.one(now), now) == [Notification(3, [])]


def test_a_lost_ping_is_repeated() -> None:
    alice, bob, _ = newcomer()
    bob.say(2, b"x" * 5_000, now=0.0)
    bob.one(0.0)
    alice.hear(bob.one(PING_EVERY), PING_EVERY)
    bob.hear(alice.one(PING_EVERY), PING_EVERY)
    assert len(bob.out(PING_EVERY)) > 4


def test_an_acknowledgement_alone_proves_the_way_too() -> None:
    alice, bob, _ = newcomer()
    assert bob.out(0.0) == []
    assert bob.link.deadline == ACK_DELAY
    alice.hear(bob.one(ACK_DELAY), ACK_DELAY)
    bob.hear(alice.one(ACK_DELAY), ACK_DELAY)
    assert not bob.link.path.is_doubted


def test_what_was_never_seen_cannot_be_acknowledged() -> None:
    """Its numbers start from the clock, which everybody knows."""
    alice, bob, _ = newcomer()
    bob.say(2, b"x" * 60_000, now=0.0)
    assert bob.out(0.0)
    encoder = FrameEncoder()
    guesses = [encoder.ack(Ack(WALL + 127 * step, (1 << 128) - 1)) for step in range(300)]
    _, datagram = alice.link._seal(guesses)
    bob.hear(datagram, 0.001, source=alice.address)
    assert bob.link.path.is_doubted


def test_who_names_our_next_number_cannot_acknowledge_it_unseen() -> None:
    """A RESYNC says above what we have to go on: what we send then is not the number it implies."""
    alice, bob, _ = newcomer()
    highest = WALL + (1 << 40)
    _, resync = alice.link._seal([alice.encoder.resync(Resync(highest))])
    bob.hear(resync, 0.001, source=alice.address)
    bob.say(2, b"x" * 60_000, now=0.001)
    assert bob.out(0.001)
    _, forged = alice.link._seal([alice.encoder.ack(Ack(highest + WINDOW + 128, (1 << 128) - 1))])
    bob.hear(forged, 0.002, source=alice.address)
    assert bob.counters["resynced"] == 1
    assert bob.link.path.is_doubted


def test_a_known_peer_that_speaks_from_elsewhere_is_doubted_there_too() -> None:
    alice, bob, _ = newcomer()
    bob.say(2, now=0.0)
    alice.hear(bob.one(0.0), 0.0)
    bob.hear(alice.one(0.0), 0.0)
    seen = bob.one(0.0)
    alice.hear(seen, 0.0)
    alice.say(3, now=0.1)
    bob.hear(alice.one(0.1), 0.1, source=ELSEWHERE)  # with its acknowledgement of what it got where it was
    bob.say(4, b"x" * 60_000, now=0.1)
    ((ping, address),) = bob.link.take(0.1)
    assert address == ELSEWHERE
    assert len(ping) < 160
    # The next number is not the next one: else it could be acknowledged unseen.
    number = int.from_bytes(ping[HEADER_SIZE : HEADER_SIZE + 8], "big")
    before = int.from_bytes(seen[HEADER_SIZE : HEADER_SIZE + 8], "big")
    _, forged = alice.link._seal([alice.encoder.ack(Ack(before + 100, (1 << 128) - 1))])
    bob.hear(forged, 0.1, source=ELSEWHERE)
    assert bob.link.path.is_doubted
    assert number > before + 1


async def test_a_stranger_cannot_have_much_sent_to_somebody_else() -> None:
    target = Target()
    await target.open()
    target.pair.b._server._stranger_methods = frozenset({"much"})
    target.pair.b.register("much", lambda sender, params: b"x" * 100_000)
    encoder = FrameEncoder()
    requests = [encoder.request(n, method, []) for n, method in enumerate(["much", *["no such"] * 50])]
    question = boxed(Identity.generate(), join_frames(requests), time.time_ns() // 1000)
    target.attacker.sendto(question, target.pair.bob.address)
    await target.settle()
    assert 0 < sum(map(len, target.replies())) <= AMPLIFICATION_MAX * len(question)
    assert target.failures == []
    await target.close()
