"""The verbs put together: `Operations` has the nouns, `VERBS` has the names."""

import asyncio
import difflib
from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.attempts import Attempts
from gateway.audit import AuditLog
from gateway.catalog import TemplateCatalog
from gateway.errors import NotFoundError, OperationError, StoreError, TemplateError
from gateway.feed import Feed
from gateway.groups import Groups
from gateway.operations.audit import AuditOperations
from gateway.operations.connection import ConnectionOperations
from gateway.operations.devices import DeviceOperations
from gateway.operations.enrollments import EnrollmentOperations
from gateway.operations.events import EventOperations
from gateway.operations.groups import GroupOperations
from gateway.operations.imports import ImportOperations
from gateway.operations.jobs import Job
from gateway.operations.many import ManyOperations
from gateway.operations.migration import MigrationOperations
from gateway.operations.sessions import Sessions
from gateway.operations.status import StatusOperations
from gateway.operations.telemetry import TelemetryOperations
from gateway.operations.templates import TemplateOperations
from gateway.operations.tokens import TokenOperations
from gateway.operations.trace import TraceOperations
from gateway.operations.verbs import Verb
from gateway.operations.why import Judge, WhyOperations
from gateway.registry.registry import Registry
from gateway.registry.twins import Twins
from gateway.roles import Actor, Role
from gateway.settings import Settings
from gateway.telemetry.last import LastMessages
from gateway.telemetry.observations import Observations
from gateway.tokens import Tokens
from gateway.trace import Traces
from gateway.vitals import Vitals

__all__ = ["VERBS", "Operations", "find_verb"]

_FINISH_DEADLINE_S: Final = 10.0  # SQLite's busy_timeout, twice


class Operations:
    """An operator's verbs on one gateway, running or not. `clock` returns unix seconds."""

    def __init__(
        self,
        *,
        registry: Registry,
        groups: Groups,
        catalog: TemplateCatalog,
        tokens: Tokens,
        audit: AuditLog,
        twins: Twins,
        observations: Observations,
        judge: Judge,
        attempts: Attempts | None = None,
        last_messages: LastMessages | None = None,
        feed: Feed | None = None,
        vitals: Vitals | None = None,
        traces: Traces | None = None,
        sessions: Sessions,
        settings: Settings,
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._groups = groups
        self._catalog = catalog
        self._sessions = sessions
        self._settings = settings
        self._audit = audit
        self._writing: set[asyncio.Task[dict[str, Any]]] = set()
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
        self.templates = TemplateOperations(
            registry=registry, catalog=catalog, twins=twins, observations=observations, clock=clock
        )
        self.migration = MigrationOperations(
            registry=registry, groups=groups, catalog=catalog, group_operations=self.groups,
            enrollment_operations=self.enrollments, template_operations=self.templates, settings=settings, clock=clock,
        )  # fmt: skip
        self.tokens = TokenOperations(tokens=tokens, clock=clock)
        self.audit = AuditOperations(audit=audit)
        self.overview = StatusOperations(
            registry=registry, groups=groups, catalog=catalog, sessions=sessions, settings=settings, vitals=vitals,
            clock=clock,
        )  # fmt: skip
        self.telemetry = TelemetryOperations(registry=registry, last_messages=last_messages)
        self.traces = TraceOperations(traces=traces, sessions=sessions)
        self.events = EventOperations(feed=feed, settings=settings.log)
        self.why = WhyOperations(
            judge=judge, attempts=attempts, groups=groups, sessions=sessions, settings=settings, clock=clock
        )

    async def call(
        self, verb: str, arguments: Mapping[str, Any], job: Job | None = None, *, by: Actor
    ) -> dict[str, Any]:
        """Carry out the verb of that name: the one road to any of them.

        Raises `OperationError` for arguments it does not take, and `ForbiddenError` if the role of `by` does not
        allow it. Whatever writes is in the audit log, and is finished once it has begun, whoever may have gone away:
        between a commit and the closing of the sessions that it ends, nobody can be cut off. Only a job can be.
        """
        found = find_verb(verb)
        checked = found.check(arguments)
        by.require(found.role_for(checked), verb)
        if not found.writes:
            return await found.run(self, checked, job)
        if found.is_job:
            return await self._write(verb, found, checked, job, by=by)
        writing = asyncio.create_task(self._write(verb, found, checked, None, by=by), name=f"verb {verb}")
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)
        return await asyncio.shield(writing)

    async def finish(self) -> None:
        """Return when the changes that have begun are made; after a deadline in any case."""
        if self._writing:
            await asyncio.wait(self._writing, timeout=_FINISH_DEADLINE_S)

    async def _write(
        self, verb: str, found: Verb, checked: dict[str, Any], job: Job | None, *, by: Actor
    ) -> dict[str, Any]:
        """Carry out a verb that changes something, and record how it ended."""
        target = checked[found.of] if found.of is not None else None
        entry = await self._audit.begin(
            by,
            verb,
            target=target,
            arguments=found.to_record(checked),
            before=await self._state(verb, target),
        )
        try:
            result = await found.run(self, checked, job)
        except (OperationError, TemplateError):
            await entry.stopped("refused")
            raise
        except asyncio.CancelledError:
            await asyncio.shield(entry.stopped("cancelled"))
            raise
        except Exception:
            await entry.stopped("failed")
            raise
        if target is None and isinstance(result.get("id"), str):
            target = result["id"]
        after = await self._state(verb, target) if target is not None else result
        await entry.done(target=target, after=after)
        return result

    async def _state(self, verb: str, target: str | None) -> dict[str, Any] | None:
        """What a verb's target looks like now: what the `show` of its noun says, None if there is nothing."""
        show = VERBS.get(f"{verb.partition('.')[0]}.show")
        if show is None or show.of is None or target is None:
            return None
        try:
            return await show.run(self, show.check({show.of: target}))
        except (NotFoundError, StoreError):
            return None


def find_verb(name: str) -> Verb:
    """The verb of that name. Raises `NotFoundError`, with the nearest name as a hint."""
    found = VERBS.get(name)
    if found is None:
        close = difflib.get_close_matches(name, VERBS, n=1)
        raise NotFoundError(
            f"there is no verb {name[:80]!r}", hint=f"did you mean {close[0]}?" if close else ""
        )
    return found


_VIEWER, _OPERATOR, _BUILDER, _ADMINISTRATOR = Role

VERBS: Final[Mapping[str, Verb]] = {
    "status": Verb("overview", StatusOperations.show, _VIEWER),
    "group.list": Verb("groups", GroupOperations.list, _VIEWER),
    "group.show": Verb("groups", GroupOperations.show, _VIEWER, of="name", more={"keys": _ADMINISTRATOR}),
    "group.create": Verb("groups", GroupOperations.create, _ADMINISTRATOR, of="name", writes=True),
    "group.enable": Verb("groups", GroupOperations.enable, _ADMINISTRATOR, of="name", writes=True),
    "group.disable": Verb("groups", GroupOperations.disable, _ADMINISTRATOR, of="name", writes=True),
    "group.update": Verb("groups", GroupOperations.update, _ADMINISTRATOR, of="name", writes=True),
    "group.regenerate_key": Verb(
        "groups", GroupOperations.regenerate_key, _ADMINISTRATOR, of="name", writes=True
    ),
    "group.show_ca": Verb("groups", GroupOperations.show_ca, _VIEWER, of="name"),
    "group.set_ca": Verb("groups", GroupOperations.set_ca, _ADMINISTRATOR, of="name", writes=True),
    "group.remove_ca": Verb("groups", GroupOperations.remove_ca, _ADMINISTRATOR, of="name", writes=True),
    "group.set_crl": Verb("groups", GroupOperations.set_crl, _ADMINISTRATOR, of="name", writes=True),
    "group.remove_crl": Verb("groups", GroupOperations.remove_crl, _ADMINISTRATOR, of="name", writes=True),
    "group.make_verification_code": Verb(
        "groups", GroupOperations.make_verification_code, _ADMINISTRATOR, of="name", writes=True
    ),
    "group.verify_ca": Verb("groups", GroupOperations.verify_ca, _ADMINISTRATOR, of="name", writes=True),
    "group.delete": Verb("groups", GroupOperations.delete, _ADMINISTRATOR, of="name", writes=True),
    "enrollment.list": Verb("enrollments", EnrollmentOperations.list, _VIEWER),
    "enrollment.show": Verb(
        "enrollments", EnrollmentOperations.show, _VIEWER, of="device_id", more={"keys": _OPERATOR}
    ),
    "enrollment.create": Verb(
        "enrollments", EnrollmentOperations.create, _OPERATOR, of="device_id", writes=True
    ),
    "enrollment.update": Verb(
        "enrollments", EnrollmentOperations.update, _OPERATOR, of="device_id", writes=True
    ),
    "enrollment.regenerate_key": Verb(
        "enrollments", EnrollmentOperations.regenerate_key, _OPERATOR, of="device_id", writes=True
    ),
    "enrollment.enable": Verb(
        "enrollments", EnrollmentOperations.enable, _OPERATOR, of="device_id", writes=True
    ),
    "enrollment.disable": Verb(
        "enrollments", EnrollmentOperations.disable, _OPERATOR, of="device_id", writes=True
    ),
    "enrollment.delete": Verb(
        "enrollments", EnrollmentOperations.delete, _OPERATOR, of="device_id", writes=True
    ),
    "device.list": Verb("devices", DeviceOperations.list, _VIEWER),
    "device.show": Verb("devices", DeviceOperations.show, _VIEWER, of="device_id"),
    "device.register": Verb("devices", DeviceOperations.register, _OPERATOR, of="device_id", writes=True),
    "device.update": Verb("devices", DeviceOperations.update, _OPERATOR, of="device_id", writes=True),
    "device.import": Verb("imports", ImportOperations.import_, _OPERATOR, writes=True),
    "device.export": Verb("imports", ImportOperations.export, _VIEWER, more={"keys": _OPERATOR}),
    "device.approve": Verb("devices", DeviceOperations.approve, _OPERATOR, of="device_id", writes=True),
    "device.reject": Verb("devices", DeviceOperations.reject, _OPERATOR, of="device_id", writes=True),
    "device.block": Verb("devices", DeviceOperations.block, _OPERATOR, of="device_id", writes=True),
    "device.unblock": Verb("devices", DeviceOperations.unblock, _OPERATOR, of="device_id", writes=True),
    "device.set": Verb("devices", DeviceOperations.set, _OPERATOR, of="device_id", writes=True),
    "device.assign": Verb("devices", DeviceOperations.assign, _OPERATOR, of="device_id", writes=True),
    "device.delete": Verb("devices", DeviceOperations.delete, _OPERATOR, of="device_id", writes=True),
    "device.change": Verb("many", ManyOperations.change, _OPERATOR, writes=True),
    "device.connection": Verb(
        "connection", ConnectionOperations.show, _VIEWER, of="device_id", more={"keys": _OPERATOR}
    ),
    "device.why": Verb("why", WhyOperations.explain, _VIEWER, of="device_id"),
    "device.telemetry": Verb("telemetry", TelemetryOperations.show, _VIEWER, of="device_id"),
    "trace.start": Verb("traces", TraceOperations.start, _OPERATOR, of="device_id", writes=True),
    "trace.stop": Verb("traces", TraceOperations.stop, _OPERATOR, of="device_id", writes=True),
    "trace.list": Verb("traces", TraceOperations.list, _VIEWER),
    "log.follow": Verb("events", EventOperations.follow, _VIEWER),
    "device.compute_key": Verb("devices", DeviceOperations.compute_key, _OPERATOR, of="device_id"),
    "template.list": Verb("templates", TemplateOperations.list, _VIEWER),
    "template.show": Verb("templates", TemplateOperations.show, _VIEWER, of="template_id"),
    "template.import": Verb("templates", TemplateOperations.import_, _BUILDER, of="root", writes=True),
    "template.export": Verb("templates", TemplateOperations.export, _VIEWER, of="template_id"),
    "template.versions": Verb("templates", TemplateOperations.versions, _VIEWER),
    "template.delete": Verb("templates", TemplateOperations.delete, _BUILDER, of="template_id", writes=True),
    "template.autogenerate": Verb("templates", TemplateOperations.autogenerate, _VIEWER),
    "migrate.central": Verb("migration", MigrationOperations.central, _ADMINISTRATOR, writes=True),
    "token.list": Verb("tokens", TokenOperations.list, _ADMINISTRATOR),
    "token.show": Verb("tokens", TokenOperations.show, _ADMINISTRATOR, of="name"),
    "token.create": Verb("tokens", TokenOperations.create, _ADMINISTRATOR, of="name", writes=True),
    "token.delete": Verb("tokens", TokenOperations.delete, _ADMINISTRATOR, of="name", writes=True),
    "audit.list": Verb("audit", AuditOperations.list, _ADMINISTRATOR),
}
"""Name → verb, for whoever speaks JSON: what it does, who may, and whether it is audited."""
