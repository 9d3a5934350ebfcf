"""The control socket, with a double in place of the operations."""

import asyncio
import socket
import stat
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.api import control
from gateway.api.control import ControlClient, ControlServer
from gateway.errors import ConflictError, NotFoundError, OperationError, StartError, StoreUnavailable
from gateway.operations.jobs import Job
from gateway.roles import Actor


class EchoOperations:
    """Answers what it was asked, or fails as it was told to."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.hold = asyncio.Event()
        self.hold.set()
        self.called = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def call(
        self, verb: str, arguments: Mapping[str, Any], job: Job | None = None, *, by: Actor
    ) -> Any:
        if job is not None:
            return await self.sum(job)
        self.called.set()
        await self.hold.wait()
        if self.failure is not None:
            raise self.failure
        return {"verb": verb, "arguments": dict(arguments)}

    async def sum(self, job: Job) -> Any:
        """A job: add up what comes."""
        total = 0
        try:
            async for chunk in job.chunks():
                total += sum(chunk)
                await job.report({"total": total})
            self.called.set()
            await self.hold.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.failure is not None:
            raise self.failure
        return {"total": total}


@pytest.fixture
def operations() -> EchoOperations:
    return EchoOperations()


@pytest.fixture
async def path(tmp_path: Path, operations: EchoOperations) -> AsyncIterator[Path]:
    server = ControlServer(tmp_path / "control.sock", operations, max_connections=2)
    await server.start()
    yield tmp_path / "control.sock"
    await server.stop()


async def call(path: Path, verb: str, arguments: dict[str, Any] | None = None) -> Any:
    def blocking() -> Any:
        client = ControlClient.connect(path)
        assert client is not None
        with client:
            return client.call(verb, arguments or {})

    return await asyncio.to_thread(blocking)


async def exchange(path: Path, line: bytes) -> Any:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(line)
    answer = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return orjson.loads(answer)


async def test_a_request_is_answered_by_the_running_gateway(path: Path) -> None:
    assert await call(path, "device.show", {"device_id": "t-1"}) == {
        "verb": "device.show",
        "arguments": {"device_id": "t-1"},
    }


async def test_several_requests_may_share_a_connection(path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(path))
    for number in range(3):
        writer.write(b'{"verb":"v%d"}\n' % number)
        assert orjson.loads(await reader.readline()) == {"result": {"verb": f"v{number}", "arguments": {}}}
    writer.close()
    await writer.wait_closed()


async def test_the_socket_is_its_owners_only(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600  # noqa: ASYNC240 - a moment


@pytest.mark.parametrize(
    "error",
    [
        NotFoundError("there is no device t-1", hint="see gateway device list"),
        ConflictError("t-1 is blocked"),
        OperationError("name is missing"),
        StoreUnavailable("the disk is full", hint="make room"),
    ],
)
async def test_an_error_arrives_as_it_was_raised(
    path: Path, operations: EchoOperations, error: Exception
) -> None:
    operations.failure = error
    with pytest.raises(type(error)) as caught:
        await call(path, "device.show")
    assert (caught.value.message, caught.value.hint) == (error.message, error.hint)


async def test_a_fault_is_answered_without_its_text_and_does_not_end_the_connection(
    path: Path, operations: EchoOperations
) -> None:
    operations.failure = ZeroDivisionError("secret")
    answer = await exchange(path, b'{"verb":"status"}\n')
    assert answer["error"]["code"] == "error"
    assert "secret" not in str(answer)
    operations.failure = None
    assert await call(path, "status") == {"verb": "status", "arguments": {}}


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"nonsense\n",
        b"[]\n",
        b'{"verb": 7}\n',
        b'{"verb": "status", "arguments": []}\n',
        b'{"arguments": {}}\n',
        b"\xff\xfe\n",
    ],
)
async def test_what_is_not_a_request_is_answered_with_an_error(path: Path, line: bytes) -> None:
    assert (await exchange(path, line))["error"]["code"] == "invalid_request"


async def test_a_request_over_the_limit_is_refused(
    tmp_path: Path, operations: EchoOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "MAX_REQUEST_BYTES", 64)
    server = ControlServer(tmp_path / "s", operations)
    await server.start()
    answer = await exchange(tmp_path / "s", b'{"verb":"' + b"x" * 200 + b'"}\n')
    assert "at most 64 bytes" in answer["error"]["message"]
    await server.stop()


def test_a_command_does_not_even_send_such_a_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MAX_REQUEST_BYTES", 64)
    near, far = socket.socketpair()
    with far, ControlClient(near, tmp_path) as client, pytest.raises(OperationError, match="too large"):
        client.call("x" * 200, {})


async def test_an_answer_over_the_limit_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MAX_RESPONSE_BYTES", 64)
    answer = await exchange(path, b'{"verb":"' + b"x" * 200 + b'"}\n')
    assert "fewer at a time" in answer["error"]["hint"]


async def test_a_request_that_takes_too_long_is_stopped(tmp_path: Path, operations: EchoOperations) -> None:
    operations.hold.clear()
    server = ControlServer(tmp_path / "s", operations, request_timeout_s=0)
    await server.start()
    answer = await exchange(tmp_path / "s", b'{"verb":"template.import"}\n')
    assert answer["error"]["message"] == "template.import took longer than 0 seconds"
    await server.stop()


async def test_an_idle_connection_is_closed(tmp_path: Path, operations: EchoOperations) -> None:
    server = ControlServer(tmp_path / "s", operations, idle_timeout_s=0)
    await server.start()
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    await server.stop()


async def test_connections_over_the_limit_are_closed(path: Path) -> None:
    opened = [await asyncio.open_unix_connection(str(path)) for _ in range(2)]
    for reader, writer in opened:
        writer.write(b'{"verb":"status"}\n')
        await reader.readline()
    with pytest.raises(StartError, match=r"closed the connection without an answer|was lost"):
        await call(path, "status")
    for _, writer in opened:
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_leaves_in_the_middle_harms_nobody(path: Path) -> None:
    _, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b'{"verb":')
    writer.close()
    await writer.wait_closed()
    assert await call(path, "status")


async def test_stopping_cancels_what_is_under_way_and_removes_the_socket(
    tmp_path: Path, operations: EchoOperations
) -> None:
    operations.hold.clear()
    server = ControlServer(tmp_path / "s", operations)
    await server.start()
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
    writer.write(b'{"verb":"status"}\n')
    await operations.called.wait()
    await server.stop()
    assert await reader.read() == b""
    assert not (tmp_path / "s").exists()
    writer.close()
    await writer.wait_closed()


async def test_no_gateway_is_told_from_one_that_does_not_answer(tmp_path: Path) -> None:
    assert ControlClient.connect(tmp_path / "control.sock") is None
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "left"))
    assert ControlClient.connect(tmp_path / "left") is None
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen()
        client = ControlClient.connect(tmp_path / "silent", timeout_s=0.01)
        assert client is not None
        with client, pytest.raises(StartError, match="does not answer"):
            client.call("status", {})


async def test_a_socket_left_by_a_killed_gateway_is_replaced(
    tmp_path: Path, operations: EchoOperations
) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))
    server = ControlServer(tmp_path / "s", operations)
    await server.start()
    assert await call(tmp_path / "s", "status")
    await server.stop()


async def test_a_file_in_the_sockets_place_is_not_removed(tmp_path: Path, operations: EchoOperations) -> None:
    (tmp_path / "s").write_text("somebody's")
    with pytest.raises(StartError, match="the control socket can't be opened"):
        await ControlServer(tmp_path / "s", operations).start()
    assert (tmp_path / "s").read_text() == "somebody's"


async def test_a_deep_state_directory_is_no_obstacle(tmp_path: Path, operations: EchoOperations) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    server = ControlServer(deep / "control.sock", operations)
    await server.start()
    assert stat.S_IMODE((deep / "control.sock").stat().st_mode) == 0o600
    assert await call(deep / "control.sock", "status")
    await server.stop()
    assert not (deep / "control.sock").exists()


# Jobs


async def run(path: Path, chunks: Iterable[list[Any]]) -> tuple[Any, list[Any]]:
    reports: list[Any] = []

    def blocking() -> Any:
        client = ControlClient.connect(path)
        assert client is not None
        with client:
            return client.run("sum", {}, chunks, reports.append)

    return await asyncio.to_thread(blocking), reports


async def test_a_job_is_fed_by_the_chunk_and_tells_how_far_it_is(path: Path) -> None:
    result, reports = await run(path, ([number] * 3 for number in range(100)))
    assert result == {"total": 14850}
    assert [report["total"] for report in reports[:3]] == [0, 3, 9]
    assert len(reports) == 100
    assert await run(path, []) == ({"total": 0}, [])


async def test_a_connection_serves_after_a_job_as_before(path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b'{"verb":"sum","job":true}\n')
    assert await reader.readline() == b'{"more":true}\n'
    writer.write(b'{"items":[]}\n')
    assert await reader.readline() == b'{"result":{"total":0}}\n'
    writer.write(b'{"verb":"status"}\n')
    assert orjson.loads(await reader.readline())["result"]["verb"] == "status"
    writer.close()
    await writer.wait_closed()


async def test_a_jobs_error_arrives_as_it_was_raised(path: Path, operations: EchoOperations) -> None:
    operations.failure = ConflictError("it is there already", hint="see it")
    with pytest.raises(ConflictError, match="it is there already"):
        await run(path, [[1]])


async def test_who_hangs_up_ends_the_job(path: Path, operations: EchoOperations) -> None:
    operations.hold.clear()
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b'{"verb":"sum","job":true}\n')
    await reader.readline()
    writer.write(b'{"items":[]}\n')
    await operations.called.wait()
    writer.close()
    await writer.wait_closed()
    await operations.cancelled.wait()
    operations.hold.set()
    assert (await call(path, "status"))["verb"] == "status"


async def test_who_hangs_up_when_asked_for_more_ends_the_job(path: Path, operations: EchoOperations) -> None:
    def broken() -> Iterator[list[int]]:
        yield [1]
        raise OperationError("line 7 is not CSV")

    with pytest.raises(OperationError, match="line 7 is not CSV"):
        await run(path, broken())
    assert (await call(path, "status"))["verb"] == "status"


@pytest.mark.parametrize("answer", [b"nonsense\n", b'{"items":7}\n', b'{"items":[%s0]}\n' % (b"0," * 500)])
async def test_what_is_not_an_answer_ends_the_job(path: Path, answer: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b'{"verb":"sum","job":true}\n')
    await reader.readline()
    writer.write(answer)
    assert orjson.loads(await reader.readline())["error"]["code"] == "invalid_request"
    writer.close()
    await writer.wait_closed()


async def test_stopping_ends_a_job(tmp_path: Path, operations: EchoOperations) -> None:
    operations.hold.clear()
    server = ControlServer(tmp_path / "s", operations)
    await server.start()
    _, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
    writer.write(b'{"verb":"sum","job":true}\n{"items":[]}\n')
    await operations.called.wait()
    await server.stop()
    assert operations.cancelled.is_set()
    writer.close()
    await writer.wait_closed()
