"""What a journal is made of: something that keeps records, in a file or in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from dhtex.errors import StorageError
from dhtex.replication.records import Record
from dhtex.replication.values import HistoryItem, OrderKey, Snapshot


class Job(NamedTuple):
    """The records of one ticket.

    Attributes:
        size: bytes, roughly.
        urgent: False when nobody waits for it.
    """

    ticket: int
    records: Sequence[Record]
    size: int
    urgent: bool


class Listener(NamedTuple):
    """Who is told what; called in the event loop."""

    on_persisted: Callable[[int], None]
    on_full: Callable[[str], None]
    on_room: Callable[[], None]
    on_failed: Callable[[StorageError], None]


class Backend(Protocol):
    """Keeps records. Everything is called in the event loop, and nothing blocks it."""

    def start(self, listener: Listener, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to take jobs."""
        ...

    def put(self, job: Job) -> None:
        """Make *job* durable after all earlier ones, then tell the listener."""
        ...

    def settle(self) -> None:
        """Tell the listener now what is durable already, if anything is that it was not told."""
        ...

    async def read_archive(self, after: OrderKey, limit_bytes: int) -> list[HistoryItem] | None:
        """See `Journal.read_archive`."""
        ...

    async def read_snapshot(self) -> Snapshot | None:
        """See `Journal.read_snapshot`."""
        ...

    async def stop(self) -> None:
        """Finish what was put, as far as possible, and let go of everything."""
        ...
