"""Every bound of the transport in one place, with where its number comes from.

Sizes are bytes, times seconds, rates per second. The relations between them are checked when they are made.
"""

from __future__ import annotations

from dataclasses import dataclass

DATAGRAM_BYTES = 1200  # fits every path without IP fragmentation (design: transport, Datagram; RFC 9000, 14)
DATAGRAM_BYTES_MIN = 512  # a HELLO and a fragment with something in it
DATAGRAM_BYTES_MAX = 8192  # jumbo frames and loopback; every endpoint accepts this much, whatever it sends
MESSAGE_BYTES_MAX = (
    128 * 1024
)  # an entry of 64 KiB, a fetch answer of a few; what is longer is asked for in pieces
MESSAGE_LIFE = 2.0  # how long parts of a message are kept on either side (design: transport, Datagram)
REQUEST_TIMEOUT_MAX = 300.0  # nobody waits longer, so nothing about a call is kept longer


@dataclass(frozen=True, slots=True)
class Budget:
    """What one sender may cost a receiver.

    Attributes:
        datagrams: how many a second; twice as many at once.
        octets: bytes a second; twice as many at once.
        requests: how many may be in progress at once.
        queued: bytes that may wait to be sent to it.
    """

    datagrams: float
    octets: float
    requests: int
    queued: int


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one endpoint. The defaults suit a group on a LAN or the internet.

    Attributes:
        member: budget of each member of a group. Above what a core can decode, so it stops floods, not work.
        stranger: budget of each peer that is not a member, such as an observer that catches up.
        strangers: how many non-members are remembered per group; the one silent for longest is forgotten
            first.
        agreements: X25519 key agreements a second with unknown keys, over all sources (70 µs each).
        agreements_per_source: the same, for one source address. Also HELLO answers a second.
        sources: size of the table of source budgets; fixed, so that a flood of addresses allocates nothing.
        fragment_bytes: memory for incomplete messages, per sender.
        fragment_messages: incomplete messages at once, per sender.
        answers: requests remembered per sender, so that one that arrives twice takes effect once.
        answer_bytes: memory for these answers, per sender.
        window_max: unacknowledged bytes per destination, at most; a receive buffer of that size is asked for.
    """

    member: Budget = Budget(datagrams=50_000, octets=256e6, requests=256, queued=4 << 20)
    stranger: Budget = Budget(datagrams=5_000, octets=4e6, requests=16, queued=512 << 10)
    strangers: int = 256
    agreements: float = 500
    agreements_per_source: float = 20
    sources: int = 1024
    fragment_bytes: int = 1 << 20
    fragment_messages: int = 64
    answers: int = 512
    answer_bytes: int = 1 << 20
    window_max: int = 4 << 20

    def __post_init__(self) -> None:
        """Raises ValueError: a bound that another makes impossible to keep."""
        if self.fragment_bytes < MESSAGE_BYTES_MAX or self.stranger.queued < MESSAGE_BYTES_MAX:
            raise ValueError(
                f"a message of {MESSAGE_BYTES_MAX} bytes must fit the fragment memory and the queue"
            )
        if self.answers <= max(self.member.requests, self.stranger.requests):
            raise ValueError("more requests may be in progress than answers are remembered")
        if self.window_max < 4 * DATAGRAM_BYTES_MAX:
            raise ValueError("the largest window must hold four of the largest datagrams")
        if self.sources < 1 or self.strangers < 1:
            raise ValueError("at least one source and one stranger must be accounted for")


class TokenBucket:
    """So many a second on average, so many at once at most. Time is passed in, in seconds."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = now

    def take(self, amount: float, now: float) -> bool:
        """True when *amount* is left, which is then spent."""
        tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if tokens < amount:
            self._tokens = tokens
            return False
        self._tokens = tokens - amount
        return True


class SourceBudgets:
    """Budgets for senders nobody has proved anything about yet, in memory of a fixed size.

    Source addresses can be forged, so a table by address would grow with the attacker's imagination.
    Addresses share buckets by hash instead: one that floods costs at most those that fall into the same
    bucket.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        rate = limits.agreements_per_source
        self._buckets = [TokenBucket(rate, 2 * rate, now) for _ in range(limits.sources)]
        self._all = TokenBucket(limits.agreements, limits.agreements, now)

    def take(self, host: str, now: float) -> bool:
        """True when one more unproved datagram of *host* may cost something."""
        # Python salts the hash of a string per process, so nobody can aim at another's bucket.
        bucket = self._buckets[hash(host) % len(self._buckets)]
        return bucket.take(1, now) and self._all.take(1, now)
