"""What the gateway knows of its devices, whoever asks and in whatever order."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from structlog.testing import capture_logs

from gateway.eager import run_eagerly
from gateway.enrollment.models import IndividualEnrollment, ThumbprintPair
from gateway.errors import ConflictError, NotFoundError, StoreCorrupt, StoreUnavailable
from gateway.registry.device import Device, Status, transition
from gateway.registry.registry import DeviceEntry, Registry
from gateway.registry.store import DeviceQuery
from gateway.settings import RegistrySettings
from tests.support.memory_store import MemoryStore

FULL = StoreUnavailable("disk full")


def new(device_id: str = "mill-1", status: Status = Status.PROVISIONED) -> Device:
    return Device.new(device_id, status=status, now=1.0)


def renamed(name: str) -> Callable[[Device], Device]:
    return lambda device: device.replace(now=2.0, name=name)


def enrollment(device_id: str = "mill-1") -> IndividualEnrollment:
    return IndividualEnrollment.new(device_id, ThumbprintPair(primary="AB" * 32), now=1.0)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def registry(store: MemoryStore) -> AsyncIterator[Registry]:
    registry = Registry(store, RegistrySettings(cache_size=100))
    await registry.start()
    yield registry
    store.may_commit.set()
    store.may_load.set()
    await registry.stop()


# First connects


async def test_a_new_device_is_in_memory_and_in_the_store_when_it_is_registered(
    registry: Registry, store: MemoryStore
) -> None:
    device = new()
    assert await registry.register(device) is device
    assert registry.peek("mill-1") == DeviceEntry(device=device)
    assert store.devices == {"mill-1": device}


async def test_memory_shows_no_device_before_its_commit(registry: Registry, store: MemoryStore) -> None:
    store.may_commit.clear()
    registering = asyncio.create_task(registry.register(new()))
    await store.asked_to_commit()
    assert registry.peek("mill-1") == DeviceEntry()
    store.may_commit.set()
    device = await registering
    assert registry.peek("mill-1") == DeviceEntry(device=device)


async def test_racing_first_connects_of_one_device_make_one_registration(
    registry: Registry, store: MemoryStore
) -> None:
    candidates = [new() for _ in range(20)]
    devices = await asyncio.gather(*map(registry.register, candidates))
    assert all(device is devices[0] for device in devices)
    assert sum(len(batch.devices) for batch in store.commits) == 1


async def test_a_first_connect_that_comes_during_the_commit_joins_it(
    registry: Registry, store: MemoryStore
) -> None:
    store.may_commit.clear()
    first = asyncio.create_task(registry.register(new()))
    await store.asked_to_commit()
    second = asyncio.create_task(registry.register(new()))
    await asyncio.sleep(0)
    store.may_commit.set()
    assert await second is await first
    assert len(store.commits) == 1


async def test_a_first_connect_that_gives_up_does_not_take_the_second_along(
    registry: Registry, store: MemoryStore
) -> None:
    store.may_commit.clear()
    first = asyncio.create_task(registry.register(new()))
    await store.asked_to_commit()
    second = asyncio.create_task(registry.register(new()))
    await asyncio.sleep(0)
    first.cancel()
    store.may_commit.set()
    assert (await second).id == "mill-1"
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_registering_a_device_that_the_store_knows_gives_that_one(
    registry: Registry, store: MemoryStore
) -> None:
    known = store.devices["mill-1"] = new()
    assert await registry.register(new()) is known
    assert store.commits == []


async def test_a_known_device_that_memory_has_no_room_for_is_never_made_anew(
    registry: Registry, store: MemoryStore
) -> None:
    store.devices = {f"mill-{number}": new(f"mill-{number}") for number in range(300)}
    known = dict(store.devices)
    devices = await asyncio.gather(*(registry.register(new(device_id)) for device_id in known))
    assert {device.id: device for device in devices} == known
    assert store.commits == []


async def test_a_thousand_first_connects_are_a_few_look_ups_and_commits(
    registry: Registry, store: MemoryStore
) -> None:
    await asyncio.gather(*(registry.register(new(f"mill-{number}")) for number in range(1000)))
    assert len(store.devices) == 1000
    assert len(store.lookups) <= 3
    assert len(store.commits) <= 6


async def test_a_failed_registration_leaves_nothing_and_can_be_tried_again(
    registry: Registry, store: MemoryStore
) -> None:
    store.commit_failures.append(FULL)
    outcomes = await asyncio.gather(*map(registry.register, [new(), new()]), return_exceptions=True)
    assert outcomes == [FULL, FULL]
    assert (registry.peek("mill-1"), store.devices) == (None, {})
    assert (await registry.register(new())).id in store.devices


async def test_a_registration_that_the_queue_has_no_room_for_is_told_at_once(store: MemoryStore) -> None:
    registry = Registry(store, RegistrySettings(max_queue=1))
    await registry.start()
    await asyncio.gather(registry.fetch("mill-1"), registry.fetch("mill-2"))
    waiting = run_eagerly(registry.register(new("mill-1")))
    with pytest.raises(StoreUnavailable, match="too many"):
        run_eagerly(registry.register(new("mill-2")))
    assert isinstance(waiting, asyncio.Future)
    assert (await waiting).id == "mill-1"
    assert (await registry.register(new("mill-2"))).id == "mill-2"
    await registry.stop()


# Look-ups


async def test_a_device_in_memory_needs_no_look_up(registry: Registry, store: MemoryStore) -> None:
    assert registry.peek("mill-1") is None
    store.devices["mill-1"] = new()
    entry = await registry.fetch("mill-1")
    assert registry.peek("mill-1") is entry
    assert store.lookups == [["mill-1"]]


async def test_a_store_that_fits_is_in_memory_from_the_start_and_strangers_need_no_look_up() -> None:
    store = MemoryStore(exclusive=True)
    store.devices["mill-1"] = new()
    store.individuals["mill-2"] = enrollment("mill-2")
    registry = Registry(store, RegistrySettings(cache_size=100))
    await registry.start()
    assert registry.peek("mill-1") == DeviceEntry(device=store.devices["mill-1"])
    assert registry.peek("mill-2") == DeviceEntry(individual=store.individuals["mill-2"])
    assert registry.peek("stranger") == DeviceEntry()
    device = await registry.register(new("stranger"))
    assert registry.peek("stranger") == DeviceEntry(device=device)
    assert store.lookups == []
    await registry.stop()


async def test_who_was_forgotten_is_looked_up_even_if_memory_had_everybody() -> None:
    store = MemoryStore(exclusive=True)
    registry = Registry(store, RegistrySettings(cache_size=100))
    await registry.start()
    await registry.save_individual(enrollment("mill-1"))
    assert registry.peek("mill-1") is None
    assert (await registry.fetch("mill-1")).individual == store.individuals["mill-1"]
    store.commit_failures.append(FULL)
    with pytest.raises(StoreUnavailable):
        await registry.register(new("mill-2"))
    assert registry.peek("mill-2") is None
    await registry.stop()


async def test_a_device_whose_row_is_damaged_is_no_stranger_and_costs_nobody_else_anything() -> None:
    store = MemoryStore(exclusive=True)
    store.devices |= {f"mill-{number}": new(f"mill-{number}") for number in range(3)}
    store.damaged["mill-1"] = StoreCorrupt("the row can't be read", hint="delete it")
    registry = Registry(store, RegistrySettings(cache_size=100))
    with capture_logs() as lines:
        await registry.start()
    assert lines == [
        {
            "event": "store.damaged", "log_level": "error", "device_id": "mill-1", "error": "the row can't be read",
            "hint": "delete it",
        }
    ]  # fmt: skip
    assert registry.peek("mill-0") == DeviceEntry(device=store.devices["mill-0"])
    assert registry.peek("mill-1") is None
    assert registry.peek("stranger") == DeviceEntry()
    with pytest.raises(StoreCorrupt):
        await registry.fetch("mill-1")
    with pytest.raises(StoreCorrupt):
        await registry.register(new("mill-1"))
    with pytest.raises(StoreCorrupt):  # an export must not take it for one without an enrollment
        await registry.individuals_of(["mill-0", "mill-1"])
    await registry.stop()


async def test_a_damaged_row_fails_whom_it_concerns_and_not_the_others_of_its_query() -> None:
    store = MemoryStore()
    store.devices["mill-0"] = new("mill-0")
    store.damaged["mill-1"] = StoreCorrupt("the row can't be read")
    registry = Registry(store, RegistrySettings())
    found = await asyncio.gather(*map(registry.fetch, ("mill-0", "mill-1", "mill-2")), return_exceptions=True)
    assert store.lookups == [["mill-0", "mill-1", "mill-2"]]
    assert found == [DeviceEntry(device=store.devices["mill-0"]), store.damaged["mill-1"], DeviceEntry()]
    assert registry.peek("mill-1") is None


async def test_of_many_damaged_rows_the_first_are_named_and_the_rest_are_counted() -> None:
    store = MemoryStore(exclusive=True)
    store.damaged |= {f"mill-{number:03}": StoreCorrupt("can't be read") for number in range(103)}
    registry = Registry(store, RegistrySettings(cache_size=200))
    with capture_logs() as lines:
        await registry.start()
    assert len(lines) == 101
    assert lines[-1]["error"] == "so are the rows of 3 more devices"
    await registry.stop()


async def test_a_fleet_that_outgrows_memory_is_looked_up_again() -> None:
    store = MemoryStore(exclusive=True)
    registry = Registry(store, RegistrySettings(cache_size=100))
    await registry.start()
    for number in range(101):
        await registry.register(new(f"mill-{number}"))
    assert store.lookups == []
    assert registry.peek("mill-0") is None
    assert registry.peek("mill-100") is not None
    assert registry.peek("stranger") is None
    await registry.stop()
    again = Registry(store, RegistrySettings(cache_size=100))
    await again.start()
    assert again.peek("mill-1") is None
    await again.stop()


async def test_a_look_up_that_fails_is_the_asker_s_to_handle(registry: Registry, store: MemoryStore) -> None:
    store.load_failures.append(FULL)
    with pytest.raises(StoreUnavailable):
        await registry.fetch("mill-1")
    assert registry.peek("mill-1") is None
    assert await registry.fetch("mill-1") == DeviceEntry()


async def test_strangers_do_not_push_devices_out_of_memory(registry: Registry, store: MemoryStore) -> None:
    store.devices = {f"mill-{number}": new(f"mill-{number}") for number in range(100)}
    await asyncio.gather(*map(registry.fetch, store.devices))
    await asyncio.gather(*(registry.fetch(f"stranger-{number}") for number in range(5000)))
    assert all(registry.peek(device_id) for device_id in store.devices)


async def test_a_commit_during_a_look_up_is_not_hidden_by_its_answer(
    registry: Registry, store: MemoryStore
) -> None:
    await registry.fetch("mill-1")
    store.may_commit.clear()
    registering = asyncio.create_task(registry.register(new()))
    await store.asked_to_commit()
    registry._strangers.clear()  # as if others had taken its place
    store.may_load.clear()
    asked = registry.fetch("mill-1")
    await store.asked_to_look_up(2)
    store.may_commit.set()
    device = await registering
    store.may_load.set()
    assert (await asked).device is device
    entry = registry.peek("mill-1")
    assert entry is not None
    assert entry.device is device


async def test_a_look_up_that_was_overtaken_by_a_commit_does_not_turn_memory_back(
    registry: Registry, store: MemoryStore
) -> None:
    await registry.register(new())
    store.may_load.clear()
    asked = registry.fetch("mill-1")
    await store.asked_to_look_up(2)
    changed = await registry.amend("mill-1", renamed("Mill"))
    store.may_load.set()
    assert (await asked).device is changed
    assert registry.peek("mill-1") == DeviceEntry(device=changed)


# Changes


async def test_changes_of_one_device_build_on_one_another(registry: Registry, store: MemoryStore) -> None:
    await registry.register(new())

    def appended(number: int) -> Callable[[Device], Device]:
        return lambda device: device.replace(now=2.0, name=f"{device.name}{number}")

    await asyncio.gather(*(registry.amend("mill-1", appended(number)) for number in range(5)))
    assert store.devices["mill-1"].name == "mill-101234"
    assert len(store.commits) == 2


async def test_a_change_waits_for_the_registration_it_builds_on(
    registry: Registry, store: MemoryStore
) -> None:
    store.may_commit.clear()
    registering = asyncio.create_task(registry.register(new()))
    await store.asked_to_commit()
    amending = asyncio.create_task(registry.amend("mill-1", renamed("Mill")))
    store.may_commit.set()
    await asyncio.gather(registering, amending)
    assert store.devices["mill-1"].name == "Mill"


async def test_a_change_builds_on_one_that_still_waits_when_an_earlier_one_is_committed(
    registry: Registry, store: MemoryStore
) -> None:
    await registry.register(new())
    store.may_commit.clear()
    first = asyncio.create_task(registry.amend("mill-1", lambda device: transition(device, "block", now=2.0)))
    await store.asked_to_commit(2)
    second = asyncio.create_task(registry.amend("mill-1", renamed("Mill")))
    await asyncio.sleep(0)
    store.may_commit.set()
    store.may_commit.clear()  # the first may go on, the second's commit waits
    await first
    await store.asked_to_commit(3)
    third = asyncio.create_task(
        registry.amend("mill-1", lambda device: device.replace(now=3.0, enrollment_group="plant"))
    )
    await asyncio.sleep(0)
    store.may_commit.set()
    await second
    device = await third
    assert (device.status, device.name, device.enrollment_group) == (Status.BLOCKED, "Mill", "plant")
    assert store.devices["mill-1"] == device


async def test_a_change_that_changes_nothing_writes_nothing(registry: Registry, store: MemoryStore) -> None:
    device = await registry.register(new())
    assert await registry.amend("mill-1", lambda same: same) is device
    assert len(store.commits) == 1


async def test_a_forbidden_change_leaves_the_device_as_it_is(registry: Registry, store: MemoryStore) -> None:
    device = await registry.register(new())
    with pytest.raises(ConflictError):
        await registry.amend("mill-1", lambda device: transition(device, "approve", now=2.0))
    assert registry.peek("mill-1") == DeviceEntry(device=device)


async def test_there_is_nothing_to_change_about_a_device_that_is_not_there(registry: Registry) -> None:
    with pytest.raises(NotFoundError, match="mill-1"):
        await registry.amend("mill-1", renamed("Mill"))


async def test_a_failed_change_leaves_the_device_as_the_store_has_it(
    registry: Registry, store: MemoryStore
) -> None:
    device = await registry.register(new())
    store.commit_failures.append(FULL)
    with pytest.raises(StoreUnavailable):
        await registry.amend("mill-1", renamed("Mill"))
    assert (await registry.fetch("mill-1")).device is device
    assert (await registry.amend("mill-1", lambda same: same)).name == "mill-1"


async def test_what_was_built_on_a_failed_change_fails_with_it(
    registry: Registry, store: MemoryStore
) -> None:
    await registry.register(new())
    store.may_commit.clear()
    store.commit_failures.append(FULL)
    blocking = asyncio.create_task(
        registry.amend("mill-1", lambda device: transition(device, "block", now=2.0))
    )
    await store.asked_to_commit(2)
    renaming = asyncio.create_task(registry.amend("mill-1", renamed("Mill")))
    await asyncio.sleep(0)
    store.may_commit.set()
    assert await asyncio.gather(*[blocking, renaming], return_exceptions=True) == [FULL, FULL]
    assert store.devices["mill-1"].status is Status.PROVISIONED
    assert (await registry.amend("mill-1", renamed("Mill"))).status is Status.PROVISIONED


# Deletions


async def test_a_deleted_device_is_gone_and_its_individual_enrollment_stays(
    registry: Registry, store: MemoryStore
) -> None:
    enrolled = store.individuals["mill-1"] = enrollment()
    await registry.register(new())
    await registry.delete("mill-1")
    assert store.devices == {}
    assert registry.peek("mill-1") == DeviceEntry(individual=enrolled)
    with pytest.raises(NotFoundError):
        await registry.amend("mill-1", renamed("Mill"))


async def test_a_device_deleted_during_its_registration_does_not_come_back(
    registry: Registry, store: MemoryStore
) -> None:
    store.may_commit.clear()
    registering = asyncio.create_task(registry.register(new()))
    await store.asked_to_commit()
    amending = asyncio.create_task(registry.amend("mill-1", renamed("Mill")))
    await asyncio.sleep(0)
    deleting = asyncio.create_task(registry.delete("mill-1"))
    await asyncio.sleep(0)
    store.may_commit.set()
    await asyncio.gather(registering, amending, deleting)
    assert store.devices == {}
    assert registry.peek("mill-1") == DeviceEntry()


async def test_a_device_that_registers_while_it_is_deleted_is_made_anew(
    registry: Registry, store: MemoryStore
) -> None:
    await registry.register(new())
    deleting = asyncio.create_task(registry.delete("mill-1"))
    await asyncio.sleep(0)
    again = new()
    assert await registry.register(again) is again
    await deleting
    assert store.devices == {"mill-1": again}


async def test_a_change_of_a_device_that_is_being_deleted_finds_none(registry: Registry) -> None:
    await registry.register(new())
    deleting = asyncio.create_task(registry.delete("mill-1"))
    await asyncio.sleep(0)
    changing = run_eagerly(registry.amend("mill-1", renamed("Mill")))
    assert isinstance(changing, asyncio.Future)
    with pytest.raises(NotFoundError):
        await changing
    await deleting


async def test_a_deletion_that_fails_leaves_the_device(registry: Registry, store: MemoryStore) -> None:
    device = await registry.register(new())
    store.commit_failures.append(FULL)
    with pytest.raises(StoreUnavailable):
        await registry.delete("mill-1")
    assert (await registry.fetch("mill-1")).device is device


async def test_deleting_what_is_not_there_does_nothing(registry: Registry, store: MemoryStore) -> None:
    await registry.delete("mill-1")
    assert store.devices == {}


# Individual enrollments and lists


async def test_a_changed_individual_enrollment_counts_from_the_next_connect(
    registry: Registry, store: MemoryStore
) -> None:
    device = await registry.register(new())
    enrolled = enrollment()
    await registry.save_individual(enrolled)
    assert registry.peek("mill-1") is None
    assert await registry.fetch("mill-1") == DeviceEntry(device=device, individual=enrolled)
    await registry.delete_individual("mill-1")
    assert await registry.fetch("mill-1") == DeviceEntry(device=device)


async def test_an_enrollment_made_during_a_look_up_is_not_missed(
    registry: Registry, store: MemoryStore
) -> None:
    store.may_load.clear()
    asked = registry.fetch("mill-1")
    await store.asked_to_look_up()
    enrolled = enrollment()
    await registry.save_individual(enrolled)
    store.may_load.set()
    assert (await asked).individual is enrolled


async def test_an_individual_enrollment_counts_even_if_memory_forgot_the_device_during_its_registration(
    registry: Registry, store: MemoryStore
) -> None:
    enrolled = store.individuals["mill-1"] = enrollment()
    await registry.fetch("mill-1")
    store.may_commit.clear()
    registering = asyncio.create_task(registry.register(new()))
    await store.asked_to_commit()
    store.devices = {f"other-{number}": new(f"other-{number}") for number in range(100)}
    await asyncio.gather(*map(registry.fetch, list(store.devices)))
    assert registry.peek("mill-1") is None
    store.may_commit.set()
    device = await registering
    assert registry.peek("mill-1") is None
    assert await registry.fetch("mill-1") == DeviceEntry(device=device, individual=enrolled)


async def test_a_revocation_that_failed_in_name_only_is_not_forgotten(
    registry: Registry, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def delete_and_fail(device_id: str) -> None:
        del store.individuals[device_id]
        raise FULL

    store.individuals["mill-1"] = enrollment()
    await registry.fetch("mill-1")
    monkeypatch.setattr(store, "delete_individual", delete_and_fail)
    with pytest.raises(StoreUnavailable):
        await registry.delete_individual("mill-1")
    assert await registry.fetch("mill-1") == DeviceEntry()
    assert registry.peek("mill-1") == DeviceEntry()


async def test_an_individual_enrollment_stays_known_through_a_registration(
    registry: Registry, store: MemoryStore
) -> None:
    enrolled = store.individuals["mill-1"] = enrollment()
    await registry.fetch("mill-1")
    device = await registry.register(new())
    assert registry.peek("mill-1") == DeviceEntry(device=device, individual=enrolled)


async def test_operators_list_and_count_what_is_stored(registry: Registry, store: MemoryStore) -> None:
    for number in range(3):
        await registry.register(new(f"mill-{number}"))
    await registry.register(new("waiter", Status.WAITING))
    await registry.save_individual(enrollment())
    listed = await registry.list_devices(DeviceQuery(), after="mill-0", limit=2)
    assert [device.id for device in listed] == ["mill-1", "mill-2"]
    assert await registry.counts() == {"provisioned": 3, "waiting": 1}
    assert [each.registration_id for each in await registry.list_individuals()] == ["mill-1"]


# Without waiting


async def test_a_known_device_needs_no_wait(registry: Registry) -> None:
    device = await registry.register(new())
    assert run_eagerly(registry.register(new())) is device
    assert run_eagerly(registry.amend("mill-1", lambda same: same)) is device


async def test_stopping_answers_who_waits(store: MemoryStore) -> None:
    registry = Registry(store, RegistrySettings())
    await registry.start()
    registering = asyncio.gather(*(registry.register(new(f"mill-{number}")) for number in range(30)))
    await asyncio.sleep(0)
    await registry.stop()
    assert len(await registering) == len(store.devices) == 30


# Many at once


def made(device_id: str) -> Callable[[Device | None], Device]:
    """Register the device, unless it is there."""
    return lambda known: known or new(device_id, Status.REGISTERED)


async def test_a_change_may_make_the_device(registry: Registry, store: MemoryStore) -> None:
    device = await registry.change("mill-1", made("mill-1"))
    assert store.devices == {"mill-1": device}
    assert await registry.change("mill-1", made("mill-1")) is device
    assert len(store.commits) == 1


async def test_many_changes_are_one_commit_whatever_the_size_of_a_batch(store: MemoryStore) -> None:
    registry = Registry(store, RegistrySettings(cache_size=100, max_batch=10))
    await registry.start()
    await registry.register(new("mill-7"))
    assert await registry.change_together({f"mill-{n}": made(f"mill-{n}") for n in range(1200)}) == 1199
    assert [len(batch.devices) for batch in store.commits] == [1, 1199]
    assert store.devices["mill-7"].status is Status.PROVISIONED
    entry = await registry.fetch("mill-3")
    assert entry.device == store.devices["mill-3"]
    await registry.stop()


async def test_one_refusal_and_none_of_many_changes_is_made(registry: Registry, store: MemoryStore) -> None:
    def refuse(_: Device | None) -> Device:
        raise ConflictError("it is there already")

    with pytest.raises(ConflictError):
        await registry.change_together({"mill-1": made("mill-1"), "mill-2": refuse})
    assert store.devices == {}
    await registry.register(new("mill-1"))  # and nobody is held up by what did not happen
    assert set(store.devices) == {"mill-1"}


async def test_a_failed_commit_of_many_fails_the_one_who_asked_and_nobody_else(
    registry: Registry, store: MemoryStore
) -> None:
    store.commit_failures.append(FULL)
    with pytest.raises(StoreUnavailable, match="disk full"):
        await registry.change_together({"mill-1": made("mill-1"), "mill-2": made("mill-2")})
    assert store.devices == {}
    assert (await registry.register(new("mill-1"))).status is Status.PROVISIONED


async def test_who_connects_during_a_commit_of_many_waits_and_builds_on_it(
    registry: Registry, store: MemoryStore
) -> None:
    store.may_commit.clear()
    importing = asyncio.create_task(
        registry.change_together({"mill-1": made("mill-1"), "mill-2": made("mill-2")})
    )
    await store.asked_to_commit()
    registering = asyncio.create_task(registry.register(new("mill-1")))
    renaming = asyncio.create_task(registry.amend("mill-2", renamed("Pump")))
    store.may_commit.set()
    assert await importing == 2
    assert (await registering).status is Status.REGISTERED
    assert (await renaming).name == "Pump"
    assert store.devices["mill-2"].name == "Pump"


async def test_many_changes_wait_for_a_change_under_way_and_build_on_it(
    registry: Registry, store: MemoryStore
) -> None:
    store.may_commit.clear()
    registering = asyncio.create_task(registry.register(new("mill-1")))
    await store.asked_to_commit()
    importing = asyncio.create_task(
        registry.change_together({"mill-1": made("mill-1"), "mill-2": made("mill-2")})
    )
    store.may_commit.set()
    assert await importing == 1
    assert (await registering).status is Status.PROVISIONED
    assert store.devices["mill-1"].status is Status.PROVISIONED


async def test_who_gives_up_many_changes_during_the_commit_leaves_memory_right(
    registry: Registry, store: MemoryStore
) -> None:
    store.may_commit.clear()
    importing = asyncio.create_task(registry.change_together({"mill-1": made("mill-1")}))
    await store.asked_to_commit()
    importing.cancel()
    await asyncio.wait([importing])
    registering = asyncio.create_task(registry.register(new("mill-1")))
    store.may_commit.set()
    assert (await registering).status is Status.REGISTERED
    assert (await registry.fetch("mill-1")).device == store.devices["mill-1"]


async def test_a_template_whose_device_is_committed_while_templates_are_counted_counts(
    registry: Registry, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.may_commit.clear()
    registering = asyncio.create_task(registry.register(new().replace(now=1.0, template_id="dtmi:a:b;1")))
    await store.asked_to_commit()

    async def counted_before_and_answered_after_the_commit() -> dict[str, int]:
        store.may_commit.set()
        await registering
        return {}

    monkeypatch.setattr(store, "count_by_template", counted_before_and_answered_after_the_commit)
    assert await registry.count_by_template() == {"dtmi:a:b;1": 1}
