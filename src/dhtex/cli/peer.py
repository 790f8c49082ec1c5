"""`dhtex peer`: join a market, trade at a prompt or through a pipe."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from dhtex.cli.console import converse
from dhtex.cli.logs import configure, log_options
from dhtex.cli.options import addresses, node_ids
from dhtex.cli.output import JsonOutput, TextOutput
from dhtex.cli.pipe import read_lines
from dhtex.cli.progress import show_catch_up
from dhtex.cli.running import run
from dhtex.cli.shell import Shell
from dhtex.errors import NotRunning, UsageError
from dhtex.matching import MarketSpec
from dhtex.peer import Durability, Founding, Peer, default_data_dir

if TYPE_CHECKING:
    from dhtex.gateway import Gateway, GrenacheGateway

    Gateways = tuple[Gateway | None, GrenacheGateway | None]

_DURABILITY: Final = click.Choice(("fsync", "os"))


@click.command(short_help="Join a market and trade, at a prompt or through a pipe.")
@click.option("--market", default="BTC-USD", help="Symbol of the market.")
@click.option("--tick", default="0.01", help="Smallest price step; part of what the market is.")
@click.option("--lot", default="0.00000001", help="Smallest amount step; likewise.")
@click.option(
    "--bn", callback=addresses, default="127.0.0.1:20001", help="Grapes, host:port,...; '' for none."
)
@click.option("--contact", callback=addresses, default="", help="Peers to ask beside those that Grapes name.")
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="UDP port; 0 for one from the system.")
@click.option("--advertise", default="", help="host:port that others should use, as behind a NAT.")
@click.option("--identity", default="default", help="Name of the key pair in the data directory.")
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), default=None,
              help="Where keys and journals are kept.  [default: the user's data directory]")  # fmt: skip
@click.option("--ephemeral", is_flag=True, help="Keep nothing: a new identity, no journal.")
@click.option(
    "--durability", type=_DURABILITY, default="fsync", help="fsync survives power failure, os a crash."
)
@click.option("--found", is_flag=True, help="Found the group, whatever is announced.")
@click.option("--join", is_flag=True, help="Never found a group, wait for one.")
@click.option("--observe", is_flag=True, help="Follow without becoming a member; no trading.")
@click.option(
    "--allow",
    callback=node_ids,
    metavar="FILE",
    default=None,
    help="File of node ids that may talk, one a line.",
)
@click.option(
    "--max-datagram", default=1200, type=click.IntRange(512, 8192), help="Bytes; more only on a LAN."
)
@click.option(
    "--api", type=click.IntRange(0, 65535), default=None, help="Serve the HTTP API on this TCP port."
)
@click.option(
    "--api-public",
    is_flag=True,
    help="Serve it, and Grenache clients, on --host, where anybody can trade as this peer; else on loopback.",
)
@click.option("--api-name", multiple=True, help="A host name under which clients reach the API; repeatable.")
@click.option(
    "--grenache",
    metavar="URL",
    default=None,
    help="Serve Grenache clients too, announced through this Grape's HTTP API.",
)
@click.option(
    "--stay",
    is_flag=True,
    help="Go on when standard input ends, until a signal: for a service, which has none.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line instead of text.")
@log_options
def peer(
    market: str,
    tick: str,
    lot: str,
    bn: tuple[str, ...],
    contact: tuple[str, ...],
    host: str,
    port: int,
    advertise: str,
    identity: str,
    data_dir: Path | None,
    ephemeral: bool,
    durability: Durability,
    found: bool,
    join: bool,
    observe: bool,
    allow: frozenset[bytes] | None,
    max_datagram: int,
    api: int | None,
    api_public: bool,
    api_name: tuple[str, ...],
    grenache: str | None,
    stay: bool,
    as_json: bool,
    log_level: str,
    log_json: bool,
) -> None:
    """Join a market and trade: `buy 100 50`, `sell 30 49.5`, `book`, `help`.

    Lines can also be piped in, one command a line; the exit code is 1 if one was refused. The end of the input,
    Ctrl-C, SIGTERM and a terminal that is closed leave the group in order.
    """
    configure(log_level, log_json)
    if found and join:
        raise UsageError("--found and --join exclude each other; give one of them, or neither")
    if api_name and api is None:
        raise UsageError("--api-name is about the HTTP API; give --api PORT too")
    if api_public and api is None and grenache is None:
        raise UsageError(
            "--api-public is about the HTTP API and Grenache clients; give --api or --grenache too"
        )
    founding = Founding.FOUND if found else Founding.JOIN if join else Founding.AUTO
    folder = None if ephemeral else (data_dir or default_data_dir())

    def make() -> Peer:
        return Peer(
            MarketSpec(market, tick, lot),
            bootstrap=bn,
            contacts=contact,
            identity=None if ephemeral else identity,
            data_dir=folder,
            host=host,
            port=port,
            advertise=advertise or None,
            founding=founding,
            observe=observe,
            wait=False,
            durability=durability,
            allow=allow,
            max_datagram=max_datagram,
        )

    def serve(peer: Peer) -> Gateways:
        if api is None and grenache is None:
            return None, None
        from dhtex.gateway import Gateway, GrenacheGateway  # noqa: PLC0415  # aiohttp takes long to import

        where = host if api_public else "127.0.0.1"
        return (
            None if api is None else Gateway(peer, where, api, public=api_public, hosts=api_name),
            None if grenache is None else GrenacheGateway(peer, grenache, where, public=api_public),
        )

    sys.exit(run(lambda: _trade(make, serve, folder, as_json=as_json, stay=stay)))


async def _trade(
    make: Callable[[], Peer],
    serve: Callable[[Peer], Gateways],
    folder: Path | None,
    *,
    as_json: bool,
    stay: bool,
) -> int:
    """Run until the input ends, `quit`, nobody reads the output, a signal or a failure; the exit code."""
    peer = make()
    output = JsonOutput() if as_json else TextOutput()
    shell = Shell(peer, output)
    interactive = sys.stdin.isatty() and sys.stdout.isatty() and not as_json
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(_end, asyncio.create_task(shell.tell_news()))
        stack.push_async_callback(shell.close)
        await stack.enter_async_context(peer)
        http, grenache = serve(peer)
        for gateway in (http, grenache):
            if gateway is not None:
                await stack.enter_async_context(gateway)
        shell.started(http.url if http else None, grenache.names if grenache else ())
        if interactive:
            work = asyncio.create_task(converse(shell, peer, folder))
        else:
            work = asyncio.create_task(read_lines(shell, peer, stay=stay))
            stack.push_async_callback(_cancel, asyncio.create_task(show_catch_up(peer)))
        stack.push_async_callback(_cancel, work)
        failure = asyncio.create_task(peer.failure())
        stack.push_async_callback(_cancel, failure)
        unheard = asyncio.create_task(output.unheard.wait())
        stack.push_async_callback(_cancel, unheard)
        await asyncio.wait((work, failure, unheard), return_when=asyncio.FIRST_COMPLETED)
        if failure.done():
            raise failure.result()
        if not unheard.done():
            await work
    output.check()
    return 1 if shell.refused or output.unheard.is_set() else 0


async def _cancel(task: asyncio.Task[object]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, NotRunning):
        await task


async def _end(news: asyncio.Task[None]) -> None:
    """The peer is closed: its streams have ended, and so does whoever reads them."""
    await news
