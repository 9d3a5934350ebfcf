"""What the gateway knows of its devices: memory in front, the store behind, the registrar between.

`peek` answers from memory and shows only what is committed. `fetch` asks the store, many ids in one query. `register` and
`amend` change a device; their futures are done when the change is durable. Changes to one device are applied in
the order in which they were asked for, each to the state that the one before it left.
"""

import asyncio
from collections.abc import Callable

from gateway.enrollment.models import IndividualEnrollment
from gateway.errors import NotFoundError
from gateway.registry.cache import LruCache
from gateway.registry.device import Device
from gateway.registry.loader import BatchLoader
from gateway.registry.registrar import Registrar
from gateway.registry.store import DeviceEntry, DeviceQuery, Store
from gateway.settings import RegistrySettings

__all__ = ["DeviceEntry", "Registry"]


class Registry:
    """The devices. `start` before use, `stop` before the store closes."""

    def __init__(self, store: Store, settings: RegistrySettings) -> None:
        self._store = store
        self._entries: LruCache[DeviceEntry] = LruCache(settings.cache_size)
        self.registrar = Registrar(store, max_batch=settings.max_batch, max_queue=settings.max_queue)
        self._pending: dict[str, tuple[Device, asyncio.Future[Device]]] = {}
        self._loader = BatchLoader(store.load_entries, keep=self._keep, name="registry look-up")

    async def start(self) -> None:
        self.registrar.start()

    async def stop(self) -> None:
        await self._loader.drain()
        await self.registrar.stop()

    def peek(self, device_id: str) -> DeviceEntry | None:
        """What is in memory; None if the store has to be asked."""
        return self._entries.get(device_id)

    def fetch(self, device_id: str) -> "asyncio.Future[DeviceEntry]":
        """What the store knows; fails with `StoreError`."""
        return self._loader.get(device_id)

    def _keep(self, device_id: str, entry: DeviceEntry) -> DeviceEntry:
        # A change that was committed meanwhile is newer than what the query read.
        newer = self._entries.get(device_id)
        if newer is not None:
            return newer
        self._entries.put(device_id, entry)
        return entry

    async def register(self, device: Device) -> Device:
        """Make a registration, once: who comes second gets the first one's device. Raises `StoreError`."""
        while True:
            pending = self._pending.get(device.id)
            if pending is not None:
                return await pending[1]
            entry = self._entries.get(device.id)
            if entry is not None:
                break
            await self.fetch(device.id)  # never overwrite what memory has merely forgotten
        if entry.device is not None:
            return entry.device
        return await self._submit(device)

    async def amend(self, device_id: str, change: Callable[[Device], Device]) -> Device:
        """Apply `change` to the latest state. Raises `NotFoundError`, `StoreError`, and what `change` raises."""
        pending = self._pending.get(device_id)
        if pending is not None:
            latest: Device | None = pending[0]
        else:
            entry = self._entries.get(device_id) or await self.fetch(device_id)
            pending = self._pending.get(device_id)
            latest = pending[0] if pending is not None else entry.device
        if latest is None:
            raise NotFoundError(f"there is no device {device_id}")
        changed = change(latest)
        if changed is latest:
            return latest
        return await self._submit(changed)

    def _submit(self, device: Device) -> "asyncio.Future[Device]":
        outcome: asyncio.Future[Device] = asyncio.get_running_loop().create_future()
        self._pending[device.id] = (device, outcome)

        def committed(done: "asyncio.Future[None]") -> None:
            pending = self._pending.get(device.id)
            if pending is not None and pending[1] is outcome:
                del self._pending[device.id]
            error = done.exception()
            if error is not None:
                # What later changes were built on is gone with this one: memory starts anew from the store.
                self._forget(device.id)
                _fail(outcome, error)
                return
            entry = self._entries.get(device.id)
            if entry is not None:  # else the individual enrollment is not known here: `fetch` will see both
                self._entries.put(device.id, DeviceEntry(device=device, individual=entry.individual))
            if not outcome.done():
                outcome.set_result(device)

        self.registrar.submit(device).add_done_callback(committed)
        return outcome

    def _forget(self, device_id: str) -> None:
        self._entries.discard(device_id)
        self._loader.outdate(device_id)

    # For operators: straight to the store, and memory after it

    async def delete(self, device_id: str) -> None:
        await self._store.delete_device(device_id)
        self._forget(device_id)

    async def list_devices(
        self, query: DeviceQuery, *, after: str | None = None, limit: int = 100
    ) -> list[Device]:
        return await self._store.list_devices(query, after=after, limit=limit)

    async def counts(self) -> dict[str, int]:
        return await self._store.count_devices()

    async def list_individuals(
        self, *, after: str | None = None, limit: int = 100
    ) -> list[IndividualEnrollment]:
        return await self._store.list_individuals(after=after, limit=limit)

    async def save_individual(self, individual: IndividualEnrollment) -> None:
        await self._store.save_individual(individual)
        self._forget(individual.registration_id)

    async def delete_individual(self, registration_id: str) -> None:
        await self._store.delete_individual(registration_id)
        self._forget(registration_id)


def _fail(future: "asyncio.Future[Device]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
