"""`python -m loadtest` against a real gateway, as its operator runs it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway_process import GatewayProcess

ROOT = Path(__file__).parents[2]


def loadtest(gateway: GatewayProcess, *arguments: str | Path, code: int = 0) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "loadtest", *map(str, arguments), "-c", gateway.setup["config"], "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == code, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_strangers_stay_outside_and_the_registry_holds_exactly_those_that_were_let_in(
    gateway: GatewayProcess,
) -> None:
    told = loadtest(gateway, "storm", "-n", "30", "--plain", "--bad-credentials", "0.2", "--prefix", "mixed-")
    assert (told["offered"], told["admitted"], told["refused"]) == (30, 24, {"connack 5": 6})
    assert told["badCredentials"] == {"offered": 6, "admittedDevices": 0}
    assert (told["registry"]["holds"], told["registry"]["acknowledged"]) == (True, 24)
    assert len(listed(gateway, "mixed-")) == 24


def listed(gateway: GatewayProcess, prefix: str) -> list[str]:
    from loadtest.registry_check import read_registry

    return [device_id for device_id, _ in read_registry(Path(gateway.setup["config"]), prefix)]


@pytest.mark.parametrize("path", ["hub", "dps"])
@pytest.mark.parametrize("credentials", ["sas", "certificate"])
def test_devices_come_in_over_tls_with_each_credential_on_each_path(
    gateway: GatewayProcess, path: str, credentials: str, tmp_path: Path
) -> None:
    prefix = f"{credentials}-{path}-"
    arguments = ["--credentials", credentials, "--path", path, "--prefix", prefix, "--tls-version", "1.2"]
    told = loadtest(
        gateway, "storm", "-n", "4", *arguments, "--certificates", tmp_path / "kept", "--subscribe"
    )
    assert told["admitted"] == 4
    assert listed(gateway, prefix) == [f"{prefix}00000{number}" for number in range(1, 5)]


def test_a_device_that_vanished_from_the_registry_is_listed_and_the_exit_code_says_so(
    gateway: GatewayProcess,
) -> None:
    config = gateway.setup["config"]
    running = subprocess.Popen(
        [sys.executable, "-m", "loadtest", "storm", "-n", "2", "-c", config, "--plain", "--prefix", "gone-",
         "--hold", "3600", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )  # fmt: skip
    assert running.stderr is not None
    assert running.stderr.readline() == "holding 2 sessions\n"
    gateway.cli("device", "delete", "gone-000002", "--yes")
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=60)
    told = json.loads(out)
    assert running.returncode == 1
    assert told["registry"]["missing"] == {"count": 1, "devices": ["gone-000002"]}
    assert told["lost"] == 1


def test_reconnecting_devices_find_a_restarted_gateway_and_its_registry(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path / "gw")
    script = tmp_path / "restart.py"
    with gateway:
        script.write_text(
            RESTART.format(
                pid=gateway.pid,
                config=gateway.setup["config"],
                lock=str(gateway.directory / "state" / "gateway.lock"),
            )
        )
        told = loadtest(
            gateway,
            "reconnect",
            "-n",
            "5",
            "--rounds",
            "2",
            "--plain",
            "--restart",
            f"{sys.executable} {script}",
        )
        second = int((tmp_path / "pid").read_text())
    os.kill(second, signal.SIGTERM)
    assert (told["offered"], told["admitted"]) == (10, 10)
    assert told["registry"]["holds"]


RESTART = """
import fcntl, os, pathlib, signal, subprocess, sys
os.kill({pid}, signal.SIGTERM)
with open({lock!r}) as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)  # until it has ended
here = pathlib.Path(__file__).parent
second = subprocess.Popen(
    [sys.executable, "-m", "gateway", "serve", "-c", {config!r}],
    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
)
(here / "pid").write_text(str(second.pid))
"""


@pytest.mark.parametrize("qos", [0, 1])
def test_every_message_that_devices_publish_reaches_an_application_once(
    gateway: GatewayProcess, qos: int
) -> None:
    told = loadtest(
        gateway, "telemetry", "-n", "5", "--plain", "--prefix", f"telemetry{qos}-", "--duration", "0.5",
        "--message-rate", "100", "--qos", str(qos), "--model", "dtmi:com:example:Thermostat;1",
    )  # fmt: skip
    assert told["messages"]["published"] == 50
    assert told["messages"]["acknowledged"] == (50 if qos else None)
    assert (told["delivery"]["once"], told["delivery"]["copies"]) == (50, 50)
    assert told["delivery"]["validation"] == {"valid": 50}


def test_devices_that_churn_and_renew_their_tokens_are_all_in_at_the_end(gateway: GatewayProcess) -> None:
    told = loadtest(
        gateway, "soak", "-n", "6", "--prefix", "soak-", "--duration", "3", "--churn", "4", "--token-lifetime", "2",
        "--message-rate", "20", "--path", "dps",
    )  # fmt: skip
    assert told["succeeded"]
    assert told["sessionsAtEnd"] == 6
    assert told["offered"] == told["admitted"] > 12
    assert told["messages"]["published"] == told["messages"]["acknowledged"] == 60


@pytest.mark.load
def test_twice_the_capacity_is_offered_and_everybody_comes_in(tmp_path: Path) -> None:
    """A second of it, for what it does; how much of the capacity is admitted says nothing on a machine that tests."""
    report = tmp_path / "storm.html"
    command = [sys.executable, "-m", "loadtest.overload", "--seconds", "1", "--neighbours", "1"]
    done = subprocess.run(
        [*command, "--directory", tmp_path, "--html", report],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    said = {line[:24].strip(): line[24:].strip() for line in done.stdout.splitlines()}
    assert said.get("registry") == "holds each device once", done.stdout + done.stderr
    assert "new devices at" in said["offered"]
    assert report.read_text().startswith("<!doctype html>")
    assert not list(tmp_path.glob(".bench-*")), "what it made is removed"


def test_who_leaves_at_once_can_not_be_held(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loadtest", "storm", "-n", "1", "--leave", "--hold", "1", "--plain"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "--leave" in done.stderr
