"""Following the log through the operations."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConflictError, OperationError
from gateway.feed import Feed, Filter
from gateway.operations.events import EventOperations
from gateway.operations.jobs import LocalJob
from gateway.settings import LogSettings


@pytest.fixture
def feed() -> Feed:
    feed = Feed()
    feed.write(20, "session.opened", {"device_id": "mill-1"})
    feed.write(30, "connect.refused", {"device_id": "mill-2"})
    return feed


class Reports:
    """A job that only listens, and hangs up after so many reports."""

    def __init__(self, at_most: int) -> None:
        self.seen: list[dict[str, Any]] = []
        self.first = asyncio.Event()
        self._at_most = at_most

    async def chunks(self) -> AsyncIterator[list[Any]]:
        return
        yield []

    async def report(self, progress: dict[str, Any]) -> None:
        self.seen.append(progress)
        self.first.set()
        if len(self.seen) == self._at_most:
            raise ConnectionError


async def test_the_last_events_are_reported_and_then_it_ends(feed: Feed) -> None:
    reports: list[dict[str, Any]] = []
    operations = EventOperations(feed=feed, settings=LogSettings())
    result = await operations.follow(LocalJob((), reports.append), events=["connect.*"], follow=False)
    assert result == {"shown": 1}
    assert [event["event"] for event in reports[0]["events"]] == ["connect.refused"]


async def test_who_follows_gets_what_comes_until_they_hang_up(feed: Feed) -> None:
    reports = Reports(at_most=2)
    following = asyncio.create_task(
        EventOperations(feed=feed, settings=LogSettings()).follow(reports, device_id="mill-1")
    )
    await reports.first.wait()
    feed.write(20, "session.closed", {"device_id": "mill-1"})
    with pytest.raises(ConnectionError):
        await following
    assert [[event["event"] for event in each["events"]] for each in reports.seen] == [
        ["session.opened"],
        ["session.closed"],
    ]
    assert feed.followers == 0


async def test_only_so_many_may_follow(feed: Feed) -> None:
    operations = EventOperations(feed=feed, settings=LogSettings(max_followers=1))
    first = operations.stream(Filter(), recent=1)
    await anext(first)
    with pytest.raises(ConflictError, match="1 follow the log already"):
        operations.stream(Filter(), recent=1)
    await first.aclose()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"since": "yesterday"}, "since: not a time: 'yesterday'")],
)
async def test_a_wrong_argument_is_one_line(feed: Feed, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(OperationError) as caught:
        await EventOperations(feed=feed, settings=LogSettings()).follow(LocalJob(), **settings)
    assert caught.value.message == message


async def test_without_a_running_gateway_there_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="no gateway runs"):
        await EventOperations(feed=None, settings=LogSettings()).follow(LocalJob())
