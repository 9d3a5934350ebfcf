"""What a device says to the Device Provisioning Service over HTTPS, and the shape of each answer. Pure.

    PUT  /{idScope}/registrations/{registrationId}/register?api-version=…           register
    GET  /{idScope}/registrations/{registrationId}/operations/{operationId}?…       how far is it?
    POST /{idScope}/registrations/{registrationId}?api-version=…                    what is registered?

Sources: learn.microsoft.com "Device Provisioning Service runtime registration" (REST), and the HTTP transports of
Microsoft's SDKs for C, .NET, Java and Node. Bodies and codes are those of `gateway.dps.grammar`; a TPM's challenge is
here.
"""

import base64
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from urllib.parse import unquote

import orjson

from gateway.identity.tpm import StorageKey, TpmError

__all__ = [
    "Problem",
    "RestOperation",
    "RestRequest",
    "ShownTpm",
    "challenge_body",
    "operation_path",
    "parse_target",
    "tpm_in",
]

_MAX_OPERATION_ID: Final = 128
_NOT_FOUND, _NOT_ALLOWED, _BAD_REQUEST = 404000, 405000, 400004


class RestOperation(StrEnum):
    REGISTER = "register"
    POLL = "poll"
    LOOK_UP = "look_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestRequest:
    """A request that is meant for us. `username` is what the same device would send over MQTT."""

    operation: RestOperation
    registration_id: str
    username: str
    operation_id: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """A request that means nothing here. The first three digits of `code` are the HTTP status."""

    code: int
    message: str
    allow: str = ""


@dataclass(frozen=True, slots=True)
class ShownTpm:
    """What a device with a TPM shows: which TPM it is, and which storage root key of it to wrap for."""

    endorsement: StorageKey
    storage_root: StorageKey


def parse_target(method: str, target: str) -> RestRequest | Problem:
    """The request of a method, a path and a query, as they were sent."""
    path, _, query = target.partition("?")
    operation_id = ""
    match path.split("/"):
        case ["", id_scope, "registrations", registration_id, "register"]:
            allowed, operation = "PUT", RestOperation.REGISTER
        case ["", id_scope, "registrations", registration_id, "operations", operation_id]:
            allowed, operation = "GET", RestOperation.POLL
        case ["", id_scope, "registrations", registration_id]:
            allowed, operation = "POST", RestOperation.LOOK_UP
        case _:
            return Problem(_NOT_FOUND, "no such resource")
    if method != allowed:
        return Problem(_NOT_ALLOWED, f"this resource takes {allowed}", allow=allowed)
    fields = dict(pair.partition("=")[::2] for pair in query.split("&"))
    api_version = fields.get("api-version", "")
    if not api_version:
        return Problem(_BAD_REQUEST, "api-version is missing")
    operation_id = unquote(operation_id)
    if len(operation_id) > _MAX_OPERATION_ID:
        return Problem(_BAD_REQUEST, "no such operation")
    return RestRequest(
        operation=operation,
        registration_id=unquote(registration_id),
        username=f"{unquote(id_scope)}/registrations/{registration_id}/api-version={api_version}",
        operation_id=operation_id,
    )


def tpm_in(body: dict[str, Any]) -> ShownTpm | Problem | None:
    """The TPM that a body shows; None if it shows none."""
    shown = body.get("tpm")
    if shown is None:
        return None
    names = ("endorsementKey", "storageRootKey")
    values = [shown.get(name) for name in names] if isinstance(shown, dict) else []
    if not values or not all(isinstance(value, str) for value in values):
        return Problem(_BAD_REQUEST, "tpm takes endorsementKey and storageRootKey in base64")
    keys = []
    for name, value in zip(names, values, strict=True):
        try:
            keys.append(StorageKey.from_base64(str(value)))
        except TpmError as error:
            return Problem(_BAD_REQUEST, f"tpm.{name}: {error}")
    return ShownTpm(*keys)


def challenge_body(activation_blob: bytes) -> bytes:
    """What a device with a TPM is told with a 401: the key to sign with, which only that TPM can unwrap."""
    return orjson.dumps(
        {
            "message": "Authorization required.",
            "keyName": "registration",
            "authenticationKey": base64.b64encode(activation_blob).decode(),
        }
    )


def operation_path(request: RestRequest, operation_id: str) -> str:
    """Where an operation is polled."""
    registration, _, api_version = request.username.rpartition("/")
    return f"/{registration}/operations/{operation_id}?{api_version}"
