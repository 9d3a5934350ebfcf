import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.mqtt import (
    Connack,
    Connect,
    Disconnect,
    InflightFull,
    InvalidPacket,
    InvalidTopic,
    Pingreq,
    Puback,
    Publish,
    Pubrec,
    ServerConnection,
    State,
    Subscribe,
    UnsupportedProtocol,
    Violation,
    WrongState,
    encode,
)
from gateway.mqtt.connection import TRANSITIONS, Action
from tests.conformance.mqtt.vectors import INVALID, VALID, Sender, wire
from tests.unit.mqtt.strategies import chunks_of, connects, packets_after_connect

relaxed = settings(deadline=None)

HELLO = Connect(client_id="dev1", keep_alive=60)
PING = encode(Pingreq())


def new_connection(**limits):
    defaults = {"max_connect_packet_size": 16_384, "max_packet_size": 300_000, "max_inflight": 4}
    return ServerConnection(**defaults | limits)


def open_connection(**limits):
    connection = new_connection(**limits)
    assert list(connection.receive_data(encode(HELLO))) == [HELLO]
    connection.accept(session_present=False)
    return connection


def acknowledge(connection, packet_id):
    assert list(connection.receive_data(encode(Puback(packet_id=packet_id)))) == [Puback(packet_id=packet_id)]


# CONNECT


@pytest.mark.covers(mqtt311="3.2.0-1 3.1.4-4")
def test_connect_is_answered_with_connack():
    connection = new_connection()
    assert list(connection.receive_data(encode(HELLO))) == [HELLO]
    assert connection.state is State.DECIDING
    assert connection.accept(session_present=False) == wire("20 02 00 00")
    assert connection.state is State.OPEN


@pytest.mark.covers(mqtt311="3.2.2-2")
def test_session_present_is_said_in_connack():
    connection = new_connection()
    list(connection.receive_data(encode(HELLO)))
    assert connection.accept(session_present=True) == wire("20 02 01 00")


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5])
@pytest.mark.covers(mqtt311="3.1.4-5 3.2.2-4 3.2.2-5")
def test_refused_client_gets_its_code_and_is_not_heard_any_more(code):
    connection = new_connection()
    list(connection.receive_data(encode(HELLO) + PING))
    assert connection.refuse(code) == encode(Connack(session_present=False, code=code))
    assert connection.state is State.CLOSED
    assert list(connection.receive_data(PING)) == []


@pytest.mark.parametrize("packet", [Pingreq(), Disconnect(), Subscribe(packet_id=1, filters=(("t", 0),))])
@pytest.mark.covers(mqtt311="3.1.0-1")
@pytest.mark.covers(mqtt5="3.1.0-1")
def test_first_packet_must_be_connect(packet):
    connection = new_connection()
    (violation,) = connection.receive_data(encode(packet) + encode(HELLO))
    assert violation == Violation(
        message="the first packet is not a CONNECT [MQTT-3.1.0-1]", tag="MQTT-3.1.0-1"
    )
    assert connection.state is State.CLOSED


@pytest.mark.covers(mqtt311="3.1.0-2")
def test_second_connect_ends_the_connection():
    connection = open_connection()
    (violation,) = connection.receive_data(encode(HELLO))
    assert isinstance(violation, Violation)
    assert violation.tag == "MQTT-3.1.0-2"


@pytest.mark.covers(mqtt311="3.1.2-2", mqtt5="3.1.2-2")
def test_client_of_another_protocol_level_can_only_be_refused():
    connection = new_connection()
    data = wire("10 11 0004 'MQTT' 06 02 003c 00 0004 'dev1'")
    assert list(connection.receive_data(data)) == [UnsupportedProtocol(level=6)]
    with pytest.raises(WrongState):
        connection.accept(session_present=False)
    assert connection.refuse(1) == wire("20 02 00 01")


def test_client_without_client_id_that_wants_its_session_back_can_only_be_refused():
    connection = new_connection()
    (connect,) = connection.receive_data(encode(Connect(client_id="", clean_session=False)))
    assert connect.lacks_client_id
    assert connection.state is State.REFUSING
    with pytest.raises(WrongState):
        connection.accept(session_present=False)
    assert connection.refuse(2) == wire("20 02 00 02")


def test_anonymous_clean_session_may_be_accepted():
    connection = new_connection()
    list(connection.receive_data(encode(Connect(client_id=""))))
    assert connection.accept(session_present=False) == wire("20 02 00 00")


def test_refusal_needs_a_code():
    connection = new_connection()
    list(connection.receive_data(encode(HELLO)))
    with pytest.raises(InvalidPacket):
        connection.refuse(0)
    assert connection.state is State.DECIDING


# Packets that come before the CONNACK


def test_packets_behind_the_connect_wait_for_the_answer():
    connection = new_connection()
    assert list(connection.receive_data(encode(HELLO) + PING)) == [HELLO]
    assert list(connection.receive_data(PING)) == []
    connection.accept(session_present=False)
    assert list(connection.receive_data(b"")) == [Pingreq(), Pingreq()]


def test_packets_behind_the_connect_follow_an_answer_given_at_once():
    connection = new_connection()
    seen = []
    for event in connection.receive_data(encode(HELLO) + PING + PING):
        seen.append(event)
        if isinstance(event, Connect):
            connection.accept(session_present=False)
    assert seen == [HELLO, Pingreq(), Pingreq()]


def test_client_that_sends_too_much_before_the_connack_is_cut_off():
    connection = new_connection(max_connect_packet_size=100)
    list(connection.receive_data(encode(HELLO)))
    assert list(connection.receive_data(b"x" * 100)) == []
    (violation,) = connection.receive_data(b"x")
    assert violation == Violation(message="too many bytes before the CONNACK", tag="")
    with pytest.raises(WrongState):
        connection.accept(session_present=False)


def test_large_packet_is_read_after_the_connack_and_not_before():
    large = Publish(topic="t", payload=b"x" * 200)
    stranger = new_connection(max_connect_packet_size=100)
    (violation,) = stranger.receive_data(encode(large))
    assert isinstance(violation, Violation)
    member = open_connection(max_connect_packet_size=100)
    assert list(member.receive_data(encode(large))) == [large]


def test_large_packet_in_one_read_with_the_connect_is_read_after_the_connack():
    large = Publish(topic="t", payload=b"x" * 200)
    connection = new_connection(max_connect_packet_size=100)
    assert list(connection.receive_data(encode(HELLO) + encode(large))) == [HELLO]
    connection.accept(session_present=False)
    assert list(connection.receive_data(b"")) == [large]


def test_packet_beyond_the_maximum_ends_the_connection():
    connection = open_connection(max_packet_size=1000)
    (violation,) = connection.receive_data(encode(Publish(topic="t", payload=b"x" * 1000)))
    assert violation == Violation(message="a packet of 1006 bytes, where 1000 are allowed", tag="")


# An open session


def test_packets_before_a_violation_are_still_reported():
    connection = open_connection()
    ping, violation = connection.receive_data(PING + b"\xf0\x00" + PING)
    assert ping == Pingreq()
    assert isinstance(violation, Violation)


@pytest.mark.covers(mqtt311="3.14.4-2")
def test_nothing_is_heard_after_disconnect():
    connection = open_connection()
    assert list(connection.receive_data(encode(Disconnect()) + PING)) == [Disconnect()]
    assert connection.state is State.CLOSED
    assert list(connection.receive_data(PING)) == []


@pytest.mark.covers(mqtt311="3.12.4-1 2.3.1-6 2.3.1-7 3.9.3-1")
def test_answers_are_written():
    connection = open_connection()
    assert connection.pingresp() == wire("d0 00")
    assert connection.puback(7) == wire("40 02 0007")
    assert connection.suback(8, (1, 0x80)) == wire("90 04 0008 01 80")
    assert connection.unsuback(9) == wire("b0 02 0009")
    assert connection.publish("t", b"hi", 0) == wire("30 05 0001 't' 'hi'")


@pytest.mark.parametrize(
    "act",
    [
        lambda connection: connection.publish("t", b"", 0),
        lambda connection: connection.publish("t", b"", 1),
        lambda connection: connection.puback(1),
        lambda connection: connection.suback(1, (0,)),
        lambda connection: connection.unsuback(1),
        lambda connection: connection.pingresp(),
    ],
    ids=["publish", "publish QoS 1", "puback", "suback", "unsuback", "pingresp"],
)
@pytest.mark.covers(mqtt311="3.2.0-1")
def test_server_says_nothing_before_connack_and_nothing_after_the_end(act):
    connection = new_connection()
    with pytest.raises(WrongState):
        act(connection)
    list(connection.receive_data(encode(HELLO)))
    with pytest.raises(WrongState):
        act(connection)
    connection.refuse(5)
    with pytest.raises(WrongState):
        act(connection)
    assert connection.inflight == 0


def test_connect_is_answered_once():
    connection = open_connection()
    with pytest.raises(WrongState):
        connection.accept(session_present=False)
    with pytest.raises(WrongState):
        connection.refuse(5)


# QoS 1 to the client


@pytest.mark.covers(mqtt311="2.3.1-4 4.3.2-1", mqtt5="2.2.1-4 4.3.2-1")
def test_each_qos_1_message_has_an_identifier_of_its_own():
    connection = open_connection()
    assert connection.publish("t", b"", 1) == wire("32 05 0001 't' 0001")
    assert connection.publish("t", b"", 1) == wire("32 05 0001 't' 0002")
    assert connection.inflight == 2


def test_unacknowledged_messages_are_bounded():
    connection = open_connection(max_inflight=2)
    connection.publish("t", b"", 1)
    connection.publish("t", b"", 1)
    with pytest.raises(InflightFull):
        connection.publish("t", b"", 1)
    connection.publish("t", b"", 0)
    acknowledge(connection, 1)
    assert connection.publish("t", b"", 1) == wire("32 05 0001 't' 0003")


def test_puback_of_an_unknown_identifier_changes_nothing():
    connection = open_connection()
    connection.publish("t", b"", 1)
    acknowledge(connection, 77)
    assert connection.inflight == 1


def test_pubrec_does_not_end_a_qos_1_delivery():
    connection = open_connection()
    connection.publish("t", b"", 1)
    assert list(connection.receive_data(encode(Pubrec(packet_id=1)))) == [Pubrec(packet_id=1)]
    assert connection.inflight == 1


@pytest.mark.covers(mqtt311="2.3.1-4", mqtt5="2.2.1-4")
def test_identifiers_start_over_after_65535_and_leave_out_those_in_use():
    connection = open_connection(max_inflight=2)
    connection.publish("t", b"", 1)
    for packet_id in range(2, 65536):
        connection.publish("t", b"", 1)
        acknowledge(connection, packet_id)
    assert connection.publish("t", b"", 1) == wire("32 05 0001 't' 0002")


@pytest.mark.parametrize(
    ("topic", "qos", "error"), [("t/#", 1, InvalidTopic), ("", 1, InvalidTopic), ("t", 2, InvalidPacket)]
)
def test_message_that_can_not_be_sent_takes_no_identifier(topic, qos, error):
    connection = open_connection()
    with pytest.raises(error):
        connection.publish(topic, b"", qos)
    assert connection.inflight == 0
    assert connection.publish("t", b"", 1) == wire("32 05 0001 't' 0001")


@pytest.mark.parametrize("max_inflight", [0, 65536])
def test_bound_of_unacknowledged_messages_is_itself_bounded(max_inflight):
    with pytest.raises(ValueError):
        new_connection(max_inflight=max_inflight)


@relaxed
@given(st.lists(st.none() | st.integers(1, 12), max_size=60))
def test_identifiers_in_flight_are_unique_whatever_is_acknowledged(steps):
    connection = open_connection(max_inflight=5)
    unacknowledged = set()
    for step in steps:
        if step is not None:
            acknowledge(connection, step)
            unacknowledged.discard(step)
        elif len(unacknowledged) == 5:
            with pytest.raises(InflightFull):
                connection.publish("t", b"", 1)
        else:
            packet_id = int.from_bytes(connection.publish("t", b"", 1)[-2:], "big")
            assert packet_id not in unacknowledged
            unacknowledged.add(packet_id)
        assert connection.inflight == len(unacknowledged)


# The stream


def events_of(chunks, *, at_once):
    """All events of a connection whose CONNECT is accepted if it can be, at once or a moment later."""
    connection = new_connection(max_connect_packet_size=1 << 20)
    seen = []
    for chunk in chunks:
        for event in connection.receive_data(chunk):
            seen.append(event)
            if at_once and connection.state is State.DECIDING:
                connection.accept(session_present=False)
        if connection.state is State.DECIDING:
            connection.accept(session_present=False)
            seen += connection.receive_data(b"")
    return seen


streams = st.builds(
    lambda connect, packets, tail: b"".join(map(encode, [connect, *packets])) + tail,
    connects(),
    st.lists(packets_after_connect, max_size=5),
    st.one_of(
        st.just(b""),
        st.binary(max_size=20),
        st.sampled_from([vector.data[:300] for vector in INVALID + VALID if vector.sender is Sender.CLIENT]),
    ),
)


@relaxed
@given(streams, st.data())
def test_every_split_of_the_bytes_gives_the_same_events(stream, data):
    whole = events_of([stream], at_once=True)
    chunks = data.draw(chunks_of(stream))
    assert events_of(chunks, at_once=True) == whole
    assert events_of(chunks, at_once=False) == whole
    assert events_of([stream], at_once=False) == whole


@relaxed
@given(streams)
def test_stream_that_arrives_byte_by_byte_gives_the_same_events(stream):
    chunks = [stream[position : position + 1] for position in range(len(stream))]
    assert events_of(chunks, at_once=False) == events_of([stream], at_once=True)


@relaxed
@given(st.lists(st.binary(max_size=60), max_size=6))
def test_no_bytes_make_the_server_raise_and_a_violation_is_the_last_event(chunks):
    seen = events_of(chunks, at_once=True)
    assert not any(isinstance(event, Violation) for event in seen[:-1])


def test_table_of_states_is_closed():
    targets = {target for steps in TRANSITIONS.values() for target in steps.values()}
    assert set(TRANSITIONS) == set(State)
    assert targets | {State.NEW} == set(State)
    assert TRANSITIONS[State.CLOSED] == {}
    assert {step for steps in TRANSITIONS.values() for step in steps if isinstance(step, Action)} == set(
        Action
    )
