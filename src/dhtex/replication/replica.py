"""The replica.

One member, observer or newcomer of one group. Sans-IO: inputs are calls, outputs are values.
"""

from __future__ import annotations

from collections.abc import Sequence

from dhtex.identity import PublicKey, Signer
from dhtex.replication.config import ReplicaConfig
from dhtex.replication.effects import Destination, Effect, Role
from dhtex.replication.machine import RandomSource, StateMachine
from dhtex.replication.messages import Message
from dhtex.replication.records import DurableState
from dhtex.replication.values import HistoryItem, Now, View


class Replica:
    """One group, one peer. Every input takes `now`; after each, carry out `take_effects()` and re-arm the timer.

    Attributes:
        node_id: 20 bytes.
        view: the installed view, or None.
        position: number of final commands applied.
        digest: the chain after them.
        role: see `Role`.
        pending_count: own commands accepted and not yet final.
    """

    node_id: bytes
    view: View | None
    position: int
    digest: bytes
    role: Role
    pending_count: int

    def __init__(
        self,
        group_id: bytes,
        signer: Signer,
        machine: StateMachine,
        config: ReplicaConfig,
        random: RandomSource,
        now: Now,
        *,
        address: str,
        recovered: DurableState | None = None,
    ) -> None:
        """A replica that resumes from *recovered*, or belongs to no group until `found` or `join`.

        Args:
            group_id: 20 bytes; only what carries it is understood.
            machine: fresh; it is brought to the recovered state here, by snapshot and replay (effects tell).
            address: "host:port" under which others reach this peer.
        Raises:
            UsageError: *group_id* has the wrong size.
        """
        raise NotImplementedError

    # -- inputs ----------------------------------------------------------------------------------------------

    def submit(self, commands: bytes, count: int, now: Now) -> int:
        """Accept own commands: a msgpack array of *count* elements. Gives the n of the first one.

        `Accepted` follows when they are durable here, `Finalized` (of an entry that covers them) when they
        are final.

        Raises:
            Busy: too much is pending; nothing was accepted.
            JournalFull: no room on disk; nothing was accepted.
            NotRunning: the replica has left, or stopped after a divergence.
            UsageError: not an array of *count* elements, or more than one entry can carry.
        """
        raise NotImplementedError

    def receive(self, sender: PublicKey, address: str, messages: Sequence[Message], now: Now) -> None:
        """Messages that an authenticated *sender* sent from *address* ("host:port").

        Never raises for any content.
        """
        raise NotImplementedError

    def persisted(self, ticket: int, now: Now) -> None:
        """The records of this `Persist` and of all before it are durable."""
        raise NotImplementedError

    def archive(self, request: int, items: Sequence[HistoryItem] | None, now: Now) -> None:
        """The answer to `ReadArchive`.

        History in order, at least one item if there is any; None when it is not kept.
        """
        raise NotImplementedError

    def tick(self, now: Now) -> None:
        """Time has passed. Call at `next_deadline`; more often does no harm."""
        raise NotImplementedError

    def found(self, now: Now) -> None:
        """Found a group with this peer as its only member.

        Raises:
            UsageError: it belongs to a group already.
        """
        raise NotImplementedError

    def join(self, contacts: Sequence[Destination], now: Now) -> None:
        """Follow the group of *contacts* and become a member.

        Call again whenever better contacts are known.
        """
        raise NotImplementedError

    def observe(self, contacts: Sequence[Destination], now: Now) -> None:
        """Follow the group of *contacts* without becoming a member."""
        raise NotImplementedError

    def leave(self, now: Now) -> None:
        """Stop accepting, let what is pending become final, then leave the group.

        `RoleChanged(LEFT)` tells.
        """
        raise NotImplementedError

    def storage_full(self, now: Now) -> None:
        """The journal has no room.

        Accept and acknowledge nothing, but keep what was asked to be made durable.
        """
        raise NotImplementedError

    def storage_ok(self, now: Now) -> None:
        """The journal has room again and has made durable, or will, everything it was asked to, in order."""
        raise NotImplementedError

    # -- outputs ---------------------------------------------------------------------------------------------

    def take_effects(self) -> list[Effect]:
        """Everything wanted or to be told since the last call, in order."""
        raise NotImplementedError

    @property
    def next_deadline(self) -> int:
        """When `tick` wants to be called at the latest, monotonic microseconds."""
        raise NotImplementedError
