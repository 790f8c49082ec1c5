"""Events of a node for any number of readers, each with its own bounded queue."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Self

from dhtex.dht.face import DhtEvent

BACKLOG_MAX = 1_000


class EventStream:
    """One reader's async iterator; ends when the node closes."""

    def __init__(self, feed: EventFeed) -> None:
        self._feed = feed
        self._waiting: deque[DhtEvent] = deque(maxlen=BACKLOG_MAX)
        self._wake = asyncio.Event()
        self._closed = False

    def push(self, event: DhtEvent) -> None:
        """Queue *event*; the oldest goes when the reader is too far behind."""
        self._waiting.append(event)
        self._wake.set()

    def close(self) -> None:
        """End the iteration after what is queued."""
        self._closed = True
        self._wake.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> DhtEvent:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._waiting.popleft()

    async def aclose(self) -> None:
        """Stop listening."""
        self._feed.drop(self)
        self.close()


class EventFeed:
    """Hands events to every open stream."""

    def __init__(self) -> None:
        self._streams: list[EventStream] = []

    def open(self) -> EventStream:
        """A stream of what happens from now on."""
        stream = EventStream(self)
        self._streams.append(stream)
        return stream

    def drop(self, stream: EventStream) -> None:
        """Forget *stream*."""
        if stream in self._streams:
            self._streams.remove(stream)

    def tell(self, event: DhtEvent) -> None:
        """Hand *event* to every stream."""
        for stream in self._streams:
            stream.push(event)

    def close(self) -> None:
        """End every stream."""
        for stream in self._streams:
            stream.close()
        self._streams.clear()
