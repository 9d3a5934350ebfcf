"""Simulated devices against a small fake gateway: what became of each is in the result."""

import asyncio
import contextlib
import gc
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from gateway.errors import OperationError
from gateway.secrets import SymmetricKey
from gateway.simulate import (
    CertificateCredential,
    Endpoint,
    FleetPlan,
    FleetResult,
    KeyCredential,
    SimulatedDevice,
    Step,
    run_fleet,
    telemetry_for,
)
from tests.support.fake_gateway import FakeGateway, fake_gateway, make_certificates

MODEL = "dtmi:com:example:TemperatureController;1"
CREDENTIAL = KeyCredential(SymmetricKey(bytes(32)))
FAST = 1000.0


def endpoint(port: int) -> Endpoint:
    return Endpoint(host="127.0.0.1", port=port, id_scope="0ne00ABCDEF", ca_file=None)


async def fleet(
    gateway: FakeGateway,
    plan: FleetPlan,
    report: Callable[[Step], None] = lambda _: None,
    stop: asyncio.Event | None = None,
) -> FleetResult:
    return await run_fleet(
        endpoint(gateway.port),
        lambda _: CREDENTIAL,
        plan,
        telemetry=lambda device_id: telemetry_for(plan.model_id, device_id),
        report=report,
        stop=stop,
    )


async def test_devices_provision_connect_send_and_leave() -> None:
    steps: list[tuple[str, str]] = []
    async with fake_gateway(FakeGateway(hub="hub-7.example")) as gateway:
        plan = FleetPlan(devices=2, model_id=MODEL, messages=3, messages_per_s=FAST)
        result = await fleet(gateway, plan, lambda step: steps.append((step.device_id, step.name)))
    assert [device.device_id for device in result.devices] == ["simulated-001", "simulated-002"]
    assert (result.connected, result.sent, result.failures) == (2, 6, ())
    assert {device.hub for device in result.devices} == {"hub-7.example"}
    assert [name for device_id, name in steps if device_id == "simulated-001"] == [
        "assigned", "connected", "sent", "sent", "sent", "disconnected"
    ]  # fmt: skip
    hub_names = [
        c.username for c in gateway.connects if c.username and c.username.startswith("hub-7.example/")
    ]
    assert len(hub_names) == 2
    own = [message for client_id, message in gateway.published if client_id == "simulated-001"]
    assert [("%24.sub=" in message.topic, message.qos) for message in own] == [
        (False, 1),
        (True, 1),
        (True, 1),
    ]
    assert json.loads(own[1].payload).keys() == {"temperature"}


async def test_a_device_may_skip_provisioning() -> None:
    async with fake_gateway(FakeGateway()) as gateway:
        result = await fleet(gateway, FleetPlan(provision=False, messages=1, messages_per_s=FAST))
    assert (result.connected, result.devices[0].hub, gateway.asked) == (1, None, {})


async def test_a_device_that_has_to_wait_asks_again() -> None:
    async with fake_gateway(FakeGateway(provisioning={"simulated-001": "poll first"})) as gateway:
        result = await fleet(gateway, FleetPlan(messages=0))
    assert result.connected == 1
    assert gateway.asked == {"simulated-001": 2}


async def test_each_devices_failure_is_its_own_and_one_line() -> None:
    fake = FakeGateway(
        behaviours={"simulated-003": 5},
        provisioning={"simulated-001": "decline", "simulated-002": "refuse", "simulated-004": "never"},
    )
    async with fake_gateway(fake) as gateway:
        result = await fleet(gateway, FleetPlan(devices=5, messages=1, messages_per_s=FAST, timeout_s=2.0))
    failures = {device.device_id: device.failure for device in result.failures}
    assert failures == {
        "simulated-001": "simulated-001: not provisioned: 401002 no such enrollment",
        "simulated-002": "simulated-002: the gateway refused it: Not authorized",
        "simulated-003": "simulated-003: the gateway refused it: Not authorized",
        "simulated-004": "simulated-004: not provisioned within 2 s: unassigned",
    }
    assert (result.connected, result.sent) == (1, 1)


async def test_waiting_for_a_hub_ends_even_if_a_cancellation_is_swallowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish = aiomqtt.Client.publish

    async def swallowing(self: aiomqtt.Client, *arguments: Any, **options: Any) -> None:
        await publish(self, *arguments, **options)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    monkeypatch.setattr(aiomqtt.Client, "publish", swallowing)
    async with fake_gateway(FakeGateway(provisioning={"simulated-001": "never"})) as gateway:
        result = await fleet(gateway, FleetPlan(timeout_s=0.3))
    assert result.devices[0].failure == "simulated-001: not provisioned within 0.3 s: unassigned"


async def test_devices_send_until_they_are_told_to_stop_and_then_leave_in_order() -> None:
    stop = asyncio.Event()

    def report(step: Step) -> None:
        if step.name == "sent":
            stop.set()

    async with fake_gateway(FakeGateway()) as gateway:
        result = await fleet(
            gateway, FleetPlan(devices=3, provision=False, messages_per_s=FAST), report, stop
        )
    assert result.failures == ()
    assert gateway.goodbyes == result.connected


async def test_a_duration_ends_it_too() -> None:
    async with fake_gateway(FakeGateway()) as gateway:
        result = await fleet(gateway, FleetPlan(provision=False, messages_per_s=20, duration_s=0.12))
    assert 1 <= result.sent <= 3


async def test_a_device_shows_its_certificate_and_needs_no_token(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path, "simulated-001")
    async with fake_gateway(FakeGateway(), certificates.server) as gateway:
        result = await run_fleet(
            Endpoint(
                host="localhost", port=gateway.port, id_scope="0ne00ABCDEF", ca_file=certificates.ca_file
            ),
            lambda _: CertificateCredential(*certificates.device),
            FleetPlan(messages=1, messages_per_s=FAST),
            telemetry=lambda device_id: telemetry_for(None, device_id),
        )
    assert (result.connected, result.sent, result.failures) == (1, 1, ())
    assert gateway.certificate_names == ["simulated-001", "simulated-001"], "to provisioning and to the hub"
    assert [connect.password for connect in gateway.connects] == [None, None]


# paho-mqtt leaves a socket whose TLS handshake failed to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_device_does_not_talk_to_a_gateway_that_its_ca_does_not_know(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path, "simulated-001")
    async with fake_gateway(FakeGateway(), certificates.server) as gateway:
        where = Endpoint(
            host="localhost", port=gateway.port, id_scope="0ne00ABCDEF", ca_file=certificates.other_ca_file
        )
        with pytest.raises(OperationError, match="certificate verify failed"):
            await SimulatedDevice("d-1", where, CREDENTIAL).provision()
    assert gateway.connects == []
    gc.collect()


async def test_a_gateway_that_is_not_there_is_told_in_one_line() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        device = SimulatedDevice("d-1", endpoint(port), CREDENTIAL)
        with pytest.raises(OperationError, match=rf"^d-1: 127\.0\.0\.1:{port}: .*[Rr]efused"):
            await device.provision()


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    with pytest.raises(OperationError, match=r"nonsense\.pem: not a readable CA certificate"):
        SimulatedDevice("d-1", Endpoint(host="h", port=1, id_scope="s", ca_file=nonsense), CREDENTIAL)
    with pytest.raises(OperationError, match=r"missing\.pem: not a readable CA certificate: No such file"):
        SimulatedDevice(
            "d-1", Endpoint(host="h", port=1, id_scope="s", ca_file=tmp_path / "missing.pem"), CREDENTIAL
        )
    with pytest.raises(OperationError, match="needs TLS"):
        SimulatedDevice("d-1", endpoint(1), CertificateCredential(nonsense, nonsense))


@pytest.mark.parametrize(
    "plan", [{"devices": 0}, {"devices": 1001}, {"messages_per_s": 0}, {"connects_per_s": -1}]
)
def test_a_plan_that_cannot_be_carried_out_is_refused(plan: dict[str, float]) -> None:
    with pytest.raises(OperationError):
        FleetPlan(**plan)  # type: ignore[arg-type]


def test_devices_are_numbered_so_that_they_sort() -> None:
    assert FleetPlan(devices=2, prefix="d").device_ids() == ("d001", "d002")
    assert FleetPlan(devices=2, first=999).device_ids() == ("simulated-0999", "simulated-1000")
