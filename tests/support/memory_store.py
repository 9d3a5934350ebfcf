"""A `Store` in memory, that can be made to fail, to wait, and to tell what it was asked."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from gateway.enrollment.models import EnrollmentGroup, IndividualEnrollment
from gateway.errors import StoreCorrupt
from gateway.registry.device import Device
from gateway.registry.store import Batch, DeviceEntry, DeviceQuery, TemplateRecord, TwinRecord

__all__ = ["MemoryStore"]


class MemoryStore:
    """Implements `gateway.registry.store.Store`.

    `commits`, `lookups` and `twin_lookups` list what came. Put errors into `commit_failures` or `load_failures`: each
    is raised once, the first first. Clear `may_commit` or `may_load` to hold the store back until it is set.
    What is in `damaged` has a row that can't be read.
    `exclusive` says that nobody else writes to it, so that all of it may be kept in memory.
    """

    def __init__(self, *, exclusive: bool = False) -> None:
        self.exclusive = exclusive
        self.devices: dict[str, Device] = {}
        self.twins: dict[str, TwinRecord] = {}
        self.groups: dict[str, EnrollmentGroup] = {}
        self.individuals: dict[str, IndividualEnrollment] = {}
        self.damaged: dict[str, StoreCorrupt] = {}
        self.templates: dict[str, TemplateRecord] = {}
        self.commits: list[Batch] = []
        self.lookups: list[list[str]] = []
        self.twin_lookups: list[list[str]] = []
        self.commit_failures: list[Exception] = []
        self.load_failures: list[Exception] = []
        self.may_commit = asyncio.Event()
        self.may_commit.set()
        self.may_load = asyncio.Event()
        self.may_load.set()
        self._asked = asyncio.Event()

    async def asked_to_commit(self, times: int = 1) -> None:
        """Return when that many commits have begun."""
        while len(self.commits) < times:
            self._asked.clear()
            await self._asked.wait()

    async def asked_to_look_up(self, times: int = 1) -> None:
        """Return when that many look-ups of devices have begun."""
        while len(self.lookups) < times:
            self._asked.clear()
            await self._asked.wait()

    async def asked_for_twins(self, times: int = 1) -> None:
        """Return when that many look-ups of twins have begun."""
        while len(self.twin_lookups) < times:
            self._asked.clear()
            await self._asked.wait()

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def commit(self, batch: Batch) -> None:
        """As a disk does it: what is asked for while it is held back is written when it goes on, or not at all."""
        self.commits.append(batch)
        self._asked.set()
        await asyncio.sleep(0)
        await self.may_commit.wait()
        if self.commit_failures:
            raise self.commit_failures.pop(0)
        for device_id in batch.deletions:
            self.devices.pop(device_id, None)
            self.twins.pop(device_id, None)
        self.devices |= batch.devices
        self.twins |= batch.twins

    async def load_all_entries(self, *, at_most: int) -> dict[str, DeviceEntry | StoreCorrupt] | None:
        ids = self.devices.keys() | self.individuals.keys()
        if not self.exclusive or len(ids) > at_most:
            return None
        return {id_: self._entry(id_) for id_ in ids} | self.damaged

    async def load_entries(self, device_ids: Sequence[str]) -> dict[str, DeviceEntry | StoreCorrupt]:
        self.lookups.append(list(device_ids))
        found = {id_: self.damaged.get(id_) or self._entry(id_) for id_ in device_ids}
        await self._loading()
        return found

    def _entry(self, id_: str) -> DeviceEntry:
        return DeviceEntry(device=self.devices.get(id_), individual=self.individuals.get(id_))

    async def load_twins(self, device_ids: Sequence[str]) -> dict[str, TwinRecord]:
        self.twin_lookups.append(list(device_ids))
        found = {id_: self.twins[id_] for id_ in device_ids if id_ in self.twins}
        await self._loading()
        return found

    async def _loading(self) -> None:
        """After the read: what changes from here on, the answer doesn't know."""
        self._asked.set()
        await asyncio.sleep(0)
        await self.may_load.wait()
        if self.load_failures:
            raise self.load_failures.pop(0)

    async def list_devices(self, query: DeviceQuery, *, after: str | None, limit: int) -> list[Device]:
        found = (self.devices[id_] for id_ in sorted(self.devices) if after is None or id_ > after)
        return [device for device in found if _is_wanted(device, query)][:limit]

    async def count_devices(self, query: DeviceQuery | None = None) -> dict[str, int]:
        query = query or DeviceQuery()
        statuses = [device.status.value for device in self.devices.values() if _is_wanted(device, query)]
        return {status: statuses.count(status) for status in statuses}

    async def count_by_template(self) -> dict[str, int]:
        return dict(Counter(device.template_id for device in self.devices.values() if device.template_id))

    async def load_groups(self) -> list[EnrollmentGroup]:
        return [self.groups[id_] for id_ in sorted(self.groups)]

    async def save_group(self, group: EnrollmentGroup) -> None:
        self.groups[group.id] = group

    async def delete_group(self, group_id: str) -> None:
        self.groups.pop(group_id, None)

    async def list_individuals(self, *, after: str | None, limit: int) -> list[IndividualEnrollment]:
        return [self.individuals[id_] for id_ in sorted(self.individuals) if after is None or id_ > after][
            :limit
        ]

    async def save_individual(self, individual: IndividualEnrollment) -> None:
        self.individuals[individual.registration_id] = individual

    async def delete_individual(self, registration_id: str) -> None:
        self.individuals.pop(registration_id, None)

    async def load_templates(self) -> list[TemplateRecord]:
        return [self.templates[id_] for id_ in sorted(self.templates)]

    async def save_template(self, template: TemplateRecord) -> None:
        self.templates[template.id] = template

    async def delete_template(self, template_id: str) -> None:
        self.templates.pop(template_id, None)


def _is_wanted(device: Device, query: DeviceQuery) -> bool:
    return (
        query.status in (None, device.status)
        and query.template_id in (None, device.template_id)
        and query.model_id in (None, device.model_id)
        and query.group in (None, device.enrollment_group)
        and not (query.unassociated and device.template_id is not None)
        and device.id.startswith(query.id_prefix or "")
        and (query.tag is None or query.tag.lower() in map(str.lower, device.tags))
    )
