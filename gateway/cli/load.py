"""`gateway loadtest`: the load tester under the gateway's name. What follows it is the tester's own command line."""

import typer

from gateway.errors import OperationError

__all__ = ["PASSED_ON", "loadtest"]

PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""The command's context settings: options are the tester's, `--help` too."""


def loadtest(ctx: typer.Context) -> None:
    """Put a gateway under load: storm, reconnect, soak, telemetry (docs/loadtest.md)."""
    try:
        from loadtest.commands import main  # noqa: PLC0415 - imports what no other command needs
    except ModuleNotFoundError as error:
        if error.name not in {"loadtest", "loadtest.commands"}:
            raise
        raise OperationError(
            "the load tester is not installed here",
            hint="it is the directory loadtest/ beside gateway/ in the sources",
        ) from None
    main(ctx.args, prog_name="gateway loadtest")
