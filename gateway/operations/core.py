"""The verbs put together: `Operations` has the nouns, `VERBS` has the names."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway import __version__
from gateway.catalog import TemplateCatalog
from gateway.errors import NotFoundError
from gateway.groups import Groups
from gateway.operations.devices import DeviceOperations
from gateway.operations.enrollments import EnrollmentOperations
from gateway.operations.groups import GroupOperations
from gateway.operations.sessions import NullSessions, Sessions
from gateway.operations.templates import TemplateOperations
from gateway.operations.verbs import Verb
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
        self.templates = TemplateOperations(registry=registry, catalog=catalog, clock=clock)

    async def status(self) -> dict[str, Any]:
        """What the gateway holds, counted."""
        counts = await self._registry.counts()
        return {
            "running": not isinstance(self._sessions, NullSessions),
            "version": __version__,
            "idScope": self._settings.id_scope,
            "hosts": list(self._settings.hosts),
            "sessions": self._sessions.count,
            "devices": counts,
        }

    async def call(self, verb: str, arguments: Mapping[str, Any]) -> Any:
        """Carry out the verb of that name. Raises `OperationError` for arguments it does not take."""
        entry = VERBS.get(verb)
        if entry is None:
            close = difflib.get_close_matches(verb, VERBS, n=1)
            raise NotFoundError(
                f"there is no verb {verb[:80]!r}", hint=f"did you mean {close[0]}?" if close else ""
            )
        noun, method = entry
        return await method.run(noun(self), arguments)


def _itself(operations: Operations) -> object:
    return operations


def _groups(operations: Operations) -> object:
    return operations.groups


def _enrollments(operations: Operations) -> object:
    return operations.enrollments


def _devices(operations: Operations) -> object:
    return operations.devices


def _templates(operations: Operations) -> object:
    return operations.templates


VERBS: Final[Mapping[str, tuple[Callable[[Operations], object], Verb]]] = {
    "status": (_itself, Verb(Operations.status)),
    "group.list": (_groups, Verb(GroupOperations.list)),
}
