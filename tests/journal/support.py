"""A journal with its callbacks recorded, and awaitable."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from dhtex.errors import StorageError
from dhtex.journal import Durability, Journal
from dhtex.replication.records import DurableState, Record
from journal.author import GROUP, ME


def open_journal(path: Path, durability: Durability = "os", market: bytes = b"") -> Journal:
    """The journal of ME in GROUP."""
    return Journal.open(
        path, identity_node_id=ME.node_id, group_id=GROUP, durability=durability, market=market
    )


class Recorder:
    """Listens to a journal.

    Attributes:
        persisted: every ticket reported, in order.
        full, room: how often each was said.
        failed: what failed, or None.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.persisted: list[int] = []
        self.full: list[str] = []
        self.room = 0
        self.failed: StorageError | None = None
        self._next_ticket = 1
        self._changed = asyncio.Event()
        journal.attach(
            on_persisted=self._on_persisted,
            on_full=self._on_full,
            on_room=self._on_room,
            on_failed=self._on_failed,
        )

    def write(self, records: Sequence[Record], *, urgent: bool = True) -> int:
        """Persist under the next ticket, and give it."""
        ticket = self._next_ticket
        self._next_ticket += 1
        self.journal.persist(ticket, records, urgent=urgent)
        return ticket

    @property
    def durable(self) -> int:
        """The newest ticket reported."""
        return self.persisted[-1] if self.persisted else 0

    async def until_durable(self, ticket: int) -> None:
        """Wait for *ticket*."""
        while self.durable < ticket:
            await self.change()

    async def change(self) -> None:
        """Wait for the next callback."""
        self._changed.clear()
        await self._changed.wait()

    def _on_persisted(self, ticket: int) -> None:
        self.persisted.append(ticket)
        self._changed.set()

    def _on_full(self, sentence: str) -> None:
        self.full.append(sentence)
        self._changed.set()

    def _on_room(self) -> None:
        self.room += 1
        self._changed.set()

    def _on_failed(self, error: StorageError) -> None:
        self.failed = error
        self._changed.set()


async def state_of(path: Path) -> DurableState:
    """What a peer that starts now would find."""
    async with open_journal(path) as journal:
        return journal.state
