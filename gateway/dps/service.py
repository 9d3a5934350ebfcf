"""The provisioning service over HTTPS: the same decisions as over MQTT, and the only way in for a device with a TPM.

Every request proves anew who asks: nothing is kept between them but a TPM's storage root key (`gateway.tpm_keys`). A
request is turned into what the same device would say at CONNECT, and goes the one road, `Admission`.
"""

import asyncio
import base64
import uuid
from collections.abc import Callable
from typing import Any, Final

import orjson

from gateway.admission import Admission, Admitted, ConnectRequest
from gateway.attempts import MAX_CLAIMED_ID, Attempts, Presented, read_password
from gateway.dps import grammar, rest
from gateway.eager import run_eagerly
from gateway.errors import GatewayError
from gateway.exchange import HttpExchange, HttpResponse
from gateway.log import get_logger
from gateway.refusals import Reason, Refused, answer_for
from gateway.registry.device import Device, Status
from gateway.session import Dialect
from gateway.settings import Settings
from gateway.tpm_keys import TpmKeys

__all__ = ["DpsService"]

log = get_logger()

_OK, _ACCEPTED, _UNAUTHORIZED, _TOO_MANY = 200, 202, 401, 429
_BAD_BODY, _NO_REGISTRATION, _NO_OPERATION = 400004, 404001, 404002
_RETRY_AFTER_FAULT_S: Final = 5


class DpsService:
    """Implements `gateway.exchange.HttpHandler`. `clock` returns unix seconds."""

    def __init__(
        self,
        *,
        admission: Admission,
        tpm_keys: TpmKeys,
        attempts: Attempts,
        settings: Settings,
        clock: Callable[[], float],
    ) -> None:
        self._admission = admission
        self._attempts = attempts
        self._tpm_keys = tpm_keys
        self._id_scope = settings.id_scope
        self._hub_host = settings.hosts[0]
        self._approval_retry_after_s = settings.provisioning.approval_retry_after_s
        self._clock = clock

    def answer(
        self, exchange: HttpExchange, *, shutting_down: bool
    ) -> "HttpResponse | asyncio.Future[HttpResponse]":
        """The answer, at once if nothing has to be looked up or written."""
        request = rest.parse_target(exchange.method, exchange.target)
        if isinstance(request, rest.Problem):
            return self._problem(request)
        if shutting_down:
            return self._refuse(Refused(Reason.SHUTTING_DOWN), request, exchange)
        return run_eagerly(self._serve(request, exchange))

    async def _serve(self, request: rest.RestRequest, exchange: HttpExchange) -> HttpResponse:
        try:
            return await self._decide(request, exchange)
        except GatewayError as error:
            log.error(
                "registration.failed", device_id=request.registration_id, reason=Reason.STORE_UNAVAILABLE,
                error=error.message, peer=exchange.peer, transport="https",
            )  # fmt: skip
            return self._error(answer_for(Reason.STORE_UNAVAILABLE).dps_error, "Internal error")

    async def _decide(self, request: rest.RestRequest, exchange: HttpExchange) -> HttpResponse:
        body = grammar.parse_body(exchange.body)
        if body is None:
            return self._error(_BAD_BODY, "the body is not a JSON object")
        tpm = rest.tpm_in(body)
        if isinstance(tpm, rest.Problem):
            return self._problem(tpm)
        admitted = await self._admit(request, exchange)
        if isinstance(admitted, Refused):
            asks_for_challenge = request.operation is rest.RestOperation.REGISTER and tpm is not None
            if admitted.reason is Reason.CREDENTIAL_MISSING and asks_for_challenge and tpm is not None:
                return await self._challenge(request, tpm, exchange)
            return self._refuse(admitted, request, exchange)
        verified = admitted.verified
        self._attempts.accepted(
            (admitted.device_id, self._clock(), exchange.peer, exchange.tls, Dialect.DPS, verified)
        )
        if verified.mechanism == "tpm":
            if tpm is not None:
                self._tpm_keys.proved(admitted.device_id, tpm.storage_root)
            elif not self._tpm_keys.has_proved(admitted.device_id):
                # The advised answer to 404 is to register again, which says the storage root key.
                return self._error(_NO_OPERATION, "no such operation; register again")
        if request.operation is rest.RestOperation.LOOK_UP:
            response = await self._look_up(admitted, request, exchange)
        else:
            response = await self._register(admitted, request, body, exchange)
        if response.refused is not None:
            return response
        return response._replace(device_id=admitted.device_id, group=verified.enrollment_group)

    async def _admit(self, request: rest.RestRequest, exchange: HttpExchange) -> Admitted | Refused:
        """Who asks, by what is in force when this is over."""
        while True:
            outcome = self._admission.admit(_as_connect(request, exchange), now=self._clock())
            if not isinstance(outcome, asyncio.Future):
                return outcome
            admitted = await outcome
            if self._admission.holds(admitted):
                return admitted

    async def _challenge(
        self, request: rest.RestRequest, tpm: rest.ShownTpm, exchange: HttpExchange
    ) -> HttpResponse:
        """401, with the key that this TPM has to sign the next request with."""
        blob = await self._tpm_keys.challenge(
            request.registration_id, tpm.endorsement, tpm.storage_root, now=self._clock()
        )
        if isinstance(blob, Refused):
            return self._refuse(blob, request, exchange)
        log.info(
            "registration.challenged", device_id=request.registration_id, peer=exchange.peer, tls=exchange.tls
        )
        return HttpResponse(_UNAUTHORIZED, rest.challenge_body(blob), self._authenticate())

    async def _register(
        self, admitted: Admitted, request: rest.RestRequest, body: dict[str, Any], exchange: HttpExchange
    ) -> HttpResponse:
        """A register request, or a poll: what is decided now, whatever was decided before."""
        is_poll = request.operation is rest.RestOperation.POLL
        model_id = None if is_poll else grammar.model_id_in(body)
        operation_id = request.operation_id or grammar.new_operation_id()
        outcome = await self._admission.provision(admitted, model_id, now=self._clock())
        if isinstance(outcome, Refused):
            if outcome.reason is Reason.APPROVAL_PENDING:
                return self._defer(outcome, request, operation_id, exchange)
            return self._refuse(outcome, request, exchange, registering=True)
        authentication_key = await self._authentication_key(admitted)
        if isinstance(authentication_key, Refused):
            return self._refuse(authentication_key, request, exchange)
        log.info(
            "registration.assigned", device_id=outcome.id, template=outcome.template_id, hub=self._hub_host,
            mechanism=admitted.verified.mechanism, peer=exchange.peer, tls=exchange.tls, transport="https",
        )  # fmt: skip
        content = grammar.success_body(
            operation_id=operation_id,
            assigned_hub=self._hub_host,
            authentication_key=authentication_key,
            **_facts(outcome, admitted),
        )
        return HttpResponse(_OK, content, (("x-ms-request-id", operation_id),))

    async def _look_up(
        self, admitted: Admitted, request: rest.RestRequest, exchange: HttpExchange
    ) -> HttpResponse:
        """What is registered, without registering anything."""
        device = admitted.device
        if device is None:
            return self._error(_NO_REGISTRATION, "the device is not registered")
        is_assigned = device.status is Status.PROVISIONED
        authentication_key = await self._authentication_key(admitted) if is_assigned else None
        if isinstance(authentication_key, Refused):
            return self._refuse(authentication_key, request, exchange)
        state = grammar.registration_state(
            assigned_hub=self._hub_host if is_assigned else None,
            authentication_key=authentication_key,
            **_facts(device, admitted),
        )
        return HttpResponse(_OK, orjson.dumps(state))

    async def _authentication_key(self, admitted: Admitted) -> str | Refused | None:
        """For a device with a TPM, its device key, wrapped, in base64."""
        if admitted.verified.mechanism != "tpm":
            return None
        blob = await self._tpm_keys.device_key(admitted.device_id)
        return blob if isinstance(blob, Refused) else base64.b64encode(blob).decode()

    def _defer(
        self, refused: Refused, request: rest.RestRequest, operation_id: str, exchange: HttpExchange
    ) -> HttpResponse:
        self._remember(refused, request, exchange, registering=True)
        retry_after_s = self._approval_retry_after_s
        log.info(
            "registration.deferred", device_id=request.registration_id, reason=refused.reason,
            retry_after_s=retry_after_s, hint=answer_for(refused.reason).hint, peer=exchange.peer, transport="https",
        )  # fmt: skip
        headers = (
            ("Location", rest.operation_path(request, operation_id)),
            ("Retry-After", str(retry_after_s)),
            ("x-ms-request-id", operation_id),
        )
        return HttpResponse(_ACCEPTED, grammar.pending_body(operation_id), headers)

    def _refuse(
        self,
        refused: Refused,
        request: rest.RestRequest,
        exchange: HttpExchange,
        *,
        registering: bool = False,
    ) -> HttpResponse:
        """One answer, one log line; nothing in the gateway has changed. `registering`: the credential was right."""
        self._remember(refused, request, exchange, registering=registering)
        device_id = request.registration_id[:MAX_CLAIMED_ID]
        answer = answer_for(refused.reason)
        if refused.reason is Reason.OVERLOADED:
            # Counted by the second (`storm.shed`), not logged one by one: there are many when there are any.
            retry_after_s = self._admission.intake.retry_after_s()
            response = self._error(answer.dps_error, "Too many devices at once", retry_after_s=retry_after_s)
        else:
            log.warning(
                "registration.failed" if registering else "connect.refused", device_id=device_id,
                reason=refused.reason, detail=refused.detail, hint=answer.hint, peer=exchange.peer, tls=exchange.tls,
                connection_id=exchange.connection_id, transport="https",
            )  # fmt: skip
            response = self._error(answer.dps_error, "Unauthorized")
        if registering:
            return response
        return response._replace(device_id=device_id, refused=refused.reason)

    def _remember(
        self, refused: Refused, request: rest.RestRequest, exchange: HttpExchange, *, registering: bool
    ) -> None:
        """For `gateway why`."""
        device_id = request.registration_id
        shown = None
        if not registering and refused.reason is not Reason.TPM_UNKNOWN:  # it shows no credential yet
            connect = _as_connect(request, exchange)
            shown = Presented(
                device_id, connect.username, read_password(connect.password), exchange.certificate
            )
        self._attempts.refused(
            device_id, refused, known=self._admission.knows(device_id), at=self._clock(), peer=exchange.peer,
            tls=exchange.tls, presented=shown, registering=registering,
        )  # fmt: skip

    def _problem(self, problem: rest.Problem) -> HttpResponse:
        allow = (("Allow", problem.allow),) if problem.allow else ()
        return self._error(problem.code, problem.message, *allow)

    def _error(
        self, code: int, message: str, *headers: tuple[str, str], retry_after_s: int = _RETRY_AFTER_FAULT_S
    ) -> HttpResponse:
        status = code // 1000
        tracking_id = str(uuid.uuid4())
        headers += (("x-ms-error-code", str(code)), ("x-ms-request-id", tracking_id))
        if status == _UNAUTHORIZED:
            headers += self._authenticate()
        elif status >= _TOO_MANY:
            headers += (("Retry-After", str(retry_after_s)),)
        body = grammar.error_body(code, message, tracking_id=tracking_id, now=self._clock())
        return HttpResponse(status, body, headers)

    def _authenticate(self) -> tuple[tuple[str, str], ...]:
        return (("WWW-Authenticate", f'SharedAccessSignature realm="{self._id_scope}"'),)  # RFC 9110, 11.6.1


def _as_connect(request: rest.RestRequest, exchange: HttpExchange) -> ConnectRequest:
    """What the same device would say over MQTT."""
    authorization = exchange.authorization
    return ConnectRequest(
        client_id=request.registration_id,
        username=request.username,
        password=authorization.encode("latin-1") if authorization else None,
        certificate=exchange.certificate,
    )


def _facts(device: Device, admitted: Admitted) -> dict[str, Any]:
    return {
        "device_id": device.id,
        "mechanism": admitted.verified.mechanism,
        "enrollment_group": admitted.verified.enrollment_group,
        "created_at": device.created_at,
        "updated_at": device.updated_at,
        "etag": device.etag,
    }
