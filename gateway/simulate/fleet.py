"""Many simulated devices at once, each with its own pace, and what became of each."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from gateway.errors import OperationError
from gateway.simulate.device import Credential, Endpoint, Hub, SimulatedDevice
from gateway.simulate.telemetry import TelemetrySource

__all__ = ["DeviceResult", "FleetPlan", "FleetResult", "Step", "run_fleet"]

StepName = Literal["assigned", "connected", "sent", "failed", "disconnected"]

MAX_DEVICES: Final = 1000
"""Each device is a few tasks and, while it connects, a thread; `python -m loadtest` opens more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """How many, how fast, how long. With neither `messages` nor `duration_s` a device sends until stopped."""

    devices: int = 1
    prefix: str = "simulated-"
    first: int = 1
    """Devices are called `simulated-001`, `simulated-002`, …"""
    model_id: str | None = None
    provision: bool = True
    """False: straight to the hub, as a device that was provisioned before does."""
    connects_per_s: float | None = None
    """None: all at once."""
    messages_per_s: float = 1.0
    """Of each device."""
    messages: int | None = None
    """How many each device sends."""
    duration_s: float | None = None
    """How long each device sends."""
    timeout_s: float = 20.0

    def __post_init__(self) -> None:
        """Raise `OperationError` for a plan that can't be carried out."""
        if not 1 <= self.devices <= MAX_DEVICES:
            raise OperationError(
                f"{self.devices} devices can't be simulated; 1 to {MAX_DEVICES} can",
                hint="python -m loadtest opens more",
            )
        if self.messages_per_s <= 0 or (self.connects_per_s is not None and self.connects_per_s <= 0):
            raise OperationError("a rate is more than 0 a second")

    def device_ids(self) -> tuple[str, ...]:
        """In the order in which they connect."""
        last = self.first + self.devices
        width = max(3, len(str(last - 1)))
        return tuple(f"{self.prefix}{number:0{width}d}" for number in range(self.first, last))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that happened to a device, for whoever wants to show it."""

    device_id: str
    name: StepName
    detail: str = ""


@dataclass(slots=True, kw_only=True)
class DeviceResult:
    """What became of one device. It is filled in while the device runs."""

    device_id: str
    hub: str | None = None
    """What the provisioning service assigned; None if it was not asked, or refused."""
    connected: bool = False
    sent: int = 0
    """Messages that the gateway acknowledged."""
    failure: str | None = None
    """The one line that says why it ended early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetResult:
    """What became of all of them."""

    devices: tuple[DeviceResult, ...]
    elapsed_s: float

    @property
    def connected(self) -> int:
        return sum(device.connected for device in self.devices)

    @property
    def sent(self) -> int:
        return sum(device.sent for device in self.devices)

    @property
    def failures(self) -> tuple[DeviceResult, ...]:
        return tuple(device for device in self.devices if device.failure is not None)


async def run_fleet(
    endpoint: Endpoint,
    credential_for: Callable[[str], Credential],
    plan: FleetPlan,
    *,
    telemetry: Callable[[str], TelemetrySource],
    report: Callable[[Step], None] = lambda _step: None,
    stop: asyncio.Event | None = None,
) -> FleetResult:
    """Run the plan's devices to their ends, or until `stop` is set, which disconnects them in order.

    `credential_for` and `telemetry` are asked once for each device id. Raise `OperationError` if a credential
    or the CA can't be used at all; a device that is refused, or loses its connection, is told in the result.
    """
    fleet = _Fleet(
        endpoint=endpoint, plan=plan, telemetry=telemetry, report=report, stop=stop or asyncio.Event()
    )
    results = tuple(DeviceResult(device_id=device_id) for device_id in plan.device_ids())
    devices = [
        SimulatedDevice(
            result.device_id,
            endpoint,
            credential_for(result.device_id),
            model_id=plan.model_id,
            timeout_s=plan.timeout_s,
        )
        for result in results
    ]
    started = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number, (result, device) in enumerate(zip(results, devices, strict=True)):
            delay_s = number / plan.connects_per_s if plan.connects_per_s is not None else 0.0
            tasks.create_task(fleet.run_device(result, device, delay_s), name=f"simulate-{result.device_id}")
    return FleetResult(devices=results, elapsed_s=time.monotonic() - started)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fleet:
    """What all devices of one run share."""

    endpoint: Endpoint
    plan: FleetPlan
    telemetry: Callable[[str], TelemetrySource]
    report: Callable[[Step], None]
    stop: asyncio.Event

    async def run_device(self, result: DeviceResult, device: SimulatedDevice, delay_s: float) -> None:
        """The life of one device. A failure is kept in the result and does not touch the others."""
        if await self._stopped_within(delay_s):
            return
        try:
            if self.plan.provision:
                result.hub = (await device.provision()).hub
                self._tell(result, "assigned", result.hub)
            async with device.connect(result.hub) as hub:
                result.connected = True
                self._tell(result, "connected")
                await self._send_all(result, hub)
            self._tell(result, "disconnected")
        except OperationError as error:
            result.failure = str(error)
            self._tell(result, "failed", str(error))

    async def _send_all(self, result: DeviceResult, hub: Hub) -> None:
        source = self.telemetry(result.device_id)
        started = time.monotonic()
        while self.plan.messages is None or result.sent < self.plan.messages:
            due = started + result.sent / self.plan.messages_per_s
            if self.plan.duration_s is not None and due >= started + self.plan.duration_s:
                due = started + self.plan.duration_s
                await self._stopped_within(due - time.monotonic())
                return
            if await self._stopped_within(due - time.monotonic()):
                return
            reading = source(result.sent)
            await hub.send(reading)
            result.sent += 1
            self._tell(result, "sent", str(reading.body))

    async def _stopped_within(self, seconds: float) -> bool:
        if seconds > 0 and not self.stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.stop.wait()
        return self.stop.is_set()

    def _tell(self, result: DeviceResult, name: StepName, detail: str = "") -> None:
        self.report(Step(device_id=result.device_id, name=name, detail=detail))
