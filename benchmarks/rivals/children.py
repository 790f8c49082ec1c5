"""Processes of the benchmark: each a child that answers one JSON line with one JSON line, and servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

ANSWER_BYTES_MAX = 16 << 20
END_TIMEOUT = 10.0


class ChildError(Exception):
    """A child ended, or said that it cannot go on."""


class Child:
    """A Python process in another module of this package, asked by JSON lines on its standard input."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    async def ask(self, what: str, **arguments: Any) -> Any:
        """Its answer. Raises ChildError."""
        reader, writer = self._process.stdout, self._process.stdin
        if reader is None or writer is None:
            raise ChildError("a child without pipes")
        writer.write(json.dumps({"what": what, **arguments}).encode() + b"\n")
        line = await reader.readline()
        if not line:
            raise ChildError(f"process {self.pid} ended while it was asked for {what}")
        answer = json.loads(line)
        if "error" in answer:
            raise ChildError(answer["error"])
        return answer["answer"]


@contextlib.asynccontextmanager
async def child(module: str, **options: Any) -> AsyncIterator[Child]:
    """A child that runs `main(options)` of *module*; asked to end, or killed, when the block is left."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent.parent)!r}); "
        f"from {module} import main; main()",
        json.dumps(options),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=ANSWER_BYTES_MAX,
    )
    try:
        yield Child(process)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        await _ended(process)


@contextlib.asynccontextmanager
async def server(command: Sequence[str | Path], log: Path) -> AsyncIterator[int]:
    """A server process, its pid; terminated when the block is left."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *map(str, command), stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await _ended(process)


async def _ended(process: asyncio.subprocess.Process) -> None:
    try:
        await asyncio.wait_for(process.wait(), END_TIMEOUT)
    except TimeoutError:
        process.kill()
        await process.wait()
