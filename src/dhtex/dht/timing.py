"""How long to wait for an answer, learnt from the answers. Source: RFC 6298, scaled to a LAN.

An answer names the transmission it answers, so repeated requests count as well, and so do answers that come
after their call was given up: a node whose machine or network became slow learns it, instead of repeating
questions whose answers are under way.
"""

from __future__ import annotations

UNIT_S_START = 0.4
"""Before anything was measured."""

UNIT_S_MIN = 0.1
UNIT_S_MAX = 1.6
"""Only reached where answers were seen to take so long."""

RESEND_AT = (1, 3, 5)
"""Units after the first transmission at which to send again, again, and give up: 0.5 s on a quick network,
2 s before anything is known.
"""


class RoundTrips:
    """Smoothed round-trip time of one node to all others, and the time-out unit that follows from it."""

    def __init__(self) -> None:
        self._mean_s: float | None = None
        self._deviation_s = 0.0

    @property
    def unit_s(self) -> float:
        """Seconds within which the first answer is expected."""
        if self._mean_s is None:
            return UNIT_S_START
        return min(max(self._mean_s + 4 * self._deviation_s, UNIT_S_MIN), UNIT_S_MAX)

    def answered(self, round_trip_s: float) -> None:
        """An answer came, in time or late."""
        if self._mean_s is None:
            self._mean_s = round_trip_s
            self._deviation_s = round_trip_s / 2
        else:
            self._deviation_s += (abs(round_trip_s - self._mean_s) - self._deviation_s) / 4
            self._mean_s += (round_trip_s - self._mean_s) / 8
