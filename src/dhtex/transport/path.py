"""Where a peer is reached, and whether anybody there has shown that it hears us.

A box proves who made it, not where it came from: the source of a datagram can be forged, and a short question would
then have a long answer sent to somebody who never asked. So an address that a datagram brought is *doubted* until
something sent there is acknowledged. Until then only short pings go there, no more than three times the bytes that came
from there, and after that one every three seconds while there is something to say.

Source: RFC 9000, 8.1 and 8.2 (address validation). A ping must not be acknowledged by one who has not seen it, so our
numbers leap by a random amount when doubt begins.
"""

from __future__ import annotations

from dhtex.transport.address import Address

AMPLIFICATION_MAX = 3  # bytes sent to a doubted address, for each byte that came from it (RFC 9000, 8.1)
# A report covers 128 numbers, so guessing one takes some 120 KB on average: more than the first window it would free.
LEAP_BITS = 20
PING_EVERY = 0.2  # seconds; one may be lost
# Seconds more when those bytes are used up: two members that lost every ping must meet again.
SPENT_PAUSE = 3.0


class Path:
    """The way to one peer.

    Attributes:
        address: where it was last heard, or is said to be.
        is_doubted: nobody there has acknowledged anything yet.
    """

    __slots__ = ("_above", "_credit", "_ping_at", "address", "is_doubted")

    def __init__(self) -> None:
        self.address: Address | None = None
        self.is_doubted = False
        self._above = 0
        self._credit = 0
        self._ping_at = 0.0

    def trust(self, address: Address) -> None:
        """We have it from somebody else than who sent a datagram: our own look-up, or a view."""
        self.address = address
        self.is_doubted = False

    def doubt(self, address: Address, above: int, now: float) -> None:
        """A datagram came from a new address; an acknowledgement of a number beyond *above* will prove it."""
        self.address = address
        self.is_doubted = True
        self._above = above
        self._credit = 0
        self._ping_at = now

    def heard(self, source: Address, octets: int) -> None:
        """So many bytes came from *source*."""
        if self.is_doubted and source == self.address:
            self._credit += AMPLIFICATION_MAX * octets

    def acknowledged(self, number: int) -> None:
        """What was sent under *number* arrived."""
        if number > self._above:
            self.is_doubted = False

    def ping_at(self, octets: int) -> float:
        """When a ping of *octets* may be sent."""
        return self._ping_at if octets <= self._credit else self._ping_at + SPENT_PAUSE

    def pinged(self, octets: int, now: float) -> None:
        """A ping was sent."""
        self._credit -= octets
        self._ping_at = now + PING_EVERY
