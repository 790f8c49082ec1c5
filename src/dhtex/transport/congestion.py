"""How much may be on its way to one destination: additive increase, multiplicative decrease.

Source: RFC 9002 (loss detection and NewReno for datagrams), RFC 6298 (round-trip estimate), RFC 7661 (no
growth for a sender that did not use what it had). Simplified in one point: a datagram is lost by age alone,
so reordering within the measured jitter costs nothing.
"""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from dhtex.transport.codec import ACK_BITS_BYTES, Ack

WINDOW_START_DATAGRAMS = (
    32  # 38 KiB on the internet, as browsers' initial windows; doubles with every round trip
)
WINDOW_FLOOR_DATAGRAMS = (
    4  # a lone survivor of losses still gets three datagrams behind it, and acknowledgements
)
GRANULARITY = 0.001  # timers of an event loop are no finer
TAIL_DELAY_MIN = 0.05  # nothing later was acknowledged: longer than any acknowledgement is held back
TAIL_DELAY_MAX = 2.0
ACK_BITS = 8 * ACK_BITS_BYTES

T = TypeVar("T")


class RoundTrip:
    """Smoothed round-trip time and its deviation, in seconds."""

    __slots__ = ("deviation", "smoothed")

    def __init__(self) -> None:
        self.smoothed = 0.0
        self.deviation = 0.0

    def sample(self, seconds: float) -> None:
        """One measured round trip. Source: RFC 6298, 2."""
        if self.smoothed == 0.0:
            self.smoothed = seconds
            self.deviation = seconds / 2
        else:
            self.deviation += (abs(self.smoothed - seconds) - self.deviation) / 4
            self.smoothed += (seconds - self.smoothed) / 8

    @property
    def patience(self) -> float:
        """Longer than nearly every round trip; 0.1 s while nothing was measured."""
        if self.smoothed == 0.0:
            return 0.1
        return self.smoothed + max(4 * self.deviation, GRANULARITY)


class Window:
    """Bytes that may be unacknowledged: doubles each round trip until the first loss, then by a datagram."""

    __slots__ = ("_ceiling", "_datagram", "_decreased_at", "_floor", "_threshold", "size")

    def __init__(self, datagram_bytes: int, ceiling: int) -> None:
        self._datagram = datagram_bytes
        self._floor = WINDOW_FLOOR_DATAGRAMS * datagram_bytes
        self._ceiling = ceiling
        self._threshold = ceiling
        self._decreased_at = float("-inf")
        self.size = min(WINDOW_START_DATAGRAMS * datagram_bytes, ceiling)

    def acked(self, octets: int) -> None:
        """Bytes arrived while the window was in use: increase."""
        if self.size < self._threshold:
            self.size += octets
        else:
            self.size += max(1, self._datagram * octets // self.size)
        self.size = min(self.size, self._ceiling)

    def lost(self, sent_at: float, now: float) -> None:
        """A datagram of *sent_at* is lost: decrease, once for all that were under way together."""
        if sent_at > self._decreased_at:
            self.size = self._threshold = max(self.size // 2, self._floor)
            self._decreased_at = now


class _Sent(NamedTuple, Generic[T]):
    size: int
    at: float
    cargo: T


class Flight(Generic[T]):
    """The datagrams on their way to one destination, each with a cargo to hand back when it is lost."""

    __slots__ = ("_ceiling_acked", "_sent", "_tail_backoff", "octets", "round_trip", "window")

    def __init__(self, datagram_bytes: int, window_max: int) -> None:
        self.window = Window(datagram_bytes, window_max)
        self.round_trip = RoundTrip()
        self.octets = 0
        self._sent: dict[int, _Sent[T]] = {}  # by sequence, ascending
        self._ceiling_acked = -1
        self._tail_backoff = 1.0

    def __len__(self) -> int:
        return len(self._sent)

    @property
    def has_room(self) -> bool:
        """One more datagram may be sent."""
        return self.octets < self.window.size

    def sent(self, sequence: int, size: int, now: float, cargo: T) -> None:
        """A datagram left. Sequences ascend."""
        self._sent[sequence] = _Sent(size, now, cargo)
        self.octets += size

    def acked(self, ack: Ack, now: float) -> int | None:
        """The other side reported what arrived: the highest number of it that is news, if there is any."""
        in_use = 2 * self.octets >= self.window.size
        arrived: list[int] = []
        # Numbers that no bit stands for are not walked over: a box full of reports would cost thousands of steps each.
        far = len(self._sent) > ACK_BITS
        for sequence in range(ack.highest - ACK_BITS + 1, ack.highest + 1) if far else self._sent:
            behind = ack.highest - sequence
            if behind < 0:
                break
            if behind < ACK_BITS and ack.bits >> behind & 1 and sequence in self._sent:
                arrived.append(sequence)
        if not arrived:
            return None
        latest = arrived[-1]
        if latest > self._ceiling_acked:
            self._ceiling_acked = latest
            self.round_trip.sample(now - self._sent[latest].at)
        octets = sum(self._sent.pop(sequence).size for sequence in arrived)
        self.octets -= octets
        self._tail_backoff = 1.0
        if in_use:
            self.window.acked(octets)
        return latest

    def take_lost(self, now: float) -> list[T]:
        """Give up on datagrams that are overdue; their cargo, oldest first."""
        cargo: list[T] = []
        tail = False
        patience = self.round_trip.patience
        tail_patience = self._tail_patience()
        for sequence in list(self._sent):
            sent = self._sent[sequence]
            overtaken = sequence < self._ceiling_acked
            # The sum, not the difference: `deadline` computes the same, so a timer never fires a hair too
            # early.
            if sent.at + (patience if overtaken else tail_patience) > now:
                break
            del self._sent[sequence]
            self.octets -= sent.size
            self.window.lost(sent.at, now)
            tail = tail or not overtaken
            cargo.append(sent.cargo)
        if tail:
            self._tail_backoff *= 2
        return cargo

    def forget(self) -> None:
        """Nothing of this can be acknowledged any more."""
        self._sent.clear()
        self.octets = 0

    @property
    def deadline(self) -> float | None:
        """When the oldest datagram is overdue, if there is one."""
        for sequence, sent in self._sent.items():
            overtaken = sequence < self._ceiling_acked
            return sent.at + (self.round_trip.patience if overtaken else self._tail_patience())
        return None

    def _tail_patience(self) -> float:
        return min(max(2 * self.round_trip.patience, TAIL_DELAY_MIN) * self._tail_backoff, TAIL_DELAY_MAX)
