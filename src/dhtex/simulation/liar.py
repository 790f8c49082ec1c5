"""A member that lies: it signs two entries for every place in its log and gives each to a part of the others.

It runs the honest replica; what it sends is turned on its way out, the same way every time, so that each of the
others sees a consistent member. Beyond that it keeps the rules, which makes it hard to find out.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from dhtex.identity import Signer
from dhtex.replication.messages import Entries, Message
from dhtex.replication.values import Entry, array_header, signing_context

LATER: Final = 3_000
"""Microseconds between the timestamps of the two: another's entry may come between."""


class TwoFaces:
    """Turns what is said to a part of the peers.

    Args:
        deceived: places of the peers that are told the second of the two.
        since: (view, seq) of the last entry of which there is only one.
    """

    def __init__(
        self, signer: Signer, group_id: bytes, deceived: Collection[int], since: tuple[int, int]
    ) -> None:
        self._signer = signer
        self._group_id = group_id
        self._deceived = deceived
        self._since = since

    def turned(self, target: int, message: Message) -> Message:
        """What the peer at *target* is told instead of *message*."""
        if target not in self._deceived or not isinstance(message, Entries):
            return message
        entries = tuple(self._twin(entry, message.lineage) for entry in message.entries)
        return Entries(message.lineage, entries)

    def _twin(self, entry: Entry, lineage: bytes) -> Entry:
        if entry.origin != self._signer.node_id or (entry.view, entry.seq) <= self._since:
            return entry
        return Entry.sign(
            self._signer,
            signing_context(self._group_id, lineage),
            view=entry.view,
            seq=entry.seq,
            timestamp=entry.timestamp + LATER,
            first_n=entry.first_n,
            count=entry.count,
            commands=array_header(entry.count) + bytes(entry.count),
        )
