"""The command line: `python -m loadtest.bench --help`."""

import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from gateway.errors import GatewayError, OperationError
from loadtest.bench.arena import Arena
from loadtest.bench.cores import choose_cores, open_files_allowed
from loadtest.bench.machine import describe, file_system
from loadtest.bench.plan import FULL, SMOKE, Row, rows
from loadtest.bench.report import Report
from loadtest.bench.rounds import run_rounds

app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})

_FAILED: Final = 2
_INTERRUPTED: Final = 130
_FILE_WIDTH: Final = 150
_IN_MEMORY: Final = {"tmpfs", "ramfs"}


@app.command()
def bench(  # noqa: PLR0917 - options, which typer passes by keyword
    rounds: Annotated[int, typer.Option(min=1, help="How many, besides the one to warm up.")] = 5,
    only: Annotated[
        str, typer.Option(metavar="N,N…", show_default="all", help="Only these rows of the table.")
    ] = "",
    smoke: Annotated[
        bool, typer.Option("--smoke", help="A few devices and one round: does every scenario work?")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write every round's figures there.")
    ] = None,
    update: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the table into this page, between its two markers."),
    ] = None,
    directory: Annotated[
        Path,
        typer.Option(
            help="Where the servers' files go, on a real disk. Removed again, unless something fails: the logs are there."
        ),
    ] = Path(),
) -> None:
    """Measure the server CPU time of a connect: the gateway beside Mosquitto and stock amqtt."""
    if not sys.platform.startswith("linux"):
        raise OperationError(
            "the bench reads CPU clocks and sets affinities as Linux has them, and nothing else"
        )
    if smoke and update is not None:
        raise OperationError("--smoke measures nothing that is worth a page", hint="leave out one of the two")
    table = _rows(only, smoke=smoke)
    console = Console() if sys.stdout.isatty() else Console(width=_FILE_WIDTH)
    cores = choose_cores()
    place = _place(directory, console)
    machine = describe(place, cores)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: no server is left behind
    try:
        with Arena(place, cores) as arena, console.status("") as status:
            results = run_rounds(table, 0 if smoke else rounds, arena, status.update)
    except KeyboardInterrupt:
        cores.end_all()
        shutil.rmtree(place)
        raise
    # After an error the directory stays, with the servers' logs.
    shutil.rmtree(place)
    report = Report(machine=machine, command=_command(rounds, only), rows=table, results=results)
    if smoke:
        report.print_smoke(console)
    else:
        report.print(console)
    if json_file is not None:
        json_file.write_text(json.dumps(report.to_json(), indent=2) + "\n", encoding="utf-8")
    if update is not None:
        report.update(update)


def _rows(only: str, *, smoke: bool) -> list[Row]:
    size = SMOKE if smoke else FULL
    known = sorted({row.number for row in rows(size)})
    files = open_files_allowed()
    try:
        wanted = {int(number) for number in only.split(",") if number}
    except ValueError:
        wanted = {-1}
    if wanted - set(known):
        raise OperationError(
            f"--only {only}: no such rows",
            hint=f"write some of {', '.join(map(str, known))} with commas between",
        )
    return rows(size, wanted, open_files=files)


def _place(directory: Path, console: Console) -> Path:
    """A new directory below it, on a disk if possible: a commit into memory costs nothing."""
    try:
        place = Path(tempfile.mkdtemp(prefix=".bench-", dir=directory.absolute()))
    except OSError as error:
        raise OperationError(f"{directory}: can't be written to: {error.strerror}") from None
    if (kind := file_system(place)) in _IN_MEMORY:
        console.print(
            f"{directory.absolute()} is on {kind}, where durable is cheap: name a directory on a disk with --directory",
            style="yellow",
        )
    return place


def _command(rounds: int, only: str) -> str:
    """What measures the same again; where the files go does not matter."""
    return f"python -m loadtest.bench --rounds {rounds}{only and f' --only {only}'}"


def main() -> None:
    """Run the command line; what can't be run is one line on standard error."""
    try:
        app(prog_name="python -m loadtest.bench")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except GatewayError as error:
        hint = f" ({error.hint})" if error.hint else ""
        print(f"error: {error}{hint}", file=sys.stderr)
        sys.exit(_FAILED)


if __name__ == "__main__":
    main()
