"""What Eclipse Paho's interoperability suite asks of a server, in our words, against the protocol engine.

The suite (github.com/eclipse/paho.mqtt.testing, interoperability/client_test.py and client_test5.py) dials a real
server and sleeps; here the clients and the clock are in memory, so that each case takes no time and says the same every
time. `paho` names the case of 3.1.1 and that of 5, `covers` the statements of the specifications that it shows.
`make interop` runs the suite itself, unmodified, from a checkout.
"""

import itertools

import pytest

from gateway.mqtt import (
    MQTT_5_LEVEL,
    NO_LOCAL,
    RETAIN_AS_PUBLISHED,
    Connack,
    ConnackCode,
    Connect,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    ReasonCode,
    Will,
)
from tests.conformance.interop.client import Client, Net
from tests.conformance.interop.general_server import (
    FORBIDDEN_FILTER,
    MAX_PACKET_SIZE,
    RECEIVE_MAXIMUM,
    SERVER_KEEP_ALIVE_S,
)

covers = pytest.mark.covers
paho = pytest.mark.paho
only_5 = pytest.mark.parametrize("level", [5], ids=["mqtt5"])

KEPT_S = 99_999
"""A session expiry that outlasts every case."""
LABELS = (("c", "3"), ("a", "2"), ("a", "1"))
"""In no order, and one name twice: both are to arrive as they are."""


def keep_session(client: Client, *, clean: bool = False) -> Connack | None:
    return client.connect(clean=clean, session_expiry=KEPT_S)


def is_5(net: Net) -> bool:
    return net.level == MQTT_5_LEVEL


@paho("testBasic", "test_basic")
@covers(
    mqtt311="4.3.2-2 4.3.3-2 3.3.4-1 3.3.5-1 3.2.0-1 3.1.4-4 2.3.1-6",
    mqtt5="4.3.1-1 4.3.2-4 4.3.3-8 4.3.3-11 3.3.4-1 3.2.0-1 3.1.4-5 2.2.1-5",
)
def test_a_subscriber_gets_its_own_messages_of_every_qos(net: Net) -> None:
    client = Client(net, "one")
    client.connect()
    client.disconnect()
    connack = client.connect()
    assert connack is not None
    assert (connack.code, connack.session_present) == (0, False)
    client.subscribe(("a", 2))

    for qos in range(3):
        client.publish("a", b"%d" % qos, qos)

    assert [(one.payload, one.qos) for one in client.messages] == [(b"0", 0), (b"1", 1), (b"2", 2)]
    answers = [one for one in client.received if isinstance(one, Puback | Pubrec | Pubcomp)]
    assert answers == [
        Puback(packet_id=2),
        Pubrec(packet_id=3),
        Pubcomp(packet_id=3),
    ]  # 1 was the SUBSCRIBE's
    assert not client.is_closed


@paho("testBasic", "test_basic")
@covers(mqtt311="3.1.0-2 4.8.0-1", mqtt5="3.1.0-2 3.2.0-2 4.13.1-1")
def test_a_second_connect_ends_the_connection(net: Net) -> None:
    client = net.client("one")

    client.send(Connect("one", protocol_level=net.level))

    assert client.is_closed
    assert sum(isinstance(one, Connack) for one in client.received) == 1
    assert client.last_reason == (ReasonCode.PROTOCOL_ERROR if is_5(net) else None)


@paho("testBasic", "test_basic")
@covers(mqtt311="3.1.2-1", mqtt5="3.1.2-1")
def test_another_protocols_name_ends_the_connection(net: Net) -> None:
    client = Client(net, "one")
    client.open()

    client.send_bytes(b"\x10\x0d\x00\x02hj%c\x02\x00\x00\x00\x03one" % net.level)

    assert client.is_closed
    assert client.received == []


@paho("test_retained_messages", "test_retained_message")
@covers(
    mqtt311="3.3.1-5 3.3.1-6 3.3.1-8 3.3.1-10 3.3.1-11 3.1.2-7",
    mqtt5="3.3.1-5 3.3.1-6 3.3.1-7 3.3.1-9 3.8.4-4 3.3.2-17 3.3.2-18",
)
def test_retained_messages_wait_for_subscribers_until_an_empty_one_removes_them(net: Net) -> None:
    labels = Properties(user_properties=LABELS) if is_5(net) else Properties()
    sender = net.client("one")
    for qos in range(3):
        sender.publish(f"room/{qos}", b"%d" % qos, qos, retain=True, properties=labels)
    sender.disconnect()

    late = net.client("two")
    late.subscribe(("room/+", 2))
    assert [(one.qos, one.retain) for one in late.messages] == [(0, True), (1, True), (2, True)]
    if is_5(net):
        assert [one.properties.user_properties for one in late.messages] == [LABELS] * 3

    late.forget()
    for qos in range(3):
        late.publish(f"room/{qos}", b"", qos, retain=True)
    assert [(one.payload, one.retain) for one in late.messages] == [(b"", False)] * 3
    later = net.client("three")
    later.subscribe(("room/+", 2))
    assert later.messages == []


@covers(mqtt311="3.3.1-9 3.3.1-12", mqtt5="3.3.1-8 3.3.1-12")
def test_a_message_to_an_existing_subscription_is_not_retained_and_an_ordinary_one_is_not_kept(
    net: Net,
) -> None:
    client = net.client("one")
    client.subscribe(("a", 1))
    client.publish("a", b"kept", 1, retain=True)
    client.publish("a", b"passing", 1)
    assert [(one.payload, one.retain) for one in client.messages] == [(b"kept", False), (b"passing", False)]

    late = net.client("two")
    late.subscribe(("a", 1))
    assert late.payloads == [b"kept"]


@covers(mqtt311="3.3.1-7")
@pytest.mark.parametrize("level", [4], ids=["mqtt311"])
def test_a_retained_message_of_qos_0_replaces_the_one_before(net: Net) -> None:
    sender = net.client("one")
    sender.publish("a", b"old", 1, retain=True)
    sender.publish("a", b"new", 0, retain=True)

    late = net.client("two")
    late.subscribe(("a", 1))

    assert late.payloads == [b"new"]


@paho("will_message_test", "test_will_message")
@covers(mqtt311="3.1.2-8 3.1.2-10 3.1.2-16", mqtt5="3.1.2-7 3.1.2-8 3.1.2-10 3.1.2-14 3.1.3-10")
def test_the_will_of_a_client_that_vanishes_is_published_once(net: Net) -> None:
    labels = Properties(user_properties=LABELS) if is_5(net) else Properties()
    watcher = net.client("two")
    watcher.subscribe(("wills", 2))
    gone = net.client("one", will=Will(topic="wills", payload=b"gone", properties=labels))

    gone.vanish()
    net.wait(10)

    assert [(one.payload, one.retain) for one in watcher.messages] == [(b"gone", False)]
    if is_5(net):
        assert watcher.messages[0].properties.user_properties == LABELS


@covers(mqtt311="3.1.2-12 3.14.4-3 3.1.2-17", mqtt5="3.14.4-3 3.1.2-15")
def test_a_disconnect_discards_the_will_and_a_retained_will_is_retained(net: Net) -> None:
    watcher = net.client("two")
    watcher.subscribe(("wills", 1))
    leaving = net.client("one", will=Will(topic="wills", payload=b"no"))
    leaving.disconnect()
    without = net.client("three")
    without.vanish()
    assert watcher.messages == []

    falling = net.client("one", will=Will(topic="wills", payload=b"yes", qos=1, retain=True))
    falling.vanish()
    late = net.client("four")
    late.subscribe(("wills", 1))
    assert [(one.payload, one.retain) for one in late.messages] == [(b"yes", True)]


@paho("test_zero_length_clientid", "test_zero_length_clientid")
@covers(mqtt311="3.1.3-6 3.1.3-7 3.1.3-8 3.1.3-9 3.2.2-4 3.2.2-5", mqtt5="3.1.3-6 3.1.3-7 3.2.2-16")
def test_a_client_without_an_id_gets_one_if_it_wants_a_session_of_its_own(net: Net) -> None:
    nameless = Client(net, "")
    connack = nameless.connect(clean=False)
    assert connack is not None
    if is_5(net):
        assert connack.code == 0
        assert connack.properties.assigned_client_identifier
    else:
        assert (connack.code, connack.session_present) == (ConnackCode.IDENTIFIER_REJECTED, False)
        assert nameless.is_closed

    both = [net.client(""), net.client("")]
    for client in both:
        client.subscribe(("a", 0))
    both[0].publish("a")
    assert [len(client.messages) for client in both] == [1, 1]  # neither took the other's session over


@paho("test_offline_message_queueing", "test_offline_message_queueing")
@covers(
    mqtt311="3.1.2-4 3.1.2-5 3.2.2-2 4.1.0-1 4.5.0-1 4.6.0-6 4.6.0-5",
    mqtt5="3.1.2-5 3.1.2-23 3.2.2-3 4.1.0-1 4.5.0-1 4.6.0-5 4.6.0-6",
)
def test_messages_for_a_session_without_a_connection_wait_in_their_order(net: Net) -> None:
    sleeper = Client(net, "one")
    keep_session(sleeper, clean=True)
    if not is_5(net):
        sleeper.disconnect()
        keep_session(sleeper)
    sleeper.subscribe(("#", 2))
    sleeper.disconnect()

    sender = net.client("two")
    for qos, number in itertools.product(range(3), range(2)):
        sender.publish(f"a/{qos}", b"%d" % number, qos)

    connack = keep_session(sleeper)
    assert connack is not None
    assert connack.session_present
    assert [(one.topic, one.payload) for one in sleeper.messages] == [
        ("a/1", b"0"),
        ("a/1", b"1"),
        ("a/2", b"0"),
        ("a/2", b"1"),
    ]


@paho("test_overlapping_subscriptions", "test_overlapping_subscriptions")
@covers(mqtt311="3.3.5-1", mqtt5="3.3.4-2")
def test_overlapping_subscriptions_give_one_message_with_the_highest_qos(net: Net) -> None:
    client = net.client("one")
    client.subscribe(("room/#", 2), ("+/c", 1))

    for qos in range(3):
        client.publish("room/c", b"%d" % qos, qos)

    assert [one.qos for one in client.messages] == [0, 1, 2]


@paho("test_keepalive", "test_keepalive")
@covers(mqtt311="3.1.2-24", mqtt5="3.1.2-22 3.2.2-22")
def test_a_silent_client_is_gone_after_one_and_a_half_keep_alives_and_its_will_comes(net: Net) -> None:
    watcher = net.client("two")
    watcher.subscribe(("wills", 2))
    silent = net.client("one", keep_alive=4, will=Will(topic="wills", payload=b"silent"))

    net.wait(5.9)
    assert watcher.messages == []
    net.wait(0.2)

    assert watcher.payloads == [b"silent"]
    assert silent.is_closed
    assert silent.last_reason == (ReasonCode.KEEP_ALIVE_TIMEOUT if is_5(net) else None)


@paho("test_redelivery_on_reconnect", "test_redelivery_on_reconnect")
@covers(
    mqtt311="4.4.0-1 3.3.1-1 2.3.1-3 4.6.0-1 4.3.2-1",
    mqtt5="4.4.0-1 3.3.1-1 4.3.2-3 4.3.3-3 4.6.0-1 4.3.2-1 4.3.2-2",
)
def test_what_was_not_acknowledged_comes_again_with_its_identifier_and_dup(net: Net) -> None:
    hanging = Client(net, "two")
    keep_session(hanging)
    hanging.subscribe(("room/#", 2))
    hanging.answers = False
    sender = net.client("one")
    sender.publish("room/1", b"", 1)
    sender.publish("room/2", b"", 2)
    first = [(one.topic, one.packet_id, one.dup) for one in hanging.messages]
    assert [dup for *_, dup in first] == [False, False]
    hanging.vanish()
    hanging.forget()

    hanging.answers = True
    keep_session(hanging)

    assert [(one.topic, one.packet_id, one.dup) for one in hanging.messages] == [
        (topic, packet_id, True) for topic, packet_id, _ in first
    ]


@covers(mqtt311="4.3.3-1 2.3.1-6", mqtt5="4.3.3-1 4.3.3-2 4.3.3-4 4.3.3-5 4.3.3-6 2.2.1-5")
def test_after_pubrec_the_pubrel_comes_again_and_not_the_message(net: Net) -> None:
    hanging = Client(net, "two")
    keep_session(hanging)
    hanging.subscribe(("a", 2))
    hanging.answers = False
    net.client("one").publish("a", b"", 2)
    (message,) = hanging.messages
    assert message.packet_id is not None
    hanging.send(Pubrec(packet_id=message.packet_id))
    assert hanging.received[-1] == Pubrel(packet_id=message.packet_id)
    hanging.vanish()
    hanging.forget()

    keep_session(hanging)

    assert hanging.messages == []
    assert hanging.received[1:] == [Pubrel(packet_id=message.packet_id)]


@covers(mqtt311="4.3.3-2", mqtt5="4.3.3-10")
def test_a_message_of_qos_2_that_is_sent_twice_arrives_once(net: Net) -> None:
    watcher = net.client("two")
    watcher.subscribe(("a", 2))
    sender = net.client("one")
    sender.answers = False

    sender.send(Publish("a", b"", 2, packet_id=7))
    sender.send(Publish("a", b"", 2, dup=True, packet_id=7))
    assert len(watcher.messages) == 1
    assert sender.received.count(Pubrec(packet_id=7)) == 2

    sender.send(Pubrel(packet_id=7))
    sender.send(Publish("a", b"", 2, packet_id=7))
    assert len(watcher.messages) == 2


@paho("test_subscribe_failure", "test_subscribe_failure")
@covers(
    mqtt311="3.8.4-5 3.9.3-1 3.8.4-1 3.8.4-2 3.8.4-4 2.3.1-7",
    mqtt5="3.8.4-6 3.8.4-7 3.9.3-1 3.8.4-1 3.8.4-2 3.8.4-5 2.2.1-6",
)
def test_a_subscription_that_is_refused_is_said_in_its_place(net: Net) -> None:
    client = net.client("one")

    assert client.subscribe(("a", 1), (FORBIDDEN_FILTER, 2), ("b", 2)) == (1, 0x80, 2)


@paho("test_dollar_topics", "test_dollar_topics")
@covers(mqtt311="4.7.2-1", mqtt5="4.7.2-1")
def test_a_leading_wildcard_leaves_out_topics_that_begin_with_a_dollar(net: Net) -> None:
    client = net.client("one")
    client.subscribe(("+/+", 2), ("#", 1))

    client.publish("$room/a", b"", 1)

    assert client.messages == []


@paho("test_unsubscribe", "test_unsubscribe")
@covers(
    mqtt311="3.10.4-1 3.10.4-2 3.10.4-4 3.10.4-5 3.10.4-6",
    mqtt5="3.10.4-1 3.10.4-2 3.10.4-4 3.10.4-5 3.10.4-6 3.11.3-1 3.11.3-2",
)
def test_after_unsubscribe_nothing_more_comes(net: Net) -> None:
    client = net.client("one")
    for topic in ("a", "b", "c"):
        client.subscribe((topic, 2))

    unknown = ReasonCode.NO_SUBSCRIPTION_EXISTED
    for nothing in ("nobody/asked", "+"):  # filters are compared by character, and not matched
        assert client.unsubscribe(nothing) == ((unknown,) if is_5(net) else ())
    assert client.unsubscribe("a", "nobody/asked") == ((ReasonCode.SUCCESS, unknown) if is_5(net) else ())
    sender = net.client("two")
    for topic in ("a", "b", "c"):
        sender.publish(topic, b"", 1)

    assert [one.topic for one in client.messages] == ["b", "c"]


@covers(mqtt311="3.10.4-3", mqtt5="3.10.4-3")
def test_a_delivery_that_has_begun_goes_to_its_end_after_unsubscribe(net: Net) -> None:
    client = net.client("one")
    client.subscribe(("a", 2))
    client.answers = False
    net.client("two").publish("a", b"", 2)
    (message,) = client.messages
    client.answers = True
    client.unsubscribe("a")

    client.send(Pubrec(packet_id=message.packet_id or 0))

    assert Pubrel(packet_id=message.packet_id or 0) in client.received


@covers(mqtt311="3.1.4-2 3.1.2-6 3.2.2-1", mqtt5="3.1.4-3 3.1.2-4 3.2.2-2 3.1.4-4")
def test_a_second_connection_takes_the_session_over_and_a_clean_one_empties_it(net: Net) -> None:
    first = Client(net, "one")
    keep_session(first)
    first.subscribe(("a", 1))

    second = Client(net, "one")
    connack = keep_session(second)
    assert first.is_closed
    assert first.last_reason == (ReasonCode.SESSION_TAKEN_OVER if is_5(net) else None)
    assert connack is not None
    assert connack.session_present

    third = Client(net, "one")
    connack = third.connect(clean=True)
    assert connack is not None
    assert not connack.session_present
    third.publish("a", b"", 1)
    assert third.messages == []


@covers(mqtt311="3.2.2-3", mqtt5="3.1.2-6")
def test_a_session_that_nobody_keeps_is_not_present(net: Net) -> None:
    connack = Client(net, "one").connect(clean=False)

    assert connack is not None
    assert not connack.session_present


@only_5
@paho("", "test_session_expiry")
@covers(mqtt5="3.1.2-23 4.1.0-2")
def test_a_session_ends_when_its_expiry_has_passed(net: Net) -> None:
    def present(client: Client, expiry: int) -> bool:
        connack = client.connect(clean=False, session_expiry=expiry)
        assert connack is not None
        return connack.session_present

    client = Client(net, "one")
    assert not present(client, 0)
    client.disconnect()
    assert not present(client, 5)
    client.disconnect()
    net.wait(2)
    assert present(client, 5)
    client.disconnect()
    net.wait(6)
    assert not present(client, 1)
    client.disconnect(properties=Properties(session_expiry_interval=5))
    net.wait(3)
    assert present(client, 1)
    client.disconnect(properties=Properties(session_expiry_interval=0))
    assert not present(client, 0)


@only_5
@paho("", "test_user_properties")
@paho("", "test_payload_format")
@paho("", "test_request_response")
@covers(mqtt5="3.3.2-4 3.3.2-15 3.3.2-16 3.3.2-17 3.3.2-18 3.3.2-20")
def test_what_a_message_says_of_itself_reaches_subscribers_unaltered(net: Net) -> None:
    said = Properties(
        payload_format_indicator=1,
        content_type="My name",
        response_topic="answers",
        correlation_data=b"\x00\xff334",
        user_properties=LABELS,
    )
    client = net.client("one")
    client.subscribe(("a", 2))

    for qos in range(3):
        client.publish("a", b"", qos, properties=said)

    assert [(one.qos, one.properties) for one in client.messages] == [(0, said), (1, said), (2, said)]


@only_5
@paho("", "test_request_response")
@covers(mqtt5="3.8.3-3")
def test_a_request_is_answered_where_it_asks_for_it(net: Net) -> None:
    asking, answering = net.client("one"), net.client("two")
    for client in (asking, answering):
        client.subscribe(("talk", 2 | NO_LOCAL))

    asking.publish("talk", b"?", 1, properties=Properties(response_topic="talk", correlation_data=b"1"))
    (request,) = answering.messages
    answering.publish(request.properties.response_topic or "", b"!", 1, properties=request.properties)

    assert [(one.payload, one.properties.correlation_data) for one in asking.messages] == [(b"!", b"1")]


@only_5
@paho("", "test_publication_expiry")
@covers(mqtt5="3.3.2-5 3.3.2-6")
def test_a_message_that_has_expired_does_not_come_and_the_others_say_how_long_they_live(net: Net) -> None:
    sleeper = Client(net, "two")
    keep_session(sleeper)
    sleeper.subscribe(("a", 2))
    sleeper.disconnect()
    sender = net.client("one")
    for lives, qos in itertools.product((1, 6), (1, 2)):
        sender.publish("a", b"%d" % lives, qos, properties=Properties(message_expiry_interval=lives))

    net.wait(3)
    keep_session(sleeper)

    assert [(one.payload, one.properties.message_expiry_interval) for one in sleeper.messages] == [
        (b"6", 3),
        (b"6", 3),
    ]


@only_5
@paho("", "test_subscribe_options")
@covers(mqtt5="3.8.3-3 3.3.1-12 3.3.1-13")
def test_no_local_and_retain_as_published_are_kept_to(net: Net) -> None:
    one, two = net.client("one"), net.client("two")
    one.subscribe(("a", 2 | NO_LOCAL))
    two.subscribe(("a", 2 | NO_LOCAL | RETAIN_AS_PUBLISHED))

    one.publish("a", b"plain", 1)
    one.publish("a", b"kept", 1, retain=True)

    assert one.messages == []
    assert [(each.payload, each.retain) for each in two.messages] == [(b"plain", False), (b"kept", True)]


@only_5
@paho("", "test_subscribe_options")
@covers(mqtt5="3.3.1-9 3.3.1-10 3.3.1-11 3.8.4-4")
@pytest.mark.parametrize(
    ("handling", "first", "again"),
    [(0, 3, 3), (1, 3, 0), (2, 0, 0)],
    ids=["always", "for a new subscription", "never"],
)
def test_retain_handling_says_when_retained_messages_come(
    net: Net, handling: int, first: int, again: int
) -> None:
    sender = net.client("one")
    for qos in range(3):
        sender.publish(f"room/{qos}", b"%d" % qos, qos, retain=True)
    client = net.client("two")

    client.subscribe(("room/+", 2 | handling << 4))
    assert len(client.messages) == first
    client.forget()
    client.subscribe(("room/+", 2 | handling << 4))
    assert len(client.messages) == again


@only_5
@paho("", "test_assigned_clientid")
@covers(mqtt5="3.1.3-6 3.1.3-7 3.2.2-16")
def test_two_clients_without_an_id_are_given_two(net: Net) -> None:
    given = [Client(net, "").connect() for _ in range(2)]

    names = {one.properties.assigned_client_identifier for one in given if one is not None}
    assert len(names) == 2
    assert None not in names


@only_5
@paho("", "test_subscribe_identifiers")
@covers(mqtt5="3.3.4-3 3.3.4-4")
def test_a_message_names_the_subscriptions_that_it_comes_for(net: Net) -> None:
    one, two = net.client("one"), net.client("two")
    one.subscribe(("a", 2), identifier=456_789)
    two.subscribe(("a", 2), identifier=2)
    two.subscribe(("a/#", 2), identifier=3)

    two.publish("a", b"", 1)

    assert [each.properties.subscription_identifiers for each in one.messages] == [(456_789,)]
    assert [set(each.properties.subscription_identifiers) for each in two.messages] == [{2, 3}]


@only_5
@paho("", "test_client_topic_alias")
@covers(mqtt5="3.3.2-8 3.3.2-9 3.2.2-17")
@pytest.mark.parametrize(
    ("notation", "reason"),
    [
        (b"\x32\x09\x00\x01a\x00\x01\x03\x23\x00\x00", ReasonCode.TOPIC_ALIAS_INVALID),
        (b"\x32\x09\x00\x01a\x00\x01\x03\x23\x00\x0b", ReasonCode.TOPIC_ALIAS_INVALID),
    ],
    ids=["alias 0", "above the maximum"],
)
def test_a_topic_alias_that_cannot_be_ends_the_connection(net: Net, notation: bytes, reason: int) -> None:
    client = net.client("one")

    client.send_bytes(notation)

    assert client.is_closed
    assert client.last_reason == reason


@only_5
@paho("", "test_client_topic_alias")
@covers(mqtt5="3.3.2-7 3.3.2-12")
def test_a_clients_alias_stands_for_its_topic_and_ends_with_the_connection(net: Net) -> None:
    client = Client(net, "one")
    keep_session(client)
    client.subscribe(("a", 2))
    aliased = Properties(topic_alias=10)
    client.publish("a", b"1", 1, properties=aliased)
    client.publish("", b"2", 1, properties=aliased)
    assert [(one.topic, one.payload) for one in client.messages] == [("a", b"1"), ("a", b"2")]
    client.disconnect()

    keep_session(client)
    client.publish("", b"3", 1, properties=aliased)

    assert client.is_closed
    assert client.last_reason == ReasonCode.TOPIC_ALIAS_INVALID


@only_5
@paho("", "test_server_topic_alias")
@covers(mqtt5="3.1.2-26 3.1.2-27 3.3.2-11")
@pytest.mark.parametrize("most", [1, 0, None])
def test_the_server_uses_as_many_aliases_as_the_client_takes(net: Net, most: int | None) -> None:
    client = net.client("one", wanted=Properties(topic_alias_maximum=most))
    client.subscribe(("a", 2), ("b", 2))

    for topic in ("a", "a", "b"):
        client.publish(topic, b"", 2)

    assert [one.topic for one in client.messages] == ["a", "a", "b"]
    sent = [(one.topic, one.properties.topic_alias) for one in client.received if isinstance(one, Publish)]
    assert sent == ([("a", 1), ("", 1), ("b", None)] if most else [("a", None), ("a", None), ("b", None)])


@only_5
@paho("", "test_maximum_packet_size")
@covers(mqtt5="3.2.2-15 3.1.2-24 3.1.2-25")
def test_neither_end_gets_a_packet_larger_than_it_takes(net: Net) -> None:
    client = net.client("one")
    client.publish("a", bytes(MAX_PACKET_SIZE))
    assert client.last_reason == ReasonCode.PACKET_TOO_LARGE

    small = net.client("two", wanted=Properties(maximum_packet_size=64))
    small.subscribe(("a", 2))
    sender = net.client("three")
    for size in (32, 64, 33):
        sender.publish("a", bytes(size), 1)
    assert [len(one) for one in small.payloads] == [32, 33]


@only_5
@paho("", "test_server_keep_alive")
@covers(mqtt5="3.1.2-21 3.2.2-21")
def test_the_servers_keep_alive_counts_where_it_names_one(net: Net) -> None:
    client = Client(net, "one")
    connack = client.connect(keep_alive=120)
    assert connack is not None
    assert connack.properties.server_keep_alive == SERVER_KEEP_ALIVE_S

    net.wait(1.5 * SERVER_KEEP_ALIVE_S + 1)

    assert client.is_closed


@only_5
@paho("", "test_flow_control1")
@covers(mqtt5="3.3.4-9 3.3.4-10 4.9.0-1 4.9.0-2 4.9.0-3 2.2.1-4")
def test_no_more_messages_are_on_their_way_than_the_client_takes_at_once(net: Net) -> None:
    client = net.client("one", wanted=Properties(receive_maximum=2))
    client.subscribe(("a", 2))
    client.answers = False
    sender = net.client("two")
    for number in range(3):
        sender.publish("a", b"%d" % number, 1)
    assert client.payloads == [b"0", b"1"]
    assert client.messages[0].packet_id != client.messages[1].packet_id
    client.subscribe(("b", 0))  # is answered meanwhile

    client.send(Puback(packet_id=client.messages[0].packet_id or 0))

    assert client.payloads == [b"0", b"1", b"2"]


@only_5
@paho("", "test_flow_control2")
@covers(mqtt5="3.3.4-7")
def test_a_client_that_sends_more_at_once_than_the_server_takes_is_told_and_let_go(net: Net) -> None:
    client = net.client("one")
    client.answers = False

    for _ in range(RECEIVE_MAXIMUM):
        client.publish("a", b"", 2)
    assert not client.is_closed
    client.publish("a", b"", 2)

    assert client.is_closed
    assert client.last_reason == ReasonCode.RECEIVE_MAXIMUM_EXCEEDED


@only_5
@paho("", "test_will_delay")
@covers(mqtt5="3.1.2-8")
@pytest.mark.parametrize(
    ("delay", "expiry", "comes_after"),
    [(3, 5, 3), (5, 2, 2), (5, 0, 0)],
    ids=["after its delay", "with the session's end", "at once without a session"],
)
def test_a_will_waits_for_its_delay_or_the_sessions_end(
    net: Net, delay: int, expiry: int, comes_after: int
) -> None:
    watcher = net.client("two")
    watcher.subscribe(("a", 2))
    will = Will(topic="a", payload=b"gone", properties=Properties(will_delay_interval=delay))
    gone = net.client("one", will=will, session_expiry=expiry)

    gone.vanish()
    if comes_after:
        net.wait(comes_after - 0.1)
        assert watcher.messages == []
        net.wait(0.2)

    assert watcher.payloads == [b"gone"]


@only_5
@covers(mqtt5="3.1.3-9")
def test_a_client_that_comes_back_in_time_keeps_its_will_from_being_sent(net: Net) -> None:
    watcher = net.client("two")
    watcher.subscribe(("a", 2))
    will = Will(topic="a", payload=b"gone", properties=Properties(will_delay_interval=3))
    client = net.client("one", will=will, session_expiry=KEPT_S)

    client.vanish()
    net.wait(2)
    keep_session(client)
    net.wait(10)

    assert watcher.messages == []


@only_5
@paho("", "test_shared_subscriptions")
@covers(mqtt5="4.8.2-3")
def test_each_message_of_a_shared_subscription_goes_to_one_of_its_members(net: Net) -> None:
    members = [net.client("one"), net.client("two")]
    for member in members:
        member.subscribe(("$share/group/x", 1), ("a", 2))

    for number in range(4):
        members[1].publish("x", b"%d" % number, 2)
    members[1].publish("a", b"all", 1)

    assert [one.payloads for one in members] == [[b"0", b"2", b"all"], [b"1", b"3", b"all"]]
    assert {one.qos for one in members[0].messages} == {1}
