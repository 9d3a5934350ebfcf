"""Puts the gateway together from its settings, and owns the order in which it starts and stops.

    start: lock ─ store ─ groups, templates ─ control socket ─ device listeners ─ HTTP ─ "gateway.started"
    stop:  listeners ─ sessions ─ HTTP, control socket ─ registrar drained ─ store ─ lock ─ "gateway.stopped"

`open_core` is the part without sockets; the running gateway and offline commands share it. All tasks live in
the one `TaskGroup` of `Gateway._run`.
"""

import asyncio
import contextlib
import errno
import functools
import gc
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway import log as logging_setup
from gateway import mqtt
from gateway.admission import Admission, Admitted
from gateway.api.control import ControlServer
from gateway.attempts import Attempts
from gateway.audit import AuditLog
from gateway.catalog import TemplateCatalog
from gateway.dps.service import DpsService
from gateway.dps.session import DpsSession
from gateway.edge.connection import Connection, Edge
from gateway.edge.deadlines import Deadlines
from gateway.edge.http import http_connections
from gateway.edge.listener import DeviceListener
from gateway.edge.poller import Poller, has_epoll
from gateway.edge.sessions import SessionTable
from gateway.edge.storm import StormControl
from gateway.edge.tls import make_context
from gateway.errors import GatewayError, SettingsError, StartError
from gateway.feed import Feed
from gateway.free_memory import FreeMemory, find_malloc_trim
from gateway.groups import Groups
from gateway.hub.session import HubSession
from gateway.log import get_logger
from gateway.open_files import allow_open_files, spare_files
from gateway.operations import NullSessions, Operations
from gateway.operations import Sessions as OperatorSessions
from gateway.refusals import Refused
from gateway.registry.keyring import Keyring, load_keyring
from gateway.registry.registry import Registry
from gateway.registry.store import SqlStore, Store
from gateway.registry.twins import Twins
from gateway.session import CloseReason, Dialect, Session
from gateway.settings import DeviceSettings, Settings, load_config_file, load_settings
from gateway.state_lock import StateLock
from gateway.telemetry.last import LastMessages
from gateway.telemetry.observations import Observations
from gateway.telemetry.router import Sink, TelemetryRouter
from gateway.tokens import Tokens
from gateway.tpm_keys import TpmKeys
from gateway.trace import Traces
from gateway.vitals import Vitals

if TYPE_CHECKING:
    from gateway.api.http import HttpServer

__all__ = ["Core", "Gateway", "open_core", "serve"]

log = get_logger()

_MAX_NAMED_ROWS = 20
_TICK_S = 1.0
_CLOSING_POLL_S = 0.02
_GC_THRESHOLDS = (50_000, 20, 50)


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """The gateway without its sockets."""

    settings: Settings
    store: Store
    registry: Registry
    twins: Twins
    groups: Groups
    catalog: TemplateCatalog
    tokens: Tokens
    admission: Admission
    tpm_keys: TpmKeys
    operations: Operations
    observations: Observations


@asynccontextmanager
async def open_core(
    settings: Settings,
    *,
    sessions: OperatorSessions | None = None,
    attempts: Attempts | None = None,
    last_messages: LastMessages | None = None,
    feed: Feed | None = None,
    vitals: Vitals | None = None,
    traces: Traces | None = None,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Core]:
    """Open the store and what lives on it; close it in order. The caller holds the lock.

    Raises `StoreError`, and `SettingsError` if the store's keys can't be read.
    """
    keyring = load_keyring(settings)
    store = SqlStore(settings.store_url, keyring)
    await store.open()
    log.debug("store.opened", store=settings.store_url.rpartition("/")[2])
    _report_sealing(store, keyring)
    try:
        registry = Registry(store, settings.registry)
        twins = Twins(store, registry.registrar, settings.twin)
        groups = Groups(store, leaf_cache_size=settings.provisioning.verified_leaf_cache_size)
        catalog = TemplateCatalog(store, settings.model_repository, clock=clock)
        tokens = Tokens(store.operators, id_scope=settings.id_scope)
        observations = Observations(settings.telemetry.max_observed_devices)
        await groups.load()
        await catalog.load()
        await tokens.load()
        await registry.start()
        try:
            tpm_keys = TpmKeys(settings=settings, registry=registry)
            admission = Admission(
                settings=settings, registry=registry, groups=groups, catalog=catalog, tpm_keys=tpm_keys
            )
            operations = Operations(
                registry=registry,
                groups=groups,
                catalog=catalog,
                tokens=tokens,
                audit=AuditLog(store.operators, settings.audit, clock=clock),
                twins=twins,
                observations=observations,
                judge=admission,
                attempts=attempts,
                last_messages=last_messages,
                feed=feed,
                vitals=vitals,
                traces=traces,
                sessions=sessions or NullSessions(),
                settings=settings,
                clock=clock,
            )
            core = Core(
                settings=settings,
                store=store,
                registry=registry,
                twins=twins,
                groups=groups,
                catalog=catalog,
                tokens=tokens,
                admission=admission,
                tpm_keys=tpm_keys,
                operations=operations,
                observations=observations,
            )
            try:
                yield core
            finally:
                await operations.finish()
        finally:
            await registry.stop()
    finally:
        await store.close()


def _report_sealing(store: SqlStore, keyring: Keyring) -> None:
    sealed, left = store.sealing
    if sealed:
        log.info("store.sealed", enrollments=sealed, key=keyring.current)
    if left:
        log.warning(
            "store.unsealed", rows=", ".join(left[:_MAX_NAMED_ROWS]), count=len(left),
            hint="they are damaged: keep every key they may be encrypted with, and restore them from a backup",
        )  # fmt: skip
    if store.holds_remains:
        log.warning(
            "store.unscrubbed",
            hint="keys may be left in free pages of the file as they were: close whatever else has it open, and restart",
        )


class Gateway:
    """The running gateway. `on_failure` is called if it breaks after it has started."""

    def __init__(
        self,
        settings: Settings,
        *,
        sinks: tuple[Sink, ...],
        on_failure: Callable[[GatewayError], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._sinks = sinks
        self._on_failure = on_failure
        self._clock = clock
        self._stopping = asyncio.Event()
        self._main: asyncio.Task[None] | None = None
        self.core: Core | None = None
        self.sessions = SessionTable(max_offline=settings.devices.max_offline_sessions)
        self.attempts = Attempts(
            max_devices=settings.attempts.max_devices,
            max_per_device=settings.attempts.max_per_device,
            max_accepted=settings.attempts.max_accepted,
        )
        self.last_messages = LastMessages(settings.telemetry.max_remembered_messages)
        self.traces = Traces(settings.trace, clock=clock)
        self.vitals = Vitals(started_at=clock())
        self.tls_port: int | None = None
        self.plain_port: int | None = None

    async def start(self) -> None:
        """Return when every listener is open. Raises `GatewayError` if that can't be."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._main = asyncio.create_task(self._run(ready), name="gateway")
        await ready

    async def stop(self) -> None:
        """End in order, and return when everything is closed."""
        self._stopping.set()
        if self._main is not None:
            await asyncio.wait([self._main])

    async def _run(self, ready: "asyncio.Future[None]") -> None:
        try:
            with StateLock(self._settings.lock_file):
                async with open_core(
                    self._settings,
                    sessions=self.sessions,
                    attempts=self.attempts,
                    last_messages=self.last_messages,
                    feed=logging_setup.FEED,
                    vitals=self.vitals,
                    traces=self.traces,
                    clock=self._clock,
                ) as core:
                    self.core = core
                    await self._serve(core, ready)
        except* Exception as group:  # noqa: BLE001 - a fault is said in one line, and everything ends in order
            error = _first(group)
            if ready.done():
                self._on_failure(error)
            else:
                ready.set_exception(error)
        else:
            log.info("gateway.stopped")

    async def _serve(self, core: Core, ready: "asyncio.Future[None]") -> None:
        settings = self._settings
        router = TelemetryRouter(
            settings.telemetry,
            find_template=core.catalog.get,
            sinks=self._sinks,
            observations=core.observations,
            last_messages=self.last_messages,
        )
        edge = self._make_edge(core, router)
        poller = Poller(edge.storm) if has_epoll() else None
        listeners = _make_listeners(edge, core, poller, clock=self._clock)
        self._watch(core, edge, router)
        control = ControlServer(settings.control_socket, core.operations)
        http = self._make_http(core, edge, router)
        async with asyncio.TaskGroup() as tasks:
            ticker = tasks.create_task(self._tick(edge, router, listeners, poller), name="deadlines")
            try:
                await control.start()
                for listener in listeners:
                    await listener.open()
                if http is not None:
                    await http.start()
                self.tls_port = listeners[0].port
                rest = [listener.port for listener in listeners[1:]]
                self.plain_port = rest.pop(0) if settings.devices.plain_bind is not None else None
                https_port = rest.pop(0) if settings.devices.https_bind is not None else None
                log.info(
                    "gateway.started", hosts=",".join(settings.hosts), port=self.tls_port, plain_port=self.plain_port,
                    https_port=https_port, id_scope=settings.id_scope, groups=len(core.groups.list()),
                    templates=len(core.catalog.list()),
                )  # fmt: skip
                _quiet_garbage_collector()
                ready.set_result(None)
                await self._stopping.wait()
            finally:
                edge.shutting_down = True
                for listener in listeners:
                    await listener.close()
                await self._close_connections(edge)
                if poller is not None:
                    poller.close()
                logging_setup.FEED.hang_up()
                if http is not None:
                    await http.stop()
                await control.stop()
                ticker.cancel()

    def _make_http(self, core: Core, edge: Edge, router: TelemetryRouter) -> "HttpServer | None":
        settings = self._settings
        if settings.http.bind is None:
            return None
        # FastAPI is slow to import, and only a gateway that serves operators over HTTP needs it.
        from gateway.api.http import HttpServer, make_app  # noqa: PLC0415
        from gateway.api.jobs import Jobs  # noqa: PLC0415
        from gateway.api.rest.calling import Context  # noqa: PLC0415
        from gateway.console import make_console_app  # noqa: PLC0415
        from gateway.console.sign_in import load_key  # noqa: PLC0415
        from gateway.metrics import Metrics, Sources  # noqa: PLC0415

        sources = Sources(
            edge=edge, admission=edge.admission, registry=core.registry, router=router, sinks=self._sinks
        )
        jobs = Jobs(
            core.operations,
            settings.jobs_directory,
            extended_ids=settings.provisioning.extended_device_ids,
            clock=self._clock,
        )
        context = Context(
            operations=core.operations,
            tokens=core.tokens,
            jobs=jobs,
            id_scope=settings.id_scope,
            clock=self._clock,
        )
        console = make_console_app(
            context, load_key(settings.console_key_file), secure_cookies=settings.http.tls
        )
        return HttpServer(
            settings.http,
            settings.http.bind,
            make_app(context, Metrics(sources).render, console),
            certificate_file=settings.http.certificate_file or settings.devices.certificate_file,
            key_file=settings.http.key_file or settings.devices.key_file,
            jobs=jobs,
        )

    def _make_edge(self, core: Core, router: TelemetryRouter) -> Edge:
        settings = self._settings

        def make_session(
            connection: Connection,
            admitted: Admitted,
            connect: mqtt.Connect,
            remembered: dict[str, int] | None,
        ) -> Session:
            if admitted.dialect is Dialect.DPS:
                return DpsSession(
                    connection,
                    admitted,
                    admission=core.admission,
                    hub_host=settings.hosts[0],
                    approval_retry_after_s=settings.provisioning.approval_retry_after_s,
                    on_refused=functools.partial(self._registration_refused, connection),
                    clock=self._clock,
                )
            return HubSession(
                connection,
                admitted,
                subscriptions=remembered,
                will=connect.will,
                registry=core.registry,
                twins=core.twins,
                router=router,
                clock=self._clock,
            )

        return Edge(
            settings=settings.devices,
            admission=core.admission,
            attempts=self.attempts,
            traces=self.traces,
            sessions=self.sessions,
            deadlines=Deadlines(now=time.monotonic()),
            storm=StormControl(settings.devices.storm, now=time.monotonic()),
            make_session=make_session,
            max_connections=_room_for_connections(settings.devices),
            clock=self._clock,
            connections=set(),
        )

    def _watch(self, core: Core, edge: Edge, router: TelemetryRouter) -> None:
        """What `gateway status` shows of the running gateway."""
        vitals, sessions, registrar = self.vitals, self.sessions, core.registry.registrar
        vitals.watch("accepted", lambda: sessions.entered)
        vitals.watch("refused", self.attempts.refusals.total)
        vitals.watch("telemetry", lambda: router.routed)
        vitals.watch("commits", lambda: registrar.commits)
        vitals.watch("written", lambda: registrar.written)
        vitals.watch_refusals(lambda: self.attempts.refusals)
        vitals.add_fact("connections", edge.connections.__len__)
        vitals.add_fact("sessionsByDialect", sessions.count_by_dialect)
        vitals.add_fact("registrar", lambda: {"waiting": registrar.waiting, "maxQueue": registrar.max_queue})
        vitals.add_fact("storm", lambda: _storm_to_json(edge))
        vitals.add_fact("sinks", lambda: [type(sink).__name__ for sink in self._sinks])
        vitals.add_fact("deadLettered", lambda: router.dead_lettered)
        vitals.add_fact("dropped", lambda: router.dropped)

    def _registration_refused(self, connection: Connection, refused: Refused) -> None:
        self.attempts.refused(
            connection.device_id, refused, known=True, at=self._clock(), peer=connection.peer, tls=connection.tls,
            presented=None, registering=True,
        )  # fmt: skip

    async def _tick(
        self, edge: Edge, router: TelemetryRouter, listeners: "list[DeviceListener]", poller: Poller | None
    ) -> None:
        """Once a second: every deadline that is due, and the counts that are logged by the second."""
        memory = FreeMemory(find_malloc_trim())
        while True:
            await asyncio.sleep(_TICK_S)
            edge.deadlines.tick(edge.monotonic())
            router.report_drops()
            self.vitals.sample()
            for trace in self.traces.expire():
                self.sessions.trace(trace.device_id, None)
            for listener in listeners:
                listener.report_turned_away()
            _report_shed(edge)
            memory.look(len(edge.connections))
            if poller is not None and poller.resume_accepting():
                log.warning(
                    "listener.paused",
                    hint="no file or memory was left to accept a connection: raise `ulimit -n`",
                )

    async def _close_connections(self, edge: Edge) -> None:
        for connection in tuple(edge.connections):
            connection.close(CloseReason.SHUTTING_DOWN)
        # A closing transport sends what it holds, then reports `connection_lost`; two turns of the loop do for an
        # idle one, and nobody waits for a peer that doesn't read.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.devices.shutdown_timeout_s):
                while edge.connections:  # noqa: ASYNC110 - once, at the very end
                    await asyncio.sleep(_CLOSING_POLL_S)


def _report_shed(edge: Edge) -> None:
    """One line for all that storm control turned away, refused or delayed since the last one, by cause."""
    shed = {**edge.storm.report(), **edge.admission.intake.report()}
    if shed:
        queue = edge.storm.queue
        log.warning(
            "storm.shed", **shed, handshakes=queue.handshakes, limit=queue.limit, waiting=queue.waiting
        )


def _quiet_garbage_collector() -> None:
    """Look for cycles less often, and never among what start-up left behind.

    A connection leaves no cycle, so there is little to find, and at the defaults looking for it took a tenth of a
    storm's CPU (docs/performance.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def _storm_to_json(edge: Edge) -> dict[str, int]:
    """Both gates of storm control: now, and what was shed since the start."""
    storm, intake = edge.storm, edge.admission.intake
    return {
        "handshakes": storm.queue.handshakes,
        "waiting": storm.queue.waiting,
        "turnedAway": storm.turned_away,
        "gaveUp": storm.gave_up,
        "delayed": storm.delayed,
        "overRate": intake.refused_rate,
        "overRegistrations": intake.refused_registrations,
    }


def _room_for_connections(devices: DeviceSettings) -> int:
    """How many devices may be connected: the setting, or what the system lets this process open."""
    spare = spare_files(devices.storm.max_waiting)
    allowed = allow_open_files(devices.max_connections + spare) - spare
    if allowed >= devices.max_connections:
        return devices.max_connections
    if "max_connections" in devices.model_fields_set:  # asked for, not just the default
        log.warning(
            "setting.warned", max_connections=devices.max_connections, in_force=allowed,
            hint="this user may not open as many files: raise `ulimit -n`, or lower devices.max_connections",
        )  # fmt: skip
    return max(1, allowed)


def _make_listeners(
    edge: Edge, core: Core, poller: Poller | None, *, clock: Callable[[], float]
) -> "list[DeviceListener]":
    """The one for MQTT over TLS comes first, then the plain one and the one for HTTPS, if they are wanted."""
    devices = core.settings.devices
    context = make_context(
        devices.certificate_file, devices.key_file, minimum_version=devices.minimum_tls_version
    )
    listeners = [DeviceListener(edge, devices.bind, context, poller)]
    if devices.plain_bind is not None:
        listeners.append(DeviceListener(edge, devices.plain_bind, None, poller))
    if devices.https_bind is not None:
        service = DpsService(
            admission=core.admission,
            tpm_keys=core.tpm_keys,
            attempts=edge.attempts,
            settings=core.settings,
            clock=clock,
        )
        make_https = http_connections(service)
        listeners.append(DeviceListener(edge, devices.https_bind, context, poller, make_https=make_https))
    return listeners


def _first(group: BaseExceptionGroup[BaseException]) -> GatewayError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return (
        error if isinstance(error, GatewayError) else GatewayError(f"a fault of the gateway's own: {error!r}")
    )


# `gateway serve`


def serve(config_path: Path) -> int:
    """Run the broker with the gateway in it until SIGINT or SIGTERM. Returns the exit code.

    Raises `SettingsError` before anything has started; what fails later is logged as `gateway.failed`.
    """
    settings = load_settings(config_path)
    config = load_config_file(config_path)
    logging_setup.configure(settings.log)
    try:
        import uvloop  # noqa: PLC0415 - absent on some platforms
    except ImportError:
        return asyncio.run(_serve_broker(config, config_path, settings.log.file))
    return uvloop.run(_serve_broker(config, config_path, settings.log.file))


async def _serve_broker(config: dict[str, Any], config_path: Path, log_file: Path | None) -> int:
    # amqtt is slow to import, and only `serve` needs it; the plugin imports this module in turn.
    from amqtt.broker import Broker  # noqa: PLC0415

    from gateway.plugin import GatewayPlugin  # noqa: PLC0415

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, stop.set)
    if log_file is not None:
        # Only then: without a file, a hang-up of the terminal ends the gateway, as it does other programs.
        loop.add_signal_handler(signal.SIGHUP, logging_setup.reopen)
    try:
        broker = Broker(config)
        await broker.start()
    except Exception as error:  # noqa: BLE001 - amqtt's errors have many roots; each becomes one line
        cause = error.__cause__ if isinstance(error.__cause__, GatewayError) else None
        if cause is None:
            logging_setup.report_failure(_broker_failure(error, config_path))
        return 1
    plugin = broker.plugins_manager.get_plugin(GatewayPlugin.__name__)
    await stop.wait()
    await broker.shutdown()
    return 1 if plugin.failure is not None else 0


def _broker_failure(error: Exception, config_path: Path) -> GatewayError:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE:
        return StartError(
            f"applications can't be served: {cause.strerror or cause}".lower(),
            hint="another program listens there: stop it, or change `listeners.default.bind`",
        )
    return SettingsError(
        f"{config_path}: amqtt can't start: {' '.join(str(cause).split()) or type(cause).__name__}"
    )
