"""`gateway loadtest` is the load tester's own command line."""

import builtins
import sys
from typing import Any

import pytest

from gateway.cli.root import run


def test_what_follows_is_the_testers_own_help_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["loadtest", "reconnect", "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "gateway loadtest reconnect" in printed
    assert "--rounds" in printed


def test_what_it_cannot_run_is_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["loadtest", "storm", "-n", "1", "--credentials", "none"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: say either --plain or --ca FILE")


def test_an_installation_without_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    really = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name.startswith("loadtest"):
            raise ModuleNotFoundError(name=name)
        return really(name, *arguments, **named)

    for name in [name for name in sys.modules if name.startswith("loadtest")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    assert run(["loadtest", "storm"]) == 1
    assert "the load tester is not installed here" in capsys.readouterr().err


def test_the_rest_of_the_command_line_does_not_import_it() -> None:
    import subprocess

    code = "import sys, gateway.cli.root; sys.exit(any(n.startswith('loadtest') for n in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
