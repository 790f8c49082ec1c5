"""Discovery as peers see it: who announced itself under the group id, and in which view it is."""

from __future__ import annotations

import random

from dhtex.replication.founding import Candidate
from dhtex.simulation.plan import SECOND

EXPIRES_AFTER = 20 * SECOND
"""An announcement that was not refreshed is gone; longer than any pause of a run."""


class Board:
    """All announcements. A look-up may miss some."""

    def __init__(self, rng: random.Random, misses: float) -> None:
        """Args: *misses* is how often a look-up does not find an announcement that is there."""
        self._rng = rng
        self._misses = misses
        self._found: dict[int, tuple[Candidate, int]] = {}

    def announce(self, node: int, node_id: bytes, view: int, at: int) -> None:
        """Say where *node* is, at true time *at*."""
        self._found[node] = Candidate(node_id, view), at

    def withdraw(self, node: int) -> None:
        """*node* is no longer to be found."""
        self._found.pop(node, None)

    def sees_all(self) -> None:
        """From now on, look-ups miss nothing."""
        self._misses = 0.0

    def look_up(self, node: int, at: int) -> dict[int, Candidate]:
        """What *node* finds."""
        return {
            other: candidate
            for other, (candidate, announced) in self._found.items()
            if other != node
            and at - announced < EXPIRES_AFTER
            and not (self._misses and self._rng.random() < self._misses)
        }
