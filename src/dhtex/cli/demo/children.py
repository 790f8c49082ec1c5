"""Child processes that speak JSON lines: started, told, awaited, killed, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

from dhtex.errors import DhtexError

Event = dict[str, Any]
Wanted = Callable[[Event], bool]

PATIENCE_S: Final = 20.0
"""A child that has not said what is awaited by then will not; the demo ends with what it said."""
LINE_BYTES_MAX: Final = 1 << 20


class Child:
    """One `dhtex` process.

    Attributes:
        name: what the story calls it.
        events: everything it said, in order.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process, stderr: Path) -> None:
        self.name = name
        self.events: list[Event] = []
        self._process = process
        self._stderr = stderr
        self._heard = asyncio.Condition()
        self._ended = False
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        stdout = self._process.stdout
        while stdout is not None and (line := await stdout.readline()):
            event = json.loads(line)
            async with self._heard:
                self.events.append(event)
                self._heard.notify_all()
        async with self._heard:
            self._ended = True
            self._heard.notify_all()

    async def tell(self, *lines: str) -> None:
        """Type *lines* into it."""
        stdin = self._process.stdin
        if stdin is None or self._ended:
            raise DhtexError(f"{self.name} does not listen any more{self._last_words()}")
        try:
            stdin.write("".join(f"{line}\n" for line in lines).encode())
            await stdin.drain()
        except ConnectionError as error:
            raise DhtexError(f"{self.name} ended before it was told more{self._last_words()}") from error

    async def hear(self, what: str, wanted: Wanted, since: int = 0) -> Event:
        """The first event from number *since* on that is *wanted*, waiting for it.

        Raises:
            DhtexError: it ended, or said nothing of the kind in time; *what* says what was awaited.
        """
        try:
            async with asyncio.timeout(PATIENCE_S), self._heard:
                while True:
                    for event in self.events[since:]:
                        if wanted(event):
                            return event
                    since = len(self.events)
                    if self._ended:
                        raise DhtexError(f"{self.name} ended before {what}{self._last_words()}")
                    await self._heard.wait()
        except TimeoutError:
            raise DhtexError(
                f"{self.name}: no {what} within {PATIENCE_S:.0f} s{self._last_words()}"
            ) from None

    def mark(self) -> int:
        """How many events there are: `since` for what comes next."""
        return len(self.events)

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            text = self._stderr.read_text(encoding="utf-8", errors="replace").strip()
            if text:
                return f"; it said: {text.splitlines()[-1]}"
        return ""

    async def kill(self) -> None:
        """SIGKILL: it gets no chance to tidy up."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._gone()

    async def stop(self) -> int:
        """SIGTERM: it leaves in order; its exit code. Killed if that takes too long."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._gone()
        except TimeoutError:
            await self.kill()
            raise DhtexError(f"{self.name} did not end in order{self._last_words()}") from None

    async def _gone(self) -> int:
        code = await self._process.wait()
        await self._reader
        if self._process.stdin is not None:
            self._process.stdin.close()
            with contextlib.suppress(OSError):
                await self._process.stdin.wait_closed()
        return code


class Nursery:
    """The children of one run; none outlives it, whatever happens."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: list[Child] = []

    async def start(self, name: str, *arguments: str) -> Child:
        """Start `dhtex` with *arguments*, in loopback and in the folder of this run only."""
        stderr = self._folder / f"{name}.err"
        environment = {key: value for key, value in os.environ.items() if not key.startswith("DHTEX_")}
        with stderr.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "dhtex",
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env=environment,
                limit=LINE_BYTES_MAX,
            )
        child = Child(name, process, stderr)
        self._children.append(child)
        return child

    async def close(self) -> None:
        """End whoever still runs."""
        await asyncio.gather(*(child.kill() for child in self._children))


@contextlib.asynccontextmanager
async def nursery(folder: Path) -> AsyncIterator[Nursery]:
    """A `Nursery` that is empty afterwards."""
    children = Nursery(folder)
    try:
        yield children
    finally:
        await children.close()
