"""Datagrams on their way: delayed, lost, doubled, overtaken, altered, cut off. The bytes are the real ones.

A message to several peers is encoded once and decoded once: the bytes are the same, and so is the value.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable

from dhtex.errors import MalformedMessage
from dhtex.replication.messages import Entries, Message, decode, encode
from dhtex.simulation.checks import Violation
from dhtex.simulation.plan import NetworkPlan
from dhtex.transport.codec import FrameEncoder, Notification, decode_message

Datagram = list[tuple[bytes, Message]]
"""Frames and what they say."""


class Codec:
    """The real way from a message to bytes and back."""

    def __init__(self) -> None:
        self._encoder = FrameEncoder()

    def encode(self, message: Message) -> bytes:
        """One frame.

        Raises:
            Violation: the message is longer than any frame may be.
        """
        tag, params = encode(message)
        try:
            return self._encoder.notification(tag, params)
        except ValueError as error:
            raise Violation("message-bound", f"{type(message).__name__}: {error}") from None

    @staticmethod
    def decode(frame: bytes) -> Message:
        """The message in *frame*.

        Raises:
            MalformedMessage: there is none.
        """
        notification = decode_message(frame)
        if not isinstance(notification, Notification):
            raise MalformedMessage("type", "not a notification")
        return decode(notification.tag, notification.params)


class Network:
    """All links.

    Attributes:
        plan: how they behave; may be replaced at any time.
    """

    def __init__(
        self,
        plan: NetworkPlan,
        rng: random.Random,
        schedule: Callable[
            [int, Callable[[tuple[int, int, Datagram]], None], tuple[int, int, Datagram]], None
        ],
        deliver: Callable[[int, int, list[Message]], None],
    ) -> None:
        """Links over *schedule*, which calls back after microseconds, to *deliver* (to, from, messages)."""
        self.plan = plan
        self._rng = rng
        self._schedule = schedule
        self._deliver = deliver
        self._cut: Counter[tuple[int, int]] = Counter()

    def cut(self, links: Iterable[tuple[int, int]]) -> None:
        """Lose everything on these links until `mend` was called as often."""
        self._cut.update(links)

    def mend(self, links: Iterable[tuple[int, int]]) -> None:
        """Undo one `cut`."""
        self._cut.subtract(links)

    def mend_all(self) -> None:
        """No link is cut."""
        self._cut.clear()

    def send(self, source: int, target: int, datagram: Datagram) -> None:
        """One datagram leaves."""
        plan, rng = self.plan, self._rng
        if self._cut and self._cut[source, target] > 0:
            return
        if plan.loss and rng.random() < plan.loss:
            return
        copies = 2 if plan.duplicate and rng.random() < plan.duplicate else 1
        while copies:
            copies -= 1
            delay = plan.delay_low + int((plan.delay_high - plan.delay_low) * rng.random())
            if plan.tail_rate and rng.random() < plan.tail_rate:
                delay += int(plan.tail * rng.random())
            self._schedule(delay, self._arrive, (source, target, datagram))

    def _arrive(self, letter: tuple[int, int, Datagram]) -> None:
        source, target, datagram = letter
        corrupt = self.plan.corrupt
        if corrupt and self._rng.random() < corrupt:
            messages = self._altered(datagram)
        else:
            messages = [message for _, message in datagram]
        if messages:
            self._deliver(target, source, messages)

    def _altered(self, datagram: Datagram) -> list[Message]:
        """A box keeps an outsider from altering anything; what a relay serves again must protect itself."""
        messages: list[Message] = []
        for frame, original in datagram:
            altered = bytearray(frame)
            for _ in range(self._rng.choice((1, 1, 2, 8))):
                altered[self._rng.randrange(len(altered))] ^= 1 << self._rng.randrange(8)
            if self._rng.random() < 0.2:
                del altered[self._rng.randrange(len(altered)) :]
            try:
                message = Codec.decode(bytes(altered))
            except MalformedMessage:
                continue
            if isinstance(message, Entries) and message.lineage == original.lineage:
                messages.append(message)
        return messages
