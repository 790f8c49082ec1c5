"""How a client in asyncio keeps commands in flight at the least cost: one coroutine waits for the oldest of many."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol


class Answer(Awaitable[Any], Protocol):
    """What a submitted command comes to: a future, or something like it."""

    def done(self) -> bool:
        """True when it is known."""
        ...


async def latencies(submit: Callable[[], Awaitable[Answer]], in_flight: int, stop: float) -> list[float]:
    """Keep *in_flight* commands going until monotonic *stop*; seconds until the answer to each was known."""
    window: deque[tuple[float, Answer]] = deque()
    found: list[float] = []
    while True:
        while len(window) < in_flight and (begin := time.monotonic()) < stop:
            window.append((begin, await submit()))
        if not window:
            return found
        await window[0][1]
        now = time.monotonic()
        while window and window[0][1].done():
            found.append(now - window.popleft()[0])
