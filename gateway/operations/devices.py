"""Verbs on devices: registration in advance, approval, blocking, templates, keys.

A verb returns when its change is durable. What takes a device's right away (block, delete) closes its session
after that, so the device's next CONNECT is already decided by the new state.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from gateway.catalog import TemplateCatalog
from gateway.enrollment.models import SymmetricKeys
from gateway.errors import ConflictError, NotFoundError, OperationError
from gateway.groups import Groups
from gateway.identity.sas import derive_device_key
from gateway.log import get_logger
from gateway.operations.documents import timestamp
from gateway.operations.sessions import Sessions
from gateway.operations.verbs import DeviceId, Dtmi, GroupName, Limit
from gateway.registry.device import Device, Status, is_device_id, transition
from gateway.registry.registry import Registry
from gateway.session import CloseReason
from gateway.settings import ProvisioningSettings

__all__ = ["DeviceOperations"]

log = get_logger()

_DEFAULT_GROUP = "SAS-IoT-Devices"


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
    ) -> Mapping[str, Any]:
        """List devices by id, a page at a time: `next` is the `after` of the next page, or null."""
        raise NotImplementedError

    async def show(self, *, device_id: DeviceId) -> Mapping[str, Any]:
        """Show one device."""
        return self._to_json(await self._get(device_id))

    async def register(
        self, *, device_id: DeviceId, name: str | None = None, template_id: Dtmi | None = None
    ) -> Mapping[str, Any]:
        """Register a device before it first connects. An operator added it, so it needs no approval."""
        raise NotImplementedError

    async def approve(self, *, device_id: DeviceId) -> Mapping[str, Any]:
        """Let a device in that waits for approval."""
        return self._to_json(await self._move(device_id, "approve"))

    async def block(self, *, device_id: DeviceId) -> Mapping[str, Any]:
        """Refuse a device from now on, and close its session."""
        device = await self._move(device_id, "block")
        closed = self._sessions.close_device(device_id, CloseReason.DEVICE_BLOCKED)
        return self._to_json(device) | {"closedSessions": closed}

    async def unblock(self, *, device_id: DeviceId) -> Mapping[str, Any]:
        """Give a blocked device the status back that it had before."""
        return self._to_json(await self._move(device_id, "unblock"))
