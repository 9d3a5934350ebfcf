from collections.abc import Callable
from typing import Any

import pytest

from gateway.edge.deadlines import Deadlines
from gateway.edge.sessions import SessionTable, WaitingWill
from gateway.session import CloseReason, Dialect


class FakeSession:
    def __init__(self, device_id: str, dialect: Dialect = Dialect.HUB, group: str | None = "G") -> None:
        self.device_id = device_id
        self.dialect = dialect
        self.enrollment_group = group
        self.closed: list[CloseReason] = []

    def close(self, reason: CloseReason, detail: str = "") -> None:
        self.closed.append(reason)


def test_a_newer_connection_takes_over_and_the_older_one_leaving_does_not_remove_it() -> None:
    table = SessionTable(max_offline=10)
    older, newer = FakeSession("t-1"), FakeSession("t-1")
    assert table.enter(older) is None
    assert table.enter(newer) is older
    table.leave(older)
    assert table.is_connected("t-1")
    table.leave(newer)
    assert not table.is_connected("t-1")


def test_provisioning_does_not_take_over_the_hub_session_of_the_same_device() -> None:
    table = SessionTable(max_offline=10)
    table.enter(FakeSession("t-1"))
    assert table.enter(FakeSession("t-1", Dialect.DPS)) is None
    assert table.count == 2


def test_closing_a_device_closes_both_of_its_sessions_and_forgets_what_was_kept() -> None:
    table = SessionTable(max_offline=10)
    hub, dps, other = FakeSession("t-1"), FakeSession("t-1", Dialect.DPS), FakeSession("t-2")
    for session in (hub, dps, other):
        table.enter(session)
    table.keep_subscriptions("t-1", {"a": 1})
    assert table.close_device("t-1", CloseReason.DEVICE_BLOCKED) == 2
    assert hub.closed == dps.closed == [CloseReason.DEVICE_BLOCKED]
    assert other.closed == []
    assert table.resume("t-1", keeps=True, now=0.0) is None


def test_closing_a_group_closes_its_devices_only() -> None:
    table = SessionTable(max_offline=10)
    mine, other = FakeSession("t-1", group="G"), FakeSession("t-2", group="H")
    table.enter(mine)
    table.enter(other)
    assert table.close_where(lambda s: s.enrollment_group == "G", CloseReason.ENROLLMENT_CHANGED) == 1
    assert (len(mine.closed), len(other.closed)) == (1, 0)


def test_subscriptions_of_an_absent_device_are_given_back_once() -> None:
    table = SessionTable(max_offline=10)
    table.keep_subscriptions("t-1", {"$iothub/twin/res/#": 0})
    assert table.resume("t-1", keeps=True, now=0.0) == {"$iothub/twin/res/#": 0}
    assert table.resume("t-1", keeps=True, now=0.0) is None


def test_only_so_many_absent_devices_are_remembered_and_the_oldest_goes_first() -> None:
    table = SessionTable(max_offline=2)
    for device_id in ("t-1", "t-2", "t-3"):
        table.keep_subscriptions(device_id, {device_id: 1})
    assert table.resume("t-1", keeps=True, now=0.0) is None
    assert table.resume("t-3", keeps=True, now=0.0) == {"t-3": 1}


def test_nothing_is_remembered_when_the_setting_is_zero() -> None:
    table = SessionTable(max_offline=0)
    table.keep_subscriptions("t-1", {"a": 1})
    assert table.resume("t-1", keeps=True, now=0.0) is None


# Wills that wait


class Author:
    """A session that is over but for its will."""

    def __init__(self) -> None:
        self.published = 0

    def publish_will(self) -> None:
        self.published += 1


def hold(table: SessionTable, deadlines: Deadlines, device_id: str, *, until: float = 600.0) -> Author | None:
    author: Any = Author()
    held = table.hold_will(WaitingWill(author, device_id, table, deadlines), until=until)
    return author if held else None


@pytest.mark.parametrize(
    ("leave", "published"),
    [
        (lambda table: table.resume("t-1", keeps=True, now=0.0), 0),
        (lambda table: table.resume("t-1", keeps=False, now=0.0), 1),
        (lambda table: table.resume("t-1", keeps=True, now=99.0), 1),
        (lambda table: table.close_device("t-1", CloseReason.DEVICE_BLOCKED), 1),
        (lambda table: table.close_all(CloseReason.SHUTTING_DOWN), 1),
    ],
    ids=["back in time", "back for a new session", "back too late", "blocked", "shutting down"],
)
def test_a_will_that_waits_no_longer_is_held_by_nobody_however_long_its_delay_is(
    leave: Callable[[SessionTable], Any], published: int
) -> None:
    table, deadlines = SessionTable(max_offline=10), Deadlines(now=0.0)
    table.keep_subscriptions("t-1", {"a": 1}, until=50.0)
    author = hold(table, deadlines, "t-1")
    assert author is not None
    assert (table.wills, len(deadlines)) == (1, 1)
    leave(table)
    assert (author.published, table.wills, len(deadlines)) == (published, 0, 0)
    deadlines.tick(1000.0)
    assert author.published == published


def test_a_will_is_published_when_it_is_due_and_not_before() -> None:
    table, deadlines = SessionTable(max_offline=10), Deadlines(now=0.0)
    author = hold(table, deadlines, "t-1", until=30.0)
    assert author is not None
    deadlines.tick(30.0)
    assert author.published == 0
    deadlines.tick(31.0)
    assert (author.published, table.wills, len(deadlines)) == (1, 0, 0)


def test_only_so_many_wills_wait() -> None:
    table, deadlines = SessionTable(max_offline=2), Deadlines(now=0.0)
    assert [hold(table, deadlines, each) is not None for each in ("t-1", "t-2", "t-3")] == [True, True, False]
    assert (table.wills, len(deadlines)) == (2, 2)
    table.publish_will("t-1")
    assert hold(table, deadlines, "t-3") is not None
