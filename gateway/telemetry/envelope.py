"""One telemetry message, from the device's publish to the JSON that subscribers read. Pure.

The envelope (docs/telemetry.md): who (`device`, `template`, `modelId`, `component`), when (`enqueuedTime`, and
`creationTime` if the device said it), what (`properties`, `systemProperties`, `body`, `bodyEncoding`), and
what the template thinks of it (`validation`). A body that is JSON is embedded as it came, byte for byte; any
other is base64. Nothing a device sent is left out.
"""

import base64
import re
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from gateway.telemetry.validation import ValidationResult

__all__ = ["Body", "DeadLetter", "Message", "decode_body", "render", "render_dead_letter", "split_properties"]

_SYSTEM_PREFIX: Final = "$."
_CREATION_TIME: Final = "iothub-creation-time-utc"
_COMPONENT: Final = "$.sub"
_CONTENT_TYPE: Final = "$.ct"
_COMPONENT_NAME: Final = re.compile(r"[A-Za-z](?:[A-Za-z0-9_]{0,510}[A-Za-z0-9])?")


class DeadLetter(StrEnum):
    """Why a message could not be decoded."""

    PROPERTIES_MALFORMED = "properties_malformed"
    BODY_NOT_JSON = "body_not_json"
    COMPONENT_MALFORMED = "component_malformed"


class Body(NamedTuple):
    """`value` is the parsed JSON if `is_json`; `raw` is always what the device sent."""

    raw: bytes
    is_json: bool
    value: Any = None


class Message(NamedTuple):
    """A decoded message and what is known of its sender. `enqueued_at` is in unix seconds."""

    device_id: str
    template_id: str | None
    model_id: str | None
    component: str | None
    properties: dict[str, str | None]
    system_properties: dict[str, str | None]
    creation_time: str | None
    enqueued_at: float
    body: Body


def split_properties(
    bag: dict[str, str | None],
) -> tuple[dict[str, str | None], dict[str, str | None], str | None, str | None]:
    """A property bag → (application properties, system properties, component, creation time).

    System properties lose their `$.`: `$.ct` is `ct`. Central's client library encodes the content type twice;
    that is left as it is, apart from `declares_json` looking through it.
    """
    if not bag:
        return {}, {}, None, None
    system = {name[2:]: value for name, value in bag.items() if name.startswith(_SYSTEM_PREFIX)}
    properties = {name: value for name, value in bag.items() if not name.startswith(_SYSTEM_PREFIX)}
    return properties, system, system.pop("sub", None), properties.pop(_CREATION_TIME, None)


def declares_json(bag: dict[str, str | None]) -> bool:
    """Whether the device said that the body is JSON (iotc says so with `%252F` for the slash)."""
    content_type = bag.get(_CONTENT_TYPE) or ""
    return content_type.replace("%2F", "/").replace("%2f", "/").lower().startswith("application/json")


def is_component_name(text: str) -> bool:
    """DTDL's grammar for names; it also keeps a component from escaping its level of the topic."""
    return _COMPONENT_NAME.fullmatch(text) is not None


def decode_body(raw: bytes) -> Body:
    """JSON if it is JSON, whatever the content type says."""
    try:
        return Body(raw=raw, is_json=True, value=orjson.loads(raw))
    except orjson.JSONDecodeError:
        return Body(raw=raw, is_json=False)


def render(message: Message, validation: ValidationResult | None) -> bytes:
    """The envelope as JSON. `validation` is None when there was no template to hold the message against."""
    body = message.body
    document: dict[str, Any] = {
        "device": message.device_id,
        "template": message.template_id,
        "modelId": message.model_id,
        "component": message.component,
        "enqueuedTime": _format_time(message.enqueued_at),
        "creationTime": message.creation_time,
        "properties": message.properties,
        "systemProperties": message.system_properties,
        "bodyEncoding": "json" if body.is_json else "base64",
        "body": orjson.Fragment(body.raw) if body.is_json else base64.b64encode(body.raw).decode(),
        "validation": _render_validation(validation),
    }
    return orjson.dumps(document)


def render_dead_letter(
    reason: DeadLetter,
    detail: str,
    *,
    device_id: str,
    template_id: str | None,
    model_id: str | None,
    bag: str,
    payload: bytes,
    enqueued_at: float,
) -> bytes:
    """What could not be decoded, whole: the property bag as it was sent and the body in base64."""
    return orjson.dumps(
        {
            "device": device_id,
            "template": template_id,
            "modelId": model_id,
            "enqueuedTime": _format_time(enqueued_at),
            "reason": reason,
            "detail": detail,
            "propertyBag": bag,
            "bodyEncoding": "base64",
            "body": base64.b64encode(payload).decode(),
        }
    )


def _render_validation(validation: ValidationResult | None) -> dict[str, Any]:
    if validation is None:
        return {"status": "unchecked", "issues": []}
    return {
        "status": "valid" if validation.valid else "invalid",
        "issues": [{"path": issue.path, "problem": issue.problem} for issue in validation.issues],
    }


def _format_time(seconds: float) -> str:
    """Unix seconds → `2026-11-23T22:31:07.120Z`."""
    return _format_milliseconds(int(seconds * 1000))


@lru_cache(maxsize=16)  # a busy gateway routes many messages in one millisecond
def _format_milliseconds(milliseconds: int) -> str:
    at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
