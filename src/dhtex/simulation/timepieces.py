"""A peer's clocks as functions of true time."""

from __future__ import annotations

from typing import Final

from dhtex.replication import Now

EPOCH: Final = 1_700_000_000_000_000
"""True time 0 as wall time, microseconds since the Unix epoch."""
_MILLION: Final = 1_000_000


class Timepiece:
    """A wall clock with skew, drift and steps, and a monotonic clock with the same drift.

    Attributes:
        skew: the wall clock minus a right one, apart from drift, microseconds.
    """

    __slots__ = ("_drift_ppm", "_origin", "skew")

    def __init__(self, skew: int, drift_ppm: int, origin: int) -> None:
        self.skew = skew
        self._drift_ppm = drift_ppm
        self._origin = origin

    def read(self, at: int) -> Now:
        """Both clocks at true time *at*."""
        elapsed = at + at * self._drift_ppm // _MILLION
        return Now(EPOCH + elapsed + self.skew, self._origin + elapsed)

    def when(self, monotonic: int) -> int:
        """The first true time at which the monotonic clock shows at least *monotonic*."""
        elapsed = monotonic - self._origin
        at = elapsed * _MILLION // (_MILLION + self._drift_ppm)
        while at + at * self._drift_ppm // _MILLION < elapsed:
            at += 1
        return at

    def step(self, delta: int) -> None:
        """Set the wall clock forward, or back when *delta* is negative."""
        self.skew += delta

    def correct(self, at: int, skew: int) -> None:
        """Bring the wall clock to *skew* from the right time, drift so far included."""
        self.skew = skew - at * self._drift_ppm // _MILLION
