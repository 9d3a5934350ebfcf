"""The script that makes the virtual environments, where it has to do pip's work (.ci/bootstrap.py)."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "bootstrap.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bootstrap = load()

HASH = "0" * 64
PAGE = f"""<!DOCTYPE html><html><body>
<a href="../../files/pip-9.0.3-py3-none-any.whl#sha256={HASH}">pip-9.0.3-py3-none-any.whl</a>
<a href="../../files/pip-25.1-py3-none-any.whl#sha256={HASH}" data-requires-python="&gt;=3.9">25.1</a>
<a href="../../files/pip-25.2b1-py3-none-any.whl#sha256={HASH}">a beta</a>
<a href="../../files/pip-25.3-py3-none-any.whl#sha256={HASH}" data-yanked="oops">yanked</a>
<a href="../../files/pip-25.4-py3-none-any.whl">no hash</a>
<a href="../../files/pip-25.4.tar.gz#sha256={HASH}">a source distribution</a>
<a href="../../files/pip-99.0-py3-none-any.whl#sha256={HASH}" data-requires-python="&gt;=3.99">for later</a>
</body></html>"""


def test_the_newest_pip_that_this_python_can_run_is_taken_with_its_hash() -> None:
    page = bootstrap.Index("https://index.example/simple/pip/")
    page.feed(PAGE)
    link = bootstrap.newest(page.links)
    assert link.url == "https://index.example/files/pip-25.1-py3-none-any.whl"
    assert link.sha256 == HASH


def test_an_index_without_a_usable_pip_is_reported_in_a_line() -> None:
    with pytest.raises(bootstrap.BootstrapError, match="offers no pip"):
        bootstrap.newest([])


def test_the_environment_wins_over_pips_files_and_a_later_file_over_an_earlier_one(tmp_path: Path) -> None:
    user = tmp_path / ".config" / "pip" / "pip.conf"
    user.parent.mkdir(parents=True)
    user.write_text("[global]\nindex-url = https://user.example/simple\ncert = /user.pem\n")
    system = tmp_path / "xdg" / "pip" / "pip.conf"
    system.parent.mkdir(parents=True)
    system.write_text("[global]\nindex-url = https://system.example/simple\ntimeout = 3\n")
    environment = {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path / "xdg")}
    found = bootstrap.pip_configuration(environment)
    assert (found["index-url"], found["cert"]) == ("https://user.example/simple", "/user.pem")

    own = tmp_path / "own.conf"
    own.write_text("[install]\nindex-url = https://own.example/simple\n")
    found = bootstrap.pip_configuration({**environment, "PIP_CONFIG_FILE": str(own)})
    assert found["index-url"] == "https://own.example/simple"
    found = bootstrap.pip_configuration(
        {**environment, "PIP_INDEX_URL": "https://env.example", "PIP_CERT": "/e"}
    )
    assert (found["index-url"], found["cert"]) == ("https://env.example", "/e")
    assert bootstrap.pip_configuration({**environment, "PIP_CONFIG_FILE": os.devnull}) == {}


def test_a_password_in_the_address_of_an_index_is_not_printed() -> None:
    url = "https://me:secret@index.example:8443/simple/pip/"
    assert bootstrap.without_password(url) == "https://index.example:8443/simple/pip/"


def test_what_is_in_the_way_is_not_deleted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep = tmp_path / "keep"
    keep.write_text("mine")
    assert bootstrap.main([str(tmp_path), "--requirement", "none.txt"]) == 1
    assert keep.read_text() == "mine"
    assert "not a virtual environment" in capsys.readouterr().err


def test_an_environment_that_is_there_already_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(bootstrap, "create", lambda directory: directory.mkdir())
    monkeypatch.setattr(bootstrap, "is_usable", lambda directory: directory.exists())
    monkeypatch.setattr(bootstrap, "pip_install", lambda _, install: asked.append(install[1]))
    project = tmp_path / "pyproject.toml"
    project.write_text("one")

    def run(what: str) -> None:
        arguments = [str(tmp_path / "venv"), "--editable", what, "--depends-on", str(project)]
        assert bootstrap.main(arguments) == 0

    run(".")
    run(".")
    run(".[dev]")
    run(".")
    assert asked == [".", ".[dev]"]
    project.write_text("two")
    run(".[dev]")
    run(".")
    run(".")
    assert asked == [".", ".[dev]", ".[dev]", "."]
    assert capsys.readouterr().err == ""


def test_an_old_python_can_read_the_script_as_far_as_the_line_that_refuses_it() -> None:
    head = SCRIPT.read_text().partition("\nimport argparse")[0]
    sys_of_old = type("sys", (), {"version_info": (3, 6, 15), "executable": "python3", "exit": sys.exit})
    code = head.replace("import sys\n", "")
    with pytest.raises(SystemExit, match=r"^error: Python 3\.11 or newer is needed, and python3 is 3\.6; "):
        exec(code, {"sys": sys_of_old})  # noqa: S102 - our own file
