"""Jobs that are started over HTTP: the gateway feeds them itself, and keeps how far they are for whoever asks.

A job over the control socket is fed by the command that asked for it and ends with it. Here nobody stays on the line: the
rows of a file come from the upload, in the state directory; what was wrong with single rows is written to a file beside it,
to download. Both are bounded, and gone with the job: the last `MAX_KEPT` are kept, and a restart of the gateway forgets all.
What a job had changed by then is durable, and the audit log has it.
"""

import asyncio
import contextlib
import csv
import secrets
import shutil
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Final

from gateway.api.control import Dispatcher
from gateway.errors import ConflictError, GatewayError, NotFoundError
from gateway.log import get_logger
from gateway.operations.core import find_verb
from gateway.operations.device_csv import read_devices
from gateway.operations.documents import timestamp
from gateway.operations.jobs import CHUNK
from gateway.roles import Actor, Role

__all__ = ["MAX_KEPT", "MAX_RUNNING", "Jobs", "State", "Upload"]

log = get_logger()

MAX_RUNNING: Final = 4
"""At once. A fifth is refused: it would only slow the others down."""
MAX_KEPT: Final = 50
_SHOWN_PROBLEMS: Final = 20
_PROBLEM_COLUMNS: Final = ("line", "column", "id", "problem", "hint")


class State(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(slots=True, kw_only=True)
class _Job:
    """One job, from its start until it is forgotten. It is what the verb is given (`gateway.operations.jobs.Job`)."""

    id: str
    verb: str
    arguments: dict[str, Any]
    actor: Actor
    started_at: float
    problems_file: Path
    feed: Iterator[list[Any]]
    total: int | None
    state: State = State.RUNNING
    ended_at: float | None = None
    progress: dict[str, Any] = field(default_factory=dict)
    problems: list[dict[str, Any]] = field(default_factory=list)
    """The first few; the file has all."""
    problem_count: int = 0
    error: str = ""
    task: "asyncio.Task[Any] | None" = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """Its verb has taken the arguments, and the role of who asks: it is at work."""

    async def chunks(self) -> AsyncIterator[list[Any]]:
        self.begun.set()
        for chunk in self.feed:
            yield chunk
            await asyncio.sleep(0)  # reading a file takes a turn of the loop; devices have the next

    async def report(self, progress: dict[str, Any]) -> None:
        self.begun.set()
        problems = progress.pop("problems", [])
        if problems:
            self._write(problems)
        if progress.get("total") is not None:
            self.total = progress["total"]
        self.progress = progress

    def _write(self, problems: list[dict[str, Any]]) -> None:
        is_new = not self.problem_count
        self.problem_count += len(problems)
        self.problems += problems[: _SHOWN_PROBLEMS - len(self.problems)]
        with self.problems_file.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, _PROBLEM_COLUMNS, restval="", extrasaction="ignore")
            if is_new:
                writer.writeheader()
            writer.writerows(problems)


class Upload:
    """A file that is on its way in: written as it comes, removed when its job has ended. Bounded by who writes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = 0
        self._file: IO[bytes] = path.open("xb")

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.lines += data.count(b"\n")

    def close(self) -> None:
        self._file.close()

    def discard(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)


class Jobs:
    """The jobs of one running gateway. `directory` is its own: whatever was in it is from before a restart."""

    def __init__(
        self, operations: Dispatcher, directory: Path, *, extended_ids: bool, clock: Callable[[], float]
    ) -> None:
        self._operations = operations
        self._directory = directory
        self._extended_ids = extended_ids
        self._clock = clock
        self._jobs: OrderedDict[str, _Job] = OrderedDict()
        # Jobs whose arguments and role the verb is looking at: not there yet, but they take a place.
        self._starting = 0
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o700, parents=True)

    def receive(self) -> Upload:
        """Room for a file that comes with an import."""
        return Upload(self._directory / f"{secrets.token_hex(8)}.upload")

    async def import_devices(
        self, upload: Upload, arguments: Mapping[str, Any], *, by: Actor
    ) -> dict[str, Any]:
        """Start `device.import` with the rows of a CSV file. Raises what `start` raises; the file is taken over."""
        upload.close()
        rows = _rows_of(upload, extended_ids=self._extended_ids)
        try:
            return await self._start("device.import", arguments, rows, by=by, total=max(0, upload.lines - 1))
        except GatewayError:
            upload.discard()
            raise

    async def change_devices(
        self, arguments: Mapping[str, Any], device_ids: list[str] | None, *, by: Actor
    ) -> dict[str, Any]:
        """Start `device.change`: on a list of devices, or (None) on those that the arguments' filter matches."""
        arguments = {**arguments, "by": "filter" if device_ids is None else "list"}
        ids = device_ids or []
        chunks = iter([ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)])
        total = None if device_ids is None else len(ids)
        return await self._start("device.change", arguments, chunks, by=by, total=total)

    def all(self) -> list[dict[str, Any]]:
        """What is running, and what ended since the gateway started, the newest first."""
        return [self._to_json(job) for job in reversed(self._jobs.values())]

    def show(self, job_id: str) -> dict[str, Any]:
        """Raises `NotFoundError`."""
        return self._to_json(self._get(job_id))

    async def cancel(self, job_id: str, *, by: Actor) -> dict[str, Any]:
        """End a job after the chunk it is in: what it has changed stays. Raises `NotFoundError`, `ForbiddenError`."""
        job = self._get(job_id)
        by.require(find_verb(job.verb).role, "cancelling this job")
        if job.task is not None and not job.task.done():
            job.task.cancel()
            await asyncio.wait([job.task])
        return self._to_json(job)

    def problems(self, job_id: str, *, by: Actor) -> Path | None:
        """The file (CSV) of the rows or devices that could not be done; None if there are none. Raises `NotFoundError`."""
        by.require(Role.VIEWER, "reading a job's problems")
        job = self._get(job_id)
        return job.problems_file if job.problem_count else None

    async def stop(self) -> None:
        """Cancel what runs, before the store closes."""
        running = [job.task for job in self._jobs.values() if job.task is not None and not job.task.done()]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        shutil.rmtree(self._directory, ignore_errors=True)

    async def _start(
        self, verb: str, arguments: Mapping[str, Any], feed: Iterator[list[Any]], *, by: Actor, total: int | None
    ) -> dict[str, Any]:  # fmt: skip
        """Return when it is at work. Raises `ConflictError` if too many are, and what the verb says to its arguments."""
        running = sum(job.state is State.RUNNING for job in self._jobs.values())
        if running + self._starting >= MAX_RUNNING:
            raise ConflictError(f"{MAX_RUNNING} jobs are running already", hint="wait for one, or cancel it")
        job_id = secrets.token_hex(8)
        job = _Job(
            id=job_id, verb=verb, arguments=dict(arguments), actor=by, started_at=self._clock(), feed=feed, total=total,
            problems_file=self._directory / f"{job_id}.csv",
        )  # fmt: skip
        self._starting += 1
        try:
            job.task = asyncio.create_task(self._run(job), name=f"job-{job_id}")
            begun = asyncio.create_task(job.begun.wait())
            await asyncio.wait([job.task, begun], return_when=asyncio.FIRST_COMPLETED)
            begun.cancel()
            if job.task.done() and not job.begun.is_set():
                job.task.result()  # its arguments, or the role: nothing has happened
            self._keep(job)
        finally:
            self._starting -= 1
        return self._to_json(job)

    async def _run(self, job: _Job) -> None:
        try:
            job.progress |= await self._operations.call(job.verb, job.arguments, job, by=job.actor)
            job.state = State.DONE
        except GatewayError as error:
            job.state = State.FAILED
            job.error = f"{error.message}; {error.hint}" if error.hint else error.message
            if not job.begun.is_set():
                raise
        except asyncio.CancelledError:
            job.state = State.CANCELLED
        except Exception as error:  # noqa: BLE001 - a fault in a job must not end the gateway, nor be lost
            job.state = State.FAILED
            job.error = "it failed by a fault of the gateway's own; the log has the reason"
            log.error("operation.failed", verb=job.verb, error=repr(error))
        finally:
            if job.state is not State.FAILED:
                job.begun.set()
            job.ended_at = self._clock()
            if isinstance(job.feed, _Rows):
                job.feed.upload.discard()

    def _keep(self, job: _Job) -> None:
        self._jobs[job.id] = job
        ended = [each for each in self._jobs.values() if each.state is not State.RUNNING]
        for each in ended[: max(0, len(self._jobs) - MAX_KEPT)]:
            del self._jobs[each.id]
            with contextlib.suppress(OSError):
                each.problems_file.unlink(missing_ok=True)

    def _get(self, job_id: str) -> _Job:
        job = self._jobs.get(job_id)
        if job is None:
            raise NotFoundError(
                f"there is no job {job_id[:40]!r}",
                hint=f"the last {MAX_KEPT} are kept, and a restart of the gateway forgets all",
            )
        return job

    def _to_json(self, job: _Job) -> dict[str, Any]:
        counts = {name: value for name, value in job.progress.items() if type(value) is int}
        done = counts.get("rows", sum(counts.get(name, 0) for name in ("changed", "unchanged", "failed")))
        return {
            "id": job.id,
            "verb": job.verb,
            "arguments": {
                name: value for name, value in job.arguments.items() if value not in (None, False, "")
            },
            "state": job.state.value,
            "startedBy": job.actor.name,
            "startedAt": timestamp(job.started_at),
            "endedAt": timestamp(job.ended_at) if job.ended_at is not None else None,
            "done": done,
            "total": max(done, job.total) if job.total is not None else None,
            "counts": {name: value for name, value in counts.items() if name != "total"},
            "problemCount": job.problem_count,
            "problems": job.problems,
            "error": job.error or None,
        }


class _Rows:
    """The rows of an uploaded file, by the chunk."""

    def __init__(self, upload: Upload, *, extended_ids: bool) -> None:
        self.upload = upload
        self._chunks = self._read(extended_ids=extended_ids)

    def __iter__(self) -> Iterator[list[Any]]:
        return self

    def __next__(self) -> list[Any]:
        return next(self._chunks)

    def _read(self, *, extended_ids: bool) -> Iterator[list[Any]]:
        with self.upload.path.open("rb") as lines:
            chunk: list[Any] = []
            for row in read_devices(lines, extended_ids=extended_ids):
                chunk.append(row.to_json())
                if len(chunk) == CHUNK:
                    yield chunk
                    chunk = []
            if chunk:
                yield chunk


def _rows_of(upload: Upload, *, extended_ids: bool) -> _Rows:
    return _Rows(upload, extended_ids=extended_ids)
