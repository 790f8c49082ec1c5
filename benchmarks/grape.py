"""A Grape beside the original: the same requests, the same run, ratios.

    python benchmarks/grape.py                  # everything, about three minutes
    python benchmarks/grape.py --seconds 1      # quick

Needs `wrk` (Debian: apt-get install wrk) and, for the original, node and npm; without them dhtex is measured alone. Two
Grapes of each kind run on loopback, each in its own process; wrk talks to one. Each case is measured in turns, so that
whatever else the machine does meets both; the medians are shown. Numbers depend on the machine, ratios much less.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = 1_000
TURNS = 5
NODE_PACKAGE = {"name": "bench", "private": True, "dependencies": {"grenache-grape": "1.0.0"}}

SCRIPTS = {
    "look up one name": """
wrk.method = "POST"
wrk.body = '{"rid":"x","data":"svc 7"}'
""",
    "look up 1,000 names": """
wrk.method = "POST"
local n = 0
request = function()
  n = (n + 7) % 1000
  return wrk.format(nil, nil, nil, '{"rid":"x","data":"svc ' .. n .. '"}')
end
""",
    "announce 1,000 names": """
wrk.method = "POST"
local n = 0
request = function()
  n = (n + 7) % 1000
  return wrk.format(nil, nil, nil, '{"rid":"x","data":["svc ' .. n .. '",1337]}')
end
""",
    "put": """
wrk.method = "POST"
local n = 0
request = function()
  n = (n + 7) % 1000
  return wrk.format(nil, nil, nil, '{"rid":"x","data":{"v":"value ' .. n .. '"}}')
end
""",
    "get": """
wrk.method = "POST"
wrk.body = '{"rid":"x","data":"KEY"}'
""",
}
PATHS = {
    "look up one name": "/lookup",
    "look up 1,000 names": "/lookup",
    "announce 1,000 names": "/announce",
    "put": "/put",
    "get": "/get",
}


@dataclass(frozen=True)
class Grapes:
    """Running Grapes of one kind, each with the first ones as bootstrap."""

    ports: tuple[int, ...]
    processes: tuple[subprocess.Popen[bytes], ...]

    def memory_mib(self) -> float:
        """Resident memory of the Grape that wrk talks to."""
        status = Path(f"/proc/{self.processes[0].pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        return int(found[1]) / 1024 if found else 0.0


def free_ports(count: int) -> list[int]:
    """Ports that are free now, for TCP and UDP."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]


def post(port: int, path: str, data: Any) -> Any:
    """One request."""
    body = json.dumps({"rid": "x", "data": data}).encode()
    with urllib.request.urlopen(
        urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, method="POST")
    ) as response:
        text = response.read()
    return json.loads(text) if text else None


@contextlib.contextmanager
def running(command: list[str], count: int = 2) -> Iterator[Grapes]:
    """Grapes started with *command* and the original's options, until the block ends."""
    ports = free_ports(2 * count)
    dht, http = ports[:count], ports[count:]
    processes = tuple(
        subprocess.Popen(
            [*command, "--dp", str(dht[n]), "--aph", str(http[n]), "--bn", _bootstrap(dht, n)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for n in range(count)
    )
    try:
        deadline_s = time.monotonic() + 90
        while not all(_answers(port) for port in http) or not _is_joined(http):
            if time.monotonic() > deadline_s:
                raise SystemExit(f"{command} did not start")
            time.sleep(0.2)
        yield Grapes(tuple(http), processes)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)


def _bootstrap(ports: list[int], own: int) -> str:
    return ",".join(f"127.0.0.1:{port}" for n, port in enumerate(ports[:3]) if n != own)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _is_joined(ports: list[int]) -> bool:
    try:
        return isinstance(post(ports[-1], "/announce", ["warm-up", 1]), int) and bool(
            post(ports[0], "/lookup", "warm-up")
        )
    except OSError:
        return False


def fill(grapes: Grapes) -> str:
    """Announce the names, put an item; its key."""
    for n in range(NAMES):
        post(grapes.ports[0], "/announce", [f"svc {n}", 1337])
    key: str = post(grapes.ports[0], "/put", {"v": "value"})
    return key


def wrk(script: str, url: str, connections: int, seconds: int) -> float:
    """Requests a second; those that failed do not count."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        output = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", file.name, url],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    found = re.search(r"Requests/sec:\s+([0-9.]+)", output)
    if found is None or "Non-2xx" in output:
        raise SystemExit(f"wrk failed: {output}")
    return float(found[1])


def measure(all_grapes: dict[str, Grapes], seconds: int) -> dict[tuple[str, int], list[float]]:
    """The median rate of each kind for every script at 1 and 32 connections, measured in turns."""
    keys = {name: fill(grapes) for name, grapes in all_grapes.items()}
    rates: dict[tuple[str, int], list[float]] = {}
    for case, script in SCRIPTS.items():
        for connections in (1, 32):
            turns: dict[str, list[float]] = {name: [] for name in all_grapes}
            for _ in range(TURNS):
                for name, grapes in all_grapes.items():
                    url = f"http://127.0.0.1:{grapes.ports[0]}{PATHS[case]}"
                    turns[name].append(wrk(script.replace("KEY", keys[name]), url, connections, seconds))
            rates[case, connections] = [statistics.median(turn) for turn in turns.values()]
    return rates


def first_lookup_ms(grapes: Grapes) -> float:
    """Median of look-ups for a name that another Grape announced just before."""
    times: list[float] = []
    for n in range(200):
        post(grapes.ports[-1], "/announce", [f"fresh {n}", 1])
        started_s = time.perf_counter()
        found = post(grapes.ports[0], "/lookup", f"fresh {n}")
        times.append((time.perf_counter() - started_s) * 1000)
        if not found:
            raise SystemExit(f"fresh {n} was not found")
    return statistics.median(times)


def original_command() -> list[str] | None:
    """The original from npm, installed once into a scratch folder."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    folder = Path(tempfile.gettempdir()) / f"dhtex-original-grape-{os.getuid()}"
    script = folder / "node_modules/grenache-grape/bin/grape.js"
    if not script.exists():
        folder.mkdir(exist_ok=True)
        (folder / "package.json").write_text(json.dumps(NODE_PACKAGE))
        subprocess.run([npm, "install", "--silent"], cwd=folder, check=True)
    return [node, str(script), "-b", "127.0.0.1"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=2, help="length of each turn; wrk takes whole ones")
    seconds = parser.parse_args().seconds
    if shutil.which("wrk") is None:
        raise SystemExit("this needs wrk (Debian: apt-get install wrk)")
    commands = {"dhtex": [sys.executable, "-m", "dhtex", "grape"]}
    original = original_command()
    if original is not None:
        commands["original"] = original
    rows: list[tuple[str, str, list[float], str]] = []
    with contextlib.ExitStack() as stack:
        grapes = {name: stack.enter_context(running(command)) for name, command in commands.items()}
        for (case, connections), rates in measure(grapes, seconds).items():
            rows.append((case, str(connections), rates, ",.0f"))
        rows.append(
            ("first look-up, 2 Grapes, ms", "", [first_lookup_ms(two) for two in grapes.values()], ".2f")
        )
        rows.append(("memory, MiB", "", [two.memory_mib() for two in grapes.values()], ".0f"))
    latencies: list[float] = []
    for command in commands.values():
        with running(command, 20) as twenty:
            latencies.append(first_lookup_ms(twenty))
    rows.append(("first look-up, 20 Grapes, ms", "", latencies, ".2f"))
    print(f"| requests a second | connections | {' | '.join(commands)} | ratio |")
    print(f"| --- | ---: |{' ---: |' * len(commands)} ---: |")
    for case, conns, values, form in rows:
        ratio = f"{values[0] / values[1]:.2f}" if len(values) > 1 else ""
        print(f"| {case} | {conns} | {' | '.join(format(value, form) for value in values)} | {ratio} |")


if __name__ == "__main__":
    main()
