"""One peer in one group, as seen from here: what is queued for it, under way to it, heard of it. Sans-IO.

Every box carries a number that rises by one per datagram, drawn from one series per link that starts at the
wall clock in microseconds. The series serves three ends: a number never counts twice (`replay`), gaps in it
are losses (`congestion`), and requests take their ids from it, so ids rise over restarts too.

**Behind.** A peer that restarts with its clock set back, or whose clock is slower than ours by more than
`HORIZON`, draws numbers we have passed. Its datagrams open but are stale; we drop them and answer, at most
once a second, with a boxed RESYNC that names the highest number we know. It goes on above that. Repeating old
datagrams from elsewhere provokes the same answer, which its true owner ignores: he is ahead of it.

**Address.** Where a peer is reached follows the datagram with the highest number so far. A recorded one
cannot move it: its number was used. Nothing but pings goes to a new address until one is acknowledged, see `path`.
A ping is a RESYNC that tells nothing new.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from typing import NamedTuple, NoReturn

from dhtex.errors import MalformedMessage
from dhtex.identity import NodeId, PublicKey, short_id
from dhtex.transport.address import Address
from dhtex.transport.codec import (
    ACK_SIZE,
    FRAMES_HEADER_SIZE,
    RESYNC_SIZE,
    Ack,
    Fragment,
    FrameEncoder,
    Notification,
    Request,
    Response,
    Resync,
    decode_frames,
    decode_message,
    join_frames,
)
from dhtex.transport.congestion import Flight
from dhtex.transport.datagram import BOX_OVERHEAD, HEADER_SIZE
from dhtex.transport.fragments import Reassembler, split
from dhtex.transport.limits import MESSAGE_LIFE, Limits, TokenBucket
from dhtex.transport.path import LEAP_BITS, Path
from dhtex.transport.replay import WINDOW, ReceiveWindow
from dhtex.transport.rpc import Answers, Calls
from dhtex.transport.secure import NONCE_SIZE, SEQUENCE_SIZE, Boxes

HORIZON = 10_000_000  # microseconds; to a receiver that just started, what a peer said earlier is no news
NUMBER_MAX = 1 << 62  # 146,000 years of microseconds; room above it, so that counting on never overflows
RESYNC_INTERVAL = 1.0
ACK_EVERY = 8  # datagrams; an acknowledgement reports on 128
ACK_DELAY = 0.005  # seconds; what is said within that time carries the acknowledgement for free
ACK_PAUSE = (
    0.0025  # seconds from one that rides to the next: in every datagram they would cost as much as messages
)
PING_BYTES = BOX_OVERHEAD + FRAMES_HEADER_SIZE + RESYNC_SIZE + ACK_SIZE
ADDRESS_TRUST = 3.0  # seconds for which an address proved by a box outweighs hearsay

Message = Request | Response | Notification


class Outgoing(NamedTuple):
    """An encoded frame that waits to be sent, or was sent and may be wanted again."""

    frame: bytes
    expires: float
    again: bool  # when lost: a fragment, without which its siblings are worthless


class Link:
    """See the module. All times are seconds on one monotonic clock."""

    def __init__(
        self,
        *,
        public_key: PublicKey,
        node_id: NodeId,
        boxes: Boxes,
        header: bytes,
        encoder: FrameEncoder,
        datagram_bytes: int,
        limits: Limits,
        rng: random.Random,
        counters: Counter[str],
        now: float,
        wall: int,
    ) -> None:
        """A link nothing was heard of yet.

        Args:
            header: the 54 bytes in front of each box.
            wall: microseconds since the Unix epoch.
        """
        self.public_key = public_key
        self.node_id = node_id
        self.path = Path()
        self.heard_at: float | None = None
        self.is_proved = False  # a box of the other side opened: it holds the key
        self.calls = Calls(rng)
        self.answers = Answers(limits)
        self.flight: Flight[list[Outgoing]] = Flight(datagram_bytes, limits.window_max)
        self._boxes = boxes
        self._header = header
        self._encoder = encoder
        self._limits = limits
        self._random = rng
        self._counters = counters
        self._room = datagram_bytes - BOX_OVERHEAD - FRAMES_HEADER_SIZE - ACK_SIZE
        self._number = wall
        self._queue: deque[Outgoing] = deque()
        self._queued = 0
        self._received = ReceiveWindow(wall - HORIZON)
        self._reassembler = Reassembler(limits)
        self._owed = 0
        self._ack_at: float | None = None
        self._ride_at = now
        self._resync_to: Address | None = None
        self._resync_after = now
        self.is_member = False
        self.set_member(False, now)

    def __repr__(self) -> str:
        return f"<Link to {short_id(self.node_id)} at {self.address}>"

    def set_member(self, is_member: bool, now: float) -> None:
        """Give the link the budget of a member or of a stranger."""
        self.is_member = is_member
        self.budget = budget = self._limits.member if is_member else self._limits.stranger
        self._datagram_bucket = TokenBucket(budget.datagrams, 2 * budget.datagrams, now)
        self._octet_bucket = TokenBucket(budget.octets, 2 * budget.octets, now)

    def set_address(self, address: Address, now: float) -> None:
        """Hearsay about where the peer is; does not outweigh what a box proved a moment ago."""
        quiet = self.heard_at is None or now - self.heard_at > ADDRESS_TRUST
        if quiet and address != self.address:  # a doubted one may be said by whoever forged it
            self.path.trust(address)

    @property
    def address(self) -> Address | None:
        """Where it was last heard, or is said to be."""
        return self.path.address

    # Sending

    @property
    def backlog(self) -> int:
        """Bytes that wait for the window."""
        return self._queued

    def next_number(self) -> int:
        """A number never used on this link: of a datagram or of a request."""
        self._number += 1
        return self._number

    def send(self, frame: bytes, now: float) -> None:
        """Queue an encoded frame, in pieces if it is long; dropped and counted when too much waits."""
        if self._queued + len(frame) > self.budget.queued:
            self._counters["unsent_backlog"] += 1
            return
        expires = now + MESSAGE_LIFE
        if len(frame) <= self._room:
            self._enqueue(Outgoing(frame, expires, again=False))
            return
        for fragment in split(self.next_number(), frame, self._room):
            self._enqueue(Outgoing(self._encoder.fragment(fragment), expires, again=True))

    def take(self, now: float) -> list[tuple[bytes, Address]]:
        """The datagrams to send now, and where to."""
        datagrams: list[tuple[bytes, Address]] = []
        if self._resync_to is not None:
            resync = self._encoder.resync(Resync(self._received.highest))
            datagrams.append((self._seal([resync])[1], self._resync_to))
            self._resync_to = None
        if self.address is None:
            return datagrams
        if self.path.is_doubted:
            self._drop_expired(now)
            ping_at = self._next_ping()
            if ping_at is not None and ping_at <= now:
                datagrams.append((self._ping(now), self.address))
            return datagrams
        while self._queue and self.flight.has_room:
            frames, again = self._fill(now)
            if not frames:
                break
            number, datagram = self._seal(frames)
            self.flight.sent(number, len(datagram), now, again)
            datagrams.append((datagram, self.address))
        if self._ack_at is not None and self._ack_at <= now:
            datagrams.append((self._seal([self._take_ack(now)])[1], self.address))
        return datagrams

    def _next_ping(self) -> float | None:
        """When a doubted address is asked whether anybody hears us there, if anything is to be said there."""
        wanted_at = 0.0 if self._queue else self._ack_at
        return None if wanted_at is None else max(wanted_at, self.path.ping_at(PING_BYTES))

    def _ping(self, now: float) -> bytes:
        frames = [self._encoder.resync(Resync(self._received.highest))]
        if self._owed:
            frames.append(self._take_ack(now))
        number, datagram = self._seal(frames)
        self.path.pinged(PING_BYTES, now)
        self.flight.sent(number, len(datagram), now, [])
        return datagram

    def _drop_expired(self, now: float) -> None:
        while self._queue and self._queue[0].expires <= now:
            self._queued -= len(self._queue.popleft().frame)
            self._counters["unsent_expired"] += 1

    def _fill(self, now: float) -> tuple[list[bytes], list[Outgoing]]:
        """Frames for one datagram, and those of them that are wanted again when it is lost."""
        frames: list[bytes] = []
        again: list[Outgoing] = []
        room = self._room
        while self._queue and len(self._queue[0].frame) <= room:
            outgoing = self._queue.popleft()
            self._queued -= len(outgoing.frame)
            if outgoing.expires <= now:
                self._counters["unsent_expired"] += 1
                continue
            room -= len(outgoing.frame)
            frames.append(outgoing.frame)
            if outgoing.again:
                again.append(outgoing)
        if frames and self._owed and (self._owed >= ACK_EVERY // 2 or now >= self._ride_at):
            frames.append(self._take_ack(now))
        return frames, again

    def _take_ack(self, now: float) -> bytes:
        self._owed = 0
        self._ack_at = None
        self._ride_at = now + ACK_PAUSE
        return self._encoder.ack(self._received.ack())

    def _seal(self, frames: list[bytes]) -> tuple[int, bytes]:
        number = self.next_number()
        return number, self._header + self._boxes.seal(number, join_frames(frames))

    def _enqueue(self, outgoing: Outgoing) -> None:
        self._queue.append(outgoing)
        self._queued += len(outgoing.frame)

    # Receiving

    def receive(self, body: bytes, source: Address, now: float) -> list[Message]:
        """What a box says.

        Args:
            body: the datagram without its header.
        Raises:
            MalformedMessage: it is dropped; nothing but counters changed, unless it is `stale`.
        """
        nonce, box = body[:NONCE_SIZE], body[NONCE_SIZE:]
        number = int.from_bytes(nonce[:SEQUENCE_SIZE], "big")
        if not self._received.is_new(number):
            self._refuse_old(number, nonce, box, source, now)
        if number >= NUMBER_MAX:
            raise MalformedMessage("sequence")
        plaintext = self._boxes.open(nonce, box)
        self.is_proved = True
        if not self._datagram_bucket.take(1, now) or not self._octet_bucket.take(len(body), now):
            raise MalformedMessage("budget")
        frames = decode_frames(plaintext)
        self.heard_at = now
        if self._received.mark(number) and source != self.address:
            self._number += 1 + self._random.getrandbits(LEAP_BITS)
            self.path.doubt(source, self._number, now)
        self.path.heard(source, HEADER_SIZE + len(body))
        messages: list[Message] = []
        eliciting = False
        for frame in frames:
            if isinstance(frame, Ack):
                arrived = self.flight.acked(frame, now)
                if arrived is not None:
                    self.path.acknowledged(arrived)
            elif isinstance(frame, Resync):
                self._catch_up(frame.highest)
                self._owed += 1
                self._ack_at = self._ride_at = now
            else:
                eliciting = True
                message = self._reassemble(frame, now) if isinstance(frame, Fragment) else frame
                if message is not None:
                    messages.append(message)
        if eliciting:
            self._owe_ack(now)
        return messages

    def _refuse_old(self, number: int, nonce: bytes, box: bytes, source: Address, now: float) -> NoReturn:
        if not self._received.is_stale(number):
            raise MalformedMessage("replay")
        if now >= self._resync_after:
            self._boxes.open(nonce, box)
            self.is_proved = True
            self._resync_after = now + RESYNC_INTERVAL
            self._resync_to = source
        raise MalformedMessage("stale")

    def _catch_up(self, highest: int) -> None:
        if self._number < highest < NUMBER_MAX - WINDOW - (1 << LEAP_BITS):
            # By a random amount, too: whoever names the number must not acknowledge, unseen, what is sent after it.
            self._number = highest + WINDOW + self._random.getrandbits(LEAP_BITS)
            self.flight.forget()
            self._counters["resynced"] += 1

    def _reassemble(self, fragment: Fragment, now: float) -> Message | None:
        # Memory only for those the group trusts, and for those who were asked for something.
        if not self.is_member and not self.calls:
            self._counters["dropped_stranger"] += 1
            return None
        try:
            whole = self._reassembler.add(fragment, now)
            return None if whole is None else decode_message(whole)
        except MalformedMessage as error:
            self._counters[f"dropped_{error.reason}"] += 1
            return None

    def _owe_ack(self, now: float) -> None:
        self._owed += 1
        if self._owed >= ACK_EVERY:
            self._ack_at = now
        elif self._ack_at is None:
            self._ack_at = now + ACK_DELAY

    # Time

    @property
    def deadline(self) -> float | None:
        """When `on_timer` or `take` next has something to do, if ever."""
        if not self.path.is_doubted:
            speak_at, expires = self._ack_at, None
        else:
            speak_at, expires = self._next_ping(), self._queue[0].expires if self._queue else None
        first: float | None = None
        for deadline in (
            speak_at,
            expires,
            self.flight.deadline,
            self._reassembler.deadline,
            self.calls.deadline,
        ):
            if deadline is not None and (first is None or deadline < first):
                first = deadline
        return first

    def on_timer(self, now: float) -> None:
        """Give up on what is overdue, queue what is to be sent again."""
        for lost in reversed(self.flight.take_lost(now)):
            self._counters["datagrams_lost"] += 1
            for outgoing in reversed(lost):
                if outgoing.expires > now:
                    self._queue.appendleft(outgoing)
                    self._queued += len(outgoing.frame)
        expired = self._reassembler.expire(now)
        if expired:
            self._counters["messages_incomplete"] += expired
        for frame in self.calls.take_due(now):
            if not self._queue:  # else its first copy may still wait there
                self.send(frame, now)
                self._counters["requests_repeated"] += 1
