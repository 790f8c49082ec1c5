"""Bounds on what one source can cost: a token bucket per source, kept in a bounded table.

A flood is refused before its bytes are decoded: one dictionary look-up and a subtraction. Whoever has not
proved its address gets little, and all such sources together get no more than a node can bear, so a spoofed
flood from many addresses slows strangers down but not the contacts a node already works with. A source that
leaves the table (the least recently seen goes first) starts again as a stranger.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rates:
    """Datagrams a second, and how many at once.

    Attributes:
        stranger: of one source that has not proved its address.
        strangers: of all such sources together.
        proven: of one source that sent a valid token.
    """

    stranger: float = 500.0
    stranger_burst: float = 1_000.0
    strangers: float = 5_000.0
    strangers_burst: float = 10_000.0
    proven: float = 10_000.0
    proven_burst: float = 20_000.0


class Bucket:
    """Allows *rate* a second, *burst* at once."""

    __slots__ = ("_at_s", "_level", "burst", "rate")

    def __init__(self, rate: float, burst: float, now_s: float) -> None:
        self.rate = rate
        self.burst = burst
        self._level = burst
        self._at_s = now_s

    def take(self, now_s: float) -> bool:
        """True when one more may pass now."""
        level = min(self.burst, self._level + (now_s - self._at_s) * self.rate)
        self._at_s = now_s
        if level < 1.0:
            self._level = level
            return False
        self._level = level - 1.0
        return True


class SourceLimits:
    """A bucket for each source, and one for all strangers together."""

    def __init__(self, rates: Rates, now_s: float, sources_max: int = 4_096) -> None:
        self._rates = rates
        self._sources_max = sources_max
        self._buckets: OrderedDict[Hashable, Bucket] = OrderedDict()
        self._strangers = Bucket(rates.strangers, rates.strangers_burst, now_s)

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, source: Hashable, now_s: float) -> bool:
        """True when *source* may be served one more datagram now."""
        bucket = self._buckets.get(source)
        if bucket is None:
            if len(self._buckets) >= self._sources_max:
                self._buckets.popitem(last=False)
            bucket = self._buckets[source] = Bucket(self._rates.stranger, self._rates.stranger_burst, now_s)
        else:
            self._buckets.move_to_end(source)
        if not bucket.take(now_s):
            return False
        return bucket.rate == self._rates.proven or self._strangers.take(now_s)

    def prove(self, source: Hashable) -> None:
        """*source* sent a valid token: serve it as a contact from now on."""
        bucket = self._buckets.get(source)
        if bucket is not None:
            bucket.rate = self._rates.proven
            bucket.burst = self._rates.proven_burst
