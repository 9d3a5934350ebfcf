"""An operator's verbs on a real store in a directory of the test's own, with a double for the live sessions."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.admission import Admission
from gateway.attempts import Attempts
from gateway.audit import AuditLog
from gateway.catalog import TemplateCatalog
from gateway.groups import Groups
from gateway.identity.sas import KeySlot
from gateway.identity.x509 import Link
from gateway.operations import OpenSession, Operations
from gateway.operations.jobs import LocalJob
from gateway.registry.device import Device, Status
from gateway.registry.registry import Registry
from gateway.registry.store import SqlStore
from gateway.registry.twins import Twins
from gateway.roles import Actor
from gateway.session import CloseReason
from gateway.settings import Settings, parse_settings
from gateway.telemetry.observations import Observations
from gateway.tokens import Tokens
from gateway.tpm_keys import TpmKeys
from gateway.trace import Trace

NOW = 1_800_000_000.0
ROOT = Actor.local("root")


@dataclass
class LiveSession:
    device_id: str
    enrollment_group: str | None
    key_slot: KeySlot = KeySlot.PRIMARY
    closed: CloseReason | None = None
    issued: tuple[Link, ...] = ()


class FakeSessions:
    """Sessions that remember why they were closed."""

    def __init__(self) -> None:
        self.live: list[LiveSession] = []

    @property
    def count(self) -> int:
        return len([session for session in self.live if session.closed is None])

    def open(
        self,
        device_id: str,
        group: str | None = None,
        key_slot: KeySlot = KeySlot.PRIMARY,
        *,
        issued: tuple[Link, ...] = (),
    ) -> LiveSession:
        session = LiveSession(device_id, group, key_slot, issued=issued)
        self.live.append(session)
        return session

    def is_connected(self, device_id: str) -> bool:
        return any(session.device_id == device_id and session.closed is None for session in self.live)

    def trace(self, device_id: str, trace: Trace | None) -> None: ...

    def close_device(self, device_id: str, reason: CloseReason) -> int:
        return self._close([session for session in self.live if session.device_id == device_id], reason)

    def close_where(self, matches: Callable[[OpenSession], bool], reason: CloseReason) -> int:
        return self._close([session for session in self.live if matches(session)], reason)

    def _close(self, found: list[LiveSession], reason: CloseReason) -> int:
        for session in found:
            session.closed = reason
        return len(found)


@dataclass
class Bench:
    operations: Operations
    registry: Registry
    groups: Groups
    tokens: Tokens
    sessions: FakeSessions
    store: SqlStore
    twins: Twins
    observations: Observations
    attempts: Attempts
    by: Actor = ROOT

    async def call(self, verb: str, /, **arguments: Any) -> Any:
        result = await self.operations.call(verb, arguments, by=self.by)
        json.dumps(result)  # whatever a verb returns can go over the wire
        return result

    async def job(
        self, verb: str, /, *chunks: list[Any], **arguments: Any
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The result of a job, and its reports."""
        reports: list[dict[str, Any]] = []
        result = await self.operations.call(verb, arguments, LocalJob(chunks, reports.append), by=self.by)
        json.dumps([result, reports])
        return result, reports

    async def device(self, device_id: str, **facts: Any) -> Device:
        facts.setdefault("status", Status.PROVISIONED)
        return await self.registry.register(Device.new(device_id, now=NOW, **facts))


def settings_in(directory: Path, **more: Any) -> Settings:
    return parse_settings(
        {
            "hosts": ["localhost"],
            "id_scope": "0ne00TEST",
            "state_dir": str(directory),
            "devices": {"certificate_file": "server.crt", "key_file": "server.key"},
            **more,
        }
    )


@asynccontextmanager
async def open_bench(
    directory: Path, *, clock: Callable[[], float] = lambda: NOW, **more: Any
) -> AsyncIterator[Bench]:
    """Everything that operations need, on what `directory` holds; `more` are settings."""
    settings = settings_in(directory, **more)
    store = SqlStore(settings.store_url)
    await store.open()
    registry = Registry(store, settings.registry)
    groups = Groups(store, leaf_cache_size=100)
    catalog = TemplateCatalog(store, settings.model_repository, clock=clock)
    tokens = Tokens(store.operators, id_scope=settings.id_scope)
    twins = Twins(store, registry.registrar, settings.twin)
    observations = Observations(settings.telemetry.max_observed_devices)
    sessions = FakeSessions()
    attempts = Attempts(max_devices=100, max_per_device=4, max_accepted=100)
    await groups.load()
    await catalog.load()
    await tokens.load()
    await registry.start()
    operations = Operations(
        registry=registry,
        groups=groups,
        catalog=catalog,
        tokens=tokens,
        audit=AuditLog(store.operators, settings.audit, clock=clock),
        twins=twins,
        observations=observations,
        judge=Admission(
            settings=settings,
            registry=registry,
            groups=groups,
            catalog=catalog,
            tpm_keys=TpmKeys(settings=settings, registry=registry),
        ),
        attempts=attempts,
        sessions=sessions,
        settings=settings,
        clock=clock,
    )
    try:
        yield Bench(operations, registry, groups, tokens, sessions, store, twins, observations, attempts)
    finally:
        await registry.stop()
        await store.close()
