"""What a replica wants done, or has to say: frozen values from `Replica.take_effects()`, carried out in
order.

`Send`, `Persist` and `ReadArchive` ask for something; the rest tells.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from dhtex.identity import PublicKey
from dhtex.replication.messages import Message
from dhtex.replication.records import Record
from dhtex.replication.values import Entry, OrderKey, View


class Destination(NamedTuple):
    """Where to send.

    Whose key, and the last address known ("host:port"); the transport may know a newer one.
    """

    public_key: PublicKey
    address: str


class Role(enum.Enum):
    """What a replica is in its group, as people see it."""

    FOUNDING = "founding"  # belongs to no group yet
    OBSERVING = "observing"  # follows final commands, does not want to be a member
    JOINING = "joining"  # follows, and wants to be a member
    MEMBER = "member"
    FROZEN = "frozen"  # a member while the next view is being decided or installed
    EVICTED = "evicted"  # was a member, was cut off, asks to join again by itself
    LEFT = "left"  # asked to leave, and the group goes on without it
    STOPPED = "stopped"  # diverged: finalizes nothing more


class Send(NamedTuple):
    """Send one message to each destination; it may be lost, doubled or late."""

    to: tuple[Destination, ...]
    message: Message


class Persist(NamedTuple):
    """Make the records durable after all earlier ones, then call `Replica.persisted(ticket, now)`.

    Tickets ascend by one; a ticket counts for all before it. `urgent` is False when nothing waits for it, so
    a journal may let it ride on the next urgent one.
    """

    ticket: int
    records: tuple[Record, ...]
    urgent: bool = True


class ReadArchive(NamedTuple):
    """Read about *limit_bytes* of history after *after* from the journal; answer with `Replica.archive`."""

    request: int
    after: OrderKey
    limit_bytes: int


class Accepted(NamedTuple):
    """Own commands *first_n* … *first_n + count − 1* are durable here; they are pending."""

    first_n: int
    count: int  # type: ignore[assignment]  # the field hides tuple.count, which nobody needs here


class Finalized(NamedTuple):
    """An entry is final; the machine has applied it.

    Attributes:
        position: of the first command that was applied; `count − skip` positions are taken.
        skip: leading commands that had been applied before, under an earlier entry.
        digest: the chain after the entry, 32 bytes.
    """

    position: int
    entry: Entry
    skip: int
    digest: bytes


class Restored(NamedTuple):
    """The machine was set to a snapshot: a restart, or a jump over history that nobody keeps any more.

    *own_n*: own commands up to this n are final, also those whose `Finalized` was never seen here.
    """

    position: int
    digest: bytes
    own_n: int


class ViewInstalled(NamedTuple):
    """A view begins here. *resubmitted*: own commands that the closed view did not take, pending again."""

    view: View
    resubmitted: int


class RoleChanged(NamedTuple):
    """What this replica is has changed."""

    role: Role


class Suspected(NamedTuple):
    """A member seems gone or unfit; *reason* is a sentence. It will be left out of the next view."""

    node_id: bytes
    reason: str


class Unsuspected(NamedTuple):
    """A suspected member is heard again."""

    node_id: bytes


class QuorumLost(NamedTuple):
    """Fewer than a majority are heard: orders are accepted and stay pending. *reason* is a sentence."""

    reason: str


class QuorumBack(NamedTuple):
    """A majority is heard again."""


class Equivocation(NamedTuple):
    """Proof that a member signed two entries for one seq: both, with valid signatures."""

    origin: bytes
    first: Entry
    second: Entry


class PromiseBroken(NamedTuple):
    """A member issued *entry* for a time that it had promised to be over: what sorts after it is final here."""

    origin: bytes
    entry: Entry


class DigestMismatch(NamedTuple):
    """*node_id* computed another digest at *position*. A bug or tampering: nothing more is finalized here."""

    node_id: bytes
    position: int
    ours: bytes
    theirs: bytes


class ClockRefused(NamedTuple):
    """What *node_id* says about time is too far off this peer's wall clock.

    Attributes:
        drift: microseconds; positive when the other clock is ahead.
        ours: True when the other side refused this peer, so that this peer's clock is the one to look at
            first.
    """

    node_id: bytes
    drift: int
    ours: bool


class JoinRefused(NamedTuple):
    """A member will not let this peer join; *reason* is a sentence. It keeps asking."""

    node_id: bytes
    reason: str


class GroupConflict(NamedTuple):
    """Another group was founded under the same group id. The two keep apart; nothing is merged."""

    node_id: bytes
    lineage: bytes


class CatchUp(NamedTuple):
    """Progress of following.

    *done* of *target* commands (`unit` "commands") or bytes of a snapshot ("bytes").
    """

    done: int
    target: int
    unit: str


Effect = (
    Send
    | Persist
    | ReadArchive
    | Accepted
    | Finalized
    | Restored
    | ViewInstalled
    | RoleChanged
    | Suspected
    | Unsuspected
    | QuorumLost
    | QuorumBack
    | Equivocation
    | PromiseBroken
    | DigestMismatch
    | ClockRefused
    | JoinRefused
    | GroupConflict
    | CatchUp
)
