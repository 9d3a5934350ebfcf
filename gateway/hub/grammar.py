"""What a device says to IoT Hub over MQTT: user name, topics, property bags. Pure.

Source: learn.microsoft.com "Communicate with an IoT hub using the MQTT protocol" (iot-mqtt-connect-to-iot-hub),
and captures of the SDKs (keys and values of a property bag arrive percent-encoded; `+` is never a space).
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

__all__ = [
    "DESIRED_FILTER",
    "METHODS_FILTER",
    "TWIN_RESPONSE_FILTER",
    "HubLogin",
    "HubRequest",
    "Operation",
    "PropertyBagError",
    "decode_property_bag",
    "is_device_filter",
    "parse_request",
    "parse_username",
    "telemetry_prefix",
    "twin_response_topic",
]

TWIN_RESPONSE_FILTER: Final = "$iothub/twin/res/#"
DESIRED_FILTER: Final = "$iothub/twin/PATCH/properties/desired/#"
METHODS_FILTER: Final = "$iothub/methods/POST/#"
_TWIN_GET: Final = "$iothub/twin/GET/?"
_TWIN_PATCH: Final = "$iothub/twin/PATCH/properties/reported/?"
_METHOD_RESPONSE: Final = "$iothub/methods/res/"
_DEVICE_FILTERS: Final = frozenset({TWIN_RESPONSE_FILTER, DESIRED_FILTER, METHODS_FILTER})
_MAX_REQUEST_ID: Final = 128
_MAX_CACHED_QUERY: Final = 512


class HubLogin(NamedTuple):
    """A hub user name: `{host}/{device}[/{module}]/?api-version=…&model-id=…` (the oldest SDKs omit the `?`)."""

    host: str
    device_id: str
    module_id: str | None
    api_version: str
    model_id: str | None


class Operation(StrEnum):
    TWIN_GET = "twin_get"
    TWIN_PATCH = "twin_patch"
    METHOD_RESPONSE = "method_response"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubRequest:
    """A request on a `$iothub/…` topic. `request_id` is the client's own (`$rid`), echoed as it came."""

    operation: Operation
    request_id: str


class PropertyBagError(ValueError):
    """A property bag can't be decoded; the text says which part."""


def parse_username(username: str) -> HubLogin | None:
    """None if `username` is not of the hub's form."""
    head, separator, query = username.rpartition("/")
    if not separator:
        return None
    host, *path = head.split("/")
    if not host or not 1 <= len(path) <= 2 or not all(path):  # noqa: PLR2004
        return None
    try:
        # A fleet's devices differ in their names, hardly in their queries.
        read = _read_query if len(query) <= _MAX_CACHED_QUERY else _read_query.__wrapped__
        api_version, model_id = read(query)
        device_id = _unquote(path[0])
        module_id = _unquote(path[1]) if len(path) > 1 else None
    except UnicodeDecodeError:
        return None
    return HubLogin(host, device_id, module_id, api_version, model_id) if api_version else None


@lru_cache(maxsize=1024)
def _read_query(query: str) -> tuple[str, str | None]:
    """`?api-version=2021-04-12&model-id=dtmi…` → API version (empty if there is none) and model id."""
    fields = dict(pair.partition("=")[::2] for pair in query.removeprefix("?").split("&"))
    model_id = fields.get("model-id")
    return fields.get("api-version", ""), _unquote(model_id) if model_id else None


def telemetry_prefix(device_id: str) -> str:
    """What a device's telemetry topics start with; the property bag follows."""
    return f"devices/{device_id}/messages/events/"


def is_device_filter(topic_filter: str, device_id: str) -> bool:
    """Whether it is one of the topic filters that a device may subscribe to."""
    return topic_filter in _DEVICE_FILTERS or topic_filter == f"devices/{device_id}/messages/devicebound/#"


def parse_request(topic: str) -> HubRequest | None:
    """None if `topic` is not a request that the hub documents, or has no usable `$rid`."""
    if topic.startswith(_TWIN_GET):
        operation, query = Operation.TWIN_GET, topic[len(_TWIN_GET) :]
    elif topic.startswith(_TWIN_PATCH):
        operation, query = Operation.TWIN_PATCH, topic[len(_TWIN_PATCH) :]
    elif topic.startswith(_METHOD_RESPONSE):
        status, separator, query = topic[len(_METHOD_RESPONSE) :].partition("/?")
        if not separator or not status.isdigit():
            return None
        operation = Operation.METHOD_RESPONSE
    else:
        return None
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name == "$rid" and 0 < len(value) <= _MAX_REQUEST_ID:
            return HubRequest(operation=operation, request_id=value)
    return None


def twin_response_topic(status: int, request_id: str, version: int | None = None) -> str:
    topic = f"$iothub/twin/res/{status}/?$rid={request_id}"
    return topic if version is None else f"{topic}&$version={version}"


def decode_property_bag(bag: str, *, max_properties: int) -> dict[str, str | None]:
    """`%24.ct=application%2Fjson&alert=yes&flag` → `{"$.ct": "application/json", "alert": "yes", "flag": None}`.

    A leading `?` and a trailing `/` are tolerated, as the hub does. A repeated key keeps its last value.
    Raises `PropertyBagError`.
    """
    bag = bag.removeprefix("?").removesuffix("/")
    if not bag:
        return {}
    pairs = bag.split("&")
    if len(pairs) > max_properties:
        raise PropertyBagError(f"more than {max_properties} properties")
    properties: dict[str, str | None] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        try:
            key = _unquote(name)
            properties[key] = _unquote(value) if separator else None
        except UnicodeDecodeError:
            raise PropertyBagError(f"property {name[:40]!r} is not percent-encoded UTF-8") from None
        if not key:
            raise PropertyBagError("a property has no name")
    return properties


def _unquote(text: str) -> str:
    """Percent-decode, strictly UTF-8. Raises `UnicodeDecodeError`."""
    return unquote_to_bytes(text).decode("utf-8") if "%" in text else text
