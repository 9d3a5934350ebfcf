"""What is installed is what was written: the wheel carries the package's data files too."""

import ast
import fnmatch
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.compiled import compiled_modules

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "gateway"


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_data_file_of_the_package_is_in_the_wheel(project: dict[str, Any]) -> None:
    patterns = project["tool"]["setuptools"]["package-data"]["gateway"]
    data = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc", ".so"}
    ]
    assert "py.typed" in data
    forgotten = [name for name in data if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    assert not forgotten, "name them in [tool.setuptools.package-data]"


def test_every_directory_with_modules_is_a_package() -> None:
    bare = {path.parent for path in PACKAGE.rglob("*.py") if not (path.parent / "__init__.py").exists()}
    assert not bare


def test_a_compiled_class_inherits_from_no_interpreted_one() -> None:
    """mypyc lays out its objects itself; over an interpreted base they crash the garbage collector (decision 12)."""
    compiled = [ROOT / name for name in compiled_modules()]
    classes = {
        node.name
        for file in compiled
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef)
    }
    harmless = {
        "NamedTuple",
        "Protocol",
        "StrEnum",
        "IntEnum",
        "IntFlag",
        "Enum",
        "Exception",
        "ValueError",
        "Generic",
        "str",
    }
    for file in compiled:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                bases = {ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in node.bases}
                assert bases <= classes | harmless, f"{file.relative_to(ROOT)}: class {node.name}"


def test_the_version_is_said_once(project: dict[str, Any]) -> None:
    import gateway  # the one that is installed

    assert project["project"]["version"] == gateway.__version__
