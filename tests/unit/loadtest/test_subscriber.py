"""Every message that was published is accounted for, by the copies that an application received."""

import json
import socket
import time

import pytest

from gateway.errors import OperationError
from gateway.settings import TelemetrySettings
from loadtest.plan import Messages
from loadtest.subscriber import Application, Delivery, Subscriber, account, filters_of
from loadtest.tally import DeviceMessages


def delivered(**copies: list[int]) -> Delivery:
    delivery = Delivery()
    for device_id, numbers in copies.items():
        for number in numbers:
            delivery.arrived(device_id, number, None, now=100.5)
    return delivery


def test_each_message_is_once_repeated_missing_or_unanswered() -> None:
    sent = {"a": DeviceMessages(sent=5, unacknowledged=[4, 5]), "b": DeviceMessages(sent=1)}
    told = account(sent, delivered(a=[1, 2, 2, 5], b=[1]), started_at=98.0)
    assert (told["once"], told["repeated"], told["unanswered"]) == (3, 1, 1)
    assert told["missing"] == {"count": 1, "messages": ["a/3"]}
    assert told["timeline"] == {"2": 5}


def test_messages_that_nobody_sent_are_counted_apart() -> None:
    sent = {"a": DeviceMessages(sent=2)}
    assert account(sent, delivered(a=[1, 2, 3], c=[1]), started_at=0)["unexpected"] == 2


def test_filters_never_match_the_same_message_twice() -> None:
    assert filters_of(TelemetrySettings()) == ("telemetry/+/+", "telemetry/+/+/+", "deadletter/+/+")


def counted(
    topic: str, payload: bytes, *, published_to: str = Messages(total=1, rate_per_s=1).topic
) -> Delivery:
    application = Application(host="localhost", port=1, filters=("#",))
    subscriber = Subscriber(application, topic=published_to, prefix="storm-")
    subscriber._count(topic, payload)
    return subscriber.delivery


def test_a_message_is_known_by_the_properties_in_its_envelope() -> None:
    envelope = {
        "device": "storm-000001",
        "properties": {"number": "3", "at": str(int(time.time() * 1000) - 50)},
        "validation": {"status": "valid"},
    }
    delivery = counted("telemetry/x/storm-000001", json.dumps(envelope).encode())
    assert delivery.copies["storm-000001"][3] == 1
    assert delivery.validation == {"valid": 1}
    assert delivery.latencies.percentile(100) >= 0.05 * 0.98


def test_on_a_plain_broker_it_is_known_by_its_topic() -> None:
    delivery = counted("bench/storm-000001/12", b"{}", published_to="bench/{device}/{number}")
    assert delivery.copies["storm-000001"][12] == 1


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b'{"device":"storm-000001"}', b'{"device":"x","properties":null}']
)
def test_what_somebody_else_sent_is_counted_apart(payload: bytes) -> None:
    assert counted("telemetry/x/storm-000001", payload).others == 1


def test_an_application_that_cannot_log_in_is_told_in_a_line() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        application = Application(host="127.0.0.1", port=bound.getsockname()[1], filters=("#",))
        with (
            pytest.raises(OperationError, match=r"^127\.0\.0\.1:\d+: .*refused"),
            Subscriber(application, topic="x/{device}/{number}", prefix=""),
        ):
            pass
