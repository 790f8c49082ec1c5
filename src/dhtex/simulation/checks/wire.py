"""What a member says binds it: promises of time, of entries, of ballots."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field

from dhtex.replication import Entry
from dhtex.replication.messages import (
    BallotAccepted,
    Entries,
    Message,
    Promise,
    Status,
)
from dhtex.replication.values import NO_BALLOT, Ballot
from dhtex.simulation.checks.violation import Violation


@dataclass
class _Word:
    """What one member has said within one view."""

    last_seq: list[int] = field(default_factory=list)
    promised: list[int] = field(default_factory=list)
    """`promised[i]` was the highest T said with at most `last_seq[i]` entries; both ascend."""
    ballot: Ballot = NO_BALLOT
    have: tuple[int, ...] | None = None
    """What it said it has when it froze."""


class WireChecker:
    """Sees every message on its way out."""

    def __init__(
        self, place_of: Callable[[bytes, int, bytes], int | None], lies: Callable[[bytes], bool]
    ) -> None:
        """What is checked, but for the words of liars.

        Args:
            place_of: gives (lineage, view, node id) -> place among the members, if known.
            lies: of a node id.
        """
        self._place_of = place_of
        self._lies = lies
        self._entries: dict[tuple[bytes, int, bytes, int], bytes] = {}
        self._words: dict[tuple[bytes, int, bytes], _Word] = {}

    def sent(self, name: str, node_id: bytes, message: Message) -> None:
        """*name* hands *message* to its transport."""
        if self._lies(node_id):
            return
        if isinstance(message, Status):
            self._status(name, node_id, message)
        elif isinstance(message, Entries):
            self._sent_entries(name, message)
        elif isinstance(message, Promise):
            self._promise(name, node_id, message)
        elif isinstance(message, BallotAccepted):
            self._ballot_accepted(name, node_id, message)

    def wiped(self, node_id: bytes) -> None:
        """A peer lost its disk: nothing it said before binds its next incarnation."""
        for key in [key for key in self._words if key[2] == node_id]:
            del self._words[key]

    def _word(self, lineage: bytes, view: int, node_id: bytes) -> _Word:
        key = lineage, view, node_id
        word = self._words.get(key)
        if word is None:
            word = self._words[key] = _Word()
        return word

    def _status(self, name: str, node_id: bytes, message: Status) -> None:
        lineage, view, _, promise, _, have, _, _, _ = message
        if not have and not promise:
            return
        word = self._word(lineage, view, node_id)
        if word.have is not None:
            raise Violation("frozen", f"{name} acknowledges in view {view} after it promised a ballot")
        if not promise:
            return
        place = self._place_of(lineage, view, node_id)
        if place is None:
            raise Violation("promises", f"{name} promises a time in view {view}, of which it is no member")
        seq = have[place]
        if not word.last_seq or seq > word.last_seq[-1]:
            word.last_seq.append(seq)
            word.promised.append(max(promise, word.promised[-1] if word.promised else 0))
        elif promise > word.promised[-1]:
            if seq < word.last_seq[-1]:
                raise Violation("promises", f"{name} promises with {seq} entries after {word.last_seq[-1]}")
            word.promised[-1] = promise

    def _sent_entries(self, name: str, message: Entries) -> None:
        lineage = message.lineage
        for entry in message.entries:
            if self._lies(entry.origin):
                continue
            key = lineage, entry.view, entry.origin, entry.seq
            known = self._entries.get(key)
            if known is None:
                self._new_entry(name, lineage, entry)
                self._entries[key] = entry.raw
            elif known is not entry.raw and known != entry.raw:
                raise Violation(
                    "equivocation",
                    f"{name} sends a second entry {entry.view}/{entry.origin[:4].hex()}/{entry.seq}",
                )

    def _new_entry(self, name: str, lineage: bytes, entry: Entry) -> None:
        word = self._word(lineage, entry.view, entry.origin)
        covered = bisect_left(word.last_seq, entry.seq)
        if covered and entry.timestamp <= word.promised[covered - 1]:
            raise Violation(
                "promises",
                f"{name} sends entry {entry.view}/{entry.origin[:4].hex()}/{entry.seq} at {entry.timestamp}; "
                f"{word.promised[covered - 1]} was promised with {word.last_seq[covered - 1]} entries",
            )
        place = self._place_of(lineage, entry.view, entry.origin)
        if word.have is not None and place is not None and entry.seq > word.have[place]:
            raise Violation(
                "frozen", f"{entry.origin[:4].hex()} issued an entry in view {entry.view} after it froze"
            )

    def _promise(self, name: str, node_id: bytes, message: Promise) -> None:
        lineage, view, ballot, _, _, have, _, _ = message
        word = self._word(lineage, view, node_id)
        if ballot < word.ballot:
            raise Violation("ballots", f"{name} promises {ballot} in view {view} after {word.ballot}")
        word.ballot = ballot
        if word.have is None:
            word.have = have

    def _ballot_accepted(self, name: str, node_id: bytes, message: BallotAccepted) -> None:
        lineage, view, ballot = message
        word = self._word(lineage, view, node_id)
        if ballot < word.ballot:
            raise Violation(
                "ballots", f"{name} accepts {ballot} in view {view} after it promised {word.ballot}"
            )
        word.ballot = ballot
