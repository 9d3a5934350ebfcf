"""`python -m loadtest`, as somebody types it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fake_gateway import FakeGateway, fake_gateway

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw=="
TIMEOUT_S = 60


def loadtest(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "loadtest", *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "GATEWAY_GROUP_KEY": KEY},
    )


async def test_json_is_all_that_is_printed_and_the_exit_code_says_whether_all_came_in() -> None:
    async with fake_gateway(FakeGateway()) as gateway:
        arguments = (
            "storm",
            "-n",
            "3",
            "--host",
            "127.0.0.1",
            "--port",
            str(gateway.port),
            "--plain",
            "--json",
        )
        done = await asyncio.to_thread(loadtest, *arguments)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["admitted"] == 3
        gateway.behaviours = {"storm-000002": 5}
        done = await asyncio.to_thread(loadtest, *arguments)
    assert done.returncode == 1
    assert json.loads(done.stdout)["refused"] == {"connack 5": 1}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["-n", "1"], "error: say either --plain or --ca FILE"),
        (["-n", "1", "--plain", "--path", "dps"], "error: --path dps needs --id-scope"),
        (["-n", "1", "--plain", "--rate", "9", "--at-once"], "error: say either --rate or --at-once"),
        (["-n", "1", "--plain", "--ramp", "9"], "error: --ramp needs --rate"),
        (
            ["-n", "1", "--plain", "--credentials", "certificate", "--certificates", "x"],
            "error: --credentials certificate needs TLS",
        ),
        (
            ["-n", "1", "--ca", "x", "--credentials", "certificate"],
            "error: --credentials certificate needs --cert",
        ),
        (
            ["-n", "1", "--plain", "--credentials", "password"],
            "error: --credentials password needs --username",
        ),
        (
            ["-n", "1", "--plain", "--group-key", "not base64"],
            "error: the group key: a symmetric key is standard base64",
        ),
        (["-n", "1", "--ca", "/nonexistent.pem"], "error: /nonexistent.pem: "),
    ],
)
def test_what_cannot_be_run_is_told_in_one_line(arguments: list[str], line: str) -> None:
    done = loadtest("storm", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(line)
    assert len(done.stderr.splitlines()) == 1


async def test_reconnect_counts_each_round() -> None:
    async with fake_gateway(FakeGateway()) as gateway:
        done = await asyncio.to_thread(
            loadtest, "reconnect", "-n", "3", "--rounds", "2", "--host", "127.0.0.1", "--port", str(gateway.port),
            "--plain", "--credentials", "none", "--json",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["offered"], told["admitted"], gateway.goodbyes) == (6, 6, 6)


async def test_a_script_is_told_when_all_are_in_and_held(tmp_path: Path) -> None:
    async with fake_gateway(FakeGateway()) as gateway:
        done = await asyncio.to_thread(
            loadtest, "storm", "-n", "2", "--host", "127.0.0.1", "--port", str(gateway.port), "--plain", "--hold", "0.01",
            "--json",
        )  # fmt: skip
    assert done.stderr.splitlines() == ["holding 2 sessions"]


def test_certificates_are_made_in_advance(tmp_path: Path) -> None:
    done = loadtest("certificates", str(tmp_path / "devices"), "-n", "2", "--prefix", "meter-")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "devices").iterdir()) == [
        "ca.crt", "ca.key", "meter-000001.pem", "meter-000002.pem",
    ]  # fmt: skip


async def test_the_reports_are_written_where_they_are_wanted(tmp_path: Path) -> None:
    async with fake_gateway(FakeGateway()) as gateway:
        done = await asyncio.to_thread(
            loadtest, "storm", "-n", "2", "--host", "127.0.0.1", "--port", str(gateway.port), "--plain",
            "--report-json", str(tmp_path / "r.json"), "--html", str(tmp_path / "r.html"),
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "r.json").read_text())["timeline"][0]["admitted"] == 2
    assert "<title>Storm: 2 devices</title>" in (tmp_path / "r.html").read_text()
    assert "admitted a second" in done.stdout


async def test_ctrl_c_tells_what_was_counted_so_far() -> None:
    async with fake_gateway(FakeGateway()) as gateway:
        came = asyncio.Event()
        gateway.on_connect = lambda _: came.set()
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "loadtest", "storm", "-n", "5", "--rate", "0.01", "--host", "127.0.0.1",
            "--port", str(gateway.port), "--plain", "--credentials", "none", "--json",
            stdout=subprocess.PIPE, cwd=Path(__file__).parents[3],
        )  # fmt: skip
        await came.wait()
        running.send_signal(signal.SIGINT)
        out, _ = await running.communicate()
    told = json.loads(out)
    assert (running.returncode, told["offered"], told["admitted"]) == (130, 1, 1)
    assert gateway.goodbyes == 1
