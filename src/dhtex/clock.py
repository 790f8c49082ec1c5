"""Hybrid logical clock: wall time that never runs backwards and never falls behind what it has seen.

A value type: every step gives a new clock, and the wall time is an argument, so a run can be repeated.
Source: Kulkarni et al., *Logical Physical Clocks*, 2014; `design: replication, Clock`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """A hybrid logical clock at one moment.

    Attributes:
        last: the highest value used or seen, integer microseconds since the Unix epoch.
    """

    last: int = 0

    def now(self, wall: int) -> Clock:
        """The clock read at *wall* (microseconds): at least *wall*, at least what it was."""
        return self if wall <= self.last else Clock(wall)

    def tick(self, wall: int) -> Clock:
        """A value never used before: above what it was, at least *wall*."""
        return Clock(max(self.last + 1, wall))

    def observe(self, timestamp: int) -> Clock:
        """Not below a *timestamp* that somebody else used."""
        return self if timestamp <= self.last else Clock(timestamp)
