"""Messages longer than a datagram: cut into numbered pieces, put together again within bounds.

Source: `design: transport, Datagram`: memory per sender, count, 2 s.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dhtex.errors import MalformedMessage
from dhtex.transport.codec import Fragment
from dhtex.transport.limits import DATAGRAM_BYTES_MIN, MESSAGE_BYTES_MAX, MESSAGE_LIFE, Limits

FRAGMENT_OVERHEAD = 1 + 1 + 9 + 3 + 3 + 3  # array, kind, message, number, total, header of the bytes
DONE_MAX = 256  # whole messages remembered, so that a repeated piece does not start its message anew
PIECES_MAX = MESSAGE_BYTES_MAX // (
    DATAGRAM_BYTES_MIN // 2
)  # smaller pieces than any endpoint makes are refused


def split(message: int, frame: bytes, room: int) -> list[Fragment]:
    """Pieces of *frame* whose encoded fragments have at most *room* bytes each.

    Args:
        message: a number not used for another message to the same receiver in the last few seconds.
        room: at least 256 bytes.
    """
    size = room - FRAGMENT_OVERHEAD
    starts = range(0, len(frame), size)
    return [
        Fragment(message, number, len(starts), frame[start : start + size])
        for number, start in enumerate(starts)
    ]


@dataclass(slots=True)
class _Partial:
    total: int
    expires: float
    size: int = 0
    pieces: dict[int, bytes] = field(default_factory=dict)


class Reassembler:
    """Incomplete messages of one sender. Takes no more memory than `Limits` says, whatever arrives."""

    __slots__ = ("_done", "_limits", "_partials", "_size")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._partials: dict[int, _Partial] = {}
        self._done: dict[int, None] = {}
        self._size = 0

    def __len__(self) -> int:
        return len(self._partials)

    @property
    def size(self) -> int:
        """Bytes held."""
        return self._size

    def add(self, fragment: Fragment, now: float) -> bytes | None:
        """The whole message once its last piece is in, else None.

        Raises:
            MalformedMessage: the piece contradicts its siblings (`fragment`), or a bound is reached
                (`fragments`).
        """
        if fragment.message in self._done:
            return None
        partial = self._partials.get(fragment.message)
        if partial is None:
            if fragment.total > PIECES_MAX:
                raise MalformedMessage("fragment", "too many pieces")
            if len(self._partials) >= self._limits.fragment_messages:
                raise MalformedMessage("fragments", "too many incomplete messages")
            partial = self._partials[fragment.message] = _Partial(fragment.total, now + MESSAGE_LIFE)
        if partial.total != fragment.total:
            raise MalformedMessage("fragment", "pieces disagree on their number")
        if fragment.number in partial.pieces:
            return None
        if self._size + len(fragment.piece) > self._limits.fragment_bytes:
            raise MalformedMessage("fragments", "too many bytes of incomplete messages")
        if partial.size + len(fragment.piece) > MESSAGE_BYTES_MAX:
            self._forget(fragment.message)
            raise MalformedMessage("fragment", "message too long")
        partial.pieces[fragment.number] = fragment.piece
        partial.size += len(fragment.piece)
        self._size += len(fragment.piece)
        if len(partial.pieces) < partial.total:
            return None
        self._forget(fragment.message)
        if len(self._done) >= DONE_MAX:
            del self._done[next(iter(self._done))]
        self._done[fragment.message] = None
        return b"".join(partial.pieces[number] for number in range(partial.total))

    def expire(self, now: float) -> int:
        """Give up on messages that have waited for their last piece for too long; how many."""
        overdue = [message for message, partial in self._partials.items() if partial.expires <= now]
        for message in overdue:
            self._forget(message)
        return len(overdue)

    @property
    def deadline(self) -> float | None:
        """When the next message is given up on, if there is one."""
        if not self._partials:  # nearly always, and asked for with every datagram
            return None
        return min(partial.expires for partial in self._partials.values())

    def _forget(self, message: int) -> None:
        self._size -= self._partials.pop(message).size
