"""What both versions of MQTT ask of a server, at the device listener, over sockets: docs/conformance.md.

`tests/conformance/interop` asks the same of a general server, which is no part of the gateway.
"""

from collections.abc import Callable, Iterator

import pytest

from gateway import mqtt
from gateway.mqtt import (
    CODECS,
    MQTT_5_LEVEL,
    Connack,
    Connect,
    Decoder,
    Pingreq,
    Pingresp,
    Properties,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)
from tests.support.device import Device, Fleet

covers = pytest.mark.covers

TWIN_RESPONSES = "$iothub/twin/res/#"
METHODS = "$iothub/methods/POST/#"
KEPT = Properties(session_expiry_interval=60)


@pytest.fixture(params=[4, 5], ids=["mqtt311", "mqtt5"])
def level(request: pytest.FixtureRequest) -> int:
    """The protocol level."""
    given: int = request.param
    return given


class Wire:
    """A device's connection, packet by packet."""

    def __init__(self, device: Device, level: int) -> None:
        self._device = device
        self._level = level
        self._decoder = Decoder(CODECS[level].from_server, max_packet_size=1 << 20)

    def connect(self, device_id: str, login: tuple[str, str], *, clean: bool) -> None:
        username, token = login
        connect = Connect(
            device_id, clean_session=clean, keep_alive=60, username=username, password=token.encode(),
            protocol_level=self._level, properties=KEPT if self._level == MQTT_5_LEVEL else mqtt.NO_PROPERTIES,
        )  # fmt: skip
        self.send(connect)
        answer = self.next()
        assert isinstance(answer, Connack)
        assert answer.code == 0
        self.connack = answer

    def send(self, *packets: mqtt.Packet) -> None:
        self._device.send(b"".join(map(CODECS[self._level].encode, packets)))

    def next(self) -> mqtt.Packet:
        """The next packet; an error if the gateway hangs up."""
        while (packet := self._decoder.next_packet()) is None:
            data = self._device.socket.recv(65536)
            assert data, "closed without an answer"
            self._decoder.feed(data)
        return packet

    def ask(self, *packets: mqtt.Packet) -> list[mqtt.Packet]:
        """All that comes for `packets`: the answer to a ping behind them ends it."""
        self.send(*packets, Pingreq())
        return list(iter(self.next, Pingresp()))

    def twin(self, request_id: str, *, qos: int = 0, packet_id: int | None = None) -> list[mqtt.Packet]:
        """All that comes for a request for the twin, up to its answer: the store may be asked first."""
        self.send(twin_request(request_id, qos=qos, packet_id=packet_id))
        packets = [self.next()]
        while not isinstance(packets[-1], Publish):
            packets.append(self.next())
        return packets


def twin_request(request_id: str, *, qos: int = 0, packet_id: int | None = None) -> Publish:
    return Publish(f"$iothub/twin/GET/?$rid={request_id}", b"", qos, packet_id=packet_id)


@pytest.fixture
def wire(fleet: Fleet, level: int) -> Iterator[Callable[..., Wire]]:
    """Makes connections with an accepted session, and ends them."""
    devices: list[Device] = []

    def connect(device_id: str, *, clean: bool = True) -> Wire:
        devices.append(Device.plain(fleet.setup))
        wire = Wire(devices[-1], level)
        wire.connect(device_id, fleet.hub_login(device_id), clean=clean)
        return wire

    yield connect
    for device in devices:
        device.socket.close()


@covers(
    mqtt311="2.3.1-7 3.2.0-1 3.8.4-1 3.8.4-2 3.8.4-4 3.8.4-5 3.9.3-1 7.1.1-1",
    mqtt5="2.2.1-6 3.2.0-1 3.2.2-10 3.8.4-1 3.8.4-2 3.8.4-5 3.8.4-6 3.8.4-7 3.9.3-1 4.2-1",
)
def test_subscriptions_are_answered_each_in_its_place_and_quality_of_service_2_becomes_1(
    wire: Callable[..., Wire], level: int
) -> None:
    device = wire("protocol-1")
    own = "devices/protocol-1/messages/devicebound/#"
    filters = ((TWIN_RESPONSES, 2), (METHODS, 1), (own, 0))
    assert device.ask(Subscribe(packet_id=7, filters=filters)) == [Suback(packet_id=7, codes=(1, 1, 0))]
    if level == MQTT_5_LEVEL:
        somebody = Subscribe(packet_id=8, filters=((own, 1), ("somebody/else", 1), (METHODS, 0)))
        assert device.ask(somebody) == [Suback(packet_id=8, codes=(1, 0x8F, 0))]


@covers(
    mqtt311="2.3.1-4 3.8.4-3 3.8.4-6 4.1.0-2 4.3.2-1",
    mqtt5="2.2.1-4 3.8.4-3 3.8.4-8 4.1.0-1 4.3.2-1 4.3.2-2",
)
def test_a_filter_that_is_subscribed_to_again_has_the_quality_of_service_asked_for_last(
    wire: Callable[..., Wire],
) -> None:
    device = wire("protocol-2")
    in_flight = []  # nothing is acknowledged
    for qos in (1, 0, 1):
        device.ask(Subscribe(packet_id=1, filters=((TWIN_RESPONSES, qos),)))
        (answer,) = device.twin("a")
        assert isinstance(answer, Publish)
        assert answer.topic == "$iothub/twin/res/200/?$rid=a"
        assert (answer.qos, answer.dup, answer.packet_id is None) == (qos, False, qos == 0)
        in_flight += [answer.packet_id] if qos else []
    assert len(set(in_flight)) == 2


@covers(mqtt311="3.3.1-9 4.3.1-1", mqtt5="3.3.1-12 4.3.1-1")
def test_what_the_gateway_sends_is_neither_a_duplicate_nor_retained(wire: Callable[..., Wire]) -> None:
    device = wire("protocol-3")
    for qos in (0, 1):
        device.ask(Subscribe(packet_id=1, filters=((TWIN_RESPONSES, qos),)))
        device.twin("a")
        _, answer = device.ask(twin_request("b", qos=1, packet_id=9)._replace(dup=True))
        assert isinstance(answer, Publish)
        assert (answer.dup, answer.retain) == (False, False)


@covers(
    mqtt311="3.10.4-1 3.10.4-2 3.10.4-4 3.10.4-5 3.10.4-6 2.3.1-7",
    mqtt5="3.10.4-1 3.10.4-2 3.10.4-4 3.10.4-5 3.10.4-6 3.11.3-1 2.2.1-6",
)
def test_every_unsubscribe_is_answered_and_ends_what_it_names_and_nothing_else(
    wire: Callable[..., Wire], level: int
) -> None:
    def unsuback(packet_id: int, *codes: int) -> list[mqtt.Packet]:
        return [Unsuback(packet_id=packet_id, codes=codes if level == MQTT_5_LEVEL else ())]

    device = wire("protocol-4")
    device.ask(Subscribe(packet_id=1, filters=((TWIN_RESPONSES, 0),)))
    for nothing in ("nobody/asked", "#", "$iothub/twin/res/+"):
        assert device.ask(Unsubscribe(packet_id=2, filters=(nothing,))) == unsuback(2, 0x11)
    assert len(device.twin("a")) == 1
    both = Unsubscribe(packet_id=3, filters=("nobody/asked", TWIN_RESPONSES))
    assert device.ask(both) == unsuback(3, 0x11, 0)
    assert device.ask(twin_request("b")) == []


@covers(
    mqtt311="2.3.1-6 3.3.4-1 4.3.2-2 4.6.0-2 3.12.4-1",
    mqtt5="2.2.1-5 3.3.4-1 4.3.2-4 4.3.2-5 4.6.0-2 3.12.4-1",
)
def test_messages_are_acknowledged_in_their_order_and_an_acknowledged_identifier_is_free_again(
    wire: Callable[..., Wire],
) -> None:
    device = wire("protocol-5")
    telemetry = Publish("devices/protocol-5/messages/events/", b"{}")
    assert device.ask(telemetry) == []
    assert device.ask(*(telemetry._replace(qos=1, packet_id=one) for one in (9, 5, 9, 65535))) == [
        Puback(packet_id=one) for one in (9, 5, 9, 65535)
    ]
    device.ask(Subscribe(packet_id=1, filters=((TWIN_RESPONSES, 0),)))
    answers = [one for request in "ab" for one in device.twin(request, qos=1, packet_id=9)]
    assert [one.topic for one in answers if isinstance(one, Publish)] == [
        "$iothub/twin/res/200/?$rid=a", "$iothub/twin/res/200/?$rid=b",
    ]  # fmt: skip
    assert answers.count(Puback(packet_id=9)) == 2


@covers(mqtt311="3.1.3-2 3.1.3-4 3.1.3-5", mqtt5="3.1.3-2 3.1.3-4 3.1.3-5")
@pytest.mark.parametrize(
    "device_id", ["0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ", "x"]
)
def test_every_client_id_that_a_server_must_take_is_taken_and_names_its_session(
    wire: Callable[..., Wire], device_id: str, level: int
) -> None:
    device = wire(device_id, clean=False)
    device.ask(Subscribe(packet_id=1, filters=((TWIN_RESPONSES, 0),)))
    other = wire(f"{device_id[:8]}-{level}", clean=False)
    assert not other.connack.session_present
    assert wire(device_id, clean=False).connack.session_present


def test_an_answer_that_was_not_acknowledged_is_not_sent_again_and_its_request_may_be_repeated(
    wire: Callable[..., Wire],
) -> None:
    first = wire("protocol-6", clean=False)
    first.ask(Subscribe(packet_id=1, filters=((TWIN_RESPONSES, 1),)))
    (answer,) = first.twin("a")  # and no PUBACK for it
    assert isinstance(answer, Publish)
    again = wire("protocol-6", clean=False)
    assert again.connack.session_present
    assert again.ask() == []
    (answer,) = again.twin("a")
    assert isinstance(answer, Publish)
    assert not answer.dup
