"""Serving those who are not members, or were away: history by long poll, snapshots by pieces, view records.

Whatever a stranger asks costs a bounded amount: one outstanding question per peer, so many peers, so many
bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from dhtex.replication.core import NEVER, Core, Phase
from dhtex.replication.effects import Destination, ReadArchive
from dhtex.replication.messages import (
    ENTRIES_MAX,
    AskHistory,
    AskSnapshot,
    History,
    SnapshotOffer,
    SnapshotPiece,
    Views,
)
from dhtex.replication.values import DIGEST_SIZE, HistoryItem, OrderKey, Snapshot, View

VIEWS_BYTES_SENT = 32 * 1024
"""Bytes of view records in one answer; one has a few hundred."""
ANSWERS_KEPT = 1024
"""Peers whose last answer with view records is remembered, so that a flood of old messages costs little."""


@dataclass(frozen=True, slots=True)
class Poll:
    """A question for history that waits for an answer."""

    to: Destination
    after: OrderKey
    until: int


class Serving:
    """Answers `AskHistory`, `AskSnapshot`, `AskViews`.

    Attributes:
        deadline: when the first poll has waited long enough, monotonic.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._polls: dict[bytes, Poll] = {}
        self._reads: dict[int, tuple[bytes, Poll]] = {}
        self._last_request = 0
        self._answered: dict[bytes, int] = {}
        self._offers: dict[int, bytes] = {}  # position -> bytes of a snapshot, the newest two
        self._checksum: tuple[int, bytes] = (-1, b"")
        self.deadline = NEVER

    # -- history ---------------------------------------------------------------------------------------------

    def ask_history(self, node_id: bytes, to: Destination, request: AskHistory) -> None:
        """Answer now, or when there is something."""
        core = self._core
        if core.view is None or not core.history_durable:
            return
        if node_id not in self._polls and len(self._polls) >= core.config.observers_max:
            return
        until = core.now.monotonic + core.config.poll_hold
        self._polls[node_id] = Poll(to, request.after, until)
        self.deadline = min(self.deadline, until)
        self._answer(node_id)

    def answer_polls(self) -> None:
        """History has grown: answer everyone who waits for more of it."""
        for node_id in list(self._polls):
            self._answer(node_id)

    def _answer(self, node_id: bytes) -> None:
        core, poll = self._core, self._polls[node_id]
        ledger = core.ledger
        if poll.after >= ledger.key:
            return
        del self._polls[node_id]
        items = ledger.recent.after(poll.after, core.config.history_reply_bytes_max, ENTRIES_MAX)
        if items is not None:
            self._reply(poll, items)
        elif poll.after >= ledger.compacted:
            if len(self._reads) >= core.config.observers_max or self._is_reading(node_id):
                return
            self._last_request += 1
            self._reads[self._last_request] = (node_id, poll)
            read = ReadArchive(self._last_request, poll.after, core.config.history_reply_bytes_max)
            # The journal serves what it has a final mark for, and an idle group's newest mark is still here.
            core.outbox.flush_mark()
            core.outbox.once_durable(lambda: core.outbox.emit(read))
        else:
            self._offer(poll.to)

    def _is_reading(self, node_id: bytes) -> bool:
        return any(waiting == node_id for waiting, _ in self._reads.values())

    def archive(self, request: int, items: Sequence[HistoryItem] | None) -> None:
        """The journal's answer to a `ReadArchive`."""
        waiting = self._reads.pop(request, None)
        if waiting is None:
            return
        poll = waiting[1]
        if items is None:
            self._offer(poll.to)
        elif items:
            self._reply(poll, items[:ENTRIES_MAX])

    def _reply(self, poll: Poll, items: Sequence[HistoryItem]) -> None:
        core = self._core
        head, digest = core.ledger.position, core.ledger.digest
        core.send(poll.to, History(core.lineage, poll.after, tuple(items), head, digest))

    def release(self, leavers: Sequence[Destination]) -> None:
        """Tell those who left that the view without them is durable here: they wait for nothing else."""
        core, key = self._core, self._core.ledger.key

        def tell() -> None:
            for to in leavers:
                core.send(to, History(core.lineage, key, (), core.ledger.position, core.ledger.digest))

        if leavers:
            core.outbox.once_durable(tell)

    def tick(self) -> None:
        """Tell those who waited long enough that nothing happened."""
        now = self._core.now.monotonic
        if now < self.deadline:
            return
        for node_id, poll in list(self._polls.items()):
            if poll.until <= now:
                del self._polls[node_id]
                # Only a member of an open view may say that nothing is new: two peers that are both behind
                # would wait for each other forever. From others silence is the answer, and the asker moves on.
                if self._core.phase is Phase.ACTIVE and poll.after <= self._core.ledger.key:
                    self._reply(poll, ())
        self.deadline = min((poll.until for poll in self._polls.values()), default=NEVER)

    # -- snapshots -------------------------------------------------------------------------------------------

    def keep_snapshot(self, snapshot: Snapshot) -> None:
        """Offer *snapshot* from now on; the one before stays for those in the middle of it."""
        self._offers[snapshot.position] = snapshot.to_bytes()
        while len(self._offers) > 2:
            del self._offers[min(self._offers)]

    def _offer(self, to: Destination) -> None:
        if not self._offers:
            return
        position = max(self._offers)
        data = self._offers[position]
        if self._checksum[0] != position:
            self._checksum = (position, hashlib.blake2b(data, digest_size=DIGEST_SIZE).digest())
        self._core.send(to, SnapshotOffer(self._core.lineage, position, len(data), self._checksum[1]))

    def ask_snapshot(self, to: Destination, request: AskSnapshot) -> None:
        """Send one piece; or the offer of a newer snapshot, when that one is gone."""
        data = self._offers.get(request.position)
        if data is None:
            self._offer(to)
        elif request.offset < len(data):
            piece = data[request.offset : request.offset + self._core.config.piece_bytes]
            self._core.send(to, SnapshotPiece(self._core.lineage, request.position, request.offset, piece))

    # -- views -----------------------------------------------------------------------------------------------

    def send_views(self, node_id: bytes, to: Destination, number: int) -> None:
        """The view records after *number*, or only the newest when those are gone; not too often."""
        core = self._core
        if core.view is None or number >= core.view.number:
            return
        now = core.now.monotonic
        if now - self._answered.get(node_id, -NEVER) < core.config.resend_interval // 2:
            return
        if len(self._answered) > ANSWERS_KEPT:
            self._answered.clear()
        self._answered[node_id] = now
        core.send(to, Views(core.lineage, self._views_after(core.view, number)))

    def _views_after(self, newest: View, number: int) -> tuple[View, ...]:
        found: list[View] = []
        size = 0
        for n in range(number + 1, newest.number + 1):
            view = self._core.views.get(n)
            if view is None:
                break
            size += len(view.to_bytes())
            if found and size > VIEWS_BYTES_SENT:
                break
            found.append(view)
        return tuple(found) or (newest,)
