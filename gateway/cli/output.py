"""What a command prints: columns for people, or one JSON document for programs; errors in one line.

Results go to stdout, errors to stderr, so that `gateway … --json | jq` and `$(gateway …)` always work.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from gateway.api.error_form import error_to_json
from gateway.errors import GatewayError
from gateway.printable import escaped

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["print_error", "print_fields", "print_json", "print_page", "print_table", "printable"]

_PIPE_WIDTH: Final = 1000
"""Columns are never cut for a program that reads them."""
_STATUS_STYLES: Final = {"provisioned": "green", "waiting": "yellow", "blocked": "red"}


def print_json(document: Any) -> None:
    text = json.dumps(document, indent=2, ensure_ascii=False)
    print("\n".join(map(escaped, text.split("\n"))))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Rows under their headings; `empty` is said (on stderr) if there are none."""
    from rich import box  # noqa: PLC0415 - rich takes as long to import as a command to run
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(*columns, box=box.SIMPLE_HEAD if sys.stdout.isatty() else None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(text := _plain(cell), style=_STATUS_STYLES.get(text, "")) for cell in row))
    if not table.row_count:
        print(empty, file=sys.stderr)
        return
    print_page(table)


def print_page(page: "RenderableType") -> None:
    """In the terminal's width and colours; for a program in plain lines, never cut."""
    from rich.console import Console  # noqa: PLC0415

    if sys.stdout.isatty():
        Console(highlight=False).print(page)
        return
    console = Console(width=_PIPE_WIDTH, highlight=False)
    with console.capture() as captured:
        console.print(page)
    for line in captured.get().splitlines():
        print(line.rstrip())


def printable(document: Any) -> Any:
    """The document without what would steer a terminal: a stranger chooses a user name, or a certificate's subject."""
    match document:
        case str() if not document.isprintable():
            return "".join(each if each.isprintable() else repr(each)[1:-1] for each in document)
        case list():
            return [printable(each) for each in document]
        case dict():
            return {name: printable(each) for name, each in document.items()}
        case _:
            return document


def print_fields(fields: dict[str, object]) -> None:
    """One `name  value` line each."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        print(f"{name:<{width}}  {_plain(value)}".rstrip())


def print_error(error: GatewayError, *, as_json: bool) -> None:
    """`error: …` and `hint: …`, one line each; or the error's JSON form on one line."""
    if as_json:
        print(escaped(json.dumps({"error": error_to_json(error)}, ensure_ascii=False)), file=sys.stderr)
        return
    print(f"error: {_one_line(error.message)}", file=sys.stderr)
    if error.hint:
        print(f"hint: {_one_line(error.hint)}", file=sys.stderr)


def _plain(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(_plain, value))
        case dict():
            return ", ".join(f"{name} {_plain(part)}" for name, part in value.items())
        case _:
            return str(printable(str(value)))


def _one_line(text: str) -> str:
    return str(printable(" ".join(text.split())))
