"""What happened, to be read by people. Costs nothing while nobody reads."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from dhtex.identity import short_id
from dhtex.replication.effects import (
    Accepted,
    DigestMismatch,
    Effect,
    Equivocation,
    Finalized,
    Persist,
    ReadArchive,
    Restored,
    RoleChanged,
    Send,
    ViewInstalled,
)
from dhtex.replication.messages import Entries, History, Message, Promise, Status, Views
from dhtex.replication.values import Ballot, Entry
from dhtex.simulation.timepieces import EPOCH


class Moment(NamedTuple):
    """One line: true time in microseconds, who, what."""

    at: int
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.at / 1e6:10.6f}  {self.name:<2} {self.text}"


class Trace:
    """The last moments of a run.

    Attributes:
        moments: oldest first, at most as many as asked for.
    """

    def __init__(self, names: dict[bytes, str], moments_max: int, messages: bool) -> None:
        """Args: *names* are by node id; *messages* asks for every datagram too, which is a lot."""
        self.moments: deque[Moment] = deque(maxlen=moments_max)
        self.messages = messages
        self._names = names

    def note(self, at: int, name: str, text: str) -> None:
        """Something happened."""
        self.moments.append(Moment(at, name, text))

    def effect(self, at: int, name: str, effect: Effect) -> None:
        """A replica wants or says something."""
        if not isinstance(effect, Send | Persist | ReadArchive):
            self.note(at, name, self._effect(effect))

    def message(self, at: int, name: str, arrow: str, other: str, message: Message) -> None:
        """A message leaves or arrives."""
        if self.messages:
            self.note(at, name, f"{arrow} {other}  {self._message(message)}")

    def _name(self, node_id: bytes) -> str:
        return self._names.get(node_id, short_id(node_id))

    def entry(self, entry: Entry) -> str:
        """An entry in a few words: view, origin, seq, time since the epoch of the run, commands."""
        return (
            f"v{entry.view} {self._name(entry.origin)}#{entry.seq} @{(entry.timestamp - EPOCH) / 1e6:.6f}"
            f" n={entry.first_n}+{entry.count}"
        )

    def _effect(self, effect: Effect) -> str:
        match effect:
            case Finalized(position=position, entry=entry, skip=skip):
                return f"final at {position}: {self.entry(entry)}{f' skip {skip}' if skip else ''}"
            case ViewInstalled(view=view, resubmitted=resubmitted):
                members = "".join(self._name(node_id) for node_id in view.node_ids)
                floor = (view.floor - EPOCH) / 1e6
                return (
                    f"view {view.number} of {members}, cut {list(view.cut)}, floor {floor:.6f}, "
                    f"{resubmitted} submitted again"
                )
            case RoleChanged(role=role):
                return f"is now {role.value}"
            case Accepted(first_n=first_n, count=count):
                return f"accepted n={first_n}+{count}"
            case Restored(position=position):
                return f"restored position {position}"
            case Equivocation(origin=origin, first=first, second=second):
                return f"EQUIVOCATION of {self._name(origin)}: {self.entry(first)} and {self.entry(second)}"
            case DigestMismatch(node_id=node_id, position=position):
                return f"DIGEST MISMATCH with {self._name(node_id)} at {position}"
        fields = ", ".join(
            f"{key}={self._name(value) if isinstance(value, bytes) else value}"
            for key, value in zip(effect._fields, effect, strict=True)
        )
        return f"{type(effect).__name__}({fields})"

    def _message(self, message: Message) -> str:
        match message:
            case Status():
                promise = f"{(message.promise - EPOCH) / 1e6:.6f}" if message.promise else "-"
                return (
                    f"status v{message.view} T={promise} have={list(message.have)} at {message.position}"
                    f"{f' flags {message.flags}' if message.flags else ''}"
                )
            case Entries():
                return "entries " + ", ".join(self.entry(entry) for entry in message.entries)
            case Promise():
                return (
                    f"promise v{message.view} {self._ballot(message.ballot)} have={list(message.have)}"
                    f"{f' accepted {self._ballot(message.accepted)}' if message.value else ''}"
                )
            case Views():
                return "views " + " ".join(str(view.number) for view in message.views)
            case History():
                return (
                    f"history of {len(message.items)} items after {message.after.view}, head {message.head}"
                )
        fields = (
            f"{key}={self._ballot(value) if isinstance(value, Ballot) else value}"
            for key, value in zip(message._fields, message, strict=True)
            if isinstance(value, int | Ballot)
        )
        return f"{type(message).__name__} {' '.join(fields)}".lower()

    def _ballot(self, ballot: Ballot) -> str:
        return f"({ballot[0]}, {self._name(ballot[1])})"
