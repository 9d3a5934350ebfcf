"""What a trace shows, what it never shows, and when it ends."""

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway import mqtt
from gateway.errors import ConflictError, NotFoundError
from gateway.settings import TraceSettings
from gateway.trace import Traces, redacted_payload


class Bench:
    def __init__(self, **settings: int) -> None:
        self.now = 1000.0
        self.traces = Traces(TraceSettings(**settings), clock=lambda: self.now)


def traced(lines: list[Any]) -> list[Any]:
    return [line for line in lines if line["event"] == "device.traced"]


PACKETS: dict[str, tuple[Any, dict[str, Any]]] = {
    "CONNECT": (
        mqtt.Connect(
            client_id="mill-1", username="user", password=b"SharedAccessSignature sr=x&sig=abc&se=1"
        ),
        {"client_id": "mill-1", "username": "user", "password_bytes": 39, "keep_alive": 0},
    ),
    "PUBLISH": (
        mqtt.Publish(topic="a/b", payload=b"hunter2", qos=1, packet_id=7),
        {"topic": "a/b", "qos": 1, "bytes": 7, "packet_id": 7},
    ),
    "SUBSCRIBE": (
        mqtt.Subscribe(packet_id=1, filters=(("a/#", 1), ("b", 0))),
        {"packet_id": 1, "filters": "a/# (qos 1), b (qos 0)"},
    ),
    "UNSUBSCRIBE": (mqtt.Unsubscribe(packet_id=2, filters=("a/#",)), {"packet_id": 2, "filters": "a/#"}),
    "PUBACK": (mqtt.Puback(packet_id=9), {"packet_id": 9}),
    "PINGREQ": (mqtt.Pingreq(), {}),
    "DISCONNECT": (mqtt.Disconnect(), {}),
    "not MQTT": (mqtt.Violation(message="reserved bits", tag="MQTT-2.2.2-2"), {"detail": "reserved bits"}),
}


@pytest.mark.parametrize("name", PACKETS)
def test_a_packet_from_the_device_is_shown_without_its_secrets(name: str) -> None:
    packet, facts = PACKETS[name]
    trace = Bench().traces.start("mill-1", for_s=60, payload=False)
    with capture_logs() as lines:
        trace.received(packet, 3)
    (line,) = lines
    assert (line["device_id"], line["direction"], line["packet"], line["connection_id"]) == (
        "mill-1",
        "in",
        name,
        3,
    )
    assert line.items() >= facts.items()
    assert "hunter2" not in json.dumps(line)
    assert "sig=" not in json.dumps(line)


def test_what_the_device_is_told_is_decoded_packet_by_packet() -> None:
    trace = Bench().traces.start("mill-1", for_s=60, payload=False)
    with capture_logs() as lines:
        trace.sent(mqtt.encode(mqtt.Connack(session_present=True, code=0)), 3, 4)
        trace.sent(
            mqtt.encode(mqtt.Puback(packet_id=4)) + mqtt.encode(mqtt.Publish(topic="a/b", payload=b"xyz")),
            3,
            4,
        )
    assert [(line["direction"], line["packet"]) for line in lines] == [
        ("out", "CONNACK"), ("out", "PUBACK"), ("out", "PUBLISH"),
    ]  # fmt: skip
    assert (lines[0]["code"], lines[0]["session_present"]) == (0, True)
    assert "payload" not in lines[2]


def test_payloads_are_shown_if_they_are_asked_for() -> None:
    trace = Bench().traces.start("mill-1", for_s=60, payload=True)
    with capture_logs() as lines:
        trace.received(mqtt.Publish(topic="a", payload=b'{"temperature": 21.5}'), 3)
    assert lines[0]["payload"] == '{"temperature":21.5}'


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (b'{"t":1,"password":"hunter2"}', '{"t":1,"password":"[redacted]"}'),
        (b'[{"apiKey":"hunter2","keyboard":"qwerty"}]', '[{"apiKey":"[redacted]","keyboard":"qwerty"}]'),
        (b'{"deep":{"access_token":["hunter2"]}}', '{"deep":{"access_token":"[redacted]"}}'),
        (b'"sr=x&sig=hunter2&se=1"', '"sr=x&sig=[redacted]&se=1"'),
        (b"HostName=h;SharedAccessKey=hunter2;", "HostName=h;SharedAccessKey=[redacted];"),
        (b"plain text", "plain text"),
        (b"\xff\x00", "ff00"),
    ],
)
def test_what_is_called_a_secret_in_a_payload_is_blanked(payload: bytes, shown: str) -> None:
    assert redacted_payload(payload, 1000) == shown


def test_a_long_payload_is_cut_after_it_was_redacted() -> None:
    payload = json.dumps({"password": "hunter2" * 10, "text": "x" * 100}).encode()
    shown = redacted_payload(payload, 20)
    assert "hunter2" not in shown
    assert len(shown) < 60


@pytest.mark.parametrize("depth", [254, 255, 400, 1020, 5000])
@pytest.mark.parametrize("ends", [(b"[", b"]"), (b'{"password":', b"}")])
def test_a_payload_that_is_nested_too_deep_to_be_shown_is_named(
    ends: tuple[bytes, bytes], depth: int
) -> None:
    trace = Bench().traces.start("mill-1", for_s=60, payload=True)
    with capture_logs() as lines:
        trace.received(mqtt.Publish(topic="a", payload=ends[0] * depth + b"1" + ends[1] * depth), 3)
    assert lines[0]["payload"]


BAG = "devices/mill-1/messages/events/"


@pytest.mark.parametrize(
    ("topic", "shown"),
    [
        (f"{BAG}password=hunter2&x=1", f"{BAG}password=[redacted]&x=1"),
        (f"{BAG}x=1&api%5Fkey=hunter2%2F/2", f"{BAG}x=1&api%5Fkey=[redacted]"),
        (f"{BAG}?token=hunter2", f"{BAG}?token=[redacted]"),
        (f"{BAG}{'x' * 500}=1&secret=hunter2", f"{BAG}{'x' * 481}"),
        (f"{BAG}keyboard=qwerty&flag&empty=", f"{BAG}keyboard=qwerty&flag&empty="),
        ("$dps/registrations/PUT/iotdps-register/?$rid=7", "$dps/registrations/PUT/iotdps-register/?$rid=7"),
    ],
)
def test_what_is_called_a_secret_in_a_topic_is_blanked(topic: str, shown: str) -> None:
    trace = Bench().traces.start("mill-1", for_s=60, payload=False)
    with capture_logs() as lines:
        trace.received(mqtt.Publish(topic=topic, payload=b""), 3)
        trace.received(mqtt.Connect("mill-1", username=topic, will=mqtt.Will(topic=topic, payload=b"")), 3)
        trace.received(mqtt.Unsubscribe(packet_id=1, filters=(topic,)), 3)
    assert [line.get("topic") or line.get("will") or line.get("filters") for line in lines] == [shown] * 3
    assert lines[1]["username"] == shown


def test_what_is_called_a_secret_in_mqtt_5_s_properties_is_blanked() -> None:
    trace = Bench().traces.start("mill-1", for_s=60, payload=False)
    properties = mqtt.Properties(
        user_properties=(("token", "hunter2"), ("x", "1"), ("y", "sr=a&sig=hunter2")),
        response_topic="a/password=hunter2",
        content_type="text/plain",
    )
    with capture_logs() as lines:
        trace.received(mqtt.Publish(topic="a", payload=b"", properties=properties), 3)
    assert "hunter2" not in lines[0]["properties"]
    assert "('token', '[redacted]'), ('x', '1')" in lines[0]["properties"]
    assert "content_type='text/plain'" in lines[0]["properties"]


def test_who_only_claims_to_be_the_device_does_not_use_up_its_trace() -> None:
    bench = Bench(max_packets=10)
    trace = bench.traces.start("mill-1", for_s=60, payload=False)
    refusal = mqtt.encode(mqtt.Connack(session_present=False, code=5))
    with capture_logs() as lines:
        for stranger in range(100):
            trace.received(mqtt.Connect("mill-1"), stranger)
            trace.sent(refusal, stranger, 4)
        trace.sent(mqtt.encode(mqtt.Connack(session_present=False, code=0)), 3, 4)
        trace.received(mqtt.Pingreq(), 3)
    assert [line["packet"] for line in lines] == ["CONNECT", "CONNACK"] * 2 + [
        "CONNECT",
        "CONNACK",
        "PINGREQ",
    ]
    assert [bool(line.get("detail")) for line in lines] == [False] * 4 + [True, False, False]
    assert trace.why_ended is None


def test_a_trace_ends_when_its_time_is_over() -> None:
    bench = Bench(max_duration_s=100)
    trace = bench.traces.start("mill-1", for_s=5000, payload=False)
    assert trace.ends_at == 1100
    bench.now = 1100
    with capture_logs() as lines:
        trace.received(mqtt.Pingreq(), 1)
        assert bench.traces.expire() == [trace]
        assert bench.traces.expire() == []
    assert [(line["event"], line["reason"]) for line in lines] == [("trace.ended", "time")]
    assert not bench.traces.by_device


def test_a_trace_ends_after_so_many_packets() -> None:
    bench = Bench(max_packets=3)
    trace = bench.traces.start("mill-1", for_s=60, payload=False)
    with capture_logs() as lines:
        for _ in range(10):
            trace.received(mqtt.Pingreq(), 1)
    assert len(traced(lines)) == 3
    assert (lines[-1]["event"], lines[-1]["reason"], lines[-1]["packets"]) == ("trace.ended", "packets", 3)
    assert bench.traces.expire() == [trace]


def test_only_so_many_devices_are_traced_and_a_new_trace_replaces_ones_own() -> None:
    bench = Bench(max_devices=1)
    first = bench.traces.start("mill-1", for_s=60, payload=False)
    second = bench.traces.start("mill-1", for_s=60, payload=True)
    assert (first.why_ended, second.why_ended) == ("operator", None)
    with pytest.raises(ConflictError):
        bench.traces.start("mill-2", for_s=60, payload=False)
    bench.now += 61
    bench.traces.start("mill-2", for_s=60, payload=False)
    with pytest.raises(NotFoundError):
        bench.traces.stop("mill-1")
