"""One verb on many devices: named by a list, or chosen by what they are.

Each chunk is committed by itself, and a device whose right is taken away (reject, block, delete) loses its session as soon
as its own change is durable, not when the whole job is done. A job that is ended in the middle still closes the
sessions of the chunk it was in.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError

from gateway.catalog import TemplateCatalog
from gateway.errors import GatewayError, NotFoundError, OperationError, StoreError
from gateway.log import get_logger
from gateway.operations.devices import refuse_unknown_template, rejected
from gateway.operations.jobs import CHUNK, Job
from gateway.operations.sessions import Sessions
from gateway.operations.verbs import DeviceId, Dtmi, GroupName, Tag
from gateway.registry.device import Device, Status, transition
from gateway.registry.registry import Registry
from gateway.registry.store import DeviceQuery
from gateway.session import CloseReason

__all__ = ["Action", "ManyOperations"]

log = get_logger()

Action = Literal["approve", "reject", "block", "unblock", "assign", "delete"]

_CLOSES: Final[dict[str, CloseReason]] = {
    "reject": CloseReason.DEVICE_BLOCKED,
    "block": CloseReason.DEVICE_BLOCKED,
    "delete": CloseReason.DEVICE_DELETED,
}
_MEANT: Final[dict[str, Literal["waiting", "blocked"]]] = {
    "approve": "waiting",
    "reject": "waiting",
    "unblock": "blocked",
}
"""The status of the devices that an action is for, if the filter names none."""
_IDS: Final = TypeAdapter(list[Annotated[str, Field(min_length=1, max_length=128)]])
_SAMPLE: Final = 10


class ManyOperations:
    """`device.change`"""

    def __init__(
        self,
        *,
        registry: Registry,
        catalog: TemplateCatalog,
        sessions: Sessions,
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._catalog = catalog
        self._sessions = sessions
        self._clock = clock

    async def change(
        self,
        job: Job,
        *,
        action: Action,
        assign_template: Dtmi | None = None,
        by: Literal["list", "filter"],
        dry_run: bool = False,
        status: Literal["waiting", "registered", "provisioned", "blocked"] | None = None,
        template_id: Dtmi | None = None,
        model_id: Dtmi | None = None,
        group: GroupName | None = None,
        unassociated: bool = False,
        id_prefix: DeviceId | None = None,
        tag: Tag | None = None,
    ) -> dict[str, Any]:
        """Carry out one action on many devices. A job: `by` a list it takes device ids; by a filter it takes none.

        A filter that names no status means, for `approve` and `reject`, the devices that wait, and for `unblock` the blocked
        ones. Each report has the counts so far, `total` (null for a list) and the `problems` of its chunk.
        """
        query = DeviceQuery(
            status=status or _MEANT.get(action), template_id=template_id, model_id=model_id, group=group,
            unassociated=unassociated, id_prefix=id_prefix, tag=tag,
        )  # fmt: skip
        if (assign_template is None) == (action == "assign"):
            raise OperationError("assign, and only assign, needs assign_template")
        if assign_template is not None:
            refuse_unknown_template(self._catalog, assign_template)
        if by == "list" and (query != DeviceQuery(status=_MEANT.get(action))):
            raise OperationError("choose devices by a list or by a filter, not both")
        total = sum((await self._registry.counts(query)).values()) if by == "filter" else None
        run = _Run(self._registry, self._sessions, action, assign_template, self._clock, dry_run=dry_run)
        async for device_ids in self._matching(query) if by == "filter" else _listed(job):
            problems = await run.take(device_ids)
            await job.report(run.counts() | {"total": total, "problems": problems})
        return run.counts() | {"action": action, "applied": not dry_run, "sample": run.sample}

    async def _matching(self, query: DeviceQuery) -> AsyncIterator[list[str]]:
        after = None
        while page := await self._registry.list_devices(query, after=after, limit=CHUNK):
            yield [device.id for device in page]
            after = page[-1].id


async def _listed(job: Job) -> AsyncIterator[list[str]]:
    async for chunk in job.chunks():
        try:
            yield list(dict.fromkeys(_IDS.validate_python(chunk, strict=True)))
        except ValidationError:
            raise OperationError("a list of devices has device ids, as text") from None


class _Run:
    """One job: what became of the devices so far."""

    def __init__(
        self,
        registry: Registry,
        sessions: Sessions,
        action: Action,
        template_id: str | None,
        clock: Callable[[], float],
        *,
        dry_run: bool,
    ) -> None:
        self._registry = registry
        self._sessions = sessions
        self._action = action
        self._template_id = template_id
        self._clock = clock
        self._dry_run = dry_run
        self._counted = {"changed": 0, "unchanged": 0, "failed": 0, "closedSessions": 0}
        self.sample: list[str] = []
        """The first few devices that were changed, or would be."""

    def counts(self) -> dict[str, int]:
        return dict(self._counted)

    async def take(self, device_ids: list[str]) -> list[dict[str, Any]]:
        """Change a chunk of devices. Their problems. Who cancels it waits until the chunk is done."""
        changing = asyncio.ensure_future(
            asyncio.gather(*map(self._change, device_ids), return_exceptions=True)
        )
        try:
            outcomes = await asyncio.shield(changing)
        except asyncio.CancelledError:
            await asyncio.wait([changing])
            raise
        problems = []
        for device_id, outcome in zip(device_ids, outcomes, strict=True):
            match outcome:
                case GatewayError() if not isinstance(outcome, StoreError):
                    self._counted["failed"] += 1
                    problems.append({"id": device_id, "problem": outcome.message, "hint": outcome.hint})
                case BaseException():
                    raise outcome
                case False:
                    self._counted["unchanged"] += 1
                case _:
                    self._counted["changed"] += 1
                    if len(self.sample) < _SAMPLE:
                        self.sample.append(device_id)
        return problems

    async def _change(self, device_id: str) -> bool:
        """Whether there was anything to change."""
        if self._dry_run or self._action == "delete":
            entry = self._registry.peek(device_id) or await self._registry.fetch(device_id)
            if entry.device is None:
                raise NotFoundError(f"there is no device {device_id}", hint="see `gateway device list`")
            if self._dry_run:
                return self._action == "delete" or self._changed(entry.device) is not entry.device
            await self._registry.delete(device_id)
            status: Status | None = None
        else:
            before: list[Device] = []

            def change(device: Device) -> Device:
                before.append(device)
                return self._changed(device)

            device = await self._registry.amend(device_id, change)
            if device is before[-1]:
                return False
            status = device.status
        closed = 0
        if self._action in _CLOSES:
            closed = self._sessions.close_device(device_id, _CLOSES[self._action])
            self._counted["closedSessions"] += closed
        log.info(
            "device.changed", device_id=device_id, change=self._action, status=status, closed_sessions=closed
        )
        return True

    def _changed(self, device: Device) -> Device:
        """The device after the action; the same one if it is so already. Raises `ConflictError`."""
        now = self._clock()
        match self._action:
            case "approve" if device.enabled:
                return device
            case "block" | "reject" if device.status is Status.BLOCKED:
                return device
            case "unblock" if device.status is not Status.BLOCKED:
                return device
            case "reject":
                return rejected(device, now=now)
            case "assign":
                if device.template_id == self._template_id and device.template_assigned_by == "operator":
                    return device
                return device.replace(now=now, template_id=self._template_id, template_assigned_by="operator")
            case "approve" | "block" | "unblock":
                return transition(device, self._action, now=now)
            case "delete":
                raise AssertionError("a deletion is no change of a device")
