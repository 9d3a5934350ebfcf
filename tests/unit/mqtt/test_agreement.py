"""MQTT 5: what CONNECT and CONNACK agreed on, and how a server holds both ends to it."""

import dataclasses
from typing import Any

import pytest

from gateway.mqtt import (
    MQTT_5,
    Auth,
    Connack,
    Connect,
    Decoder,
    Disconnect,
    InflightFull,
    InvalidPacket,
    Packet,
    Pingreq,
    Pingresp,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    ReasonCode,
    ServerConnection,
    State,
    Suback,
    Subscribe,
    TooLargeForClient,
    Unsuback,
    Violation,
    WrongState,
)
from tests.conformance.mqtt.vectors import wire


def read(data: bytes) -> Packet | None:
    decoder = Decoder(MQTT_5.from_server, max_packet_size=1 << 20)
    decoder.feed(data)
    return decoder.next_packet()


def new_connection(**limits: int) -> ServerConnection:
    limits = {"max_connect_packet_size": 4096, "max_packet_size": 1 << 20, "max_inflight": 4, **limits}
    return ServerConnection(**limits)


def open_connection(
    wanted: Properties | None = None, own: Properties | None = None, **limits: int
) -> ServerConnection:
    connection = new_connection(**limits)
    connect = Connect("dev1", protocol_level=5, properties=wanted or Properties())
    assert list(connection.receive_data(MQTT_5.encode(connect))) == [connect]
    connection.accept(session_present=False, properties=own or Properties())
    return connection


def sent_to(connection: ServerConnection, packet: Packet) -> object:
    (event,) = connection.receive_data(MQTT_5.encode(packet))
    return event


def last_word(event: object) -> tuple[int, str | None]:
    assert isinstance(event, Violation)
    answer = read(event.answer)
    assert isinstance(answer, Disconnect)
    assert answer.properties.reason_string is not None
    return answer.reason, event.tag


@pytest.mark.covers(mqtt5="3.1.4-5 3.2.0-1")
def test_a_client_of_mqtt_5_is_answered_in_mqtt_5() -> None:
    connection = new_connection()
    list(connection.receive_data(MQTT_5.encode(Connect("dev1", protocol_level=5))))
    assert connection.level == 5
    packet = connection.accept(session_present=True, properties=Properties(maximum_qos=1))
    assert packet == wire("20 05 01 00 02 24 01")


@pytest.mark.covers(mqtt5="3.2.0-2")
def test_a_connect_of_mqtt_5_is_answered_once() -> None:
    connection = open_connection()
    with pytest.raises(WrongState):
        connection.accept(session_present=False)
    with pytest.raises(WrongState):
        connection.refuse(0x87)


@pytest.mark.covers(mqtt5="3.1.4-6")
def test_what_came_in_one_piece_with_a_refused_connect_is_not_heard() -> None:
    connection = new_connection()
    connect = Connect("dev1", protocol_level=5)
    events = []
    for event in connection.receive_data(
        b"".join(map(MQTT_5.encode, (connect, Publish("a", b"x"), Pingreq())))
    ):
        events.append(event)
        connection.refuse(0x87)
    assert events == [connect]
    assert list(connection.receive_data(MQTT_5.encode(Pingreq()))) == []


@pytest.mark.covers(mqtt5="3.2.2-6")
def test_a_refusal_says_why() -> None:
    connection = new_connection()
    list(connection.receive_data(MQTT_5.encode(Connect("dev1", protocol_level=5))))
    packet = connection.refuse(0x87, Properties(reason_string="token expired"))
    assert read(packet) == Connack(
        session_present=False, code=0x87, properties=Properties(reason_string="token expired")
    )
    assert connection.state is State.CLOSED


def test_a_client_without_a_client_id_may_be_accepted_whatever_its_clean_start() -> None:
    connection = new_connection()
    list(connection.receive_data(MQTT_5.encode(Connect("", clean_session=False, protocol_level=5))))
    assert connection.state is State.DECIDING


@pytest.mark.covers(mqtt5="3.1.4-1 4.13.1-1")
def test_a_malformed_connect_of_mqtt_5_is_told_so() -> None:
    connection = new_connection()
    (violation,) = connection.receive_data(wire("10 11 0004 'MQTT' 05 03 003c 00 0004 'dev1'"))
    assert isinstance(violation, Violation)
    answer = read(violation.answer)
    assert isinstance(answer, Connack)
    assert answer.code == ReasonCode.MALFORMED_PACKET
    assert violation.tag == "MQTT5-3.1.2-3"


@pytest.mark.covers(mqtt311="3.1.4-1 4.8.0-1")
def test_a_malformed_connect_of_mqtt_3_1_1_gets_no_word() -> None:
    (violation,) = new_connection().receive_data(wire("10 10 0004 'MQTT' 04 03 003c 0004 'dev1'"))
    assert isinstance(violation, Violation)
    assert violation.answer == b""


def test_a_client_that_takes_next_to_nothing_is_refused() -> None:
    connect = Connect("dev1", protocol_level=5, properties=Properties(maximum_packet_size=100))
    (violation,) = new_connection().receive_data(MQTT_5.encode(connect))
    assert isinstance(violation, Violation)
    answer = read(violation.answer)
    assert isinstance(answer, Connack)
    assert answer.code == ReasonCode.PACKET_TOO_LARGE


@pytest.mark.covers(mqtt5="3.3.2-12")
def test_an_alias_stands_for_the_topic_it_was_set_with_until_it_is_set_again() -> None:
    connection = open_connection(own=Properties(topic_alias_maximum=2))
    alias = Properties(topic_alias=2)
    for topic, expected in (("a", "a"), ("", "a"), ("b", "b"), ("", "b")):
        event = sent_to(connection, Publish(topic, b"x", properties=alias))
        assert isinstance(event, Publish)
        assert event.topic == expected


@pytest.mark.parametrize(
    ("packet", "reason", "tag"),
    [
        (Publish("", b"", properties=Properties(topic_alias=1)), 0x94, "MQTT5-3.3.2-7"),
        (Publish("a", b"", properties=Properties(topic_alias=3)), 0x94, "MQTT5-3.3.2-9"),
        (Publish("a", b"", qos=2, packet_id=1), 0x9B, "MQTT5-3.2.2-11"),
        (Publish("a", b"", retain=True), 0x9A, "MQTT5-3.2.2-14"),
        (Publish("a", b"", properties=Properties(subscription_identifiers=(1,))), 0x82, "MQTT5-3.3.4-6"),
        (
            Subscribe(packet_id=1, filters=(("a", 0),), properties=Properties(subscription_identifiers=(1,))),
            0xA1,
            "MQTT5-3.2.2.3.12",
        ),
        (Subscribe(packet_id=1, filters=(("$share/g/a", 0),)), 0x9E, "MQTT5-3.2.2.3.13"),
        (Subscribe(packet_id=1, filters=(("a/+", 0),)), 0xA2, "MQTT5-3.2.2.3.11"),
        (Disconnect(properties=Properties(session_expiry_interval=5)), 0x82, "MQTT5-3.14.2.2.2"),
        (Auth(reason=0x19, properties=Properties(authentication_method="SAS")), 0x82, "MQTT5-4.12.0-7"),
        (Connect("dev1", protocol_level=5), 0x82, "MQTT5-3.1.0-2"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str | int) else str(value),
)
@pytest.mark.covers(mqtt5="3.2.2-11 3.2.2-14 3.2.2-17 3.3.2-9 3.3.4-6 4.12.0-7 3.1.0-2")
def test_who_does_what_was_not_agreed_is_told_what_and_disconnected(
    packet: Packet, reason: int, tag: str
) -> None:
    own = Properties(
        topic_alias_maximum=2, maximum_qos=1, retain_available=0, subscription_identifier_available=0,
        shared_subscription_available=0, wildcard_subscription_available=0,
    )  # fmt: skip
    connection = open_connection(own=own)
    assert last_word(sent_to(connection, packet)) == (reason, tag)
    assert connection.state is State.CLOSED


@pytest.mark.covers(mqtt5="3.2.2-18")
def test_no_alias_is_taken_where_none_was_announced() -> None:
    connection = open_connection()
    aliased = Publish("a", b"x", properties=Properties(topic_alias=1))
    assert last_word(sent_to(connection, aliased)) == (0x94, "MQTT5-3.3.2-9")


@pytest.mark.covers(mqtt5="3.3.4-7")
def test_a_message_that_came_again_before_its_acknowledgement_counts_once_against_the_receive_maximum() -> (
    None
):
    connection = open_connection(own=Properties(receive_maximum=1))
    message = Publish("a", b"x", qos=1, packet_id=7)
    assert sent_to(connection, message) == message
    assert sent_to(connection, message._replace(dup=True)) == message._replace(dup=True)
    assert last_word(sent_to(connection, message._replace(packet_id=8))) == (0x93, "MQTT5-3.3.4-7")


def test_an_acknowledged_message_makes_room_for_the_next() -> None:
    connection = open_connection(own=Properties(receive_maximum=1))
    for packet_id in (1, 2, 3):
        message = Publish("a", b"x", qos=1, packet_id=packet_id)
        assert sent_to(connection, message) == message
        assert connection.puback(packet_id) == MQTT_5.encode(Puback(packet_id=packet_id))


@pytest.mark.covers(mqtt5="3.3.4-9 3.3.4-10 4.3.2-3 4.9.0-1 4.9.0-2 4.9.0-3")
def test_no_more_messages_are_on_their_way_than_the_client_receives_at_once() -> None:
    connection = open_connection(Properties(receive_maximum=1), max_inflight=4)
    connection.publish("a", b"x", 1)
    with pytest.raises(InflightFull):
        connection.publish("a", b"x", 1)
    assert read(connection.publish("a", b"x", 0)) == Publish("a", b"x")  # the rest does not wait
    assert read(connection.pingresp()) == Pingresp()
    sent_to(connection, Puback(packet_id=1))
    connection.publish("a", b"x", 1)


@pytest.mark.covers(mqtt5="3.1.2-24 3.1.2-25")
def test_a_message_larger_than_the_client_takes_is_not_sent_and_takes_no_room() -> None:
    connection = open_connection(Properties(maximum_packet_size=256))
    with pytest.raises(TooLargeForClient):
        connection.publish("a", bytes(300), 1)
    assert connection.inflight == 0
    assert connection.publish("a", b"x", 1)


@pytest.mark.covers(mqtt5="4.4.0-2")
def test_a_message_that_the_client_refuses_is_acknowledged() -> None:
    connection = open_connection()
    connection.publish("a", b"x", 1)
    sent_to(connection, Puback(packet_id=1, reason=ReasonCode.QUOTA_EXCEEDED))
    assert connection.inflight == 0


@pytest.mark.covers(mqtt5="2.2.1-5 2.2.1-6 3.9.3-1 3.11.3-1")
def test_answers_of_mqtt_5_have_the_identifier_and_the_order_of_what_they_answer() -> None:
    connection = open_connection()
    assert connection.puback(7) == wire("40 02 0007")
    assert connection.suback(8, (1, 0x8F, 0)) == wire("90 06 0008 00 01 8f 00")
    assert connection.unsuback(9, (0x11, 0)) == wire("b0 05 0009 00 11 00")


def test_an_explanation_that_the_client_can_not_take_is_left_out() -> None:
    connection = open_connection(Properties(maximum_packet_size=256))
    packet = connection.send(
        Suback(packet_id=1, codes=(0x87,), properties=Properties(reason_string="x" * 300))
    )
    assert packet == wire("90 04 0001 00 87")


@pytest.mark.covers(
    mqtt5="3.4.2-2 3.4.2-3 3.5.2-2 3.5.2-3 3.6.2-2 3.6.2-3 3.7.2-2 3.7.2-3 3.9.2-1 3.9.2-2 3.11.2-1 3.11.2-2"
    " 3.15.2-2 3.15.2-3"
)
@pytest.mark.parametrize(
    "explained", [{"reason_string": "x" * 300}, {"user_properties": (("x", "y" * 300),)}]
)
@pytest.mark.parametrize(
    "packet",
    [
        Puback(packet_id=1, reason=0x87),
        Pubrec(packet_id=1, reason=0x87),
        Pubrel(packet_id=1, reason=0x92),
        Pubcomp(packet_id=1, reason=0x92),
        Suback(packet_id=1, codes=(0x87,)),
        Unsuback(packet_id=1, codes=(0x87,)),
        Auth(reason=0x18, properties=Properties(authentication_method="SAS")),
    ],
    ids=lambda packet: type(packet).__name__.upper(),
)
def test_no_answer_grows_beyond_what_the_client_takes_for_its_explanation(
    packet: Any, explained: dict[str, Any]
) -> None:
    connection = open_connection(Properties(maximum_packet_size=256))
    properties = dataclasses.replace(packet.properties, **explained)
    sent = connection.send(dataclasses.replace(packet, properties=properties))
    assert read(sent) == packet


@pytest.mark.covers(mqtt5="3.14.2-3 3.14.2-4 3.2.2-19 3.2.2-20")
@pytest.mark.parametrize(
    "explained", [{"reason_string": "x" * 300}, {"user_properties": (("x", "y" * 300),)}]
)
def test_nor_do_connack_and_disconnect(explained: dict[str, Any]) -> None:
    connection = open_connection(Properties(maximum_packet_size=256))
    assert connection.disconnect(0x98, Properties(**explained)) == wire("e0 01 98")
    refusing = new_connection()
    connect = Connect("dev1", protocol_level=5, properties=Properties(maximum_packet_size=256))
    assert list(refusing.receive_data(MQTT_5.encode(connect))) == [connect]
    assert refusing.refuse(0x87, Properties(**explained)) == wire("20 03 00 87 00")


@pytest.mark.covers(mqtt5="3.14.4-1 4.13.2-1 3.14.0-1")
def test_the_server_says_nothing_after_its_disconnect_and_none_before_its_connack() -> None:
    connection = new_connection()
    with pytest.raises(WrongState):
        connection.disconnect(0x98)
    connection = open_connection()
    connection.disconnect(0x98)
    with pytest.raises(WrongState):
        connection.pingresp()


@pytest.mark.covers(mqtt5="3.1.2-29")
def test_a_client_that_wants_no_problem_information_gets_none_but_in_connack_and_disconnect() -> None:
    connection = open_connection(Properties(request_problem_information=0))
    explained = Properties(reason_string="why?")
    assert connection.send(Puback(packet_id=1, reason=0x87, properties=explained)) == wire("40 03 0001 87")
    assert connection.disconnect(0x98, explained) == wire("e0 09 98 07 1f 0004 'why?'")


def test_the_session_expiry_in_force_is_the_last_that_was_said() -> None:
    connection = open_connection(
        Properties(session_expiry_interval=100), Properties(session_expiry_interval=50)
    )
    assert connection.session_expiry_interval == 50
    sent_to(connection, Disconnect(properties=Properties(session_expiry_interval=10)))
    assert connection.session_expiry_interval == 10


@pytest.mark.parametrize(
    "auth",
    [
        Auth(reason=0x19, properties=Properties(authentication_method="other")),
        Auth(reason=0x18, properties=Properties(authentication_method="SAS")),
    ],
    ids=["another method", "nobody asked"],
)
@pytest.mark.covers(mqtt5="4.12.0-5 4.12.1-1")
def test_auth_must_be_a_reauthentication_by_the_method_of_the_connect(auth: Auth) -> None:
    connection = open_connection(Properties(authentication_method="SAS"))
    assert last_word(sent_to(connection, auth))[0] == 0x82


def test_a_client_may_authenticate_again() -> None:
    connection = open_connection(Properties(authentication_method="SAS"))
    auth = Auth(reason=0x19, properties=Properties(authentication_method="SAS", authentication_data=b"t"))
    assert sent_to(connection, auth) == auth
    assert "b't'" not in repr(auth)


def test_a_server_of_mqtt_3_1_1_has_no_last_word() -> None:
    connection = new_connection()
    list(connection.receive_data(wire("10 10 0004 'MQTT' 04 02 003c 0004 'dev1'")))
    connection.accept(session_present=False)
    with pytest.raises(WrongState):
        connection.disconnect(0x8E)
    (violation,) = connection.receive_data(wire("36 00"))
    assert isinstance(violation, Violation)
    assert violation.answer == b""


def test_properties_that_a_packet_can_not_have_are_not_written() -> None:
    with pytest.raises(InvalidPacket):
        MQTT_5.encode(Puback(packet_id=1, properties=Properties(topic_alias=1)))
    with pytest.raises(InvalidPacket):
        MQTT_5.encode(Connect("a", protocol_level=5, properties=Properties(receive_maximum=0)))


@pytest.mark.covers(mqtt5="3.14.2-1 3.14.2-2")
@pytest.mark.parametrize(
    ("reason", "properties", "tag"),
    [
        (0x00, Properties(), "MQTT5-3.14.2-1"),
        (0x04, Properties(), "MQTT5-3.14.2-1"),
        (0x8E, Properties(session_expiry_interval=5), "MQTT5-3.14.2-2"),
    ],
    ids=["a normal end", "with the will", "the session's expiry"],
)
def test_the_servers_disconnect_says_nothing_that_only_a_client_may_say(
    reason: int, properties: Properties, tag: str
) -> None:
    connection = open_connection()
    with pytest.raises(InvalidPacket) as caught:
        connection.disconnect(reason, properties)
    assert caught.value.tag == tag
    assert connection.disconnect(0x8E) == wire("e0 01 8e")


def test_more_user_properties_than_anybody_needs_are_refused() -> None:
    connection = open_connection()
    many = Properties(user_properties=(("a", "b"),) * 257)
    assert last_word(sent_to(connection, Publish("a", b"", properties=many))) == (0x97, "")


@pytest.mark.covers(mqtt5="3.12.4-1")
def test_a_ping_is_a_ping() -> None:
    assert sent_to(open_connection(), Pingreq()) == Pingreq()
