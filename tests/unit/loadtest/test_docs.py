"""docs/loadtest.md names what the command line has."""

import re
from pathlib import Path

import pytest
import typer.main

from loadtest.commands import app

PAGE = (Path(__file__).parents[3] / "docs" / "loadtest.md").read_text()
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def options(command: str) -> set[str]:
    return {name for parameter in COMMANDS[command].params for name in parameter.opts}


def test_every_command_is_in_the_table() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == list(COMMANDS)


def test_every_option_that_the_page_names_exists() -> None:
    known = set().union(*map(options, COMMANDS))
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)) - {"--help"} <= known


@pytest.mark.parametrize("line", re.findall(r"^gateway loadtest (.*)$", PAGE, re.MULTILINE))
def test_every_example_is_a_command_line_that_is_understood(line: str) -> None:
    command, _, rest = line.partition("#")[0].partition(" ")
    named = set(re.findall(r"(?:^| )(--?[a-z][a-z-]*)", re.sub(r"\"[^\"]*\"|'[^']*'", "", rest)))
    assert named <= options(command)
