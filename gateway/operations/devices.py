"""Verbs on devices: registration in advance, approval, blocking, templates, keys.

A verb returns when its change is durable. What takes a device's right away (block, delete) closes its session
after that, so the device's next CONNECT already meets the new state.
"""

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from gateway.catalog import TemplateCatalog
from gateway.enrollment.models import EnrollmentGroup, SymmetricKeys
from gateway.errors import ConflictError, NotFoundError, OperationError
from gateway.groups import Groups
from gateway.identity.sas import derive_device_key
from gateway.log import get_logger
from gateway.operations.attestation import keys_to_json
from gateway.operations.documents import timestamp
from gateway.operations.sessions import Sessions
from gateway.operations.verbs import DeviceId, Dtmi, GroupName, Limit
from gateway.registry.device import Device, Status, Verb, is_device_id, transition
from gateway.registry.registry import Registry
from gateway.registry.store import DeviceQuery
from gateway.session import CloseReason
from gateway.settings import ProvisioningSettings

__all__ = ["DEFAULT_SAS_GROUP", "DeviceOperations", "check_device_id"]

log = get_logger()

DEFAULT_SAS_GROUP: Final = "SAS-IoT-Devices"
"""The group that `gateway init` makes for devices with keys."""
DeviceName = Annotated[str, Field(min_length=1, max_length=148)]
"""IoT Central's longest device name."""


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
    ) -> dict[str, Any]:
        """List devices by id, a page at a time: `next` is the `after` of the next page, or null."""
        query = DeviceQuery(
            status=status, template_id=template_id, model_id=model_id, group=group, unassociated=unassociated
        )
        devices = await self._registry.list_devices(query, after=after, limit=limit)
        return {
            "devices": [self._to_json(device) for device in devices],
            "next": devices[-1].id if len(devices) == limit else None,
        }

    async def show(self, *, device_id: DeviceId) -> dict[str, Any]:
        """Show one device."""
        return self._to_json(await self._get(device_id))

    async def register(
        self, *, device_id: DeviceId, name: DeviceName | None = None, template_id: Dtmi | None = None
    ) -> dict[str, Any]:
        """Register a device before it first connects. An operator added it, so it needs no approval."""
        check_device_id(device_id, extended=self._extended_ids)
        if template_id is not None:
            self._refuse_unknown_template(template_id)
        new = Device.new(
            device_id,
            name=name,
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

    async def approve(self, *, device_id: DeviceId) -> dict[str, Any]:
        """Let a device in that waits for approval."""
        return self._to_json(await self._move(device_id, "approve"))

    async def block(self, *, device_id: DeviceId) -> dict[str, Any]:
        """Refuse a device from now on, and close its session."""
        device = await self._move(device_id, "block")
        closed = self._sessions.close_device(device_id, CloseReason.DEVICE_BLOCKED)
        return self._to_json(device) | {"closedSessions": closed}

    async def unblock(self, *, device_id: DeviceId) -> dict[str, Any]:
        """Give a blocked device the status back that it had before."""
        return self._to_json(await self._move(device_id, "unblock"))

    async def delete(self, *, device_id: DeviceId) -> dict[str, Any]:
        """Forget a device and its twin, and close its session. With a valid credential it may register anew."""
        await self._get(device_id)
        await self._registry.delete(device_id)
        closed = self._sessions.close_device(device_id, CloseReason.DEVICE_DELETED)
        log.info("device.changed", device_id=device_id, change="deleted", closed_sessions=closed)
        return {"id": device_id, "closedSessions": closed}

    async def assign(self, *, device_id: DeviceId, template_id: Dtmi) -> dict[str, Any]:
        """Assign a device template, or migrate to another. It stays while the device announces the same model."""
        self._refuse_unknown_template(template_id)
        now = self._clock()

        def assigned(device: Device) -> Device:
            return device.replace(now=now, template_id=template_id, template_assigned_by="operator")

        device = await self._registry.amend(device_id, assigned)
        log.info("template.associated", device_id=device_id, template=template_id, by="operator")
        return self._to_json(device)

    async def compute_key(self, *, device_id: DeviceId, group: GroupName | None = None) -> dict[str, Any]:
        """The keys that a device of a SAS group has. The device need not be registered."""
        check_device_id(device_id, extended=self._extended_ids)
        found, keys = self._sas_group(group)
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

    def _refuse_unknown_template(self, template_id: str) -> None:
        if self._catalog.get(template_id) is None:
            raise NotFoundError(
                f"there is no device template {template_id}", hint="publish it: gateway template import FILE"
            )

    def _sas_group(self, name: str | None) -> tuple[EnrollmentGroup, SymmetricKeys]:
        """The named group; without a name the default one, else the first that has symmetric keys."""
        if name is not None:
            group = self._groups.get(name)
            if group is None:
                raise NotFoundError(f"there is no enrollment group {name}", hint="see `gateway group list`")
            if not isinstance(group.attestation, SymmetricKeys):
                raise OperationError(f"the enrollment group {name} has certificates, not keys")
            return group, group.attestation
        groups = sorted(self._groups.list(), key=lambda group: group.id != DEFAULT_SAS_GROUP)
        for group in groups:
            if isinstance(group.attestation, SymmetricKeys):
                return group, group.attestation
        raise NotFoundError(
            "no enrollment group has symmetric keys", hint="make one: gateway group create NAME --type sas"
        )

    def _to_json(self, device: Device) -> dict[str, Any]:
        return {
            "id": device.id,
            "name": device.name,
            "status": device.status.value,
            "template": device.template_id,
            "modelId": device.model_id,
            "enrollmentGroup": device.enrollment_group,
            "provisioned": device.provisioned,
            "enabled": device.enabled,
            "connected": self._sessions.is_connected(device.id),
            "createdAt": timestamp(device.created_at),
            "updatedAt": timestamp(device.updated_at),
            "assignedAt": timestamp(device.assigned_at),
        }


def check_device_id(device_id: str, *, extended: bool) -> None:
    """Raise `OperationError` for what no device may be called."""
    if not is_device_id(device_id, extended=extended):
        raise OperationError(
            f"{device_id!r} is not a device id", hint="use letters, digits and '-' only, at most 128 of them"
        )
