"""MQTT 5 as a device sees it: a real client (paho-mqtt, its own codec) over TLS; AUTH by hand: paho can't send it."""

import queue
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from gateway import mqtt
from gateway.mqtt import MQTT_5, Decoder
from tests.support.device import TIMEOUT_S, Device, Fleet
from tests.support.gateway_process import GatewayProcess
from tests.support.subscriber import Subscriber

TWIN_RESPONSES = "$iothub/twin/res/#"


class Client:
    """paho-mqtt on its own thread; what it is told comes out of queues."""

    def __init__(self, setup: dict[str, Any], client_id: str) -> None:
        self.connacks: queue.Queue[tuple[Any, Any, Any]] = queue.Queue()
        self.disconnects: queue.Queue[tuple[Any, Any]] = queue.Queue()
        self.answers: queue.Queue[Any] = queue.Queue()
        self.messages: queue.Queue[Any] = queue.Queue()
        self.paho = paho.Client(
            CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv5, reconnect_on_failure=False
        )
        self.paho.tls_set_context(ssl.create_default_context(cafile=setup["caCertificate"]))
        self.paho.on_connect = lambda _c, _u, flags, code, properties: self.connacks.put(
            (flags, code, properties)
        )
        self.paho.on_disconnect = lambda _c, _u, _f, code, properties: self.disconnects.put(
            (code, properties)
        )
        self.paho.on_subscribe = lambda _c, _u, _mid, codes, _p: self.answers.put(codes)
        self.paho.on_unsubscribe = lambda _c, _u, _mid, codes, _p: self.answers.put(codes)
        self.paho.on_message = lambda _c, _u, message: self.messages.put(message)
        self._port = setup["port"]

    def connect(
        self, username: str, password: str, *, clean_start: bool = True, **properties: Any
    ) -> tuple[Any, Any, Any]:
        self.paho.username_pw_set(username, password)
        wanted = Properties(PacketTypes.CONNECT)
        for name, value in properties.items():
            setattr(wanted, name, value)
        self.paho.connect("localhost", self._port, 60, clean_start=clean_start, properties=wanted)
        self.paho.loop_start()
        return self.connacks.get(timeout=TIMEOUT_S)

    def subscribe(self, topic_filter: str) -> Any:
        self.paho.subscribe(topic_filter, options=SubscribeOptions(qos=1))
        return self.answers.get(timeout=TIMEOUT_S)

    def end(self) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()


@pytest.fixture
def connected(gateway: GatewayProcess, fleet: Fleet) -> Iterator[Any]:
    """Makes clients with an accepted session, and ends them."""
    clients: list[Client] = []

    def connect(device_id: str, **properties: Any) -> Client:
        client = Client(gateway.setup, device_id)
        clients.append(client)
        _, code, client.told = client.connect(*fleet.hub_login(device_id), **properties)  # type: ignore[attr-defined]
        assert not code.is_failure
        return client

    yield connect
    for client in clients:
        client.end()


@pytest.mark.covers(mqtt5="3.2.2-9")
async def test_a_device_of_mqtt_5_is_told_the_limits_and_its_messages_arrive_with_their_properties(
    gateway: GatewayProcess, fleet: Fleet, connected: Any
) -> None:
    async with Subscriber(gateway.setup, "telemetry/#") as application:
        client = connected("five-1", SessionExpiryInterval=60)
        assert client.told.MaximumQoS == 1
        assert client.told.RetainAvailable == 0
        assert client.told.TopicAliasMaximum == 10
        properties = Properties(PacketTypes.PUBLISH)
        properties.UserProperty = [("line", "3")]
        properties.ContentType = "application/json"
        for topic in ("devices/five-1/messages/events/alert=yes", ""):
            properties.TopicAlias = 1
            client.paho.publish(topic, b'{"t": 1}', qos=1, properties=properties)
        for _ in range(2):
            _, envelope = await application.next()
            assert envelope["properties"] == {"alert": "yes", "line": "3"}
            assert envelope["systemProperties"] == {"ct": "application/json"}


@pytest.mark.covers(mqtt5="3.1.4-2")
def test_a_refused_device_of_mqtt_5_reads_why(gateway: GatewayProcess, fleet: Fleet) -> None:
    username, _ = fleet.hub_login("five-2")
    old = fleet.token("localhost/devices/five-2", "five-2", expires_in_s=-60)
    strange = fleet.token("localhost/devices/five-2", "five-3")
    for password, words in ((old, "token expired"), (strange, "the credential is not accepted")):
        client = Client(gateway.setup, "five-2")
        _, code, told = client.connect(username, password)
        client.end()
        assert code.value == 0x87
        assert told.ReasonString == words


@pytest.mark.covers(mqtt5="3.1.4-3")
def test_a_device_that_is_taken_over_or_blocked_reads_why_its_session_ended(
    gateway: GatewayProcess, fleet: Fleet, connected: Any
) -> None:
    older = connected("five-4")
    connected("five-4")
    code, _ = older.disconnects.get(timeout=TIMEOUT_S)
    assert code.value == 0x8E
    blocked = connected("five-5")
    gateway.cli("device", "block", "five-5")
    code, told = blocked.disconnects.get(timeout=TIMEOUT_S)
    assert (code.value, told.ReasonString) == (0x87, "device blocked")


@pytest.mark.covers(mqtt5="3.1.3-6 3.1.3-7 3.2.2-16")
def test_a_device_without_a_client_id_is_called_by_the_name_it_proved(
    connected: Any, gateway: GatewayProcess, fleet: Fleet
) -> None:
    client = Client(gateway.setup, "")
    _, code, told = client.connect(*fleet.hub_login("five-6"))
    assert not code.is_failure
    assert told.AssignedClientIdentifier == "five-6"
    client.end()
    gateway.wait_for("session.closed", device_id="five-6")


def test_subscriptions_are_kept_for_the_session_expiry_and_not_longer_than_the_connection_without(
    gateway: GatewayProcess, fleet: Fleet
) -> None:
    def present(**properties: Any) -> bool:
        client = Client(gateway.setup, "five-7")
        flags, code, _ = client.connect(*fleet.hub_login("five-7"), clean_start=False, **properties)
        assert not code.is_failure
        client.subscribe(TWIN_RESPONSES)
        client.end()
        gateway.wait_for("session.closed", device_id="five-7", reason="disconnected")
        gateway.log.clear()
        return bool(flags.session_present)

    assert present(SessionExpiryInterval=60) is False
    assert present() is True
    assert present() is False


def test_an_unknown_topic_filter_is_answered_and_the_session_goes_on(connected: Any) -> None:
    client = connected("five-8")
    (code,) = client.subscribe("somebody/else")
    assert code.value == 0x8F
    (code,) = client.subscribe(TWIN_RESPONSES)
    assert code.value == 1
    client.paho.unsubscribe("never/subscribed")
    (code,) = client.answers.get(timeout=TIMEOUT_S)
    assert code.value == 0x11


def test_a_request_is_answered_over_mqtt_5(connected: Any) -> None:
    client = connected("five-9")
    client.subscribe(TWIN_RESPONSES)
    client.paho.publish("$iothub/twin/GET/?$rid=7", b"", qos=1)
    assert client.messages.get(timeout=TIMEOUT_S).topic == "$iothub/twin/res/200/?$rid=7"


class Wire:
    """MQTT 5 on the plain listener, packet by packet."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._decoder = Decoder(MQTT_5.from_server, max_packet_size=1 << 20)

    def ask(self, packet: mqtt.Packet) -> mqtt.Packet:
        self._device.send(MQTT_5.encode(packet))
        while (answer := self._decoder.next_packet()) is None:
            data = self._device.socket.recv(65536)
            assert data, "closed without an answer"
            self._decoder.feed(data)
        return answer

    def is_closed(self) -> bool:
        return self._device.is_closed()


@contextmanager
def sas_session(gateway: GatewayProcess, fleet: Fleet, device_id: str) -> Iterator[Wire]:
    username, token = fleet.hub_login(device_id)
    properties = mqtt.Properties(authentication_method="SAS", authentication_data=token.encode())
    with Device.plain(gateway.setup) as device:
        wire = Wire(device)
        connack = wire.ask(
            mqtt.Connect(device_id, username=username, protocol_level=5, properties=properties)
        )
        assert isinstance(connack, mqtt.Connack)
        assert (connack.code, connack.properties.authentication_method) == (0, "SAS")
        yield wire


def again(token: str) -> mqtt.Auth:
    properties = mqtt.Properties(authentication_method="SAS", authentication_data=token.encode())
    return mqtt.Auth(reason=0x19, properties=properties)


def test_a_new_token_by_auth_renews_the_session_without_a_new_connection(
    gateway: GatewayProcess, fleet: Fleet
) -> None:
    with sas_session(gateway, fleet, "renew-1") as wire:
        _, token = fleet.hub_login("renew-1", expires_in_s=7200)
        answer = wire.ask(again(token))
        assert answer == mqtt.Auth(properties=mqtt.Properties(authentication_method="SAS"))
        assert wire.ask(mqtt.Pingreq()) == mqtt.Pingresp()
    renewed = gateway.wait_for("session.renewed", device_id="renew-1")
    assert renewed["expires_at"] > 0


@pytest.mark.covers(mqtt5="4.12.0-4")
def test_a_wrong_token_beside_its_method_is_refused_by_a_connack_and_the_connection_is_closed(
    gateway: GatewayProcess, fleet: Fleet
) -> None:
    username, _ = fleet.hub_login("five-11")
    wrong = fleet.token("localhost/devices/five-11", "five-12").encode()
    properties = mqtt.Properties(authentication_method="SAS", authentication_data=wrong)
    with Device.plain(gateway.setup) as device:
        connack = Wire(device).ask(
            mqtt.Connect("five-11", username=username, protocol_level=5, properties=properties)
        )
        assert isinstance(connack, mqtt.Connack)
        assert connack.code == 0x87
        assert device.is_closed()


@pytest.mark.covers(mqtt5="4.12.1-2")
def test_a_wrong_token_by_auth_ends_the_session_and_says_so(gateway: GatewayProcess, fleet: Fleet) -> None:
    with sas_session(gateway, fleet, "renew-2") as wire:
        answer = wire.ask(again(fleet.token("localhost/devices/renew-2", "renew-1")))
        assert wire.is_closed()
    assert isinstance(answer, mqtt.Disconnect)
    assert (answer.reason, answer.properties.reason_string) == (0x87, "the credential is not accepted")
    gateway.wait_for(
        "session.closed", device_id="renew-2", reason="renewal_refused", detail="token_signature_invalid"
    )


def test_nobody_renews_with_the_token_of_another_device(gateway: GatewayProcess, fleet: Fleet) -> None:
    with sas_session(gateway, fleet, "renew-3") as wire:
        _, token = fleet.hub_login("renew-1")
        answer = wire.ask(again(token))  # another device's token
        assert isinstance(answer, mqtt.Disconnect)
        assert answer.properties.reason_string == "the token's sr does not name this device here"


@pytest.mark.covers(mqtt5="4.12.0-1")
def test_another_authentication_method_is_refused(gateway: GatewayProcess, fleet: Fleet) -> None:
    username, token = fleet.hub_login("five-10")
    with Device.plain(gateway.setup) as device:
        properties = mqtt.Properties(authentication_method="SCRAM-SHA-1")
        connack = Wire(device).ask(
            mqtt.Connect(
                "five-10", username=username, password=token.encode(), protocol_level=5, properties=properties
            )
        )
    assert isinstance(connack, mqtt.Connack)
    assert connack.code == 0x8C
