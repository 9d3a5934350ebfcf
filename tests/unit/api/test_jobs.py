"""Jobs that the gateway feeds itself: bounded, cancelled in order, honest about how they ended."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.api.jobs import MAX_KEPT, MAX_RUNNING, Jobs
from gateway.errors import ConflictError, ForbiddenError, OperationError
from gateway.operations.jobs import Job
from gateway.roles import Actor, Role

OPERATOR = Actor(name="token/o", role=Role.OPERATOR)
VIEWER = Actor(name="token/v", role=Role.VIEWER)


class Operations:
    """Takes chunks until it is told to go on no longer."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.fails: Exception | None = None
        self.taken: list[Any] = []

    async def call(
        self, verb: str, arguments: Mapping[str, Any], job: Job | None = None, *, by: Actor
    ) -> Any:
        assert job is not None
        if self.fails is not None:
            raise self.fails
        async for chunk in job.chunks():
            self.taken += chunk
            await job.report({"changed": len(self.taken), "problems": [{"id": "x", "problem": "no"}]})
            await self.go_on.wait()
        return {"changed": len(self.taken), "action": "block"}


@pytest.fixture
def operations() -> Operations:
    return Operations()


@pytest.fixture
def jobs(operations: Operations, tmp_path: Path) -> Jobs:
    return Jobs(operations, tmp_path / "jobs", extended_ids=False, clock=lambda: 1_800_000_000.0)


async def start(jobs: Jobs, *ids: str) -> dict[str, Any]:
    return await jobs.change_devices({"action": "block"}, list(ids) or ["a", "b"], by=OPERATOR)


async def ended(*jobs: dict[str, Any]) -> None:
    names = {f"job-{job['id']}" for job in jobs}
    await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name() in names))


async def test_a_job_that_is_cancelled_says_so_and_keeps_what_it_counted(jobs: Jobs) -> None:
    job = await start(jobs)
    assert job["state"] == "running"
    with pytest.raises(ForbiddenError):
        await jobs.cancel(job["id"], by=VIEWER)
    await asyncio.sleep(0)
    cancelled = await jobs.cancel(job["id"], by=OPERATOR)
    assert (cancelled["state"], cancelled["problemCount"]) == ("cancelled", 1)
    assert await jobs.cancel(job["id"], by=OPERATOR) == cancelled


async def test_a_fifth_job_is_refused_while_four_run(jobs: Jobs, operations: Operations) -> None:
    running = [await start(jobs) for _ in range(MAX_RUNNING)]
    with pytest.raises(ConflictError, match="4 jobs are running"):
        await start(jobs)
    operations.go_on.set()
    await ended(*running)
    assert (await start(jobs))["verb"] == "device.change"
    await jobs.stop()


async def test_of_many_jobs_that_start_at_once_four_run(jobs: Jobs) -> None:
    outcomes = await asyncio.gather(*(start(jobs) for _ in range(MAX_RUNNING + 3)), return_exceptions=True)
    assert sum(isinstance(outcome, ConflictError) for outcome in outcomes) == 3
    assert len(jobs.all()) == MAX_RUNNING
    await jobs.stop()


async def test_arguments_that_the_verb_does_not_take_start_no_job(jobs: Jobs, operations: Operations) -> None:
    operations.fails = OperationError("action is missing")
    with pytest.raises(OperationError, match="action is missing"):
        await start(jobs)
    assert jobs.all() == []


async def test_the_oldest_jobs_are_forgotten_with_their_files(
    jobs: Jobs, operations: Operations, tmp_path: Path
) -> None:
    operations.go_on.set()
    for _ in range(MAX_KEPT + 5):
        job = await start(jobs)
        await ended(job)
    assert len(jobs.all()) == MAX_KEPT
    assert len(list((tmp_path / "jobs").glob("*.csv"))) == MAX_KEPT


async def test_a_start_empties_the_directory_and_a_stop_removes_it(
    jobs: Jobs, operations: Operations, tmp_path: Path
) -> None:
    upload = jobs.receive()
    upload.write(b"IOTC_DEVICEID\nleft-over\n")
    Jobs(operations, tmp_path / "jobs", extended_ids=False, clock=lambda: 0.0)
    assert list((tmp_path / "jobs").iterdir()) == []
    upload.discard()
    await start(jobs)
    await jobs.stop()
    assert jobs.all()[0]["state"] == "cancelled"
    assert not (tmp_path / "jobs").exists()


async def test_an_upload_is_gone_when_its_import_ends(
    jobs: Jobs, operations: Operations, tmp_path: Path
) -> None:
    upload = jobs.receive()
    upload.write(b"IOTC_DEVICEID,IOTC_DEVICENAME\na-1,One\na-2,Two\n")
    job = await jobs.import_devices(upload, {}, by=OPERATOR)
    operations.go_on.set()
    await ended(job)
    assert [row["id"] for row in operations.taken] == ["a-1", "a-2"]
    assert not upload.path.exists()
