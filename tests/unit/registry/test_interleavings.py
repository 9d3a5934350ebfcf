"""Connects, operators, a small memory and a failing disk, in any order: memory never contradicts the store."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.enrollment.models import IndividualEnrollment, ThumbprintPair
from gateway.errors import NotFoundError, StoreUnavailable
from gateway.registry.device import Device, Status
from gateway.registry.registry import Registry
from gateway.registry.twins import Twin, Twins
from gateway.settings import RegistrySettings, TwinSettings
from tests.support.memory_store import MemoryStore

IDS = ("mill-1", "mill-2")
REQUESTS = ("register", "rename", "delete", "patch", "read", "enroll", "disenroll")
EVENTS = ("turn", "forget", "commit fails", "look-up fails", "disk waits", "disk goes on")

steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(REQUESTS), st.sampled_from(IDS)),
        st.tuples(st.sampled_from(EVENTS), st.just("")),
    ),
    max_size=40,
)


class Plant:
    """A registry and twins on a store in memory, and the requests under way."""

    def __init__(self, *, exclusive: bool) -> None:
        self.store = MemoryStore(exclusive=exclusive)
        self.registry = Registry(self.store, RegistrySettings(max_batch=3))
        self.twins = Twins(self.store, self.registry.registrar, TwinSettings(cache_size=1))
        self.asked: list[asyncio.Task[Any]] = []

    def request(self, verb: str, device_id: str) -> None:
        number = len(self.asked)
        requests: dict[str, Callable[[], Awaitable[Any]]] = {
            "register": lambda: self.registry.register(
                Device.new(device_id, status=Status.PROVISIONED, now=number)
            ),
            "rename": lambda: self.registry.amend(
                device_id, lambda device: device.replace(now=number, name=f"{device.name[-50:]}.{number}")
            ),
            "delete": lambda: self.registry.delete(device_id),
            "patch": lambda: self.twins.patch_reported(device_id, {f"n{number}": number}),
            "read": lambda: self.registry.fetch(device_id),
            "enroll": lambda: self.registry.save_individual(
                IndividualEnrollment.new(device_id, ThumbprintPair(primary="AB" * 32), now=number)
            ),
            "disenroll": lambda: self.registry.delete_individual(device_id),
        }
        self.asked.append(asyncio.create_task(_do(requests[verb])))

    def event(self, what: str) -> None:
        match what:
            case "forget":
                if not self.store.exclusive:  # else the registry counts on having forgotten nothing unawares
                    self.registry._entries.clear()
                    self.registry._strangers.clear()
                self.twins._committed.clear()
            case "commit fails":
                self.store.commit_failures.append(StoreUnavailable("disk full"))
            case "look-up fails":
                self.store.load_failures.append(StoreUnavailable("disk gone"))
            case "disk waits":
                self.store.may_commit.clear()
                self.store.may_load.clear()
            case "disk goes on":
                self.store.may_commit.set()
                self.store.may_load.set()

    def memory_agrees_with_the_store(self) -> None:
        for device_id in IDS:
            entry = self.registry.peek(device_id)
            if entry is not None:
                assert entry.device == self.store.devices.get(device_id)
                assert entry.individual == self.store.individuals.get(device_id)
            twin = self.twins._committed.get(device_id)
            if twin is not None:
                assert twin.reported == self.reported(device_id)

    def reported(self, device_id: str) -> Any:
        record = self.store.twins.get(device_id)
        return {} if record is None else json.loads(record.reported)


async def _do(request: Callable[[], Awaitable[Any]]) -> Any:
    return await request()


async def run(plan: list[tuple[str, str]], *, exclusive: bool) -> None:
    plant = Plant(exclusive=exclusive)
    plant.store.devices[IDS[0]] = Device.new(IDS[0], status=Status.PROVISIONED, now=0)
    await plant.registry.start()
    for what, device_id in plan:
        if device_id:
            plant.request(what, device_id)
        else:
            plant.event(what)
            await asyncio.sleep(0)
        plant.memory_agrees_with_the_store()
    plant.event("disk goes on")
    outcomes = await asyncio.gather(*plant.asked, return_exceptions=True)
    for outcome in outcomes:
        assert not isinstance(outcome, Exception) or isinstance(outcome, StoreUnavailable | NotFoundError)
    plant.memory_agrees_with_the_store()
    assert (plant.registry._pending, plant.twins._ahead, dict(plant.twins._turns)) == ({}, {}, {})
    plant.store.commit_failures.clear()
    plant.store.load_failures.clear()
    for device_id in IDS:
        assert (await plant.registry.fetch(device_id)).device == plant.store.devices.get(device_id)
        twin = await plant.twins.get(device_id)
        assert isinstance(twin, Twin)
        assert twin.reported == plant.reported(device_id)
    await plant.registry.stop()


@pytest.mark.parametrize("exclusive", [False, True], ids=["shared-store", "whole-store-in-memory"])
@given(steps)
def test_memory_never_contradicts_the_store_and_everybody_is_answered(
    exclusive: bool, plan: list[tuple[str, str]]
) -> None:
    asyncio.run(asyncio.wait_for(run(plan, exclusive=exclusive), timeout=60))
