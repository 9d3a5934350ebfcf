"""Each packet vector: decoded, encoded, fed byte by byte, and sent through the server's state machine."""

import re
from pathlib import Path

import pytest

from gateway import mqtt
from gateway.mqtt import MQTT_5, Decoder, MalformedPacket, Properties
from tests.conformance.mqtt import vectors, vectors5
from tests.conformance.mqtt.vectors import Sender, Vector

SOURCES = Path(mqtt.__file__).parent
LARGE = 1 << 20
VALID = vectors.VALID + vectors5.VALID_5
INVALID = vectors.INVALID + vectors5.INVALID_5

valid = pytest.mark.parametrize("vector", VALID, ids=lambda vector: vector.id)
invalid = pytest.mark.parametrize("vector", INVALID, ids=lambda vector: vector.id)


def decoder_for(vector: Vector) -> Decoder:
    decoders = vector.codec.from_client if vector.sender is Sender.CLIENT else vector.codec.from_server
    return Decoder(decoders, max_packet_size=LARGE)


@valid
def test_packet_is_read(vector):
    decoder = decoder_for(vector)
    decoder.feed(vector.data)
    assert decoder.next_packet() == vector.packet
    assert decoder.next_packet() is None
    assert decoder.buffered == 0


@pytest.mark.covers(mqtt311="2.2.2-1 2.3.1-5", mqtt5="2.2.1-2 2.2.2-1")
@pytest.mark.parametrize("vector", [v for v in VALID if v.canonical], ids=lambda vector: vector.id)
def test_packet_is_written(vector):
    assert vector.codec.encode(vector.packet) == vector.data


@valid
@pytest.mark.covers(
    mqtt311="1.5.3-3 3.1.3-1 3.1.3-3 3.3.2-1",
    mqtt5="1.5.4-3 3.1.3-1 3.1.3-3 3.3.2-1",
)
def test_packet_that_arrives_byte_by_byte_is_read_with_its_last_byte(vector):
    decoder = decoder_for(vector)
    for position in range(len(vector.data) - 1):
        decoder.feed(vector.data[position : position + 1])
        assert decoder.next_packet() is None
    decoder.feed(vector.data[-1:])
    assert decoder.next_packet() == vector.packet


@invalid
def test_malformed_packet_is_refused_with_its_rule(vector):
    decoder = decoder_for(vector)
    decoder.feed(vector.data)
    with pytest.raises(MalformedPacket) as caught:
        decoder.next_packet()
    assert vector.codec.tag(caught.value.tag) == vector.tag


@invalid
def test_malformed_packet_that_arrives_byte_by_byte_breaks_the_same_rule(vector):
    decoder = decoder_for(vector)
    with pytest.raises(MalformedPacket) as caught:  # noqa: PT012 - which byte gives it away does not matter
        for position in range(len(vector.data)):
            decoder.feed(vector.data[position : position + 1])
            decoder.next_packet()
    assert vector.codec.tag(caught.value.tag) == vector.tag


@invalid
def test_decoder_does_not_recover_from_a_malformed_packet(vector):
    decoder = decoder_for(vector)
    decoder.feed(vector.data)
    with pytest.raises(MalformedPacket) as first:
        decoder.next_packet()
    decoder.feed(b"\xc0\x00")
    with pytest.raises(MalformedPacket) as second:
        decoder.next_packet()
    assert str(first.value) == str(second.value)


def new_connection() -> mqtt.ServerConnection:
    return mqtt.ServerConnection(max_connect_packet_size=LARGE, max_packet_size=LARGE, max_inflight=1)


def open_connection(codec: mqtt.Codec) -> mqtt.ServerConnection:
    """One that has agreed to all that MQTT 5 lets agree to."""
    connection = new_connection()
    properties = Properties(authentication_method="SAS", session_expiry_interval=1)
    connect = mqtt.Connect(client_id="dev1")
    if codec is MQTT_5:
        connect = connect._replace(protocol_level=5, properties=properties)
    list(connection.receive_data(codec.encode(connect)))
    connection.accept(session_present=False, properties=Properties(topic_alias_maximum=2))
    return connection


@pytest.mark.parametrize(
    "vector", [v for v in VALID if v.sender is Sender.CLIENT], ids=lambda vector: vector.id
)
def test_server_reports_what_the_client_sent(vector):
    introduces = isinstance(vector.packet, mqtt.Connect | mqtt.UnsupportedProtocol)
    connection = new_connection() if introduces else open_connection(vector.codec)
    assert list(connection.receive_data(vector.data)) == [vector.packet]


@pytest.mark.parametrize(
    "vector", [v for v in INVALID if v.sender is Sender.CLIENT], ids=lambda vector: vector.id
)
def test_server_reports_the_rule_that_the_client_broke_and_nothing_after_it(vector):
    connection = open_connection(vector.codec)
    violation, *rest = connection.receive_data(vector.data)
    assert isinstance(violation, mqtt.Violation)
    assert violation.tag == vector.tag
    assert violation.message.endswith(f"[{vector.tag}]")
    assert rest == []
    assert list(connection.receive_data(b"\xc0\x00")) == []


def test_every_rule_that_the_decoders_check_has_a_vector():
    raised = re.compile(r"""(?:MalformedPacket|InvalidTopic)\((?:f?"[^"]*"), "(MQTT5?-[\d.-]+)\"""")
    checked = {
        tag for file in SOURCES.glob("*.py") for tag in raised.findall(file.read_text(encoding="utf-8"))
    }
    # A topic on the wire can't have these: the string was refused before it was looked at as a topic.
    checked -= {"MQTT-4.7.3-2", "MQTT-4.7.3-3"}
    assert len(checked) > 50
    assert checked - {vector.tag for vector in INVALID} == set()


def test_vectors_are_many_and_told_apart_by_their_descriptions():
    every = VALID + INVALID
    assert len(every) >= 240
    assert len({vector.id for vector in every}) == len(every)


@pytest.mark.covers(
    mqtt311="3.1.3-4 3.1.3-10 3.1.3-11 3.3.2-1 3.8.3-1 3.10.3-1",
    mqtt5="1.5.7-1 3.1.3-4 3.1.3-11 3.1.3-12 3.3.2-1 3.3.2-13 3.3.2-19 3.8.3-1 3.10.3-1",
)
@pytest.mark.parametrize("codec", [mqtt.MQTT_3_1_1, mqtt.MQTT_5], ids=["mqtt311", "mqtt5"])
@pytest.mark.parametrize(
    "make",
    [
        lambda level: mqtt.Connect("XX", protocol_level=level),
        lambda level: mqtt.Connect("c", will=mqtt.Will(topic="XX", payload=b""), protocol_level=level),
        lambda level: mqtt.Connect("c", username="XX", protocol_level=level),
        lambda _: mqtt.Publish("XX", b""),
        lambda _: mqtt.Publish("t", b"", properties=mqtt.Properties(response_topic="XX")),
        lambda _: mqtt.Publish("t", b"", properties=mqtt.Properties(content_type="XX")),
        lambda _: mqtt.Publish("t", b"", properties=mqtt.Properties(user_properties=(("XX", "v"),))),
        lambda _: mqtt.Publish("t", b"", properties=mqtt.Properties(user_properties=(("k", "XX"),))),
        lambda _: mqtt.Subscribe(packet_id=1, filters=(("XX", 0),)),
        lambda _: mqtt.Unsubscribe(packet_id=1, filters=("XX",)),
    ],
    ids=[
        "client id",
        "will topic",
        "user name",
        "topic name",
        "response topic",
        "content type",
        "name of a user property",
        "value of a user property",
        "topic filter",
        "topic filter to unsubscribe",
    ],
)
@pytest.mark.parametrize(
    "ill_formed", [b"\xc3\x28", b"\xff\xfe", b"\xc0\x80"], ids=["cut", "no UTF-8", "overlong NUL"]
)
def test_text_that_is_not_utf_8_is_refused_wherever_it_stands(make, codec, ill_formed):
    packet = make(codec.level)
    if codec is mqtt.MQTT_3_1_1 and getattr(packet, "properties", mqtt.NO_PROPERTIES) != mqtt.NO_PROPERTIES:
        packet = packet._replace(
            topic="XX", properties=mqtt.NO_PROPERTIES
        )  # 3.1.1 has no such field: the topic again
    good = codec.encode(packet)
    assert good.count(b"XX") == 1
    decoder = mqtt.Decoder(codec.from_client, max_packet_size=1000)
    decoder.feed(good.replace(b"XX", ill_formed))
    with pytest.raises(MalformedPacket) as caught:
        decoder.next_packet()
    assert codec.tag(caught.value.tag) == codec.tag("MQTT-1.5.3-1")
