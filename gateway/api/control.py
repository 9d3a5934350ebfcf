"""The control socket: how a command on this machine reaches the running gateway.

A Unix-domain socket in the state directory, open to its owner only (mode 0600), so being able to connect is
the right to operate. One JSON object per line each way::

    → {"verb": "device.show", "arguments": {"device_id": "thermostat-001"}}
    ← {"result": {…}}   or   {"error": {"code": "not_found", "message": "…", "hint": "…"}}

A job (`gateway.operations.jobs`) takes many things and tells how far it is, line by line::

    → {"verb": "device.import", "arguments": {…}, "job": true}
    ← {"more": true}               it wants a chunk;  → {"items": […]}  or, when there are no more,  → {"items": []}
    ← {"progress": {…}}            as often as it likes
    ← {"result": {…}}   or   {"error": {…}}

The client says nothing that it was not asked for, so neither end can block the other. Hanging up ends the job.

Lines, connections and the time a request, or one step of a job, may take are bounded.
"""

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

import orjson

from gateway.api.error_form import error_from_json, error_to_json
from gateway.errors import GatewayError, OperationError, StartError
from gateway.local_users import actor_at
from gateway.log import get_logger
from gateway.operations.jobs import CHUNK, Job
from gateway.roles import Actor

__all__ = ["ControlClient", "ControlServer", "Dispatcher"]

log = get_logger()

MAX_REQUEST_BYTES: Final = 4 * 1024 * 1024
"""A device template's closure is the largest thing an operator sends."""
MAX_RESPONSE_BYTES: Final = 16 * 1024 * 1024
MAX_CONNECTIONS: Final = 16
REQUEST_TIMEOUT_S: Final = 60.0
IDLE_TIMEOUT_S: Final = 60.0
_MAX_SOCKET_PATH_BYTES: Final = 107  # sun_path is 108 bytes with its NUL: unix(7)


class Dispatcher(Protocol):
    """What carries a request out: `gateway.operations.Operations`."""

    async def call(
        self, verb: str, arguments: Mapping[str, Any], job: Job | None = None, *, by: Actor
    ) -> Any: ...


class ControlServer:
    """The running gateway's end. `start` it once the store is open, `stop` it before the store closes."""

    def __init__(
        self,
        path: Path,
        operations: Dispatcher,
        *,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._path = path
        self._operations = operations
        self._request_timeout_s = request_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._max_connections = max_connections
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Open the socket. Raises `StartError`. Call it only with the state directory's lock held."""
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _remove_socket(self._path)  # left by a gateway that was killed: the lock says that it is gone
            with _address_of(self._path) as address:
                listening.bind(address)
                # Nobody can connect before `listen`, so there is no moment at which others could.
                self._path.chmod(0o600)
            self._server = await asyncio.start_unix_server(
                self._connected, sock=listening, limit=MAX_REQUEST_BYTES
            )
        except OSError as error:
            listening.close()
            raise StartError(
                f"{self._path}: the control socket can't be opened: {error.strerror or error}"
            ) from None

    async def stop(self) -> None:
        """Close the socket and every connection. A request that has not ended is cancelled."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        _remove_socket(self._path)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None or len(self._connections) >= self._max_connections:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer), name="control-connection")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with asyncio.timeout(self._idle_timeout_s):
                    line = await reader.readline()
                if not line.endswith(b"\n"):
                    return
                writer.write(await self._answer(line, reader, writer))
                async with asyncio.timeout(self._idle_timeout_s):
                    await writer.drain()
        except ValueError:  # `readline` says so of a line over the limit
            writer.write(_error_line(OperationError(f"a request has at most {MAX_REQUEST_BYTES} bytes")))
        except (TimeoutError, ConnectionError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        match _loaded(line):
            case {"verb": str(verb), **rest} if isinstance(arguments := rest.get("arguments", {}), dict):
                is_job = rest.get("job") is True
            case _:
                return _error_line(OperationError('a request is {"verb": "…", "arguments": {…}} on one line'))
        actor = actor_at(writer.get_extra_info("socket"))
        try:
            if is_job:
                job = _SocketJob(reader, writer, step_timeout_s=self._idle_timeout_s)
                result = await job.run(self._operations.call(verb, arguments, job, by=actor))
            else:
                async with asyncio.timeout(self._request_timeout_s):
                    result = await self._operations.call(verb, arguments, by=actor)
        except GatewayError as error:
            return _error_line(error)
        except ConnectionError:
            raise
        except TimeoutError:
            return _error_line(
                OperationError(
                    f"{verb} took longer than {self._request_timeout_s:g} seconds",
                    hint="the gateway is overloaded, or its store is slow: see the log, and in `gateway audit` what"
                    " became of a change",
                )
            )
        except Exception as error:  # noqa: BLE001 - a fault in one verb must not end the gateway
            log.error("operation.failed", verb=verb, error=repr(error))
            return _error_line(GatewayError(f"{verb} failed", hint="the gateway's log has the reason"))
        response = orjson.dumps({"result": result}) + b"\n"
        if len(response) > MAX_RESPONSE_BYTES:
            return _error_line(OperationError("the answer is too large", hint="ask for fewer at a time"))
        return response


class _SocketJob:
    """A job whose chunks and reports go over a connection. It ends if the other end hangs up, or goes silent."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, step_timeout_s: float
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._step_timeout_s = step_timeout_s
        self._asking = False
        self._operation: asyncio.Future[Any] | None = None
        self._line: asyncio.Task[bytes] | None = None

    async def run(self, operation: Awaitable[Any]) -> Any:
        """The operation's result. Raises what it raises, and `ConnectionError` if the other end is gone."""
        self._operation = asyncio.ensure_future(operation)
        self._listen()
        try:
            return await self._operation
        except asyncio.CancelledError:
            if self._line is not None and self._line.done():  # hung up, or spoke out of turn
                raise ConnectionError from None
            raise
        finally:
            self._operation.cancel()
            if self._line is not None:
                self._line.remove_done_callback(self._unasked)
                self._line.cancel()
                await asyncio.wait([self._line])

    async def chunks(self) -> AsyncIterator[list[Any]]:
        while items := await self._ask():
            yield items

    async def report(self, progress: dict[str, Any]) -> None:
        await self._say({"progress": progress})

    async def _ask(self) -> list[Any]:
        assert self._line is not None  # noqa: S101 - `run` listens first
        self._asking = True
        await self._say({"more": True})
        try:
            async with asyncio.timeout(self._step_timeout_s):
                line = await asyncio.shield(self._line)
        except TimeoutError:
            raise ConnectionError from None
        self._asking = False
        self._listen()
        if not line.endswith(b"\n"):
            raise ConnectionError
        match _loaded(line):
            case {"items": list(items)} if len(items) <= CHUNK:
                return items
            case _:
                raise OperationError(f'a job is answered with {{"items": […]}}, at most {CHUNK} of them')

    async def _say(self, document: dict[str, Any]) -> None:
        self._writer.write(orjson.dumps(document) + b"\n")
        try:
            async with asyncio.timeout(self._step_timeout_s):
                await self._writer.drain()
        except TimeoutError:
            raise ConnectionError from None

    def _listen(self) -> None:
        """Always have an ear at the connection: who hangs up is noticed at once."""
        self._line = asyncio.create_task(self._reader.readline(), name="control-job")
        self._line.add_done_callback(self._unasked)

    def _unasked(self, _line: "asyncio.Task[bytes]") -> None:
        if not self._asking and self._operation is not None:
            self._operation.cancel()


class ControlClient:
    """A command's end: blocking, since a command has nothing else to do meanwhile. A context manager."""

    def __init__(self, connected: socket.socket, path: Path) -> None:
        self._socket = connected
        self._path = path
        self._reader = connected.makefile("rb")

    @classmethod
    def connect(cls, path: Path, *, timeout_s: float = REQUEST_TIMEOUT_S + 5) -> Self | None:
        """The client, or None if no gateway listens at `path`. `StartError` if it must not be reached."""
        connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connecting.settimeout(timeout_s)
        try:
            with _address_of(path) as address:
                connecting.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            connecting.close()
            return None
        except OSError as error:
            connecting.close()
            raise StartError(
                f"{path}: the running gateway can't be reached: {error.strerror or error}",
                hint="run the command as the user who runs the gateway",
            ) from None
        return cls(connecting, path)

    def call(self, verb: str, arguments: Mapping[str, Any]) -> Any:
        """The verb's result. Raises the `GatewayError` that the gateway answered, `StartError` if it didn't."""
        return self._result(self._exchange({"verb": verb, "arguments": arguments}))

    def run(
        self,
        verb: str,
        arguments: Mapping[str, Any],
        chunks: Iterable[list[Any]],
        on_progress: Callable[[dict[str, Any]], None],
    ) -> Any:
        """The result of a job that is fed with `chunks`. Raises like `call`, and what `chunks` raises."""
        feed = iter(chunks)
        answer = self._exchange({"verb": verb, "arguments": arguments, "job": True})
        while True:
            match answer:
                case {"more": _}:
                    answer = self._exchange({"items": next(feed, [])})
                case {"progress": dict(progress)}:
                    on_progress(progress)
                    answer = self._exchange(None)
                case _:
                    return self._result(answer)

    def _exchange(self, document: Mapping[str, Any] | None) -> Any:
        """Send `document`, unless it is None, and return the next line that comes."""
        request = b"" if document is None else orjson.dumps(document) + b"\n"
        if len(request) > MAX_REQUEST_BYTES:
            raise OperationError(f"the request is too large: {len(request)} of {MAX_REQUEST_BYTES} bytes")
        try:
            self._socket.sendall(request)
            line = self._reader.readline(MAX_RESPONSE_BYTES + 1)
        except TimeoutError:
            raise StartError(f"the gateway that listens on {self._path} does not answer") from None
        except OSError as error:
            raise StartError(f"the running gateway was lost: {error.strerror or error}") from None
        if not line.endswith(b"\n"):
            raise StartError(
                "the running gateway closed the connection without an answer",
                hint="it may be stopping, or have too many operators at once; try again",
            )
        return orjson.loads(line)

    def _result(self, answer: Any) -> Any:
        if "error" in answer:
            raise error_from_json(answer["error"])
        return answer["result"]

    def close(self) -> None:
        self._reader.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _loaded(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def _error_line(error: GatewayError) -> bytes:
    return orjson.dumps({"error": error_to_json(error)}) + b"\n"


def _remove_socket(path: Path) -> None:
    """Remove the socket at `path`, if there is one. Anything else there is somebody's file, and stays."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()


@contextlib.contextmanager
def _address_of(path: Path) -> Iterator[str]:
    """The address to bind or dial. A path too long for one is reached through its directory's descriptor."""
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH_BYTES:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
