"""A command goes through the running gateway, or offline, never both."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from gateway.api.control import ControlServer
from gateway.errors import ConflictError
from gateway.roles import Actor
from gateway.settings import Settings, load_settings
from gateway.state_lock import StateLock
from tests.unit.cli.conftest import Cli


class RunningOperations:
    """What a running gateway would answer."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def call(self, verb: str, arguments: Mapping[str, Any], *, by: Actor) -> Any:
        self.asked.append((verb, dict(arguments)))
        if verb == "device.block":
            raise ConflictError("mill-1 is blocked: it can't be blocked", hint="it is so already")
        return {"sessions": 7, "groups": [], "devices": {}}


@contextmanager
def running(settings: Settings, operations: RunningOperations) -> Iterator[None]:
    """A gateway in a thread, as far as a command can see: it holds the lock and answers on the socket."""
    ready, loops = threading.Event(), []

    async def serve() -> None:
        stop = asyncio.Event()
        loops.append((asyncio.get_running_loop(), stop))
        server = ControlServer(settings.control_socket, operations)
        await server.start()
        ready.set()
        await stop.wait()
        await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    with StateLock(settings.lock_file):
        thread.start()
        ready.wait()
        try:
            yield
        finally:
            loop, stop = loops[0]
            loop.call_soon_threadsafe(stop.set)
            thread.join()


def test_a_command_goes_through_the_running_gateway(cli: Cli) -> None:
    operations = RunningOperations()
    with running(load_settings(cli.config), operations):
        assert cli.json("group", "list") == []
        assert cli.run("device", "block", "mill-1").error == "mill-1 is blocked: it can't be blocked"
        assert cli.text("health") == "healthy, 7 sessions\n"
        assert cli.json("health") == {"healthy": True, "sessions": 7}
    assert operations.asked == [
        ("group.list", {}), ("device.block", {"device_id": "mill-1"}), ("status", {}), ("status", {}),
    ]  # fmt: skip


def test_when_it_has_stopped_the_command_works_offline(cli: Cli) -> None:
    operations = RunningOperations()
    with running(load_settings(cli.config), operations):
        pass
    assert len(cli.json("group", "list")) == 2
    assert operations.asked == []


def test_a_gateway_that_does_not_answer_is_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cli.channel._BUSY_TIMEOUT_S", 0)
    settings = load_settings(cli.config)
    with StateLock(settings.lock_file):
        error = cli.run("group", "list").error
    assert error.startswith(f"{settings.state_dir} is in use by process ")
    assert error.endswith(", which does not answer on its control socket")
    assert len(cli.json("group", "list")) == 2


def test_a_command_waits_for_a_gateway_that_is_just_starting(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(cli.config)
    lock = StateLock(settings.lock_file)
    lock.acquire()
    # What would be a moment of waiting is the moment in which the other one ends.
    monkeypatch.setattr("gateway.cli.channel.time.sleep", lambda _: lock.release())
    assert len(cli.json("group", "list")) == 2
