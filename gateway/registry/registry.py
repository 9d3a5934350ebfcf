"""What the gateway knows of its devices: memory in front, the store behind, the registrar between.

`peek` answers from memory and shows only what is committed. `fetch` asks the store, many ids in one query.
`register`, `amend` and `delete` end when the change is durable. Each change to a device is applied to the state that
the one before it left, be that committed or not.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.enrollment.models import IndividualEnrollment
from gateway.errors import NotFoundError, StoreCorrupt, StoreError
from gateway.log import get_logger
from gateway.registry.cache import LruCache
from gateway.registry.device import Device
from gateway.registry.loader import BatchLoader
from gateway.registry.registrar import Registrar
from gateway.registry.store import Deletion, DeviceEntry, DeviceQuery, Store, Together
from gateway.settings import RegistrySettings

__all__ = ["DeviceEntry", "Registry"]

log = get_logger()

_DEVICES_PER_STRANGER: Final = 10
_MAX_FORGOTTEN: Final = 10_000
_UNKNOWN: Final = DeviceEntry()
_MIN_STRANGERS: Final = 1000  # more than one look-up brings
_LOOKED_UP_TOGETHER: Final = 500
_NAMED_AS_DAMAGED: Final = 100


@dataclass(frozen=True, slots=True)
class _Pending:
    """The newest change of a device that is not committed yet. `device` is None if it deletes the device."""

    device: Device | None
    waiters: "list[asyncio.Future[None]]"


class Registry:
    """The devices. `start` before use, `stop` before the store closes."""

    def __init__(self, store: Store, settings: RegistrySettings) -> None:
        self._store = store
        self._cache_size = settings.cache_size
        self._entries: LruCache[DeviceEntry] = LruCache(settings.cache_size)
        # Anybody can ask for ids that don't exist, before any credential counts: they must not push out devices.
        strangers = max(_MIN_STRANGERS, settings.cache_size // _DEVICES_PER_STRANGER)
        self._strangers: LruCache[DeviceEntry] = LruCache(strangers)
        # While memory holds all that the store does, an id that is not there is unknown, and nobody need be asked. Whose
        # entry memory forgot is listed.
        self._holds_all = False
        self._forgotten: set[str] = set()
        self._pending: dict[str, _Pending] = {}
        self._loader = BatchLoader(store.load_entries, keep=self._remember, name="registry look-up")
        self.registrar = Registrar(store, max_batch=settings.max_batch, max_queue=settings.max_queue)

    async def start(self) -> None:
        """Bring all that fits into memory. Raises `StoreError`."""
        entries = await self._store.load_all_entries(at_most=self._cache_size)
        if entries is not None:
            self._holds_all = True
            damaged: dict[str, StoreCorrupt] = {}
            for device_id, entry in entries.items():
                if isinstance(entry, StoreCorrupt):
                    # Not in memory, and not unknown: who asks for it is told by the store, each time.
                    self._forget(device_id)
                    damaged[device_id] = entry
                else:
                    self._entries.put(device_id, entry)
            _report_damaged(damaged)
        self.registrar.start()

    async def stop(self) -> None:
        """Answer who waits, commit what waits. Bounded in time."""
        await self._loader.drain()
        await self.registrar.stop()

    @property
    def cached(self) -> int:
        """Ids whose entry is in memory."""
        return len(self._entries)

    @property
    def lookups(self) -> int:
        """Queries that were made for ids that were not."""
        return self._loader.queries

    def peek(self, device_id: str) -> DeviceEntry | None:
        """What is in memory; None if the store has to be asked."""
        entry = self._entries.get(device_id)
        if entry is not None:
            return entry
        if self._holds_all:
            return None if device_id in self._forgotten else _UNKNOWN
        return self._strangers.get(device_id)

    def fetch(self, device_id: str) -> "asyncio.Future[DeviceEntry]":
        """What the store knows; fails with `StoreError`."""
        return self._loader.get(device_id)

    async def register(self, device: Device) -> Device:
        """Make a registration, once: who comes second gets the first one's device. Raises `StoreError`."""
        await self._bring_to_memory(device.id)
        pending = self._pending.get(device.id)
        if pending is not None and pending.device is not None:
            await _join(pending)
            return pending.device
        known = self._newest(device.id)
        return known if known is not None else await self._submit(device)

    async def amend(self, device_id: str, change: Callable[[Device], Device]) -> Device:
        """Apply `change` to the latest state. Raises `NotFoundError`, `StoreError`, and what `change` raises.

        A `change` that returns the very device it was given writes nothing.
        """
        await self._bring_to_memory(device_id)
        latest = self._newest(device_id)
        if latest is None:
            raise NotFoundError(f"there is no device {device_id}")
        changed = change(latest)
        return latest if changed is latest else await self._submit(changed)

    async def change(self, device_id: str, change: Callable[[Device | None], Device]) -> Device:
        """Like `amend`, for a device that may not be there yet: `change` then gets None, and makes it."""
        await self._bring_to_memory(device_id)
        latest = self._newest(device_id)
        changed = change(latest)
        return latest if latest is not None and changed is latest else await self._submit(changed)

    async def change_together(self, changes: Mapping[str, Callable[[Device | None], Device]]) -> int:
        """Apply every change, or none, in one commit. How many devices it wrote.

        What one `change` raises ends it, and nothing is written; so does `StoreError`. Whoever else wants to change one
        of these devices waits until it is settled.
        """
        hold = _Pending(None, [])
        changed: dict[str, Device] = {}
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def settled(error: StoreError | None) -> None:
            self._release(hold, changed, committed=error is None)
            _settle(durable, error)

        try:
            await self._hold(changes, hold, changed)
            if not changed:
                return 0
            self.registrar.submit(Together(tuple(changed.values())), settled)
        except BaseException:
            self._release(hold, changed, committed=False)
            raise
        await durable
        return len(changed)

    async def _hold(
        self,
        changes: Mapping[str, Callable[[Device | None], Device]],
        hold: _Pending,
        changed: dict[str, Device],
    ) -> None:
        """Work out every change, and keep others away from its device meanwhile."""
        device_ids = list(changes)
        for start in range(0, len(device_ids), _LOOKED_UP_TOGETHER):
            some = device_ids[start : start + _LOOKED_UP_TOGETHER]
            await asyncio.gather(*map(self._bring_to_memory, some))
            for device_id in some:
                await self._bring_to_memory(device_id)
                latest = self._newest(device_id)
                device = changes[device_id](latest)
                if device is not latest:
                    self._pending[device_id] = hold
                    changed[device_id] = device

    def _release(self, hold: _Pending, changed: Mapping[str, Device], *, committed: bool) -> None:
        """Let the others go on. Unless memory holds all devices, these don't go there: few may ever come."""
        remember = committed and self._holds_all
        for device_id, device in changed.items():
            if self._pending.get(device_id) is hold:
                del self._pending[device_id]
            if remember:
                self._committed(device_id, device)
            else:
                self._forget(device_id)
        for waiter in hold.waiters:
            _settle(waiter, None)

    async def delete(self, device_id: str) -> None:
        """Forget a device and its twin; its individual enrollment stays. Raises `StoreError`.

        Deleting what is not there does nothing.
        """
        await self._enqueue(device_id, None)

    async def _bring_to_memory(self, device_id: str) -> None:
        """Return when the newest state is in memory, be it committed or pending. A deletion is waited for.

        Whoever was told a state by a look-up goes on a moment later, when it may be old: what counts is memory.
        """
        while True:
            pending = self._pending.get(device_id)
            if pending is not None and pending.device is not None:
                return
            if pending is not None:
                await _join(pending)
            elif self.peek(device_id) is not None:
                return
            else:
                await self.fetch(device_id)

    def _newest(self, device_id: str) -> Device | None:
        """With what is not committed yet; of what is in memory."""
        pending = self._pending.get(device_id)
        if pending is not None:
            return pending.device
        entry = self.peek(device_id)
        return entry.device if entry is not None else None

    async def _submit(self, device: Device) -> Device:
        await self._enqueue(device.id, device)
        return device

    def _enqueue(self, device_id: str, device: Device | None) -> "asyncio.Future[None]":
        """Give a change to the registrar: a future that is done when it is settled. Raises `StoreUnavailable`."""
        pending = _Pending(device, [])

        def settled(error: StoreError | None) -> None:
            if self._pending.get(device_id) is pending:
                del self._pending[device_id]
            if error is None:
                self._committed(device_id, device)
            else:
                self._forget(device_id)
            for waiter in pending.waiters:
                _settle(waiter, error)

        self.registrar.submit(device if device is not None else Deletion(device_id), settled)
        self._pending[device_id] = pending
        return _join(pending)

    def _committed(self, device_id: str, device: Device | None) -> None:
        known = self.peek(device_id)
        if known is None:
            # Its individual enrollment is not in memory, so what stands there can't be made whole.
            self._forget(device_id)
        else:
            self._remember(device_id, DeviceEntry(device=device, individual=known.individual))
            self._loader.outdate(device_id)

    def _remember(self, device_id: str, entry: DeviceEntry) -> None:
        self._forgotten.discard(device_id)
        if entry.device is None and entry.individual is None:
            self._entries.discard(device_id)
            self._strangers.put(device_id, entry)
        else:
            self._strangers.discard(device_id)
            if self._entries.put(device_id, entry):
                self._holds_all = False

    def _forget(self, device_id: str) -> None:
        self._entries.discard(device_id)
        self._strangers.discard(device_id)
        if self._holds_all:
            self._forgotten.add(device_id)
            if len(self._forgotten) > _MAX_FORGOTTEN:
                self._holds_all = False
                self._forgotten.clear()
        self._loader.outdate(device_id)

    # For operators: straight to the store, and memory after it

    async def list_devices(
        self, query: DeviceQuery, *, after: str | None = None, limit: int = 100
    ) -> list[Device]:
        """A page of devices, by id."""
        return await self._store.list_devices(query, after=after, limit=limit)

    async def counts(self, query: DeviceQuery | None = None) -> dict[str, int]:
        """Devices by status: all, or those that `query` means."""
        return await self._store.count_devices(query)

    async def count_by_template(self) -> dict[str, int]:
        """Devices by device template, those included whose association is not committed yet."""
        # Before too: what is committed while the query runs may be neither in its answer nor pending after it.
        before = self._pending_templates()
        counted = await self._store.count_by_template()
        for template_id in before | self._pending_templates():
            counted.setdefault(template_id, 1)
        return counted

    def _pending_templates(self) -> set[str]:
        devices = (pending.device for pending in self._pending.values())
        return {
            device.template_id for device in devices if device is not None and device.template_id is not None
        }

    async def individuals_of(self, device_ids: Sequence[str]) -> dict[str, IndividualEnrollment]:
        """The individual enrollments of those that have one. At most 500 at a time."""
        found: dict[str, IndividualEnrollment] = {}
        for device_id, entry in (await self._store.load_entries(device_ids)).items():
            if isinstance(entry, StoreCorrupt):
                raise entry
            if entry.individual is not None:
                found[device_id] = entry.individual
        return found

    async def list_individuals(
        self, *, after: str | None = None, limit: int = 100
    ) -> list[IndividualEnrollment]:
        """A page of individual enrollments, by registration id."""
        return await self._store.list_individuals(after=after, limit=limit)

    async def save_individual(self, individual: IndividualEnrollment) -> None:
        """Make or replace one."""
        await self._write_individual(individual.registration_id, self._store.save_individual(individual))

    async def delete_individual(self, registration_id: str) -> None:
        """Deleting what is not there does nothing."""
        await self._write_individual(registration_id, self._store.delete_individual(registration_id))

    async def _write_individual(self, registration_id: str, write: Awaitable[None]) -> None:
        try:
            await write
        finally:  # a write that failed, or whose operator went away, may be in the store all the same
            self._forget(registration_id)


def _report_damaged(damaged: Mapping[str, StoreCorrupt]) -> None:
    for device_id in sorted(damaged)[:_NAMED_AS_DAMAGED]:
        error = damaged[device_id]
        log.error("store.damaged", device_id=device_id, error=error.message, hint=error.hint)
    if len(damaged) > _NAMED_AS_DAMAGED:
        more = f"so are the rows of {len(damaged) - _NAMED_AS_DAMAGED} more devices"
        log.error("store.damaged", error=more, hint="restore the database from a backup")


def _settle(future: "asyncio.Future[None]", error: StoreError | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _join(pending: _Pending) -> "asyncio.Future[None]":
    """Wait for its commit. A future of one's own, so that who gives up takes nobody along."""
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    pending.waiters.append(waiter)
    return waiter
