"""`gateway logs -f` as a process, beside a gateway that devices come to, and that restarts."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import fleet_of
from tests.support.device import Device, Fleet
from tests.support.gateway_process import TIMEOUT_S, GatewayProcess


@contextmanager
def following(gateway: GatewayProcess, *arguments: str) -> "Iterator[subprocess.Popen[str]]":
    """`gateway logs -f …`, ended as a person does it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "logs", "-f", *arguments, "-c", gateway.setup["config"]],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        yield process
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.communicate()


def next_event(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr.read() if process.stderr else ""
    return dict(json.loads(line))


def refuse(gateway: GatewayProcess, device_id: str) -> None:
    with Device.plain(gateway.setup) as device:
        device.connect(device_id, f"localhost/{device_id}/?api-version=2021-04-12", "not a token")


def test_what_happens_to_one_device_is_followed_as_it_happens(gateway: GatewayProcess, fleet: Fleet) -> None:
    refuse(gateway, "log-1")
    with following(gateway, "--device", "log-1", "--json") as process:
        assert next_event(process)["reason"] == "token_malformed"
        with fleet.hub("log-2"), fleet.hub("log-1"):
            seen = [next_event(process) for _ in range(2)]
    assert [event["event"] for event in seen] == ["registration.created", "session.opened"]
    assert {event["device_id"] for event in seen} == {"log-1"}
    logged = gateway.lines("session.opened", device_id="log-1")[0]
    assert seen[1].items() >= {**logged, "timestamp": seen[1]["timestamp"]}.items()


def test_the_last_events_are_printed_by_name_and_level(gateway: GatewayProcess) -> None:
    refuse(gateway, "log-3")
    refuse(gateway, "log-3")
    printed = gateway.cli(
        "logs", "-n", "2", "--device", "log-3", "--event", "connect.*", "--level", "warning"
    ).stdout
    assert [line.split()[1:4] for line in printed.splitlines()] == [
        ["warning", "connect.refused", "log-3"]
    ] * 2
    assert gateway.cli("logs", "--device", "log-3", "--level", "error").stdout == ""


def test_a_wrong_name_is_one_line(gateway: GatewayProcess) -> None:
    ended = gateway.cli("logs", "--event", "DROP TABLE", check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: events.0: ")


def test_without_a_gateway_there_is_nothing_to_follow(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path / "gw")
    ended = gateway.cli("logs", "-f", check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: no gateway runs on ")


@pytest.fixture
def own_gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path / "gw") as process:
        yield process


def test_a_gateway_that_restarts_is_waited_for(own_gateway: GatewayProcess) -> None:
    fleet = fleet_of(own_gateway)
    with following(own_gateway, "--event", "session.opened", "--json") as process:
        with fleet.hub("log-1"):
            assert next_event(process)["device_id"] == "log-1"
        own_gateway.kill()
        with GatewayProcess(own_gateway.directory, init=False), fleet.hub("log-2"):
            assert next_event(process)["device_id"] == "log-2"
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    notices = [line for line in told.splitlines() if line.startswith("-- the gateway ")]
    assert [line.rpartition(" ")[2] for line in notices[:2]] == ["it", "back"]


def test_a_log_file_is_reopened_when_logrotate_says_so(tmp_path: Path) -> None:
    path = tmp_path / "gateway.log"
    gateway = GatewayProcess(
        tmp_path / "gw", edit=lambda text: text.replace("format: json", f"format: json\n      file: {path}")
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve", "-c", gateway.setup["config"]],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        wait_until(lambda: "gateway.started" in (path.read_text() if path.exists() else ""), process)
        path.rename(tmp_path / "gateway.log.1")
        process.send_signal(signal.SIGHUP)
        wait_until(path.exists, process)
        refuse(gateway, "log-file")
        wait_until(lambda: "connect.refused" in path.read_text(), process)
    finally:
        process.terminate()
        printed, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert printed == b""
    assert "gateway.stopped" in path.read_text()


def wait_until(condition: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    """A file has no news to wait for, so it is looked at; bounded by the process's own life."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        os.sched_yield()
