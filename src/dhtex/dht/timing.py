"""How long to wait for an answer, learnt from the answers.

An answer names the transmission it answers, so repeated requests count as well, and so do answers that come
after their call was given up: a node whose machine or network became slow learns it, instead of repeating
questions whose answers are under way.

RFC 6298 measures one path to one host that gains nothing by lying. Here anybody who is asked may answer late
on purpose, and its mean with four deviations would follow a single answer. So each source has one voice, and
what a quarter of them say moves nothing: a liar slows only calls to itself, and those to no more than what
everybody gets before anything was measured.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

UNIT_S_START = 0.4
"""Before anything was measured, and the most that one source gets because it alone is slow."""

UNIT_S_MIN = 0.1
UNIT_S_MAX = 1.6
"""Only reached where more than a quarter of the sources take half of it to answer."""

RESEND_AT = (1, 3, 5)
"""Units after the first transmission at which to send again, again, and give up: 0.5 s on a quick network,
2 s before anything is known.
"""

SOURCES_MAX = 32
"""Sources whose round trips are remembered; those heard from last, more than one look-up asks at once."""

DECAY = 0.75
"""What remains of a slow answer after each faster one of the same source."""


class RoundTrips:
    """Round-trip times of the sources that answered last, and the time-out unit that follows from them."""

    def __init__(self) -> None:
        self._peaks_s: OrderedDict[Hashable, float] = OrderedDict()
        self._unit_s = UNIT_S_START

    def unit_s(self, source: Hashable) -> float:
        """Seconds within which the first answer of *source* is expected."""
        own_s = 2 * self._peaks_s.get(source, 0.0)
        return max(self._unit_s, min(own_s, UNIT_S_START))

    def answered(self, source: Hashable, round_trip_s: float) -> None:
        """An answer came, in time or late."""
        peak_s = max(round_trip_s, DECAY * self._peaks_s.get(source, 0.0))
        self._peaks_s[source] = min(peak_s, UNIT_S_MAX)
        self._peaks_s.move_to_end(source)
        if len(self._peaks_s) > SOURCES_MAX:
            self._peaks_s.popitem(last=False)
        self._measure()

    def missed(self, source: Hashable) -> None:
        """A call was given up: what *source* took before says nothing about now."""
        if self._peaks_s.pop(source, None) is not None:
            self._measure()

    def _measure(self) -> None:
        """Twice the upper quartile."""
        peaks_s = sorted(self._peaks_s.values())
        if not peaks_s:
            self._unit_s = UNIT_S_START
            return
        quartile_s = peaks_s[3 * (len(peaks_s) - 1) // 4]
        self._unit_s = min(max(2 * quartile_s, UNIT_S_MIN), UNIT_S_MAX)
