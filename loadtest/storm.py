"""The storm: connectors that dial one device after the other, at a rate or as fast as they can."""

import asyncio
import contextlib
import os
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

from gateway.errors import OperationError
from gateway.open_files import allow_open_files
from loadtest.devices import Device, Population
from loadtest.result import StormResult, Tally
from loadtest.sessions import (
    TIMED_OUT,
    HubSession,
    Kind,
    Outcome,
    ProvisioningSession,
    failed,
)

__all__ = ["Route", "StormPlan", "Target", "run_storm"]

_SPARE_FILES: Final = 64
_GOODBYE_S: Final = 10.0

_S = TypeVar("_S", HubSession, ProvisioningSession)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The gateway's device listener. Without `ca_file`, its listener without TLS."""

    host: str
    port: int
    ca_file: Path | None


class Route(StrEnum):
    """Where a device goes first."""

    HUB = "hub"
    DPS = "dps"


@dataclass(frozen=True, slots=True, kw_only=True)
class StormPlan:
    """How the devices come."""

    path: Route = Route.HUB
    rate_per_s: float | None = None
    """None: as fast as the connectors can."""
    connectors: int = 200
    """How many devices may be between dialling and their outcome."""
    timeout_s: float = 30.0
    """For one device, provisioning included."""
    hold_s: float = 0.0
    """How long all stay connected after the last one has its outcome."""


async def run_storm(
    target: Target, population: Population, plan: StormPlan, stop: asyncio.Event | None = None
) -> StormResult:
    """Open every device of the population and count. Raise `OperationError` if nothing listens there.

    Once `stop` is set no more devices are offered; those on their way are still waited for and counted.
    """
    _need_open_files(population.count + plan.connectors + _SPARE_FILES)
    tls = _tls_context(target)
    storm = _Storm(
        target=target,
        address=await _address(target),
        tls=tls,
        population=population,
        plan=plan,
        stop=stop or asyncio.Event(),
    )
    return await storm.run()


class _Storm:
    """One run.

    An attempt's clock starts when it is due, not when a connector is free for it: at a fixed rate, a gateway
    that stalls is charged for everything that had to wait ("coordinated omission").
    """

    def __init__(
        self,
        *,
        target: Target,
        address: tuple[str, int],
        tls: ssl.SSLContext | None,
        population: Population,
        plan: StormPlan,
        stop: asyncio.Event,
    ) -> None:
        self._target = target
        self._address = address
        self._population = population
        self._plan = plan
        self._stop = stop
        self._tls = tls
        self._tally = Tally()
        self._open: set[HubSession] = set()
        self._lost = 0
        self._all_gone = asyncio.Event()
        self._leaving = False

    async def run(self) -> StormResult:
        connects = self._prepare()
        started = time.perf_counter()
        queue = enumerate(connects)
        async with asyncio.TaskGroup() as tasks:
            for number in range(min(self._plan.connectors, len(connects))):
                tasks.create_task(self._connector(queue, started), name=f"connector-{number}")
        elapsed_s = time.perf_counter() - started
        await self._stopped_within(self._plan.hold_s)
        lost = self._lost
        await self._leave()
        return StormResult.of(self._tally, lost=lost, elapsed_s=elapsed_s)

    def _prepare(self) -> list[tuple[Device, bytes]]:
        """Each device with its first CONNECT, ready to be written."""
        if self._plan.path is Route.DPS:
            return [(d, self._population.provisioning_connect(d)) for d in self._population.devices()]
        return [(d, self._population.hub_connect(d, self._target.host)) for d in self._population.devices()]

    async def _connector(self, queue: Iterator[tuple[int, tuple[Device, bytes]]], started: float) -> None:
        for number, (device, connect) in queue:
            due = time.perf_counter()
            if self._plan.rate_per_s is not None:
                due = started + number / self._plan.rate_per_s
            if await self._stopped_within(due - time.perf_counter()):
                return
            self._tally.offered += 1
            outcome = await self._attempt(device, connect)
            self._tally.add(outcome, time.perf_counter() - due)

    async def _stopped_within(self, seconds: float) -> bool:
        if seconds > 0 and not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stop.wait()
        return self._stop.is_set()

    async def _attempt(self, device: Device, connect: bytes) -> Outcome:
        try:
            async with asyncio.timeout(self._plan.timeout_s):
                if self._plan.path is Route.DPS:
                    provisioned = await self._provision(device, connect)
                    if isinstance(provisioned, Outcome):
                        return provisioned
                    connect = self._population.hub_connect(device, provisioned)
                return await self._connect_to_hub(connect)
        except TimeoutError:
            return TIMED_OUT
        except ssl.SSLError as error:
            return failed(f"TLS: {error.reason or error}")
        except OSError as error:
            return failed(_plain(error))

    async def _provision(self, device: Device, connect: bytes) -> str | Outcome:
        """The hub's name, or why there is none."""
        session = await self._dial(
            ProvisioningSession(
                connect, _future(), device_id=device.device_id, model_id=self._population.model_id
            )
        )
        try:
            outcome = await session.outcome
            return session.hub if outcome.kind is Kind.ADMITTED else outcome
        finally:
            session.leave()

    async def _connect_to_hub(self, connect: bytes) -> Outcome:
        session = await self._dial(HubSession(connect, _future(), self._forget))
        admitted = False
        try:
            outcome = await session.outcome
            admitted = outcome.kind is Kind.ADMITTED
            return outcome
        finally:
            if not admitted:
                session.transport.abort()
            elif session.transport.is_closing():
                self._lost += 1
            else:
                self._open.add(session)

    async def _dial(self, session: _S) -> _S:
        host, port = self._address
        name = self._target.host if self._tls is not None else None
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: session, host, port, ssl=self._tls, server_hostname=name)
        return session

    def _forget(self, session: HubSession) -> None:
        if session in self._open:
            self._open.remove(session)
            self._lost += not self._leaving
        if not self._open:
            self._all_gone.set()

    async def _leave(self) -> None:
        """All devices disconnect in order."""
        self._leaving = True
        if not self._open:
            return
        self._all_gone.clear()
        for session in tuple(self._open):
            session.leave()
        try:
            async with asyncio.timeout(_GOODBYE_S):
                await self._all_gone.wait()
        except TimeoutError:
            for session in tuple(self._open):
                session.transport.abort()


def _future() -> asyncio.Future[Outcome]:
    return asyncio.get_running_loop().create_future()


async def _address(target: Target) -> tuple[str, int]:
    """The first of the name's addresses that answers: looked up once, not for every device."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise OperationError(f"{target.host}: {error.strerror}") from None
    problem = "no address"
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as probe:
            probe.setblocking(False)
            try:
                async with asyncio.timeout(_GOODBYE_S):
                    await loop.sock_connect(probe, address)
            except OSError as error:
                problem = _plain(error)
            else:
                return str(address[0]), int(address[1])
    raise OperationError(
        f"{target.host}:{target.port}: {problem}", hint="does the gateway run, and listen there?"
    )


def _plain(error: OSError) -> str:
    """`connection refused`; what asyncio adds (an address) would make each one different."""
    return os.strerror(error.errno).lower() if error.errno else "no answer"


def _tls_context(target: Target) -> ssl.SSLContext | None:
    if target.ca_file is None:
        return None
    try:
        return ssl.create_default_context(cafile=target.ca_file)
    except OSError as error:
        raise OperationError(
            f"{target.ca_file}: not a readable CA certificate: {error.strerror or error}"
        ) from None


def _need_open_files(wanted: int) -> None:
    """Raise `OperationError` if this user may not have as many open files."""
    allowed = allow_open_files(wanted)
    if allowed < wanted:
        raise OperationError(
            f"{wanted} open files are needed, and this user may have {allowed}", hint="raise it: ulimit -Hn"
        )
