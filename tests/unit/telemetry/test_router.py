import base64
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from gateway.settings import TelemetrySettings
from gateway.telemetry import router as router_module
from gateway.telemetry.router import TelemetryRouter
from gateway.templates.template import DeviceTemplate, build_template
from tests.unit.templates.models import ID, PART, component, interface, telemetry

JSON_BAG = "%24.ct=application%2Fjson&%24.ce=utf-8"


@dataclass
class Device:
    id: str = "t-1"
    template_id: str | None = ID
    model_id: str | None = ID


@dataclass
class Recorder:
    """A sink that keeps what it is given, and has no room for `refused` copies of each message."""

    refused: int = 0
    lost: int = 0
    delivered: list[tuple[str, bytes, int]] = field(default_factory=list)

    backlog = 0

    def take_lost(self) -> int:
        lost, self.lost = self.lost, 0
        return lost

    def deliver(self, topic: str, payload: bytes, qos: int) -> int:
        self.delivered.append((topic, payload, qos))
        return self.refused


class Bench:
    """A router with its sink and its templates."""

    def __init__(self, *more_sinks: Recorder, **settings: Any) -> None:
        self.sink = Recorder()
        self.templates: dict[str, DeviceTemplate] = {}
        self.publish(telemetry("temperature"), component("pump", PART))
        self.router = TelemetryRouter(
            TelemetrySettings(**settings),
            find_template=self.templates.get,
            sinks=(self.sink, *more_sinks),
        )

    def publish(self, *contents: dict[str, Any], model_id: str = ID) -> None:
        part = interface(PART, telemetry("flow"))
        self.templates[model_id] = build_template([interface(model_id, *contents), part], model_id)

    def send(
        self, body: bytes = b"{}", bag: str = "", device: Any = None, **how: Any
    ) -> tuple[str, dict[str, Any]]:
        """Route a message → its topic and envelope."""
        sent = {"qos": 1, "now": 1795436467.12} | how
        self.router.route(device or Device(), bag, body, **sent)
        topic, payload, _ = self.sink.delivered[-1]
        return topic, orjson.loads(payload)


def test_telemetry_goes_to_the_topic_of_its_template_and_device() -> None:
    bench = Bench()
    topic, envelope = bench.send(b'{"temperature": 21.5}', JSON_BAG)
    assert topic == f"telemetry/{ID}/t-1"
    assert envelope["device"] == "t-1"
    assert envelope["template"] == envelope["modelId"] == ID
    assert envelope["enqueuedTime"] == "2026-11-23T12:21:07.120Z"
    assert envelope["body"] == {"temperature": 21.5}
    assert envelope["systemProperties"] == {"ct": "application/json", "ce": "utf-8"}
    assert envelope["validation"] == {"status": "valid", "issues": []}
    assert bench.router.routed == 1


def test_a_components_telemetry_goes_to_a_level_of_its_own() -> None:
    topic, envelope = Bench().send(b'{"flow": 1}', "%24.sub=pump")
    assert topic == f"telemetry/{ID}/t-1/pump"
    assert envelope["component"] == "pump"
    assert envelope["validation"]["status"] == "valid"


def test_a_component_that_the_template_does_not_have_is_marked_and_goes_out() -> None:
    topic, envelope = Bench().send(b'{"flow": 1}', "%24.sub=fan")
    assert topic == f"telemetry/{ID}/t-1/fan"
    assert envelope["validation"] == {
        "status": "invalid",
        "issues": [{"path": "", "problem": "the template has no component 'fan'"}],
    }


def test_what_the_template_does_not_model_is_marked_and_goes_out_whole() -> None:
    _, envelope = Bench().send(b'{"temperature": "warm", "extra": [1]}')
    assert envelope["body"] == {"temperature": "warm", "extra": [1]}
    assert envelope["validation"] == {
        "status": "invalid",
        "issues": [
            {"path": "temperature", "problem": "not a double"},
            {"path": "extra", "problem": "not in the template"},
        ],
    }


@pytest.mark.parametrize("bag", ["", "%24.sub=pump"])
def test_an_unassociated_devices_telemetry_goes_to_a_topic_of_its_own_unchecked(bag: str) -> None:
    device = Device(template_id=None, model_id="dtmi:com:example:Unknown;1")
    topic, envelope = Bench().send(b'{"any": 1}', bag, device)
    assert topic == "telemetry/_unassociated/t-1"
    assert (envelope["template"], envelope["modelId"]) == (None, "dtmi:com:example:Unknown;1")
    assert envelope["validation"]["status"] == "unchecked"


def test_a_template_that_is_not_in_force_leaves_the_message_unchecked() -> None:
    topic, envelope = Bench().send(b'{"any": 1}', "", Device(template_id="dtmi:com:example:Gone;1"))
    assert topic == "telemetry/dtmi:com:example:Gone;1/t-1"
    assert envelope["validation"]["status"] == "unchecked"


def test_topics_follow_the_settings() -> None:
    bench = Bench(
        topic="plant/{device}/{template}/out",
        component_topic="plant/{device}/{component}/of/{template}",
        unassociated_topic="strays/{device}",
        dead_letter_topic="bin/{device}/{template}",
    )
    assert bench.send()[0] == f"plant/t-1/{ID}/out"
    assert bench.send(bag="%24.sub=pump")[0] == f"plant/t-1/pump/of/{ID}"
    assert bench.send(device=Device(template_id=None))[0] == "strays/t-1"
    assert bench.send(bag="%ff")[0] == f"bin/t-1/{ID}"


def test_properties_system_properties_and_creation_time_are_told_apart() -> None:
    bag = "alert=yes&flag&%24.mid=7&%24.uid=me&iothub-creation-time-utc=2026-11-23T12%3A21%3A00Z"
    _, envelope = Bench().send(bag=bag)
    assert envelope["properties"] == {"alert": "yes", "flag": None}
    assert envelope["systemProperties"] == {"mid": "7", "uid": "me"}
    assert envelope["creationTime"] == "2026-11-23T12:21:00Z"


def test_a_retained_publish_is_marked_as_iot_hub_does() -> None:
    bench = Bench()
    assert bench.send(retain=True)[1]["properties"] == {"mqtt-retain": "true"}
    assert bench.send(retain=False)[1]["properties"] == {}


def test_what_the_gateway_knows_itself_wins_over_what_the_device_says() -> None:
    _, envelope = Bench().send(bag="will=no&alert=yes", beside={"will": "true"})
    assert envelope["properties"] == {"will": "true", "alert": "yes"}


def test_a_json_body_is_handed_on_byte_for_byte_and_any_other_as_base64() -> None:
    bench = Bench()
    raw = b'{ "temperature":21.50 }'
    bench.send(raw)
    assert b'"body":' + raw in bench.sink.delivered[0][1]
    _, envelope = bench.send(b"\x00\x01")
    assert (envelope["bodyEncoding"], envelope["validation"]["status"]) == ("base64", "unchecked")
    assert base64.b64decode(envelope["body"]) == b"\x00\x01"


def test_every_sink_gets_every_message_in_order_with_its_qos() -> None:
    second = Recorder()
    bench = Bench(second)
    for number in range(5):
        bench.send(b"%d" % number, qos=number % 2)
    assert [orjson.loads(payload)["body"] for _, payload, _ in second.delivered] == [0, 1, 2, 3, 4]
    assert [qos for _, _, qos in second.delivered] == [0, 1, 0, 1, 0]
    assert second.delivered == bench.sink.delivered


@pytest.mark.parametrize(
    ("bag", "body", "reason", "detail"),
    [
        ("a=%ff", b"{}", "properties_malformed", "property 'a' is not percent-encoded UTF-8"),
        ("=1", b"{}", "properties_malformed", "a property has no name"),
        ("a=1&b=2&c=3&d=4", b"{}", "properties_malformed", "more than 3 properties"),
        ("%24.sub=a%2Fb", b"{}", "component_malformed", "`$.sub` is not a component's name"),
        ("%24.sub=%23", b"{}", "component_malformed", "`$.sub` is not a component's name"),
        ("%24.sub=", b"{}", "component_malformed", "`$.sub` is not a component's name"),
        (JSON_BAG, b"{", "body_not_json", "`$.ct` says JSON, the body is not"),
        (JSON_BAG, b"", "body_not_json", "`$.ct` says JSON, the body is not"),
        ("%24.ct=application%252Fjson", b"\xff", "body_not_json", "`$.ct` says JSON, the body is not"),
    ],
)
def test_what_can_not_be_decoded_becomes_a_dead_letter_and_a_log_line(
    bag: str, body: bytes, reason: str, detail: str
) -> None:
    bench = Bench(max_properties=3)
    with capture_logs() as lines:
        topic, letter = bench.send(body, bag)
    assert topic == f"deadletter/{ID}/t-1"
    assert (letter["reason"], letter["detail"], letter["propertyBag"]) == (reason, detail, bag)
    assert base64.b64decode(letter["body"]) == body
    assert (bench.router.dead_lettered, bench.router.routed) == (1, 0)
    assert lines == [
        {
            "event": "telemetry.dead_lettered", "log_level": "warning", "device_id": "t-1", "reason": reason,
            "detail": detail, "topic": topic, "bytes": len(body),
        }
    ]  # fmt: skip


def test_an_unassociated_devices_dead_letter_has_a_topic_too() -> None:
    topic, letter = Bench().send(bag="%ff", device=Device(template_id=None))
    assert topic == "deadletter/_unassociated/t-1"
    assert letter["template"] is None


def test_what_a_sink_has_no_room_for_is_counted_and_told_in_one_line() -> None:
    bench = Bench()
    bench.sink.refused = 2
    for _ in range(3):
        bench.send()
    assert bench.router.dropped == 6
    with capture_logs() as lines:
        bench.router.report_drops()
        bench.router.report_drops()
    assert lines == [
        {
            "event": "telemetry.dropped",
            "log_level": "warning",
            "sink": "Recorder",
            "cause": "no_room",
            "count": 6,
        }
    ]
    assert bench.router.dropped == 6


def test_copies_that_were_taken_and_lost_later_are_told_too() -> None:
    bench = Bench()
    bench.send()
    bench.sink.lost = 3
    with capture_logs() as lines:
        bench.router.report_drops()
    assert [(line["cause"], line["count"]) for line in lines] == [("not_acknowledged", 3)]
    assert bench.router.dropped == 3


def test_nothing_is_told_of_drops_when_there_were_none() -> None:
    bench = Bench()
    bench.send()
    with capture_logs() as lines:
        bench.router.report_drops()
    assert lines == []


def test_a_template_that_is_imported_again_holds_from_the_next_message_on() -> None:
    bench = Bench()
    assert bench.send(b'{"humidity": 40}')[1]["validation"]["status"] == "invalid"
    bench.publish(telemetry("humidity"))
    assert bench.send(b'{"humidity": 40}')[1]["validation"]["status"] == "valid"
    assert bench.send(b'{"temperature": 40}')[1]["validation"]["status"] == "invalid"
    del bench.templates[ID]
    assert bench.send(b'{"temperature": 40}')[1]["validation"]["status"] == "unchecked"


def test_only_so_many_templates_rules_are_kept_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router_module, "_MAX_VALIDATORS", 2)
    bench = Bench()
    for number in (1, 2, 3, 1):
        model_id = f"dtmi:com:example:Device;{number}"
        bench.publish(telemetry(f"t{number}"), model_id=model_id)
        _, envelope = bench.send(b'{"t%d": 1}' % number, device=Device(template_id=model_id))
        assert envelope["validation"]["status"] == "valid"
    assert len(bench.router._validators) == 2


def test_the_rules_that_were_not_needed_for_longest_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router_module, "_MAX_VALIDATORS", 2)
    bench = Bench()
    for number in (1, 2, 3):
        bench.publish(telemetry(), model_id=f"dtmi:com:example:Device;{number}")
    for number in (1, 2, 1, 3):
        bench.send(b"{}", device=Device(template_id=f"dtmi:com:example:Device;{number}"))
    assert [key[-1] for key in bench.router._validators] == ["1", "3"]
