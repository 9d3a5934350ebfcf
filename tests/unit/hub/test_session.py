import asyncio
import weakref
from typing import Any

import pytest

from gateway import mqtt
from gateway.admission import Admitted
from gateway.enrollment.decide import Verified
from gateway.errors import StoreUnavailable
from gateway.hub.session import HubSession
from gateway.registry.device import Device, Status
from gateway.registry.registry import DeviceEntry
from gateway.registry.twins import PatchRefused, Twin
from gateway.session import CloseReason, Dialect
from tests.support.links import RecordingLink

TWIN_RESPONSES = "$iothub/twin/res/#"
EVENTS = "devices/t-1/messages/events/"
DEVICE = Device.new("t-1", status=Status.PROVISIONED, now=0.0)


class StubRegistry:
    def __init__(self) -> None:
        self.entry: DeviceEntry | None = None

    def peek(self, device_id: str) -> DeviceEntry | None:
        return self.entry


class StubTwins:
    """Answers at once, unless `commit` is set; then when that is done."""

    def __init__(self) -> None:
        self.commit: asyncio.Future[None] | None = None
        self.refusal: PatchRefused | None = None
        self.failure: Exception | None = None
        self.patches: list[dict[str, Any]] = []

    async def get(self, device_id: str) -> Twin:
        if self.failure:
            raise self.failure
        return Twin(desired={"target": 20}, desired_version=4, reported={"a": 1}, reported_version=7)

    async def patch_reported(self, device_id: str, patch: dict[str, Any]) -> int | PatchRefused:
        self.patches.append(patch)
        if self.commit is not None:
            await self.commit
        return self.refusal or 8


class RecordingRouter:
    def __init__(self) -> None:
        self.routed: list[tuple[str | None, str, bytes, dict[str, Any]]] = []

    def route(self, sender: Device, bag: str, payload: bytes, **how: Any) -> None:
        self.routed.append((sender.template_id, bag, payload, how))


class Home:
    """A hub session and all that it talks to."""

    def __init__(self, *, will: mqtt.Will | None = None, subscribed: bool = True) -> None:
        self.link, self.registry = RecordingLink(), StubRegistry()
        self.twins, self.router = StubTwins(), RecordingRouter()
        verified = Verified(mechanism="x509", enrollment_group="G", key_slot="primary", auto_approve=True)
        admitted = Admitted(
            dialect=Dialect.HUB, device_id="t-1", verified=verified, device=DEVICE, expires_at=None
        )
        self.session = HubSession(
            self.link, admitted, subscriptions=None, will=will, registry=self.registry, twins=self.twins,
            router=self.router, clock=lambda: 1000.0,
        )  # fmt: skip
        if subscribed:
            assert self.session.grant(TWIN_RESPONSES, 0) == 0

    def publish(self, topic: str, payload: bytes = b" ", *, qos: int = 1, retain: bool = False) -> None:
        packet_id = 9 if qos else None
        self.session.publish_received(topic, payload, qos=qos, retain=retain, packet_id=packet_id)


def test_telemetry_is_acknowledged_after_it_was_handed_over() -> None:
    home = Home()
    home.publish(f"{EVENTS}a=b", b"{}", retain=True)
    assert home.router.routed == [
        (None, "a=b", b"{}", {"qos": 1, "now": 1000.0, "retain": True, "beside": None})
    ]
    assert home.link.acknowledged == [9]


def test_telemetry_goes_by_the_template_that_the_device_has_now() -> None:
    home = Home()
    home.registry.entry = DeviceEntry(device=DEVICE.replace(now=1.0, template_id="dtmi:new;1"))
    home.publish(EVENTS, b"{}", qos=0)
    assert home.router.routed[0][0] == "dtmi:new;1"
    assert home.link.acknowledged == []


def test_the_twin_has_both_halves_with_their_versions() -> None:
    home = Home()
    home.publish("$iothub/twin/GET/?$rid=5", qos=0)
    assert home.link.last == (
        "$iothub/twin/res/200/?$rid=5",
        {"desired": {"target": 20, "$version": 4}, "reported": {"a": 1, "$version": 7}},
    )


async def test_a_reported_patch_is_answered_only_when_it_is_durable() -> None:
    home = Home()
    home.twins.commit = asyncio.get_running_loop().create_future()
    home.publish("$iothub/twin/PATCH/properties/reported/?$rid=6", b'{"a":null}')
    assert (home.link.order, home.twins.patches) == (["puback"], [{"a": None}])
    home.twins.commit.set_result(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert home.link.last == ("$iothub/twin/res/204/?$rid=6&$version=8", None)


@pytest.mark.parametrize("payload", [b"[]", b"{", b"1", b" "])
def test_a_patch_that_is_no_object_is_a_bad_request(payload: bytes) -> None:
    home = Home()
    home.publish("$iothub/twin/PATCH/properties/reported/?$rid=6", payload)
    assert home.link.last[0] == "$iothub/twin/res/400/?$rid=6"
    assert home.twins.patches == []


def test_a_patch_that_breaks_a_rule_is_a_bad_request_that_says_which() -> None:
    home = Home()
    home.twins.refusal = PatchRefused("properties are nested too deep")
    home.publish("$iothub/twin/PATCH/properties/reported/?$rid=6", b"{}")
    assert home.link.last[0] == "$iothub/twin/res/400/?$rid=6"
    assert home.link.last[1]["message"] == "properties are nested too deep"


def test_a_store_that_is_down_is_a_server_error() -> None:
    home = Home()
    home.twins.failure = StoreUnavailable("disk full")
    home.publish("$iothub/twin/GET/?$rid=5")
    assert home.link.last[0] == "$iothub/twin/res/500/?$rid=5"


async def test_only_so_many_twin_requests_may_wait_at_once() -> None:
    home = Home()
    home.twins.commit = asyncio.get_running_loop().create_future()
    for number in range(17):
        home.publish(f"$iothub/twin/PATCH/properties/reported/?$rid={number}", b"{}")
    assert home.link.last[0] == "$iothub/twin/res/429/?$rid=16"
    home.twins.commit.set_result(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    home.publish("$iothub/twin/GET/?$rid=last")
    assert home.link.last[0] == "$iothub/twin/res/200/?$rid=last"


def test_who_has_not_subscribed_to_the_answers_gets_none() -> None:
    home = Home(subscribed=False)
    home.publish("$iothub/twin/GET/?$rid=5", qos=0)
    assert home.link.sent == []


def test_an_answer_to_a_method_that_nobody_called_is_let_pass() -> None:
    home = Home()
    home.publish("$iothub/methods/res/200/?$rid=1", b"{}")
    assert (home.link.acknowledged, home.link.closed) == ([9], None)


@pytest.mark.parametrize("topic", ["devices/t-2/messages/events/", "devices/t-1/other", "$iothub/x", "free"])
def test_any_other_topic_closes_the_connection(topic: str) -> None:
    home = Home()
    home.publish(topic)
    assert (home.link.closed, home.link.acknowledged) == (CloseReason.TOPIC_UNKNOWN, [])


@pytest.mark.parametrize(
    ("reason", "heard"),
    [(CloseReason.CONNECTION_LOST, True), (CloseReason.TAKEN_OVER, True), (CloseReason.DISCONNECTED, False)],
)
def test_a_will_is_heard_unless_the_device_said_goodbye(reason: CloseReason, heard: bool) -> None:
    home = Home(will=mqtt.Will(topic=f"{EVENTS}why=lost", payload=b"bye", qos=1))
    home.session.ended(reason)
    home.session.ended(reason)
    expected = (None, "why=lost", b"bye", {"qos": 1, "now": 1000.0, "beside": {"iothub-MessageType": "Will"}})
    assert home.router.routed == ([expected] if heard else [])


@pytest.mark.parametrize("waits_for", ["its will", "the store"])
async def test_a_session_that_is_over_lets_its_connection_go_whatever_still_waits(waits_for: str) -> None:
    home = Home(will=mqtt.Will(topic=EVENTS, payload=b"bye", qos=1))
    home.twins.commit = asyncio.get_running_loop().create_future()
    if waits_for == "the store":
        home.publish("$iothub/twin/PATCH/properties/reported/?$rid=6", b"{}")
    link = weakref.ref(home.link)
    home.session.ended(CloseReason.CONNECTION_LOST, will_waits=True)
    del home.link
    assert link() is None
    home.twins.commit.set_result(None)
    await asyncio.sleep(0)
    home.session.publish_will()
    assert len(home.router.routed) == 1


def test_a_will_on_a_topic_that_is_not_the_device_s_is_dropped() -> None:
    home = Home(will=mqtt.Will(topic="devices/t-2/messages/events/", payload=b"bye", qos=1))
    home.session.ended(CloseReason.CONNECTION_LOST)
    assert home.router.routed == []


def test_subscriptions_are_granted_at_most_quality_1_and_remembered_until_unsubscribed() -> None:
    home = Home()
    assert home.session.grant("$iothub/methods/POST/#", 2) == 1
    assert home.session.grant("#", 0) is None
    assert home.session.subscriptions == {TWIN_RESPONSES: 0, "$iothub/methods/POST/#": 1}
    home.session.unsubscribed(TWIN_RESPONSES)
    assert home.session.subscriptions == {"$iothub/methods/POST/#": 1}


def test_a_session_has_the_four_subscriptions_of_its_device_at_most() -> None:
    home = Home(subscribed=False)
    for number in range(1000):
        for topic_filter in (
            "#", "+/+", f"$iothub/{number}/#", "$iothub/#", "$iothub/twin/res/1", f"$iothub/twin/res/{number}/#",
            f"$iothub/methods/POST/{number}/#", f"devices/t-{number}/messages/devicebound/#",
            f"devices/t-1/messages/devicebound/{number}/#", f"devices/t-1/{number}", TWIN_RESPONSES,
            "$iothub/methods/POST/#", "$iothub/twin/PATCH/properties/desired/#",
        ):  # fmt: skip
            home.session.grant(topic_filter, 1)
    assert sorted(home.session.subscriptions) == [
        "$iothub/methods/POST/#", "$iothub/twin/PATCH/properties/desired/#", TWIN_RESPONSES,
        "devices/t-1/messages/devicebound/#",
    ]  # fmt: skip
