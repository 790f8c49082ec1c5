"""Real `dhtex` processes for end-to-end tests: JSON in, JSON out, ended by their id."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

PATIENCE_S = 40.0
DHTEX: Final = (sys.executable, "-m", "dhtex")

SLOW_CALLBACK = re.compile(r"(WARNING asyncio: |^)Executing <.* took \d+\.\d+ seconds$")

Event = dict[str, Any]


def environment(dev: bool = True) -> dict[str, str]:
    """The caller's, without what would change how the command behaves; warnings are errors.

    Dev mode also tells what was left open or took long; under load the latter says nothing about the program.
    """
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("DHTEX_", "PYTHON", "COV_"))
    }
    mode = {"PYTHONDEVMODE": "1"} if dev else {}
    return {
        **kept,
        **mode,
        "PYTHONWARNINGS": "error",
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": "200",
    }


def without_slow_callbacks(stderr: str) -> str:
    """*stderr* without dev mode's word that a busy machine made a callback slow."""
    return "\n".join(line for line in stderr.splitlines() if not SLOW_CALLBACK.search(line))


def run(*arguments: str, stdin: str = "", timeout: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
    """Run `dhtex` to its end."""
    return finished(*DHTEX, *arguments, stdin=stdin, timeout=timeout)


def finished(
    *command: str, stdin: str | None = None, cwd: Path | None = None, timeout: float = PATIENCE_S
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    done = subprocess.run(
        command,
        input=stdin,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(),
        check=False,
    )
    done.stderr = without_slow_callbacks(done.stderr)
    return done


class Process:
    """One `dhtex … --json`, with what it says as a list of events.

    *launcher* is what runs it, such as one that first enters a network namespace.
    """

    def __init__(
        self,
        tmp_path: Path,
        name: str,
        *arguments: str,
        dev: bool = True,
        launcher: Sequence[str] = DHTEX,
    ) -> None:
        self.name = name
        self.events: list[Event] = []
        self._next: dict[str, int] = {}
        self._stderr_path = tmp_path / f"{name}.stderr"
        self._stderr = self._stderr_path.open("ab")
        self._process = subprocess.Popen(
            [*launcher, *arguments, "--json"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=environment(dev),
        )
        self._lines: queue.Queue[Event | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._stderr.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(json.loads(line))
        self._lines.put(None)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stderr(self) -> str:
        """What it said on standard error."""
        return without_slow_callbacks(self._stderr_path.read_text(encoding="utf-8"))

    def tell(self, *lines: str) -> None:
        """Type *lines* into it."""
        assert self._process.stdin is not None
        self._process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        self._process.stdin.flush()

    def hear(
        self, wanted: Callable[[Event], bool], what: str, since: int = 0, timeout: float = PATIENCE_S
    ) -> Event:
        """The first event from number *since* on that is *wanted*."""
        for event in self.events[since:]:
            if wanted(event):
                return event
        while True:
            try:
                event_or_end = self._lines.get(timeout=timeout)
            except queue.Empty:
                raise AssertionError(
                    f"{self.name}: no {what}; last: {self.events[-5:]}; {self.stderr[-2000:]}"
                ) from None
            if event_or_end is None:
                raise AssertionError(
                    f"{self.name} ended before {what}: {self.events[-5:]}; {self.stderr[-2000:]}"
                )
            self.events.append(event_or_end)
            if len(self.events) > since and wanted(event_or_end):
                return event_or_end

    def next(self, name: str) -> Event:
        """The next event of a kind that was not asked for by this method before."""
        start = self._next.get(name, 0)
        found = self.hear(lambda event: event["event"] == name, name, start)
        self._next[name] = next(i for i in range(start, len(self.events)) if self.events[i] is found) + 1
        return found

    def hear_said(self) -> None:
        """Take in what it has said up to now; all of it once it has ended."""
        if self._process.poll() is not None:
            self._reader.join(PATIENCE_S)
        while not self._lines.empty():
            event = self._lines.get()
            if event is not None:
                self.events.append(event)

    def said(self, name: str) -> list[Event]:
        """Every event of a kind that was heard so far."""
        return [event for event in self.events if event["event"] == name]

    def hear_event(self, name: str, since: int = 0) -> Event:
        return self.hear(lambda event: event["event"] == name, name, since)

    def hear_view(self, members: int, since: int = 0) -> Event:
        return self.hear(
            lambda event: event.get("kind") == "view" and len(event["members"]) == members,
            f"view of {members}",
            since,
        )

    def hear_role(self, role: str, since: int = 0) -> Event:
        return self.hear(
            lambda event: event.get("kind") == "role" and event["value"] == role, f"role {role}", since
        )

    def ask(self, line: str, answer: str | None = None) -> Event:
        """Type a question; its answer."""
        since = len(self.events)
        self.tell(line)
        return self.hear_event(answer or line.split(maxsplit=1)[0], since)

    def do(self, line: str) -> Event:
        """Type an order; its result, final or refused."""
        since = len(self.events)
        self.tell(line)
        return self.hear(lambda event: event["event"] in ("final", "refused"), f"result of {line}", since)

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait(PATIENCE_S)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> int:
        """SIGTERM; its exit code."""
        self._process.terminate()
        return self._process.wait(PATIENCE_S)

    def finish(self) -> int:
        """Close its input; its exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(PATIENCE_S)


def grape(
    tmp_path: Path,
    name: str = "grape",
    bootstrap: str = "",
    *more: str,
    dp: int = 0,
    launcher: Sequence[str] = DHTEX,
) -> Process:
    """A Grape on ports from the system."""
    own = ("--dp", str(dp), "--aph", "0", "--bn", bootstrap)
    return Process(tmp_path, name, "grape", *own, *more, launcher=launcher)


def peer(
    tmp_path: Path,
    name: str,
    bootstrap: str,
    *more: str,
    dev: bool = True,
    launcher: Sequence[str] = DHTEX,
) -> Process:
    """A peer with an identity and a journal of its own."""
    own = ("--bn", bootstrap, "--identity", name, "--data-dir", str(tmp_path / "data"))
    return Process(tmp_path, name, "peer", *own, *more, dev=dev, launcher=launcher)


def dht_address(process: Process) -> str:
    """Where a Grape's DHT listens, once it does."""
    return str(process.hear_event("started")["dht"])
