"""Bounds on what one source can cost: a token bucket per source, kept in a bounded table.

A flood is refused before its bytes are decoded: one dictionary look-up and a subtraction. Whoever has not
proved its address gets little, and all such sources together get no more than a node can bear, so a spoofed
flood from many addresses slows strangers down but not the contacts a node already works with. A source that
leaves the table (the least recently seen goes first) starts again as a stranger.

What requests cost differs tenfold, and so do machines. So a source also has a share of the node's time: what
answering it took is counted, and when its share is used up its datagrams are dropped until it has time again.
The rest of the time is for reading what others sent out of the socket before the kernel loses it.
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
        share: of the node's time, that one source may take; at once as much as `share_burst_s` seconds.
    """

    stranger: float = 500.0
    stranger_burst: float = 1_000.0
    strangers: float = 5_000.0
    strangers_burst: float = 10_000.0
    proven: float = 10_000.0
    proven_burst: float = 20_000.0
    share: float = 0.2
    share_burst_s: float = 0.2


class Bucket:
    """Allows *rate* a second, *burst* at once."""

    __slots__ = ("_at_s", "burst", "level", "rate")

    def __init__(self, rate: float, burst: float, now_s: float) -> None:
        self.rate = rate
        self.burst = burst
        self.level = burst
        self._at_s = now_s

    def refill(self, now_s: float) -> float:
        """What may be taken now."""
        self.level = min(self.burst, self.level + (now_s - self._at_s) * self.rate)
        self._at_s = now_s
        return self.level

    def take(self, now_s: float) -> bool:
        """True when one more may pass now."""
        if self.refill(now_s) < 1.0:
            return False
        self.level -= 1.0
        return True


class _Source:
    """What one source may do: datagrams, and seconds of the node's time."""

    __slots__ = ("datagrams", "is_proven", "seconds")

    def __init__(self, rates: Rates, now_s: float) -> None:
        self.is_proven = False
        self.datagrams = Bucket(rates.stranger, rates.stranger_burst, now_s)
        self.seconds = Bucket(rates.share, rates.share_burst_s, now_s)


class SourceLimits:
    """The limits of each source, and one for all strangers together."""

    def __init__(self, rates: Rates, now_s: float, sources_max: int = 4_096) -> None:
        self._rates = rates
        self._sources_max = sources_max
        self._sources: OrderedDict[Hashable, _Source] = OrderedDict()
        self._strangers = Bucket(rates.strangers, rates.strangers_burst, now_s)

    def __len__(self) -> int:
        return len(self._sources)

    def take(self, source: Hashable, now_s: float) -> bool:
        """True when *source* may be served one more datagram now."""
        known = self._sources.get(source)
        if known is None:
            if len(self._sources) >= self._sources_max:
                self._sources.popitem(last=False)
            known = self._sources[source] = _Source(self._rates, now_s)
        else:
            self._sources.move_to_end(source)
        if known.seconds.refill(now_s) <= 0.0 or not known.datagrams.take(now_s):
            return False
        return known.is_proven or self._strangers.take(now_s)

    def spent(self, source: Hashable, seconds: float) -> None:
        """Serving *source* took so much of the node's time."""
        known = self._sources.get(source)
        if known is not None:
            known.seconds.level -= seconds

    def prove(self, source: Hashable) -> None:
        """*source* sent a valid token: serve it as a contact from now on."""
        known = self._sources.get(source)
        if known is not None and not known.is_proven:
            known.is_proven = True
            known.datagrams.rate = self._rates.proven
            known.datagrams.burst = self._rates.proven_burst
