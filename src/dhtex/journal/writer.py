"""One thread that writes: whatever has gathered while it was busy goes into the next transaction.

The event loop hears of every commit once, however many tickets it made durable.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from dhtex.errors import StorageError
from dhtex.journal.backend import Job, Listener
from dhtex.journal.failures import is_no_room, no_room
from dhtex.journal.store import Store

logger = logging.getLogger(__name__)

BATCH_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of one transaction: one that needs more room than there is must not hold up smaller ones."""
LAZY_S: Final = 0.05
"""How long records that nobody waits for may wait for company."""
RETRY_S_MIN: Final = 0.1
RETRY_S_MAX: Final = 2.0
"""How often a full disk is tried again: soon at first, then less often."""


class Writer:
    """Owns the store and the thread. `put` and `stop` are called in the event loop."""

    def __init__(self, store: Store, path: Path, listener: Listener, loop: asyncio.AbstractEventLoop) -> None:
        self._store = store
        self._path = path
        self._listener = listener
        self._loop = loop
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._stopped: asyncio.Future[None] = loop.create_future()
        self._thread = threading.Thread(target=self._run, name="dhtex journal writer", daemon=True)
        self._thread.start()

    def put(self, job: Job) -> None:
        """Make *job* durable after all earlier ones. Never blocks."""
        self._jobs.put(job)

    async def stop(self) -> None:
        """Write what is queued, as far as there is room, close the store and end the thread."""
        self._stopping.set()
        self._jobs.put(None)
        await asyncio.shield(self._stopped)
        self._thread.join()

    # -- in the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while batch := self._gather():
                if not self._write(batch):
                    break
        except sqlite3.Error as error:
            self._fail(error)
        except Exception as error:  # a bug; the peer must hear of it all the same
            logger.exception("the journal %s cannot go on", self._path)
            self._fail(error)
        finally:
            try:
                self._store.close()
            except sqlite3.Error as error:
                logger.warning("closing the journal %s: %s", self._path, error)
            self._tell(self._end)

    def _fail(self, error: Exception) -> None:
        failure = StorageError(
            f"writing the journal {self._path} failed ({error}); everything reported durable is in it: "
            "see to the disk, then start again"
        )
        logger.error("%s", failure)
        self._tell(self._listener.on_failed, failure)

    def _end(self) -> None:
        if not self._stopped.done():
            self._stopped.set_result(None)

    def _gather(self) -> list[Job]:
        """The next jobs; empty when it is time to end. Waits for one, and tidies the store meanwhile."""
        batch: list[Job] = []
        size = 0
        patience: float | None = None
        while size < BATCH_BYTES_MAX:
            try:
                job = self._jobs.get_nowait() if patience == 0 else self._next(patience)
            except queue.Empty:
                break
            if job is None:
                self._jobs.put(None)  # for the next round
                break
            batch.append(job)
            size += job.size
            if job.urgent:
                patience = 0
            elif patience is None:
                patience = LAZY_S
        return batch

    def _next(self, patience: float | None) -> Job | None:
        """Wait up to *patience* seconds for a job, or for ever.

        Raises:
            queue.Empty: none came.
        """
        while not self._store.is_tidy:
            if not self._jobs.empty():
                return self._jobs.get()
            if not self._tidy():
                break
        return self._jobs.get(timeout=patience)

    def _write(self, batch: Sequence[Job]) -> bool:
        """Make *batch* durable, however long it takes; False when the journal was closed before there was room."""
        records = [record for job in batch for record in job.records]
        delay = RETRY_S_MIN
        full = False
        while True:
            try:
                self._store.commit(records)
                break
            except sqlite3.OperationalError as error:
                if not is_no_room(error):
                    raise
                if not full:
                    full = True
                    sentence = no_room(self._path, error, "it goes on by itself with nothing lost")
                    logger.warning("%s", sentence)
                    self._tell(self._listener.on_full, sentence)
            self._tidy()  # a checkpoint lets the write-ahead log start over, which may be all the room it takes
            if self._stopping.wait(delay):
                return False
            delay = min(delay * 2, RETRY_S_MAX)
        if full:
            logger.warning("there is room for the journal %s again", self._path)
            self._tell(self._listener.on_room)
        self._tell(self._listener.on_persisted, batch[-1].ticket)
        if not self._store.is_tidy:
            self._tidy()
        return True

    def _tidy(self) -> bool:
        try:
            self._store.tidy()
        except sqlite3.OperationalError as error:
            if not is_no_room(error):
                raise
            logger.debug("the journal %s is tidied later: %s", self._path, error)
            return False
        return True

    def _tell(self, callback: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # the loop was closed before the journal: nobody is left to tell
            self._stopping.set()
            self._jobs.put(None)
