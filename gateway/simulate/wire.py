"""What a device says to the provisioning service and to the hub, and how it reads the answers. Pure.

The device's side of the two dialects whose service side is in `gateway.dps` and `gateway.hub`; written apart
from it, so that a mistake on one side is not repeated on the other. Shapes: "Communicate with DPS using the
MQTT protocol" and "Communicate with an IoT hub using the MQTT protocol" (learn.microsoft.com).
"""

import json
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, quote

from gateway.identity import sas
from gateway.secrets import SymmetricKey

__all__ = [
    "PROVISIONING_ANSWERS",
    "Assigned",
    "Declined",
    "ProvisioningAnswer",
    "TryAgain",
    "hub_token",
    "hub_username",
    "parse_provisioning_answer",
    "provisioning_request",
    "provisioning_token",
    "provisioning_username",
    "telemetry_topic",
]

PROVISIONING_ANSWERS: Final = "$dps/registrations/res/#"

_DPS_API_VERSION: Final = "2019-03-31"
_HUB_API_VERSION: Final = "2021-04-12"
_CLIENT_VERSION: Final = "gateway-simulate"
_DEFAULT_RETRY_AFTER_S: Final = 2
_ACCEPTED: Final = 202
_TOO_MANY_REQUESTS: Final = 429
"""The SDKs take statuses from here on as "ask again", those below as final."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """Connect to this hub as this device."""

    hub: str
    device_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TryAgain:
    """Not yet. `operation_id` is what to ask after; without one the registration is asked for again."""

    after_s: float
    operation_id: str | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """No, for good. `code` is the service's error code, or the status if it named none."""

    code: str
    why: str


ProvisioningAnswer = Assigned | TryAgain | Declined


def provisioning_username(id_scope: str, device_id: str) -> str:
    return (
        f"{id_scope}/registrations/{device_id}/api-version={_DPS_API_VERSION}&ClientVersion={_CLIENT_VERSION}"
    )


def hub_username(hub: str, device_id: str, model_id: str | None) -> str:
    model = "" if model_id is None else f"&model-id={quote(model_id, safe='')}"
    return f"{hub}/{device_id}/?api-version={_HUB_API_VERSION}&DeviceClientType={_CLIENT_VERSION}{model}"


def provisioning_token(id_scope: str, device_id: str, key: SymmetricKey, expiry: int) -> str:
    """`expiry` in unix seconds."""
    return sas.sign(sas.dps_resource(id_scope, device_id), key, expiry, "registration")


def hub_token(hub: str, device_id: str, key: SymmetricKey, expiry: int) -> str:
    """`expiry` in unix seconds."""
    return sas.sign(sas.hub_resource(hub, device_id), key, expiry)


def provisioning_request(device_id: str, model_id: str | None, operation_id: str | None) -> tuple[str, bytes]:
    """Topic and body that ask for a registration or, with `operation_id`, how far it is."""
    if operation_id is not None:
        return (
            f"$dps/registrations/GET/iotdps-get-operationstatus/?$rid=1&operationId={quote(operation_id)}",
            b" ",
        )
    body: dict[str, Any] = {"registrationId": device_id}
    if model_id is not None:
        body["payload"] = {"modelId": model_id}
    return "$dps/registrations/PUT/iotdps-register/?$rid=1", json.dumps(body).encode()


def telemetry_topic(device_id: str, component: str | None) -> str:
    """The telemetry topic, with content type, encoding and perhaps a component in its property bag."""
    bag = "%24.ct=application%2Fjson&%24.ce=utf-8"
    if component is not None:
        bag += f"&%24.sub={quote(component, safe='')}"
    return f"devices/{device_id}/messages/events/{bag}"


def parse_provisioning_answer(topic: str, payload: bytes) -> ProvisioningAnswer:
    """Read what came on `$dps/registrations/res/{status}/?…`; what makes no sense is `Declined`."""
    head, _, query = topic.partition("?")
    try:
        status = int(head.removeprefix(PROVISIONING_ANSWERS[:-1]).rstrip("/"))
        retry_after_s = float(parse_qs(query).get("retry-after", [_DEFAULT_RETRY_AFTER_S])[0])
        body = json.loads(payload)
    except ValueError:
        return Declined(code="unreadable", why="the answer is not what the provisioning service says")
    if not isinstance(body, dict):
        return Declined(code="unreadable", why="the answer is not a JSON object")
    if status >= _TOO_MANY_REQUESTS:
        return TryAgain(after_s=retry_after_s, operation_id=None, why=_explain(body))
    state = body.get("registrationState")
    match body.get("status"):
        case "assigned" if isinstance(state, dict) and {"assignedHub", "deviceId"} <= state.keys():
            return Assigned(hub=str(state["assignedHub"]), device_id=str(state["deviceId"]))
        case "assigning" | "unassigned" as word if status == _ACCEPTED:
            return TryAgain(after_s=retry_after_s, operation_id=body.get("operationId"), why=word)
        case _:
            return Declined(code=str(_details(body).get("errorCode", status)), why=_explain(body))


def _details(body: dict[str, Any]) -> dict[str, Any]:
    """An error stands in the body, a failed registration's in its state."""
    state = body.get("registrationState")
    return {**body, **state} if isinstance(state, dict) else body


def _explain(body: dict[str, Any]) -> str:
    details = _details(body)
    return str(
        details.get("errorMessage") or details.get("message") or details.get("status") or "no reason given"
    )
