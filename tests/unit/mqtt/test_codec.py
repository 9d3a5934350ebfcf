from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.mqtt import (
    CODECS,
    MQTT_3_1_1,
    MQTT_5,
    Auth,
    Connack,
    Connect,
    Decoder,
    Disconnect,
    MalformedPacket,
    MqttError,
    PacketTooLarge,
    Pingreq,
    Properties,
    Puback,
    Publish,
    Pubrel,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    UnsupportedProtocol,
    Will,
    encode,
)
from tests.conformance.mqtt.vectors import INVALID, VALID
from tests.conformance.mqtt.vectors5 import INVALID_5, VALID_5
from tests.unit.mqtt.strategies import (
    chunks_of,
    client_packets,
    client_packets_5,
    server_packets,
    server_packets_5,
)

relaxed = settings(deadline=None)


def client_decoder(max_packet_size=1 << 20):
    return Decoder(MQTT_3_1_1.from_client, max_packet_size=max_packet_size)


def server_decoder():
    return Decoder(MQTT_3_1_1.from_server, max_packet_size=1 << 20)


def packets_in(decoder, *chunks):
    found = []
    for chunk in chunks:
        decoder.feed(chunk)
        while (packet := decoder.next_packet()) is not None:
            found.append(packet)
    return found


@relaxed
@given(client_packets)
def test_what_a_client_writes_is_what_a_server_reads(packet):
    assert packets_in(client_decoder(), encode(packet)) == [packet]


@relaxed
@given(server_packets)
def test_what_a_server_writes_is_what_a_client_reads(packet):
    assert packets_in(server_decoder(), encode(packet)) == [packet]


@relaxed
@given(client_packets_5)
def test_what_a_client_of_mqtt_5_writes_is_what_a_server_reads(packet):
    assert packets_in(Decoder(MQTT_5.from_client, max_packet_size=1 << 20), MQTT_5.encode(packet)) == [packet]


@relaxed
@given(server_packets_5)
def test_what_a_server_of_mqtt_5_writes_is_what_a_client_reads(packet):
    assert packets_in(Decoder(MQTT_5.from_server, max_packet_size=1 << 20), MQTT_5.encode(packet)) == [packet]


@relaxed
@given(st.lists(client_packets, max_size=6), st.data())
def test_every_split_of_the_bytes_gives_the_same_packets(packets, data):
    stream = b"".join(map(encode, packets))
    decoder = client_decoder()
    assert packets_in(decoder, *data.draw(chunks_of(stream))) == packets
    assert decoder.buffered == 0


@st.composite
def nearly_packets(draw):
    """A vector's bytes with a few of them changed: closer to the decoders' corners than random bytes."""
    data = bytearray(draw(st.sampled_from(VALID + INVALID + VALID_5 + INVALID_5)).data[:200])
    for position in draw(st.lists(st.integers(0, len(data) - 1), max_size=4)):
        data[position] = draw(st.integers(0, 255))
    return bytes(data)


@relaxed
@given(st.binary(max_size=200) | nearly_packets())
@example(b"\x10\x00")
def test_any_bytes_give_packets_or_the_declared_error(data):
    for codec, side in product(CODECS.values(), ("from_client", "from_server")):
        decoders = getattr(codec, side)
        try:
            found = packets_in(Decoder(decoders, max_packet_size=1 << 20), data)
        except MalformedPacket:
            continue
        for packet in found:
            if not isinstance(packet, UnsupportedProtocol):
                # What was accepted keeps the rules of the encoder too, and means the same again.
                own = CODECS[packet.protocol_level] if isinstance(packet, Connect) else codec
                again = Decoder(decoders, max_packet_size=1 << 20)
                assert packets_in(again, own.encode(packet)) == [packet]


def test_packet_of_the_maximum_size_is_read_and_one_byte_more_is_not():
    packet = Publish(topic="t", payload=b"x" * 95)
    data = encode(packet)
    assert len(data) == 100
    assert packets_in(client_decoder(100), data) == [packet]
    with pytest.raises(PacketTooLarge) as caught:
        packets_in(client_decoder(99), data)
    assert str(caught.value) == "a packet of 100 bytes, where 99 are allowed"


def test_packet_too_large_is_refused_before_its_body_arrives():
    with pytest.raises(PacketTooLarge):
        packets_in(client_decoder(16_384), b"\x30\xff\xff\xff\x7f")


def test_maximum_can_be_raised_between_two_packets():
    large = Publish(topic="t", payload=b"x" * 200)
    decoder = client_decoder(16)
    assert packets_in(decoder, encode(Pingreq())) == [Pingreq()]
    decoder.max_packet_size = 300
    assert packets_in(decoder, encode(large)) == [large]


def test_decoder_tells_how_much_it_holds():
    decoder = client_decoder()
    decoder.feed(b"\xc0\x00\xc0")
    assert decoder.buffered == 3
    assert decoder.next_packet() == Pingreq()
    assert decoder.buffered == 1


BAD = [
    Connect(client_id="a\0b"),
    Connect(client_id="\ud800"),
    Connect(client_id="a" * 65536),
    Connect(client_id="a", keep_alive=-1),
    Connect(client_id="a", keep_alive=65536),
    Connect(client_id="a", password=b"pw"),
    Connect(client_id="a", username="u", password=b"x" * 65536),
    Connect(client_id="a", will=Will(topic="", payload=b"")),
    Connect(client_id="a", will=Will(topic="a/#", payload=b"")),
    Connect(client_id="a", will=Will(topic="t", payload=b"", qos=3)),
    Connack(session_present=False, code=6),
    Connack(session_present=False, code=-1),
    Connack(session_present=True, code=5),
    Publish(topic="", payload=b""),
    Publish(topic="+", payload=b""),
    Publish(topic="a\0b", payload=b""),
    Publish(topic="\udfff", payload=b""),
    Publish(topic="é" * 40000, payload=b""),
    Publish(topic="t", payload=b"", qos=3, packet_id=1),
    Publish(topic="t", payload=b"", qos=1),
    Publish(topic="t", payload=b"", qos=1, packet_id=0),
    Publish(topic="t", payload=b"", packet_id=1),
    Publish(topic="t", payload=b"", dup=True),
    Puback(packet_id=0),
    Puback(packet_id=65536),
    Subscribe(packet_id=1, filters=()),
    Subscribe(packet_id=1, filters=(("a#", 0),)),
    Subscribe(packet_id=1, filters=(("a", 3),)),
    Subscribe(packet_id=0, filters=(("a", 0),)),
    Suback(packet_id=1, codes=()),
    Suback(packet_id=1, codes=(3,)),
    Unsubscribe(packet_id=1, filters=()),
    Unsubscribe(packet_id=1, filters=("",)),
    UnsupportedProtocol(level=5),
]


@pytest.mark.covers(mqtt311="2.3.1-1 2.3.1-5 3.2.2-4 3.3.1-2 3.8.3-3 3.9.3-2 3.10.3-2")
@pytest.mark.parametrize(
    "packet", BAD, ids=lambda packet: repr(packet)[:60].encode("ascii", "replace").decode()
)
def test_packet_that_breaks_a_rule_is_not_written(packet):
    with pytest.raises(ValueError) as caught:
        encode(packet)
    assert isinstance(caught.value, MqttError)


BAD_5 = [
    (Connack(session_present=False, code=0x10), "MQTT5-2.4"),
    (Connack(session_present=True, code=0x87), "MQTT5-3.2.2-6"),
    (Publish(topic="t", payload=b"", packet_id=7), "MQTT5-2.2.1-2"),
    (Publish(topic="t", payload=b"", dup=True), "MQTT5-3.3.1-2"),
    (Publish(topic="t", payload=b"", properties=Properties(topic_alias=0)), "MQTT5-2.2.2"),
    (Publish(topic="", payload=b""), "MQTT-4.7.3-1"),
    (Publish(topic="t", payload=b"", qos=1, packet_id=0), "MQTT-2.3.1-1"),
    (Puback(packet_id=1, reason=0x84), "MQTT5-2.4"),
    (Pubrel(packet_id=1, reason=0x10), "MQTT5-2.4"),
    (Suback(packet_id=1, codes=(0x10,)), "MQTT5-2.4"),
    (Unsuback(packet_id=1, codes=(1,)), "MQTT5-2.4"),
    (Disconnect(reason=0x84), "MQTT5-2.4"),
    (Auth(reason=0x04, properties=Properties(authentication_method="SAS")), "MQTT5-2.4"),
]


@pytest.mark.covers(
    mqtt5="2.2.1-2 2.2.1-3 3.2.2-6 3.2.2-8 3.3.1-2 3.3.2-8 3.4.2-1 3.6.2-1 3.9.3-2 3.11.3-2 3.14.2-1 3.15.2-1"
)
@pytest.mark.parametrize(("packet", "tag"), BAD_5, ids=lambda value: repr(value)[:60])
def test_packet_that_breaks_a_rule_of_mqtt_5_is_not_written(packet, tag):
    with pytest.raises(ValueError) as caught:
        MQTT_5.encode(packet)
    assert caught.value.tag == tag
