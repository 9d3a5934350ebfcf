"""Deliveries and clients that Paho's suite does not ask about, against the protocol engine, in both versions."""

import pytest

from gateway.mqtt import (
    MQTT_5_LEVEL,
    Pingreq,
    Pingresp,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    ReasonCode,
)
from tests.conformance.interop.client import Client, Net

covers = pytest.mark.covers
only_5 = pytest.mark.parametrize("level", [5], ids=["mqtt5"])

KEPT_S = 1000


def hanging(net: Net, client_id: str, *filters: tuple[str, int]) -> Client:
    """A client with a session that is kept, subscribed, that acknowledges nothing."""
    client = Client(net, client_id)
    client.connect(clean=net.level == MQTT_5_LEVEL, session_expiry=KEPT_S)
    client.subscribe(*filters)
    client.answers = False
    return client


def come_back(client: Client) -> None:
    client.forget()
    client.connect(clean=False, session_expiry=KEPT_S)


@covers(mqtt311="3.1.3-5 3.1.3-2 3.1.3-4", mqtt5="3.1.3-5 3.1.3-2 3.1.3-4")
@pytest.mark.parametrize(
    "client_id", ["0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ", "é" * 40]
)
def test_a_client_id_is_taken_as_it_is_and_names_the_session(net: Net, client_id: str) -> None:
    client = hanging(net, client_id, ("a", 1))
    client.vanish()

    again = Client(net, client_id)
    connack = again.connect(clean=False, session_expiry=KEPT_S)
    assert connack is not None
    assert connack.session_present
    assert not net.client(client_id + "x").received[0].session_present  # type: ignore[union-attr]


@covers(mqtt311="3.12.4-1 4.1.0-2", mqtt5="3.12.4-1 4.1.0-1")
def test_a_ping_is_answered_and_a_session_lasts_as_long_as_its_connection(net: Net) -> None:
    client = net.client("one")
    client.subscribe(("a", 0))
    net.wait(60)

    client.send(Pingreq())
    client.publish("a")

    assert client.received[-2] == Pingresp()
    assert len(client.messages) == 1


@covers(mqtt311="3.3.1-2 4.3.1-1 3.8.4-6", mqtt5="3.3.1-2 4.3.1-1 3.8.4-8")
def test_a_message_of_qos_0_is_never_a_duplicate(net: Net) -> None:
    client = hanging(net, "one", ("a", 0))
    net.client("two").publish("a", b"", 2)
    assert [(one.qos, one.dup) for one in client.messages] == [(0, False)]
    client.vanish()

    come_back(client)

    assert client.messages == []


@covers(mqtt311="4.3.2-2", mqtt5="4.3.2-5")
def test_after_the_puback_the_same_identifier_is_a_new_message(net: Net) -> None:
    client = net.client("one")
    client.subscribe(("a", 1))

    for payload in (b"1", b"2"):
        client.send(Publish("a", payload, 1, dup=True, packet_id=9))

    assert client.payloads == [b"1", b"2"]
    assert client.received.count(Puback(packet_id=9)) == 2


@covers(mqtt311="3.3.1-3", mqtt5="3.3.1-3")
@pytest.mark.parametrize("qos", [1, 2])
def test_a_message_that_came_as_a_duplicate_goes_out_as_none(net: Net, qos: int) -> None:
    client = net.client("one")
    client.subscribe(("a", 2))

    client.send(Publish("a", b"", qos, dup=True, packet_id=9))

    assert [one.dup for one in client.messages] == [False]


@covers(mqtt311="3.8.4-3 3.3.1-6", mqtt5="3.8.4-3 3.3.1-9")
def test_a_filter_that_is_subscribed_to_again_replaces_the_subscription_and_retained_messages_come_again(
    net: Net,
) -> None:
    client = net.client("one")
    client.publish("a", b"kept", 1, retain=True)
    client.subscribe(("a", 2))
    client.forget()

    assert client.subscribe(("a", 0)) == (0,)

    assert [(one.payload, one.qos, one.retain) for one in client.messages] == [(b"kept", 0, True)]
    client.forget()
    client.publish("a", b"new", 2)
    assert [(one.payload, one.qos) for one in client.messages] == [(b"new", 0)]


@covers(mqtt311="4.6.0-2 4.6.0-3", mqtt5="4.6.0-2 4.6.0-3")
@pytest.mark.parametrize(("qos", "answer"), [(1, Puback), (2, Pubrec)])
def test_messages_are_acknowledged_in_the_order_that_they_came_in(
    net: Net, qos: int, answer: type[Puback | Pubrec]
) -> None:
    client = net.client("one")
    client.answers = False

    for packet_id in (3, 1, 2):
        client.send(Publish("a", b"", qos, packet_id=packet_id))

    assert client.received[1:] == [answer(packet_id=packet_id) for packet_id in (3, 1, 2)]


@covers(mqtt311="4.6.0-4 4.6.0-6", mqtt5="4.6.0-4")
def test_deliveries_are_released_in_the_order_of_their_pubrecs_and_again_after_a_reconnect(net: Net) -> None:
    client = hanging(net, "one", ("a", 2))
    sender = net.client("two")
    for payload in (b"1", b"2", b"3"):
        sender.publish("a", payload, 2)
    assert client.payloads == [b"1", b"2", b"3"]
    order = [client.messages[index].packet_id or 0 for index in (1, 0, 2)]

    for packet_id in order:
        client.send(Pubrec(packet_id=packet_id))

    released = [Pubrel(packet_id=packet_id) for packet_id in order]
    assert client.received[-3:] == released
    client.vanish()
    come_back(client)
    assert client.received[1:] == released


@covers(mqtt5="4.3.3-12 4.3.3-11")
def test_after_the_pubcomp_the_same_identifier_is_a_new_message(net: Net) -> None:
    client = net.client("one")
    client.subscribe(("a", 1))

    for payload in (b"1", b"2"):
        client.send(Publish("a", payload, 2, packet_id=9))

    assert client.payloads == [b"1", b"2"]
    assert client.received.count(Pubcomp(packet_id=9)) == 2


@only_5
@covers(mqtt5="4.4.0-2")
@pytest.mark.parametrize(("qos", "answer"), [(1, Puback), (2, Pubrec)])
def test_a_delivery_that_the_client_refuses_has_ended(
    net: Net, qos: int, answer: type[Puback | Pubrec]
) -> None:
    client = hanging(net, "one", ("a", qos))
    net.client("two").publish("a", b"", qos)
    (message,) = client.messages
    client.send(answer(packet_id=message.packet_id or 0, reason=ReasonCode.QUOTA_EXCEEDED))
    client.vanish()

    come_back(client)

    assert client.messages == []
    assert not any(isinstance(one, Pubrel) for one in client.received)


@only_5
@covers(mqtt5="4.3.3-7")
def test_a_delivery_that_has_begun_is_finished_although_the_message_expires_meanwhile(net: Net) -> None:
    client = hanging(net, "one", ("a", 2))
    net.client("two").publish("a", b"", 2, properties=Properties(message_expiry_interval=1))
    (message,) = client.messages
    net.wait(5)

    client.send(Pubrec(packet_id=message.packet_id or 0))

    assert client.received[-1] == Pubrel(packet_id=message.packet_id or 0)
    client.vanish()
    come_back(client)
    assert client.received[1:] == [Pubrel(packet_id=message.packet_id or 0)]


@only_5
@covers(mqtt5="4.3.3-13")
def test_a_message_that_has_expired_on_its_way_in_is_received_to_its_end(net: Net) -> None:
    client = net.client("one")
    client.answers = False
    client.send(Publish("a", b"", 2, packet_id=9, properties=Properties(message_expiry_interval=1)))
    net.wait(5)

    client.send(Pubrel(packet_id=9))

    assert client.received[1:] == [Pubrec(packet_id=9), Pubcomp(packet_id=9)]


@only_5
@covers(mqtt5="4.3.3-7")
def test_a_message_whose_delivery_has_begun_comes_again_although_it_has_expired(net: Net) -> None:
    client = hanging(net, "one", ("a", 2))
    net.client("two").publish("a", b"x", 2, properties=Properties(message_expiry_interval=1))
    client.vanish()
    net.wait(5)

    come_back(client)

    assert [(one.payload, one.dup) for one in client.messages] == [(b"x", True)]


@only_5
@covers(mqtt5="4.8.2-4 4.8.2-5")
def test_a_shared_message_stays_with_the_member_that_it_was_sent_to(net: Net) -> None:
    chosen, other = (hanging(net, name, ("$share/group/a", 2)) for name in ("one", "two"))
    net.client("three").publish("a", b"x", 2)
    assert (chosen.payloads, other.payloads) == ([b"x"], [])

    chosen.vanish()
    assert other.payloads == []
    come_back(chosen)
    assert chosen.payloads == [b"x"]
    chosen.vanish()
    net.wait(KEPT_S + 1)

    assert other.payloads == []


@only_5
@covers(mqtt5="4.8.2-6")
def test_a_shared_message_that_its_member_refuses_goes_to_nobody_else(net: Net) -> None:
    chosen, other = (hanging(net, name, ("$share/group/a", 1)) for name in ("one", "two"))
    net.client("three").publish("a", b"x", 1)

    chosen.send(Puback(packet_id=chosen.messages[0].packet_id or 0, reason=ReasonCode.NOT_AUTHORIZED))

    assert other.payloads == []


@only_5
@covers(mqtt5="2.2.1-5")
def test_an_identifier_that_nobody_knows_is_said_to_be_unknown(net: Net) -> None:
    client = net.client("one")
    client.answers = False

    client.send(Pubrel(packet_id=77))
    assert client.received[-1] == Pubcomp(packet_id=77, reason=ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)
    client.send(Pubrec(packet_id=78))
    assert client.received[-1] == Pubrel(packet_id=78, reason=ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)
