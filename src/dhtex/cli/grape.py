"""`dhtex grape`: a Grape with the original's options."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from dhtex.cli.logs import configure, log_options
from dhtex.cli.output import JsonOutput, Output, TextOutput
from dhtex.cli.running import run
from dhtex.grape import BootstrapReached, BootstrapUnreachable, EventStream, Grape, Settings

_MILLISECONDS = 1_000.0


@click.command()
@click.option(
    "bind", "-b", "--b", "--bind", default="127.0.0.1", help="Address to listen on; :: takes IPv4 and IPv6."
)
@click.option("--dp", "--dht_port", default=20_001, type=click.IntRange(0, 65_535), help="DHT port (UDP).")
@click.option("--aph", "--api_port", default=30_001, type=click.IntRange(0, 65_535), help="HTTP API port.")
@click.option("--bn", "--bootstrap", default="", help="Other Grapes, host:port, separated by commas.")
@click.option(
    "--dc", "--dht_concurrency", default=24, type=click.IntRange(1), help="Requests of one look-up at once."
)
@click.option(
    "--dpa",
    "--dht_peer_maxAge",
    default=120_000,
    type=click.IntRange(1),
    help="Milliseconds an announcement lives unless it is repeated.",
)
@click.option(
    "--dnl",
    "--dht_nodeLiveness",
    default=300_000,
    type=click.IntRange(1),
    help="Milliseconds of silence after which a node is asked whether it lives.",
)
@click.option("--dht_maxTables", default=5_000, type=click.IntRange(1), help="Names remembered.")
@click.option("--dht_maxValues", default=5_000, type=click.IntRange(1), help="Items stored.")
@click.option(
    "--cache_maxAge",
    default=1_000,
    type=click.IntRange(0),
    help="Milliseconds a Grape that keeps a name itself may reuse the network's answer; 0 for never.",
)
@click.option(
    "--check_maxPayloadSize", default=8_192, type=click.IntRange(1), help="Bytes of an HTTP request body."
)
@click.option("--api-host", show_default="that of --bind", help="Address of the HTTP API.")
@click.option(
    "--api-public", is_flag=True, help="The HTTP API may be reached from other machines by anybody."
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to keep contacts and items in across restarts.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line instead of text.")
@log_options
def grape(  # click passes options by name
    bind: str,
    dp: int,
    aph: int,
    bn: str,
    dc: int,
    dpa: int,
    dnl: int,
    dht_maxtables: int,
    dht_maxvalues: int,
    cache_maxage: int,
    check_maxpayloadsize: int,
    api_host: str | None,
    api_public: bool,
    data_dir: Path | None,
    as_json: bool,
    log_level: str,
    log_json: bool,
) -> None:
    """Run a Grape: discovery for peers and for Grenache services. Ctrl-C ends it.

    \b
    Alone:        dhtex grape
    Two of them:  dhtex grape --dp 20001 --aph 30001 --bn 127.0.0.1:20002
                  dhtex grape --dp 20002 --aph 40001 --bn 127.0.0.1:20001
    """
    configure(log_level, log_json)
    settings = Settings(
        alpha=min(Settings().alpha, dc),
        concurrency=dc,
        age_s=dpa / _MILLISECONDS,
        answer_age_s=cache_maxage / _MILLISECONDS,
        liveness_s=dnl / _MILLISECONDS,
        names_max=dht_maxtables,
        items_max=dht_maxvalues,
    )
    here = Grape(
        dht_port=dp,
        http_port=aph,
        bootstrap=[name for name in bn.split(",") if name.strip()],
        host=bind,
        http_host=api_host,
        http_public=api_public,
        data_dir=data_dir,
        settings=settings,
        body_max=check_maxpayloadsize,
    )
    raise SystemExit(run(lambda: _serve(here, JsonOutput() if as_json else TextOutput())))


async def _serve(here: Grape, output: Output) -> int:
    """Run until a signal cancels this; tell on standard error how the network is doing."""
    events = here.events()
    async with here:
        output.say(
            "started",
            f"DHT on {here.dht_address}, HTTP API on http://{here.http_address}",
            dht=here.dht_address,
            http=here.http_address,
        )
        output.check()
        await _narrate(events)
    return 0


async def _narrate(events: EventStream) -> None:
    """One line when the bootstrap stops answering and one when somebody is found, not one for each try."""
    unreachable = False
    async for event in events:
        match event:
            case BootstrapUnreachable() if not unreachable:
                unreachable = True
                click.echo(f"{event}, and again until one does", err=True)
            case BootstrapReached():
                unreachable = False
                click.echo(str(event), err=True)
            case _:
                await asyncio.sleep(0)
