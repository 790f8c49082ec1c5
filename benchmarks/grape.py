"""A Grape beside the original: the same requests, the same run, ratios.

    python benchmarks/grape.py                  # everything, about three minutes
    python benchmarks/grape.py --seconds 1      # quick

Needs `wrk` (Debian: apt-get install wrk) and, for the original, node and npm; without them dhtex is measured alone. Two
Grapes of each kind run on loopback, each in its own process; wrk talks to one. Numbers depend on the machine and on
what else it does, ratios of one run much less.
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
class Pair:
    """Two running Grapes."""

    ports: tuple[int, int]
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
def running(command: list[str]) -> Iterator[Pair]:
    """Two Grapes started with *command* and the original's options, until the block ends."""
    dp_a, dp_b, aph_a, aph_b = free_ports(4)
    options = [(dp_a, aph_a, dp_b), (dp_b, aph_b, dp_a)]
    processes = tuple(
        subprocess.Popen(
            [*command, "--dp", str(dp), "--aph", str(aph), "--bn", f"127.0.0.1:{other}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for dp, aph, other in options
    )
    try:
        deadline_s = time.monotonic() + 20
        while True:
            try:
                if post(aph_a, "/announce", ["warm-up", 1]) == 1 and post(aph_b, "/lookup", "warm-up"):
                    break
            except OSError:
                pass
            if time.monotonic() > deadline_s:
                raise SystemExit(f"{command} did not start")
            time.sleep(0.1)
        yield Pair((aph_a, aph_b), processes)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(10)


def fill(pair: Pair) -> str:
    """Announce the names, put an item; its key."""
    for n in range(NAMES):
        post(pair.ports[0], "/announce", [f"svc {n}", 1337])
    key: str = post(pair.ports[0], "/put", {"v": "value"})
    return key


def wrk(script: str, url: str, connections: int, seconds: float) -> float:
    """Requests a second; those that failed do not count."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        output = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", file.name, url],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    found = re.search(r"Requests/sec:\s+([0-9.]+)", output)
    if found is None or "Non-2xx" in output:
        raise SystemExit(f"wrk failed: {output}")
    return float(found[1])


def measure(pair: Pair, key: str, seconds: float) -> dict[tuple[str, int], float]:
    """Every script at 1 and 32 connections."""
    rates: dict[tuple[str, int], float] = {}
    for name, script in SCRIPTS.items():
        for connections in (1, 32):
            url = f"http://127.0.0.1:{pair.ports[0]}{PATHS[name]}"
            rates[name, connections] = wrk(script.replace("KEY", key), url, connections, seconds)
    return rates


def lookup_latency_ms(pair: Pair) -> float:
    """Median of first look-ups, one after the other, each for a name announced at the other Grape just before."""
    times: list[float] = []
    for n in range(200):
        post(pair.ports[1], "/announce", [f"fresh {n}", 1])
        started_s = time.perf_counter()
        post(pair.ports[0], "/lookup", f"fresh {n}")
        times.append((time.perf_counter() - started_s) * 1000)
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
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement")
    seconds = parser.parse_args().seconds
    if shutil.which("wrk") is None:
        raise SystemExit("this needs wrk (Debian: apt-get install wrk)")
    commands = {"dhtex": [sys.executable, "-m", "dhtex", "grape"]}
    original = original_command()
    if original is not None:
        commands["original"] = original
    rates: dict[str, dict[tuple[str, int], float]] = {}
    more: dict[str, tuple[float, float]] = {}
    for name, command in commands.items():
        with running(command) as pair:
            key = fill(pair)
            rates[name] = measure(pair, key, seconds)
            more[name] = lookup_latency_ms(pair), pair.memory_mib()
    print(f"| {'requests a second':24} | conn. | {' | '.join(f'{name:>9}' for name in commands)} | ratio |")
    print(f"| {'-' * 24} | ----: |{' ---------: |' * len(commands)} ----: |")
    for case in rates["dhtex"]:
        row = [rates[name][case] for name in commands]
        ratio = f"{row[0] / row[1]:5.2f}" if len(row) > 1 else "    -"
        print(f"| {case[0]:24} | {case[1]:5} | {' | '.join(f'{rate:9,.0f}' for rate in row)} | {ratio} |")
    for index, text in enumerate(("first look-up, median ms", "memory, MiB")):
        values = [more[name][index] for name in commands]
        ratio = f"{values[0] / values[1]:5.2f}" if len(values) > 1 else "    -"
        print(f"| {text:24} |       | {' | '.join(f'{value:9.2f}' for value in values)} | {ratio} |")


if __name__ == "__main__":
    main()
