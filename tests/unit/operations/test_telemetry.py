"""An operator reads what a device sent last."""

import pytest

from gateway.errors import NotFoundError, OperationError
from gateway.operations.telemetry import TelemetryOperations
from gateway.settings import TelemetrySettings
from gateway.telemetry.last import MAX_BYTES, LastMessages
from gateway.telemetry.router import TelemetryRouter
from tests.support.bench import NOW, Bench


async def test_the_last_messages_are_shown_as_subscribers_got_them(bench: Bench) -> None:
    mill = await bench.device("mill-1")
    last = LastMessages(10)
    router = TelemetryRouter(TelemetrySettings(), find_template=lambda _: None, sinks=(), last_messages=last)
    router.route(mill, "", b'{"speed": 1.5}', qos=1, now=NOW)
    router.route(mill, "%24.ct=application%2Fjson", b"no JSON", qos=1, now=NOW + 1)
    router.route(mill, "", b'"%s"' % (b"x" * MAX_BYTES), qos=1, now=NOW + 2)
    told = await TelemetryOperations(registry=bench.registry, last_messages=last).show(device_id="mill-1")
    large, dead, first = told["messages"]
    assert first["topic"] == "telemetry/_unassociated/mill-1"
    assert first["at"] == first["message"]["enqueuedTime"]
    assert first["message"]["body"] == {"speed": 1.5}
    assert dead["message"]["reason"] == "body_not_json"
    assert dead["topic"] == "deadletter/_unassociated/mill-1"
    assert (large["message"], large["bytes"] > MAX_BYTES) == (None, True)


async def test_a_device_that_nobody_registered_is_not_found(bench: Bench) -> None:
    operations = TelemetryOperations(registry=bench.registry, last_messages=LastMessages(1))
    with pytest.raises(NotFoundError, match="there is no device mill-9"):
        await operations.show(device_id="mill-9")


async def test_without_a_running_gateway_it_is_said_that_nothing_is_remembered(bench: Bench) -> None:
    await bench.device("mill-1")
    with pytest.raises(OperationError, match="no gateway runs") as raised:
        await bench.call("device.telemetry", device_id="mill-1")
    assert "gateway serve" in raised.value.hint
