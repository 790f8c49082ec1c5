"""The `dhtex` command; one file a subcommand, imported when it is called."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import version
from typing import Final

import click

from dhtex.errors import DhtexError

_COMMANDS: Final = {
    "demo": "dhtex.cli.demo:demo",
    "grape": "dhtex.cli.grape:grape",
    "journal": "dhtex.cli.journal:journal",
    "peer": "dhtex.cli.peer:peer",
    "replay": "dhtex.cli.replay:replay",
    "simulate": "dhtex.cli.simulate:simulate",
}
"""Name of a subcommand -> where it is."""


class _Commands(click.Group):
    """Imports a subcommand when it is named, so that `dhtex --help` and each command start fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = _COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        _name_variables(command, f"DHTEX_{cmd_name.upper()}")
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Errors of this package and of the system end as one sentence and an exit code, never as a traceback."""
        try:
            return super().invoke(ctx)
        except DhtexError as error:
            click.echo(f"dhtex: {error}", err=True)
            sys.exit(error.exit_code)
        except BrokenPipeError:
            raise  # whoever reads has enough, as after `| head -1`: click ends quietly
        except OSError as error:
            from dhtex.cli.output import end_output  # noqa: PLC0415  # see the class

            end_output()
            where = f" ({error.filename})" if error.filename else ""
            said = error.strerror or str(error) or "it took too long"
            click.echo(f"dhtex: the system says: {said}{where}; see to it, then call again", err=True)
            sys.exit(1)


def _name_variables(command: click.Command, prefix: str) -> None:
    """Let every long spelling of an option be an environment variable: `--dht_port` of `grape`, DHTEX_GRAPE_DHT_PORT.

    click's own naming takes the name of the function's argument, which nobody outside sees.
    """
    for option in command.params:
        if isinstance(option, click.Option):
            names = (text.removeprefix("--") for text in option.opts if text.startswith("--"))
            option.envvar = [f"{prefix}_{name.upper().replace('-', '_')}" for name in names]
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            _name_variables(inner, f"{prefix}_{name.upper()}")


@click.group(
    cls=_Commands,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "show_default": True,
    },
)
@click.version_option(version("dhtex"), prog_name="dhtex")
def main() -> None:
    """A peer-to-peer exchange: discovery, one agreed order of events, a real matching engine.

    Every option can be given by an environment variable: `dhtex peer --market` is DHTEX_PEER_MARKET.
    """
