"""One process per journal: an advisory lock on a file beside it, which the system releases when the process dies.

The lock is not on the journal itself: SQLite locks that, and readers such as `dhtex journal inspect` must get in.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dhtex.errors import JournalLocked, StorageError

_PID_DIGITS_MAX = 20


class FileLock:
    """Held from construction to `release`. Two holders exclude each other even within one process."""

    def __init__(self, path: Path) -> None:
        """Take the lock on *path*, a file made for that purpose with mode 0600. It stays behind when released.

        Raises:
            JournalLocked: someone else holds it; the sentence says which process.
            StorageError: the file cannot be made.
        """
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(
                f"cannot write in {path.parent}: {error.strerror}; make it writable, or choose another --data-dir"
            ) from error
        try:
            _lock(self._descriptor)
        except OSError as error:
            holder = os.pread(self._descriptor, _PID_DIGITS_MAX, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise JournalLocked(
                f"the journal {path.with_suffix('')} is in use by process {holder or 'unknown'}; "
                "stop that peer, or give this one another --data-dir"
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode("ascii"), 0)

    def release(self) -> None:
        """Let others have it. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


if sys.platform == "win32":
    import msvcrt

    _LOCKED_AT = 1 << 20  # beyond what is written, because Windows forbids reading what another has locked

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, _LOCKED_AT, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
