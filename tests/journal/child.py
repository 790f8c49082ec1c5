"""A process to kill, or to let run out of room: writes ticket after ticket, says on its output what is durable.

python -m journal.child kill PATH SEED COUNT DURABILITY    (COUNT tickets more, then it waits to be killed)
python -m journal.child full PATH BALLAST    (in a small file system; BALLAST is a file that takes up room)
python -m journal.child limit PATH           (under a limit on the size of files)
python -m journal.child start PATH BALLAST   (in a small file system, which it fills before it opens the journal again)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import cast

from dhtex.errors import StorageError
from dhtex.journal import Durability
from dhtex.replication.records import Appended, Ceiling, Installed
from journal.author import ME, START, entry_of, founding_view, tickets
from journal.support import Recorder, open_journal


def say(text: str) -> None:
    """One line, at once."""
    os.write(1, f"{text}\n".encode())


async def kill(path: Path, seed: int, count: int, durability: Durability) -> None:
    """Go on where the journal ends."""
    async with open_journal(path, durability) as journal:
        begin = journal.state.ceiling
        recorder = Recorder(journal)
        say(f"begin {begin}")
        for ticket, records in enumerate(tickets(seed, begin + count), 1):
            if ticket <= begin:
                continue
            journal.persist(ticket, records, urgent=ticket % 3 != 0)
            if ticket % 4 == 0:
                await asyncio.sleep(0)
            if ticket % 16 == 0:
                await recorder.until_durable(ticket)
            say(str(recorder.durable))
        await recorder.until_durable(begin + count)
        say(str(recorder.durable))
        await asyncio.Event().wait()


class Filler:
    """Writes megabytes until the journal says that it is full, makes room, and sees that nothing is lost."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = 0

    async def run(self, make_room: str) -> None:
        """*make_room* is a file to remove, or empty to lift the limit on file sizes."""
        async with open_journal(self.path, "fsync") as journal:
            recorder = Recorder(journal)
            recorder.write([Installed(founding_view())])
            while not recorder.full:
                self._write(recorder)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await recorder.change()
            for _ in range(20):
                self._write(recorder)
            say(f"full {recorder.durable} {recorder.full[0]}")
            _make_room(make_room)
            await recorder.until_durable(self.written + 1)
            say(f"room {recorder.room} backlog {journal.backlog} failed {recorder.failed}")
        async with open_journal(self.path) as journal:
            say(
                f"found {journal.state.ceiling} of {self.written}, entries {len(journal.state.logs[ME.node_id])}"
            )

    def _write(self, recorder: Recorder) -> None:
        self.written += 1
        n = self.written
        commands = b"\x91\xc6" + (40_000).to_bytes(4, "big") + os.urandom(40_000)
        entry = entry_of(ME, view=1, seq=n, timestamp=START + n, first_n=n, commands=commands)
        recorder.write([Appended(entry), Ceiling(n)])


def _make_room(ballast: str) -> None:
    if ballast:
        Path(ballast).unlink()
        return
    import resource  # noqa: PLC0415  # not on Windows, and needed only here

    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


async def start(path: Path, ballast: Path) -> None:
    """Open a journal where nothing more fits, and again where there is room."""
    await open_journal(path).close()
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    try:
        await open_journal(path).close()
    except StorageError as error:
        say(str(error))
    _make_room(str(ballast))
    await open_journal(path).close()
    say("opened")


def main() -> None:
    """See the head of the file."""
    match sys.argv[1:]:
        case ["kill", path, seed, count, durability]:
            asyncio.run(kill(Path(path), int(seed), int(count), cast(Durability, durability)))
        case ["full", path, ballast]:
            asyncio.run(Filler(Path(path)).run(ballast))
        case ["start", path, ballast]:
            asyncio.run(start(Path(path), Path(ballast)))
        case ["limit", path]:
            import resource  # noqa: PLC0415  # not on Windows, and needed only here

            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
            asyncio.run(Filler(Path(path)).run(""))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
