"""`docs/reference/commands.md` against the commands themselves, so that the page cannot go stale."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dhtex.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
CONTEXT = click.Context(main)


def leaves(group: click.Group, words: tuple[str, ...] = ()) -> dict[str, click.Command]:
    """Every command that does something, by its words."""
    found: dict[str, click.Command] = {}
    for name in group.list_commands(CONTEXT):
        command = group.get_command(CONTEXT, name)
        assert command is not None
        if isinstance(command, click.Group):
            found |= leaves(command, (*words, name))
        else:
            found[" ".join((*words, name))] = command
    return found


COMMANDS = leaves(main)


def rows(command: click.Command) -> list[str]:
    """What the page says of each option: spellings, default, environment variable."""
    told = []
    for option in command.params:
        if not isinstance(option, click.Option):
            continue
        spellings = ", ".join(f"`{text}`" for text in (*option.opts, *option.secondary_opts))
        shown = isinstance(option.default, str | int) and not option.is_flag and option.default != ""
        default = f"`{option.default}`" if shown else ""
        variables = ", ".join(f"`{variable}`" for variable in option.envvar or ())
        told.append(f"| {spellings} | {default} | {variables} |")
    return told


@pytest.mark.parametrize("command", [[], ["journal"]])
def test_what_the_commands_are_for_is_said_whole(command: list[str]) -> None:
    assert "..." not in CliRunner().invoke(main, [*command, "--help"]).output.partition("Commands:")[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_told_with_its_default_and_variable(name: str) -> None:
    assert f"## dhtex {name}\n" in PAGE
    section = PAGE.split(f"## dhtex {name}\n")[1].split("\n## ")[0]
    told = [line.rsplit("|", 2)[0] + "|" for line in section.splitlines() if line.startswith("| `")]
    assert told == rows(COMMANDS[name])


def test_no_command_is_told_that_is_not_there() -> None:
    told = [line.removeprefix("## dhtex ") for line in PAGE.splitlines() if line.startswith("## dhtex ")]
    assert told == list(COMMANDS)
