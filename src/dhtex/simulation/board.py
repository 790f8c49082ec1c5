"""Discovery as peers see it: who announced itself under the group id, and in which view each says it is."""

from __future__ import annotations

import random

from dhtex.replication import Candidate


class Board:
    """All announcements.

    What a peer of a group said last is known even while it is down: in a network there are others of its group
    to say so. A founder-to-be that goes down is forgotten. A look-up may miss announcements.
    """

    def __init__(self, rng: random.Random, misses: float) -> None:
        """Args: *misses* is how often a look-up does not find an announcement that is there."""
        self._rng = rng
        self._misses = misses
        self._announced: dict[int, Candidate] = {}

    def announce(self, node: int, candidate: Candidate) -> None:
        """*node* is to be found from now on, and says this of itself."""
        self._announced[node] = candidate

    def went_down(self, node: int) -> None:
        """*node* answers no more."""
        candidate = self._announced.get(node)
        if candidate is not None and not candidate.view:
            del self._announced[node]

    def withdraw(self, node: int) -> None:
        """*node* is no longer to be found."""
        self._announced.pop(node, None)

    def sees_all(self) -> None:
        """From now on, look-ups miss nothing."""
        self._misses = 0.0

    def look_up(self, node: int) -> dict[int, Candidate]:
        """What *node* finds."""
        return {
            other: candidate
            for other, candidate in self._announced.items()
            if other != node and not (self._misses and self._rng.random() < self._misses)
        }
