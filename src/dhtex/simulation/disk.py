"""A disk that keeps real bytes, and knows which of them a crash may take.

A frame is what one `Persist` asked for: length, checksum, records. It is written when asked for and counts
only after a sync. A crash takes everything that was not synced, or leaves a torn piece of it, as the seed
decides; recovery reads frames up to the first one that is not whole, as any write-ahead log does.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from typing import Protocol

import msgpack

from dhtex.replication import DurableState, OrderKey
from dhtex.replication.effects import Persist
from dhtex.replication.records import Record, record_from_bytes, record_to_bytes
from dhtex.replication.values import HistoryItem
from dhtex.simulation.plan import MILLISECOND, DiskPlan

LAZY_AFTER = 40 * MILLISECOND
"""What is not urgent is synced after this long, unless something urgent takes it along."""


class DiskUser(Protocol):
    """What a disk tells the process that uses it."""

    def synced(self, ticket: int) -> None:
        """Everything up to *ticket* is durable."""
        ...

    def disk_full(self) -> None:
        """Nothing can be written for now."""
        ...

    def disk_ok(self) -> None:
        """There is room again."""
        ...


class Disk:
    """One peer's disk. It outlives the processes that use it.

    Attributes:
        full: nothing can be written.
        extra: every sync takes so much longer, microseconds.
        records: what is durable, in order.
    """

    def __init__(
        self,
        plan: DiskPlan,
        rng: random.Random,
        now: Callable[[], int],
        after: Callable[[int, Callable[[], None]], None],
        durable: Callable[[tuple[Record, ...]], None],
    ) -> None:
        """An empty disk.

        Args:
            now: true time.
            after: calls back after so many microseconds of true time.
            durable: is told of all records that became durable.
        """
        self.plan = plan
        self.full = False
        self.extra = 0
        self.records: list[Record] = []
        self.user: DiskUser | None = None
        self._rng = rng
        self._now = now
        self._after = after
        self._durable = durable
        self._bytes = bytearray()
        self._waiting: list[Persist] = []
        self._syncing: list[Persist] = []
        self._sync_ends = 0
        self._sync_number = 0  # a crash makes the end of an older sync meaningless
        self._lazy = False
        self._told_full = False
        self._archive: tuple[int, DurableState] | None = None

    def write(self, persist: Persist) -> None:
        """Take what is to be made durable; `DiskUser.synced` follows."""
        self._waiting.append(persist)
        if self._syncing:
            return
        if persist.urgent:
            self._sync()
        elif not self._lazy:
            self._lazy = True
            self._after(LAZY_AFTER, self._lazily)

    def set_full(self, full: bool) -> None:
        """Run out of room, or get some."""
        self.full = full
        if not full and self._told_full:
            self._told_full = False
            if self.user is not None:
                self.user.disk_ok()
        if not full and self._waiting and not self._syncing:
            self._sync()

    def set_extra(self, extra: int) -> None:
        """Every sync takes *extra* microseconds longer."""
        self.extra = extra

    def stalled(self, longest: int) -> bool:
        """True while a sync is under way that goes on for longer than *longest*."""
        return bool(self._syncing) and self._sync_ends > self._now() + longest

    def crash(self) -> None:
        """The process is gone; what was not synced is lost, or torn."""
        unsynced = b"".join([_frame(persist.records) for persist in self._syncing + self._waiting])
        if unsynced and not self.full and self._rng.random() < self.plan.survives:
            torn = bytearray(unsynced[: self._rng.randint(0, len(unsynced))])
            if torn and self._rng.random() < 0.2:
                torn[-1] ^= 0xFF
            self._bytes += torn
        self.user, self._waiting, self._syncing = None, [], []
        self._sync_number += 1
        self._told_full = False

    def close(self) -> None:
        """The process ended in order: everything is written, if there is room."""
        if not self.full:
            for persist in self._syncing + self._waiting:
                self._keep(persist)
            self._syncing, self._waiting = [], []
        self.crash()

    def wipe(self) -> None:
        """Everything is gone."""
        self.crash()
        self._bytes.clear()
        self.records = []
        self._archive = None

    def recover(self, node_id: bytes) -> DurableState:
        """Read everything back, leave out what is torn, and give what it reduces to."""
        records, good = _read(bytes(self._bytes))
        del self._bytes[good:]
        if len(records) > len(self.records):
            self._durable(tuple(records[len(self.records) :]))
        self.records = records
        self._archive = None
        return DurableState(node_id, records)

    def read_archive(self, node_id: bytes, after: OrderKey, limit_bytes: int) -> list[HistoryItem] | None:
        """History after *after*, as far as it is durable."""
        done, state = self._archive or (0, DurableState(node_id))
        for record in self.records[done:]:
            state.apply(record)
        self._archive = len(self.records), state
        return state.read_archive(after, limit_bytes)

    def _lazily(self) -> None:
        self._lazy = False
        if self._waiting and not self._syncing:
            self._sync()

    def _sync(self) -> None:
        if self.full:
            if self.user is not None and not self._told_full:
                self._told_full = True
                self.user.disk_full()
            return
        self._syncing, self._waiting = self._waiting, []
        self._sync_number += 1
        plan, rng = self.plan, self._rng
        lasts = plan.sync_low + int((plan.sync_high - plan.sync_low) * rng.random()) + self.extra
        if plan.stall_rate and rng.random() < plan.stall_rate:
            lasts += int(plan.stall * rng.random())
        number = self._sync_number
        self._sync_ends = self._now() + lasts
        self._after(lasts, lambda: self._synced(number))

    def _synced(self, number: int) -> None:
        if number != self._sync_number:
            return
        done, self._syncing = self._syncing, []
        for persist in done:
            self._keep(persist)
        if self._waiting:
            self._sync()
        if self.user is not None:
            self.user.synced(done[-1].ticket)

    def _keep(self, persist: Persist) -> None:
        self._bytes += _frame(persist.records)
        self.records += persist.records
        self._durable(persist.records)


def _frame(records: tuple[Record, ...]) -> bytes:
    payload: bytes = msgpack.packb([record_to_bytes(record) for record in records])
    return len(payload).to_bytes(4, "big") + zlib.crc32(payload).to_bytes(4, "big") + payload


def _read(data: bytes) -> tuple[list[Record], int]:
    """The records of all whole frames at the front, and where the first other byte is."""
    records: list[Record] = []
    at = 0
    while at + 8 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        payload = data[at + 8 : end]
        if end > len(data) or zlib.crc32(payload) != int.from_bytes(data[at + 4 : at + 8], "big"):
            break
        records += [record_from_bytes(record) for record in msgpack.unpackb(payload)]
        at = end
    return records, at
