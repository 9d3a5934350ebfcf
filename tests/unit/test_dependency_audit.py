"""What CI says of the audit of the dependencies (`.ci/audit.py`)."""

import importlib.util
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[2] / ".ci" / "audit.py"


def verdict(*dependencies: dict[str, Any]) -> tuple[list[str], int]:
    specification = importlib.util.spec_from_file_location("dependency_audit", FILE)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    judged: tuple[list[str], int] = module.verdict(list(dependencies))
    return judged


def sound(name: str) -> dict[str, Any]:
    return {"name": name, "version": "1.0", "vulns": []}


def skipped(name: str) -> dict[str, Any]:
    return {"name": name, "skip_reason": "not found on PyPI"}


def test_a_known_vulnerability_fails_and_says_which_release_mends_it() -> None:
    weak = {"name": "weak", "version": "1.2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.3", "2.0"]}]}
    assert verdict(sound("a"), weak) == (["weak 1.2: PYSEC-1, mended in 1.3, 2.0"], 1)


def test_without_one_it_says_how_many_were_audited() -> None:
    assert verdict(sound("a"), sound("b"), skipped("gateway")) == (
        ["2 dependencies audited, no known vulnerabilities"],
        0,
    )


def test_where_nothing_could_be_asked_it_says_so_loudly() -> None:
    (line,), code = verdict(skipped("a"), skipped("b"))
    assert line.startswith("WARNING: 2 of 2 dependencies were NOT audited")
    assert code == 0
