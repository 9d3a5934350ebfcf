"""The log as a stream: the ring, the followers, and what a slow one loses."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from gateway.feed import Batch, Entry, Feed, Filter
from gateway.session import CloseReason

INFO, WARNING = 20, 30
ALL = Filter()


def feed_of(*names: str, max_recent: int = 100) -> Feed:
    feed = Feed(max_recent=max_recent)
    for name in names:
        feed.write(INFO, name, {})
    return feed


def names(batch: Batch) -> list[str]:
    return [entry.event for entry in batch.events]


def follow(feed: Feed, wanted: Filter = ALL, **more: int) -> "aclosing[AsyncGenerator[Batch, None]]":
    return aclosing(feed.follow(wanted, **{"recent": 10, "max_backlog": 5, **more}))


def test_the_last_events_are_kept_and_no_more() -> None:
    feed = feed_of(*(f"e.{number}" for number in range(10)), max_recent=3)
    assert [entry.event for entry in feed.recent(ALL, 100)] == ["e.7", "e.8", "e.9"]
    assert [entry.event for entry in feed.recent(ALL, 1)] == ["e.9"]
    assert feed.recent(ALL, 0) == []
    feed.resize(2)
    assert [entry.event for entry in feed.recent(ALL, 100)] == ["e.8", "e.9"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Filter(), [1, 2, 3]),
        (Filter(device_id="mill-1"), [1, 3]),
        (Filter(events=("connect.refused",)), [2]),
        (Filter(events=("session.*",)), [1, 3]),
        (Filter(events=("session.opened", "connect.*")), [1, 2]),
        (Filter(level=WARNING), [2]),
        (Filter(since=2.0), [3]),
        (Filter(device_id="mill-1", level=WARNING), []),
    ],
)
def test_a_filter_wants_what_it_names(wanted: Filter, expected: list[int]) -> None:
    entries = [
        Entry(1.0, INFO, "session.opened", {"device_id": "mill-1"}),
        Entry(2.0, WARNING, "connect.refused", {"device_id": "mill-2"}),
        Entry(3.0, INFO, "session.closed", {"device_id": "mill-1"}),
    ]
    assert [int(entry.at) for entry in entries if wanted.wants(entry)] == expected


def test_an_event_is_the_json_that_the_log_has() -> None:
    entry = Entry(1_800_000_000.25, WARNING, "session.closed", {"reason": CloseReason.FAULT, "of": {1}})
    assert entry.to_json() == {
        "timestamp": "2027-01-15T08:00:00.250Z", "level": "warning", "event": "session.closed", "reason": "fault",
        "of": "{1}",
    }  # fmt: skip


async def test_a_follower_gets_the_last_events_then_the_new_ones() -> None:
    feed = feed_of("e.1", "e.2")
    async with follow(feed, recent=1) as batches:
        assert names(await anext(batches)) == ["e.2"]
        feed.write(INFO, "e.3", {})
        assert names(await anext(batches)) == ["e.3"]
        waiting = asyncio.ensure_future(anext(batches))
        await asyncio.sleep(0)
        feed.write(INFO, "e.4", {})
        assert names(await waiting) == ["e.4"]


async def test_who_stops_following_is_forgotten() -> None:
    feed = feed_of("e.1")
    async with follow(feed) as batches:
        await anext(batches)
        assert feed.followers == 1
    assert feed.followers == 0


async def test_a_slow_reader_loses_events_is_told_how_many_and_where() -> None:
    feed = feed_of("e.0")
    async with follow(feed, max_backlog=2) as batches:
        await anext(batches)
        for number in range(1, 6):
            feed.write(INFO, f"e.{number}", {})
        first = await anext(batches)
        feed.write(INFO, "e.6", {})
        second = await anext(batches)
    assert (names(first), first.dropped) == (["e.1", "e.2"], 0)
    assert (names(second), second.dropped) == (["e.6"], 3)


async def test_one_slow_reader_costs_the_others_nothing() -> None:
    feed = feed_of("e.0")
    async with follow(feed, max_backlog=1) as slow, follow(feed, max_backlog=100) as quick:
        await anext(slow)
        await anext(quick)
        for number in range(20):
            feed.write(INFO, f"e.{number}", {})
        assert len((await anext(quick)).events) == 20
        assert len((await anext(slow)).events) == 1


async def test_what_another_thread_writes_wakes_a_follower() -> None:
    feed = feed_of("e.0")
    async with follow(feed) as batches:
        await anext(batches)
        waiting = asyncio.ensure_future(anext(batches))
        await asyncio.sleep(0)
        thread = threading.Thread(target=feed.write, args=(INFO, "e.1", {}))
        thread.start()
        assert names(await waiting) == ["e.1"]
        thread.join()


async def test_a_gateway_that_stops_ends_what_is_followed() -> None:
    feed = feed_of("e.1")
    async with follow(feed) as batches:
        await anext(batches)
        waiting = asyncio.ensure_future(anext(batches))
        await asyncio.sleep(0)
        feed.hang_up()
        assert await waiting == Batch([])
        with pytest.raises(StopAsyncIteration):
            await anext(batches)
    assert feed.followers == 0


async def test_silence_is_told_so_that_both_ends_know_that_the_other_lives() -> None:
    async with aclosing(feed_of().follow(ALL, recent=0, max_backlog=1, alive_s=0)) as batches:
        assert await anext(batches) == Batch([])
        assert await anext(batches) == Batch([])
