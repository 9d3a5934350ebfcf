"""`gateway trace ID` beside a device that talks."""

import json

from tests.integration.test_logs import refuse
from tests.support.device import Fleet
from tests.support.gateway_process import GatewayProcess


def packets(gateway: GatewayProcess, device_id: str) -> list[tuple[str, str]]:
    return [
        (line["direction"], line["packet"]) for line in gateway.lines("device.traced", device_id=device_id)
    ]


def test_a_device_that_is_not_there_yet_is_traced_when_it_comes(
    gateway: GatewayProcess, fleet: Fleet
) -> None:
    assert "tracing trace-1" in gateway.cli("trace", "trace-1", "--for", "1m", "--detach").stdout
    assert [each["id"] for each in gateway.json("trace")] == ["trace-1"]
    refuse(gateway, "trace-1")
    with fleet.hub("trace-1") as device, fleet.hub("trace-2"):
        device.publish("devices/trace-1/messages/events/", b'{"secret": "hunter2"}')
        ended = gateway.json("trace", "trace-1", "--off")
        device.ping()
    assert ended["packets"] == 6
    gateway.wait_for("trace.ended", device_id="trace-1", reason="operator")
    assert packets(gateway, "trace-1") == [
        ("in", "CONNECT"), ("out", "CONNACK"), ("in", "CONNECT"), ("out", "CONNACK"), ("in", "PUBLISH"), ("out", "PUBACK"),
    ]  # fmt: skip
    assert packets(gateway, "trace-2") == []
    assert "hunter2" not in json.dumps(gateway.lines("device.traced"))
    assert [each["verb"] for each in gateway.json("audit")[:2]] == ["trace.stop", "trace.start"]


def test_it_is_shown_as_it_happens_until_its_time_is_over(gateway: GatewayProcess, fleet: Fleet) -> None:
    with fleet.hub("trace-3") as device:
        printed = gateway.cli("trace", "trace-3", "--for", "1s", "--json")
        device.ping()
    events = [json.loads(line)["event"] for line in printed.stdout.splitlines()]
    assert events[-1] == "trace.ended"
    gateway.wait_for("trace.ended", device_id="trace-3", reason="time")


def test_a_wrong_time_is_one_line(gateway: GatewayProcess) -> None:
    ended = gateway.cli("trace", "trace-4", "--for", "soon", check=False)
    assert ended.stderr.splitlines() == ["error: 'soon' is not a time", "hint: write it like 90s, 10m or 1h"]
