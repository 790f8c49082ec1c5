"""Node programs with Grenache's clients from npm, installed once into a scratch folder; tests skip where that fails."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from dhtex.grenache import Link

PROGRAMS = Path(__file__).parent / "programs"
PACKAGE = {
    "name": "dhtex-node-clients",
    "private": True,
    "dependencies": {
        "grenache-grape": "1.0.0",
        "grenache-nodejs-link": "1.0.2",
        "grenache-nodejs-http": "1.0.2",
        "grenache-nodejs-ws": "1.0.0",
    },
    # Two packages name a repository where the registry has the same.
    "overrides": {
        "@bitfinex/lib-js-util-base": "2.1.0",
        "@bitfinexcom/lib-js-util-base": "npm:@bitfinex/lib-js-util-base@2.1.0",
    },
}
INSTALL_S = 100


INSTALL_OPTIONS = (
    *("--no-audit", "--no-fund", "--loglevel=error"),
    *("--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=20000"),
)


@cache
def node_modules() -> Path:
    """The folder with the clients; skips the test where they cannot be had."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed")
    folder = Path(tempfile.gettempdir()) / f"dhtex-node-clients-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    done, failed = folder / "installed.json", folder / f"failed-{_test_run()}"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (done.exists() and json.loads(done.read_text()) == PACKAGE) and not failed.exists():
            reason = _install(npm, folder)
            if reason is None:
                done.write_text(json.dumps(PACKAGE))
            else:
                failed.write_text(reason)
    if failed.exists():
        pytest.skip(f"npm cannot install the clients: {failed.read_text()}")
    return folder / "node_modules"


def _test_run() -> str:
    """What the workers of one test run share, so that they do not all wait for a registry that is away."""
    return os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))


def _install(npm: str, folder: Path) -> str | None:
    """Install the clients; why it failed, None when it did not."""
    (folder / "package.json").write_text(json.dumps(PACKAGE))
    try:
        result = subprocess.run(
            [npm, "install", *INSTALL_OPTIONS],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"not within {INSTALL_S} s"
    return result.stderr.strip()[:200] or "npm failed" if result.returncode else None


_held: list[socket.socket] = []


def free_port() -> int:
    """A port for a program that cannot take one from the system.

    It stays bound to the end of the tests, so that the system gives it to nobody else; a program that listens with
    SO_REUSEADDR, as Node does, gets it all the same.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    _held.append(holder)
    port: int = holder.getsockname()[1]
    return port


@contextlib.asynccontextmanager
async def started(
    program: str | Path, *args: object, **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A running Node program, ended with the block."""
    modules = node_modules()
    process = await asyncio.create_subprocess_exec(
        "node",
        str(PROGRAMS / program),
        *map(str, args),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "NODE_PATH": str(modules), **environment},
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def line_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    assert process.stderr is not None
    line = await asyncio.wait_for(process.stdout.readline(), 60)
    if not line:
        pytest.fail((await process.stderr.read()).decode())
    return line.decode().strip()


async def output_of(program: str, *args: object, **environment: str) -> Any:
    """The JSON a program prints."""
    async with started(program, *args, **environment) as process:
        return json.loads(await line_of(process))


@contextlib.asynccontextmanager
async def two_originals() -> AsyncIterator[tuple[str, str]]:
    """The URLs of a network of two original Grapes that know each other."""
    script = node_modules() / "grenache-grape/bin/grape.js"
    dht, http = (free_port(), free_port()), (free_port(), free_port())
    async with contextlib.AsyncExitStack() as stack:
        for own, other in ((0, 1), (1, 0)):
            await stack.enter_async_context(
                started(
                    script,
                    "-b",
                    "127.0.0.1",
                    "--dp",
                    dht[own],
                    "--aph",
                    http[own],
                    "--bn",
                    f"127.0.0.1:{dht[other]}",
                )
            )
        urls = f"http://127.0.0.1:{http[0]}", f"http://127.0.0.1:{http[1]}"
        async with Link(urls[0]) as a, Link(urls[1]) as b, asyncio.timeout(20):
            while True:
                with contextlib.suppress(Exception):
                    await a.announce("warm-up", 1)
                    if await b.lookup("warm-up"):
                        break
                await asyncio.sleep(0.1)
        yield urls
