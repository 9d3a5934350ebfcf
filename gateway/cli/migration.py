"""`gateway migrate central`: take over what was exported from Azure IoT Central."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer

from gateway.cli.channel import run_job
from gateway.cli.options import CONFIG, Config, Json
from gateway.cli.output import print_json, print_table
from gateway.cli.progress import progress
from gateway.errors import OperationError

__all__ = ["app"]

app = typer.Typer(help="Move here from another service.")

_MAX_JSON_BYTES: Final = 64 * 1024 * 1024
_MAX_CHUNK_BYTES: Final = 1024 * 1024
"""Of a line on the control socket; a template may be large."""
_CERTIFICATES: Final = (".pem", ".crt", ".cer")
_NOUNS: Final = {
    "template": "device templates", "group": "enrollment groups", "enrollment": "individual enrollments",
    "device": "devices", "file": "files",
}  # fmt: skip
_SHOWN: Final = 20
_KEPT: Final = 10_000
"""Notes that are held for printing; the counts are right whatever their number."""


@app.command()
def central(
    *,
    paths: Annotated[
        list[Path], typer.Argument(metavar="DIR|FILE...", help="What was exported: see docs/migration.md.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be made, and what conflicts; write nothing.")
    ] = False,
    auto_approve: Annotated[
        bool, typer.Option(help="Groups register new devices at once, or let them wait for approval.")
    ] = True,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Take over devices, keys, certificates, groups and templates from Azure IoT Central.

    What is here already is left alone, and conflicts are listed; a second run changes nothing.
    """
    notes: list[dict[str, Any]] = []
    with progress("reading", total=None) as bar:

        def on_progress(report: dict[str, Any]) -> None:
            notes.extend(report["notes"][: _KEPT - len(notes)])
            bar(report["done"], f"{report['done']:,} things")

        result = run_job(
            config, "migrate.central", _chunks(_Export(paths, config)), on_progress, dry_run=dry_run,
            auto_approve=auto_approve,
        )  # fmt: skip
    if as_json:
        print_json(result | {"notes": notes})
    else:
        _print_outcome(result, notes, config)
    if any(counted["conflict"] or counted["problem"] for counted in result["counts"].values()):
        raise typer.Exit(1)


class _Export:
    """The files of an export, read once for each kind of thing that is in them."""

    def __init__(self, paths: Iterable[Path], config: Path) -> None:
        from gateway.operations.central_export import signers_in  # noqa: PLC0415
        from gateway.settings import load_settings  # noqa: PLC0415

        self._extended = load_settings(config).provisioning.extended_device_ids
        files = sorted(_files(paths))
        self._signers: dict[str, str] = {}
        for file in files:
            if file.suffix.lower() in _CERTIFICATES:
                self._signers |= signers_in(_read(file))
        # What the REST API says of a device is more than what the CSV says, so it comes first.
        self._files = [
            file for suffix in (".json", ".jsonl", ".csv") for file in files if file.suffix.lower() == suffix
        ]
        if not self._files:
            raise OperationError(
                "there is nothing to migrate",
                hint="name a directory with .json and .csv files: docs/migration.md",
            )
        self._kinds: dict[Path, set[str]] = {}

    def items(self) -> Iterator[dict[str, Any]]:
        """In the order in which things build on one another."""
        from gateway.operations.central_export import KINDS  # noqa: PLC0415

        scopes: set[str] = set()
        for kind in KINDS:
            for file in self._files:
                if file in self._kinds and kind not in self._kinds[file]:
                    continue
                seen: set[str] = set()
                for item in self._items(file):
                    seen.add(item["kind"])
                    if item["kind"] != kind or (kind == "scope" and item["id"] in scopes):
                        continue
                    if kind == "scope":
                        scopes.add(item["id"])
                    yield item
                self._kinds[file] = seen

    def _items(self, file: Path) -> Iterator[dict[str, Any]]:
        from gateway.operations.central_export import is_csv, items_of_csv, items_of_json  # noqa: PLC0415
        from gateway.operations.device_csv import MAX_LINE_BYTES  # noqa: PLC0415

        if not is_csv(file.name):
            yield from items_of_json(str(file), _read(file), signers=self._signers)
            return
        try:
            source = file.open("rb")
        except OSError as error:
            raise OperationError(f"{file}: can't be read: {error.strerror}") from None
        with source:
            lines = iter(lambda: source.readline(MAX_LINE_BYTES + 1), b"")
            try:
                yield from items_of_csv(str(file), lines, extended_ids=self._extended)
            except OperationError as error:
                raise OperationError(f"{file}: {error.message}", hint=error.hint) from None


def _chunks(export: _Export) -> Iterator[list[dict[str, Any]]]:
    from gateway.operations.jobs import CHUNK  # noqa: PLC0415

    chunk: list[dict[str, Any]] = []
    size = 0
    for item in export.items():
        length = len(orjson.dumps(item))
        if chunk and (len(chunk) == CHUNK or size + length > _MAX_CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(item)
        size += length
    if chunk:
        yield chunk


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from (file for file in path.rglob("*") if file.is_file())
        elif path.exists():
            yield path
        else:
            raise OperationError(f"{path}: no such file or directory")


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as source:
            content = source.read(_MAX_JSON_BYTES + 1)
    except OSError as error:
        raise OperationError(f"{file}: can't be read: {error.strerror}") from None
    if len(content) > _MAX_JSON_BYTES:
        raise OperationError(
            f"{file}: larger than {_MAX_JSON_BYTES // 1024 // 1024} MiB",
            hint="keep each page in a file of its own",
        )
    return content


def _print_outcome(result: dict[str, Any], notes: list[dict[str, Any]], config: Path) -> None:
    counts = result["counts"]
    made = "NEW" if result["applied"] else "WOULD BE NEW"
    print_table(
        ("", made, "AS IT IS", "CONFLICTS", "PROBLEMS", "LEFT OUT"),
        (
            (
                noun,
                *(
                    f"{counts[kind][outcome]:,}"
                    for outcome in ("created", "unchanged", "conflict", "problem", "skipped")
                ),
            )
            for kind, noun in _NOUNS.items()
            if kind != "file" or any(counts[kind].values())
        ),
        empty="",
    )
    if result["byGroup"]:
        print(f"{result['byGroup']:,} devices are let in by a group, with the keys they have")
    for outcome, stream in (("created", sys.stdout), ("unchanged", sys.stdout), ("skipped", sys.stdout),
                            ("conflict", sys.stderr), ("problem", sys.stderr)):  # fmt: skip
        some = [note for note in notes if note["outcome"] == outcome]
        for note in some[:_SHOWN]:
            said = {"created": "new", "unchanged": "as it is", "skipped": "left out"}.get(outcome, outcome)
            noun = {
                "group": "enrollment group",
                "template": "device template",
                "enrollment": "credential of",
            }.get(note["kind"], note["kind"])
            print(
                f"{said}: {noun} {note['id']}" + (f": {note['detail']}" if note["detail"] else ""),
                file=stream,
            )
        if len(some) > _SHOWN:
            print(f"… and {len(some) - _SHOWN:,} more (--json has them)", file=stream)
    if not result["applied"]:
        print("nothing was written (--dry-run)")
    _print_scope(result["idScope"], result["hosts"], config)


def _print_scope(scope: dict[str, Any], hosts: list[str], config: Path) -> None:
    match scope["central"]:
        case []:
            print(
                f"ID scope: the export does not say it; this gateway's is {scope['here']}. Devices must say the same."
            )
        case [there] if there == scope["here"]:
            print(f"ID scope: {there}, here as there")
        case [there]:
            print(
                f"ID scope: devices say {there}, this gateway's is {scope['here']}. To let them in, set\n"
                f"    id_scope: {there}\nin {config}, and restart the gateway."
            )
        case several:
            print(
                f"ID scope: the export has several: {', '.join(several)}. A gateway has one: set `id_scope` in {config}."
            )
    print(f"host: devices must dial {hosts[0]} instead of global.azure-devices-provisioning.net")
