"""What happens to the group, told in sentences: one table from effect to event."""

from __future__ import annotations

from typing import Final

from dhtex.identity import short_id
from dhtex.peer.reports import GroupEvent
from dhtex.replication import (
    ClockRefused,
    DigestMismatch,
    Effect,
    Equivocation,
    GroupConflict,
    JoinRefused,
    PromiseBroken,
    QuorumBack,
    QuorumLost,
    Role,
    RoleChanged,
    Suspected,
    Unsuspected,
    ViewInstalled,
)

_ROLES: Final = {
    Role.FOUNDING: "belongs to no group yet; orders are pending",
    Role.OBSERVING: "follows the market",
    Role.JOINING: "is catching up to join the group; it trades once it is a member",
    Role.MEMBER: "is a member",
    Role.FROZEN: "waits while the group decides on its members; orders are pending",
    Role.EVICTED: "is outside its group, which it left or was cut off from; it asks to join again, orders are pending",
    Role.LEFT: "has left the group",
    Role.STOPPED: "stopped: its digest differs from another member's",
}


def narrate(effect: Effect, own: bytes, *, recovered: bool = True) -> GroupEvent | None:
    """The event to tell people, or None for what is not about the group.

    Args:
        own: this peer's node id.
        recovered: False while the peer reads its journal, which cannot know what the group decided since.
    """
    match effect:
        case RoleChanged(Role.MEMBER) if not recovered:
            return GroupEvent("role", f"{short_id(own)} resumes as a member", own, Role.MEMBER.value)
        case RoleChanged(role):
            return GroupEvent("role", f"{short_id(own)} {_ROLES[role]}", own, role.value)
        case ViewInstalled(view, resubmitted):
            names = ", ".join(short_id(node_id) for node_id in view.node_ids)
            again = f"; {resubmitted} own commands are sent again" if resubmitted else ""
            text = f"view {view.number}: {names}{_tolerance(len(view.members))}{again}"
            return GroupEvent("view", text, value=str(view.number), members=view.node_ids)
        case Suspected(node_id, reason):
            name = short_id(node_id)
            return GroupEvent("suspected", f"{name} is suspected: it{reason.removeprefix(name)}", node_id)
        case Unsuspected(node_id):
            return GroupEvent("unsuspected", f"{short_id(node_id)} is heard again", node_id)
        case QuorumLost(reason):
            return GroupEvent("no_quorum", reason)
        case QuorumBack():
            return GroupEvent("quorum", "a quorum is back: pending orders become final")
        case Equivocation(origin, first, _):
            return GroupEvent(
                "equivocation",
                f"{short_id(origin)} signed two different entries as number {first.seq} of view {first.view}; "
                "the proof is in the log",
                origin,
            )
        case PromiseBroken(origin, entry):
            return GroupEvent(
                "promise_broken",
                f"{short_id(origin)} issued number {entry.seq} of view {entry.view} for a time that it had promised "
                "to be over; it does not count",
                origin,
            )
        case DigestMismatch(node_id, position, ours, theirs):
            return GroupEvent(
                "diverged",
                f"{short_id(node_id)} has another digest at position {position} "
                f"({theirs.hex()[:12]} instead of {ours.hex()[:12]}): a bug or tampering; nothing more is final here",
                node_id,
            )
        case ClockRefused(node_id, drift, ours):
            way = "ahead" if drift > 0 else "behind"
            whose = "this machine's clock is" if ours else f"the clock of {short_id(node_id)} is"
            return GroupEvent(
                "clock",
                f"{whose} {abs(drift) / 1e6:.1f} s {way}; set it right (NTP) to take part",
                node_id,
            )
        case JoinRefused(node_id, reason):
            return GroupEvent(
                "join_refused", f"{short_id(node_id)} does not let this peer join: {reason}", node_id
            )
        case GroupConflict(node_id, _):
            return GroupEvent(
                "conflict",
                f"{short_id(node_id)} belongs to another group that was founded for the same market; "
                "the two keep apart. Stop the peers of one of them and start them again with --join",
                node_id,
            )
        case _:
            return None


def _tolerance(members: int) -> str:
    """What a group of this size survives, said where people trip over it."""
    if members == 1:
        return ""
    if members == 2:
        return " (two members: neither may fail)"
    return f" ({(members - 1) // 2} may fail)"
