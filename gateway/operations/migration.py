"""Taking over what IoT Central knew: `migrate.central`.

Whatever is not here yet is made; what is here as the export has it is left alone; what is here otherwise is a *conflict*,
which is told and never overwritten. So a second run changes nothing, and a dry run says what a run would do.

A device whose key is derived from a group that is taken over needs no enrollment of its own. Any other key, and every
thumbprint, becomes an individual enrollment, so that each device gets in with the credential that it has.
"""

import asyncio
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any, Final, Literal

import orjson
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from gateway.catalog import TemplateCatalog
from gateway.enrollment.models import (
    IndividualAttestation,
    IndividualEnrollment,
    SigningCertificate,
    SigningCertificates,
    SymmetricKeys,
    TpmAttestation,
    is_group_id,
)
from gateway.errors import ConflictError, GatewayError, OperationError, StoreError
from gateway.groups import Groups
from gateway.identity.sas import derive_device_key
from gateway.log import get_logger
from gateway.operations.attestation import (
    GivenCredential,
    IndividualMechanism,
    keys_from,
    load_signing_certificate,
)
from gateway.operations.devices import check_device_id, check_name, check_tags
from gateway.operations.enrollments import EnrollmentOperations
from gateway.operations.groups import GroupOperations
from gateway.operations.jobs import Job
from gateway.operations.templates import TemplateOperations
from gateway.registry.device import Device, Status
from gateway.registry.registry import Registry
from gateway.settings import Settings

__all__ = ["MigrationOperations"]

log = get_logger()

Outcome = Literal["created", "unchanged", "conflict", "problem", "skipped"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("created", "unchanged", "conflict", "problem", "skipped")
_AT_ONCE: Final = 100
_X509: Final = frozenset(
    {"primary_certificate", "secondary_certificate", "primary_thumbprint", "secondary_thumbprint"}
)
_CREDENTIALS: Final = (*sorted(_X509), "primary_key", "secondary_key", "endorsement_key")
_RENAMED: Final = "-central"
"""Appended to a group's name if the gateway has another group of that name: `gateway init` makes one."""


@dataclass(frozen=True, slots=True, config={"extra": "forbid"})
class _Scope:
    kind: Literal["scope"]
    id: str


@dataclass(frozen=True, slots=True, config={"extra": "forbid"})
class _Problem:
    kind: Literal["problem"]
    id: str
    problem: str


@dataclass(frozen=True, slots=True, config={"extra": "forbid"})
class _Template:
    """`id` is IoT Central's own; the model's DTMI is in the model."""

    kind: Literal["template"]
    id: str
    model: dict[str, Any]


@dataclass(frozen=True, slots=True, config={"extra": "forbid"})
class _Group:
    kind: Literal["group"]
    id: str
    display_name: str | None = None
    enabled: bool = True
    primary_key: str | None = Field(default=None, repr=False)
    secondary_key: str | None = Field(default=None, repr=False)
    primary_certificate: str | None = None
    secondary_certificate: str | None = None
    primary_sha1: str = ""
    secondary_sha1: str = ""


@dataclass(frozen=True, slots=True, config={"extra": "forbid"})
class _Credential:
    """What a device connects with: an `enrollment` of its own, or a `credential` that may come from a group."""

    kind: Literal["enrollment", "credential"]
    id: str
    primary_key: str | None = Field(default=None, repr=False)
    secondary_key: str | None = Field(default=None, repr=False)
    primary_certificate: str | None = None
    secondary_certificate: str | None = None
    primary_thumbprint: str | None = None
    secondary_thumbprint: str | None = None
    endorsement_key: str | None = None


@dataclass(frozen=True, slots=True, config={"extra": "forbid"})
class _Device:
    kind: Literal["device"]
    id: str
    name: str | None = None
    template: str | None = None
    enabled: bool | None = None
    simulated: bool = False
    tags: tuple[str, ...] = ()


_Item = _Scope | _Problem | _Template | _Group | _Credential | _Device
_ITEMS: Final = TypeAdapter(list[_Item])


@dataclass(frozen=True, slots=True)
class _Became:
    """What became of one item. `detail` is for people."""

    outcome: Outcome
    detail: str = ""


_UNCHANGED: Final = _Became("unchanged")
_BY_GROUP: Final = _Became("unchanged", "a group lets it in")


class MigrationOperations:
    """`migrate.*`"""

    def __init__(
        self,
        *,
        registry: Registry,
        groups: Groups,
        catalog: TemplateCatalog,
        group_operations: GroupOperations,
        enrollment_operations: EnrollmentOperations,
        template_operations: TemplateOperations,
        settings: Settings,
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._groups = groups
        self._catalog = catalog
        self._group_operations = group_operations
        self._enrollment_operations = enrollment_operations
        self._template_operations = template_operations
        self._settings = settings
        self._clock = clock

    async def central(self, job: Job, *, dry_run: bool = False, auto_approve: bool = True) -> dict[str, Any]:
        """Take over what was exported from IoT Central. A job: it takes items of `gateway.operations.central_export`.

        They come in the order of `KINDS`. Reports have the `notes` of what was not simply *unchanged* or a new device. The
        groups that are made approve new devices by themselves unless `auto_approve` is false (the export does not say).
        """
        run = _Run(self, dry_run=dry_run, auto_approve=auto_approve)
        async for chunk in job.chunks():
            try:
                items = _ITEMS.validate_python(chunk)
            except ValidationError as error:
                first = error.errors()[0]
                raise OperationError(f"not an item of an export: {first['loc']}: {first['msg']}") from None
            await job.report({"done": run.done + len(items), "notes": await run.take(items)})
        if not dry_run:
            created = {kind: counted["created"] for kind, counted in run.counted.items()}
            log.info(
                "central.migrated", **created, conflicts=run.total("conflict"), problems=run.total("problem")
            )
        here = self._settings.id_scope
        return {
            "applied": not dry_run,
            "counts": run.counted,
            "byGroup": run.by_group,
            "idScope": {"here": here, "central": sorted(run.scopes), "same": run.scopes <= {here}},
            "hosts": list(self._settings.hosts),
        }

    # What is here, and what is to be

    def keys_here(self) -> list[SymmetricKeys]:
        """The keys of the groups in force."""
        attestations = [group.attestation for group in self._groups.list()]
        return [attestation for attestation in attestations if isinstance(attestation, SymmetricKeys)]

    def is_template(self, template_id: str) -> bool:
        return self._catalog.get(template_id) is not None

    async def take_template(self, item: _Template, *, dry_run: bool) -> tuple[_Became, str]:
        """What became of it, and the template's id here."""
        template = self._template_operations.build(orjson.dumps(item.model).decode(), item.model.get("@id"))
        known = self._catalog.get(template.id)
        if known is not None:
            alike = known.documents == template.documents
            return _UNCHANGED if alike else _Became(
                "conflict", "it is published here, and differs"
            ), template.id
        if not dry_run:
            await self._template_operations.import_(
                content=orjson.dumps(template.documents).decode(), root=template.id
            )
        return _Became("created", template.display_name), template.id

    async def take_group(self, item: _Group, *, dry_run: bool, auto_approve: bool) -> _Became:
        name = item.display_name if item.display_name and is_group_id(item.display_name) else item.id
        lacking = [
            sha1 for sha1, certificate in (
                (item.primary_sha1, item.primary_certificate), (item.secondary_sha1, item.secondary_certificate),
            ) if sha1 and certificate is None
        ]  # fmt: skip
        if lacking:
            return _Became(
                "problem", f"its CA, SHA-1 {lacking[0]}, is not in the export: put its PEM file there"
            )
        mechanism = self._mechanism(item)
        if mechanism is None:
            return _Became("problem", "the export has neither its keys nor its CA")
        for group in self._groups.list():
            if _alike(group.attestation, mechanism):
                return _Became("unchanged", "" if group.id == name else f"it is here as {group.id}")
        if self._groups.get(name) is not None:
            name = f"{name}{_RENAMED}"
            if self._groups.get(name) is not None:
                return _Became("conflict", f"the gateway has another group of that name, and {name} too")
        self._group_operations.refuse_shared_authority(mechanism)
        if not dry_run:
            keys = mechanism if isinstance(mechanism, SymmetricKeys) else None
            await self._group_operations.create(
                name=name, attestation="symmetricKey" if keys is not None else "x509", display_name=item.display_name,
                enabled=item.enabled, auto_approve=auto_approve,
                primary_key=keys.primary.base64 if keys else None, secondary_key=keys.secondary.base64 if keys else None,
                primary_certificate=item.primary_certificate, secondary_certificate=item.secondary_certificate,
            )  # fmt: skip
        renamed = f"as {name}: the gateway has another group of its name" if name.endswith(_RENAMED) else ""
        return _Became("created", renamed)

    def _mechanism(self, item: _Group) -> SymmetricKeys | SigningCertificates | None:
        if item.primary_key is not None:
            return keys_from(item.primary_key, item.secondary_key or item.primary_key)
        if item.primary_certificate is None and item.secondary_certificate is None:
            return None
        now = self._clock()
        return SigningCertificates(
            **{
                slot: SigningCertificate(
                    certificate=load_signing_certificate(pem, f"its {slot} CA", now=now), verified=True
                )
                for slot, pem in (
                    ("primary", item.primary_certificate),
                    ("secondary", item.secondary_certificate),
                )
                if pem is not None
            }
        )

    async def take_credential(
        self, item: _Credential, groups: Iterable[SymmetricKeys], *, dry_run: bool
    ) -> _Became:
        check_device_id(item.id, extended=self._settings.provisioning.extended_device_ids)
        wanted = self._individual(item)
        if wanted is None:
            return _Became("skipped", "the export has no credential for it")
        if (
            item.kind == "credential"
            and isinstance(wanted, SymmetricKeys)
            and _is_derived(wanted, item.id, groups)
        ):
            return _BY_GROUP
        entry = self._registry.peek(item.id) or await self._registry.fetch(item.id)
        if entry.individual is not None:
            alike = _is_same(entry.individual.attestation, wanted)
            return _UNCHANGED if alike else _Became("conflict", "it is enrolled here with another credential")
        if not dry_run:
            individual = IndividualEnrollment.new(item.id, wanted, now=self._clock())
            await self._enrollment_operations.add(individual)
        return _Became("created")

    def _individual(self, item: _Credential) -> IndividualAttestation | None:
        """The device's own credential; None if there is none. One of X.509 wins over keys, as in IoT Central."""
        given: dict[str, str] = {
            name: value for name in _CREDENTIALS if (value := getattr(item, name)) is not None
        }
        mechanism: IndividualMechanism
        if "endorsement_key" in given:
            mechanism, given = "tpm", {"endorsement_key": given["endorsement_key"]}
        elif given.keys() & _X509:
            mechanism, given = "x509", {name: given[name] for name in _X509 & given.keys()}
            if not given.keys() & {"primary_certificate", "primary_thumbprint"}:
                given = {name.replace("secondary", "primary"): value for name, value in given.items()}
        elif "primary_key" in given:
            mechanism, given = "symmetricKey", {"secondary_key": given["primary_key"]} | given
        else:
            return None
        return GivenCredential(**given).create(mechanism, item.id, now=self._clock())

    async def take_device(self, item: _Device, template_id: str | None, *, dry_run: bool) -> _Became:
        check_device_id(item.id, extended=self._settings.provisioning.extended_device_ids)
        check_name(item.name)
        became: list[_Became] = []

        def change(known: Device | None) -> Device:
            if known is None:
                became.append(_Became("created", "" if item.enabled is not False else "blocked, as it was"))
                return self._new(item, template_id)
            became.append(_compared(known, item, template_id))
            return known

        entry = self._registry.peek(item.id) or await self._registry.fetch(item.id)
        if dry_run or entry.device is not None:
            change(entry.device)
        else:
            await self._registry.change(item.id, change)
        return became[-1]

    def _new(self, item: _Device, template_id: str | None) -> Device:
        blocked = item.enabled is False
        return Device.new(
            item.id, name=item.name, tags=check_tags(item.tags), template_id=template_id,
            template_assigned_by="operator" if template_id is not None else None,
            status=Status.BLOCKED if blocked else Status.REGISTERED,
            status_before_block=Status.REGISTERED if blocked else None, now=self._clock(),
        )  # fmt: skip


class _Run:
    """One migration: what became of the items so far, and what later ones build on."""

    def __init__(self, operations: MigrationOperations, *, dry_run: bool, auto_approve: bool) -> None:
        self._operations = operations
        self._dry_run = dry_run
        self._auto_approve = auto_approve
        self._templates: dict[str, str] = {}
        """IoT Central's template id → the model's DTMI, which is the template's id here."""
        self._keys = operations.keys_here()
        self._seen: set[tuple[str, str]] = set()
        """Device ids whose credential, or whose record, was taken: the first one of an export counts."""
        self.by_group = 0
        self.scopes: set[str] = set()
        self.counted: dict[str, dict[Outcome, int]] = {
            kind: dict.fromkeys(OUTCOMES, 0) for kind in ("template", "group", "enrollment", "device", "file")
        }
        self.done = 0

    def total(self, outcome: Outcome) -> int:
        return sum(counted[outcome] for counted in self.counted.values())

    async def take(self, items: list[_Item]) -> list[dict[str, Any]]:
        """The notes on a chunk of items."""
        notes: list[dict[str, Any]] = []
        for kind, same in groupby(items, key=lambda item: item.kind):
            alike = list(same)
            self.done += len(alike)
            if kind == "scope":
                self.scopes |= {item.id for item in alike}
                continue
            size = _AT_ONCE if kind == "device" else 1
            for start in range(0, len(alike), size):
                some = alike[start : start + size]
                outcomes = await asyncio.gather(*map(self._take_one, some))
                notes += filter(None, map(self._note, some, outcomes))
        return notes

    def _note(self, item: _Item, became: _Became | None) -> dict[str, Any] | None:
        """Count the outcome; a note if a person should know more of it."""
        if became is None:
            return None
        if became is _BY_GROUP:
            self.by_group += 1
            return None
        kind = {"credential": "enrollment", "problem": "file"}.get(item.kind, item.kind)
        self.counted[kind][became.outcome] += 1
        is_new = became.outcome == "created" and kind in ("group", "template")
        if not (is_new or became.detail):
            return None
        return {"kind": kind, "id": item.id, "outcome": became.outcome, "detail": became.detail}

    async def _take_one(self, item: _Item) -> _Became | None:
        """What became of it; None if the export has said it before."""
        if isinstance(item, _Credential | _Device):
            key = ("device" if isinstance(item, _Device) else "credential", item.id)
            if key in self._seen:
                return None
            self._seen.add(key)
        try:
            return await self._take(item)
        except StoreError:
            raise
        except GatewayError as error:
            return _Became("conflict" if isinstance(error, ConflictError) else "problem", error.message)

    async def _take(self, item: _Item) -> _Became:
        match item:
            case _Problem():
                return _Became("problem", item.problem)
            case _Template():
                became, template_id = await self._operations.take_template(item, dry_run=self._dry_run)
                self._templates[item.id] = template_id
                return became
            case _Group():
                became = await self._operations.take_group(
                    item, dry_run=self._dry_run, auto_approve=self._auto_approve
                )
                if item.primary_key is not None and became.outcome in ("created", "unchanged"):
                    self._keys.append(keys_from(item.primary_key, item.secondary_key or item.primary_key))
                return became
            case _Credential():
                return await self._operations.take_credential(item, self._keys, dry_run=self._dry_run)
            case _Device():
                return await self._take_device(item)
            case _Scope():
                return _UNCHANGED

    async def _take_device(self, item: _Device) -> _Became:
        if item.simulated:
            return _Became("skipped", "a simulated device")
        template_id = self._templates.get(item.template) if item.template else None
        if template_id is None and item.template and self._operations.is_template(item.template):
            template_id = item.template
        return await self._operations.take_device(item, template_id, dry_run=self._dry_run)


def _compared(known: Device, item: _Device, template_id: str | None) -> _Became:
    """A device that is here, held against the export's."""
    differs = []
    if item.name is not None and known.name != item.name:
        differs.append(f"is named {known.name} here, {item.name} there")
    if template_id is not None and known.template_id != template_id:
        differs.append(f"has the template {known.template_id or 'none'} here, {template_id} there")
    if item.enabled is False and known.status is not Status.BLOCKED:
        differs.append(f"is {known.status} here, blocked there")
    return _Became("conflict", "; ".join(differs)) if differs else _UNCHANGED


def _alike(here: SymmetricKeys | SigningCertificates, there: SymmetricKeys | SigningCertificates) -> bool:
    if isinstance(here, SigningCertificates) and isinstance(there, SigningCertificates):
        return [each and each.certificate for each in here.both] == [
            each and each.certificate for each in there.both
        ]
    return here == there


def _is_same(here: IndividualAttestation, there: IndividualAttestation) -> bool:
    if isinstance(here, TpmAttestation) and isinstance(there, TpmAttestation):
        return here.endorsement_key == there.endorsement_key  # the key that it is given is new each time
    return here == there


def _is_derived(keys: SymmetricKeys, device_id: str, groups: Iterable[SymmetricKeys]) -> bool:
    """Whether one of the groups gives the device its primary key."""
    return any(derive_device_key(key, device_id) == keys.primary for group in groups for key in group.both)
