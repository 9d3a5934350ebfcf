"""The command line: `python -m loadtest storm --help`."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from gateway.errors import GatewayError, OperationError
from gateway.secrets import SymmetricKey
from loadtest.devices import Population
from loadtest.result import StormResult, print_result
from loadtest.storm import Route, StormPlan, Target, run_storm

app = typer.Typer(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})

_NOT_ALL_ADMITTED = 1
_FAILED = 2
_INTERRUPTED = 130
_TLS_PORT, _PLAIN_PORT = 8883, 1884


@app.callback()
def root() -> None:
    """Put the gateway under load, and count exactly what became of it."""


@app.command()
def storm(  # noqa: PLR0917 - options, which typer passes by keyword
    devices: Annotated[int, typer.Option("-n", "--devices", min=1, help="How many.")],
    group_key: Annotated[
        str,
        typer.Option(envvar="GATEWAY_GROUP_KEY", show_default=False, help="The SAS enrollment group's key."),
    ],
    host: Annotated[str, typer.Option(help="One of the names the gateway goes by.")] = "localhost",
    port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            show_default=f"{_TLS_PORT}, with --plain {_PLAIN_PORT}",
            help="The devices' port.",
        ),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Without TLS.")] = False,
    ca: Annotated[Path | None, typer.Option(help="PEM: the CA of the gateway's certificate.")] = None,
    path: Annotated[
        Route, typer.Option(help="Straight to the hub, or to the provisioning service first.")
    ] = Route.HUB,
    id_scope: Annotated[str, typer.Option(help="For --path dps.")] = "",
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, show_default="as fast as possible", help="New devices a second."),
    ] = None,
    connectors: Annotated[int, typer.Option(min=1, help="Devices between dialling and their outcome.")] = 200,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one device waits.")] = 30.0,
    hold: Annotated[float, typer.Option(min=0, help="Seconds that all stay connected at the end.")] = 0.0,
    prefix: Annotated[str, typer.Option(help="Of the device ids.")] = "storm-",
    model: Annotated[str | None, typer.Option(help="The model that the devices announce.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
) -> None:
    """Open many devices, and keep them open until all have their outcome.

    Exit code: 0 all were admitted, 1 not all were, 2 it could not be run, 130 Ctrl-C ended it.
    """
    if plain == (ca is not None):
        raise OperationError("say either --plain or --ca FILE")
    if path is Route.DPS and not id_scope:
        raise OperationError("--path dps needs --id-scope")
    try:
        key = SymmetricKey.from_base64(group_key)
    except ValueError as error:
        raise OperationError(f"the group key: {error}") from None
    target = Target(host=host, port=port or (_PLAIN_PORT if plain else _TLS_PORT), ca_file=ca)
    population = Population(count=devices, group_key=key, id_scope=id_scope, prefix=prefix, model_id=model)
    plan = StormPlan(path=path, rate_per_s=rate, connectors=connectors, timeout_s=timeout, hold_s=hold)
    result, interrupted = uvloop.run(_run(target, population, plan))
    if as_json:
        print(json.dumps(result.to_json()))
    else:
        print_result(result, Console())
    if interrupted:
        raise typer.Exit(_INTERRUPTED)
    raise typer.Exit(0 if result.all_admitted else _NOT_ALL_ADMITTED)


async def _run(target: Target, population: Population, plan: StormPlan) -> tuple[StormResult, bool]:
    """Ctrl-C ends the storm early, and what was counted until then is told; a second one ends it at once."""
    stop = asyncio.Event()
    task = asyncio.current_task()
    assert task is not None

    def interrupt() -> None:
        if stop.is_set():
            task.cancel()
        stop.set()

    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupt)
    result = await run_storm(target, population, plan, stop)
    return result, stop.is_set()


def main() -> None:
    """Run the command line; what can't be run is one line on standard error."""
    try:
        app(prog_name="python -m loadtest")
    except asyncio.CancelledError:
        sys.exit(_INTERRUPTED)
    except GatewayError as error:
        hint = f" ({error.hint})" if error.hint else ""
        print(f"error: {error}{hint}", file=sys.stderr)
        sys.exit(_FAILED)


if __name__ == "__main__":
    main()
