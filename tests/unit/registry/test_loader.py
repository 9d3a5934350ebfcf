"""Cold devices are looked up many at a time."""

import asyncio
from collections.abc import Sequence

import pytest

from gateway.errors import StoreUnavailable
from gateway.registry.loader import BatchLoader


class Source:
    """Answers with the key in capitals when `answer` is set, and lists its queries."""

    def __init__(self) -> None:
        self.queries: list[list[str]] = []
        self.answer = asyncio.Event()
        self.answer.set()
        self.failure: Exception | None = None
        self.version = 0

    async def load(self, keys: Sequence[str]) -> dict[str, str]:
        self.queries.append(list(keys))
        found = {key: f"{key}{self.version}" for key in keys}
        await asyncio.sleep(0)
        await self.answer.wait()
        if self.failure is not None:
            raise self.failure
        return found

    def loader(self) -> BatchLoader[str]:
        return BatchLoader(self.load, keep=dict[str, str]().__setitem__, name="look-up")


async def test_who_asks_while_a_query_runs_shares_the_next_one() -> None:
    source = Source()
    source.answer.clear()
    loader = source.loader()
    first = loader.get("a")
    await asyncio.sleep(0)
    later = [loader.get(key) for key in "bcd"]
    source.answer.set()
    assert await asyncio.gather(first, *later) == ["a0", "b0", "c0", "d0"]
    assert source.queries == [["a"], ["b", "c", "d"]]


async def test_who_asks_for_the_same_key_shares_one_look_up() -> None:
    source = Source()
    loader = source.loader()
    assert await asyncio.gather(*(loader.get("a") for _ in range(50))) == ["a0"] * 50
    assert source.queries == [["a"]]


async def test_who_gives_up_takes_nobody_along() -> None:
    source = Source()
    loader = source.loader()
    impatient, patient = loader.get("a"), loader.get("a")
    impatient.cancel()
    assert await patient == "a0"


async def test_ten_thousand_cold_devices_are_twenty_queries() -> None:
    source = Source()
    loader = source.loader()
    found = await asyncio.gather(*(loader.get(f"d{number}-") for number in range(10_000)))
    assert (len(found), found[9_999]) == (10_000, "d9999-0")
    assert len(source.queries) == 20


async def test_a_failed_query_fails_those_who_asked_and_the_next_one_works() -> None:
    source = Source()
    loader = source.loader()
    source.failure = StoreUnavailable("disk full")
    asked = [loader.get("a"), loader.get("a"), loader.get("b")]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert outcomes == [source.failure] * 3
    source.failure = None
    assert await loader.get("a") == "a0"


async def test_a_value_that_changes_during_the_query_is_asked_for_again() -> None:
    source = Source()
    source.answer.clear()
    loader = source.loader()
    asked = loader.get("a")
    unchanged = loader.get("b")
    await asyncio.sleep(0)
    source.version = 1
    loader.outdate("a")
    source.answer.set()
    assert (await unchanged, await asked) == ("b0", "a1")
    assert source.queries == [["a", "b"], ["a"]]


async def test_outdating_what_nobody_asked_for_does_nothing() -> None:
    source = Source()
    loader = source.loader()
    loader.outdate("a")
    assert await loader.get("a") == "a0"
    assert source.queries == [["a"]]


async def test_draining_answers_who_waits() -> None:
    source = Source()
    loader = source.loader()
    await loader.drain()
    asked = loader.get("a")
    await loader.drain()
    assert asked.result() == "a0"


async def test_draining_fails_those_whom_a_hanging_source_keeps_waiting() -> None:
    source = Source()
    source.answer.clear()
    loader = source.loader()
    asked = loader.get("a")
    await asyncio.sleep(0)
    await loader.drain(deadline_s=0)
    with pytest.raises(StoreUnavailable, match="stopped"):
        await asked


async def test_a_source_that_does_not_know_a_key_fails_who_asked_for_it() -> None:
    async def load(keys: Sequence[str]) -> dict[str, str]:
        return {key: key for key in keys if key != "b"}

    loader: BatchLoader[str] = BatchLoader(load, keep=dict[str, str]().__setitem__, name="look-up")
    asked = [loader.get(key) for key in "abc"]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(outcomes[1], KeyError)
    assert await loader.get("d") == "d"
