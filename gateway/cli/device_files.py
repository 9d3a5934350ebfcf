"""`gateway device import` and `gateway device export`: devices in and out as CSV, a line at a time."""

import contextlib
import csv
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any, Final, Self

import typer

from gateway.cli.channel import call_pages, run_job
from gateway.cli.options import CONFIG, Config, Json
from gateway.cli.output import print_json
from gateway.cli.progress import Progress, progress
from gateway.cli.selection import (
    GroupFilter,
    PrefixFilter,
    StatusFilter,
    TagFilter,
    TemplateFilter,
    Unassociated,
)
from gateway.errors import ConflictError, OperationError

__all__ = ["export", "import_"]

_PROBLEM_COLUMNS: Final = ("LINE", "COLUMN", "IOTC_DEVICEID", "PROBLEM", "HINT")
_SHOWN_PROBLEMS: Final = 10
_PAGE: Final = 500
_STANDARD: Final = Path("-")


def import_(
    *,
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV with the columns IOTC_DEVICEID, IOTC_DEVICENAME, TEMPLATE, TAGS; - is standard input."
        ),
    ],
    atomic: Annotated[
        bool, typer.Option("--atomic", help="All rows, or none: one problem, and nothing is written.")
    ] = False,
    update: Annotated[
        bool,
        typer.Option("--update", help="Change devices that are there already, as the file has them."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every row and count; write nothing.")
    ] = False,
    errors: Annotated[
        Path | None,
        typer.Option(help="Where rows with problems are listed; default: FILE.errors.csv, if there are any."),
    ] = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Register many devices from a CSV file. Giving the same file again changes nothing."""
    listed = errors or Path("devices.errors.csv" if file == _STANDARD else f"{file}.errors.csv")
    with (
        _Problems(listed) as problems,
        _opened(file) as source,
        progress(file.name, total=_size(source)) as bar,
    ):
        feed = _Feed(source, config, problems, bar)
        try:
            result = run_job(
                config, "device.import", feed.chunks(), feed.on_progress,
                atomic=atomic, update=update, dry_run=dry_run,
            )  # fmt: skip
        except KeyboardInterrupt:
            stays = (
                "nothing was written"
                if atomic or dry_run
                else "what was registered stays; give the file again"
            )
            print(f"stopped after {feed.rows:,} rows: {stays}", file=sys.stderr)
            raise
    if problems.count:
        result["errors"] = str(problems.path)
    if as_json:
        print_json(result)
    else:
        _print_outcome(result, dry_run=dry_run)
        problems.print_first()
    if result["failed"]:
        raise typer.Exit(1)


def export(
    *,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to write; default: standard output.")
    ] = None,
    keys: Annotated[
        bool, typer.Option("--keys", help="Add the devices' SAS keys. They are secrets.")
    ] = False,
    keys_of: Annotated[
        str | None,
        typer.Option(
            help="The SAS group whose keys devices get that no group has let in; default: SAS-IoT-Devices."
        ),
    ] = None,
    status: StatusFilter = None,
    template: TemplateFilter = None,
    group: GroupFilter = None,
    prefix: PrefixFilter = None,
    tag: TagFilter = None,
    unassociated: Unassociated = False,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Write devices as CSV: what they are, their thumbprints, and with --keys their SAS keys.

    With --json: one JSON object a line.
    """
    from gateway.operations.device_csv import EXPORT_COLUMNS, export_row  # noqa: PLC0415

    with _created(out) as file, progress("exporting", total=None) as bar:
        writer = csv.writer(file)
        count = 0
        if not as_json:
            writer.writerow(EXPORT_COLUMNS)

        def write(devices: list[dict[str, Any]]) -> None:
            nonlocal count
            if as_json:
                file.writelines(f"{json.dumps(device, ensure_ascii=False)}\n" for device in devices)
            else:
                writer.writerows(map(export_row, devices))
            count += len(devices)
            if out is not None:
                bar(count, f"{count:,} devices")

        call_pages(
            config, "device.export", "devices", write, page=_PAGE, keys=keys or keys_of is not None, keys_of=keys_of,
            status=status.value if status else None, template_id=template, group=group, id_prefix=prefix, tag=tag,
            unassociated=unassociated,
        )  # fmt: skip
    if out is not None:
        print(f"{count:,} devices written to {out}", file=sys.stderr)


class _Feed:
    """A file's rows as a job's chunks, and the job's reports on the bar."""

    def __init__(self, source: IO[bytes], config: Path, problems: "_Problems", bar: Progress) -> None:
        self._source = source
        self._config = config
        self._problems = problems
        self._bar = bar
        self._read = 0
        self.rows = 0

    def chunks(self) -> Iterator[list[Any]]:
        from gateway.operations.device_csv import read_devices  # noqa: PLC0415
        from gateway.operations.jobs import CHUNK  # noqa: PLC0415
        from gateway.settings import load_settings  # noqa: PLC0415

        extended = load_settings(self._config).provisioning.extended_device_ids
        chunk: list[Any] = []
        for row in read_devices(self._lines(), extended_ids=extended):
            chunk.append(row.to_json())
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def on_progress(self, report: dict[str, Any]) -> None:
        for problem in report["problems"]:
            self._problems.add(problem)
        self.rows = report["rows"]
        failed = f", {report['failed']:,} with problems" if report["failed"] else ""
        self._bar(self._read, f"{report['rows']:,} rows{failed}")

    def _lines(self) -> Iterator[bytes]:
        from gateway.operations.device_csv import MAX_LINE_BYTES  # noqa: PLC0415

        while line := self._source.readline(MAX_LINE_BYTES + 1):
            self._read += len(line)
            yield line


class _Problems:
    """Rows with problems, written to a file as they come; the first few are shown."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._first: list[dict[str, Any]] = []
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            with self.path.open(encoding="utf-8") as earlier:
                ours = earlier.readline().strip() == ",".join(_PROBLEM_COLUMNS)
            if ours:
                self.path.unlink()  # of an earlier import: it would mislead
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, problem: dict[str, Any]) -> None:
        from gateway.operations.device_csv import guarded  # noqa: PLC0415

        if self._file is None:
            try:
                self._file = self.path.open("w", encoding="utf-8", newline="")
            except OSError as error:
                raise OperationError(
                    f"{self.path}: can't be written: {error.strerror}",
                    hint="say with --errors where rows with problems are to be listed",
                ) from None
            csv.writer(self._file).writerow(_PROBLEM_COLUMNS)
        cells = (problem["line"], problem["column"], problem["id"], problem["problem"], problem["hint"])
        csv.writer(self._file).writerow([guarded(str(cell)) for cell in cells])
        self.count += 1
        if len(self._first) < _SHOWN_PROBLEMS:
            self._first.append(problem)

    def print_first(self) -> None:
        for problem in self._first:
            where = f" {problem['column']}" if problem["column"] else ""
            who = f" {problem['id']}:" if problem["id"] else ""
            hint = f" ({problem['hint']})" if problem["hint"] else ""
            print(f"line {problem['line']}{where}:{who} {problem['problem']}{hint}", file=sys.stderr)
        if self.count > len(self._first):
            print(f"… and {self.count - len(self._first):,} more", file=sys.stderr)
        if self.count:
            print(f"all rows with problems: {self.path}", file=sys.stderr)


def _print_outcome(result: dict[str, Any], *, dry_run: bool) -> None:
    counts = ", ".join(
        f"{result[name]:,} {said}"
        for name, said in (
            ("created", "registered"), ("updated", "updated"), ("unchanged", "unchanged"), ("failed", "with problems"),
        )
        if result[name] or name == "created"
    )  # fmt: skip
    if dry_run:
        print(f"{result['rows']:,} rows would be: {counts}; nothing was written")
    elif result["applied"]:
        print(f"{result['rows']:,} rows: {counts}")
    else:
        print(f"{result['rows']:,} rows, {result['failed']:,} with problems; nothing was written (--atomic)")


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    if path == _STANDARD:
        yield sys.stdin.buffer
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise OperationError(f"{path}: can't be read: {error.strerror}") from None
    with file:
        yield file


@contextmanager
def _created(path: Path | None) -> Iterator[IO[str]]:
    """Standard output, or a new file that only its owner reads. Half a file does not stay."""
    if path is None:
        yield sys.stdout
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise ConflictError(f"{path}: exists already", hint="move it away, or write elsewhere") from None
    except OSError as error:
        raise OperationError(f"{path}: can't be written: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _size(file: IO[bytes]) -> int | None:
    """Bytes, or None for a pipe."""
    return os.fstat(file.fileno()).st_size or None
