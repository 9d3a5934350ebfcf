"""Twins: loaded when a device first asks, merged in memory, durable before the device is told.

Patches of one device are merged in the order in which they came, each into what the one before it left, be that
committed or not. What is read is what is committed. A deleted device's twin goes with it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import orjson

from gateway.errors import StoreCorrupt, StoreError
from gateway.hub.twin import check_patch, merge
from gateway.registry.cache import LruCache
from gateway.registry.loader import BatchLoader
from gateway.registry.registrar import Registrar, Settled
from gateway.registry.store import Store, TwinRecord
from gateway.settings import TwinSettings

__all__ = ["PatchRefused", "Twin", "Twins"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """A device's properties and their versions, which begin at 1 and grow with every change."""

    desired: dict[str, Any]
    desired_version: int
    reported: dict[str, Any]
    reported_version: int


@dataclass(frozen=True, slots=True)
class PatchRefused:
    """A patch that breaks a rule, as a value: `problem` is one line for the device."""

    problem: str


_NEW = Twin(desired={}, desired_version=1, reported={}, reported_version=1)


class Twins:
    """The twins in memory (bounded), in front of the store."""

    def __init__(self, store: Store, registrar: Registrar, settings: TwinSettings) -> None:
        self._store = store
        self._registrar = registrar
        self._settings = settings
        self._committed: LruCache[Twin] = LruCache(settings.cache_size)
        # The newest state of a device whose changes are not all settled, and how many of them are not.
        self._ahead: dict[str, tuple[Twin, int]] = {}
        # A device's patches take turns. One that comes just when the twin is loaded must not overtake those that
        # waited for it: they go on only a moment later.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._loader = BatchLoader(self._load, keep=self._committed.put, name="twin look-up")
        registrar.watch_deletions(self._being_deleted)

    async def get(self, device_id: str) -> Twin:
        """The twin; that of a device that never reported is empty, at version 1. Raises `StoreError`."""
        return self._committed.get(device_id) or await self._loader.get(device_id)

    async def patch_reported(self, device_id: str, patch: dict[str, Any]) -> int | PatchRefused:
        """Merge a patch; the new version, once it is durable. Raises `StoreError`."""
        problem = check_patch(patch, max_depth=self._settings.max_depth)
        if problem is not None:
            return PatchRefused(problem)
        twin = await self._newest_in_turn(device_id)
        reported = merge(twin.reported, patch)
        text = orjson.dumps(reported)
        if len(text) > self._settings.max_reported_bytes:
            return PatchRefused(f"reported properties have at most {self._settings.max_reported_bytes} bytes")
        changed = Twin(
            desired=twin.desired,
            desired_version=twin.desired_version,
            reported=reported,
            reported_version=twin.reported_version + 1,
        )
        await self._submit(device_id, changed, text.decode())
        return changed.reported_version

    async def _newest_in_turn(self, device_id: str) -> Twin:
        async with self._turns.setdefault(device_id, asyncio.Lock()):
            while (twin := self._newest(device_id)) is None:
                await self._loader.get(device_id)
            return twin

    def _submit(self, device_id: str, twin: Twin, reported: str) -> "asyncio.Future[None]":
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        record = TwinRecord(
            device_id=device_id,
            desired=orjson.dumps(twin.desired).decode(),
            desired_version=twin.desired_version,
            reported=reported,
            reported_version=twin.reported_version,
        )

        def settled(error: StoreError | None) -> None:
            self._settle(device_id, twin, error)
            if durable.done():
                return
            if error is None:
                durable.set_result(None)
            else:
                durable.set_exception(error)

        self._registrar.submit(record, settled)
        self._advance(device_id, twin)
        return durable

    def _being_deleted(self, device_id: str) -> Settled:
        """What comes after a deletion begins with an empty twin."""
        self._advance(device_id, _NEW)
        return lambda error: self._settle(device_id, _NEW, error)

    def _advance(self, device_id: str, twin: Twin) -> None:
        _, unsettled = self._ahead.get(device_id, (twin, 0))
        self._ahead[device_id] = (twin, unsettled + 1)

    def _settle(self, device_id: str, twin: Twin, error: StoreError | None) -> None:
        newest, unsettled = self._ahead.pop(device_id)
        if unsettled > 1:
            self._ahead[device_id] = (newest, unsettled - 1)
        self._loader.outdate(device_id)
        if error is None:
            self._committed.put(device_id, twin)
        else:  # it may have been written all the same: ask the store
            self._committed.discard(device_id)

    def _newest(self, device_id: str) -> Twin | None:
        """With what is not committed yet; of what is in memory."""
        ahead = self._ahead.get(device_id)
        return ahead[0] if ahead is not None else self._committed.get(device_id)

    async def _load(self, device_ids: Sequence[str]) -> dict[str, Twin]:
        records = await self._store.load_twins(device_ids)
        return {device_id: _from_record(records.get(device_id)) for device_id in device_ids}


def _from_record(record: TwinRecord | None) -> Twin:
    if record is None:
        return _NEW
    try:
        desired, reported = orjson.loads(record.desired), orjson.loads(record.reported)
    except orjson.JSONDecodeError:
        raise StoreCorrupt(
            f"the row of the twin {record.device_id!r} can't be read",
            hint="restore the database from a backup",
        ) from None
    return Twin(
        desired=desired,
        desired_version=record.desired_version,
        reported=reported,
        reported_version=record.reported_version,
    )
