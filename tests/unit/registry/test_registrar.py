"""Many changes, one commit; and what becomes of them when it fails."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from gateway.errors import StoreError, StoreUnavailable
from gateway.registry.device import Device, Status
from gateway.registry.registrar import Registrar, Settled
from gateway.registry.store import Batch, Change, Deletion, TwinRecord
from tests.support.memory_store import MemoryStore

FULL = StoreUnavailable("disk full", hint="make room")


def device(device_id: str, name: str | None = None) -> Device:
    return Device.new(device_id, name=name, status=Status.PROVISIONED, now=1.0)


def twin(device_id: str, version: int) -> TwinRecord:
    return TwinRecord(
        device_id=device_id, desired="{}", desired_version=1, reported="{}", reported_version=version
    )


class Desk:
    """Submits changes and remembers how they were settled, in order."""

    def __init__(self, registrar: Registrar) -> None:
        self.registrar = registrar
        self.settled: list[tuple[str, StoreError | None]] = []
        self._one_more = asyncio.Event()

    def submit(self, label: str, change: Change | None = None) -> None:
        def settled(error: StoreError | None) -> None:
            self.settled.append((label, error))
            self._one_more.set()

        self.registrar.submit(change or device(label), settled)

    async def wait_for(self, count: int) -> None:
        while len(self.settled) < count:
            self._one_more.clear()
            await self._one_more.wait()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def desk(store: MemoryStore) -> AsyncIterator[Desk]:
    registrar = Registrar(store, max_batch=100, max_queue=250)
    registrar.start()
    yield Desk(registrar)
    store.may_commit.set()
    await registrar.stop()


async def test_what_arrives_during_a_commit_shares_the_next_one(desk: Desk, store: MemoryStore) -> None:
    store.may_commit.clear()
    desk.submit("first")
    await store.asked_to_commit()
    for number in range(50):
        desk.submit(f"later-{number}")
    store.may_commit.set()
    await desk.wait_for(51)
    assert [len(batch.devices) for batch in store.commits] == [1, 50]
    assert desk.registrar.commits == 2


async def test_a_commit_has_at_most_max_batch_changes(desk: Desk, store: MemoryStore) -> None:
    for number in range(250):
        desk.submit(f"d{number}")
    await desk.wait_for(250)
    assert [len(batch.devices) for batch in store.commits] == [100, 100, 50]
    assert [label for label, _ in desk.settled] == [f"d{number}" for number in range(250)]


async def test_nothing_is_settled_before_its_commit(desk: Desk, store: MemoryStore) -> None:
    store.may_commit.clear()
    desk.submit("a")
    for _ in range(10):
        await asyncio.sleep(0)
    assert (desk.settled, store.devices) == ([], {})
    store.may_commit.set()
    await desk.wait_for(1)
    assert set(store.devices) == {"a"}


async def test_the_last_change_of_a_device_in_a_batch_wins(desk: Desk, store: MemoryStore) -> None:
    for name in ("one", "two", "three"):
        desk.submit(name, device("d", name))
    await desk.wait_for(3)
    assert len(store.commits) == 1
    assert store.devices["d"].name == "three"


async def test_a_failed_commit_fails_its_changes_and_nobody_else(desk: Desk, store: MemoryStore) -> None:
    store.commit_failures.append(FULL)
    store.may_commit.clear()
    desk.submit("a")
    await store.asked_to_commit()
    desk.submit("b")
    store.may_commit.set()
    with capture_logs() as logs:
        await desk.wait_for(2)
    assert desk.settled == [("a", FULL), ("b", None)]
    assert set(store.devices) == {"b"}
    assert [(line["event"], line["error"], line["hint"]) for line in logs] == [
        ("store.failed", "disk full", "make room")
    ]


async def test_what_was_built_on_a_failed_change_fails_with_it(desk: Desk, store: MemoryStore) -> None:
    store.commit_failures.append(FULL)
    store.may_commit.clear()
    desk.submit("a blocked", device("a", "blocked"))
    await store.asked_to_commit()
    desk.submit("a blocked and renamed", device("a", "blocked and renamed"))
    desk.submit("twin of a", twin("a", 2))
    desk.submit("b")
    store.may_commit.set()
    await desk.wait_for(4)
    assert desk.settled == [
        ("a blocked", FULL),
        ("a blocked and renamed", FULL),
        ("twin of a", FULL),
        ("b", None),
    ]
    assert set(store.devices) == {"b"}


async def test_a_driver_s_own_exception_is_a_store_that_can_t_answer(desk: Desk, store: MemoryStore) -> None:
    store.commit_failures.append(RuntimeError("driver bug"))
    desk.submit("a")
    await desk.wait_for(1)
    ((_, error),) = desk.settled
    assert isinstance(error, StoreUnavailable)
    assert str(error) == "RuntimeError: driver bug"
    desk.submit("b")
    await desk.wait_for(2)
    assert desk.settled[1] == ("b", None)


async def test_a_full_queue_is_told_at_once(desk: Desk, store: MemoryStore) -> None:
    store.may_commit.clear()
    desk.submit("first")
    await store.asked_to_commit()
    for number in range(250):
        desk.submit(f"d{number}")
    with pytest.raises(StoreUnavailable, match="too many changes"):
        desk.submit("one too many")
    store.may_commit.set()
    await desk.wait_for(251)
    assert "one too many" not in store.devices


async def test_stopping_commits_what_waits_and_takes_nothing_more(store: MemoryStore) -> None:
    desk = Desk(Registrar(store, max_batch=10, max_queue=100))
    desk.registrar.start()
    for number in range(35):
        desk.submit(f"d{number}")
    await desk.registrar.stop()
    assert len(store.devices) == 35
    assert all(error is None for _, error in desk.settled)
    with pytest.raises(StoreUnavailable, match="stopping"):
        desk.submit("late")


async def test_a_store_that_hangs_does_not_keep_the_gateway_from_stopping(store: MemoryStore) -> None:
    desk = Desk(Registrar(store, max_batch=1, max_queue=100))
    desk.registrar.start()
    store.may_commit.clear()
    desk.submit("under way")
    desk.submit("waiting")
    await desk.registrar.stop(deadline_s=0.01)
    assert [label for label, _ in desk.settled] == ["under way", "waiting"]
    assert all(isinstance(error, StoreUnavailable) for _, error in desk.settled)


async def test_an_idle_registrar_stops_and_one_that_never_started_too(store: MemoryStore) -> None:
    registrar = Registrar(store, max_batch=1, max_queue=1)
    registrar.start()
    await registrar.stop()
    await Registrar(store, max_batch=1, max_queue=1).stop()
    assert store.commits == []


async def test_a_deletion_tells_its_watcher_when_it_is_submitted_and_when_it_is_settled(
    desk: Desk, store: MemoryStore
) -> None:
    seen: list[object] = []

    def watch(device_id: str) -> Settled:
        seen.append(device_id)
        return seen.append

    desk.registrar.watch_deletions(watch)
    desk.submit("deletion", Deletion("a"))
    assert seen == ["a"]
    await desk.wait_for(1)
    assert seen == ["a", None]
    store.commit_failures.append(FULL)
    desk.submit("deletion", Deletion("b"))
    await desk.wait_for(2)
    assert seen == ["a", None, "b", FULL]


def test_a_batch_applies_changes_in_the_order_in_which_they_came() -> None:
    new = device("a", "made anew")
    batch = Batch.of([device("a"), twin("a", 2), device("b"), Deletion("a"), new])
    assert batch.deletions == {"a"}
    assert (batch.devices["a"], set(batch.devices), batch.twins) == (new, {"a", "b"}, {})
    batch = Batch.of([Deletion("a"), twin("a", 2), Deletion("a")])
    assert (batch.deletions, batch.devices, batch.twins) == ({"a"}, {}, {})
