"""A DPS session: register, poll, and the answers that every Microsoft SDK accepts.

The identity was proved at CONNECT; a body only announces a model. Where the registration can be decided at
once, `assigned` is the answer to the register request itself, which saves a device one round trip; who waits for
an operator gets 202 with `retry-after`, and asks again.
"""

import asyncio
import uuid
from collections.abc import Callable
from typing import Final

from gateway.admission import Admission, Admitted
from gateway.dps import grammar
from gateway.eager import run_eagerly
from gateway.errors import GatewayError
from gateway.log import get_logger
from gateway.mqtt import NO_PROPERTIES, Properties
from gateway.refusals import Reason, Refused, answer_for
from gateway.registry.device import Device
from gateway.session import NO_LINK, CloseReason, Link

__all__ = ["DpsSession"]

log = get_logger()

_MAX_BODY_BYTES: Final = 16 * 1024
_MAX_PENDING: Final = 4
_RETRY_AFTER_FAULT_S: Final = 5
_HTTP_TOO_MANY: Final = 429
_HTTP_OK: Final = 200


class DpsSession:
    """One device's talk with the provisioning service. Implements `gateway.session.Session`."""

    __slots__ = ("_admission", "_admitted", "_approval_retry_after_s", "_clock", "_granted_qos", "_hub_host", "_link",
                 "_on_refused", "_pending")  # fmt: skip

    def __init__(
        self,
        link: Link,
        admitted: Admitted,
        *,
        admission: Admission,
        hub_host: str,
        approval_retry_after_s: int,
        on_refused: Callable[[Refused], None],
        clock: Callable[[], float],
    ) -> None:
        self._link = link
        self._admitted = admitted
        self._admission = admission
        self._hub_host = hub_host
        self._approval_retry_after_s = approval_retry_after_s
        self._on_refused = on_refused
        self._clock = clock
        self._granted_qos: int | None = None
        self._pending = 0

    def grant(self, topic_filter: str, qos: int) -> int | None:
        if topic_filter != grammar.RESPONSE_FILTER:
            return None
        self._granted_qos = min(qos, 1)
        return self._granted_qos

    def unsubscribed(self, topic_filter: str) -> bool:
        was_subscribed = topic_filter == grammar.RESPONSE_FILTER and self._granted_qos is not None
        if was_subscribed:
            self._granted_qos = None
        return was_subscribed

    @property
    def subscriptions(self) -> dict[str, int]:
        return {}  # a DPS session is never persistent, whatever its CONNECT asked for

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
        request = grammar.parse_request(topic)
        if request is None:
            self._link.close(CloseReason.TOPIC_UNKNOWN, topic[:80])
            return
        if packet_id is not None:
            self._link.puback(packet_id)  # the .NET SDK insists on PUBACK before the answer
        body = grammar.parse_body(payload) if len(payload) <= _MAX_BODY_BYTES else None
        if request.operation is grammar.Operation.POLL:
            body = {}  # SDKs send a space, nothing, or the whole register body again: it means nothing here
        if body is None:
            self._send_error(request.request_id, 400004, "the body is not a JSON object")
            return
        if self._pending >= _MAX_PENDING:
            self._send_error(request.request_id, 429001, "too many requests at once", retry_after_s=1)
            return
        self._register(request, grammar.model_id_in(body))

    def ended(self, reason: CloseReason, *, will_waits: bool = False) -> None:
        self._granted_qos = None
        self._link = NO_LINK

    def publish_will(self) -> None:
        """A will has no meaning here."""

    def _register(self, request: grammar.Request, model_id: str | None) -> None:
        operation_id = request.operation_id or grammar.new_operation_id()
        self._pending += 1
        try:
            outcome = run_eagerly(self._admission.provision(self._admitted, model_id, now=self._clock()))
        except GatewayError as error:
            self._pending -= 1
            self._fail(request.request_id, str(error))
            return
        if not isinstance(outcome, asyncio.Future):
            self._pending -= 1
            self._answer(request.request_id, operation_id, outcome)
            return

        def decided(future: "asyncio.Future[Device | Refused]") -> None:
            self._pending -= 1
            if future.cancelled():
                return
            error = future.exception()
            if error is None:
                self._answer(request.request_id, operation_id, future.result())
            else:
                self._fail(request.request_id, str(error))

        outcome.add_done_callback(decided)

    def _answer(self, request_id: str, operation_id: str, outcome: Device | Refused) -> None:
        if isinstance(outcome, Refused):
            self._on_refused(outcome)
        match outcome:
            case Device():
                log.info(
                    "registration.assigned",
                    device_id=outcome.id,
                    template=outcome.template_id,
                    hub=self._hub_host,
                )
                body = grammar.success_body(
                    operation_id=operation_id,
                    device_id=outcome.id,
                    assigned_hub=self._hub_host,
                    mechanism=self._admitted.verified.mechanism,
                    enrollment_group=self._admitted.verified.enrollment_group,
                    created_at=outcome.created_at,
                    updated_at=outcome.updated_at,
                    etag=outcome.etag,
                )
                self._send(grammar.response_topic(_HTTP_OK, request_id), body)
            case Refused(reason=Reason.APPROVAL_PENDING):
                retry_after_s = self._approval_retry_after_s
                log.info(
                    "registration.deferred", device_id=self._admitted.device_id, reason=outcome.reason,
                    retry_after_s=retry_after_s, hint=answer_for(outcome.reason).hint,
                )  # fmt: skip
                self._send(
                    grammar.response_topic(202, request_id, retry_after_s), grammar.pending_body(operation_id)
                )
            case Refused(reason=Reason.OVERLOADED):
                # Counted by the second (`storm.shed`), not logged one by one: there are many when there are any.
                self._send_error(
                    request_id, answer_for(outcome.reason).dps_error, "Too many devices at once",
                    retry_after_s=self._admission.intake.retry_after_s(),
                )  # fmt: skip
            case Refused():
                answer = answer_for(outcome.reason)
                log.warning(
                    "registration.failed", device_id=self._admitted.device_id, reason=outcome.reason,
                    detail=outcome.detail, hint=answer.hint,
                )  # fmt: skip
                retry = _RETRY_AFTER_FAULT_S if answer.dps_error // 1000 >= _HTTP_TOO_MANY else None
                self._send_error(request_id, answer.dps_error, "Unauthorized", retry_after_s=retry)

    def _fail(self, request_id: str, error: str) -> None:
        log.error(
            "registration.failed",
            device_id=self._admitted.device_id,
            reason=Reason.STORE_UNAVAILABLE,
            error=error,
        )
        self._send_error(request_id, 500001, "Internal error", retry_after_s=_RETRY_AFTER_FAULT_S)

    def _send_error(
        self, request_id: str, code: int, message: str, *, retry_after_s: int | None = None
    ) -> None:
        body = grammar.error_body(code, message, tracking_id=str(uuid.uuid4()), now=self._clock())
        self._send(grammar.response_topic(code // 1000, request_id, retry_after_s), body)

    def _send(self, topic: str, body: bytes) -> None:
        if self._granted_qos is not None:
            self._link.publish(topic, body, self._granted_qos)
