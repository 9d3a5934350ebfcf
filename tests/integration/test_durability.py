"""Registered means durable: what a device was told is still true after `kill -9`."""

import sqlite3
import sys
import threading
from pathlib import Path

import pytest

from tests.integration.conftest import fleet_of
from tests.support.api import Api
from tests.support.device import Device, Fleet
from tests.support.gateway_process import GatewayProcess

DEVICES = 400
WORKERS = 8
NOT_AUTHORIZED = 5


@pytest.mark.parametrize("command", ["gateway serve", "amqtt"])
def test_no_acknowledged_registration_is_lost_or_doubled_when_the_process_is_killed(
    tmp_path: Path, command: str
) -> None:
    amqtt = [str(Path(sys.executable).parent / "amqtt")]
    gateway = GatewayProcess(tmp_path / "gw", command=amqtt if command == "amqtt" else None)
    with gateway:
        fleet = fleet_of(gateway)
        acknowledged = register_until_killed(gateway, fleet, kill_after=DEVICES // 2)
    assert len(acknowledged) >= DEVICES // 2
    known = stored_devices(gateway)
    assert acknowledged <= set(known)
    # Of what was not acknowledged, only what each worker had on its way may be there.
    assert len(known) - len(acknowledged) <= WORKERS
    with GatewayProcess(tmp_path / "gw", init=False) as again:
        for device_id in sorted(acknowledged)[:20]:
            with fleet.hub(device_id) as device:
                device.ping()
        assert again.lines("registration.created") == []  # nobody was registered a second time
        assert stored_devices(again) == known


def test_a_device_that_was_blocked_is_blocked_after_a_kill_right_after_the_answer(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path / "gw") as gateway:
        fleet = fleet_of(gateway)
        for number in range(8):
            with fleet.hub(f"mill-{number}"):
                pass
        with Api(gateway) as api:
            for number in range(8):
                api.ok("PATCH", f"/devices/mill-{number}", json={"enabled": False})
            gateway.kill()
        gateway.start()
        for number in range(8):
            with Device.plain(gateway.setup) as device:
                assert device.connect(f"mill-{number}", *fleet.hub_login(f"mill-{number}")) == NOT_AUTHORIZED
            assert (
                gateway.wait_for("connect.refused", device_id=f"mill-{number}")["reason"] == "device_blocked"
            )


def register_until_killed(gateway: GatewayProcess, fleet: Fleet, *, kill_after: int) -> set[str]:
    """First connects from several threads; the gateway is killed in the midst. Who got CONNACK 0?"""
    acknowledged: set[str] = set()
    enough = threading.Event()

    def connect(worker: int) -> None:
        for number in range(worker, DEVICES * 10, WORKERS):
            device_id = f"storm-{number:05d}"
            try:
                with Device.plain(gateway.setup) as device:
                    if device.connect(device_id, *fleet.hub_login(device_id)) == 0:
                        acknowledged.add(device_id)
            except OSError:
                return
            if len(acknowledged) >= kill_after:
                enough.set()

    threads = [threading.Thread(target=connect, args=(worker,)) for worker in range(WORKERS)]
    for thread in threads:
        thread.start()
    assert enough.wait(60)
    gateway.kill()
    for thread in threads:
        thread.join(30)
    return acknowledged


def stored_devices(gateway: GatewayProcess) -> list[str]:
    database = Path(gateway.setup["config"]).parent / "state" / "gateway.db"
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        found = [row[0] for row in connection.execute("SELECT id FROM devices ORDER BY id")]
    connection.close()
    return found


def test_two_racing_first_connects_of_one_device_make_one_registration(
    gateway: GatewayProcess, fleet: Fleet
) -> None:
    barrier = threading.Barrier(6)
    codes: list[int] = []

    def connect() -> None:
        with Device.plain(gateway.setup) as device:
            login = fleet.hub_login("racer-1")
            barrier.wait(30)
            codes.append(device.connect("racer-1", *login))

    threads = [threading.Thread(target=connect) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert codes == [0] * 6
    assert len(gateway.lines("registration.created", device_id="racer-1")) == 1
    assert stored_devices(gateway).count("racer-1") == 1


def test_a_reported_property_survives_a_kill(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path / "gw").start()
    fleet = fleet_of(gateway)
    with fleet.hub("twin-1") as device:
        device.subscribe("$iothub/twin/res/#")
        answer = device.request("$iothub/twin/PATCH/properties/reported/?$rid=1", b'{"a":{"b":1,"c":2}}')
        assert answer.topic == "$iothub/twin/res/204/?$rid=1&$version=2"
        answer = device.request("$iothub/twin/PATCH/properties/reported/?$rid=2", b'{"a":{"b":null},"d":[1]}')
        assert answer.topic == "$iothub/twin/res/204/?$rid=2&$version=3"
    gateway.kill()
    with GatewayProcess(tmp_path / "gw", init=False) as again, fleet_of(again).hub("twin-1") as device:
        device.subscribe("$iothub/twin/res/#")
        twin = device.request("$iothub/twin/GET/?$rid=3").json()
        assert twin["reported"] == {"a": {"c": 2}, "d": [1], "$version": 3}
        assert twin["desired"] == {"$version": 1}
        answer = device.request("$iothub/twin/PATCH/properties/reported/?$rid=4", b'["no object"]')
        assert answer.topic == "$iothub/twin/res/400/?$rid=4"
        answer = device.request(
            "$iothub/twin/PATCH/properties/reported/?$rid=5", b'{"big":"' + b"x" * 33_000 + b'"}'
        )
        assert answer.topic == "$iothub/twin/res/400/?$rid=5"
        twin = device.request("$iothub/twin/GET/?$rid=6").json()
        assert twin["reported"]["$version"] == 3
