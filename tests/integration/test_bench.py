"""The bench's smoke: every scenario against every server that is here. It measures nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.bench.plan import SMOKE, rows
from loadtest.bench.servers import Missing, find_mosquitto

TIMEOUT_S = 300


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


@pytest.mark.slow
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
