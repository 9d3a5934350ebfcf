"""The verbs put together: `Operations` has the nouns, `VERBS` has the names."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway import __version__
from gateway.catalog import TemplateCatalog
from gateway.errors import NotFoundError
from gateway.groups import Groups
from gateway.operations.connection import ConnectionOperations
from gateway.operations.devices import DeviceOperations
from gateway.operations.enrollments import EnrollmentOperations
from gateway.operations.groups import GroupOperations
from gateway.operations.imports import ImportOperations
from gateway.operations.jobs import Job
from gateway.operations.many import ManyOperations
from gateway.operations.sessions import NullSessions, Sessions
from gateway.operations.templates import TemplateOperations
from gateway.operations.verbs import Verb
from gateway.registry.device import Status
from gateway.registry.registry import Registry
from gateway.settings import Settings

__all__ = ["VERBS", "Operations"]


class Operations:
    """An operator's verbs on one gateway, running or not. `clock` returns unix seconds."""

    def __init__(
        self,
        *,
        registry: Registry,
        groups: Groups,
        catalog: TemplateCatalog,
        sessions: Sessions,
        settings: Settings,
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._groups = groups
        self._catalog = catalog
        self._sessions = sessions
        self._settings = settings
        self.groups = GroupOperations(groups=groups, sessions=sessions, clock=clock)
        self.enrollments = EnrollmentOperations(
            registry=registry, sessions=sessions, provisioning=settings.provisioning, clock=clock
        )
        self.devices = DeviceOperations(
            registry=registry,
            groups=groups,
            catalog=catalog,
            sessions=sessions,
            provisioning=settings.provisioning,
            clock=clock,
        )
        self.imports = ImportOperations(
            registry=registry, groups=groups, catalog=catalog, provisioning=settings.provisioning, clock=clock
        )
        self.many = ManyOperations(registry=registry, catalog=catalog, sessions=sessions, clock=clock)
        self.connection = ConnectionOperations(registry=registry, groups=groups, settings=settings)
        self.templates = TemplateOperations(registry=registry, catalog=catalog, clock=clock)

    async def status(self) -> dict[str, Any]:
        """What the gateway holds, counted."""
        counted = await self._registry.counts()
        return {
            "running": not isinstance(self._sessions, NullSessions),
            "version": __version__,
            "idScope": self._settings.id_scope,
            "hosts": list(self._settings.hosts),
            "sessions": self._sessions.count,
            "devices": {status.value: counted.get(status.value, 0) for status in Status},
            "groups": len(self._groups.list()),
            "templates": len(self._catalog.list()),
        }

    async def call(self, verb: str, arguments: Mapping[str, Any], job: Job | None = None) -> dict[str, Any]:
        """Carry out the verb of that name. Raises `OperationError` for arguments it does not take."""
        found = VERBS.get(verb)
        if found is None:
            close = difflib.get_close_matches(verb, VERBS, n=1)
            raise NotFoundError(
                f"there is no verb {verb[:80]!r}", hint=f"did you mean {close[0]}?" if close else ""
            )
        return await found.run(self, arguments, job)


VERBS: Final[Mapping[str, Verb]] = {
    "status": Verb(None, Operations.status),
    "group.list": Verb("groups", GroupOperations.list),
    "group.show": Verb("groups", GroupOperations.show),
    "group.create": Verb("groups", GroupOperations.create),
    "group.enable": Verb("groups", GroupOperations.enable),
    "group.disable": Verb("groups", GroupOperations.disable),
    "group.delete": Verb("groups", GroupOperations.delete),
    "enrollment.list": Verb("enrollments", EnrollmentOperations.list),
    "enrollment.show": Verb("enrollments", EnrollmentOperations.show),
    "enrollment.create": Verb("enrollments", EnrollmentOperations.create),
    "enrollment.enable": Verb("enrollments", EnrollmentOperations.enable),
    "enrollment.disable": Verb("enrollments", EnrollmentOperations.disable),
    "enrollment.delete": Verb("enrollments", EnrollmentOperations.delete),
    "device.list": Verb("devices", DeviceOperations.list),
    "device.show": Verb("devices", DeviceOperations.show),
    "device.register": Verb("devices", DeviceOperations.register),
    "device.update": Verb("devices", DeviceOperations.update),
    "device.import": Verb("imports", ImportOperations.import_),
    "device.export": Verb("imports", ImportOperations.export),
    "device.approve": Verb("devices", DeviceOperations.approve),
    "device.reject": Verb("devices", DeviceOperations.reject),
    "device.block": Verb("devices", DeviceOperations.block),
    "device.unblock": Verb("devices", DeviceOperations.unblock),
    "device.assign": Verb("devices", DeviceOperations.assign),
    "device.delete": Verb("devices", DeviceOperations.delete),
    "device.change": Verb("many", ManyOperations.change),
    "device.connection": Verb("connection", ConnectionOperations.show),
    "device.compute_key": Verb("devices", DeviceOperations.compute_key),
    "template.list": Verb("templates", TemplateOperations.list),
    "template.show": Verb("templates", TemplateOperations.show),
    "template.import": Verb("templates", TemplateOperations.import_),
    "template.export": Verb("templates", TemplateOperations.export),
}
"""Name → verb, for whoever speaks JSON."""
