"""When links get to send: at the end of the turn that gave them something to say, or when a time has come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dhtex.transport.address import Address
from dhtex.transport.link import Link

FLUSH_AFTER = 0.001  # seconds; a turn that takes longer does not hold back what it has said so far


class Pacer:
    """Drives the links of one endpoint with one call per turn and one timer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transmit: Callable[[bytes, Address], None]) -> None:
        self._loop = loop
        self._transmit = transmit
        self._awake: dict[Link, None] = {}
        self._awake_since = 0.0
        self._deadlines: dict[Link, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._gathering = False

    def __enter__(self) -> None:
        """What links get to say in the block leaves at its end, without waiting for the end of the turn."""
        self._gathering = True

    def __exit__(self, *_: object) -> None:
        self.flush()

    def wake(self, link: Link) -> None:
        """*link* may have something to send, or a new deadline."""
        now = self._loop.time()
        if not self._awake:
            self._awake_since = now
            if not self._gathering:
                self._loop.call_soon(self.flush)
        self._awake[link] = None
        if now - self._awake_since > FLUSH_AFTER:
            self.flush()

    def flush(self) -> None:
        """Send what the awake links have to send and their windows allow."""
        self._gathering = False
        if not self._awake:
            return
        awake, self._awake = self._awake, {}
        now = self._loop.time()
        for link in awake:
            for datagram, address in link.take(now):
                self._transmit(datagram, address)
            deadline = link.deadline
            if deadline is None:
                self._deadlines.pop(link, None)
            else:
                self._deadlines[link] = deadline
                self._arm(deadline)

    def close(self) -> None:
        """Forget every link and stop the timer."""
        self._awake.clear()
        self._deadlines.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, deadline: float) -> None:
        # A timer that fires too early finds nothing to do and is set anew: cheaper than moving it with every
        # datagram.
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._loop.time()
        for link in [link for link, deadline in self._deadlines.items() if deadline <= now]:
            link.on_timer(now)
            self._awake[link] = None
        self.flush()
        if self._deadlines:
            self._arm(min(self._deadlines.values()))
