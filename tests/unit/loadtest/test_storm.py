"""A storm against a small fake gateway: every device offered is counted once, as what became of it."""

import asyncio
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.errors import OperationError
from gateway.secrets import SymmetricKey
from loadtest.devices import Population
from loadtest.result import StormResult
from loadtest.storm import Route, StormPlan, Target, run_storm
from tests.support.fake_gateway import (
    Behaviour,
    FakeGateway,
    ProvisioningBehaviour,
    fake_gateway,
    make_certificates,
)

KEY = SymmetricKey(bytes(range(64)))
PATIENCE_S = 20.0
IMPATIENCE_S = 0.2


def population(count: int) -> Population:
    return Population(
        count=count, group_key=KEY, id_scope="0ne00ABCDEF", model_id="dtmi:com:example:Thermostat;1"
    )


async def storm(gateway: FakeGateway, count: int, plan: StormPlan) -> StormResult:
    return await run_storm(Target(host="127.0.0.1", port=gateway.port, ca_file=None), population(count), plan)


def assert_adds_up(result: StormResult) -> None:
    told = result.admitted + sum(result.refused.values()) + result.timed_out + sum(result.failed.values())
    assert result.offered == told


async def test_all_devices_are_admitted_and_leave_in_order() -> None:
    async with fake_gateway(FakeGateway()) as gateway:
        result = await storm(gateway, 25, StormPlan(connectors=4, timeout_s=PATIENCE_S))
    assert result.all_admitted
    assert (result.offered, result.admitted, result.lost) == (25, 25, 0)
    assert result.latency is not None
    assert 0 < result.latency.p50 <= result.latency.p90 <= result.latency.p99 <= result.latency.maximum
    assert sorted(connect.client_id for connect in gateway.connects) == [
        f"storm-{number:06d}" for number in range(1, 26)
    ]
    assert gateway.goodbyes == 25


async def test_each_device_brings_its_own_proof_and_its_model() -> None:
    async with fake_gateway(FakeGateway()) as gateway:
        await storm(gateway, 2, StormPlan(timeout_s=PATIENCE_S))
    first, second = sorted(gateway.connects, key=lambda connect: connect.client_id)
    assert first.username is not None
    assert first.username.startswith("127.0.0.1/storm-000001/?api-version=")
    assert "model-id=dtmi%3Acom%3Aexample%3AThermostat%3B1" in first.username
    assert first.password is not None
    assert first.password.startswith(b"SharedAccessSignature sr=127.0.0.1%2Fdevices%2Fstorm-000001&")
    assert first.password != second.password


@pytest.mark.parametrize("connectors", [1, 3, 50])
async def test_every_outcome_is_counted_as_itself(connectors: int) -> None:
    behaviours: Mapping[str, Behaviour] = {
        "storm-000002": 5,
        "storm-000003": 3,
        "storm-000004": 5,
        "storm-000005": "hang up",
        "storm-000006": "garbage",
        "storm-000007": "silent",
    }
    async with fake_gateway(FakeGateway(behaviours=behaviours)) as gateway:
        result = await storm(gateway, 10, StormPlan(connectors=connectors, timeout_s=IMPATIENCE_S))
    assert_adds_up(result)
    assert not result.all_admitted
    assert result.offered == 10
    assert result.admitted == 4
    assert result.refused == {"connack 5": 2, "connack 3": 1}
    assert result.failed == {"connection closed": 1, "malformed packet": 1}
    assert result.timed_out == 1


async def test_a_device_that_is_dropped_after_its_admission_is_lost() -> None:
    async with fake_gateway(FakeGateway(behaviours={"storm-000002": "drop later"})) as gateway:
        result = await storm(gateway, 3, StormPlan(timeout_s=PATIENCE_S, hold_s=0.1))
    assert_adds_up(result)
    assert (result.admitted, result.lost) == (3, 1)
    assert not result.all_admitted


async def test_with_provisioning_a_device_goes_to_the_hub_that_it_was_assigned() -> None:
    behaviours: Mapping[str, ProvisioningBehaviour] = {
        "storm-000002": "poll first",
        "storm-000003": "busy first",
        "storm-000004": "decline",
        "storm-000005": "refuse",
    }
    async with fake_gateway(FakeGateway(hub="hub-7.example", provisioning=behaviours)) as gateway:
        result = await storm(gateway, 5, StormPlan(path=Route.DPS, timeout_s=PATIENCE_S))
    assert_adds_up(result)
    assert result.admitted == 3
    assert result.refused == {"dps 401002": 1, "connack 5": 1}
    assert gateway.asked == {"storm-000001": 1, "storm-000002": 2, "storm-000003": 2, "storm-000004": 1}
    hub = [c.username for c in gateway.connects if c.username and "/registrations/" not in c.username]
    assert len(hub) == 3
    assert all(username.startswith("hub-7.example/storm-00000") for username in hub)


async def test_a_device_that_is_never_assigned_times_out() -> None:
    async with fake_gateway(FakeGateway(provisioning={"storm-000001": "never"})) as gateway:
        result = await storm(gateway, 1, StormPlan(path=Route.DPS, timeout_s=IMPATIENCE_S))
    assert (result.offered, result.timed_out) == (1, 1)


@pytest.mark.parametrize("route", list(Route))
async def test_devices_come_in_over_tls(route: Route, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path, "unused")
    async with fake_gateway(FakeGateway(), certificates.server) as gateway:
        target = Target(host="localhost", port=gateway.port, ca_file=certificates.ca_file)
        result = await run_storm(target, population(5), StormPlan(path=route, timeout_s=PATIENCE_S))
    assert result.all_admitted
    assert gateway.goodbyes == (10 if route is Route.DPS else 5)


async def test_a_gateway_with_a_certificate_of_another_ca_is_a_failure_of_each_device(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path, "unused")
    async with fake_gateway(FakeGateway(), certificates.server) as gateway:
        target = Target(host="localhost", port=gateway.port, ca_file=certificates.other_ca_file)
        result = await run_storm(target, population(2), StormPlan(timeout_s=PATIENCE_S))
    assert_adds_up(result)
    assert result.failed == {"TLS: CERTIFICATE_VERIFY_FAILED": 2}


async def test_a_rate_spreads_the_devices_out() -> None:
    async with fake_gateway(FakeGateway()) as gateway:
        result = await storm(gateway, 5, StormPlan(rate_per_s=100, timeout_s=PATIENCE_S))
    assert result.admitted == 5
    assert result.elapsed_s >= 0.04, "the fifth device is due 40 ms after the first"


async def test_a_storm_that_is_stopped_tells_what_it_counted_so_far() -> None:
    stop = asyncio.Event()
    async with fake_gateway(FakeGateway()) as gateway:
        gateway.on_connect = lambda _: stop.set()
        target = Target(host="127.0.0.1", port=gateway.port, ca_file=None)
        plan = StormPlan(rate_per_s=0.01, timeout_s=PATIENCE_S, hold_s=3600)
        result = await run_storm(target, population(5), plan, stop)
    assert (result.offered, result.admitted) == (1, 1)
    assert gateway.goodbyes == 1


async def test_a_gateway_that_is_not_there_is_told_in_a_line() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        target = Target(host="127.0.0.1", port=bound.getsockname()[1], ca_file=None)
        with pytest.raises(OperationError, match=r"^127\.0\.0\.1:\d+: .*refused"):
            await run_storm(target, population(1), StormPlan())


async def test_more_devices_than_the_machine_allows_files_are_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (64, 100))
    monkeypatch.setattr("resource.setrlimit", lambda *_: None)
    target = Target(host="127.0.0.1", port=1, ca_file=None)
    with pytest.raises(OperationError, match=r"\d+ open files are needed, and this user may have 100"):
        await run_storm(target, population(101), StormPlan())
