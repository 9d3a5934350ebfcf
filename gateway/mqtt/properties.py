"""MQTT 5's properties (MQTT Version 5.0, section 2.2.2): one type for all packets, and their bytes.

`ROWS` is table 2-4: identifier, name, type, and the packets that may carry it. Reading checks all that can be said of a
property alone: that its packet may carry it, that it is not there twice, that its value is one that is allowed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from gateway.mqtt.errors import InvalidPacket, MalformedPacket
from gateway.mqtt.wire import (
    read_binary,
    read_string,
    read_variable_integer,
    write_binary,
    write_string,
    write_variable_integer,
)

__all__ = ["MAX_REPEATED", "NO_PROPERTIES", "ROWS", "Properties", "read_properties", "write_properties"]

MAX_REPEATED: Final = 256
"""Ours: user properties of one packet. Five bytes on the wire become some two hundred in memory."""

_PROTOCOL_ERROR: Final = 0x82
_ALIAS_INVALID: Final = 0x94
_QUOTA_EXCEEDED: Final = 0x97
_TOPIC_NAME_INVALID: Final = 0x90


@dataclass(frozen=True, slots=True, kw_only=True)
class Properties:
    """What a packet or a will says beside its fields. None or empty: it is not there, and its default counts.

    Intervals are in seconds, sizes in bytes. Flags are 0 or 1, as on the wire.
    """

    payload_format_indicator: int | None = None
    message_expiry_interval: int | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    subscription_identifiers: tuple[int, ...] = ()
    session_expiry_interval: int | None = None
    assigned_client_identifier: str | None = None
    server_keep_alive: int | None = None
    authentication_method: str | None = None
    authentication_data: bytes | None = None
    request_problem_information: int | None = None
    will_delay_interval: int | None = None
    request_response_information: int | None = None
    response_information: str | None = None
    server_reference: str | None = None
    reason_string: str | None = None
    receive_maximum: int | None = None
    topic_alias_maximum: int | None = None
    topic_alias: int | None = None
    maximum_qos: int | None = None
    retain_available: int | None = None
    user_properties: tuple[tuple[str, str], ...] = ()
    maximum_packet_size: int | None = None
    wildcard_subscription_available: int | None = None
    subscription_identifier_available: int | None = None
    shared_subscription_available: int | None = None

    def __repr__(self) -> str:
        """What is there. Authentication data is a credential, and never prints."""
        there = [
            f"{row.name}={'[redacted]' if row.name == 'authentication_data' else repr(value)}"
            for row in ROWS
            if (value := getattr(self, row.name)) not in (None, ())
        ]
        return f"Properties({', '.join(there)})"


NO_PROPERTIES: Final = Properties()


# Reading


def _read_integer(size: int) -> Callable[[bytes, int], tuple[int, int]]:
    def read(body: bytes, pos: int) -> tuple[int, int]:
        end = pos + size
        if end > len(body):
            raise MalformedPacket("the packet ends inside a property", "MQTT5-2.2.2")
        return int.from_bytes(body[pos:end], "big"), end

    return read


def _read_pair(body: bytes, pos: int) -> tuple[tuple[str, str], int]:
    name, pos = read_string(body, pos)
    value, pos = read_string(body, pos)
    return (name, value), pos


# Writing


def _write_integer(size: int) -> Callable[[Any], bytes]:
    def write(value: int) -> bytes:
        if not 0 <= value < 1 << 8 * size:
            raise InvalidPacket(f"a property's value does not fit into {size} bytes", "MQTT5-2.2.2")
        return value.to_bytes(size, "big")

    return write


def _write_pair(pair: Any) -> bytes:
    name, value = pair
    return write_string(name) + write_string(value)


class _Type(NamedTuple):
    """A data type of section 1.5: its reader and its writer."""

    read: Callable[[bytes, int], tuple[Any, int]]
    write: Callable[[Any], bytes]


_BYTE: Final = _Type(_read_integer(1), _write_integer(1))
_UINT16: Final = _Type(_read_integer(2), _write_integer(2))
_UINT32: Final = _Type(_read_integer(4), _write_integer(4))
_VARIABLE: Final = _Type(read_variable_integer, write_variable_integer)
_TEXT: Final = _Type(read_string, write_string)
_BINARY: Final = _Type(read_binary, write_binary)
_PAIR: Final = _Type(_read_pair, _write_pair)

_MESSAGE: Final = ("PUBLISH", "will")
_ACKNOWLEDGEMENTS: Final = (
    "CONNACK",
    "PUBACK",
    "PUBREC",
    "PUBREL",
    "PUBCOMP",
    "SUBACK",
    "UNSUBACK",
    "DISCONNECT",
    "AUTH",
)


class _Row(NamedTuple):
    """A property. `fault` is the reason code of a value that is not allowed."""

    identifier: int
    name: str
    type: _Type
    packets: tuple[str, ...]
    repeats: bool = False
    is_flag: bool = False
    may_be_zero: bool = True
    fault: int = _PROTOCOL_ERROR


ROWS: Final = (
    _Row(0x01, "payload_format_indicator", _BYTE, _MESSAGE, is_flag=True),
    _Row(0x02, "message_expiry_interval", _UINT32, _MESSAGE),
    _Row(0x03, "content_type", _TEXT, _MESSAGE),
    _Row(0x08, "response_topic", _TEXT, _MESSAGE),
    _Row(0x09, "correlation_data", _BINARY, _MESSAGE),
    _Row(0x0B, "subscription_identifiers", _VARIABLE, ("PUBLISH", "SUBSCRIBE"), repeats=True, may_be_zero=False),
    _Row(0x11, "session_expiry_interval", _UINT32, ("CONNECT", "CONNACK", "DISCONNECT")),
    _Row(0x12, "assigned_client_identifier", _TEXT, ("CONNACK",)),
    _Row(0x13, "server_keep_alive", _UINT16, ("CONNACK",)),
    _Row(0x15, "authentication_method", _TEXT, ("CONNECT", "CONNACK", "AUTH")),
    _Row(0x16, "authentication_data", _BINARY, ("CONNECT", "CONNACK", "AUTH")),
    _Row(0x17, "request_problem_information", _BYTE, ("CONNECT",), is_flag=True),
    _Row(0x18, "will_delay_interval", _UINT32, ("will",)),
    _Row(0x19, "request_response_information", _BYTE, ("CONNECT",), is_flag=True),
    _Row(0x1A, "response_information", _TEXT, ("CONNACK",)),
    _Row(0x1C, "server_reference", _TEXT, ("CONNACK", "DISCONNECT")),
    _Row(0x1F, "reason_string", _TEXT, _ACKNOWLEDGEMENTS),
    _Row(0x21, "receive_maximum", _UINT16, ("CONNECT", "CONNACK"), may_be_zero=False),
    _Row(0x22, "topic_alias_maximum", _UINT16, ("CONNECT", "CONNACK")),
    _Row(0x23, "topic_alias", _UINT16, ("PUBLISH",), may_be_zero=False, fault=_ALIAS_INVALID),
    _Row(0x24, "maximum_qos", _BYTE, ("CONNACK",), is_flag=True),
    _Row(0x25, "retain_available", _BYTE, ("CONNACK",), is_flag=True),
    _Row(
        0x26, "user_properties", _PAIR,
        ("CONNECT", *_MESSAGE, *_ACKNOWLEDGEMENTS, "SUBSCRIBE", "UNSUBSCRIBE"), repeats=True,
    ),
    _Row(0x27, "maximum_packet_size", _UINT32, ("CONNECT", "CONNACK"), may_be_zero=False),
    _Row(0x28, "wildcard_subscription_available", _BYTE, ("CONNACK",), is_flag=True),
    _Row(0x29, "subscription_identifier_available", _BYTE, ("CONNACK",), is_flag=True),
    _Row(0x2A, "shared_subscription_available", _BYTE, ("CONNACK",), is_flag=True),
)  # fmt: skip

_BY_IDENTIFIER: Final[Mapping[int, _Row]] = {row.identifier: row for row in ROWS}
_REPEATING: Final = frozenset(row.name for row in ROWS if row.repeats)


def read_properties(body: bytes, pos: int, packet: str) -> tuple[Properties, int]:
    """The properties at `pos`, their length before them, of a `packet` ("CONNECT", …, or "will").

    Raises `MalformedPacket`, whose `reason` says which fault it is.
    """
    if pos < len(body) and not body[pos]:
        return NO_PROPERTIES, pos + 1
    length, pos = read_variable_integer(body, pos)
    end = pos + length
    if end > len(body):
        raise MalformedPacket("the packet ends inside its properties", "MQTT5-2.2.2")
    found: dict[str, Any] = {}
    while pos < end:
        pos = _read_property(body, pos, packet, found)
    if pos != end:
        raise MalformedPacket("a property goes beyond the properties' length", "MQTT5-2.2.2")
    for name in _REPEATING.intersection(found):
        found[name] = tuple(found[name])
    if "authentication_data" in found and "authentication_method" not in found:
        raise _fault("authentication data without a method", "MQTT5-3.1.2.11.10")
    return Properties(**found), end


def _read_property(body: bytes, pos: int, packet: str, found: dict[str, Any]) -> int:
    """Add the property at `pos` to what was found; the position after it."""
    identifier, pos = read_variable_integer(body, pos)
    row = _BY_IDENTIFIER.get(identifier)
    if row is None:
        raise MalformedPacket(f"there is no property {identifier:#04x}", "MQTT5-2.2.2")
    name = row.name
    if packet not in row.packets:
        raise _fault(f"{packet} can't have the property {name}", "MQTT5-2.2.2")
    if name in found and (not row.repeats or (packet == "SUBSCRIBE" and row.type is _VARIABLE)):
        raise _fault(f"the property {name} is there twice", "MQTT5-2.2.2")
    value, pos = row.type.read(body, pos)
    _check_value(row, value)
    if not row.repeats:
        found[name] = value
    elif len(values := found.setdefault(name, [])) == MAX_REPEATED:
        raise _fault(f"more than {MAX_REPEATED} of the property {name}", "", _QUOTA_EXCEEDED)
    else:
        values.append(value)
    return pos


def write_properties(properties: Properties, packet: str) -> bytes:
    """Their length and they. Raises `InvalidPacket` for what `packet` can't carry."""
    if properties is NO_PROPERTIES:
        return b"\0"
    parts: list[bytes] = []
    for row in ROWS:
        value = getattr(properties, row.name)
        if value is None or value == ():
            continue
        if packet not in row.packets:
            raise InvalidPacket(f"{packet} can't have the property {row.name}", "MQTT5-2.2.2")
        head = bytes((row.identifier,))
        for each in value if row.repeats else (value,):
            try:
                _check_value(row, each)
            except MalformedPacket as error:
                raise InvalidPacket(error.message, error.tag) from None
            parts += (head, row.type.write(each))
    written = b"".join(parts)
    return write_variable_integer(len(written)) + written


def _check_value(row: _Row, value: Any) -> None:
    if row.is_flag:
        if value > 1:
            raise _fault(f"the property {row.name} is neither 0 nor 1", "MQTT5-2.2.2")
    elif not row.may_be_zero:
        if not value:
            raise _fault(f"the property {row.name} is 0", "MQTT5-2.2.2", row.fault)
    elif row.name == "response_topic" and ("+" in value or "#" in value or not value):
        raise _fault("the response topic is no topic name", "MQTT5-3.3.2-14", _TOPIC_NAME_INVALID)


def _fault(message: str, tag: str, reason: int = _PROTOCOL_ERROR) -> MalformedPacket:
    return MalformedPacket(message, tag, reason)
