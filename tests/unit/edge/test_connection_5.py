"""One connection of MQTT 5 over a made-up channel: what it is told, what is kept of it, when its will is due."""

import asyncio
import tracemalloc
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway import mqtt
from gateway.admission import Admitted
from gateway.edge import v5
from gateway.edge.connection import Connection
from gateway.edge.sessions import WaitingWill
from gateway.errors import StoreUnavailable
from gateway.mqtt import (
    MQTT_5,
    Auth,
    Connack,
    Connect,
    Decoder,
    Disconnect,
    Packet,
    Properties,
    Publish,
    ReasonCode,
    Subscribe,
    Unsubscribe,
    Will,
)
from gateway.refusals import Reason, Refused
from gateway.session import CloseReason, Dialect
from tests.unit.edge.test_connection import Bench, Channel, StubSession, admitted

SAS = Properties(authentication_method="SAS", authentication_data=b"t")
AGAIN = Auth(reason=0x19, properties=SAS)
TOPIC = "devices/t-1/messages/events/"


def connect(**fields: Any) -> bytes:
    return MQTT_5.encode(Connect(**{"client_id": "t-1", "keep_alive": 60, "protocol_level": 5, **fields}))


def said(channel: Channel) -> list[Packet]:
    decoder = Decoder(MQTT_5.from_server, max_packet_size=1 << 20)
    decoder.feed(channel.written)
    return list(iter(decoder.next_packet, None))


def connack(bench: Bench) -> Connack:
    first = said(bench.channel)[0]
    assert isinstance(first, Connack)
    return first


def come_back(bench: Bench, **fields: Any) -> None:
    """A new connection of the same device, with a session and a channel of its own."""
    bench.session, bench.channel = StubSession(), Channel()
    bench.connection = Connection(bench.edge)
    bench.connection.attach(bench.channel, bench.channel)
    bench.connection.data_received(connect(**fields))


@pytest.mark.covers(mqtt5="3.1.3-8 3.1.4-2 3.2.2-7 4.12.0-4")
async def test_what_a_refused_device_is_told_depends_on_what_it_has_proved() -> None:
    for reason, code, words in (
        (
            Reason.CLIENT_ID_INVALID,
            0x85,
            "the client id is no device id: letters, digits and '-' only, at most 128",
        ),
        (Reason.TOKEN_EXPIRED, 0x87, "token expired"),
        (Reason.ENROLLMENT_GROUP_DISABLED, 0x87, "group disabled"),
        (Reason.DEVICE_BLOCKED, 0x8A, "device blocked"),
        (Reason.OVERLOADED, 0x89, "too many devices at once; try again later"),
        (Reason.TOKEN_SIGNATURE_INVALID, 0x87, "the credential is not accepted"),
        (Reason.ENROLLMENT_MISSING, 0x87, "the credential is not accepted"),
        (Reason.ATTESTATION_MISMATCH, 0x87, "the credential is not accepted"),
        (Reason.CERTIFICATE_UNTRUSTED, 0x87, "the credential is not accepted"),
        (Reason.CERTIFICATE_THUMBPRINT_UNKNOWN, 0x87, "the credential is not accepted"),
    ):
        for wanted in (Properties(), SAS):
            bench = Bench(lambda reason=reason: Refused(reason, "a secret detail"))
            bench.connection.data_received(connect(properties=wanted))
            assert said(bench.channel) == [
                Connack(session_present=False, code=code, properties=Properties(reason_string=words))
            ]
            assert bench.channel.closed


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"properties": Properties(authentication_method="GS2-KRB5")}, 0x8C),
        ({"properties": SAS, "username": "u", "password": b"t"}, 0x86),
        ({"will": Will(topic=TOPIC, payload=b"", qos=2)}, 0x9B),
        ({"will": Will(topic=TOPIC, payload=b"", retain=True)}, 0x9A),
    ],
    ids=["another method", "two tokens", "a will of QoS 2", "a retained will"],
)
@pytest.mark.covers(mqtt5="3.2.2-12 3.2.2-13 4.12.0-1")
async def test_what_this_gateway_does_not_have_is_refused_with_its_own_code(
    fields: dict[str, Any], code: int
) -> None:
    bench = Bench()
    bench.connection.data_received(connect(**fields))
    assert connack(bench).code == code


async def test_the_answer_to_somebody_who_keeps_failing_is_held_back_and_then_says_why() -> None:
    bench = Bench(lambda: Refused(Reason.TOKEN_EXPIRED), storm={"max_delay_s": 8})
    for _ in range(12):
        come_back(bench)
        if not bench.channel.written:
            break
    else:
        raise AssertionError("no answer was held back")
    bench.wait(20)
    assert connack(bench).properties.reason_string == "token expired"


@pytest.mark.parametrize(
    ("asked", "announced", "enforced"), [(60, None, 90), (0, 1178, 1767), (2000, 1178, 1767)],
    ids=["short enough", "none", "too long"],
)  # fmt: skip
@pytest.mark.covers(mqtt5="3.1.2-21 3.1.2-22 3.2.2-21 3.2.2-22")
async def test_the_keep_alive_that_is_announced_is_the_one_that_is_enforced(
    asked: int, announced: int | None, enforced: int
) -> None:
    bench = Bench()
    bench.connection.data_received(connect(keep_alive=asked))
    assert connack(bench).properties.server_keep_alive == announced
    bench.wait(enforced - 2)
    assert not bench.channel.closed
    bench.wait(4)
    assert said(bench.channel)[-1] == Disconnect(
        reason=0x8D, properties=Properties(reason_string="nothing heard for 1.5 times the keep-alive")
    )


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (CloseReason.TAKEN_OVER, 0x8E),
        (CloseReason.SHUTTING_DOWN, 0x8B),
        (CloseReason.DEVICE_BLOCKED, 0x87),
        (CloseReason.DEVICE_DELETED, 0x98),
        (CloseReason.ENROLLMENT_CHANGED, 0x98),
        (CloseReason.TOPIC_UNKNOWN, 0x90),
    ],
)
@pytest.mark.covers(mqtt5="4.13.2-1 3.14.4-2 3.14.2-1")
async def test_a_session_that_is_ended_is_told_why(reason: CloseReason, code: int) -> None:
    bench = Bench()
    bench.connection.data_received(connect())
    bench.connection.close(reason)
    last = said(bench.channel)[-1]
    assert isinstance(last, Disconnect)
    assert last.reason == code
    assert last.properties.reason_string
    assert bench.channel.closed


@pytest.mark.covers(mqtt5="4.12.0-6 3.1.2-28")
async def test_a_device_that_names_no_method_and_wants_no_response_information_is_told_of_neither() -> None:
    for wanted in (Properties(), Properties(request_response_information=0)):
        bench = Bench()
        bench.connection.data_received(connect(properties=wanted))
        assert connack(bench).code == 0
        assert connack(bench).properties.authentication_method is None
        assert connack(bench).properties.response_information is None


@pytest.mark.covers(mqtt5="4.13.1-1")
async def test_who_breaks_the_protocol_is_told_how_and_is_closed() -> None:
    bench = Bench()
    bench.connection.data_received(connect())
    bench.connection.data_received(MQTT_5.encode(Publish(TOPIC, b"", qos=2, packet_id=1)))
    last = said(bench.channel)[-1]
    assert isinstance(last, Disconnect)
    assert last.reason == ReasonCode.QOS_NOT_SUPPORTED
    assert bench.session.ended_with is CloseReason.PROTOCOL_VIOLATED


@pytest.mark.covers(mqtt5="3.3.2-12")
async def test_a_message_under_an_alias_reaches_the_session_under_its_topic() -> None:
    bench = Bench()
    bench.connection.data_received(connect())
    for topic in (TOPIC, ""):
        bench.connection.data_received(
            MQTT_5.encode(Publish(topic, b"", properties=Properties(topic_alias=10)))
        )
    assert bench.session.published == [TOPIC, TOPIC]


@pytest.mark.covers(mqtt5="3.3.2-7")
async def test_an_alias_ends_with_its_connection() -> None:
    bench = Bench()
    aliased = Properties(topic_alias=10)
    for topic in (TOPIC, ""):
        come_back(bench, clean_session=False, properties=KEPT)
        bench.connection.data_received(MQTT_5.encode(Publish(topic, b"", properties=aliased)))
        last = said(bench.channel)[-1]
    assert isinstance(last, Disconnect)
    assert last.reason == ReasonCode.TOPIC_ALIAS_INVALID
    assert bench.session.published == []


@pytest.mark.covers(mqtt5="3.2.2-15")
async def test_a_packet_beyond_the_announced_maximum_ends_the_connection() -> None:
    bench = Bench(max_packet_bytes=20_000)
    bench.connection.data_received(connect())
    assert connack(bench).properties.maximum_packet_size == 20_000
    bench.connection.data_received(MQTT_5.encode(Publish(TOPIC, bytes(20_000))))
    last = said(bench.channel)[-1]
    assert isinstance(last, Disconnect)
    assert last.reason == ReasonCode.PACKET_TOO_LARGE
    assert bench.channel.closed


@pytest.mark.covers(mqtt5="3.1.2-4 3.1.2-6 3.1.4-4 3.2.2-2")
async def test_a_clean_start_finds_no_session_and_ends_the_one_that_was_kept() -> None:
    bench = Bench()
    remembered, present = [], []

    def make_session(*given: Any) -> StubSession:
        remembered.append(given[-1])
        return bench.session

    bench.edge.make_session = make_session
    for clean in (False, False, True):
        come_back(bench, clean_session=clean, properties=KEPT)
        bench.session.subscriptions = {"a": 1}
        present.append(connack(bench).session_present)
        bench.connection.connection_lost(None)
    assert present == [False, True, False]
    assert remembered == [None, {"a": 1}, None]


@pytest.mark.covers(mqtt5="3.1.2-23 3.2.2-3 4.1.0-2")
async def test_a_session_is_kept_for_its_expiry_interval_and_present_until_then() -> None:
    for away, present in ((100, True), (102, False)):
        bench = Bench()
        bench.session.subscriptions = {"a": 1}
        bench.connection.data_received(connect(properties=Properties(session_expiry_interval=101)))
        bench.connection.connection_lost(None)
        bench.now += away
        come_back(bench, clean_session=False)
        assert connack(bench).session_present is present


async def test_a_session_expiry_beyond_the_maximum_is_cut_and_the_device_is_told() -> None:
    bench = Bench(max_session_expiry_s=50)
    bench.connection.data_received(connect(properties=Properties(session_expiry_interval=0xFFFFFFFF)))
    assert connack(bench).properties.session_expiry_interval == 50


async def test_provisioning_keeps_no_session() -> None:
    bench = Bench(lambda: admitted()._replace(dialect=Dialect.DPS))
    bench.connection.data_received(connect(properties=Properties(session_expiry_interval=60)))
    assert connack(bench).properties.session_expiry_interval == 0
    bench.connection.connection_lost(None)
    assert bench.edge.sessions.resume("t-1", keeps=True, now=bench.now) is None


WAITS = Will(topic=TOPIC, payload=b"bye", properties=Properties(will_delay_interval=30))
KEPT = Properties(session_expiry_interval=60)


@pytest.mark.covers(mqtt5="3.1.2-7 3.1.2-8 3.1.2-10")
async def test_a_will_waits_for_its_delay() -> None:
    bench = Bench()
    bench.connection.data_received(connect(will=WAITS, properties=KEPT))
    session = bench.session
    bench.connection.connection_lost(None)
    bench.wait(29)
    assert session.wills == 0
    bench.wait(3)
    assert session.wills == 1
    bench.wait(60)
    assert session.wills == 1


@pytest.mark.covers(mqtt5="3.1.3-9")
async def test_a_device_that_comes_back_in_time_has_no_will_published() -> None:
    bench = Bench()
    bench.connection.data_received(connect(will=WAITS, properties=KEPT))
    session = bench.session
    bench.connection.connection_lost(None)
    bench.wait(10)
    come_back(bench, clean_session=False, properties=KEPT)
    bench.wait(60)
    assert session.wills == 0


async def test_a_device_that_comes_back_again_and_again_leaves_one_will_to_wait_at_most() -> None:
    bench = Bench()
    for _ in range(50):
        come_back(bench, clean_session=False, will=WAITS, properties=KEPT)
        bench.connection.connection_lost(None)
    assert (bench.edge.sessions.wills, len(bench.edge.deadlines)) == (
        1,
        2,
    )  # and the bench's own first connection


async def test_a_will_that_finds_no_room_to_wait_is_published_at_once() -> None:
    bench = Bench()
    for number in range(10):  # as many as there is room for
        other: Any = StubSession()
        will = WaitingWill(other, f"other-{number}", bench.edge.sessions, bench.edge.deadlines)
        assert bench.edge.sessions.hold_will(will, until=bench.now + 30)
    bench.connection.data_received(connect(will=WAITS, properties=KEPT))
    bench.connection.connection_lost(None)
    assert (bench.session.wills, bench.edge.sessions.wills) == (1, 10)


async def test_a_connection_that_is_gone_holds_nothing_of_what_it_was_sent_or_agreed() -> None:
    bench = Bench()
    bench.connection.data_received(connect(will=WAITS, properties=KEPT))
    tracemalloc.start()
    try:
        for alias in range(1, 11):
            topic = f"{TOPIC}{alias}" + "x" * 60_000
            bench.connection.data_received(
                MQTT_5.encode(Publish(topic, b"", properties=Properties(topic_alias=alias)))
            )
        bench.session.published.clear()
        bench.connection.data_received(b"\x30\x80\x80\x10" + bytes(200_000))  # and half a packet
        assert tracemalloc.get_traced_memory()[0] > 800_000
        bench.connection.connection_lost(None)
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("packet", ["SUBSCRIBE", "UNSUBSCRIBE"])
@pytest.mark.covers(mqtt5="3.1.2-24 4.13.1-1")
async def test_who_asks_for_an_answer_larger_than_it_takes_is_told_so_and_closed(packet: str) -> None:
    bench = Bench()
    bench.connection.data_received(connect(properties=Properties(maximum_packet_size=256)))
    filters = tuple(f"x/{number}" for number in range(300))
    with capture_logs() as lines:
        bench.connection.data_received(
            MQTT_5.encode(
                Subscribe(packet_id=1, filters=tuple((each, 0) for each in filters))
                if packet == "SUBSCRIBE"
                else Unsubscribe(packet_id=1, filters=filters)
            )
        )
    last = said(bench.channel)[-1]
    assert isinstance(last, Disconnect)
    assert last.reason == ReasonCode.PACKET_TOO_LARGE
    assert bench.session.ended_with is CloseReason.PROTOCOL_VIOLATED
    assert bench.channel.closed
    assert "256" in lines[0]["detail"]


async def test_a_device_that_takes_one_message_at_a_time_gets_every_answer() -> None:
    bench = Bench()
    bench.connection.data_received(connect(properties=Properties(receive_maximum=1)))
    assert all(bench.connection.publish(f"answer/{number}", b"", 1) for number in range(3))
    messages = [(each.topic, each.qos) for each in said(bench.channel) if isinstance(each, Publish)]
    assert messages == [("answer/0", 1), ("answer/1", 0), ("answer/2", 0)]


async def test_a_device_that_comes_back_for_a_new_session_has_ended_the_old_one_and_its_will_is_published() -> (
    None
):
    bench = Bench()
    bench.connection.data_received(connect(will=WAITS, properties=KEPT))
    session = bench.session
    bench.connection.connection_lost(None)
    come_back(bench, clean_session=True)
    assert session.wills == 1


async def test_the_will_of_a_session_that_was_forgotten_for_want_of_room_is_published_when_its_device_is_back() -> (
    None
):
    bench = Bench()
    bench.connection.data_received(connect(will=WAITS, properties=KEPT))
    session = bench.session
    bench.connection.connection_lost(None)
    for number in range(10):  # as many as there is room for
        bench.edge.sessions.keep_subscriptions(f"other-{number}", {})
    come_back(bench, clean_session=False, properties=KEPT)
    assert connack(bench).session_present is False
    assert session.wills == 1


async def test_a_waiting_will_is_published_at_once_when_the_session_ends_before_it() -> None:
    def lost(**fields: Any) -> tuple[Bench, StubSession]:
        bench = Bench()
        bench.connection.data_received(connect(will=WAITS, properties=KEPT, **fields))
        bench.connection.connection_lost(None)
        return bench, bench.session

    bench, session = lost()
    bench.edge.sessions.close_device("t-1", CloseReason.DEVICE_BLOCKED)
    assert session.wills == 1
    bench, session = lost()
    bench.edge.sessions.close_all(CloseReason.SHUTTING_DOWN)
    assert session.wills == 1
    bench = Bench(max_offline_sessions=10)
    bench.connection.data_received(connect(will=WAITS))  # no expiry: the session ends with the connection
    bench.connection.connection_lost(None)
    assert bench.session.ended_with is CloseReason.CONNECTION_LOST
    assert bench.session.will_waits is False


@pytest.mark.covers(mqtt5="3.14.4-3")
async def test_a_device_that_leaves_with_its_will_says_so() -> None:
    for reason, ended_with in ((0, CloseReason.DISCONNECTED), (4, CloseReason.DISCONNECTED_WITH_WILL)):
        bench = Bench()
        bench.connection.data_received(connect())
        bench.connection.data_received(MQTT_5.encode(Disconnect(reason=reason)))
        assert bench.session.ended_with is ended_with


@pytest.mark.covers(mqtt5="4.12.1-1")
async def test_a_renewed_session_lives_as_long_as_the_new_token() -> None:
    bench = Bench(lambda: admitted(expires_at=1050.0))
    bench.edge.admission.renewed = lambda: admitted(expires_at=1100.0)
    bench.connection.data_received(connect(properties=SAS))
    with capture_logs() as lines:
        bench.connection.data_received(MQTT_5.encode(AGAIN))
    assert said(bench.channel)[-1] == Auth(properties=Properties(authentication_method="SAS"))
    assert [line["event"] for line in lines] == ["session.renewed"]
    bench.wait(52)
    assert not bench.channel.closed
    bench.connection.data_received(MQTT_5.encode(mqtt.Pingreq()))
    bench.wait(50)
    assert bench.session.ended_with is CloseReason.TOKEN_EXPIRED
    last = said(bench.channel)[-1]
    assert isinstance(last, Disconnect)
    assert last.reason == ReasonCode.MAXIMUM_CONNECT_TIME


async def test_a_renewal_with_a_shorter_token_ends_the_session_sooner() -> None:
    bench = Bench(lambda: admitted(expires_at=1080.0))
    bench.edge.admission.renewed = lambda: admitted(expires_at=1010.0)
    bench.connection.data_received(connect(properties=SAS))
    bench.connection.data_received(MQTT_5.encode(AGAIN))
    bench.wait(12)
    assert bench.session.ended_with is CloseReason.TOKEN_EXPIRED


async def test_a_session_that_came_in_by_a_certificate_lives_as_long_as_the_token_that_it_gives_later() -> (
    None
):
    bench = Bench(lambda: admitted(expires_at=1050.0, by="x509"))
    bench.edge.admission.renewed = lambda: admitted(expires_at=1080.0)
    bench.connection.data_received(connect(properties=SAS))
    bench.connection.data_received(MQTT_5.encode(AGAIN))
    bench.wait(52)
    assert not bench.channel.closed
    bench.wait(30)
    assert bench.session.ended_with is CloseReason.TOKEN_EXPIRED


async def test_messages_go_on_while_a_renewal_waits_for_the_store() -> None:
    look_up: asyncio.Future[Admitted] = asyncio.get_running_loop().create_future()
    bench = Bench(lambda: admitted(expires_at=1050.0))
    bench.edge.admission.renewed = lambda: look_up
    bench.connection.data_received(connect(properties=SAS))
    bench.connection.data_received(MQTT_5.encode(AGAIN) + MQTT_5.encode(Publish(TOPIC, b"x")))
    assert bench.session.published == [TOPIC]
    look_up.set_result(admitted(expires_at=1100.0))
    await asyncio.sleep(0)
    assert isinstance(said(bench.channel)[-1], Auth)


async def test_a_renewal_that_the_store_can_not_answer_is_unavailable() -> None:
    def down() -> Admitted:
        raise StoreUnavailable("disk full")

    bench = Bench()
    bench.edge.admission.renewed = down
    bench.connection.data_received(connect(properties=SAS))
    bench.connection.data_received(MQTT_5.encode(AGAIN))
    last = said(bench.channel)[-1]
    assert isinstance(last, Disconnect)
    assert last.properties.reason_string == "unavailable; try again later"
    assert bench.session.ended_with is CloseReason.RENEWAL_REFUSED


def test_every_refusal_has_a_reason_code_that_its_packet_may_carry() -> None:
    for reason in Reason:
        code, words = v5.farewell(Refused(reason))
        assert MQTT_5.encode(Disconnect(reason=code, properties=words))
        code, words = v5.explain(Refused(reason))
        assert MQTT_5.encode(Connack(session_present=False, code=code, properties=words))
