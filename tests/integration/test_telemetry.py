"""From a device's publish to an application's subscription."""

import asyncio
from pathlib import Path

import aiomqtt
import pytest

from tests.integration.conftest import fleet_of
from tests.support.api import Api
from tests.support.device import Device, Fleet
from tests.support.gateway_process import GatewayProcess
from tests.support.subscriber import Subscriber

THERMOSTAT = "dtmi:com:example:Thermostat;1"
CONTROLLER = "dtmi:com:example:TemperatureController;1"


async def test_order_is_kept_and_nothing_is_lost_at_either_quality_of_service(
    gateway: GatewayProcess, fleet: Fleet
) -> None:
    def send() -> None:
        with fleet.hub("order-1", model=THERMOSTAT) as device:
            for number in range(200):
                device.publish(
                    "devices/order-1/messages/events/", b'{"temperature":%d}' % number, qos=number % 2
                )

    async with Subscriber(gateway.setup, f"telemetry/{THERMOSTAT}/order-1") as application:
        await asyncio.to_thread(send)
        bodies = [(await application.next())[1]["body"]["temperature"] for _ in range(200)]
    assert bodies == list(range(200))


async def test_what_the_template_does_not_know_is_marked_and_delivered(
    gateway: GatewayProcess, fleet: Fleet
) -> None:
    async with Subscriber(gateway.setup, "telemetry/#") as application:
        with fleet.hub("marked-1", model=THERMOSTAT) as device:
            device.publish("devices/marked-1/messages/events/", b'{"temperature":"warm","unheard":1}')
            _, envelope = await application.next()
            device.publish("devices/marked-1/messages/events/", b"\x00\x01binary")
            _, binary = await application.next()
    assert envelope["body"] == {"temperature": "warm", "unheard": 1}
    assert envelope["validation"]["status"] == "invalid"
    assert {issue["path"] for issue in envelope["validation"]["issues"]} == {"temperature", "unheard"}
    assert (binary["bodyEncoding"], binary["body"]) == ("base64", "AAFiaW5hcnk=")
    assert binary["validation"]["status"] == "unchecked"


def test_an_operator_sees_what_a_device_sent_last(gateway: GatewayProcess, fleet: Fleet) -> None:
    with fleet.hub("seen-1", model=THERMOSTAT) as device:
        for number in range(7):
            device.publish("devices/seen-1/messages/events/", b'{"temperature":%d}' % number)
        device.publish("devices/seen-1/messages/events/", b'{"temperature":"\\u001b[2J"}')
    kept = gateway.json("device", "telemetry", "seen-1")
    assert [each["message"]["body"]["temperature"] for each in kept] == ["\x1b[2J", 6, 5, 4, 3]
    assert kept[1]["topic"] == f"telemetry/{THERMOSTAT}/seen-1"
    with Api(gateway) as api:
        asked = api.ok("POST", "/verbs/device.telemetry", json={"device_id": "seen-1"})
    assert asked == {"id": "seen-1", "messages": kept}
    table = gateway.cli("device", "telemetry", "seen-1").stdout
    assert '{"temperature": 6}' in table
    assert "invalid: temperature" in table
    assert "\x1b" not in table


@pytest.mark.parametrize(
    ("bag", "payload", "reason"),
    [
        ("%24.ct=application%2Fjson&%24.ce=utf-8", b'{"temperature":', "body_not_json"),
        ("alert=%ff", b"{}", "properties_malformed"),
        ("%24.sub=a%2Fb", b"{}", "component_malformed"),
    ],
)
async def test_what_cannot_be_decoded_is_a_dead_letter_with_its_reason(
    gateway: GatewayProcess, fleet: Fleet, bag: str, payload: bytes, reason: str
) -> None:
    async with Subscriber(gateway.setup, "deadletter/#") as application:
        with fleet.hub("dead-1", model=THERMOSTAT) as device:
            device.publish(f"devices/dead-1/messages/events/{bag}", payload)
            topic, letter = await application.next()
    assert topic == f"deadletter/{THERMOSTAT}/dead-1"
    assert (letter["reason"], letter["propertyBag"], letter["device"]) == (reason, bag, "dead-1")


@pytest.mark.covers(mqtt311="3.1.2-8 3.1.2-10 3.1.2-12 3.14.4-3")
async def test_a_retained_publish_is_marked_and_a_will_is_told_apart(
    gateway: GatewayProcess, fleet: Fleet
) -> None:
    async with Subscriber(gateway.setup, "telemetry/#") as application:
        will = ("devices/will-1/messages/events/reason=lost", b'{"temperature":0}')
        with fleet.hub("will-1", model=THERMOSTAT, will=will) as device:
            device.publish("devices/will-1/messages/events/", b'{"temperature":1}', retain=True)
            _, retained = await application.next()
        _, last = await application.next()
        assert retained["properties"] == {"mqtt-retain": "true"}
        assert last["properties"] == {"reason": "lost", "iothub-MessageType": "Will"}
        with fleet.hub("will-1", model=THERMOSTAT, will=will) as device:
            device.publish("devices/will-1/messages/events/", b'{"temperature":2}')
            device.disconnect()
        with fleet.hub("will-1", model=THERMOSTAT) as device:
            device.publish("devices/will-1/messages/events/", b'{"temperature":3}')
        assert [(await application.next())[1]["body"]["temperature"] for _ in range(2)] == [2, 3]


async def test_an_application_without_the_right_is_denied_the_subscription_and_receives_nothing(
    gateway: GatewayProcess, fleet: Fleet
) -> None:
    async with Subscriber(gateway.setup, "telemetry/+/rights-1") as application:
        assert application.granted == [1]
        async with Subscriber(gateway.setup, "other/#", "#", "+/+/rights-1") as stranger:
            assert stranger.granted == [128, 128, 128]
            with fleet.hub("rights-1", model=THERMOSTAT) as device:
                device.publish("devices/rights-1/messages/events/", b'{"temperature":1}')
            await application.next()
            assert stranger.received == 0
    gateway.wait_for("application.denied", topic="other/#")


async def test_an_application_may_not_publish_telemetry(gateway: GatewayProcess) -> None:
    setup = gateway.setup
    async with aiomqtt.Client(
        "127.0.0.1", setup["appPort"], username=setup["appUsername"], password=setup["appPassword"]
    ) as client:
        await client.publish("telemetry/x/y", b"{}", qos=1)
    gateway.wait_for("application.denied", topic="telemetry/x/y")


async def test_wrong_passwords_and_devices_are_refused_on_the_applications_listener(
    gateway: GatewayProcess, fleet: Fleet
) -> None:
    username, token = fleet.hub_login("lost-1")
    for name, password, reason in (
        ("app", "wrong", "password_wrong"),
        ("nobody", "x", "name_unknown"),
        (username, token, "device_credential"),
    ):
        with pytest.raises(aiomqtt.MqttError):
            async with Subscriber(gateway.setup, username=name, password=password, client_id=f"c-{reason}"):
                pass
        assert gateway.wait_for("application.refused", reason=reason, client_id=f"c-{reason}")


async def test_a_template_imported_later_takes_in_the_devices_that_announced_its_model(
    gateway: GatewayProcess, fleet: Fleet, tmp_path: Path
) -> None:
    model = "dtmi:com:example:Later;1"
    document = tmp_path / "later-1.json"
    document.write_text(
        '{"@context":"dtmi:dtdl:context;2","@id":"dtmi:com:example:Later;1","@type":"Interface",'
        '"contents":[{"@type":"Telemetry","name":"level","schema":"integer"}]}'
    )
    async with Subscriber(gateway.setup, "telemetry/#") as application:
        with fleet.hub("later-1", model=model) as device:
            device.publish("devices/later-1/messages/events/", b'{"level":1}')
            assert (await application.next())[0] == "telemetry/_unassociated/later-1"
            await asyncio.to_thread(gateway.cli, "template", "import", document)
            device.publish("devices/later-1/messages/events/", b'{"level":2}')
            topic, envelope = await application.next()
    assert topic == f"telemetry/{model}/later-1"
    assert envelope["validation"]["status"] == "valid"


def test_the_log_holds_no_secret(gateway: GatewayProcess, fleet: Fleet) -> None:
    username, token = fleet.hub_login("secret-1")
    signature = token.partition("sig=")[2].partition("&")[0]
    for password in (token, token.replace("se=", "se=1"), f"x{token}"):
        with Device.plain(gateway.setup) as device:
            device.connect("secret-1", username, password)
    keys = gateway.json("group", "show", "SAS-IoT-Devices", "--keys")
    written = "\n".join(gateway.output)
    assert "secret-1" in written
    for secret in (keys["primaryKey"], keys["secondaryKey"], gateway.setup["appPassword"], token, signature):
        assert secret not in written


async def test_what_a_persistent_subscriber_did_not_acknowledge_comes_again_when_it_comes_back(
    gateway: GatewayProcess, fleet: Fleet
) -> None:
    def come(application: Device) -> None:
        login = gateway.setup["appUsername"], gateway.setup["appPassword"]
        assert application.connect("back-end", *login, clean=False) == 0

    def send() -> None:
        with fleet.hub("again-1", model=THERMOSTAT) as device:
            device.publish("devices/again-1/messages/events/", b'{"temperature":1}')

    topic = f"telemetry/{THERMOSTAT}/again-1"
    with Device.plain({"plainPort": gateway.setup["appPort"]}) as application:
        come(application)
        application.subscribe(topic, qos=1)
        await asyncio.to_thread(send)
        first = application.receive()  # and goes without its PUBACK
    with Device.plain({"plainPort": gateway.setup["appPort"]}) as application:
        come(application)
        again = application.receive()
        application.send(b"\x40\x02" + again.packet_id.to_bytes(2, "big"))
        application.disconnect()
    dup = 0x08
    assert (again.topic, again.payload, again.packet_id) == (topic, first.payload, first.packet_id)
    assert (first.flags & dup, again.flags & dup) == (0, dup)


async def test_a_subscriber_that_stops_reading_loses_its_own_copies_only(tmp_path: Path) -> None:
    def edit(text: str) -> str:
        return text.replace("    telemetry:\n", "    telemetry:\n      max_subscriber_backlog: 5\n")

    payload = b'{"blob":"' + b"x" * 200_000 + b'"}'
    with (
        GatewayProcess(tmp_path / "gw", edit=edit) as gateway,
        Device.plain({"plainPort": gateway.setup["appPort"]}) as idle,
    ):
        assert idle.connect("idle", gateway.setup["appUsername"], gateway.setup["appPassword"]) == 0
        assert idle.subscribe("telemetry/#", qos=0) == [0]  # and reads nothing from now on
        async with Subscriber(gateway.setup, "telemetry/#") as application:
            with fleet_of(gateway).hub("big-1") as device:
                for _ in range(100):
                    await asyncio.to_thread(device.publish, "devices/big-1/messages/events/", payload)
                    assert len((await application.next())[1]["body"]["blob"]) == 200_000
        dropped = gateway.wait_for("telemetry.dropped")
    assert (dropped["sink"], dropped["cause"]) == ("AmqttSink", "no_room")
