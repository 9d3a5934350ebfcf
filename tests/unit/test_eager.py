import asyncio

import pytest

from gateway.eager import run_eagerly


async def test_a_coroutine_that_never_waits_gives_its_result_at_once() -> None:
    async def known() -> str:
        return "admitted"

    assert run_eagerly(known()) == "admitted"


async def test_a_coroutine_that_waits_becomes_a_future_and_starts_no_task() -> None:
    commit: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def first_connect() -> int:
        return await commit + await commit

    before = asyncio.all_tasks()
    outcome = run_eagerly(first_connect())
    assert isinstance(outcome, asyncio.Future)
    assert asyncio.all_tasks() == before
    commit.set_result(21)
    assert await outcome == 42


async def test_its_exception_comes_at_once_or_with_the_future() -> None:
    commit: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def fails(*, wait: bool) -> None:
        if wait:
            await commit
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run_eagerly(fails(wait=False))
    outcome = run_eagerly(fails(wait=True))
    commit.set_exception(OSError("disk"))
    assert isinstance(outcome, asyncio.Future)
    with pytest.raises(OSError, match="disk"):
        await outcome


async def test_a_cancelled_wait_cancels_the_outcome() -> None:
    commit: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def waits() -> int:
        return await commit

    outcome = run_eagerly(waits())
    commit.cancel()
    assert isinstance(outcome, asyncio.Future)
    with pytest.raises(asyncio.CancelledError):
        await outcome
