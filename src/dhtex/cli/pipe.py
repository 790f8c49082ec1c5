"""Commands from a pipe or a file, one a line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from typing import Final

from dhtex.cli.shell import Shell
from dhtex.errors import DhtexError
from dhtex.peer import Peer

LINE_BYTES_MAX: Final = 4096
"""Longer than any command; a longer line is refused as a whole."""
LINES_AHEAD_MAX: Final = 1000
"""Lines read before they are carried out."""
PENDING_MAX: Final = 20_000
"""Commands on their way at once; a longer script waits, where a person would be told to."""


async def read_lines(shell: Shell, peer: Peer, *, stay: bool) -> None:
    """Carry out the lines of standard input until it ends or one says quit.

    What only shows something, and the end, wait until everything sent before is final: so a script sees what it did.

    Args:
        stay: do not return when the input ends; cancel it then.
    Raises:
        DhtexError: standard input cannot be read.
    """
    reader = _Reader()
    await peer.ready()
    while (raw := await reader.next()) is not None:
        if len(raw) > LINE_BYTES_MAX:
            shell.refuse("", f"a line has at most {LINE_BYTES_MAX} bytes")
            continue
        line = raw.decode("utf-8", "replace")
        if shell.is_question(line) or peer.pending_count >= PENDING_MAX:
            await shell.settled()
        if not shell.do(line):
            break
    else:
        if stay:
            await asyncio.Event().wait()
    await shell.settled()


class _Reader:
    """The lines of standard input as they come.

    A thread reads, because files have no readiness. It reads the descriptor itself, so that it holds no lock of
    `sys.stdin` when the program ends, and is a daemon, because a read cannot be cancelled.
    """

    def __init__(self) -> None:
        self._lines: asyncio.Queue[bytes | OSError | None] = asyncio.Queue()
        self._room = threading.Semaphore(LINES_AHEAD_MAX)
        self._loop = asyncio.get_running_loop()
        self._descriptor = sys.stdin.fileno()
        threading.Thread(target=self._read, name="dhtex standard input", daemon=True).start()

    async def next(self) -> bytes | None:
        """The next line without its end, or None after the last.

        Raises:
            DhtexError: it cannot be read.
        """
        line = await self._lines.get()
        self._room.release()
        if isinstance(line, OSError):
            raise DhtexError(f"cannot read standard input: {line.strerror}")
        return line

    def _read(self) -> None:
        try:
            self._read_lines()
        except OSError as error:
            self._put(error)

    def _read_lines(self) -> None:
        rest = b""
        while chunk := os.read(self._descriptor, 65536):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                self._put(line)
            rest = rest[: LINE_BYTES_MAX + 1]  # of an endless line, what shows that it is one
        if rest:
            self._put(rest)
        self._put(None)

    def _put(self, line: bytes | OSError | None) -> None:
        self._room.acquire()
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody reads any more
            self._loop.call_soon_threadsafe(self._lines.put_nowait, line)
