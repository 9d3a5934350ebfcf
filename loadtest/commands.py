"""`storm`, `reconnect` and `certificates`: parse, run, tell.

Exit codes: 0 all were admitted, 1 not all were, 2 it could not be run, 130 Ctrl-C ended it.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer
from rich.console import Console

from gateway.errors import GatewayError
from loadtest.certificates import make_certificates
from loadtest.devices import Certificates, Population
from loadtest.options import DeviceOptions, RunOptions, takes
from loadtest.plan import Plan
from loadtest.processes import Interrupts, run
from loadtest.progress import Display
from loadtest.result import StormResult, print_result

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Put a gateway under load, and count exactly what became of it.",
)

_NOT_ALL_ADMITTED: Final = 1
_FAILED: Final = 2
_INTERRUPTED: Final = 130


@app.command()
@takes
def storm(
    fleet: DeviceOptions,
    how: RunOptions,
    hold: Annotated[float, typer.Option(min=0, help="Seconds that all stay connected at the end.")] = 0.0,
) -> None:
    """Open many devices, and keep them open until all have their outcome."""
    _run(fleet, how, how.plan(fleet.path), hold_s=hold)


@app.command()
@takes
def reconnect(
    fleet: DeviceOptions,
    how: RunOptions,
    rounds: Annotated[int, typer.Option(min=1, help="How often each device comes.")] = 1,
) -> None:
    """Connect each device, take its CONNACK, disconnect: again and again."""
    _run(fleet, how, replace(how.plan(fleet.path), stay=False, rounds=rounds))


@app.command()
def certificates(
    directory: Annotated[Path, typer.Argument(help="Where they are kept.")],
    devices: Annotated[int, typer.Option("-n", "--devices", min=1, help="For how many devices.")],
    prefix: Annotated[str, typer.Option(help="Of the device ids.")] = "storm-",
    ca_key: Annotated[Path | None, typer.Option(help="PEM: the key of the CA that signs them.")] = None,
    ca_certificate: Annotated[Path | None, typer.Option(help="PEM: that CA's certificate.")] = None,
) -> None:
    """Make the devices' certificates in advance: ID.pem for each, signed by ca.crt, which is made if need be."""
    population = Population(count=devices, credentials=Certificates(directory=directory), prefix=prefix)
    made = _certificates(population, directory, ca_key, ca_certificate)
    print(f"{devices} certificates in {directory}, {made} of them new; their CA is {directory / 'ca.crt'}")


def _certificates(population: Population, directory: Path, ca_key: Path | None, ca: Path | None) -> int:
    with Display() as display:
        return make_certificates(
            directory, population.device_ids(), ca_key_file=ca_key, ca_file=ca, told=display.certificates
        )


def _run(fleet: DeviceOptions, how: RunOptions, plan: Plan, *, hold_s: float = 0.0) -> None:
    population = fleet.population()
    target = fleet.target()
    if isinstance(population.credentials, Certificates):
        _certificates(population, population.credentials.directory, fleet.ca_key, fleet.ca_certificate)
    interrupts = Interrupts()
    with interrupts.caught(), Display(offers=population.count * plan.rounds) as display:
        tally = run(
            target,
            population,
            plan,
            processes=how.workers,
            hold_s=hold_s,
            interrupts=interrupts,
            tell=display.run,
        )
    result = StormResult.of(tally)
    if how.as_json:
        print(json.dumps(result.to_json()))
    else:
        print_result(result, Console())
    if interrupts.count:
        raise typer.Exit(_INTERRUPTED)
    raise typer.Exit(0 if result.all_admitted else _NOT_ALL_ADMITTED)


def main() -> NoReturn:
    """Run the command line; what can't be run is one line on standard error."""
    try:
        app(prog_name="python -m loadtest")
    except GatewayError as error:
        hint = f" ({error.hint})" if error.hint else ""
        print(f"error: {error}{hint}", file=sys.stderr)
        sys.exit(_FAILED)
    sys.exit(0)
