"""A gateway with small limits and many devices: who is told to come back does, and gets in; abuse hurts nobody else."""

import asyncio
import contextlib
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import fleet_of
from tests.support.device import Device, Fleet, packet, text
from tests.support.gateway_process import GatewayProcess

ABUSER = "127.0.0.2"
PATIENCE_S = 60.0


def with_storm(**settings: Any) -> Callable[[str], str]:
    """An edit of gateway.yaml that sets these in `devices.storm`."""
    lines = "".join(f"        {name}: {value}\n" for name, value in settings.items())
    return lambda config: config.replace(
        "    devices:\n      bind:", f"    devices:\n      storm:\n{lines}      bind:"
    )


@contextlib.contextmanager
def storm_gateway(directory: Path, **settings: Any) -> Iterator[tuple[GatewayProcess, Fleet]]:
    with GatewayProcess(directory / "gw", edit=with_storm(**settings)) as gateway:
        yield gateway, fleet_of(gateway)
    assert "Traceback" not in "\n".join(gateway.output)


def device_from(source: str, setup: dict[str, Any]) -> Device:
    return Device(socket.create_connection(("127.0.0.1", setup["plainPort"]), 15, source_address=(source, 0)))


def connect_packet(device_id: str, username: str, token: str) -> bytes:
    login = text(device_id) + text(username) + text(token)
    return packet(1, 0, text("MQTT") + b"\x04\xc2\x00\x3c" + login)


class Crowd:
    """Devices that all dial at once and try again until they are in; `told` counts what they were told."""

    def __init__(self, gateway: GatewayProcess, fleet: Fleet, *, tls: bool) -> None:
        self._fleet = fleet
        self._port = gateway.setup["port" if tls else "plainPort"]
        self._tls = ssl.create_default_context(cafile=gateway.setup["caCertificate"]) if tls else None
        self.told: Counter[str] = Counter()

    async def everybody(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            for number in range(count):
                tasks.create_task(self._until_in(f"crowd-{number}"))

    async def _until_in(self, device_id: str) -> None:
        login = connect_packet(device_id, *self._fleet.hub_login(device_id))
        while True:
            told = await self._try(login)
            self.told[told] += 1
            if told == "connack 0":
                return

    async def _try(self, login: bytes) -> str:
        host = "localhost" if self._tls is not None else None
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", self._port, ssl=self._tls, server_hostname=host
            )
        except (ConnectionError, ssl.SSLError):
            return "closed"
        try:
            writer.write(login)
            connack = await reader.readexactly(4)
        except (ConnectionError, asyncio.IncompleteReadError):
            return "closed"
        else:
            return f"connack {connack[3]}"
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
def test_two_hundred_at_once_on_eight_places_all_get_in(tmp_path: Path, tls: bool) -> None:
    limits = {"max_handshakes": 8, "per_address_share": 1.0, "max_waiting": 16, "max_registrations": 4}
    with storm_gateway(tmp_path, **limits) as (gateway, fleet):
        crowd = Crowd(gateway, fleet, tls=tls)
        asyncio.run(crowd.everybody(200))
        shed = gateway.wait_for("storm.shed")
        assert len(gateway.json("device", "list", "--prefix", "crowd-")) == 200
    assert crowd.told["connack 0"] == 200
    assert crowd.told["closed"] > 0
    assert set(crowd.told) <= {"connack 0", "connack 3", "closed"}
    assert shed["turned_away"] > 0
    assert shed["waiting"] <= 16
    assert shed["handshakes"] <= 8
    # Nothing is logged of one who was shed.
    assert not gateway.lines("connect.refused")
    assert len(gateway.lines("session.opened")) == 200


def test_silent_connections_from_one_address_do_not_shut_out_another(tmp_path: Path) -> None:
    with (
        storm_gateway(tmp_path, max_handshakes=4, per_address_share=0.5, max_waiting=8) as (gateway, fleet),
        contextlib.ExitStack() as silent,
    ):
        for _ in range(100):
            with contextlib.suppress(ConnectionError):
                silent.enter_context(device_from(ABUSER, gateway.setup))
        assert gateway.wait_for("storm.shed")["turned_away"] > 0
        for number in range(3):
            with fleet.hub(f"t-{number}") as device:
                device.ping()


def test_a_device_whose_id_is_abused_from_another_address_gets_in_at_once(tmp_path: Path) -> None:
    with storm_gateway(tmp_path, refusals_before_delay=2, max_delay_s=1) as (gateway, fleet):
        username, token = fleet.hub_login("t-1")
        wrong = token.replace("sig=", "sig=AAAA")
        for _ in range(4):
            with device_from(ABUSER, gateway.setup) as abuser:
                assert abuser.connect("t-1", username, wrong) == 5
        assert gateway.wait_for("storm.shed")["delayed"] > 0
        with fleet.hub("t-1") as device, device_from(ABUSER, gateway.setup) as abuser:
            assert abuser.connect("t-1", username, wrong) == 5
            device.ping()
            # Who proves the key is let in even where it was abused.
            with device_from(ABUSER, gateway.setup) as moved:
                assert moved.connect("t-1", username, token) == 0


def test_over_the_admission_rate_the_hub_says_3_and_the_provisioning_service_says_when_to_come_back(
    tmp_path: Path,
) -> None:
    limits = {"admission_rate_per_s": 1, "retry_after_min_s": 1, "retry_after_max_s": 3}
    with storm_gateway(tmp_path, **limits) as (gateway, fleet):
        codes = []
        with contextlib.ExitStack() as stack:
            for number in range(10):
                device = stack.enter_context(Device.plain(gateway.setup))
                codes.append(device.connect(f"t-{number}", *fleet.hub_login(f"t-{number}")))
        assert set(codes) == {0, 3}
        with fleet.dps("p-1") as device:
            answers = [device.request("$dps/registrations/PUT/iotdps-register/?$rid=1", b"{}")]
            while answers[-1].topic.startswith("$dps/registrations/res/429/"):
                answers.append(device.request("$dps/registrations/PUT/iotdps-register/?$rid=1", b"{}"))
        *refused, assigned = answers
        assert assigned.topic == "$dps/registrations/res/200/?$rid=1"
        assert assigned.json()["status"] == "assigned"
        assert {answer.json()["errorCode"] for answer in refused} == {429001}
        assert {answer.topic.rpartition("retry-after=")[2] for answer in refused} <= {"1", "2", "3"}
        assert gateway.wait_for("storm.shed")["over_rate"] > 0
