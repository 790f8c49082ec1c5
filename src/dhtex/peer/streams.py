"""One writer, any number of readers, each at its own pace and within bounds."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, Self, TypeVar

from dhtex.errors import FellBehind

T = TypeVar("T")

BACKLOG_MAX = 10_000
"""Items a reader may be behind; whoever needs more history than this reads the journal."""


class Subscription(Generic[T]):
    """What a stream carried since this was made; an async iterator.

    It never drops an item silently: a reader that falls more than the bound behind gets `FellBehind`
    instead of the next item, and may subscribe again. Leave an `async with` (or call `close`) to stop.
    """

    def __init__(self, stream: Stream[T], limit: int) -> None:
        self._stream = stream
        self._items: deque[T] = deque()
        self._limit = limit
        self._missed = 0
        self._open = True
        self._waiter: asyncio.Future[None] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while True:
            if self._items:
                return self._items.popleft()
            if self._missed:
                self.close()
                raise FellBehind(f"{self._missed} items came faster than they were read; subscribe again")
            if not self._open:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """No more items after those that wait. Idempotent."""
        self._open = False
        self._stream.forget(self)
        self._wake()

    def put(self, items: list[T]) -> None:
        """Called by the stream."""
        if self._missed or len(self._items) + len(items) > self._limit:
            self._missed += len(items)
        else:
            self._items.extend(items)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Stream(Generic[T]):
    """Gives every item to every subscription there is at that moment."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription[T]] = []
        self._open = True

    def __bool__(self) -> bool:
        """True while anybody listens, so that items need not be made for nobody."""
        return bool(self._subscriptions)

    def subscribe(self, limit: int = BACKLOG_MAX) -> Subscription[T]:
        """Everything from now on; a closed stream gives an empty subscription."""
        subscription = Subscription(self, limit)
        self._subscriptions.append(subscription)
        if not self._open:
            subscription.close()
        return subscription

    def forget(self, subscription: Subscription[T]) -> None:
        """Give *subscription* nothing more."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def publish(self, *items: T) -> None:
        """Hand *items* to everybody; never blocks."""
        batch = list(items)
        for subscription in list(self._subscriptions):
            subscription.put(batch)

    def close(self) -> None:
        """End every subscription once it has been read to its end. Idempotent."""
        self._open = False
        for subscription in list(self._subscriptions):
            subscription.close()
