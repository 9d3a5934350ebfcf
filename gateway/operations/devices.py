"""Verbs on devices: registration in advance, approval, blocking, templates, keys.

A verb returns when its change is durable. What takes a device's right away (block, delete) closes its session
after that, so the device's next CONNECT already meets the new state.
"""

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from gateway.catalog import TemplateCatalog
from gateway.enrollment.models import EnrollmentGroup, SymmetricKeys
from gateway.errors import ConflictError, NotFoundError, OperationError
from gateway.groups import Groups
from gateway.identity.sas import derive_device_key
from gateway.log import get_logger
from gateway.operations.attestation import keys_to_json
from gateway.operations.documents import refuse_changed, timestamp
from gateway.operations.sessions import Sessions
from gateway.operations.verbs import DeviceId, DeviceName, Dtmi, Etag, GroupName, Limit, Tag
from gateway.registry.device import (
    MAX_TAGS,
    Device,
    Status,
    Verb,
    is_device_id,
    is_device_name,
    is_tag,
    transition,
)
from gateway.registry.registry import Registry
from gateway.registry.store import DeviceQuery
from gateway.session import CloseReason
from gateway.settings import ProvisioningSettings

__all__ = [
    "DEFAULT_SAS_GROUP",
    "DeviceOperations",
    "check_device_id",
    "check_name",
    "check_tags",
    "refuse_unknown_template",
    "rejected",
    "sas_group",
]

log = get_logger()

DEFAULT_SAS_GROUP: Final = "SAS-IoT-Devices"
"""The group that `gateway init` makes for devices with keys."""
Tags = Annotated[list[Tag], Field(max_length=MAX_TAGS)]


class DeviceOperations:
    """`device.*`"""

    def __init__(
        self,
        *,
        registry: Registry,
        groups: Groups,
        catalog: TemplateCatalog,
        sessions: Sessions,
        provisioning: ProvisioningSettings,
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._groups = groups
        self._catalog = catalog
        self._sessions = sessions
        self._extended_ids = provisioning.extended_device_ids
        self._clock = clock

    async def list(
        self,
        *,
        after: DeviceId | None = None,
        limit: Limit = 100,
        status: Literal["waiting", "registered", "provisioned", "blocked"] | None = None,
        template_id: Dtmi | None = None,
        model_id: Dtmi | None = None,
        group: GroupName | None = None,
        unassociated: bool = False,
        id_prefix: DeviceId | None = None,
        tag: Tag | None = None,
    ) -> dict[str, Any]:
        """List devices by id, a page at a time: `next` is the `after` of the next page, or null."""
        query = DeviceQuery(
            status=status, template_id=template_id, model_id=model_id, group=group, unassociated=unassociated,
            id_prefix=id_prefix, tag=tag,
        )  # fmt: skip
        devices = await self._registry.list_devices(query, after=after, limit=limit)
        return {
            "devices": [self._to_json(device) for device in devices],
            "next": devices[-1].id if len(devices) == limit else None,
        }

    async def show(self, *, device_id: DeviceId) -> dict[str, Any]:
        """Show one device."""
        return self._to_json(await self._get(device_id))

    async def register(
        self,
        *,
        device_id: DeviceId,
        name: DeviceName | None = None,
        template_id: Dtmi | None = None,
        tags: Tags = [],  # noqa: B006 - the default of an argument model, which copies it
    ) -> dict[str, Any]:
        """Register a device before it first connects. An operator added it, so it needs no approval."""
        check_device_id(device_id, extended=self._extended_ids)
        check_name(name)
        if template_id is not None:
            refuse_unknown_template(self._catalog, template_id)
        new = Device.new(
            device_id,
            name=name,
            tags=check_tags(tags),
            status=Status.REGISTERED,
            template_id=template_id,
            template_assigned_by="operator" if template_id is not None else None,
            now=self._clock(),
        )
        device = await self._registry.register(new)
        if device is not new:
            raise ConflictError(
                f"the device {device_id} exists already", hint=f"see `gateway device show {device_id}`"
            )
        log.info("device.changed", device_id=device_id, change="registered", status=device.status)
        return self._to_json(device)

    async def update(
        self,
        *,
        device_id: DeviceId,
        name: DeviceName | None = None,
        add_tags: Tags = [],  # noqa: B006
        remove_tags: Tags = [],  # noqa: B006
    ) -> dict[str, Any]:
        """Change a device's name, or its tags."""
        check_name(name)
        added, removed = check_tags(add_tags), frozenset(remove_tags)
        now = self._clock()

        def updated(device: Device) -> Device:
            tags = check_tags([*(tag for tag in device.tags if tag not in removed), *added])
            if tags == device.tags and name in (None, device.name):
                return device
            return device.replace(now=now, tags=tags, name=name or device.name)

        device = await self._registry.amend(device_id, updated)
        log.info("device.changed", device_id=device_id, change="updated", status=device.status)
        return self._to_json(device)

    async def approve(self, *, device_id: DeviceId) -> dict[str, Any]:
        """Let a device in that waits for approval."""
        return self._to_json(await self._move(device_id, "approve"))

    async def reject(self, *, device_id: DeviceId) -> dict[str, Any]:
        """Turn a device away that waits for approval: block it. Unblocked, it waits again."""
        now = self._clock()
        device = await self._registry.amend(device_id, lambda device: rejected(device, now=now))
        closed = self._sessions.close_device(device_id, CloseReason.DEVICE_BLOCKED)
        log.info("device.changed", device_id=device_id, change="reject", status=device.status)
        return self._to_json(device) | {"closedSessions": closed}

    async def block(self, *, device_id: DeviceId) -> dict[str, Any]:
        """Refuse a device from now on, and close its session."""
        device = await self._move(device_id, "block")
        closed = self._sessions.close_device(device_id, CloseReason.DEVICE_BLOCKED)
        return self._to_json(device) | {"closedSessions": closed}

    async def unblock(self, *, device_id: DeviceId) -> dict[str, Any]:
        """Give a blocked device the status back that it had before."""
        return self._to_json(await self._move(device_id, "unblock"))

    async def set(
        self,
        *,
        device_id: DeviceId,
        name: DeviceName | None = None,
        template_id: Dtmi | None = None,
        unassociate: bool = False,
        enabled: bool | None = None,
        create: bool = False,
        if_match: Etag | None = None,
    ) -> dict[str, Any]:
        """Make a device as described: what is not given stays as it is. With `create` it need not be there yet.

        `enabled` is IoT Central's: true lets a device in that waits or is blocked, false blocks it.
        """
        check_device_id(device_id, extended=self._extended_ids)
        check_name(name)
        if template_id is not None:
            refuse_unknown_template(self._catalog, template_id)
        now = self._clock()

        def described(known: Device | None) -> Device:
            if known is None:
                if not create:
                    raise NotFoundError(f"there is no device {device_id}", hint="see `gateway device list`")
                if if_match is not None:
                    refuse_changed(f"the device {device_id}", "", if_match)
                device = Device.new(device_id, status=Status.REGISTERED, now=now)
            else:
                refuse_changed(f"the device {device_id}", known.etag, if_match)
                device = known
            changes: dict[str, Any] = {} if name in {None, device.name} else {"name": name}
            if unassociate or template_id not in {None, device.template_id}:
                by = "operator" if template_id is not None else None
                changes |= {"template_id": template_id, "template_assigned_by": by}
            changed = device.replace(now=now, **changes) if changes else device
            return changed if enabled is None else _enabled(changed, enabled, now=now)

        device = await self._registry.change(device_id, described)
        closed = 0
        if device.status is Status.BLOCKED:
            closed = self._sessions.close_device(device_id, CloseReason.DEVICE_BLOCKED)
        log.info("device.changed", device_id=device_id, change="set", status=device.status)
        return self._to_json(device) | {"closedSessions": closed}

    async def delete(self, *, device_id: DeviceId, if_match: Etag | None = None) -> dict[str, Any]:
        """Forget a device and its twin, and close its session. With a valid credential it may register anew."""
        refuse_changed(f"the device {device_id}", (await self._get(device_id)).etag, if_match)
        await self._registry.delete(device_id)
        closed = self._sessions.close_device(device_id, CloseReason.DEVICE_DELETED)
        log.info("device.changed", device_id=device_id, change="deleted", closed_sessions=closed)
        return {"id": device_id, "closedSessions": closed}

    async def assign(self, *, device_id: DeviceId, template_id: Dtmi) -> dict[str, Any]:
        """Assign a device template, or migrate to another. It stays while the device announces the same model."""
        refuse_unknown_template(self._catalog, template_id)
        now = self._clock()

        def assigned(device: Device) -> Device:
            refuse_unknown_template(
                self._catalog, template_id
            )  # it may have been deleted while the store was asked
            return device.replace(now=now, template_id=template_id, template_assigned_by="operator")

        device = await self._registry.amend(device_id, assigned)
        log.info("template.associated", device_id=device_id, template=template_id, by="operator")
        return self._to_json(device)

    async def compute_key(self, *, device_id: DeviceId, group: GroupName | None = None) -> dict[str, Any]:
        """The keys that a device of a SAS group has. The device need not be registered."""
        check_device_id(device_id, extended=self._extended_ids)
        found, keys = sas_group(self._groups, group)
        derived = SymmetricKeys(
            primary=derive_device_key(keys.primary, device_id),
            secondary=derive_device_key(keys.secondary, device_id),
        )
        return {"id": device_id, "enrollmentGroup": found.id, **keys_to_json(derived)}

    async def _get(self, device_id: str) -> Device:
        entry = self._registry.peek(device_id) or await self._registry.fetch(device_id)
        if entry.device is None:
            raise NotFoundError(f"there is no device {device_id}", hint="see `gateway device list`")
        return entry.device

    async def _move(self, device_id: str, verb: Verb) -> Device:
        now = self._clock()
        device = await self._registry.amend(device_id, lambda device: transition(device, verb, now=now))
        log.info("device.changed", device_id=device_id, change=verb, status=device.status)
        return device

    def _to_json(self, device: Device) -> dict[str, Any]:
        return {
            "id": device.id,
            "name": device.name,
            "status": device.status.value,
            "template": device.template_id,
            "tags": list(device.tags),
            "modelId": device.model_id,
            "enrollmentGroup": device.enrollment_group,
            "provisioned": device.provisioned,
            "enabled": device.enabled,
            "connected": self._sessions.is_connected(device.id),
            "createdAt": timestamp(device.created_at),
            "updatedAt": timestamp(device.updated_at),
            "assignedAt": timestamp(device.assigned_at),
            "etag": device.etag,
        }


def _enabled(device: Device, enabled: bool, *, now: float) -> Device:
    """Let in, or blocked: along the transition table, in as many steps as it takes."""
    if enabled and device.status is Status.BLOCKED:
        device = transition(device, "unblock", now=now)
    if enabled and device.status is Status.WAITING:
        return transition(device, "approve", now=now)
    if not enabled and device.status is not Status.BLOCKED:
        return transition(device, "block", now=now)
    return device


def sas_group(groups: Groups, name: str | None) -> tuple[EnrollmentGroup, SymmetricKeys]:
    """The named group; without a name the default one, else the first that has symmetric keys. Raises `GatewayError`."""
    if name is not None:
        group = groups.get(name)
        if group is None:
            raise NotFoundError(f"there is no enrollment group {name}", hint="see `gateway group list`")
        if not isinstance(group.attestation, SymmetricKeys):
            raise OperationError(f"the enrollment group {name} has certificates, not keys")
        return group, group.attestation
    for group in sorted(groups.list(), key=lambda group: group.id != DEFAULT_SAS_GROUP):
        if isinstance(group.attestation, SymmetricKeys):
            return group, group.attestation
    raise NotFoundError(
        "no enrollment group has symmetric keys", hint="make one: gateway group create NAME --type sas"
    )


def refuse_unknown_template(catalog: TemplateCatalog, template_id: str) -> None:
    """Raise `NotFoundError` for a device template that nobody published."""
    if catalog.get(template_id) is None:
        raise NotFoundError(
            f"there is no device template {template_id}", hint="publish it: gateway template import FILE"
        )


def rejected(device: Device, *, now: float) -> Device:
    """A device that waited, turned away: blocked, and waiting again once it is unblocked. Raises `ConflictError`."""
    if device.status is not Status.WAITING:
        raise ConflictError(
            f"{device.id} is {device.status}: only a device that waits can be rejected",
            hint=f"to refuse it from now on: gateway device block {device.id}",
        )
    return transition(device, "block", now=now)


def check_name(name: str | None) -> None:
    """Raise `OperationError` for what can't be a device's name."""
    if name is not None and not is_device_name(name):
        raise OperationError(f"{name!r} can't be a device's name", hint="one line of at most 148 characters")


def check_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """The tags as a device has them: sorted, each once. Raises `OperationError`."""
    kept = tuple(sorted(set(tags)))
    for tag in kept:
        if not is_tag(tag):
            raise OperationError(
                f"{tag!r} is not a tag", hint="use letters, digits and ._:=/@+-, at most 64 of them"
            )
    if len(kept) > MAX_TAGS:
        raise OperationError(f"a device has at most {MAX_TAGS} tags")
    return kept


def check_device_id(device_id: str, *, extended: bool) -> None:
    """Raise `OperationError` for what no device may be called."""
    if not is_device_id(device_id, extended=extended):
        raise OperationError(
            f"{device_id!r} is not a device id", hint="use letters, digits and '-' only, at most 128 of them"
        )
