"""Node and Python find each other through dhtex Grapes: a Node client calls a Python service, and the reverse.

Needs node, and npm to install Grenache's clients into a scratch folder the first time. Without them only the Python
side runs: a Python client calls the Python service.
"""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from dhtex.grape import Grape
from dhtex.grenache import GrenacheClient, GrenacheService

PACKAGE = {
    "private": True,
    "dependencies": {"grenache-nodejs-link": "1.0.2", "grenache-nodejs-http": "1.0.2"},
    # Its dependant names a repository; the registry has it too.
    "overrides": {"@bitfinex/lib-js-util-base": "2.1.0"},
}

NODE_PEER = """
const Link = require('grenache-nodejs-link')
const { PeerRPCServer, PeerRPCClient } = require('grenache-nodejs-http')

const link = new Link({ grape: process.argv[2] })
link.start()

const server = new PeerRPCServer(link, {})
server.init()
const service = server.transport('server')
service.listen(Number(process.argv[3]))
service.on('request', (rid, key, payload, handler) => handler.reply(null, `node heard ${payload}`))

const client = new PeerRPCClient(link, {})
client.init()
link.startAnnouncing('node-service', service.port, {}, () => {
  client.request('python-service', 'hello from node', { timeout: 10000 }, (err, answer) => {
    console.log(err ? err.message : `in node:   ${answer}`)
  })
})
"""


async def answer(name: str, payload: Any) -> Any:
    """The Python service."""
    return f"{name} heard {payload}"


def free_port() -> int:
    """A port nobody listens on now; Grenache's Node server cannot be asked which one the system gave it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def install() -> Path | None:
    """The folder with Grenache's clients for Node, None where they cannot be had."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        return None
    folder = Path(tempfile.gettempdir()) / f"dhtex-example-{os.getuid()}"
    if not (folder / "node_modules").exists():
        folder.mkdir(exist_ok=True)
        (folder / "package.json").write_text(json.dumps(PACKAGE))
        command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--fetch-retries=0"]
        if subprocess.run(command, cwd=folder, check=False).returncode:  # noqa: S603  # npm, with fixed arguments
            return None
    (folder / "peer.js").write_text(NODE_PEER)
    return folder


async def main() -> None:
    folder = await asyncio.to_thread(install)
    async with (
        Grape() as one,
        Grape(bootstrap=[one.dht_address]) as two,
        GrenacheService(f"http://{one.http_address}", "python-service", answer),
        GrenacheClient(f"http://{two.http_address}") as client,
    ):
        await two.ready()
        print("in python:", await client.request("python-service", "hello from python"))
        if folder is None:
            print("node is missing, or npm could not install the clients: the Node half is left out")
            return
        node = await asyncio.create_subprocess_exec(
            *("node", "peer.js", f"http://{two.http_address}", str(free_port())),
            cwd=folder,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            print((await node.stdout.readline()).decode().strip() if node.stdout else "")
            print("in python:", await client.request("node-service", "hello from python"))
        finally:
            node.kill()
            await node.communicate()


asyncio.run(main())
