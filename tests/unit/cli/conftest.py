"""The `gateway` command inside the test's own process: as quick as its imports, which happen once."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.cli.root import run


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The one line of its failure; a second one may be a hint, and there is no third."""
        lines = self.stderr.splitlines()
        assert self.code == 1
        assert self.stdout == ""
        assert lines[0].startswith("error: ")
        assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("hint: ")), self.stderr
        return lines[0].removeprefix("error: ")


class Cli:
    """Runs commands on one set-up."""

    def __init__(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.config = config
        self.directory = config.parent
        self._capsys = capsys

    def run(self, *arguments: str | Path) -> Ended:
        self._capsys.readouterr()
        code = run([*map(str, arguments), "-c", str(self.config)])
        return Ended(code, *self._capsys.readouterr())

    def text(self, *arguments: str | Path) -> str:
        ended = self.run(*arguments)
        assert ended.code == 0, ended.stderr
        return ended.stdout

    def json(self, *arguments: str | Path) -> Any:
        return json.loads(self.text(*arguments, "--json"))


@pytest.fixture(autouse=True)
def _no_log_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command sets logging up for its process; this process has other tests to run."""
    monkeypatch.setattr("gateway.log.configure", lambda *_: None)
    with capture_logs():
        yield


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a set-up that nobody changes."""
    directory = tmp_path_factory.mktemp("pristine") / "gw"
    with pytest.MonkeyPatch.context() as monkeypatch, capture_logs():
        monkeypatch.setattr("gateway.log.configure", lambda *_: None)
        assert run(["init", str(directory), "--json"]) == 0
    return directory


@pytest.fixture
def cli(pristine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Commands on a set-up of the test's own: a copy, which is quicker than another `init`."""
    shutil.copytree(pristine, tmp_path / "gw")
    config = tmp_path / "gw" / "gateway.yaml"
    config.write_text(config.read_text().replace(str(pristine), str(config.parent)))
    return Cli(config, capsys)
