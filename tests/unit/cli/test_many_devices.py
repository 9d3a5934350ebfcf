"""`gateway device approve|block|…` on many devices, and `gateway device connection`, with no gateway running."""

import stat
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Cli


@pytest.fixture
def three(cli: Cli) -> Cli:
    for device_id in ("mill-1", "mill-2", "pump-1"):
        cli.text("device", "register", device_id)
    return cli


def statuses(cli: Cli) -> dict[str, str]:
    return {device["id"]: device["status"] for device in cli.json("device", "list")}


def test_devices_are_named_one_by_one(three: Cli) -> None:
    assert three.text("device", "block", "mill-1", "pump-1") == "blocked 2 devices\n"
    assert statuses(three) == {"mill-1": "blocked", "mill-2": "registered", "pump-1": "blocked"}
    assert three.text("device", "block", "mill-1", "mill-2") == "blocked 1 device, 1 unchanged\n"
    assert three.text("device", "unblock", "mill-1") == "unblocked mill-1\n"


def test_devices_stand_in_a_file(three: Cli, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("\ufeffIOTC_DEVICEID\r\nmill-1\r\n\r\nnobody\r\n")
    ended = three.run("device", "delete", "--file", tmp_path / "list", "--yes")
    assert (ended.code, ended.stdout) == (1, "deleted 1 device, 1 with problems\n")
    assert ended.stderr == "there is no device nobody (see `gateway device list`)\n"
    assert set(statuses(three)) == {"mill-2", "pump-1"}
    (tmp_path / "list").write_text("IOTC_DEVICEID,IOTC_DEVICENAME\na,b\n")
    assert "one device id a line" in three.run("device", "delete", "--file", tmp_path / "list", "-y").error


def test_a_filter_needs_a_yes_where_nobody_can_be_asked(three: Cli) -> None:
    refused = three.run("device", "block", "--prefix", "mill-")
    assert refused.error == "this may block many devices"
    assert set(statuses(three).values()) == {"registered"}
    assert three.text("device", "block", "--prefix", "mill-", "--dry-run").splitlines() == [
        "would be blocked: 2 devices",
        "mill-1, mill-2",
    ]
    assert three.text("device", "block", "--prefix", "mill-", "--yes") == "blocked 2 devices\n"
    assert statuses(three) == {"mill-1": "blocked", "mill-2": "blocked", "pump-1": "registered"}
    assert three.json("device", "unblock", "--all", "--yes")["changed"] == 2


@pytest.mark.parametrize(
    "arguments", [(), ("mill-1", "--all"), ("mill-1", "--tag", "x"), ("--file", "list", "--all")]
)
def test_which_devices_are_meant_is_said_in_one_way(three: Cli, arguments: tuple[str, ...]) -> None:
    ended = three.run("device", "delete", *arguments, "--yes")
    assert ended.error == "name devices, or a --file of them, or a filter; one of the three"
    assert len(statuses(three)) == 3


def test_devices_are_migrated_to_a_template(three: Cli, tmp_path: Path) -> None:
    model = "dtmi:com:example:Mill;1"
    (tmp_path / "model.json").write_text(
        f'{{"@context": "dtmi:dtdl:context;2", "@id": "{model}", "@type": "Interface", "contents": []}}'
    )
    three.text("template", "import", tmp_path / "model.json")
    assert three.text("device", "migrate", model, "--prefix", "mill-", "--yes") == "assigned 2 devices\n"
    assert [device["id"] for device in three.json("device", "list", "--template", model)] == [
        "mill-1",
        "mill-2",
    ]


def test_a_devices_connection_is_shown_with_its_qr_code_and_a_snippet(cli: Cli, tmp_path: Path) -> None:
    key = cli.text("device", "compute-key", "mill-1").strip()
    shown = cli.json("device", "connection", "mill-1", "--keys")
    assert shown["primaryKey"] == key
    assert shown["svg"].startswith("<svg")
    printed = cli.text("device", "connection", "mill-1", "--keys", "--qr", "--snippet")
    assert "█" in printed
    assert f'symmetric_key="{key}"' in printed
    compile(printed[printed.index("# pip install") :], "snippet", "exec")
    assert key not in cli.text("device", "connection", "mill-1", "--qr", "--snippet")
    cli.text("device", "connection", "mill-1", "--svg", tmp_path / "qr.svg", "--keys")
    assert stat.S_IMODE((tmp_path / "qr.svg").stat().st_mode) == 0o600
