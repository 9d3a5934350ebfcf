"""Devices in and out by the hundred thousand: `device.import` and `device.export`.

An import is idempotent: a device that is there already, as the row says, is *unchanged*, so whatever interrupts an import,
the same file can be given again. A device that is there otherwise is a problem of its row, or is *updated* if that was
asked for. A file says nothing of a status: a new device is *registered*, an old one keeps what it has.

Usually each chunk is committed by itself, beside the devices that connect meanwhile, and rows that can't be taken
leave the others alone. `atomic` is all or nothing, literally: every row is checked first, and then one transaction of the
database writes all devices. While it runs (up to three seconds for 100,000 rows, on two busy cores) other first connects
wait for it, and the whole file is held in memory, which is why it has a limit of its own.
"""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from gateway.catalog import TemplateCatalog
from gateway.enrollment.models import IndividualEnrollment, SymmetricKeys, ThumbprintPair
from gateway.errors import ConflictError, GatewayError, NotFoundError, OperationError, StoreError
from gateway.groups import Groups
from gateway.identity.sas import derive_device_key
from gateway.log import get_logger
from gateway.operations.attestation import keys_to_json
from gateway.operations.devices import check_device_id, check_name, check_tags, sas_group
from gateway.operations.jobs import Job
from gateway.operations.verbs import DeviceId, Dtmi, GroupName, Tag
from gateway.registry.device import Device, Status
from gateway.registry.registry import Registry
from gateway.registry.store import DeviceQuery
from gateway.settings import ProvisioningSettings

__all__ = ["MAX_ATOMIC_ROWS", "ImportOperations"]

log = get_logger()

MAX_ATOMIC_ROWS: Final = 100_000
"""About 1 KB of memory each, until the commit."""
ExportLimit = Annotated[int, Field(ge=1, le=500)]
_Outcome = Literal["created", "updated", "unchanged"]


@dataclass(frozen=True, slots=True, config={"extra": "forbid"})
class _Row:
    """A device of an import, as `gateway.operations.device_csv.DeviceRow.to_json` writes it."""

    line: int
    id: str
    name: str | None = None
    template: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, config={"extra": "forbid"})
class _Unread:
    """A row that could not be read (`gateway.operations.device_csv.RowProblem`): it counts, and is told."""

    line: int
    problem: str
    column: str = ""
    id: str = ""
    hint: str = ""


_ROWS: Final = TypeAdapter(list[_Row | _Unread])


class ImportOperations:
    """`device.import`, `device.export`"""

    def __init__(
        self,
        *,
        registry: Registry,
        groups: Groups,
        catalog: TemplateCatalog,
        provisioning: ProvisioningSettings,
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._groups = groups
        self._catalog = catalog
        self._extended_ids = provisioning.extended_device_ids
        self._clock = clock

    async def import_(
        self, job: Job, *, atomic: bool = False, update: bool = False, dry_run: bool = False
    ) -> dict[str, Any]:
        """Register many devices in advance. A job: it takes rows `{line, id, name?, template?, tags?}`.

        Rows that could not even be read, `{line, problem, column?, id?, hint?}`, are counted and told with the others.

        Each report has the counts so far, and `problems`: the rows of that chunk that could not be taken. With `atomic`
        nothing is written if there is one problem; `applied` says whether anything was to be written at all.
        """
        run = _Import(self._registry, self._decide, update=update, dry_run=dry_run or atomic)
        async for chunk in job.chunks():
            rows = _rows(chunk)
            if atomic and run.rows + len(rows) > MAX_ATOMIC_ROWS:
                raise OperationError(
                    f"an atomic import has at most {MAX_ATOMIC_ROWS:,} rows",
                    hint="split the file, or import it without --atomic: it can be repeated",
                )
            problems = await run.take(rows, keep=atomic)
            await job.report(run.counts() | {"problems": problems})
        applied = not dry_run and not (atomic and run.failed)
        if atomic and applied:
            try:
                await self._registry.change_together(run.changes)
            except ConflictError as error:  # a device changed since its row was checked
                raise ConflictError(
                    f"nothing was imported: {error.message}", hint="import the file again"
                ) from None
        if applied:
            log.info("devices.imported", atomic=atomic, **run.counts())
        return run.counts() | {"applied": applied}

    async def export(
        self,
        *,
        after: DeviceId | None = None,
        limit: ExportLimit = 500,
        keys: bool = False,
        keys_of: GroupName | None = None,
        status: Literal["waiting", "registered", "provisioned", "blocked"] | None = None,
        template_id: Dtmi | None = None,
        group: GroupName | None = None,
        unassociated: bool = False,
        id_prefix: DeviceId | None = None,
        tag: Tag | None = None,
    ) -> dict[str, Any]:
        """Devices with what they connect with, a page at a time; `next` is the `after` of the next page, or null.

        Thumbprints are those of individual enrollments. `keys` adds the SAS keys: of the individual enrollment, else
        derived from the device's own enrollment group, else from the group `keys_of` (by default SAS-IoT-Devices).
        """
        query = DeviceQuery(
            status=status, template_id=template_id, group=group, unassociated=unassociated, id_prefix=id_prefix, tag=tag,
        )  # fmt: skip
        fallback = self._fallback(keys_of) if keys else None
        devices = await self._registry.list_devices(query, after=after, limit=limit)
        individuals = await self._registry.individuals_of([device.id for device in devices])
        exported = []
        for device in devices:
            document: dict[str, Any] = {
                "id": device.id, "name": device.name, "template": device.template_id, "tags": list(device.tags),
                "status": device.status.value, "enrollmentGroup": device.enrollment_group,
            }  # fmt: skip
            individual = individuals.get(device.id)
            if individual is not None and isinstance(individual.attestation, ThumbprintPair):
                document["primaryThumbprint"] = individual.attestation.primary
                document["secondaryThumbprint"] = individual.attestation.secondary
            if keys:
                own = self._keys_of(device, individual, fallback)
                document |= keys_to_json(own) if own is not None else {}
            exported.append(document)
        return {"devices": exported, "next": devices[-1].id if len(devices) == limit else None}

    def _fallback(self, keys_of: str | None) -> SymmetricKeys | None:
        """The group keys of devices that no group has let in yet. Raises `GatewayError` if `keys_of` has none."""
        try:
            return sas_group(self._groups, keys_of)[1]
        except NotFoundError:
            if keys_of is not None:
                raise
            return None

    def _keys_of(
        self, device: Device, individual: IndividualEnrollment | None, fallback: SymmetricKeys | None
    ) -> SymmetricKeys | None:
        if individual is not None:
            return individual.attestation if isinstance(individual.attestation, SymmetricKeys) else None
        group = self._groups.get(device.enrollment_group) if device.enrollment_group is not None else None
        keys = group.attestation if group is not None else fallback
        if not isinstance(keys, SymmetricKeys):
            return None  # it has a certificate
        return SymmetricKeys(
            primary=derive_device_key(keys.primary, device.id),
            secondary=derive_device_key(keys.secondary, device.id),
        )

    def _decide(self, row: _Row, known: Device | None, *, update: bool) -> Device:
        """The device as the row wants it: `known` itself if that is how it is. Raises `GatewayError`."""
        check_device_id(row.id, extended=self._extended_ids)
        check_name(row.name)
        tags = check_tags(row.tags)
        if row.template is not None and self._catalog.get(row.template) is None:
            raise OperationError(
                f"there is no device template {row.template}", hint="publish it: gateway template import FILE"
            )
        now = self._clock()
        if known is None:
            return Device.new(
                row.id, name=row.name, status=Status.REGISTERED, template_id=row.template, tags=tags,
                template_assigned_by="operator" if row.template is not None else None, now=now,
            )  # fmt: skip
        wanted: dict[str, Any] = {}
        if row.name is not None and row.name != known.name:
            wanted["name"] = row.name
        if tags and tags != known.tags:
            wanted["tags"] = tags
        if row.template is not None and row.template != known.template_id:
            wanted |= {"template_id": row.template, "template_assigned_by": "operator"}
        if not wanted:
            return known
        if not update:
            has = {"name": known.name, "tags": " ".join(known.tags), "template_id": known.template_id}
            told = ", ".join(
                f"{said} {has[field] or 'none'}" for field, said in _SAID.items() if field in wanted
            )
            raise ConflictError(
                f"the device is there already, with {told}", hint="--update makes it as the file says"
            )
        return known.replace(now=now, **wanted)


_SAID: Final = {"name": "name", "tags": "tags", "template_id": "template"}


class _Import:
    """One run: what became of the rows so far."""

    def __init__(
        self,
        registry: Registry,
        decide: Callable[..., Device],
        *,
        update: bool,
        dry_run: bool,
    ) -> None:
        self._registry = registry
        self._decide = decide
        self._update = update
        self._dry_run = dry_run
        self._counted = {"created": 0, "updated": 0, "unchanged": 0}
        self.rows = 0
        self.failed = 0
        self.changes: dict[str, Callable[[Device | None], Device]] = {}

    def counts(self) -> dict[str, int]:
        return {"rows": self.rows, **self._counted, "failed": self.failed}

    async def take(self, rows: list[_Row | _Unread], *, keep: bool) -> list[dict[str, Any]]:
        """Import a chunk, or see what that would do. The problems of its rows."""
        outcomes = await asyncio.gather(*map(self._take, rows), return_exceptions=True)
        self.rows += len(rows)
        problems: list[_Unread] = []
        for row, outcome in zip(rows, outcomes, strict=True):
            match row, outcome:
                case _Unread(), _:
                    problems.append(row)
                case _, GatewayError() if not isinstance(outcome, StoreError):
                    problems.append(
                        _Unread(line=row.line, id=row.id, problem=outcome.message, hint=outcome.hint)
                    )
                case _, BaseException():
                    raise outcome
                case _Row(), str():
                    self._counted[outcome] += 1
                    if keep:
                        if row.id in self.changes:
                            raise OperationError(f"{row.id} is there twice", hint="keep one of its rows")
                        self.changes[row.id] = self._change(row, [])
        self.failed += len(problems)
        return [asdict(problem) for problem in problems]

    async def _take(self, row: _Row | _Unread) -> _Outcome | None:
        if isinstance(row, _Unread):
            return None
        seen: list[_Outcome] = []
        change = self._change(row, seen)
        if self._dry_run:
            entry = self._registry.peek(row.id) or await self._registry.fetch(row.id)
            change(entry.device)
        else:
            await self._registry.change(row.id, change)
        return seen[-1]

    def _change(self, row: _Row, seen: list[_Outcome]) -> Callable[[Device | None], Device]:
        def change(known: Device | None) -> Device:
            device = self._decide(row, known, update=self._update)
            seen.append("created" if known is None else "unchanged" if device is known else "updated")
            return device

        return change


def _rows(chunk: list[Any]) -> list[_Row | _Unread]:
    try:
        return _ROWS.validate_python(chunk)
    except ValidationError as error:
        first = error.errors()[0]
        raise OperationError(f"not a row of an import: {first['loc']}: {first['msg']}") from None
