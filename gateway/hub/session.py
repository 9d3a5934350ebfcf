"""A hub session: telemetry in, the twin both ways, and every subscription that IoT Hub documents.

Desired-property changes, direct methods and cloud-to-device messages get their subscriptions here, since
Microsoft's client libraries ask for all of them before they speak; sending them is not built yet, and this
is their room.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple, TypeVar

import orjson

from gateway import mqtt
from gateway.admission import Admitted
from gateway.eager import run_eagerly
from gateway.errors import StoreError
from gateway.hub import grammar
from gateway.hub.properties import telemetry_properties
from gateway.log import get_logger
from gateway.mqtt import NO_PROPERTIES, Properties
from gateway.registry.device import Device
from gateway.registry.registry import Registry
from gateway.registry.twins import PatchRefused, Twin, Twins
from gateway.session import NO_LINK, CloseReason, Link
from gateway.telemetry.router import TelemetryRouter

__all__ = ["HubSession", "Will"]

log = get_logger()

T = TypeVar("T")

_MAX_PENDING: Final = 16
_OK, _NO_CONTENT, _BAD_REQUEST, _TOO_MANY, _INTERNAL = 200, 204, 400, 429, 500


class Will(NamedTuple):
    """The last will of a CONNECT; it becomes telemetry if the connection ends without DISCONNECT."""

    bag: str
    payload: bytes
    qos: int
    properties: Properties


class HubSession:
    """One device's talk with the hub. Implements `gateway.session.Session`."""

    __slots__ = ("_admitted", "_clock", "_link", "_pending", "_registry", "_router", "_subscriptions",
                 "_telemetry_prefix", "_twins", "_will")  # fmt: skip

    def __init__(
        self,
        link: Link,
        admitted: Admitted,
        *,
        subscriptions: dict[str, int] | None,
        will: mqtt.Will | None,
        registry: Registry,
        twins: Twins,
        router: TelemetryRouter,
        clock: Callable[[], float],
    ) -> None:
        self._link = link
        self._admitted = admitted
        self._registry = registry
        self._twins = twins
        self._router = router
        self._clock = clock
        self._telemetry_prefix = grammar.telemetry_prefix(admitted.device_id)
        self._subscriptions: dict[str, int] = dict(subscriptions or {})
        self._pending = 0
        self._will: Will | None = None
        if will is not None:
            if will.topic.startswith(self._telemetry_prefix):
                bag = will.topic[len(self._telemetry_prefix) :]
                self._will = Will(bag, will.payload, will.qos, will.properties)
            else:
                log.warning(
                    "telemetry.dropped", device_id=admitted.device_id, cause="will_topic_unknown", count=1
                )

    @property
    def subscriptions(self) -> dict[str, int]:
        return self._subscriptions

    def grant(self, topic_filter: str, qos: int) -> int | None:
        if not grammar.is_device_filter(topic_filter, self._admitted.device_id):
            return None
        granted = self._subscriptions[topic_filter] = min(qos, 1)
        return granted

    def unsubscribed(self, topic_filter: str) -> bool:
        return self._subscriptions.pop(topic_filter, None) is not None

    def publish_received(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int,
        retain: bool,
        packet_id: int | None,
        properties: Properties = NO_PROPERTIES,
    ) -> None:
        if topic.startswith(self._telemetry_prefix):
            bag = topic[len(self._telemetry_prefix) :]
            beside = None if properties is NO_PROPERTIES else telemetry_properties(properties)
            self._router.route(
                self._device(), bag, payload, qos=qos, now=self._clock(), retain=retain, beside=beside
            )
            if packet_id is not None:
                self._link.puback(packet_id)  # after the hand-over: that is what PUBACK promises
            return
        request = grammar.parse_request(topic)
        if request is None:
            self._link.close(CloseReason.TOPIC_UNKNOWN, topic[:80])
            return
        if packet_id is not None:
            self._link.puback(packet_id)
        match request.operation:
            case grammar.Operation.TWIN_GET:
                self._get_twin(request.request_id)
            case grammar.Operation.TWIN_PATCH:
                self._patch_twin(request.request_id, payload)
            case grammar.Operation.METHOD_RESPONSE:
                pass  # nobody can have asked: direct methods are not sent yet

    def ended(self, reason: CloseReason, *, will_waits: bool = False) -> None:
        self._link = NO_LINK
        if reason is CloseReason.DISCONNECTED:
            self._will = None
        elif not will_waits:
            self.publish_will()

    def publish_will(self) -> None:
        if self._will is not None:
            will, self._will = self._will, None
            beside = {**telemetry_properties(will.properties), "iothub-MessageType": "Will"}
            self._router.route(
                self._device(), will.bag, will.payload, qos=will.qos, now=self._clock(), beside=beside
            )

    def _device(self) -> Device:
        """The device as it is now: an operator may have given it another template since it connected."""
        entry = self._registry.peek(self._admitted.device_id)
        if entry is not None and entry.device is not None:
            return entry.device
        device = self._admitted.device
        assert device is not None, "a hub session is opened for a registered device"  # noqa: S101
        return device

    # The twin

    def _get_twin(self, request_id: str) -> None:
        if self._take_turn(request_id):
            self._answer(request_id, self._twins.get(self._admitted.device_id), self._send_twin)

    def _send_twin(self, request_id: str, twin: Twin) -> None:
        body = {
            "desired": {**twin.desired, "$version": twin.desired_version},
            "reported": {**twin.reported, "$version": twin.reported_version},
        }
        self._respond(grammar.twin_response_topic(_OK, request_id), orjson.dumps(body))

    def _patch_twin(self, request_id: str, payload: bytes) -> None:
        try:
            patch = orjson.loads(payload)
        except orjson.JSONDecodeError:
            patch = None
        if not isinstance(patch, dict):
            self._respond_error(_BAD_REQUEST, request_id, 400004, "reported properties are a JSON object")
            return
        if self._take_turn(request_id):
            patched = self._twins.patch_reported(self._admitted.device_id, patch)
            self._answer(request_id, patched, self._send_patched)

    def _send_patched(self, request_id: str, outcome: int | PatchRefused) -> None:
        match outcome:
            case PatchRefused(problem=problem):
                self._respond_error(_BAD_REQUEST, request_id, 400004, problem)
            case version:
                self._respond(grammar.twin_response_topic(_NO_CONTENT, request_id, version), b"")

    def _take_turn(self, request_id: str) -> bool:
        if self._pending >= _MAX_PENDING:
            self._respond_error(_TOO_MANY, request_id, 429001, "too many requests at once")
            return False
        self._pending += 1
        return True

    def _answer(self, request_id: str, work: Coroutine[Any, Any, T], send: Callable[[str, T], None]) -> None:
        """Send the outcome of `work` now if it needs nothing but memory, else when it is there."""
        try:
            outcome = run_eagerly(work)
        except StoreError as error:
            self._fail(request_id, error)
            return
        if not isinstance(outcome, asyncio.Future):
            self._pending -= 1
            send(request_id, outcome)
            return

        def done(future: "asyncio.Future[T]") -> None:
            if future.cancelled():
                return
            error = future.exception()
            if not self._link.is_open:
                return
            if error is None:
                self._pending -= 1
                send(request_id, future.result())
            else:
                self._fail(request_id, error)

        outcome.add_done_callback(done)

    def _fail(self, request_id: str, error: BaseException) -> None:
        self._pending -= 1
        log.error("store.failed", device_id=self._admitted.device_id, error=str(error))
        self._respond_error(_INTERNAL, request_id, 500001, "the store can't answer now")

    def _respond_error(self, status: int, request_id: str, code: int, message: str) -> None:
        body = orjson.dumps({"errorCode": code, "message": message})
        self._respond(grammar.twin_response_topic(status, request_id), body)

    def _respond(self, topic: str, body: bytes) -> None:
        qos = self._subscriptions.get(grammar.TWIN_RESPONSE_FILTER)
        if qos is not None:
            self._link.publish(topic, body, qos)
