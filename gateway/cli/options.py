"""The options that every command has."""

from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.cli.completion import complete_device

__all__ = ["CONFIG", "Config", "DeviceId", "Json", "RootConfig"]

CONFIG: Final = Path("gateway.yaml")
"""The configuration file if none is named."""

_HELP: Final = "The gateway's configuration file."
_VARIABLE: Final = "GATEWAY_CONFIG"


def _remember(ctx: typer.Context, value: Path | None) -> Path | None:
    ctx.obj = value
    return value


def _resolve(ctx: typer.Context, value: Path) -> Path:
    """`-c` after the command, else `-c` before it, else the environment variable, else ./gateway.yaml."""
    source = ctx.get_parameter_source("config")
    given_here = source is not None and source.name == "COMMANDLINE"
    return value if given_here or ctx.obj is None else ctx.obj


RootConfig = Annotated[Path | None, typer.Option("-c", "--config", callback=_remember, help=_HELP)]
Config = Annotated[Path, typer.Option("-c", "--config", envvar=_VARIABLE, callback=_resolve, help=_HELP)]
DeviceId = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="The device's id, which is its registration id.", autocompletion=complete_device
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")]
