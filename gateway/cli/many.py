"""One verb on many devices: those that are named, those in a file, or those that a filter means.

What is named on the command line is done at once. A file or a filter may mean more than its author thinks, so how many
it means is said first, and a person is asked; a script says `--yes`.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import typer

from gateway.cli.channel import run_job
from gateway.cli.output import print_json
from gateway.cli.progress import progress
from gateway.cli.selection import Status
from gateway.errors import OperationError

__all__ = ["PAST", "Chosen", "change_many"]

PAST: Final = {
    "approve": "approved", "reject": "rejected", "block": "blocked", "unblock": "unblocked", "assign": "assigned",
    "delete": "deleted",
}  # fmt: skip
_SHOWN_PROBLEMS: Final = 10
_KEPT_PROBLEMS: Final = 1000
"""Of the JSON."""
_STANDARD: Final = Path("-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What a command line said of which devices it means."""

    ids: list[str]
    file: Path | None
    status: Status | None = None
    template: str | None = None
    model: str | None = None
    group: str | None = None
    prefix: str | None = None
    tag: str | None = None
    unassociated: bool = False
    everything: bool = False

    @property
    def filter(self) -> dict[str, Any]:
        """The arguments of the filter."""
        return {
            "status": self.status.value if self.status else None, "template_id": self.template, "model_id": self.model,
            "group": self.group, "id_prefix": self.prefix, "tag": self.tag, "unassociated": self.unassociated,
        }  # fmt: skip

    @property
    def is_single(self) -> bool:
        return (
            len(self.ids) == 1 and self.file is None and not self.everything and not any(self.filter.values())
        )

    def check(self) -> None:
        """Raise `OperationError` unless there is exactly one way of choosing."""
        ways = [bool(self.ids), self.file is not None, self.everything or any(self.filter.values())]
        if sum(ways) != 1:
            raise OperationError(
                "name devices, or a --file of them, or a filter; one of the three",
                hint="--status, --template, --model, --group, --prefix, --tag, --unassociated filter; --all is all of them",
            )

    def chunks(self) -> Iterator[list[str]]:
        """The device ids, if they are named one by one."""
        from gateway.operations.jobs import CHUNK  # noqa: PLC0415

        chunk: list[str] = []
        for device_id in self.ids or self._in_file():
            chunk.append(device_id)
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def _in_file(self) -> Iterator[str]:
        if self.file is None:
            return
        try:
            source = sys.stdin if self.file == _STANDARD else self.file.open(encoding="utf-8-sig")
        except OSError as error:
            raise OperationError(f"{self.file}: can't be read: {error.strerror}") from None
        with source:
            try:
                for number, line in enumerate(source, start=1):
                    device_id = line.strip()
                    if number == 1 and "," in device_id:
                        raise OperationError(
                            f"{self.file}: a list has one device id a line", hint="cut the other columns away"
                        )
                    if device_id and device_id != "IOTC_DEVICEID":
                        yield device_id
            except UnicodeDecodeError:
                raise OperationError(f"{self.file}: not a text file (UTF-8)") from None


@dataclass(slots=True)
class _Seen:
    """What a job reported."""

    problems: list[dict[str, Any]] = field(default_factory=list)
    done: int = 0


def change_many(
    config: Path, action: str, chosen: Chosen, *, yes: bool, dry_run: bool, as_json: bool, **arguments: Any
) -> None:
    """Carry out `action` on the chosen devices, and say what became of them. Raises `GatewayError`, `typer.Exit`."""
    chosen.check()
    arguments |= {"action": action, "by": "filter" if not chosen.ids and chosen.file is None else "list"}
    if not chosen.ids and not dry_run and not yes:
        if chosen.file == _STANDARD or not sys.stdin.isatty():
            raise OperationError(f"this may {action} many devices", hint="add --yes, or see --dry-run first")
        foreseen, _ = _run(config, chosen, arguments | {"dry_run": True}, f"counting what to {action}")
        if not _confirmed(action, foreseen):
            raise typer.Abort
    result, seen = _run(config, chosen, arguments | {"dry_run": dry_run}, action)
    if as_json:
        print_json(result | {"problems": seen.problems})
    else:
        _print_outcome(result, seen)
    if result["failed"]:
        raise typer.Exit(1)


def _run(config: Path, chosen: Chosen, arguments: dict[str, Any], doing: str) -> tuple[dict[str, Any], _Seen]:
    seen = _Seen()
    with progress(doing, total=None) as bar:

        def on_progress(report: dict[str, Any]) -> None:
            seen.problems += report["problems"][: _KEPT_PROBLEMS - len(seen.problems)]
            seen.done = report["changed"] + report["unchanged"] + report["failed"]
            of = f" of {report['total']:,}" if report["total"] is not None else ""
            bar(seen.done, f"{seen.done:,}{of} devices", total=report["total"])

        try:
            result = run_job(
                config, "device.change", chosen.chunks(), on_progress, **chosen.filter, **arguments
            )
        except KeyboardInterrupt:
            print(f"stopped after {seen.done:,} devices; what was done stays", file=sys.stderr)
            raise
    return result, seen


def _confirmed(action: str, foreseen: dict[str, Any]) -> bool:
    if not foreseen["changed"]:
        return True  # nothing will be done, and the outcome says so
    sample = ", ".join(foreseen["sample"])
    more = ", …" if foreseen["changed"] > len(foreseen["sample"]) else ""
    print(f"{sample}{more}", file=sys.stderr)
    return typer.confirm(f"{action.capitalize()} {_devices(foreseen['changed'])}?", err=True)


def _print_outcome(result: dict[str, Any], seen: _Seen) -> None:
    done = PAST[result["action"]]
    said = (
        f"{done} {_devices(result['changed'])}"
        if result["applied"]
        else (f"would be {done}: {_devices(result['changed'])}")
    )
    more = [
        f"{result[name]:,} {text}"
        for name, text in (
            ("unchanged", "unchanged"), ("failed", "with problems"), ("closedSessions", "sessions closed"),
        )
        if result[name]
    ]  # fmt: skip
    print(", ".join([said, *more]))
    if not result["applied"] and result["sample"]:
        rest = result["changed"] - len(result["sample"])
        print(", ".join(result["sample"]) + (f" and {rest:,} more" if rest else ""))
    for problem in seen.problems[:_SHOWN_PROBLEMS]:
        hint = f" ({problem['hint']})" if problem["hint"] else ""
        print(f"{problem['problem']}{hint}", file=sys.stderr)
    if result["failed"] > _SHOWN_PROBLEMS:
        print(f"… and {result['failed'] - _SHOWN_PROBLEMS:,} more", file=sys.stderr)


def _devices(count: int) -> str:
    return "1 device" if count == 1 else f"{count:,} devices"
