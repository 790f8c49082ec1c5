"""What is final is on a majority of disks, what is said is on the speaker's own: synced, not just written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from dhtex.identity import short_id
from dhtex.replication import OrderKey, View
from dhtex.replication.messages import BallotAccepted, Entries, Message, Promise, Status
from dhtex.replication.records import Appended, Ceiling, Installed, Record, SnapshotTaken, Vote
from dhtex.replication.values import NO_BALLOT, Ballot
from dhtex.simulation.checks.violation import Violation

_SIGNATURE = 64
_ORIGIN = slice(4, 24)  # of an entry's body


class DurabilityChecker:
    """Counts copies.

    A disk that was wiped keeps counting: no member comes back from it under its old promises.
    """

    def __init__(self, lies: Callable[[bytes], bool]) -> None:
        """Args: *lies* tells of a node id; nothing that a liar says or issues is checked."""
        self._lies = lies
        self._holders: defaultdict[bytes, set[bytes]] = defaultdict(set)
        self._accepted: defaultdict[bytes, defaultdict[Ballot, set[bytes]]] = defaultdict(
            lambda: defaultdict(set)
        )
        self._voted: dict[tuple[bytes, int], Ballot] = {}
        self._ceiling: dict[bytes, int] = {}
        self._snapshot: dict[bytes, OrderKey] = {}
        self._installed: dict[bytes, int] = {}

    def durable(self, node_id: bytes, records: tuple[Record, ...]) -> None:
        """The records are on this peer's disk, whatever happens."""
        for record in records:
            if isinstance(record, Appended):
                self._holders[record.entry.raw[_SIGNATURE:]].add(node_id)
            elif isinstance(record, Ceiling):
                self._ceiling[node_id] = max(record.timestamp, self._ceiling.get(node_id, 0))
            elif isinstance(record, Vote):
                self._voted[node_id, record.view] = record.promised
                if record.value is not None:
                    self._accepted[record.value.id][record.accepted].add(node_id)
            elif isinstance(record, SnapshotTaken):
                known = self._snapshot.get(node_id)
                key = record.snapshot.key
                self._snapshot[node_id] = key if known is None else max(known, key)
            elif isinstance(record, Installed):
                self._installed[node_id] = record.view.number
                self._ceiling[node_id] = 0  # one of an earlier view covers nothing that is said in this one

    def wiped(self, node_id: bytes) -> None:
        """The disk is empty again, and nothing the peer said before binds its next incarnation."""
        self._ceiling.pop(node_id, None)
        for key in [key for key in self._voted if key[0] == node_id]:
            del self._voted[key]

    def final(self, body: bytes, view: View) -> None:
        """An entry is final somewhere: a majority of its view's members must hold it."""
        if self._lies(body[_ORIGIN]):
            return
        holders = sum(node_id in self._holders[body] for node_id in view.node_ids)
        if holders < view.majority:
            raise Violation(
                "durable-majority",
                f"an entry of view {view.number} is final on {holders} of {len(view.members)} disks",
            )

    def decided(self, name: str, view: View, before: View | None) -> None:
        """A view is installed: a majority of the one before must have accepted it under one ballot."""
        if before is None:
            return
        voters = self._accepted[view.id].values()
        most = max((sum(node_id in voted for node_id in before.node_ids) for voted in voters), default=0)
        if most < before.majority:
            raise Violation(
                "durable-majority",
                f"{name} installed view {view.number}, accepted by {most} of {len(before.members)} disks",
            )

    def sent(self, name: str, node_id: bytes, message: Message) -> None:
        """Everything a message claims must be durable at its sender before it leaves."""
        if self._lies(node_id):
            return
        if isinstance(message, Status):
            ceiling = self._ceiling.get(node_id, 0)
            if message.promise > ceiling:
                raise Violation("ceiling", f"{name} promises {message.promise}, its disk has {ceiling}")
        elif isinstance(message, Entries):
            for entry in message.entries:
                if entry.origin == node_id and node_id not in self._holders[entry.body]:
                    raise Violation(
                        "durable-first",
                        f"{name} sends its entry {entry.view}/{entry.seq} before it is durable",
                    )
        elif isinstance(message, Promise | BallotAccepted):
            voted = self._voted.get((node_id, message.view), NO_BALLOT)
            if voted < message.ballot:
                raise Violation(
                    "durable-first",
                    f"{name} promises ballot {message.ballot.round} of {short_id(message.ballot.proposer)}, "
                    "which its disk does not know",
                )
