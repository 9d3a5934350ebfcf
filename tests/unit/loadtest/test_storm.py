"""A storm against a small fake gateway: every device offered is counted once, as what became of it."""

import asyncio
import multiprocessing
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.errors import OperationError
from loadtest.certificates import load_certificate, make_certificates
from loadtest.devices import Certificates, NoCredentials, Password
from loadtest.plan import Arrival, Messages, Pattern, Plan, Retry, Route, TlsVersion
from loadtest.processes import Hold, Phase, run
from loadtest.result import StormResult
from loadtest.tally import Totals
from loadtest.target import find_target
from tests.support.driven import PATIENCE_S, Control, drive, population, target
from tests.support.fake_gateway import Behaviour, FakeGateway, ProvisioningBehaviour, fake_gateway
from tests.support.fake_gateway import make_certificates as make_servers_certificates

IMPATIENCE_S = 0.2


async def storm(gateway: FakeGateway, count: int, plan: Plan) -> StormResult:
    return await drive(target(gateway.port), population(count), plan)


def assert_adds_up(result: StormResult) -> None:
    told = result.admitted + sum(result.refused.values()) + result.timed_out + sum(result.failed.values())
    assert result.offered == told


async def test_all_devices_are_admitted_and_leave_in_order() -> None:
    async with fake_gateway(FakeGateway()) as gateway:
        result = await storm(gateway, 25, Plan(connectors=4, timeout_s=PATIENCE_S))
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
        await storm(gateway, 2, Plan(timeout_s=PATIENCE_S))
    first, second = sorted(gateway.connects, key=lambda connect: connect.client_id)
    assert first.username is not None
    assert first.username.startswith("127.0.0.1/storm-000001/?api-version=")
    assert "model-id=dtmi%3Acom%3Aexample%3AThermostat%3B1" in first.username
    assert first.password is not None
    assert first.password.startswith(b"SharedAccessSignature sr=127.0.0.1%2Fdevices%2Fstorm-000001&")
    assert first.password != second.password


async def test_a_plain_broker_gets_a_password_or_nothing() -> None:
    password = Password(username="meter", password=b"secret")
    async with fake_gateway(FakeGateway()) as gateway:
        await drive(target(gateway.port), population(1, password), Plan(timeout_s=PATIENCE_S))
        await drive(target(gateway.port), population(1, NoCredentials()), Plan(timeout_s=PATIENCE_S))
    assert [(c.username, c.password) for c in gateway.connects] == [("meter", b"secret"), (None, None)]


@pytest.mark.parametrize("connectors", [1, 3, None])
async def test_every_outcome_is_counted_as_itself(connectors: int | None) -> None:
    behaviours: Mapping[str, Behaviour] = {
        "storm-000002": 5,
        "storm-000003": 3,
        "storm-000004": 5,
        "storm-000005": "hang up",
        "storm-000006": "garbage",
        "storm-000007": "silent",
    }
    async with fake_gateway(FakeGateway(behaviours=behaviours)) as gateway:
        result = await storm(gateway, 10, Plan(connectors=connectors, timeout_s=IMPATIENCE_S))
    assert_adds_up(result)
    assert not result.all_admitted
    assert result.offered == 10
    assert result.admitted == 4
    assert result.refused == {"connack 5": 2, "connack 3": 1}
    assert result.failed == {"connection closed": 1, "malformed packet": 1}
    assert result.timed_out == 1


async def test_a_device_that_is_dropped_after_its_admission_is_lost() -> None:
    control = Control(on_settled=lambda _: None)
    control.tell = lambda totals: totals.lost and control.order("leave")  # type: ignore[method-assign, func-returns-value]
    async with fake_gateway(FakeGateway(behaviours={"storm-000002": "drop later"})) as gateway:
        result = await drive(target(gateway.port), population(3), Plan(timeout_s=PATIENCE_S), control=control)
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
        result = await storm(gateway, 5, Plan(path=Route.DPS, timeout_s=PATIENCE_S))
    assert_adds_up(result)
    assert result.admitted == 3
    assert result.refused == {"dps 401002": 1, "connack 5": 1}
    assert result.deferred == 1
    assert gateway.asked == {"storm-000001": 1, "storm-000002": 2, "storm-000003": 2, "storm-000004": 1}
    hub = [c.username for c in gateway.connects if c.username and "/registrations/" not in c.username]
    assert len(hub) == 3
    assert all(username.startswith("hub-7.example/storm-00000") for username in hub)


async def test_a_device_that_is_never_assigned_times_out() -> None:
    async with fake_gateway(FakeGateway(provisioning={"storm-000001": "never"})) as gateway:
        result = await storm(gateway, 1, Plan(path=Route.DPS, timeout_s=IMPATIENCE_S))
    assert (result.offered, result.timed_out) == (1, 1)


@pytest.mark.parametrize("version", list(TlsVersion))
@pytest.mark.parametrize("route", list(Route))
async def test_devices_come_in_over_tls(route: Route, version: TlsVersion, tmp_path: Path) -> None:
    certificates = make_servers_certificates(tmp_path, "unused")
    async with fake_gateway(FakeGateway(), certificates.server) as gateway:
        where = target(gateway.port, ca_file=certificates.ca_file, tls_version=version)
        result = await drive(where, population(5), Plan(path=route, timeout_s=PATIENCE_S))
    assert result.all_admitted, result
    assert gateway.goodbyes == (10 if route is Route.DPS else 5)
    assert gateway.tls_versions == {f"TLSv{version}"}


@pytest.mark.parametrize("version", list(TlsVersion))
async def test_each_device_shows_its_own_certificate(version: TlsVersion, tmp_path: Path) -> None:
    certificates = make_servers_certificates(tmp_path, "unused")
    devices = population(3, Certificates(directory=tmp_path / "devices"))
    make_certificates(tmp_path / "devices", devices.device_ids())
    certificates.server.load_verify_locations(tmp_path / "devices" / "ca.crt")
    async with fake_gateway(FakeGateway(), certificates.server) as gateway:
        result = await drive(
            target(gateway.port, ca_file=certificates.ca_file, tls_version=version),
            devices,
            Plan(timeout_s=PATIENCE_S),
            certificate_of=lambda number: load_certificate(tmp_path / "devices", devices.device_id(number)),
        )
    assert result.all_admitted, result
    assert sorted(gateway.certificate_names) == ["storm-000001", "storm-000002", "storm-000003"]
    assert {connect.password for connect in gateway.connects} == {None}


async def test_a_gateway_with_a_certificate_of_another_ca_is_a_failure_of_each_device(tmp_path: Path) -> None:
    certificates = make_servers_certificates(tmp_path, "unused")
    async with fake_gateway(FakeGateway(), certificates.server) as gateway:
        where = await asyncio.to_thread(
            find_target, "localhost", gateway.port, ca_file=certificates.other_ca_file
        )
        result = await drive(where, population(2), Plan(timeout_s=PATIENCE_S))
    assert_adds_up(result)
    assert result.failed == {"TLS: CERTIFICATE_VERIFY_FAILED": 2}


async def test_a_gateway_with_a_certificate_for_another_name_is_told_in_a_line(tmp_path: Path) -> None:
    certificates = make_servers_certificates(tmp_path, "unused")
    async with fake_gateway(FakeGateway(), certificates.server) as gateway:
        with pytest.raises(OperationError, match=r"^127\.0\.0\.2: IP address mismatch"):
            async with fake_gateway(FakeGateway(), certificates.server, host="127.0.0.2") as elsewhere:
                await asyncio.to_thread(
                    find_target, "127.0.0.2", elsewhere.port, ca_file=certificates.ca_file
                )
    assert not gateway.connects


async def test_a_rate_spreads_the_devices_out() -> None:
    async with fake_gateway(FakeGateway()) as gateway:
        plan = Plan(arrival=Arrival(pattern=Pattern.CONSTANT, rate_per_s=100), timeout_s=PATIENCE_S)
        result = await storm(gateway, 5, plan)
    assert result.admitted == 5
    assert result.elapsed_s >= 0.04, "the fifth device is due 40 ms after the first"


async def test_a_refused_device_that_tries_again_comes_in() -> None:
    behaviours: dict[str, Behaviour] = {"storm-000002": 3}
    async with fake_gateway(FakeGateway(behaviours=behaviours)) as gateway:

        def second_time(_: object) -> None:
            if [c.client_id for c in gateway.connects].count("storm-000002") == 2:
                behaviours.clear()

        gateway.on_connect = second_time
        result = await storm(
            gateway, 3, Plan(retry=Retry(first_s=0.01, longest_s=0.02), timeout_s=PATIENCE_S)
        )
    assert_adds_up(result)
    assert (result.offered, result.admitted, result.refused) == (4, 3, {"connack 3": 1})


async def test_a_device_that_never_comes_in_gives_up() -> None:
    async with fake_gateway(FakeGateway(behaviours={"storm-000002": 5})) as gateway:
        retry = Retry(first_s=0.001, longest_s=0.001, give_up_s=0.05)
        result = await storm(gateway, 2, Plan(retry=retry, timeout_s=PATIENCE_S))
    assert_adds_up(result)
    assert result.admitted == 1
    assert result.refused["connack 5"] > 1
    assert result.devices_in == 1


async def test_each_device_reconnects_as_often_as_there_are_rounds() -> None:
    async with fake_gateway(FakeGateway()) as gateway:
        result = await storm(gateway, 3, Plan(stay=False, rounds=4, timeout_s=PATIENCE_S))
    assert (result.offered, result.admitted, result.lost) == (12, 12, 0)
    assert gateway.goodbyes == 12
    assert {c.client_id for c in gateway.connects} == {"storm-000001", "storm-000002", "storm-000003"}


async def test_a_device_that_subscribes_is_in_when_its_subscription_is() -> None:
    async with fake_gateway(FakeGateway()) as gateway:
        result = await storm(gateway, 2, Plan(subscribe=True, timeout_s=PATIENCE_S))
    assert result.all_admitted
    assert sorted(gateway.subscribed) == [
        "devices/storm-000001/messages/devicebound/#",
        "devices/storm-000002/messages/devicebound/#",
    ]


async def test_a_storm_that_is_stopped_tells_what_it_counted_so_far() -> None:
    control = Control()
    async with fake_gateway(FakeGateway()) as gateway:
        gateway.on_connect = lambda _: control.order("stop")
        plan = Plan(arrival=Arrival(pattern=Pattern.CONSTANT, rate_per_s=0.01), timeout_s=PATIENCE_S)
        result = await drive(target(gateway.port), population(5), plan, control=control)
    assert (result.offered, result.admitted) == (1, 1)
    assert gateway.goodbyes == 1


def test_a_gateway_that_is_not_there_is_told_in_a_line() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(OperationError, match=r"^127\.0\.0\.1:\d+: .*refused"):
            find_target("127.0.0.1", bound.getsockname()[1])


async def test_worker_processes_share_the_devices_and_their_counts_are_added_up() -> None:
    async with fake_gateway(FakeGateway(behaviours={"storm-000004": 5})) as gateway:
        plan = Plan(connectors=2, timeout_s=PATIENCE_S)
        tally = await asyncio.to_thread(run, target(gateway.port), population(7), plan, processes=2)
    result = StormResult.of(tally)
    assert_adds_up(result)
    assert (result.offered, result.admitted, result.refused) == (7, 6, {"connack 5": 1})
    assert len({connect.client_id for connect in gateway.connects}) == 7


async def test_a_worker_process_that_is_killed_is_told_in_a_line() -> None:
    def kill(phase: Phase, _: Totals) -> None:
        if phase.name == "holding":
            for process in multiprocessing.active_children():
                if process.name == "loadtest-1":
                    process.kill()

    async with fake_gateway(FakeGateway()) as gateway:
        with pytest.raises(OperationError, match="a worker process of the load test ended unexpectedly"):
            await asyncio.to_thread(
                run,
                target(gateway.port),
                population(4),
                Plan(timeout_s=PATIENCE_S),
                processes=2,
                hold=Hold(seconds=3600),
                tell=kill,
            )


def test_more_devices_than_the_machine_allows_files_are_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (64, 100))
    monkeypatch.setattr("resource.setrlimit", lambda *_: None)
    with pytest.raises(OperationError, match=r"^100000 devices need more open files than 64 processes"):
        run(target(1), population(100_000), Plan())


class Held(Control):
    """Lets all be held, then asks for quiet, and leaves when it is."""

    def __init__(self) -> None:
        super().__init__(on_settled=lambda control: (control.order("hold"), control.order("quiet"))[0])


async def test_each_held_device_publishes_in_its_turn_and_each_message_is_counted() -> None:
    messages = Messages(total=7, rate_per_s=1000)
    async with fake_gateway(FakeGateway()) as gateway:
        result = await drive(
            target(gateway.port), population(3), Plan(messages=messages, timeout_s=PATIENCE_S), control=Held()
        )
    assert result.messages is not None
    assert (result.messages.published, result.messages.acknowledged, result.messages.unsent) == (7, 7, 0)
    numbers = [
        (device_id, packet.topic.partition("number=")[2].partition("&")[0])
        for device_id, packet in gateway.published
    ]
    assert sorted(numbers) == [
        ("storm-000001", "1"), ("storm-000001", "2"), ("storm-000001", "3"), ("storm-000002", "1"),
        ("storm-000002", "2"), ("storm-000003", "1"), ("storm-000003", "2"),
    ]  # fmt: skip


async def test_messages_that_are_due_when_nobody_is_connected_are_counted_as_unsent() -> None:
    async with fake_gateway(FakeGateway(behaviours={"storm-000001": 5})) as gateway:
        plan = Plan(messages=Messages(total=4, rate_per_s=1000), timeout_s=PATIENCE_S)
        result = await drive(target(gateway.port), population(1), plan, control=Held())
    assert result.messages is not None
    assert (result.messages.published, result.messages.unsent) == (0, 4)


async def test_a_lost_device_comes_back_with_retry_and_everybody_is_in_at_the_end() -> None:
    behaviours: dict[str, Behaviour] = {"storm-000002": "drop later"}
    control = Control(on_settled=lambda _: None)

    async with fake_gateway(FakeGateway(behaviours=behaviours)) as gateway:

        def told(totals: Totals) -> None:
            if totals.lost and totals.sessions == 3:
                control.order("leave")

        def second_time(_: object) -> None:
            if [c.client_id for c in gateway.connects].count("storm-000002") == 2:
                behaviours.clear()

        control.tell = told  # type: ignore[method-assign]
        gateway.on_connect = second_time
        plan = Plan(retry=Retry(first_s=0.01, longest_s=0.02), timeout_s=PATIENCE_S)
        result = await drive(target(gateway.port), population(3), plan, control=control)
    assert (result.offered, result.admitted, result.lost) == (4, 4, 1)
    assert result.devices_in == result.sessions == 3


async def test_a_device_renews_its_token_and_goes_straight_to_its_hub() -> None:
    control = Control(on_settled=lambda _: None)
    async with fake_gateway(FakeGateway(hub="hub-7.example")) as gateway:

        def enough(_: object) -> None:
            if len(gateway.connects) == 3:  # the provisioning service, the hub, the hub again
                control.order("quiet")

        gateway.on_connect = enough
        plan = Plan(path=Route.DPS, renew_after_s=0.01, timeout_s=PATIENCE_S)
        result = await drive(target(gateway.port), population(1), plan, control=control)
    assert result.offered == result.admitted == 2
    assert result.sessions == 1
    assert [(connect.username or "").partition("/")[0] for connect in gateway.connects] == [
        "0ne00ABCDEF", "hub-7.example", "hub-7.example",
    ]  # fmt: skip
    assert gateway.goodbyes == 3


async def test_devices_with_a_bad_credential_are_spread_evenly_and_sign_with_another_key() -> None:
    devices = population(10, bad_share=0.3)
    assert [number for number in range(10) if devices.is_bad(number)] == [3, 6, 9]
    good = population(10)
    assert devices.hub_connect(0) == good.hub_connect(0)
    assert devices.hub_connect(3) != good.hub_connect(3)
