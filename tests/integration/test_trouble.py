"""When the machine says no: one line that says what to do, no traceback, nothing lost."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import fleet_of
from tests.support.device import Device
from tests.support.disks import fill, tmpfs
from tests.support.gateway_process import GatewayProcess, free_port, run_cli


def failure_of(setup: GatewayProcess, command: list[str] | None = None) -> str:
    """Serve, expect it to fail by itself, and return what it printed."""
    done = subprocess.run(
        [*(command or [sys.executable, "-m", "gateway", "serve"]), "-c", setup.setup["config"]],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    printed = done.stdout + done.stderr
    assert "Traceback" not in printed
    if command is None:
        assert done.returncode == 1, printed
    return printed


def failed_lines(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if "gateway.failed" in line or line.startswith("error:")]


@pytest.fixture
def occupied() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("0.0.0.0", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.mark.parametrize(
    "command", [None, [str(Path(sys.executable).parent / "amqtt")]], ids=["gateway", "amqtt"]
)
def test_a_device_port_in_use_is_named(tmp_path: Path, occupied: int, command: list[str] | None) -> None:
    setup = GatewayProcess(tmp_path / "gw", port=occupied)
    (line,) = failed_lines(failure_of(setup, command))
    assert f"0.0.0.0:{occupied}" in line
    assert "address already in use" in line
    assert "devices.bind" in line


def test_an_application_port_in_use_is_told(tmp_path: Path, occupied: int) -> None:
    setup = GatewayProcess(tmp_path / "gw")
    config = Path(setup.setup["config"])
    config.write_text(
        config.read_text().replace(f"127.0.0.1:{setup.setup['appPort']}", f"127.0.0.1:{occupied}")
    )
    lines = failed_lines(failure_of(setup))
    assert len(lines) == 1
    assert "address already in use" in lines[0]
    assert "listeners.default.bind" in lines[0]


def test_a_second_gateway_on_the_same_state_is_refused(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path / "gw") as running:
        config = Path(running.setup["config"])
        second = config.with_name("second.yaml")
        text = config.read_text()
        for name in ("port", "appPort", "plainPort"):
            text = text.replace(f":{running.setup[name]}", f":{free_port()}")
        second.write_text(text)
        running.setup["config"] = second
        (line,) = failed_lines(failure_of(running))
    assert "another gateway runs" in line
    assert f"process {running.pid}" in line


@pytest.mark.parametrize("content", [b"this is no database", b"SQLite format 3\x00" + b"\xff" * 4096])
def test_a_corrupt_database_is_named_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    setup = GatewayProcess(tmp_path / "gw")
    state = tmp_path / "gw" / "state"
    for file in state.glob("gateway.db*"):
        file.unlink()
    (state / "gateway.db").write_bytes(content)
    (line,) = failed_lines(failure_of(setup))
    assert str(state / "gateway.db") in line
    assert (state / "gateway.db").read_bytes() == content


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("server.key", None, "can't be read: No such file"),
        ("server.key", "not a key", "not a PEM file"),
        ("server.crt", "not a certificate", "not a PEM file"),
        ("app.password", None, "can't be read: No such file"),
    ],
)
def test_a_key_file_that_can_t_be_used_is_named(
    tmp_path: Path, file: str, content: str | None, problem: str
) -> None:
    setup = GatewayProcess(tmp_path / "gw")
    path = tmp_path / "gw" / file
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    (line,) = failed_lines(failure_of(setup))
    assert str(path) in line
    assert problem in line


def test_another_server_s_key_is_told_apart(tmp_path: Path) -> None:
    setup = GatewayProcess(tmp_path / "gw")
    (tmp_path / "gw" / "server.key").write_bytes((tmp_path / "gw" / "ca.key").read_bytes())
    (line,) = failed_lines(failure_of(setup))
    assert "not the key of" in line


def test_ctrl_c_ends_the_gateway_in_order(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path / "gw").start()
    fleet = fleet_of(gateway)
    with fleet.hub("last-1") as device:
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGINT)
        assert device.is_closed()
        assert gateway.stop() == 0
    assert gateway.lines("session.closed", device_id="last-1", reason="shutting_down")
    assert gateway.lines("gateway.stopped")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    with tmpfs(tmp_path / "disk", megabytes=3) as directory:
        yield directory


def test_on_a_full_disk_new_devices_are_told_to_come_back_and_known_ones_are_served(small_disk: Path) -> None:
    gateway = GatewayProcess(small_disk / "gw").start()
    try:
        fleet = fleet_of(gateway)
        with fleet.hub("known-1") as device:
            device.subscribe("$iothub/twin/res/#")
            ballast = small_disk / "ballast"
            fill(ballast)
            # A page or two may still fit, so what is told first is whichever device finds the disk full.
            codes = [first_connect(gateway, fleet, f"late-{number}") for number in range(60)]
            assert 3 in codes
            assert set(codes) <= {0, 3}
            refused = f"late-{codes.index(3)}"
            line = gateway.wait_for("connect.refused", device_id=refused)
            assert (line["reason"], bool(line["hint"])) == ("store_unavailable", True)
            device.ping()
            with fleet.hub("known-1") as again:
                again.ping()
            ballast.unlink()
            assert first_connect(gateway, fleet, refused) == 0
    finally:
        assert gateway.stop() == 0
    assert "Traceback" not in "\n".join(gateway.output)


def first_connect(gateway: GatewayProcess, fleet: object, device_id: str) -> int:
    with Device.plain(gateway.setup) as device:
        return device.connect(device_id, *fleet.hub_login(device_id))  # type: ignore[attr-defined]


def test_a_setup_on_a_full_disk_says_so(small_disk: Path) -> None:
    fill(small_disk / "ballast")
    done = run_cli("init", small_disk / "gw", "--json", check=False)
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]


def test_a_device_over_the_limit_is_closed_at_once_and_counted_in_the_log(tmp_path: Path) -> None:
    def edit(text: str) -> str:
        return text.replace(
            "    devices:\n      bind:", "    devices:\n      max_connections: 2\n      bind:"
        )

    with GatewayProcess(tmp_path / "gw", edit=edit) as gateway:
        fleet = fleet_of(gateway)
        with fleet.hub("first-1") as first, fleet.hub("second-1"):
            with Device.plain(gateway.setup) as third:
                assert third.is_closed()
            line = gateway.wait_for("listener.refused")
            assert (line["count"], line["limit"]) == (1, 2)
            first.disconnect()
            gateway.wait_for("session.closed", device_id="first-1")
        with fleet.hub("third-1") as third:
            third.ping()
