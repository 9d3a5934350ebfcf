"""`storm`, `reconnect`, `soak`, `telemetry` and `certificates`: what each command asks for.

Exit codes: 0 all is as it should be, 1 it is not, 2 it could not be run, 130 Ctrl-C ended it.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from gateway.errors import GatewayError, OperationError
from loadtest.certificates import make_certificates
from loadtest.devices import Certificates, Population
from loadtest.options import ApplicationOptions, DeviceOptions, MessageOptions, RunOptions, takes
from loadtest.plan import Retry
from loadtest.processes import Hold
from loadtest.progress import Display
from loadtest.scenario import Scenario
from loadtest.subscriber import Subscriber

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Put a gateway under load, and count exactly what became of it.",
)

_FAILED: Final = 2
_LONGEST_PAUSE_S: Final = 30.0
_MESSAGES_PER_S: Final = 100.0


@app.command()
@takes
def storm(
    *,
    fleet: DeviceOptions,
    how: RunOptions,
    what: MessageOptions,
    hold: Annotated[float, typer.Option(min=0, help="Seconds that all stay connected at the end.")] = 0.0,
    leave: Annotated[
        bool, typer.Option("--leave", help="Who is in leaves at once: more devices than may be open files.")
    ] = False,
    retry: Annotated[
        bool,
        typer.Option("--retry", help="Who does not come in, or is lost, tries again, with growing pauses."),
    ] = False,
    longest_pause: Annotated[float, typer.Option(min=0.01, help="Seconds, for --retry.")] = _LONGEST_PAUSE_S,
    give_up: Annotated[
        float, typer.Option(min=0, help="Seconds after its first failure in a row, for --retry.")
    ] = Retry().give_up_s,
) -> None:
    """Open many devices, and keep them open until all have their outcome."""
    if leave and (hold or what.message_rate is not None):
        raise OperationError(
            "--leave: who leaves at once can't be held, and sends nothing", hint="leave out one of them"
        )
    plan = replace(
        how.plan(fleet),
        stay=not leave,
        messages=what.messages(hold),
        retry=replace(_retry(longest_pause), give_up_s=give_up) if retry else None,
    )
    Scenario(name="storm", fleet=fleet, how=how, plan=plan, hold=Hold(seconds=hold)).execute()


@app.command()
@takes
def reconnect(
    *,
    fleet: DeviceOptions,
    how: RunOptions,
    rounds: Annotated[int, typer.Option(min=1, help="How often each device comes.")] = 1,
    warm_up: Annotated[
        bool, typer.Option("--warm-up", help="First let each device come once, uncounted: then it is known.")
    ] = False,
    restart: Annotated[
        str | None, typer.Option(help="After that, a command that restarts the server: its memory is cold.")
    ] = None,
) -> None:
    """Connect each device, take its CONNACK, disconnect: again and again."""
    plan = replace(how.plan(fleet), stay=False, rounds=rounds)
    Scenario(name="reconnect", fleet=fleet, how=how, plan=plan, warm_up=warm_up, restart=restart).execute()


@app.command()
@takes
def soak(
    *,
    fleet: DeviceOptions,
    how: RunOptions,
    what: MessageOptions,
    duration: Annotated[float, typer.Option(min=1, help="Seconds that all are held.")],
    churn: Annotated[
        float, typer.Option(min=0, help="Devices a second that leave, and come back at once.")
    ] = 0.0,
    longest_pause: Annotated[
        float, typer.Option(min=0.01, help="Seconds until who is lost tries again, at most.")
    ] = _LONGEST_PAUSE_S,
) -> None:
    """Hold many devices for long, while some leave and come back, renew their tokens, and publish."""
    plan = replace(
        how.plan(fleet), messages=what.messages(duration), churn_per_s=churn, retry=_retry(longest_pause)
    )
    Scenario(name="soak", fleet=fleet, how=how, plan=plan, hold=Hold(seconds=duration)).execute()


@app.command()
@takes
def telemetry(
    *,
    fleet: DeviceOptions,
    how: RunOptions,
    what: MessageOptions,
    who: ApplicationOptions,
    duration: Annotated[float, typer.Option(min=0.1, help="Seconds that they publish.")] = 10.0,
) -> None:
    """Let held devices publish, subscribe as an application does, and account for every message."""
    if what.message_rate is None:
        what = replace(what, message_rate=_MESSAGES_PER_S)
    messages = what.messages(duration)
    assert messages is not None
    plan = replace(how.plan(fleet), messages=messages)
    with Subscriber(
        who.application(fleet, messages), topic=messages.topic, prefix=fleet.prefix
    ) as application:
        Scenario(
            name="telemetry",
            fleet=fleet,
            how=how,
            plan=plan,
            hold=Hold(
                seconds=duration,
                ends=lambda totals: application.wait_for(totals.published, patience_s=who.patience),
            ),
            delivery=application.delivery,
        ).execute()


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
    with Display() as display:
        made = make_certificates(
            directory,
            population.device_ids(),
            ca_key_file=ca_key,
            ca_file=ca_certificate,
            told=display.certificates,
        )
    print(f"{devices} certificates in {directory}, {made} of them new; their CA is {directory / 'ca.crt'}")


def _retry(longest_s: float) -> Retry:
    return Retry(first_s=min(Retry().first_s, longest_s), longest_s=longest_s)


def main(arguments: Sequence[str] | None = None, *, prog_name: str = "python -m loadtest") -> NoReturn:
    """Run the command line, by default this process's; what can't be run is one line on standard error."""
    try:
        app(args=arguments, prog_name=prog_name)
    except GatewayError as error:
        hint = f" ({error.hint})" if error.hint else ""
        print(f"error: {error}{hint}", file=sys.stderr)
        sys.exit(_FAILED)
    sys.exit(0)
