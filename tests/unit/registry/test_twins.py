"""A device reports properties and reads them back."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.eager import run_eagerly
from gateway.errors import StoreCorrupt, StoreUnavailable
from gateway.registry.device import Device, Status
from gateway.registry.registry import Registry
from gateway.registry.store import TwinRecord
from gateway.registry.twins import PatchRefused, Twin, Twins
from gateway.settings import RegistrySettings, TwinSettings
from tests.support.memory_store import MemoryStore

FULL = StoreUnavailable("disk full")


def stored(device_id: str, reported: Any, version: int) -> TwinRecord:
    return TwinRecord(
        device_id=device_id, desired='{"target":20}', desired_version=4, reported=json.dumps(reported),
        reported_version=version,
    )  # fmt: skip


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def registry(store: MemoryStore) -> AsyncIterator[Registry]:
    registry = Registry(store, RegistrySettings())
    await registry.start()
    yield registry
    store.may_commit.set()
    await registry.stop()


@pytest.fixture
def twins(store: MemoryStore, registry: Registry) -> Twins:
    return Twins(store, registry.registrar, TwinSettings(max_reported_bytes=1024, cache_size=10))


async def test_a_device_that_never_reported_has_an_empty_twin(twins: Twins, store: MemoryStore) -> None:
    assert await twins.get("mill-1") == Twin(desired={}, desired_version=1, reported={}, reported_version=1)
    assert store.twins == {}


async def test_what_is_reported_is_merged_versioned_and_durable(twins: Twins, store: MemoryStore) -> None:
    assert await twins.patch_reported("mill-1", {"a": {"b": 1, "c": 2}}) == 2
    assert await twins.patch_reported("mill-1", {"a": {"b": None}, "d": [1]}) == 3
    twin = await twins.get("mill-1")
    assert (twin.reported, twin.reported_version) == ({"a": {"c": 2}, "d": [1]}, 3)
    record = store.twins["mill-1"]
    assert (json.loads(record.reported), record.reported_version) == (twin.reported, 3)


async def test_a_stored_twin_is_loaded_once_and_keeps_its_desired_properties(
    twins: Twins, store: MemoryStore
) -> None:
    store.twins["mill-1"] = stored("mill-1", {"a": 1}, 7)
    assert await twins.patch_reported("mill-1", {"b": 2}) == 8
    twin = await twins.get("mill-1")
    assert (twin.desired, twin.desired_version, twin.reported) == ({"target": 20}, 4, {"a": 1, "b": 2})
    assert store.twin_lookups == [["mill-1"]]


async def test_patches_sent_in_one_go_are_merged_in_order_and_share_a_commit(
    twins: Twins, store: MemoryStore
) -> None:
    await twins.get("mill-1")
    versions = await asyncio.gather(*(twins.patch_reported("mill-1", {"n": n, f"k{n}": n}) for n in range(9)))
    assert versions == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert json.loads(store.twins["mill-1"].reported)["n"] == 8
    assert len(store.commits) == 1


async def test_a_patch_is_answered_and_shown_only_when_it_is_durable(
    twins: Twins, store: MemoryStore
) -> None:
    await twins.get("mill-1")
    store.may_commit.clear()
    patching = asyncio.create_task(twins.patch_reported("mill-1", {"a": 1}))
    await store.asked_to_commit()
    assert not patching.done()
    assert (await twins.get("mill-1")).reported == {}
    store.may_commit.set()
    assert await patching == 2
    assert (await twins.get("mill-1")).reported == {"a": 1}


@pytest.mark.parametrize(
    ("patch", "problem"),
    [
        ({"$version": 3}, "character"),
        ({"a": "x" * 1100}, "1024 bytes"),
        (json.loads('{"a":' * 12 + "1" + "}" * 12), "too deep"),
    ],
)
async def test_a_patch_that_breaks_a_rule_changes_nothing(
    twins: Twins, store: MemoryStore, patch: dict[str, Any], problem: str
) -> None:
    refused = await twins.patch_reported("mill-1", patch)
    assert isinstance(refused, PatchRefused)
    assert problem in refused.problem
    assert (store.commits, (await twins.get("mill-1")).reported_version) == ([], 1)


async def test_properties_that_grow_too_large_together_are_refused_and_can_be_taken_back(
    twins: Twins,
) -> None:
    assert await twins.patch_reported("mill-1", {"a": "x" * 600}) == 2
    assert isinstance(await twins.patch_reported("mill-1", {"b": "x" * 600}), PatchRefused)
    assert await twins.patch_reported("mill-1", {"a": None, "b": "x" * 600}) == 3


async def test_a_failed_commit_is_told_and_leaves_the_twin_as_it_was(
    twins: Twins, store: MemoryStore
) -> None:
    await twins.patch_reported("mill-1", {"a": 1})
    store.commit_failures.append(FULL)
    with pytest.raises(StoreUnavailable):
        await twins.patch_reported("mill-1", {"a": 2})
    twin = await twins.get("mill-1")
    assert (twin.reported, twin.reported_version) == ({"a": 1}, 2)
    assert await twins.patch_reported("mill-1", {"b": 1}) == 3
    assert (await twins.get("mill-1")).reported == {"a": 1, "b": 1}


async def test_a_commit_that_failed_in_name_only_is_not_forgotten(twins: Twins, store: MemoryStore) -> None:
    await twins.patch_reported("mill-1", {"a": 1})
    store.commit_failures.append(FULL)
    with pytest.raises(StoreUnavailable):
        await twins.patch_reported("mill-1", {"a": 2})
    store.twins["mill-1"] = stored("mill-1", {"a": 2}, 3)  # the disk had it before the error came
    assert await twins.patch_reported("mill-1", {"b": 1}) == 4
    assert json.loads(store.twins["mill-1"].reported) == {"a": 2, "b": 1}


async def test_a_look_up_that_was_overtaken_by_a_commit_is_asked_again(
    twins: Twins, store: MemoryStore
) -> None:
    await twins.get("mill-1")
    store.may_commit.clear()
    patching = asyncio.create_task(twins.patch_reported("mill-1", {"a": 1}))
    await store.asked_to_commit()
    twins._committed.clear()  # as if others had taken its place
    store.may_load.clear()
    reading = asyncio.create_task(twins.get("mill-1"))
    await store.asked_for_twins(2)
    store.may_commit.set()
    await patching
    twins._committed.clear()
    store.may_load.set()
    assert (await reading).reported == {"a": 1}


async def test_a_patch_that_comes_just_when_the_twin_is_loaded_overtakes_none(
    twins: Twins, store: MemoryStore
) -> None:
    store.may_load.clear()
    waiting = [asyncio.create_task(twins.patch_reported("mill-1", {"last": n})) for n in range(2)]
    await store.asked_for_twins()
    store.may_load.set()
    while twins._newest("mill-1") is None:  # noqa: ASYNC110 - the very turn of the loop is meant
        await asyncio.sleep(0)
    newest = run_eagerly(twins.patch_reported("mill-1", {"last": "newest"}))
    assert isinstance(newest, asyncio.Future)
    assert await asyncio.gather(*waiting, newest) == [2, 3, 4]
    assert json.loads(store.twins["mill-1"].reported) == {"last": "newest"}


async def test_patches_behind_a_failed_one_fail_with_it_and_no_version_is_given_twice(
    twins: Twins, store: MemoryStore
) -> None:
    await twins.get("mill-1")
    store.may_commit.clear()
    store.commit_failures.append(FULL)
    first = asyncio.create_task(twins.patch_reported("mill-1", {"a": 1}))
    await store.asked_to_commit()
    second = asyncio.create_task(twins.patch_reported("mill-1", {"b": 2}))
    await asyncio.sleep(0)
    store.may_commit.set()
    assert await asyncio.gather(*[first, second], return_exceptions=True) == [FULL, FULL]
    assert await twins.patch_reported("mill-1", {"c": 3}) == 2
    assert json.loads(store.twins["mill-1"].reported) == {"c": 3}


async def test_a_device_that_leaves_before_the_commit_loses_nothing_and_harms_nothing(
    twins: Twins, store: MemoryStore
) -> None:
    await twins.get("mill-1")
    store.may_commit.clear()
    leaving = asyncio.create_task(twins.patch_reported("mill-1", {"a": 1}))
    await store.asked_to_commit()
    leaving.cancel()
    await asyncio.sleep(0)
    back_again = asyncio.create_task(twins.patch_reported("mill-1", {"b": 2}))
    store.may_commit.set()
    assert await back_again == 3
    assert json.loads(store.twins["mill-1"].reported) == {"a": 1, "b": 2}


async def test_many_cold_twins_are_one_look_up(twins: Twins, store: MemoryStore) -> None:
    await asyncio.gather(*(twins.get(f"mill-{number}") for number in range(8)))
    assert len(store.twin_lookups) == 1


async def test_more_twins_than_memory_holds_are_all_kept_in_the_store(
    twins: Twins, store: MemoryStore
) -> None:
    for round_ in range(1, 3):
        versions = await asyncio.gather(
            *(twins.patch_reported(f"mill-{number}", {"round": round_}) for number in range(40))
        )
        assert set(versions) == {round_ + 1}
    assert len(store.twins) == 40


async def test_a_known_twin_is_read_without_a_wait(twins: Twins) -> None:
    await twins.get("mill-1")
    assert isinstance(run_eagerly(twins.get("mill-1")), Twin)


async def test_a_deleted_device_s_twin_is_gone_from_memory_and_store(
    twins: Twins, registry: Registry, store: MemoryStore
) -> None:
    await registry.register(Device.new("mill-1", status=Status.PROVISIONED, now=1.0))
    await twins.patch_reported("mill-1", {"a": 1})
    await registry.delete("mill-1")
    assert store.twins == {}
    assert (await twins.get("mill-1")).reported == {}
    assert await twins.patch_reported("mill-1", {"b": 1}) == 2


async def test_a_patch_between_two_lives_of_a_device_belongs_to_the_second(
    twins: Twins, registry: Registry, store: MemoryStore
) -> None:
    await registry.register(Device.new("mill-1", status=Status.PROVISIONED, now=1.0))
    await twins.patch_reported("mill-1", {"a": 1})
    store.may_commit.clear()
    before = asyncio.create_task(twins.patch_reported("mill-1", {"b": 2}))
    await store.asked_to_commit(3)
    deleting = asyncio.create_task(registry.delete("mill-1"))
    await asyncio.sleep(0)
    after = asyncio.create_task(twins.patch_reported("mill-1", {"c": 3}))
    await asyncio.sleep(0)
    store.may_commit.set()
    await deleting
    assert await asyncio.gather(*[before, after]) == [3, 2]
    assert json.loads(store.twins["mill-1"].reported) == {"c": 3}


async def test_a_deletion_that_fails_leaves_the_twin(
    twins: Twins, registry: Registry, store: MemoryStore
) -> None:
    await registry.register(Device.new("mill-1", status=Status.PROVISIONED, now=1.0))
    await twins.patch_reported("mill-1", {"a": 1})
    store.commit_failures.append(FULL)
    with pytest.raises(StoreUnavailable):
        await registry.delete("mill-1")
    assert (await twins.get("mill-1")).reported == {"a": 1}


async def test_a_full_queue_refuses_a_patch_and_forgets_it(store: MemoryStore) -> None:
    registry = Registry(store, RegistrySettings(max_queue=1))
    await registry.start()
    twins = Twins(store, registry.registrar, TwinSettings())
    await twins.get("mill-1")
    waiting = run_eagerly(twins.patch_reported("mill-1", {"a": 1}))
    with pytest.raises(StoreUnavailable, match="too many"):
        run_eagerly(twins.patch_reported("mill-1", {"b": 2}))
    assert isinstance(waiting, asyncio.Future)
    assert await waiting == 2
    assert (await twins.get("mill-1")).reported == {"a": 1}
    await registry.stop()


async def test_a_twin_that_can_t_be_read_is_named(twins: Twins, store: MemoryStore) -> None:
    store.twins["mill-1"] = TwinRecord(
        device_id="mill-1", desired="{}", desired_version=1, reported="{cut", reported_version=1
    )
    with pytest.raises(StoreCorrupt, match="mill-1"):
        await twins.get("mill-1")
