"""Who founds a group: announce first, look up second, and the lowest node id founds (`design: Founding`).

The announcing and looking up is the peer's business; the decision is this pure function.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import NamedTuple


class Candidate(NamedTuple):
    """Someone found under the group id.

    Its node id, and the number of its view (0: it belongs to no group yet).
    """

    node_id: bytes
    view: int


class Decision(enum.Enum):
    """What a newcomer should do now."""

    FOUND = "found"  # nobody has a group, and no other founder-to-be has a lower node id
    JOIN = "join"  # there is a group
    WAIT = "wait"  # a founder-to-be with a lower node id exists: look again shortly


def decide(node_id: bytes, seen: Iterable[Candidate]) -> Decision:
    """What the newcomer *node_id* should do, having announced itself before it looked up *seen*."""
    others = [candidate for candidate in seen if candidate.node_id != node_id]
    if any(candidate.view for candidate in others):
        return Decision.JOIN
    if any(candidate.node_id < node_id for candidate in others):
        return Decision.WAIT
    return Decision.FOUND
