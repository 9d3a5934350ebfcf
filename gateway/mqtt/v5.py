"""The packets of MQTT 5 (protocol level 5): the bodies' decoders and encoders, as tables.

`[MQTT5-3.1.2-3]` is statement `[MQTT-3.1.2-3]` of "MQTT Version 5.0", OASIS Standard, 7 March 2019. What both versions
say in the same bytes is read by `gateway.mqtt.v311`'s rules; `tag` then gives the statement its number in version 5.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.mqtt.errors import InvalidPacket, InvalidTopic, MalformedPacket
from gateway.mqtt.headers import (
    AUTH,
    CLEAN_START,
    CONNACK,
    CONNECT,
    DISCONNECT,
    DUP,
    PASSWORD,
    PINGREQ,
    PINGRESP,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    RESERVED,
    RETAIN,
    SUBACK,
    SUBSCRIBE,
    UNSUBACK,
    UNSUBSCRIBE,
    USERNAME,
    WILL,
    WILL_QOS,
    WILL_RETAIN,
)
from gateway.mqtt.packets import (
    MAXIMUM_QOS,
    NO_LOCAL,
    RETAIN_HANDLING,
    Auth,
    ClientPacket,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    ServerPacket,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    Will,
)
from gateway.mqtt.properties import NO_PROPERTIES, Properties, read_properties, write_properties
from gateway.mqtt.reasons import REASONS_OF, SENT_BY_CLIENTS
from gateway.mqtt.topics import SHARED_PREFIX, validate_topic_filter, validate_topic_name
from gateway.mqtt.wire import (
    frame,
    read_binary,
    read_packet_id,
    read_string,
    write_binary,
    write_packet_id,
    write_string,
)

__all__ = ["ENCODERS", "FROM_CLIENT", "FROM_SERVER", "LEVEL", "decode_connect", "tag"]

LEVEL: Final = 5

_CONNECT_PREFIX: Final = b"\x00\x04MQTT\x05"
_CONNECT_HEADER_SIZE: Final = 10
_MAX_KEEP_ALIVE: Final = 0xFFFF
_RESERVED_OPTIONS: Final = 0xC0

_PROTOCOL_ERROR: Final = 0x82
_TOPIC_NAME_INVALID: Final = 0x90
_TOPIC_FILTER_INVALID: Final = 0x8F

_TAGS: Final = {
    "MQTT-1.5.3": "MQTT5-1.5.4",
    "MQTT-1.5.3-1": "MQTT5-1.5.4-1",
    "MQTT-1.5.3-2": "MQTT5-1.5.4-2",
    "MQTT-1.5.3-3": "MQTT5-1.5.4-3",
    "MQTT-2.2.1": "MQTT5-2.1.2",
    "MQTT-2.2.2-2": "MQTT5-2.1.3-1",
    "MQTT-2.2.3": "MQTT5-2.1.4",
    "MQTT-2.3.1": "MQTT5-2.2.1",
    "MQTT-2.3.1-1": "MQTT5-2.2.1-3",
    "MQTT-4.7.1-1": "MQTT5-4.7.0-1",
    "MQTT-4.7.1-2": "MQTT5-4.7.1-1",
    "MQTT-4.7.1-3": "MQTT5-4.7.1-2",
}
"""Where the two versions number the same rule differently."""


def tag(of_311: str) -> str:
    """The statement of version 5 that says what `of_311` says in 3.1.1; a tag of version 5, and none, stay as they are."""
    if not of_311.startswith("MQTT-"):
        return of_311
    return _TAGS.get(of_311) or of_311.replace("MQTT-", "MQTT5-", 1)


# Decoding


def decode_connect(body: bytes) -> Connect:
    """`body` is a CONNECT's, known to start with the protocol name and level."""
    if len(body) < _CONNECT_HEADER_SIZE:
        raise MalformedPacket("CONNECT ends inside its header", "MQTT5-3.1.2")
    flags = body[7]
    _check_connect_flags(flags)
    properties, pos = read_properties(body, _CONNECT_HEADER_SIZE, "CONNECT")
    # [MQTT5-3.1.3-1] and [MQTT5-3.1.3-3]: the fields come in this order, the client id always
    client_id, pos = read_string(body, pos)
    will = None
    if flags & WILL:
        will_properties, pos = read_properties(body, pos, "will")
        topic, pos = read_string(body, pos)
        payload, pos = read_binary(body, pos)
        _check_name(topic)
        will = Will(
            topic=topic, payload=payload, qos=(flags & WILL_QOS) >> 3, retain=flags & WILL_RETAIN != 0,
            properties=will_properties,
        )  # fmt: skip
    username = password = None
    if flags & USERNAME:
        username, pos = read_string(body, pos)
    if flags & PASSWORD:
        password, pos = read_binary(body, pos)
    if pos != len(body):
        raise MalformedPacket("CONNECT has more bytes than its flags say", "MQTT5-3.1.2-16")
    return Connect(
        client_id,
        flags & CLEAN_START != 0,
        body[8] << 8 | body[9],
        username,
        password,
        will,
        LEVEL,
        properties,
    )


def _check_connect_flags(flags: int) -> None:
    if flags & RESERVED:
        raise MalformedPacket("CONNECT's reserved flag is set", "MQTT5-3.1.2-3")
    if flags & WILL:
        if flags & WILL_QOS == WILL_QOS:
            raise MalformedPacket("CONNECT has a will of QoS 3", "MQTT5-3.1.2-12")
    elif flags & WILL_QOS:
        raise MalformedPacket("CONNECT has a will QoS but no will", "MQTT5-3.1.2-11")
    elif flags & WILL_RETAIN:
        raise MalformedPacket("CONNECT has a retained will but no will", "MQTT5-3.1.2-13")


def _decode_connack(_: int, body: bytes) -> Connack:
    if len(body) < 3:  # noqa: PLR2004 - flags, reason, the length of the properties
        raise MalformedPacket("CONNACK ends inside its header", "MQTT5-3.2.2")
    flags, code = body[0], body[1]
    if flags & ~1:
        raise MalformedPacket("CONNACK's reserved flags are set", "MQTT5-3.2.2-1")
    _check_reason("CONNACK", code, "MQTT5-3.2.2-8")
    if flags and code:
        raise MalformedPacket("CONNACK refuses, yet a session is present", "MQTT5-3.2.2-6")
    properties, pos = read_properties(body, 2, "CONNACK")
    _check_end("CONNACK", body, pos)
    return Connack(session_present=flags == 1, code=code, properties=properties)


def _decode_publish(first_byte: int, body: bytes) -> Publish:
    topic, pos = read_string(body, 0)
    packet_id = None
    qos = first_byte >> 1 & 3
    if qos:
        packet_id = read_packet_id(body, pos)
        pos += 2
    properties, pos = read_properties(body, pos, "PUBLISH")
    if topic:
        _check_name(topic)
    elif properties.topic_alias is None:
        raise MalformedPacket("PUBLISH has neither a topic nor an alias", "MQTT5-3.3.2.1", _PROTOCOL_ERROR)
    return Publish(
        topic, body[pos:], qos, first_byte & RETAIN != 0, first_byte & DUP != 0, packet_id, properties
    )


_SECTIONS: Final = {"PUBACK": "3.4", "PUBREC": "3.5", "PUBREL": "3.6", "PUBCOMP": "3.7"}


def _ack_decoder(make: Callable[..., Any], name: str) -> Callable[[int, bytes], Any]:
    """PUBACK, PUBREC, PUBREL and PUBCOMP: what says nothing may be left out (section 3.4.2.1)."""
    statement = f"MQTT5-{_SECTIONS[name]}.2-1"

    def decode(_: int, body: bytes) -> Any:
        packet_id = read_packet_id(body, 0)
        if len(body) == 2:  # noqa: PLR2004 - the packet identifier
            return make(packet_id=packet_id)
        reason, properties = _read_reason(body, 2, name, statement)
        return make(packet_id=packet_id, reason=reason, properties=properties)

    return decode


def _read_reason(body: bytes, pos: int, name: str, statement: str) -> tuple[int, Properties]:
    """The reason at `pos`, and the properties after it; both may be missing."""
    if pos == len(body):
        return 0, NO_PROPERTIES
    reason = body[pos]
    _check_reason(name, reason, statement)
    if pos + 1 == len(body):
        return reason, NO_PROPERTIES
    properties, pos = read_properties(body, pos + 1, name)
    _check_end(name, body, pos)
    return reason, properties


def _decode_subscribe(_: int, body: bytes) -> Subscribe:
    packet_id = read_packet_id(body, 0)
    properties, pos = read_properties(body, 2, "SUBSCRIBE")
    end = len(body)
    filters: list[tuple[str, int]] = []
    while pos < end:
        topic_filter, pos = _read_filter(body, pos)
        if pos == end:
            raise MalformedPacket("SUBSCRIBE ends before a filter's options", "MQTT5-3.8.3")
        options = body[pos]
        _check_options(topic_filter, options)
        filters.append((topic_filter, options))
        pos += 1
    if not filters:
        raise MalformedPacket("SUBSCRIBE has no topic filter", "MQTT5-3.8.3-2", _PROTOCOL_ERROR)
    return Subscribe(packet_id=packet_id, filters=tuple(filters), properties=properties)


def _check_options(topic_filter: str, options: int) -> None:
    """Raise what the subscription options break (section 3.8.3.1)."""
    if options & _RESERVED_OPTIONS:
        raise MalformedPacket("reserved subscription options are set", "MQTT5-3.8.3-5")
    if options & MAXIMUM_QOS == MAXIMUM_QOS:
        raise MalformedPacket("SUBSCRIBE asks for QoS 3", "MQTT5-3.8.3.1", _PROTOCOL_ERROR)
    if options & RETAIN_HANDLING == RETAIN_HANDLING:
        raise MalformedPacket("SUBSCRIBE asks for retain handling 3", "MQTT5-3.8.3.1", _PROTOCOL_ERROR)
    if topic_filter.startswith(SHARED_PREFIX):
        if options & NO_LOCAL:
            raise MalformedPacket("a shared subscription asks for No Local", "MQTT5-3.8.3-4", _PROTOCOL_ERROR)
        name, _, shared = topic_filter[len(SHARED_PREFIX) :].partition("/")
        if not name:
            raise MalformedPacket("a shared subscription has no name", "MQTT5-4.8.2-1", _TOPIC_FILTER_INVALID)
        if "+" in name or "#" in name or not shared:
            raise MalformedPacket(
                "a shared subscription's name has a wildcard or no filter behind it", "MQTT5-4.8.2-2",
                _TOPIC_FILTER_INVALID,
            )  # fmt: skip


def _decode_unsubscribe(_: int, body: bytes) -> Unsubscribe:
    packet_id = read_packet_id(body, 0)
    properties, pos = read_properties(body, 2, "UNSUBSCRIBE")
    filters: list[str] = []
    while pos < len(body):
        topic_filter, pos = _read_filter(body, pos)
        filters.append(topic_filter)
    if not filters:
        raise MalformedPacket("UNSUBSCRIBE has no topic filter", "MQTT5-3.10.3-2", _PROTOCOL_ERROR)
    return Unsubscribe(packet_id=packet_id, filters=tuple(filters), properties=properties)


def _codes_decoder(make: Callable[..., Any], name: str, statement: str) -> Callable[[int, bytes], Any]:
    """SUBACK and UNSUBACK: one reason code for each filter."""

    def decode(_: int, body: bytes) -> Any:
        packet_id = read_packet_id(body, 0)
        properties, pos = read_properties(body, 2, name)
        codes = body[pos:]
        if not codes:
            raise MalformedPacket(f"{name} has no reason code", statement)
        for code in codes:
            _check_reason(name, code, statement)
        return make(packet_id=packet_id, codes=tuple(codes), properties=properties)

    return decode


def _decode_disconnect_of_client(_: int, body: bytes) -> Disconnect:
    reason, properties = _read_reason(body, 0, "DISCONNECT", "MQTT5-3.14.2-1")
    if reason not in SENT_BY_CLIENTS:
        raise MalformedPacket(
            f"a client can't disconnect with reason {reason:#04x}", "MQTT5-3.14.2-1", _PROTOCOL_ERROR
        )
    return Disconnect(reason=reason, properties=properties)


def _decode_disconnect_of_server(_: int, body: bytes) -> Disconnect:
    reason, properties = _read_reason(body, 0, "DISCONNECT", "MQTT5-3.14.2-1")
    if properties.session_expiry_interval is not None:
        raise MalformedPacket("a server sets a session expiry", "MQTT5-3.14.2-2", _PROTOCOL_ERROR)
    return Disconnect(reason=reason, properties=properties)


def _decode_auth(_: int, body: bytes) -> Auth:
    reason, properties = _read_reason(body, 0, "AUTH", "MQTT5-3.15.2-1")
    if reason and properties.authentication_method is None:
        raise MalformedPacket("AUTH has no authentication method", "MQTT5-3.15.2.2.2", _PROTOCOL_ERROR)
    return Auth(reason=reason, properties=properties)


def _empty_decoder(packet: Any, name: str) -> Callable[[int, bytes], Any]:
    def decode(_: int, body: bytes) -> Any:
        if body:
            raise MalformedPacket(f"{name} has a body", "MQTT5-3.12")
        return packet

    return decode


def _check_reason(name: str, reason: int, statement: str) -> None:
    if reason not in REASONS_OF[name]:
        raise MalformedPacket(f"{name} has no reason code {reason:#04x}", statement)


def _check_end(name: str, body: bytes, pos: int) -> None:
    if pos != len(body):
        raise MalformedPacket(f"{name} goes on after its properties", "MQTT5-2.1.4")


def _check_name(topic: str) -> None:
    try:
        validate_topic_name(topic)
    except InvalidTopic as error:
        raise MalformedPacket(error.message, tag(error.tag), _TOPIC_NAME_INVALID) from None


def _read_filter(body: bytes, pos: int) -> tuple[str, int]:
    topic_filter, pos = read_string(body, pos)
    try:
        validate_topic_filter(topic_filter)
    except InvalidTopic as error:
        raise MalformedPacket(error.message, tag(error.tag), _TOPIC_FILTER_INVALID) from None
    return topic_filter, pos


_BOTH_WAYS: Final[dict[int, Callable[[int, bytes], Any]]] = {
    # [MQTT5-3.3.1-4] no QoS 3, [MQTT5-3.3.1-2] no DUP with QoS 0
    **{PUBLISH | flags: _decode_publish for flags in (0, 1, 2, 3, 4, 5, 0xA, 0xB, 0xC, 0xD)},
    PUBACK: _ack_decoder(Puback, "PUBACK"),
    PUBREC: _ack_decoder(Pubrec, "PUBREC"),
    PUBREL: _ack_decoder(Pubrel, "PUBREL"),
    PUBCOMP: _ack_decoder(Pubcomp, "PUBCOMP"),
    AUTH: _decode_auth,
}

FROM_CLIENT: Final[Mapping[int, Callable[[int, bytes], ClientPacket]]] = {
    **_BOTH_WAYS,
    SUBSCRIBE: _decode_subscribe,
    UNSUBSCRIBE: _decode_unsubscribe,
    PINGREQ: _empty_decoder(Pingreq(), "PINGREQ"),
    DISCONNECT: _decode_disconnect_of_client,
}
"""What a client may send, except CONNECT, which has to be read to know its protocol level."""

FROM_SERVER: Final[Mapping[int, Callable[[int, bytes], ServerPacket]]] = {
    **_BOTH_WAYS,
    CONNACK: _decode_connack,
    SUBACK: _codes_decoder(Suback, "SUBACK", "MQTT5-3.9.3-2"),
    UNSUBACK: _codes_decoder(Unsuback, "UNSUBACK", "MQTT5-3.11.3-2"),
    PINGRESP: _empty_decoder(Pingresp(), "PINGRESP"),
    DISCONNECT: _decode_disconnect_of_server,
}


# Encoding


def _encode_connect(packet: Connect) -> bytes:
    if not 0 <= packet.keep_alive <= _MAX_KEEP_ALIVE:
        raise InvalidPacket("the keep-alive is not in 0..65535 seconds", "MQTT5-3.1.2.10")
    flags = CLEAN_START if packet.clean_session else 0
    payload = [write_string(packet.client_id)]
    if packet.will is not None:
        will = packet.will
        flags |= WILL | _checked_qos(will.qos) << 3 | (WILL_RETAIN if will.retain else 0)
        validate_topic_name(will.topic)
        payload += (
            write_properties(will.properties, "will"), write_string(will.topic), write_binary(will.payload),
        )  # fmt: skip
    if packet.username is not None:
        flags |= USERNAME
        payload.append(write_string(packet.username))
    if packet.password is not None:
        flags |= PASSWORD
        payload.append(write_binary(packet.password))
    header = _CONNECT_PREFIX + bytes((flags, packet.keep_alive >> 8, packet.keep_alive & 0xFF))
    return frame(CONNECT, header + write_properties(packet.properties, "CONNECT") + b"".join(payload))


def _encode_connack(packet: Connack) -> bytes:
    _checked_reasons("CONNACK", (packet.code,))
    if packet.code and packet.session_present:
        raise InvalidPacket("CONNACK refuses, yet a session is present", "MQTT5-3.2.2-6")
    return frame(
        CONNACK,
        bytes((packet.session_present, packet.code)) + write_properties(packet.properties, "CONNACK"),
    )


def _encode_publish(packet: Publish) -> bytes:
    if packet.topic or packet.properties.topic_alias is None:
        validate_topic_name(packet.topic)
    qos = _checked_qos(packet.qos)
    first_byte = PUBLISH | qos << 1 | (RETAIN if packet.retain else 0)
    header = write_string(packet.topic)
    if qos:
        header += write_packet_id(packet.packet_id)
        if packet.dup:
            first_byte |= DUP
    elif packet.packet_id is not None:
        raise InvalidPacket("PUBLISH with QoS 0 and a packet identifier", "MQTT5-2.2.1-2")
    elif packet.dup:
        raise InvalidPacket("PUBLISH with QoS 0 and DUP", "MQTT5-3.3.1-2")
    return frame(first_byte, header + write_properties(packet.properties, "PUBLISH") + packet.payload)


def _ack_encoder(first_byte: int, name: str) -> Callable[[Any], bytes]:
    def encode(packet: Any) -> bytes:
        return frame(first_byte, write_packet_id(packet.packet_id) + _write_reason(name, packet))

    return encode


def _reason_encoder(first_byte: int, name: str) -> Callable[[Any], bytes]:
    """DISCONNECT and AUTH."""

    def encode(packet: Any) -> bytes:
        return frame(first_byte, _write_reason(name, packet))

    return encode


def _write_reason(name: str, packet: Any) -> bytes:
    """As little as says it."""
    _checked_reasons(name, (packet.reason,))
    if packet.properties is not NO_PROPERTIES:
        return bytes((packet.reason,)) + write_properties(packet.properties, name)
    return bytes((packet.reason,)) if packet.reason else b""


def _encode_subscribe(packet: Subscribe) -> bytes:
    if not packet.filters:
        raise InvalidPacket("SUBSCRIBE has no topic filter", "MQTT5-3.8.3-2")
    body = [write_packet_id(packet.packet_id), write_properties(packet.properties, "SUBSCRIBE")]
    for topic_filter, options in packet.filters:
        validate_topic_filter(topic_filter)
        try:
            _check_options(topic_filter, options)
        except MalformedPacket as error:
            raise InvalidPacket(error.message, error.tag) from None
        body += (write_string(topic_filter), bytes((options,)))
    return frame(SUBSCRIBE, b"".join(body))


def _encode_unsubscribe(packet: Unsubscribe) -> bytes:
    if not packet.filters:
        raise InvalidPacket("UNSUBSCRIBE has no topic filter", "MQTT5-3.10.3-2")
    body = [write_packet_id(packet.packet_id), write_properties(packet.properties, "UNSUBSCRIBE")]
    for topic_filter in packet.filters:
        validate_topic_filter(topic_filter)
        body.append(write_string(topic_filter))
    return frame(UNSUBSCRIBE, b"".join(body))


def _codes_encoder(first_byte: int, name: str) -> Callable[[Any], bytes]:
    def encode(packet: Any) -> bytes:
        if not packet.codes:
            raise InvalidPacket(f"{name} has no reason code", "MQTT5-3.9.3")
        _checked_reasons(name, packet.codes)
        return frame(
            first_byte,
            write_packet_id(packet.packet_id)
            + write_properties(packet.properties, name)
            + bytes(packet.codes),
        )

    return encode


def _checked_qos(qos: int) -> int:
    if not 0 <= qos < MAXIMUM_QOS:
        raise InvalidPacket("the QoS is not 0, 1 or 2", "MQTT5-4.3")
    return qos


def _checked_reasons(name: str, reasons: tuple[int, ...]) -> None:
    if not REASONS_OF[name].issuperset(reasons):
        raise InvalidPacket(f"{name} has no such reason code", "MQTT5-2.4")


ENCODERS: Final[Mapping[type[Packet], Callable[[Any], bytes]]] = {
    Connect: _encode_connect,
    Connack: _encode_connack,
    Publish: _encode_publish,
    Puback: _ack_encoder(PUBACK, "PUBACK"),
    Pubrec: _ack_encoder(PUBREC, "PUBREC"),
    Pubrel: _ack_encoder(PUBREL, "PUBREL"),
    Pubcomp: _ack_encoder(PUBCOMP, "PUBCOMP"),
    Subscribe: _encode_subscribe,
    Suback: _codes_encoder(SUBACK, "SUBACK"),
    Unsubscribe: _encode_unsubscribe,
    Unsuback: _codes_encoder(UNSUBACK, "UNSUBACK"),
    Pingreq: lambda _: bytes((PINGREQ, 0)),
    Pingresp: lambda _: bytes((PINGRESP, 0)),
    Disconnect: _reason_encoder(DISCONNECT, "DISCONNECT"),
    Auth: _reason_encoder(AUTH, "AUTH"),
}
