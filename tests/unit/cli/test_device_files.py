"""`gateway device import` and `gateway device export`, with no gateway running."""

import csv
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from gateway import app
from gateway.cli import device_files
from gateway.operations.device_csv import EXPORT_COLUMNS
from tests.unit.cli.conftest import Cli


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "devices.csv"


def problems(file: Path) -> list[list[str]]:
    with file.with_name(f"{file.name}.errors.csv").open(newline="") as listed:
        return list(csv.reader(listed))


def test_a_file_of_devices_is_imported_and_again_changes_nothing(cli: Cli, file: Path) -> None:
    file.write_text("IOTC_DEVICEID,IOTC_DEVICENAME,TAGS\na,Mill,site=berlin\nb,,\n")
    assert cli.text("device", "import", file) == "2 rows: 2 registered\n"
    assert cli.text("device", "import", file) == "2 rows: 0 registered, 2 unchanged\n"
    assert cli.json("device", "show", "a")["tags"] == ["site=berlin"]
    assert [device["id"] for device in cli.json("device", "list", "--tag", "site=berlin")] == ["a"]
    assert list(file.parent.glob("*.errors.csv")) == []


def test_rows_with_problems_are_shown_and_listed_in_a_file(cli: Cli, file: Path) -> None:
    file.write_text("IOTC_DEVICEID,IOTC_DEVICENAME\na b,x\nmill-1,ok\n=cmd(),y\n")
    ended = cli.run("device", "import", file)
    assert (ended.code, ended.stdout) == (1, "3 rows: 1 registered, 2 with problems\n")
    assert ended.stderr.splitlines() == [
        "line 2 IOTC_DEVICEID: a b: 'a b' is not a device id (use letters, digits and '-' only, at most 128 of them)",
        "line 4 IOTC_DEVICEID: =cmd(): '=cmd()' is not a device id "
        "(use letters, digits and '-' only, at most 128 of them)",
        f"all rows with problems: {file}.errors.csv",
    ]
    header, *rows = problems(file)
    assert header == ["LINE", "COLUMN", "IOTC_DEVICEID", "PROBLEM", "HINT"]
    assert [(row[0], row[2]) for row in rows] == [("2", "a b"), ("4", "'=cmd()")]
    file.write_text("IOTC_DEVICEID\nmill-1\n")
    cli.text("device", "import", file)
    assert not file.with_name(f"{file.name}.errors.csv").exists()


def test_a_file_of_somebody_elses_is_not_taken_for_an_old_list_of_problems(cli: Cli, file: Path) -> None:
    other = file.with_name(f"{file.name}.errors.csv")
    other.write_text("notes\n")
    file.write_text("IOTC_DEVICEID\nmill-1\n")
    cli.text("device", "import", file)
    assert other.read_text() == "notes\n"


def test_only_the_first_problems_are_shown(cli: Cli, file: Path) -> None:
    file.write_text("IOTC_DEVICEID\n" + "a b\n" * 1200)
    ended = cli.run("device", "import", file)
    assert ended.stdout == "1,200 rows: 0 registered, 1,200 with problems\n"
    assert len(ended.stderr.splitlines()) == 12
    assert ended.stderr.splitlines()[10] == "… and 1,190 more"
    assert len(problems(file)) == 1201


def test_an_atomic_import_with_a_problem_writes_nothing(cli: Cli, file: Path) -> None:
    file.write_text("IOTC_DEVICEID\nmill-1\na b\n")
    ended = cli.run("device", "import", "--atomic", file)
    assert ended.code == 1
    assert ended.stdout == "2 rows, 1 with problems; nothing was written (--atomic)\n"
    assert cli.json("device", "list") == []
    file.write_text("IOTC_DEVICEID\nmill-1\nmill-2\n")
    assert cli.json("device", "import", "--atomic", file)["applied"] is True
    assert len(cli.json("device", "list")) == 2


def test_a_dry_run_writes_nothing(cli: Cli, file: Path) -> None:
    file.write_text("IOTC_DEVICEID\nmill-1\n")
    assert cli.text("device", "import", "--dry-run", file) == (
        "1 rows would be: 1 registered; nothing was written\n"
    )
    assert cli.json("device", "list") == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,name\n", "line 1: the column 'id' is unknown"),
        (b"", "line 1 does not name the column IOTC_DEVICEID"),
        ("IOTC_DEVICEID\na\n".encode("utf-16"), "the file is in UTF-16"),
    ],
)
def test_what_is_no_list_of_devices_is_one_line(cli: Cli, file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content)
    assert cli.run("device", "import", file).error == message


def test_a_file_that_is_not_there_is_one_line(cli: Cli, file: Path) -> None:
    assert cli.run("device", "import", file).error == f"{file}: can't be read: No such file or directory"


def test_an_export_is_private_whole_and_imports_again(cli: Cli, file: Path) -> None:
    cli.text("device", "register", "a", "--name", '=HYPERLINK("x")', "--tag", "x", "--tag", "y")
    cli.text("device", "export", "-o", file, "--keys")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with file.open(newline="") as exported:
        header, row = csv.reader(exported)
    assert tuple(header) == EXPORT_COLUMNS
    assert row[:6] == ["a", '\'=HYPERLINK("x")', "", "x y", "registered", ""]
    assert row[6] == cli.text("device", "compute-key", "a").strip()
    assert cli.text("device", "import", file) == "1 rows: 0 registered, 1 unchanged\n"
    assert cli.run("device", "export", "-o", file).error == f"{file}: exists already"


def test_an_export_without_keys_has_none(cli: Cli) -> None:
    cli.text("device", "register", "a")
    printed = cli.text("device", "export")
    assert printed.splitlines()[1] == "a,a,,,registered,,,,,"
    assert json.loads(cli.text("device", "export", "--json"))["id"] == "a"


def test_a_device_is_renamed_and_tagged(cli: Cli) -> None:
    cli.text("device", "register", "a", "--tag", "old")
    assert cli.text("device", "update", "a", "--name", "Mill", "--tag", "new", "--untag", "old") == (
        "updated a\n"
    )
    shown = cli.json("device", "show", "a")
    assert (shown["name"], shown["tags"]) == ("Mill", ["new"])


def test_an_export_of_many_pages_opens_the_store_once(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        cli.text("device", "register", f"mill-{number}")
    opened, open_core = [], app.open_core

    def counted(*arguments: Any, **options: Any) -> Any:
        opened.append(1)
        return open_core(*arguments, **options)

    monkeypatch.setattr(device_files, "_PAGE", 2)
    monkeypatch.setattr(app, "open_core", counted)
    assert [line.partition(",")[0] for line in cli.text("device", "export").splitlines()[1:]] == [
        f"mill-{number}" for number in range(5)
    ]
    assert len(opened) == 1
    assert len(cli.json("device", "list", "--limit", "3")) == 3
