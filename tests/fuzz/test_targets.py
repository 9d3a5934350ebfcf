"""Every target with its seeds, with what was found before, and in a bounded run by coverage (the long one: `make fuzz`)."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import MODULES, admission_targets, targets

FINDINGS = Path(__file__).parent / "findings"
TARGETS = {**targets.TARGETS, **admission_targets.TARGETS}
SEEDS = {**targets.SEEDS, **admission_targets.SEEDS}
RUNS = 20_000
RUNS_OF_DEAR_ONES = {"certificate": 2_000, "login": 4_000, "https_request": 1_500}
"""An input of theirs takes a millisecond, not some microseconds."""


def test_every_target_is_where_a_run_looks_for_it() -> None:
    assert {name: f"tests.fuzz.{place}" for place, of in (
        ("targets", targets), ("admission_targets", admission_targets)
    ) for name in of.TARGETS} == MODULES  # fmt: skip
    assert SEEDS.keys() == TARGETS.keys()


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_of_a_target_are_taken_or_refused_as_declared(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
def test_what_a_fuzzer_found_once_is_mended(name: str) -> None:
    for finding in sorted((FINDINGS / name).glob("*")):
        TARGETS[name](finding.read_bytes())


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this Python"
)
@pytest.mark.parametrize("name", MODULES)
def test_no_input_that_a_fuzzer_finds_by_coverage_breaks_what_is_declared(name: str, tmp_path: Path) -> None:
    runs = RUNS_OF_DEAR_ONES.get(name, RUNS)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.fuzz.run",
            name,
            "--runs",
            str(runs),
            "--seed",
            "1",
            "--directory",
            tmp_path,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    crashes = [path.read_bytes() for path in tmp_path.glob(f"{name}/crash-*")]
    assert (done.returncode, crashes) == (0, []), done.stderr[-3000:]
    assert f"stat::number_of_executed_units: {runs}" in done.stderr
