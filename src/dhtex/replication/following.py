"""Following the group from outside: one long poll for history at a time, and a snapshot by pieces when far
behind.

Observers, newcomers and evicted members live by this; so does a member whose view was closed while it was
away. The items it gets are final by the word of the peer it follows, entries still carry their origin's
signature, and the digest is compared with everyone's later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from dhtex.errors import MalformedMessage
from dhtex.replication.core import NEVER, Core, Phase, Wish
from dhtex.replication.effects import CatchUp, Destination
from dhtex.replication.messages import AskHistory, AskSnapshot, History, Join, SnapshotOffer, SnapshotPiece
from dhtex.replication.values import DIGEST_SIZE, NO_LINEAGE, HistoryItem, OrderKey, Snapshot


class Download:
    """A snapshot on its way."""

    def __init__(self, offer: SnapshotOffer, piece_bytes: int) -> None:
        self.offer = offer
        self.piece_bytes = piece_bytes
        self.pieces: dict[int, bytes] = {}
        self.asked: dict[int, int] = {}  # offset -> when, monotonic
        self._next = 0

    @property
    def done(self) -> int:
        """Bytes held."""
        return sum(len(piece) for piece in self.pieces.values())

    def to_ask(self, now: int, in_flight: int, again_after: int) -> list[int]:
        """Offsets to ask for now: lost ones again, and new ones up to *in_flight*."""
        offsets = [offset for offset, asked in self.asked.items() if now - asked >= again_after]
        while len(self.asked) < in_flight and self._next < self.offer.size:
            self.asked[self._next] = now
            offsets.append(self._next)
            self._next += self.piece_bytes
        for offset in offsets:
            self.asked[offset] = now
        return offsets

    def add(self, offset: int, piece: bytes) -> bool:
        """One piece; True when it was news and fits."""
        expected = min(self.piece_bytes, self.offer.size - offset)
        if offset not in self.asked or len(piece) != expected:
            return False
        del self.asked[offset]
        self.pieces[offset] = piece
        return True

    def data(self) -> bytes | None:
        """The whole, when it is complete."""
        if self.asked or self._next < self.offer.size:
            return None
        return b"".join(self.pieces[offset] for offset in sorted(self.pieces))


class Following:
    """The client side of `Serving`.

    Args:
        take_items: applies history items in order.
        take_snapshot: becomes a snapshot.

    Attributes:
        deadline: when to ask, ask again, or ask someone else, monotonic.
        contacts: whom the user told us to follow; trusted like members.
    """

    def __init__(
        self,
        core: Core,
        take_items: Callable[[Sequence[HistoryItem]], None],
        take_snapshot: Callable[[Snapshot], None],
    ) -> None:
        self._core = core
        self._take_items = take_items
        self._take_snapshot = take_snapshot
        self.contacts: tuple[Destination, ...] = ()
        self._target: Destination | None = None
        self._asked: OrderKey | None = None
        self._asked_of: set[bytes] = set()  # node keys: the answer may come from any of them
        self._asked_at = 0
        self._rotation = 0
        self._download: Download | None = None
        self._join_at = NEVER
        self._head = 0
        self._asked_to_join: tuple[int, int] = (0, -NEVER)  # in which view, and when last
        self._goes_at = NEVER
        self.deadline = NEVER

    def start(self, at: int | None = None) -> None:
        """Follow from now on, or from *at* (monotonic) on."""
        self._asked = None
        self._asked_of.clear()
        self._download = None
        now = self._core.now.monotonic
        self._goes_at = now + self._core.config.stalled_after
        self.deadline = now if at is None else at

    def nudge(self) -> None:
        """There is news: ask somebody else at once, unless a snapshot or an answer may be on its way."""
        now, config = self._core.now.monotonic, self._core.config
        asked_just_now = self._asked is not None and now - self._asked_at < 4 * config.resend_interval
        if self._download is None and self._core.phase is Phase.FOLLOWING and not asked_just_now:
            self.deadline = now
            self._asked_at = now - config.follow_timeout

    def stop(self) -> None:
        """A member of an open view needs no one to follow."""
        self._asked = None
        self._asked_of.clear()
        self._download = None
        self.deadline = self._join_at = NEVER

    def trusts(self, destination: Destination) -> bool:
        """True for a contact the user gave, or the peer that is being followed."""
        key = destination.public_key
        target = self._target
        return (target is not None and key == target.public_key) or any(
            key == c.public_key for c in self.contacts
        )

    def tick(self) -> None:
        """Ask, ask again, ask someone else."""
        core, now = self._core, self._core.now.monotonic
        if now < self.deadline:
            return
        if not self._follows:
            self.deadline = NEVER
            return
        if core.full:
            self.deadline = now + core.config.follow_timeout
            return
        if self._leaves and now >= self._goes_at:
            self.leave()
            return
        if now >= self._join_at:
            self._ask_to_join()
        if self._download is not None and now - self._asked_at < core.config.follow_timeout:
            self._ask_pieces(self._download)
        elif self._asked is None or now - self._asked_at >= core.config.follow_timeout:
            self._ask_next_target()
        self._rearm()

    def _ask_next_target(self) -> None:
        """Whoever was asked did not answer: the next one."""
        core = self._core
        candidates = list(self.contacts)
        if core.view is not None:
            candidates += core.destinations(core.view.members)
        candidates = [c for c in candidates if c.public_key != core.signer.public_key]
        self._download = None
        if candidates:
            self._target = candidates[self._rotation % len(candidates)]
            self._rotation += 1
        self._ask()

    def _ask(self) -> None:
        core = self._core
        if self._asked != core.ledger.key:
            self._asked = core.ledger.key
            self._asked_of.clear()
        self._asked_at = core.now.monotonic
        if self._target is not None:
            self._asked_of.add(self._target.public_key)
            core.send(self._target, AskHistory(core.lineage, self._asked, core.now.wall))

    def _rearm(self) -> None:
        now, config = self._core.now.monotonic, self._core.config
        again = self._asked_at + config.follow_timeout
        if self._download is not None:
            again = min(again, now + config.resend_interval)
        goes_at = self._goes_at if self._leaves else NEVER
        self.deadline = max(min(again, self._join_at, goes_at), now + 1)

    # -- answers ---------------------------------------------------------------------------------------------

    def awaits(self, sender: Destination, answer: History) -> bool:
        """True when *answer* is what was asked for; anything else is old, or from a stranger.

        Whoever was asked first may be slower than the patience with it: then its answer counts all the same.
        """
        return self._was_asked(sender) and answer.after == self._asked

    def history(self, sender: Destination, answer: History) -> None:
        """What comes after what was asked for."""
        core = self._core
        if not self.awaits(sender, answer):
            return
        if core.lineage == NO_LINEAGE:
            if answer.lineage == NO_LINEAGE:
                return
            core.set_lineage(answer.lineage)
        self._target = sender  # it answers, so it is asked next
        before = core.ledger.key
        self._head = answer.head
        self._take_items(answer.items)
        if not self._follows:
            return
        if answer.items:
            core.outbox.emit(
                CatchUp(core.ledger.position, max(answer.head, core.ledger.position), "commands")
            )
        if answer.items and core.ledger.key == before:
            # Nothing of it could be used: the sender is of no help, another one may be.
            self._asked_at = core.now.monotonic - core.config.follow_timeout + core.config.resend_interval
        else:
            self._ask()
        self._maybe_join()
        self._rearm()

    def offer(self, sender: Destination, offer: SnapshotOffer) -> None:
        """History that far back is gone: fetch a snapshot first."""
        core = self._core
        expected = self._was_asked(sender) if self._download is None else self._is_answer(sender)
        if not expected or not 0 < offer.size <= core.config.snapshot_bytes_max:
            return
        if core.lineage == NO_LINEAGE:
            if offer.lineage == NO_LINEAGE:
                return
            core.set_lineage(offer.lineage)
        if self._download is not None and self._download.offer == offer:
            return
        self._target = sender
        self._download = Download(offer, core.config.piece_bytes)
        self._asked_at = core.now.monotonic
        self._ask_pieces(self._download)
        self._rearm()

    def piece(self, sender: Destination, answer: SnapshotPiece) -> None:
        """One piece; the last one makes the snapshot, if the checksum agrees."""
        download = self._download
        if download is None or not self._is_answer(sender) or answer.position != download.offer.position:
            return
        if not download.add(answer.offset, answer.piece):
            return
        core = self._core
        self._asked_at = core.now.monotonic
        core.outbox.emit(CatchUp(download.done, download.offer.size, "bytes"))
        data = download.data()
        if data is None:
            self._ask_pieces(download)
        else:
            self._download = None
            self._complete(download, data)
        self._rearm()

    def _complete(self, download: Download, data: bytes) -> None:
        core = self._core
        if hashlib.blake2b(data, digest_size=DIGEST_SIZE).digest() == download.offer.checksum:
            try:
                snapshot = Snapshot.from_bytes(data)
            except MalformedMessage:
                snapshot = None
            if snapshot is not None and snapshot.lineage == core.lineage and snapshot.key > core.ledger.key:
                self._take_snapshot(snapshot)
                if core.phase is Phase.FOLLOWING:
                    self._ask()
                return
        self._ask_next_target()

    def _ask_pieces(self, download: Download) -> None:
        core, config = self._core, self._core.config
        if self._target is None:
            return
        for offset in download.to_ask(
            core.now.monotonic, config.pieces_in_flight, config.resend_interval * 4
        ):
            core.send(self._target, AskSnapshot(core.lineage, download.offer.position, offset))

    def _is_answer(self, sender: Destination) -> bool:
        target = self._target
        return target is not None and sender.public_key == target.public_key and self._follows

    def _was_asked(self, sender: Destination) -> bool:
        return sender.public_key in self._asked_of and self._download is None and self._follows

    @property
    def _follows(self) -> bool:
        return self._core.phase in {Phase.FOLLOWING, Phase.INSTALLING}

    # -- leaving ---------------------------------------------------------------------------------------------

    @property
    def _leaves(self) -> bool:
        """True for one that left the view by its own wish and waits to hear that the others know.

        Until then they may need it: it may have been the only one to learn the decision, and part of every
        majority that could make it again. True, too, for one that asked to join and would rather not have.
        """
        return self._core.wish is Wish.LEAVE and self._core.phase is Phase.FOLLOWING

    def releases(self, node_id: bytes, answer: History) -> bool:
        """True when *answer*, asked for or not, shows that a member of the view that was left for has it."""
        view = self._core.view
        return (
            self._leaves
            and not self.may_be_let_in
            and view is not None
            and node_id in view.index
            and answer.lineage == self._core.lineage
            and answer.after >= view.key
        )

    def leave(self) -> None:
        """The others know: go."""
        self._core.enter(Phase.LEFT)
        self.stop()

    @property
    def may_be_let_in(self) -> bool:
        """True while a request to join may still be answered by a view that lists this peer, and waits for it."""
        core, (view, at) = self._core, self._asked_to_join
        return (
            core.view is not None and core.view.number == view and core.now.monotonic < self._forgotten_at(at)
        )

    def _forgotten_at(self, asked_at: int) -> int:
        """Nobody remembers a request any more, and a ballot for it is over, unless it had to be given more time because
        disks or ways are slow.
        """
        return asked_at + self._core.config.joiner_memory + self._core.config.ballot_timeout

    def leave_unless_let_in(self) -> None:
        """Go when the request to join is forgotten; if it is granted before, leave as members do."""
        self._goes_at = self._forgotten_at(self._asked_to_join[1])
        self._join_at = NEVER
        self._rearm()

    # -- joining ---------------------------------------------------------------------------------------------

    def _maybe_join(self) -> None:
        """Near the head: ask to be a member, so that nobody waits for a download (`design: Joining`)."""
        core = self._core
        near = self._head - core.ledger.position <= core.config.join_within
        wants = core.phase is Phase.FOLLOWING and core.wish is Wish.MEMBER and core.view is not None
        if not (near and wants and core.incarnation_durable):
            self._join_at = NEVER
        elif self._join_at == NEVER:
            self._join_at = core.now.monotonic

    def _ask_to_join(self) -> None:
        core = self._core
        self._join_at = core.now.monotonic + 4 * core.config.resend_interval
        if core.view is not None:
            self._asked_to_join = (core.view.number, core.now.monotonic)
            core.others = core.destinations(core.view.members)
            core.broadcast(
                Join(core.lineage, core.view.number, core.myself(), core.now.wall, core.ledger.position)
            )
