"""Devices as CSV, in IoT Central's columns and a few of our own. Reading and writing go line by line. No I/O of its own.

Reading takes what spreadsheets write: UTF-8 with or without a byte order mark, CRLF or LF, quotes, a comma, semicolon or tab
between the cells. What is wrong with one row is a `RowProblem`, and the rows after it are read; what is wrong
with the whole file is a `CsvError`.

Writing guards free text against being taken for a formula: a cell that begins with one of `=+-@`, a tab or a
carriage return gets an apostrophe in front (OWASP, "CSV Injection"), which reading takes away again. Ids, keys, thumbprints
and DTMIs stay as they are, because programs read them, and their alphabets have no way to call a function.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.errors import OperationError
from gateway.registry.device import MAX_TAGS, is_device_id, is_device_name, is_tag
from gateway.templates.dtmi import is_dtmi

__all__ = [
    "EXPORT_COLUMNS",
    "MAX_ROWS",
    "CsvError",
    "DeviceRow",
    "RowProblem",
    "export_row",
    "guarded",
    "read_devices",
    "unguarded",
]

ID, NAME, TEMPLATE, TAGS = "IOTC_DEVICEID", "IOTC_DEVICENAME", "TEMPLATE", "TAGS"
EXPORT_COLUMNS: Final = (
    ID, NAME, TEMPLATE, TAGS, "STATUS", "ENROLLMENT_GROUP",
    "IOTC_SASKEY_PRIMARY", "IOTC_SASKEY_SECONDARY", "IOTC_X509THUMBPRINT_PRIMARY", "IOTC_X509THUMBPRINT_SECONDARY",
)  # fmt: skip
"""The names that begin with IOTC_ are IoT Central's (learn.microsoft.com, "Manage devices in bulk")."""
_READ: Final = (ID, NAME, TEMPLATE, TAGS)
_CREDENTIALS: Final = {
    "IOTC_SASKEY_PRIMARY": "primary_key",
    "IOTC_SASKEY_SECONDARY": "secondary_key",
    "IOTC_X509THUMBPRINT_PRIMARY": "primary_thumbprint",
    "IOTC_X509THUMBPRINT_SECONDARY": "secondary_thumbprint",
}
_IGNORED: Final = frozenset(EXPORT_COLUMNS) - set(_READ)
"""What an export has and an import does not take: an exported file can be imported as it is."""

MAX_ROWS: Final = 1_000_000
MAX_LINE_BYTES: Final = 64 * 1024
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "'")
_SPREADSHEETS: Final = "in a spreadsheet, save as “CSV UTF-8”"


class CsvError(OperationError):
    """The file as a whole is not a list of devices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRow:
    """One device to be. `line` is where its row begins, from 1. None and () mean that the file does not say."""

    line: int
    id: str
    name: str | None = None
    template: str | None = None
    tags: tuple[str, ...] = ()
    credentials: dict[str, str] = field(default_factory=dict, repr=False)
    """What `read_devices` was asked to read of keys and thumbprints, by the argument of `enrollment.create`."""

    def to_json(self) -> dict[str, Any]:
        return {
            "line": self.line,
            "id": self.id,
            "name": self.name,
            "template": self.template,
            "tags": self.tags,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RowProblem:
    """Why a row was not taken, and what to do. `column` is empty if it is the row as a whole."""

    line: int
    column: str = ""
    id: str = ""
    problem: str
    hint: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "line": self.line, "column": self.column, "id": self.id, "problem": self.problem, "hint": self.hint,
        }  # fmt: skip


def read_devices(
    lines: Iterable[bytes], *, extended_ids: bool, of_central: bool = False
) -> Iterator[DeviceRow | RowProblem]:
    """The rows of a file that is open in binary. Raises `CsvError`. Rows without any content are passed over.

    `of_central`: it is an export of IoT Central's, so keys and thumbprints are read, and columns that nobody knows
    are passed over.
    """
    reader = _Records(lines)
    columns = _columns(reader, of_central=of_central)
    seen: dict[str, int] = {}
    for line, cells in reader:
        if isinstance(cells, RowProblem):
            yield cells
            continue
        if not any(cell.strip() for cell in cells):
            continue
        row = _row(line, cells, columns, extended_ids=extended_ids)
        if isinstance(row, DeviceRow):
            if len(seen) >= MAX_ROWS:
                raise CsvError(f"more than {MAX_ROWS:,} devices", hint="split the file")
            earlier = seen.setdefault(row.id, line)
            if earlier != line:
                row = RowProblem(
                    line=line, column=ID, id=row.id, problem=f"line {earlier} has this id already",
                    hint="keep one of the two",
                )  # fmt: skip
        yield row


def export_row(device: dict[str, Any]) -> list[str]:
    """The cells of a device that `device.export` returned, under `EXPORT_COLUMNS`."""
    return [
        device["id"],
        guarded(device["name"]),
        device["template"] or "",
        guarded(" ".join(device["tags"])),
        device["status"],
        device["enrollmentGroup"] or "",
        device.get("primaryKey") or "",
        device.get("secondaryKey") or "",
        device.get("primaryThumbprint") or "",
        device.get("secondaryThumbprint") or "",
    ]


def guarded(text: str) -> str:
    """Free text as a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def unguarded(cell: str) -> str:
    """What `guarded` was given."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


class _Records:
    """The records of a file, each with the line on which it begins; a record that can't be read is a `RowProblem`."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self._line = 0
        self.header = self._text(next(self._lines, b"").removeprefix(b"\xef\xbb\xbf"))
        self.delimiter = max(",;\t", key=self.header.count)
        self._reader = csv.reader(self._texts(), delimiter=self.delimiter, strict=True)

    def __iter__(self) -> Iterator[tuple[int, list[str] | RowProblem]]:
        while True:
            begins = self._line + 1
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield begins, RowProblem(line=begins, problem=f"not CSV: {error}", hint=_QUOTES)
                continue
            if any("\udc80" <= letter <= "\udcff" for cell in cells for letter in cell):
                yield begins, RowProblem(line=begins, problem="not in UTF-8", hint=_SPREADSHEETS)
                continue
            yield begins, cells

    def _texts(self) -> Iterator[str]:
        for line in self._lines:
            yield self._text(line)

    def _text(self, line: bytes) -> str:
        """Bytes that are no UTF-8 are kept as surrogates, so that only their own row is lost."""
        self._line += 1
        if len(line) > MAX_LINE_BYTES:
            raise CsvError(
                f"line {self._line} is longer than {MAX_LINE_BYTES} bytes", hint=f"not CSV? {_SPREADSHEETS}"
            )
        if self._line == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise CsvError("the file is in UTF-16", hint=_SPREADSHEETS)
        if b"\0" in line:
            raise CsvError(f"line {self._line} holds a NUL byte", hint=f"not CSV? {_SPREADSHEETS}")
        return line.decode("utf-8", "surrogateescape")


_QUOTES: Final = 'a quote inside of quotes is written twice: "a ""b"" c"'


def _columns(records: _Records, *, of_central: bool) -> list[str | None]:
    """What each column holds; None: nothing that is to be read. Raises `CsvError`."""
    try:
        [names] = csv.reader([records.header], delimiter=records.delimiter, strict=True) or [[]]
    except (csv.Error, ValueError):
        names = []
    columns: list[str | None] = []
    for name in names:
        known = name.strip().upper()
        if known in columns:
            raise CsvError(f"line 1 has the column {known} twice")
        if known in _READ or (of_central and known in _CREDENTIALS):
            columns.append(known)
        elif of_central or known in _IGNORED or not known:
            columns.append(None)
        else:
            raise CsvError(
                f"line 1: the column {name.strip()[:60]!r} is unknown", hint=f"known: {', '.join(_READ)}"
            )
    if ID not in columns:
        raise CsvError(
            f"line 1 does not name the column {ID}", hint=f"the first line names the columns: {ID},{NAME}"
        )
    return columns


def _row(
    line: int, cells: Sequence[str], columns: Sequence[str | None], *, extended_ids: bool
) -> DeviceRow | RowProblem:
    if len(cells) > len(columns) and any(cell.strip() for cell in cells[len(columns) :]):
        return RowProblem(
            line=line, problem=f"{len(cells)} cells under {len(columns)} columns",
            hint='a cell that holds a comma goes into quotes: "a, b"',
        )  # fmt: skip
    values = {column: cell.strip() for column, cell in zip(columns, cells, strict=False) if column}
    device_id = values[ID] if values.get(ID) else ""

    def problem(column: str, what: str, hint: str) -> RowProblem:
        return RowProblem(line=line, column=column, id=device_id[:128], problem=what, hint=hint)

    if not is_device_id(device_id, extended=extended_ids):
        what = f"{device_id[:60]!r} is not a device id" if device_id else "the device id is missing"
        return problem(ID, what, "use letters, digits and '-' only, at most 128 of them")
    name = unguarded(values.get(NAME, ""))
    if name and not is_device_name(name):
        return problem(NAME, "not a name", "one line of at most 148 characters")
    template = values.get(TEMPLATE, "")
    if template and not is_dtmi(template):
        return problem(
            TEMPLATE, f"{template[:60]!r} is not a DTMI", "write it as dtmi:com:example:Thermostat;1"
        )
    tags = tuple(sorted(set(unguarded(values.get(TAGS, "")).split())))
    if len(tags) > MAX_TAGS:
        return problem(TAGS, f"{len(tags)} tags", f"a device has at most {MAX_TAGS}")
    for tag in tags:
        if not is_tag(tag):
            return problem(
                TAGS,
                f"{tag[:60]!r} is not a tag",
                "letters, digits and ._:=/@+-, at most 64; a space between tags",
            )
    credentials = {
        argument: values[column] for column, argument in _CREDENTIALS.items() if values.get(column)
    }
    return DeviceRow(
        line=line, id=device_id, name=name or None, template=template or None, tags=tags, credentials=credentials,
    )  # fmt: skip
