"""A gateway as its operator runs it: `gateway init`, then `gateway serve`, as processes.

`GatewayProcess` makes a set-up in a directory of its own, starts it, reads its log (JSON lines) while it
runs, and ends it. Waiting is always for a log line or a process, never for time to pass.
"""

import contextlib
import json
import os
import queue
import random
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Self

TIMEOUT_S = 30.0
# Below those that the system gives to outgoing connections. Each is given out once: a set-up asks for five, then binds. Each
# of the processes that share the tests (pytest-xdist) has its own.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_PORTS = iter(random.sample(range(15_000 + _WORKER, 32_000, _WORKERS), 17_000 // _WORKERS))


def free_port() -> int:
    """A port that nothing has, and that no other test was given."""
    for port in _PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("0.0.0.0", port))
            return port
    raise AssertionError("no port is left")


def run_cli(*arguments: str | Path, cwd: Path | None = None, stdin: str | None = None, check: bool = True,
            env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run `gateway …` as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        input=stdin,
        timeout=120,
        check=False,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200", **(env or {})},
    )
    if check and done.returncode != 0:
        raise AssertionError(
            f"gateway {arguments} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
    return done


class GatewayProcess:
    """A running gateway and its set-up (`setup` is what `gateway init --json` printed)."""

    def __init__(
        self, directory: Path, *, port: int | None = None, plain: bool = True, https: bool = False,
        command: list[str] | None = None, edit: Any = None, init: bool = True,
    ) -> None:  # fmt: skip
        self.directory = directory
        self.log: list[dict[str, Any]] = []
        self.output: list[str] = []
        self._news: queue.Queue[dict[str, Any] | None] = queue.Queue()
        if init:
            arguments: list[str | Path] = ["init", directory, "--json", "--port", str(port or free_port())]
            arguments += ["--app-port", str(free_port()), "--http-port", str(free_port())]
            if plain:
                arguments += ["--plain-port", str(free_port())]
            if https:
                arguments += ["--device-https-port", str(free_port())]
            self.setup: dict[str, Any] = json.loads(run_cli(*arguments).stdout)
            (directory / "setup.json").write_text(json.dumps(self.setup))
            config = Path(self.setup["config"])
            text = config.read_text().replace("format: console", "format: json")
            config.write_text(edit(text) if edit else text)
        else:
            self.setup = json.loads((directory / "setup.json").read_text())
        self._command = command or [sys.executable, "-m", "gateway", "serve"]
        self.process: subprocess.Popen[str] | None = None
        self.pid = 0

    def start(self) -> Self:
        """Return when the gateway says that it is ready. May be called again after `stop`; the log begins anew."""
        self.log.clear()
        self._news = queue.Queue()
        self.process = subprocess.Popen(
            [*self._command, "-c", self.setup["config"]],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self.pid = self.process.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.wait_for("gateway.started")
        except AssertionError:
            self.kill()
            raise
        return self

    def stop(self) -> int:
        """End it in order (SIGTERM) and return its exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.terminate()
        return self._reap()

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self._reap()

    def _reap(self) -> int:
        assert self.process is not None
        try:
            code = self.process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("the gateway did not end:\n" + "\n".join(self.output[-40:])) from None
        self._reader.join(TIMEOUT_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None
        return code

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def cli(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`gateway ARGUMENTS… -c CONFIG`."""
        return run_cli(*arguments, "-c", self.setup["config"], check=check)

    def json(self, *arguments: str | Path) -> Any:
        return json.loads(self.cli(*arguments, "--json").stdout)

    def lines(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """The log lines so far of that event with those fields."""
        return [line for line in list(self.log) if _fits(line, event, fields)]

    def wait_for(self, event: str, **fields: Any) -> dict[str, Any]:
        """The first log line of that event with those fields; waits for it if need be."""
        while True:
            found = self.lines(event, **fields)
            if found:
                return found[0]
            try:
                news = self._news.get(timeout=TIMEOUT_S)
            except queue.Empty:
                news = None
            if news is None:
                raise AssertionError(f"no {event} {fields} in the log:\n" + "\n".join(self.output[-60:]))

    def _read(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line.rstrip())
            try:
                entry = json.loads(line)
            except ValueError:
                entry = {"event": "", "text": line}
            self.log.append(entry)
            self._news.put(entry)
        self._news.put(None)


def _fits(line: dict[str, Any], event: str, fields: dict[str, Any]) -> bool:
    return line.get("event") == event and all(line.get(k) == v for k, v in fields.items())
