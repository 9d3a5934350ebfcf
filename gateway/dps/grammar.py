"""What a device says to the Device Provisioning Service over MQTT, and the shape of each answer. Pure.

Sources: learn.microsoft.com "Communicate with DPS using the MQTT protocol" (iot-mqtt-connect-to-iot-dps) and
the sources of the six Microsoft SDKs. The rules that satisfy all of them: `$rid` comes first in an answer's
topic; `operationId` and `status` are in every success; `registrationState` is whole or absent; nothing is
null; the identity comes from CONNECT, never from a body, which may be empty, a space, or JSON.
"""

import secrets
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import orjson

__all__ = [
    "RESPONSE_FILTER",
    "DpsLogin",
    "Operation",
    "Request",
    "error_body",
    "format_time",
    "model_id_in",
    "new_operation_id",
    "parse_body",
    "parse_request",
    "parse_username",
    "pending_body",
    "registration_state",
    "response_topic",
    "success_body",
]

RESPONSE_FILTER: Final = "$dps/registrations/res/#"
_REGISTER_PREFIX: Final = "$dps/registrations/PUT/iotdps-register/?"
_POLL_PREFIX: Final = "$dps/registrations/GET/iotdps-get-operationstatus/?"
_MAX_REQUEST_ID: Final = 128


class Operation(StrEnum):
    REGISTER = "register"
    POLL = "poll"


class DpsLogin(NamedTuple):
    """A DPS user name: `{idScope}/registrations/{registrationId}/api-version=…[&ClientVersion=…]`."""

    id_scope: str
    registration_id: str
    api_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request topic. `request_id` is the client's own (`$rid`), echoed as it came."""

    operation: Operation
    request_id: str
    operation_id: str = ""


def parse_username(username: str) -> DpsLogin | None:
    """None if `username` is not of the DPS form."""
    parts = username.split("/", 3)
    if len(parts) != 4 or parts[1] != "registrations" or not parts[0] or not parts[2]:  # noqa: PLR2004
        return None
    for pair in parts[3].lstrip("?").split("&"):
        name, _, value = pair.partition("=")
        if name == "api-version" and value:
            return DpsLogin(id_scope=parts[0], registration_id=unquote(parts[2]), api_version=value)
    return None


def parse_request(topic: str) -> Request | None:
    """None if `topic` is not one of the two request topics, or has no usable `$rid`."""
    if topic.startswith(_REGISTER_PREFIX):
        operation, query = Operation.REGISTER, topic[len(_REGISTER_PREFIX) :]
    elif topic.startswith(_POLL_PREFIX):
        operation, query = Operation.POLL, topic[len(_POLL_PREFIX) :]
    else:
        return None
    fields = dict(pair.partition("=")[::2] for pair in query.split("&"))
    request_id = fields.get("$rid", "")
    if not request_id or len(request_id) > _MAX_REQUEST_ID:
        return None
    return Request(
        operation=operation, request_id=request_id, operation_id=unquote(fields.get("operationId", ""))
    )


def parse_body(body: bytes) -> dict[str, Any] | None:
    """The JSON object of a register request; `{}` for an empty or blank body; None if it is anything else."""
    if not body or body.isspace():
        return {}
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def model_id_in(body: dict[str, Any]) -> str | None:
    """The model that a register body announces: `modelId`, else the older forms, newest first."""
    payload = body.get("payload")
    if not isinstance(payload, dict):
        return None
    interfaces = payload.get("__iot:interfaces")
    legacy = interfaces.get("CapabilityModelId") if isinstance(interfaces, dict) else None
    for value in (payload.get("modelId"), payload.get("iotcModelId"), legacy):
        if isinstance(value, str) and value:
            return value
    return None


def new_operation_id() -> str:
    """What a register request is polled by. Nothing is kept under it: who asks is proved anew, and so is the answer."""
    return f"4.{secrets.token_hex(8)}.{uuid.uuid4()}"


def response_topic(status: int, request_id: str, retry_after_s: int | None = None) -> str:
    topic = f"$dps/registrations/res/{status}/?$rid={request_id}"
    return topic if retry_after_s is None else f"{topic}&retry-after={retry_after_s}"


def pending_body(operation_id: str) -> bytes:
    """`assigning`: the status that every SDK answers by polling (the Python SDK fails on `unassigned`)."""
    return orjson.dumps({"operationId": operation_id, "status": "assigning"})


def success_body(
    *,
    operation_id: str,
    device_id: str,
    assigned_hub: str,
    mechanism: str,
    enrollment_group: str | None,
    created_at: float,
    updated_at: float,
    etag: str,
    authentication_key: str | None = None,
) -> bytes:
    """`assigned`, with the whole `registrationState`. `authentication_key`: the hub's, wrapped for a TPM, in base64."""
    state = registration_state(
        device_id=device_id,
        assigned_hub=assigned_hub,
        mechanism=mechanism,
        enrollment_group=enrollment_group,
        created_at=created_at,
        updated_at=updated_at,
        etag=etag,
        authentication_key=authentication_key,
    )
    return orjson.dumps({"operationId": operation_id, "status": "assigned", "registrationState": state})


def registration_state(
    *,
    device_id: str,
    assigned_hub: str | None,
    mechanism: str,
    enrollment_group: str | None,
    created_at: float,
    updated_at: float,
    etag: str,
    authentication_key: str | None = None,
) -> dict[str, Any]:
    """What is registered; `unassigned` if there is no `assigned_hub`."""
    attestation: dict[str, str] = {}
    if mechanism == "symmetricKey" and enrollment_group is not None:
        attestation["enrollmentGroupId"] = enrollment_group
    if authentication_key is not None:
        attestation["authenticationKey"] = authentication_key
    state: dict[str, Any] = {
        mechanism: attestation,
        "registrationId": device_id,
        "createdDateTimeUtc": format_time(created_at),
    }
    if assigned_hub is not None:
        state |= {"assignedHub": assigned_hub, "deviceId": device_id, "substatus": "initialAssignment"}
    return state | {
        "status": "unassigned" if assigned_hub is None else "assigned",
        "lastUpdatedDateTimeUtc": format_time(updated_at),
        "etag": etag,
    }


def error_body(error_code: int, message: str, *, tracking_id: str, now: float) -> bytes:
    """The error form; the first three digits of `error_code` are the HTTP status."""
    return orjson.dumps(
        {
            "errorCode": error_code,
            "trackingId": tracking_id,
            "message": message,
            "timestampUtc": format_time(now),
        }
    )


def format_time(seconds: float) -> str:
    """Unix seconds → `2026-11-23T22:31:07.1200000Z`, with the seven fractional digits that DPS writes."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"
