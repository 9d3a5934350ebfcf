"""The compiled build (setup.py) under a garbage collector that looks all the time: a wrong object layout crashes there.

`make test-compiled` runs these, and the tests of devices' connections, in a copy of the tree that is compiled.
"""

import importlib
import json
import os
import sys
from collections.abc import Iterator

import pytest

from tests.support.compiled import compiled_modules
from tests.support.device import Fleet
from tests.support.gateway_process import GatewayProcess

pytestmark = pytest.mark.skipif(
    os.environ.get("GATEWAY_COMPILED") != "1",
    reason="this is not the compiled tree: `make test-compiled` makes it",
)

_EAGER_COLLECTOR = """
import gateway.app
gateway.app._GC_THRESHOLDS = (50, 2, 2)
from gateway.cli import main
main()
"""
_DEVICES = 300


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    directory = tmp_path_factory.mktemp("gateway")
    command = [sys.executable, "-X", "faulthandler", "-c", _EAGER_COLLECTOR, "serve"]
    with GatewayProcess(directory / "gw", command=command) as process:
        yield process


def test_the_rooms_on_the_way_of_a_connect_are_compiled() -> None:
    for name in compiled_modules():
        module = importlib.import_module(name.removesuffix(".py").replace("/", "."))
        assert module.__file__ is not None
        assert module.__file__.endswith(".so"), name


def test_devices_come_talk_and_go_while_the_collector_looks_all_the_time(gateway: GatewayProcess) -> None:
    key = gateway.json("group", "show", "SAS-IoT-Devices", "--keys")["primaryKey"]
    fleet = Fleet(gateway.setup, key)
    for number in range(_DEVICES):
        device_id = f"compiled-{number % 40}"
        with fleet.dps(device_id, tls=number % 3 == 0) as device:
            answer = device.request("$dps/registrations/PUT/iotdps-register/?$rid=1", b"{}")
            assert answer.topic.startswith("$dps/registrations/res/200/")
        with fleet.hub(device_id, tls=number % 2 == 0, clean=number % 5 == 0) as device:
            assert device.subscribe("$iothub/twin/res/#") == [1]
            assert device.request("$iothub/twin/GET/?$rid=1").topic == "$iothub/twin/res/200/?$rid=1"
            device.publish(f"devices/{device_id}/messages/events/", json.dumps({"n": number}).encode())
            device.ping()
    with fleet.hub("compiled-last") as device:
        device.publish("devices/compiled-last/messages/events/", b"{}")
    fleet_ended = gateway.wait_for("session.closed", device_id="compiled-last", dialect="hub")
    assert fleet_ended["messages_in"] == 1
    carried = [line["messages_in"] for line in gateway.lines("session.closed", dialect="hub")]
    assert sum(carried) == 2 * _DEVICES + 1
