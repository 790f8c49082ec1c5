"""Finding the group of a market when a peer starts, and finding it again for as long as it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from dhtex.identity import short_id
from dhtex.peer.driver import Driver
from dhtex.peer.meeting import Founding, Meeting, destination
from dhtex.replication import Replica, Role, View
from dhtex.replication.values import NO_LINEAGE
from dhtex.transport import HelloAnswer

LOOK_AGAIN_S: Final = 1.0
"""A peer looks up its group again after so long, to find those who moved, and groups that should not exist."""
LOOK_AGAIN_S_MAX: Final = 20.0
"""A member's pause doubles up to this."""

_HOMELESS: Final = frozenset({Role.FOUNDING, Role.OBSERVING, Role.JOINING, Role.EVICTED})
"""Roles in which better contacts help."""


def _is_new(replica: Replica) -> bool:
    """No group has answered yet. One that it meant to join may have gone before: a crash can undo a founding."""
    return replica.role in _HOMELESS and replica.lineage == NO_LINEAGE


def _is_lost(replica: Replica) -> bool:
    """Better contacts help: outside the group, or in a view whose other members may all have left it since."""
    return replica.role in _HOMELESS or not replica.has_quorum


def _has_member(view: View | None, answers: Sequence[HelloAnswer]) -> bool:
    """Somebody who answers may be a member: of *view*, or of a later one. Who left together stays without a group."""
    if view is None:
        return bool(answers)
    return any(answer.view_number > view.number or answer.node_id in view.node_ids for answer in answers)


class Seeking:
    """Founds, joins or observes, by what a `Meeting` finds.

    Args:
        founding: whether the peer may found a group, must, or must not.
        observe: it wants to follow, not to become a member.
    """

    def __init__(self, driver: Driver, meeting: Meeting, founding: Founding, *, observe: bool) -> None:
        self._driver = driver
        self._meeting = meeting
        self._founding = founding
        self._observe = observe

    async def run(self) -> None:
        """Find the group, and keep finding it."""
        driver, meeting, founding = self._driver, self._meeting, self._founding
        if driver.replica.view is not None or self._observe:
            founding = Founding.JOIN  # the group it has, whose history it will not leave behind; or another's
        pause = LOOK_AGAIN_S
        while True:
            if _is_new(driver.replica):
                outcome = await meeting.settle(founding)
                if not _is_new(driver.replica):
                    pass  # the group it meant to join has answered meanwhile
                elif not outcome.contacts:
                    driver.found()
                elif self._observe:
                    driver.observe(outcome.contacts)
                else:
                    driver.join(outcome.contacts)
            else:
                await meeting.announce()
                await self._look_again()
            await asyncio.sleep(pause)
            pause = LOOK_AGAIN_S if _is_lost(driver.replica) else min(2 * pause, LOOK_AGAIN_S_MAX)

    async def _look_again(self) -> None:
        driver, replica = self._driver, self._driver.replica
        answers = [answer for answer in await self._meeting.seen() if answer.view_number]
        groups = [destination(answer) for answer in answers]
        for contact in groups:
            driver.learn(contact)
        if replica.role in _HOMELESS and self._meeting.can_look and not _has_member(replica.view, answers):
            known = ", ".join(short_id(node_id) for node_id in replica.view.node_ids) if replica.view else ""
            whom = f"no member of the group answers ({known})" if known else "no member of the group answers"
            self._meeting.say(f"{whom}; looking again until one does")
        if groups and _is_lost(replica):
            (driver.observe if self._observe else driver.join)(groups)
