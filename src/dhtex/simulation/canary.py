"""A replica that breaks a rule on purpose: a hunt that does not catch it is no hunt."""

from __future__ import annotations

from dhtex.replication import Now, Replica
from dhtex.replication.effects import Effect, Persist


class Canary(Replica):
    """Takes everything for durable as soon as it was handed to the disk."""

    _seen = Now(0, 0)

    def take_effects(self) -> list[Effect]:
        """The effects, with every `Persist` answered at once."""
        effects = super().take_effects()
        for effect in effects:
            if isinstance(effect, Persist):
                super().persisted(effect.ticket, self._seen)
        return effects

    def tick(self, now: Now) -> None:
        """Remembers the time."""
        self._seen = now
        super().tick(now)

    def persisted(self, ticket: int, now: Now) -> None:
        """Old news."""
        self._seen = now
