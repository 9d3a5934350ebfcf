"""The command tree, and the one place where a failure becomes a line and an exit code."""

import os
from collections.abc import Callable, Sequence
from typing import Annotated, Final

import typer

from gateway import __version__
from gateway.cli import (
    demo,
    device_files,
    devices,
    encryption,
    enrollments,
    groups,
    load,
    migration,
    setup,
    signing,
    simulation,
    templates,
    tokens,
)
from gateway.cli.audit import audit
from gateway.cli.channel import call_running
from gateway.cli.logs import logs
from gateway.cli.options import CONFIG, Config, Json, RootConfig
from gateway.cli.output import print_error, print_json
from gateway.cli.status import status
from gateway.cli.trace import trace
from gateway.cli.why import why
from gateway.errors import GatewayError, OperationError

__all__ = ["app", "run"]

_DEBUG: Final = "GATEWAY_DEBUG"
_HEALTH_TIMEOUT_S: Final = 5.0
_FAILED, _MISUSED, _INTERRUPTED = 1, 2, 130

app = typer.Typer(
    help="A self-hosted MQTT device gateway.", context_settings={"help_option_names": ["-h", "--help"]}
)


def run(arguments: Sequence[str]) -> int:
    """Run a command line. The exit code: 0, 1 if it failed, 2 if it can't be understood, 130 if interrupted."""
    as_json = "--json" in arguments
    try:
        outcome = typer.main.get_command(app).main(
            args=list(arguments), prog_name="gateway", standalone_mode=False
        )
    except GatewayError as error:
        print_error(error, as_json=as_json)
        return _FAILED
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        hint = f"see `{context.command_path} --help`" if context is not None else ""
        print_error(OperationError(error.format_message(), hint=hint), as_json=as_json)
        return _MISUSED
    except (typer.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except Exception as error:
        if os.environ.get(_DEBUG):
            raise
        print_error(_fault(error), as_json=as_json)
        return _FAILED
    return outcome if isinstance(outcome, int) else 0


def _fault(error: Exception) -> GatewayError:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return GatewayError(f"{where}{error.strerror}")
    return GatewayError(
        f"an error in the gateway itself: {type(error).__name__}: {error}",
        hint=f"please report it, with what {_DEBUG}=1 shows",
    )


def _print_version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    config: RootConfig = None,  # noqa: ARG001 - its callback keeps it for the command
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Run a gateway, and operate it."""
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


app.command("init")(setup.init)


@app.command()
def serve(config: Config = CONFIG) -> None:
    """Run the gateway until SIGINT or SIGTERM."""
    from gateway.app import serve as serve_until_stopped  # noqa: PLC0415

    raise typer.Exit(serve_until_stopped(config))


@app.command()
def health(config: Config = CONFIG, as_json: Json = False) -> None:
    """Succeed if the gateway runs and its store answers: for a container's health check."""
    status = call_running(config, "status", timeout_s=_HEALTH_TIMEOUT_S)
    if as_json:
        print_json({"healthy": True, "sessions": status["sessions"]})
    else:
        print(f"healthy, {status['sessions']} sessions")


@app.command()
def doctor(config: Config = CONFIG, as_json: Json = False) -> None:
    """Check file modes, weak settings, certificates, clock, database, disk space and limits. Exit code 1 if one is bad."""
    from gateway.cli.doctor import run_checks  # noqa: PLC0415 - it needs more than other commands do

    raise typer.Exit(run_checks(config, as_json=as_json))


app.command("status")(status)
app.command("why")(why)
app.command("logs")(logs)
app.command("trace")(trace)
_SHORTCUTS: Final[dict[str, Callable[..., None]]] = {
    "approve": devices.approve,
    "block": devices.block,
    "import": device_files.import_,
    "export": device_files.export,
}
for _name, _command in _SHORTCUTS.items():
    app.command(_name, rich_help_panel="Shortcuts", help=f"Short for `gateway device {_name}`.")(_command)
app.command("simulate")(simulation.simulate)
app.command("demo")(demo.demo)
app.command("loadtest", context_settings=load.PASSED_ON)(load.loadtest)
app.command("audit")(audit)
groups.app.add_typer(signing.app, name="ca")
app.add_typer(groups.app, name="group")
app.add_typer(enrollments.app, name="enrollment")
app.add_typer(devices.app, name="device")
app.add_typer(templates.app, name="template")
app.add_typer(migration.app, name="migrate")
app.add_typer(tokens.app, name="token")
app.add_typer(encryption.app, name="encryption-key")
