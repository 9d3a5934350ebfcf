"""Every packet that breaks a rule of MQTT, sent to a device's connection: it is closed, and the log names the rule."""

import pytest
from structlog.testing import capture_logs

from gateway.mqtt import (
    CODECS,
    MQTT_5,
    Auth,
    Connack,
    Connect,
    Decoder,
    Disconnect,
    Packet,
    Pingreq,
    Properties,
    Puback,
    Publish,
    Subscribe,
)
from gateway.session import CloseReason
from tests.conformance.mqtt.vectors import INVALID, Sender, Vector
from tests.conformance.mqtt.vectors5 import INVALID_5
from tests.unit.edge.test_connection import Bench

levels = pytest.mark.parametrize("level", [4, 5], ids=["mqtt311", "mqtt5"])

_CONNECT = 0x10


def open_session(level: int) -> Bench:
    bench = Bench()
    connect = Connect("t-1", username="u", password=b"p", keep_alive=60, protocol_level=level)
    if level == MQTT_5.level:
        properties = Properties(authentication_method="SAS", session_expiry_interval=1)
        connect = connect._replace(properties=properties)
    bench.connection.data_received(CODECS[level].encode(connect))
    return bench


def read(level: int, written: bytes) -> list[Packet]:
    decoder = Decoder(CODECS[level].from_server, max_packet_size=1 << 20)
    decoder.feed(written)
    return list(iter(decoder.next_packet, None))


@pytest.mark.covers(mqtt311="3.1.4-1", mqtt5="3.1.4-1")
@pytest.mark.parametrize(
    "vector",
    [one for one in INVALID + INVALID_5 if one.sender is Sender.CLIENT],
    ids=lambda vector: vector.id,
)
async def test_who_breaks_a_rule_is_closed_and_the_log_names_the_rule(vector: Vector) -> None:
    level = vector.codec.level
    is_first = vector.data[0] & 0xF0 == _CONNECT
    bench = Bench() if is_first else open_session(level)
    before = len(bench.channel.written)
    with capture_logs() as lines:
        for piece in (vector.data, CODECS[level].encode(Pingreq())):
            bench.connection.data_received(piece)

    assert bench.channel.closed
    (line,) = [line for line in lines if line["event"] in ("connection.closed", "session.closed")]
    assert line["reason"] == CloseReason.PROTOCOL_VIOLATED
    said = read(level, bench.channel.written[before:])
    if level == MQTT_5.level and line["detail"].endswith(f"[{vector.tag}]"):
        assert [type(one) for one in said] == [Connack if is_first else Disconnect]
    else:  # before its level was read
        assert line["detail"].endswith(f"[{vector.tag.replace('MQTT5', 'MQTT')}]")
        assert said == []


@pytest.mark.covers(mqtt311="3.1.0-1", mqtt5="3.1.0-1")
@levels
@pytest.mark.parametrize(
    "packet", [Pingreq(), Publish("a", b""), Disconnect(), Subscribe(packet_id=1, filters=(("a", 0),))]
)
async def test_who_does_not_begin_with_a_connect_is_closed_without_a_word(level: int, packet: Packet) -> None:
    bench = Bench()
    connect = Connect("t-1", username="u", password=b"p", protocol_level=level)
    bench.connection.data_received(CODECS[level].encode(packet) + CODECS[level].encode(connect))
    assert bench.channel.closed
    assert bench.channel.written == b""


@pytest.mark.covers(mqtt311="3.1.0-2 4.8.0-1", mqtt5="3.1.0-2 3.2.0-2")
@levels
async def test_a_second_connect_ends_the_connection_and_gets_no_second_connack(level: int) -> None:
    bench = open_session(level)
    bench.connection.data_received(CODECS[level].encode(Connect("t-1", protocol_level=level)))
    assert bench.channel.closed
    assert sum(isinstance(one, Connack) for one in read(level, bench.channel.written)) == 1


@pytest.mark.covers(mqtt311="3.14.4-2")
@levels
async def test_what_comes_behind_a_disconnect_is_not_heard(level: int) -> None:
    bench = open_session(level)
    before = bench.channel.written
    message = Publish("devices/t-1/messages/events/", b"")
    data = b"".join(map(CODECS[level].encode, (Disconnect(), message, Pingreq())))
    bench.connection.data_received(data)
    assert bench.channel.closed
    assert bench.channel.written == before
    assert bench.session.published == []


TOPIC = "devices/t-1/messages/events/"


@pytest.mark.covers(mqtt5="3.2.2-11 3.2.2-14 3.2.2-17 3.3.2-9 3.3.4-6 4.12.0-5 4.13.1-1")
@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (Publish(TOPIC, b"", qos=2, packet_id=1), 0x9B),
        (Publish(TOPIC, b"", retain=True), 0x9A),
        (Publish(TOPIC, b"", properties=Properties(topic_alias=11)), 0x94),
        (Publish(TOPIC, b"", properties=Properties(subscription_identifiers=(1,))), 0x82),
        (Subscribe(packet_id=1, filters=(("$share/g/a", 0),)), 0x9E),
        (Auth(reason=0x19, properties=Properties(authentication_method="other")), 0x82),
    ],
    ids=[
        "QoS 2",
        "RETAIN",
        "an alias",
        "a subscription identifier",
        "a shared subscription",
        "another method",
    ],
)
async def test_who_does_what_the_connack_ruled_out_is_told_and_closed(packet: Packet, reason: int) -> None:
    bench = open_session(5)
    bench.connection.data_received(MQTT_5.encode(packet))
    last = read(5, bench.channel.written)[-1]
    assert isinstance(last, Disconnect)
    assert last.reason == reason
    assert bench.channel.closed
    assert bench.session.published == []


@pytest.mark.covers(mqtt5="2.2.1-4 3.3.4-9 3.3.4-10 4.3.2-3 4.9.0-1 4.9.0-2 4.9.0-3")
async def test_a_device_gets_no_more_messages_at_once_than_it_takes_and_its_pings_are_answered() -> None:
    bench = Bench()
    connect = Connect("t-1", protocol_level=5, properties=Properties(receive_maximum=2))
    bench.connection.data_received(MQTT_5.encode(connect))
    for _ in range(3):
        bench.connection.publish("t", b"", 1)
    bench.connection.data_received(MQTT_5.encode(Pingreq()))
    _, first, second, third, _ = read(5, bench.channel.written)
    assert isinstance(first, Publish)
    assert isinstance(second, Publish)
    assert isinstance(third, Publish)
    assert first.packet_id != second.packet_id
    assert [each.qos for each in (first, second, third)] == [1, 1, 0]
    bench.connection.data_received(MQTT_5.encode(Puback(packet_id=first.packet_id or 0)))
    bench.connection.publish("t", b"", 1)
    last = read(5, bench.channel.written)[-1]
    assert isinstance(last, Publish)
    assert last.qos == 1


@pytest.mark.covers(mqtt5="3.1.2-24 3.1.2-25")
async def test_a_message_larger_than_a_device_takes_is_left_out_and_the_session_goes_on() -> None:
    bench = Bench()
    connect = Connect("t-1", protocol_level=5, properties=Properties(maximum_packet_size=256))
    bench.connection.data_received(MQTT_5.encode(connect))
    before = bench.channel.written
    assert not bench.connection.publish("t", bytes(300), 1)
    assert (bench.channel.written, bench.channel.closed) == (before, False)
    assert bench.connection.publish("t", b"", 1)


@pytest.mark.covers(mqtt5="4.12.0-7")
async def test_auth_where_no_method_was_named_ends_the_connection() -> None:
    bench = Bench()
    bench.connection.data_received(MQTT_5.encode(Connect("t-1", protocol_level=5)))
    auth = Auth(reason=0x19, properties=Properties(authentication_method="SAS"))
    bench.connection.data_received(MQTT_5.encode(auth))
    last = read(5, bench.channel.written)[-1]
    assert isinstance(last, Disconnect)
    assert last.reason == 0x82
    assert bench.channel.closed


@pytest.mark.covers(mqtt5="3.14.0-1 3.14.4-1")
async def test_nothing_is_said_before_the_connack_or_after_a_disconnect() -> None:
    bench = open_session(5)
    bench.connection.close(CloseReason.TAKEN_OVER)
    assert [type(one) for one in read(5, bench.channel.written)] == [Connack, Disconnect]
    assert not bench.connection.publish("t", b"", 0)
    bench.connection.data_received(MQTT_5.encode(Pingreq()))
    assert [type(one) for one in read(5, bench.channel.written)] == [Connack, Disconnect]
