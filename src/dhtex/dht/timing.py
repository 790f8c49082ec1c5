"""How long to wait for an answer, learnt from the answers. Source: RFC 6298, Karn's rule, scaled to a LAN."""

from __future__ import annotations

UNIT_S_MAX = 0.4
UNIT_S_MIN = 0.1

RESEND_AT = (1, 3, 5)
"""Units after the first transmission at which to send again, again, and give up: 2 s in the worst case."""


class RoundTrips:
    """Smoothed round-trip time of one node to all others, and the time-out unit that follows from it."""

    def __init__(self) -> None:
        self._mean_s: float | None = None
        self._deviation_s = 0.0
        self._penalty = 1.0

    @property
    def unit_s(self) -> float:
        """Seconds within which the first answer is expected."""
        if self._mean_s is None:
            return UNIT_S_MAX
        return min(max((self._mean_s + 4 * self._deviation_s) * self._penalty, UNIT_S_MIN), UNIT_S_MAX)

    def answered(self, round_trip_s: float) -> None:
        """An answer came to a request that was sent once (a repeated one proves nothing about time)."""
        if self._mean_s is None:
            self._mean_s = round_trip_s
            self._deviation_s = round_trip_s / 2
        else:
            self._deviation_s += (abs(round_trip_s - self._mean_s) - self._deviation_s) / 4
            self._mean_s += (round_trip_s - self._mean_s) / 8
        self._penalty = 1.0

    def missed(self) -> None:
        """No answer at all: perhaps the network became slower than believed."""
        self._penalty = min(self._penalty * 2, 4.0)
