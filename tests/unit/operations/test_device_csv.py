"""What spreadsheets and scripts write is read; what is wrong is told with its line; nothing becomes a formula."""

import contextlib
import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.operations import device_csv
from gateway.operations.device_csv import (
    EXPORT_COLUMNS,
    CsvError,
    DeviceRow,
    RowProblem,
    export_row,
    guarded,
    read_devices,
    unguarded,
)


def read(content: str | bytes, *, extended: bool = False) -> list[DeviceRow | RowProblem]:
    data = content.encode() if isinstance(content, str) else content
    return list(read_devices(io.BytesIO(data), extended_ids=extended))


def told(problem: DeviceRow | RowProblem) -> tuple[int, str, str]:
    assert isinstance(problem, RowProblem)
    return problem.line, problem.column, problem.problem


@pytest.mark.parametrize(
    "content",
    [
        "IOTC_DEVICEID,IOTC_DEVICENAME\nmill-1,Mühle\n",
        "\ufeffIOTC_DEVICEID,IOTC_DEVICENAME\r\nmill-1,Mühle\r\n",
        "iotc_devicename;iotc_deviceid\nMühle;mill-1",
        "IOTC_DEVICEID\tIOTC_DEVICENAME\nmill-1\tMühle\n",
        '"IOTC_DEVICEID","IOTC_DEVICENAME"\n"mill-1","Mühle"\n\n,\n',
        "IOTC_DEVICEID,IOTC_DEVICENAME,IOTC_SASKEY_PRIMARY\nmill-1,Mühle,c2VjcmV0\n",
        "IOTC_DEVICEID, IOTC_DEVICENAME ,\n mill-1 , Mühle ,\n",
    ],
    ids=["plain", "byte order mark and CRLF", "semicolons", "tabs", "quotes and empty rows", "an export", "spaces"],
)  # fmt: skip
def test_what_spreadsheets_write_is_read(content: str) -> None:
    assert read(content) == [DeviceRow(line=2, id="mill-1", name="Mühle")]


def test_template_and_tags_are_columns_of_our_own() -> None:
    content = "IOTC_DEVICEID,TEMPLATE,TAGS\na,dtmi:com:example:Mill;1,site=berlin hall-3 hall-3\nb,,\n"
    assert read(content) == [
        DeviceRow(line=2, id="a", template="dtmi:com:example:Mill;1", tags=("hall-3", "site=berlin")),
        DeviceRow(line=3, id="b"),
    ]


def test_a_rows_problem_is_told_with_its_line_and_column_and_the_others_are_read() -> None:
    rows = read(
        "IOTC_DEVICEID,IOTC_DEVICENAME,TEMPLATE,TAGS\n"
        "a b,,,\n"
        ",nameless,,\n"
        f"long,{'x' * 149},,\n"
        'two,"two\nlines",,\n'
        "model,,Thermostat,\n"
        "tags,,,a,b,c\n"
        'tags,,,"a,b"\n'
        f"tags,,,{' '.join(map(str, range(33)))}\n"
        'quotes,"a"b"\n'
        "good,,,\n"
        "good,again,,\n"
    )
    assert [told(row) for row in rows[:-2]] == [
        (2, "IOTC_DEVICEID", "'a b' is not a device id"),
        (3, "IOTC_DEVICEID", "the device id is missing"),
        (4, "IOTC_DEVICENAME", "not a name"),
        (5, "IOTC_DEVICENAME", "not a name"),
        (7, "TEMPLATE", "'Thermostat' is not a DTMI"),
        (8, "", "6 cells under 4 columns"),
        (9, "TAGS", "'a,b' is not a tag"),
        (10, "TAGS", "33 tags"),
        (11, "", "not CSV: ',' expected after '\"'"),
    ]
    assert rows[-2] == DeviceRow(line=12, id="good")
    assert told(rows[-1]) == (13, "IOTC_DEVICEID", "line 12 has this id already")


def test_longer_ids_are_read_if_the_setting_allows_them() -> None:
    assert isinstance(read("IOTC_DEVICEID\na.b:c\n")[0], RowProblem)
    assert read("IOTC_DEVICEID\na.b:c\n", extended=True) == [DeviceRow(line=2, id="a.b:c")]


def test_a_row_in_another_encoding_is_told_and_the_others_are_read() -> None:
    rows = read("IOTC_DEVICEID,IOTC_DEVICENAME\na,x\nb,Mühle\nc,y\n".encode("latin-1"))
    assert [row.line for row in rows] == [2, 3, 4]
    assert told(rows[1]) == (3, "", "not in UTF-8")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1 does not name the column IOTC_DEVICEID"),
        (b"id,name\na,b\n", "line 1: the column 'id' is unknown"),
        (b"IOTC_DEVICENAME\na\n", "line 1 does not name the column IOTC_DEVICEID"),
        (b"IOTC_DEVICEID,IOTC_DEVICEID\n", "line 1 has the column IOTC_DEVICEID twice"),
        (b"IOTC_DEVICEID,IOTC_DEVICENAM\n", "line 1: the column 'IOTC_DEVICENAM' is unknown"),
        ("IOTC_DEVICEID\na\n".encode("utf-16"), "the file is in UTF-16"),
        (b"IOTC_DEVICEID\na\0b\n", "line 2 holds a NUL byte"),
        (b"IOTC_DEVICEID\n" + b"x" * 70_000, "line 2 is longer than 65536 bytes"),
        (b'"IOTC_DEVICEID\na\n', "line 1 does not name the column IOTC_DEVICEID"),
    ],
)
def test_what_is_no_list_of_devices_is_refused_in_one_line(content: bytes, message: str) -> None:
    with pytest.raises(CsvError) as caught:
        read(content)
    assert caught.value.message == message
    assert caught.value.hint or "twice" in message


def test_a_quote_that_is_never_closed_is_told_where_it_opens() -> None:
    assert told(read('IOTC_DEVICEID,IOTC_DEVICENAME\na,x\nb,"open\nc,y\n')[-1]) == (
        3, "", "not CSV: unexpected end of data",
    )  # fmt: skip


def test_a_file_has_at_most_so_many_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_csv, "MAX_ROWS", 2)
    with pytest.raises(CsvError, match="more than 2 devices"):
        read("IOTC_DEVICEID\na\nb\nc\n")


@given(st.binary(max_size=400))
def test_no_bytes_make_the_reader_fall_over(content: bytes) -> None:
    for data in (content, b"IOTC_DEVICEID,IOTC_DEVICENAME,TAGS\n" + content):
        with contextlib.suppress(CsvError):
            rows = read(data)
            ids = [row.id for row in rows if isinstance(row, DeviceRow)]
            assert len(set(ids)) == len(ids)
            assert [row.line for row in rows] == sorted(row.line for row in rows)


NAMES = st.text(min_size=1, max_size=60).filter(lambda name: name == name.strip() and name.isprintable())
DEVICES = st.fixed_dictionaries(
    {
        "id": st.from_regex(r"[A-Za-z0-9-]{1,40}", fullmatch=True),
        "name": NAMES,
        "template": st.sampled_from([None, "dtmi:com:example:Mill;1"]),
        "tags": st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:=/@+-]{0,20}", fullmatch=True), max_size=5),
        "status": st.just("registered"),
        "enrollmentGroup": st.none(),
    }
)


@given(st.lists(DEVICES, max_size=10, unique_by=lambda device: device["id"]))
def test_what_is_exported_is_imported_as_it_was(devices: list[dict[str, Any]]) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(EXPORT_COLUMNS)
    writer.writerows(map(export_row, devices))
    assert read(file.getvalue()) == [
        DeviceRow(
            line=line, id=device["id"], name=device["name"], template=device["template"],
            tags=tuple(sorted(set(device["tags"]))),
        )
        for line, device in enumerate(devices, start=2)
    ]  # fmt: skip


@given(st.text(max_size=40))
def test_free_text_never_begins_like_a_formula_and_comes_back(text: str) -> None:
    assert not guarded(text).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert unguarded(guarded(text)) == text
