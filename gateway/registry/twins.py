"""Twins: loaded when a device first asks, merged in memory, durable before the device is told.

Patches of one device are merged in the order in which they came. The state in memory runs ahead of the store
by what the registrar has not committed yet; if a commit fails, that state is dropped and read anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.hub.twin import check_patch, merge
from gateway.registry.cache import LruCache
from gateway.registry.loader import BatchLoader
from gateway.registry.registrar import Registrar
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
        self._twins: LruCache[Twin] = LruCache(settings.cache_size)
        self._ahead: dict[str, tuple[Twin, int]] = {}
        self._loader = BatchLoader(self._load, keep=self._keep, name="twin look-up")

    async def get(self, device_id: str) -> Twin:
        """The twin; that of a device that never reported is empty, at version 1. Raises `StoreError`."""
        return self._in_memory(device_id) or await self._loader.get(device_id)

    async def patch_reported(self, device_id: str, patch: dict[str, Any]) -> int | PatchRefused:
        """Merge a patch; the new version, once it is durable. Raises `StoreError`."""
        problem = check_patch(patch, max_depth=self._settings.max_depth)
        if problem is not None:
            return PatchRefused(problem)
        twin = self._in_memory(device_id)
        while twin is None:
            await self._loader.get(device_id)
            twin = self._in_memory(device_id)
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
        await self._commit(device_id, changed, text.decode())
        return changed.reported_version

    async def _commit(self, device_id: str, twin: Twin, reported: str) -> None:
        _, waiting = self._ahead.get(device_id, (twin, 0))
        self._ahead[device_id] = (twin, waiting + 1)
        record = TwinRecord(
            device_id=device_id,
            desired=orjson.dumps(twin.desired).decode(),
            desired_version=twin.desired_version,
            reported=reported,
            reported_version=twin.reported_version,
        )
        try:
            await self._registrar.submit(record)
        except BaseException:
            self._ahead.pop(device_id, None)
            self._twins.discard(device_id)
            raise
        ahead = self._ahead.get(device_id)
        if ahead is not None:
            if ahead[1] == 1:
                del self._ahead[device_id]
            else:
                self._ahead[device_id] = (ahead[0], ahead[1] - 1)
        self._twins.put(device_id, twin)

    def forget(self, device_id: str) -> None:
        """The device was deleted, and its twin with it."""
        self._twins.discard(device_id)
        self._loader.outdate(device_id)

    def _in_memory(self, device_id: str) -> Twin | None:
        ahead = self._ahead.get(device_id)
        return ahead[0] if ahead is not None else self._twins.get(device_id)

    async def _load(self, device_ids: Sequence[str]) -> dict[str, Twin]:
        records = await self._store.load_twins(device_ids)
        return {device_id: _from_record(records.get(device_id)) for device_id in device_ids}

    def _keep(self, device_id: str, twin: Twin) -> Twin:
        newer = self._in_memory(device_id)
        if newer is not None:
            return newer
        self._twins.put(device_id, twin)
        return twin


def _from_record(record: TwinRecord | None) -> Twin:
    if record is None:
        return _NEW
    return Twin(
        desired=orjson.loads(record.desired),
        desired_version=record.desired_version,
        reported=orjson.loads(record.reported),
        reported_version=record.reported_version,
    )
