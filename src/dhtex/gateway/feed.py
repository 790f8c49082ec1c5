"""What happens at the peer, turned into JSON once and handed to every reader of the stream, within bounds.

One pump a kind of news reads the peer's own stream. Each reader has an outbox of bounded size; a reader that does not
empty it in time is marked slow, and whoever serves it tells it so and closes. Nobody waits for a slow reader.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, TypeVar

from dhtex.errors import FellBehind
from dhtex.gateway.answers import dump
from dhtex.peer import BookChange, GroupEvent, Peer, Subscription, TradeReport
from dhtex.peer.fields import change_fields, event_fields, trade_fields

logger = logging.getLogger(__name__)

T = TypeVar("T")

TRADES_KEPT: Final = 1_000
"""Trades `GET /trades` can show; older ones are in the journal."""
OUTBOX_BYTES_MAX: Final = 1 << 20
"""What waits for one reader: some 5,000 trades, more than a reader that keeps up ever has."""
READERS_MAX: Final = 64
"""Readers at once: 64 MiB of outboxes at worst."""
_TURN_ITEMS: Final = 64
"""News told in one turn of the loop, so that readers that keep up can write between a burst's parts."""


class Reader:
    """One client of the stream.

    Attributes:
        slow: set when it fell behind; it gets nothing more.
    """

    def __init__(self, after: int) -> None:
        """Args:
        after: a position; news of the market up to it are not told, because the reader got a snapshot of it.
        """
        self.slow = asyncio.Event()
        self._after = after
        self._outbox: deque[str] = deque()
        self._size = 0
        self._open = True
        self._changed = asyncio.Event()

    def put(self, text: str, position: int | None) -> None:
        """Called by the feed."""
        if not self._open or (position is not None and position <= self._after):
            return
        if self._size + len(text) > OUTBOX_BYTES_MAX:
            self.fall_behind()
            return
        self._outbox.append(text)
        self._size += len(text)
        self._changed.set()

    def fall_behind(self) -> None:
        """It misses something from now on."""
        self.slow.set()
        self.close()

    def close(self) -> None:
        """Nothing more after what waits; after nothing when it is slow."""
        self._open = False
        self._changed.set()

    async def texts(self) -> AsyncIterator[str]:
        """What to send, until it is closed."""
        while True:
            while self._outbox and not self.slow.is_set():
                text = self._outbox.popleft()
                self._size -= len(text)
                yield text
            if not self._open:
                return
            self._changed.clear()
            await self._changed.wait()


class Feed:
    """The news of one peer.

    Attributes:
        trades: the last ones, oldest first, without a gap.
        trade_count: trades told since the start.
        slow_count: readers closed because they were slow.
    """

    def __init__(self, peer: Peer) -> None:
        self.trades: deque[TradeReport] = deque(maxlen=TRADES_KEPT)
        self.trade_count = 0
        self.slow_count = 0
        self._peer = peer
        self._readers: set[Reader] = set()
        self._pumps: list[asyncio.Task[None]] = []
        self._changes: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Readers now."""
        return len(self._readers)

    def start(self) -> None:
        """Read the peer's news from now on."""
        self._pumps = [
            asyncio.create_task(self._pump(self._peer.trades(), self._peer.trades, self._tell_trade)),
            asyncio.create_task(
                self._pump(self._peer.group_events(), self._peer.group_events, self._tell_event)
            ),
        ]

    async def close(self) -> None:
        """End every reader and read nothing more. Idempotent."""
        self._end_readers()
        pumps, self._pumps = [*self._pumps, *([self._changes] if self._changes else [])], []
        self._changes = None
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def reader(self) -> AsyncIterator[Reader]:
        """Everything from now on; the book of this moment is that of `peer.position()`."""
        reader = Reader(self._peer.position().number)
        self._readers.add(reader)
        if self._changes is None:  # the peer works out changes only while somebody wants them
            changes = self._peer.book_changes()
            self._changes = asyncio.create_task(
                self._pump(changes, self._peer.book_changes, self._tell_change)
            )
        try:
            yield reader
        finally:
            self._readers.discard(reader)
            self.slow_count += reader.slow.is_set()
            if not self._readers and self._changes is not None:
                pump, self._changes = self._changes, None
                pump.cancel()

    async def _pump(
        self, news: Subscription[T], again: Callable[[], Subscription[T]], tell: Callable[[T], None]
    ) -> None:
        while True:
            try:
                async with news:
                    told = 0
                    async for item in news:
                        tell(item)
                        told += 1
                        if told % _TURN_ITEMS == 0:
                            await asyncio.sleep(0)
                break
            except FellBehind as error:
                logger.warning("the gateway itself fell behind; readers of the stream begin anew: %s", error)
                self.trades.clear()
                for reader in self._readers:
                    reader.fall_behind()
                news = again()
        self._end_readers()  # the peer was closed

    def _end_readers(self) -> None:
        for reader in self._readers:
            reader.close()

    def _tell_trade(self, trade: TradeReport) -> None:
        self.trade_count += 1
        self.trades.append(trade)
        if self._readers:
            self.publish("trade", trade_fields(trade), trade.position)

    def _tell_change(self, change: BookChange) -> None:
        self.publish("book", change_fields(change), change.position)

    def _tell_event(self, event: GroupEvent) -> None:
        if self._readers:
            self.publish("group", event_fields(event))

    def publish(self, kind: str, fields: Mapping[str, Any], position: int | None = None) -> None:
        """Hand one piece of news to every reader.

        Args:
            position: in the total order, of news of the market.
        """
        text = dump({"type": kind, **fields})
        for reader in self._readers:
            reader.put(text, position)
