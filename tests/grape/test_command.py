"""`dhtex grape` as a process: options, messages, exit codes, signals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dhtex.grape import Grape
from grape.raw import RawClient, post, post_bytes

pytestmark = pytest.mark.e2e


@contextlib.asynccontextmanager
async def command(
    *args: str, before: tuple[str, ...] = (), **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A running `dhtex grape`; every warning is an error there. Killed with the block when it still runs.

    Not in Python's development mode: its event loop writes of every callback over 100 ms, on a busy machine any.
    """
    process = await asyncio.create_subprocess_exec(
        *(*before, sys.executable, "-W", "error", "-m", "dhtex", "grape", *args),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def line_of(stream: asyncio.StreamReader | None) -> str:
    assert stream is not None
    return (await asyncio.wait_for(stream.readline(), 30)).decode().strip()


async def addresses_of(process: asyncio.subprocess.Process) -> tuple[str, str]:
    line = await line_of(process.stdout)
    found = re.fullmatch(r"DHT on (\S+), HTTP API on http://(\S+)", line)
    assert found is not None, line or (await process.stderr.read() if process.stderr else "")
    return found[1], found[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_until_a_signal_and_ends_in_silence(number: signal.Signals) -> None:
    async with command("--dp", "0", "--aph", "0") as process:
        _, http = await addresses_of(process)
        assert (await post(http, "/announce", ["svc", 5])).json == 1
        assert (await post(http, "/lookup", "svc")).json == ["127.0.0.1:5"]
        process.send_signal(number)
        stdout, stderr = await asyncio.wait_for(process.communicate(), 30)
        assert (process.returncode, stdout, stderr) == (0, b"", b"")


async def test_an_unreachable_bootstrap_is_told_once_and_retried() -> None:
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    async with command("--dp", "0", "--aph", "0", "--bn", f"127.0.0.1:{port}") as process:
        _, http = await addresses_of(process)
        assert f"no Grape answers at 127.0.0.1:{port}; trying again" in await line_of(process.stderr)
        async with Grape(dht_port=port, http_port=None) as other:
            assert await line_of(process.stderr) == "in touch with 1 node"
            assert (await post(http, "/announce", ["svc", 6])).json == 1
            assert await other.lookup("svc") == [("127.0.0.1", 6)]


async def test_a_killed_one_is_found_again_with_its_items(tmp_path: Path) -> None:
    async with Grape() as other:
        async with command(
            "--dp", "0", "--aph", "0", "--bn", other.dht_address, "--data-dir", str(tmp_path)
        ) as first:
            dht, http = await addresses_of(first)
            assert await line_of(first.stderr) == "in touch with 1 node"
            key = (await post(http, "/put", {"v": "kept"})).json
            process = await asyncio.create_subprocess_exec(
                *(
                    sys.executable,
                    "-m",
                    "dhtex",
                    "grape",
                    "--dp",
                    "0",
                    "--aph",
                    "0",
                    "--data-dir",
                    str(tmp_path),
                ),
                stderr=asyncio.subprocess.PIPE,
            )
            _, stderr = await process.communicate()
            assert process.returncode == 1
            assert b"another process uses" in stderr
            first.kill()
        port = dht.rpartition(":")[2]
        async with command(
            "--dp", port, "--aph", "0", "--bn", other.dht_address, "--data-dir", str(tmp_path)
        ) as again:
            _, http = await addresses_of(again)
            assert await line_of(again.stderr) == "in touch with 1 node"
            await other.announce("svc", 7)
            assert (await post(http, "/lookup", "svc")).json == ["127.0.0.1:7"]
            assert (await post(http, "/get", key)).json["v"] == "kept"


async def _ending(*args: str) -> tuple[int | None, str]:
    async with command(*args) as process:
        _, stderr = await asyncio.wait_for(process.communicate(), 30)
        return process.returncode, stderr.decode()


async def test_mistakes_are_one_sentence_and_an_exit_code(tmp_path: Path) -> None:
    (tmp_path / "grape.sqlite").write_bytes(b"not a database, but long enough to be taken for one" * 40)
    async with Grape() as grape:
        dht = grape.dht_address.rpartition(":")[2]
        http = (grape.http_address or "").rpartition(":")[2]
        cases = [
            (("--dp", dht, "--aph", "0"), 1, f"another program listens on UDP 127.0.0.1:{dht}"),
            (("--dp", "0", "--aph", http), 1, f"another program listens on TCP 127.0.0.1:{http}"),
            (("--dp", "0", "--aph", "0", "--bn", "nowhere"), 2, "'nowhere' is not an address"),
            (("-b", "0.0.0.0", "--dp", "0", "--aph", "0"), 2, "--api-public"),
            (("--dp", "0", "--aph", "0", "--data-dir", str(tmp_path)), 1, "grape.sqlite is damaged"),
            (("--dp", "70000"), 2, "70000 is not in the range"),
        ]
        endings = await asyncio.gather(*(_ending(*args) for args, _, _ in cases))
    for (args, code, sentence), (returned, stderr) in zip(cases, endings, strict=True):
        assert returned == code, args
        assert sentence in stderr
        assert "Traceback" not in stderr


async def test_without_file_descriptors_clients_are_refused_and_told_of_once() -> None:
    few = ("sh", "-c", 'ulimit -n 64 && exec "$@"', "sh")
    async with command("--dp", "0", "--aph", "0", before=few) as process:
        _, http = await addresses_of(process)
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(await RawClient.open(http)) for _ in range(100)]
            answers = await asyncio.gather(*(_is_answered(client) for client in clients))
            assert True in answers
            assert False in answers
        async with asyncio.timeout(20):
            while not await _is_served(http):  # until it noticed that the others left
                pass
        process.send_signal(signal.SIGTERM)
        _, stderr = await asyncio.wait_for(process.communicate(), 30)
        assert stderr.decode().count("\n") == 1
        assert b"every file descriptor is used" in stderr


async def _is_served(http: str) -> bool:
    async with await RawClient.open(http) as client:
        return await _is_answered(client)


async def _is_answered(client: RawClient) -> bool:
    client.send(post_bytes("/lookup", b'{"data":"svc"}'))
    try:
        return bool(await asyncio.wait_for(client.reader.read(100), 20))
    except ConnectionError:
        return False


LONG = {
    "--bind": "127.0.0.1",
    "--dht_port": "0",
    "--api_port": "0",
    "--bootstrap": "",
    "--dht_concurrency": "32",
    "--dht_peer_maxAge": "60000",
    "--dht_nodeLiveness": "60000",
    "--dht_maxTables": "10",
    "--dht_maxValues": "10",
    "--cache_maxAge": "0",
    "--check_maxPayloadSize": "100",
}
SHORT = {
    "-b": "127.0.0.1",
    "--b": "127.0.0.1",
    "--dp": "0",
    "--aph": "0",
    "--bn": "",
    "--dc": "4",
    "--dpa": "60000",
    "--dnl": "60000",
}


async def test_every_spelling_of_the_original_and_the_environment() -> None:
    async with (
        command(*(word for option in LONG.items() for word in option)) as long,
        command(
            *(word for option in SHORT.items() for word in option), DHTEX_GRAPE_CHECK_MAXPAYLOADSIZE="100"
        ) as short,
    ):
        for process in (long, short):
            _, http = await addresses_of(process)
            assert (await post(http, "/lookup", "x" * 100)).body == b"ERR_GRAPE_PAYLOAD_SIZE"
