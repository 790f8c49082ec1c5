"""Which sequence numbers of a sender were received: no datagram counts twice.

Source: RFC 6479 (anti-replay without bit shifting windows' memory), RFC 9000, 13.2 for what is reported back.
"""

from __future__ import annotations

from dhtex.transport.codec import ACK_BITS_BYTES, Ack

WINDOW = 1024  # how far, in datagrams, one may be overtaken by others and still count
_MASK = (1 << WINDOW) - 1
_ACK_MASK = (1 << 8 * ACK_BITS_BYTES) - 1


class ReceiveWindow:
    """The highest number seen, and which of the `WINDOW` numbers up to it were.

    Starts at a *horizon*: everything up to it counts as seen. With numbers that start from the wall clock in
    microseconds, a horizon of "ten seconds ago" keeps out whatever was recorded earlier, also by a receiver
    that has just started and remembers nothing.
    """

    __slots__ = ("_bits", "highest")

    def __init__(self, horizon: int) -> None:
        self.highest = horizon
        self._bits = _MASK

    def is_stale(self, sequence: int) -> bool:
        """Too far behind to tell whether it was seen."""
        return self.highest - sequence >= WINDOW

    def is_new(self, sequence: int) -> bool:
        """Not seen, and not stale."""
        behind = self.highest - sequence
        return behind < 0 or (behind < WINDOW and not self._bits >> behind & 1)

    def mark(self, sequence: int) -> bool:
        """Note a number for which `is_new` is true. True when it is the highest so far."""
        behind = self.highest - sequence
        if behind > 0:
            self._bits |= 1 << behind
            return False
        self._bits = (self._bits << -behind | 1) & _MASK if -behind < WINDOW else 1
        self.highest = sequence
        return True

    def ack(self) -> Ack:
        """What to report to the sender."""
        return Ack(self.highest, self._bits & _ACK_MASK)
