"""The bench's smoke: every scenario against every server that is here. It measures nothing."""

import contextlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.bench.plan import SMOKE, rows
from loadtest.bench.servers import Missing, find_mosquitto

TIMEOUT_S = 300
POLL_S = 0.02


def smoke(directory: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "loadtest.bench",
            "--smoke",
            "--directory",
            str(directory),
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env=None,
    )


def mosquitto_is_here() -> bool:
    try:
        find_mosquitto()
    except Missing:
        return False
    return True


@pytest.mark.load
def test_every_scenario_admits_every_device_on_every_server_that_is_here(tmp_path: Path) -> None:
    found = tmp_path / "bench.json"
    done = smoke(tmp_path, "--json", found)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(found.read_text())
    measures = {measure for row in rows(SMOKE) for measure in row.measures}
    here = {each.name for each in measures if mosquitto_is_here() or not each.server.startswith("mosquitto")}
    assert set(document["samples"]) == here
    assert all(len(samples) == 1 for samples in document["samples"].values())
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"], "the servers' files are removed"
    if not mosquitto_is_here():
        pytest.skip(f"only without Mosquitto: {document['missing']}")


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_ending_the_bench_ends_its_servers_and_removes_their_files(
    tmp_path: Path, sign: signal.Signals
) -> None:
    command = [sys.executable, "-m", "loadtest.bench", "--smoke", "--only", "1", "--directory", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as bench:
        while not list(tmp_path.glob(".bench-*/*/*.log")):
            with contextlib.suppress(subprocess.TimeoutExpired):
                pytest.fail(f"it ended with {bench.wait(POLL_S)}: {bench.communicate()}")
        bench.send_signal(sign)
        said, _ = bench.communicate(timeout=TIMEOUT_S)
    assert bench.returncode == 130, said
    assert not list(tmp_path.iterdir())
    assert not running_below(tmp_path)


def running_below(directory: Path) -> list[str]:
    """The command lines that name it."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(process.read_text(errors="replace").replace("\0", " "))
    return [line for line in found if str(directory) in line]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--only", "1,99"), "error: --only 1,99: no such rows"),
        (("--only", "one"), "error: --only one: no such rows"),
        (("--update", "page.md"), "error: --smoke measures nothing that is worth a page"),
        (("--directory", "/nowhere"), "error: /nowhere: can't be written to: No such file or directory"),
    ],
)
def test_what_can_not_be_run_is_one_line(tmp_path: Path, arguments: tuple[str, ...], complaint: str) -> None:
    done = smoke(tmp_path, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(complaint)
    assert done.stderr.count("\n") == 1
