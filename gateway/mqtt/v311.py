"""The packets of MQTT 3.1.1 (protocol level 4): the bodies' decoders and encoders, as tables.

A decoder takes the packet's first byte and its body. The tables of decoders are keyed by the first byte, so a
packet type that the peer may not send, or flags that its type does not have, are simply not in the table;
`header_fault` then says what was wrong.
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
    ClientPacket,
    Connack,
    ConnackCode,
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
from gateway.mqtt.topics import validate_topic_filter, validate_topic_name
from gateway.mqtt.wire import (
    frame,
    read_binary,
    read_packet_id,
    read_string,
    write_binary,
    write_packet_id,
    write_string,
)

__all__ = [
    "ENCODERS",
    "FROM_CLIENT",
    "FROM_SERVER",
    "LEVEL",
    "PUBACK_HEADER",
    "decode_connect",
    "header_fault",
]

LEVEL: Final = 4

_CONNECT_PREFIX: Final = b"\x00\x04MQTT\x04"
_CONNECT_HEADER_SIZE: Final = 10
_ACK_SIZE: Final = 2
PUBACK_HEADER: Final = bytes((PUBACK, _ACK_SIZE))
_MAX_QOS: Final = 2
_MAX_KEEP_ALIVE: Final = 0xFFFF
_SUBACK_CODES: Final = frozenset((0, 1, 2, 0x80))

_FLAG_TAGS: Final = {
    PUBREL >> 4: "MQTT-3.6.1-1",
    SUBSCRIBE >> 4: "MQTT-3.8.1-1",
    UNSUBSCRIBE >> 4: "MQTT-3.10.1-1",
    DISCONNECT >> 4: "MQTT-3.14.1-1",
    AUTH >> 4: "MQTT5-3.15.1-1",
}


def header_fault(first_byte: int, decoders: Mapping[int, Any]) -> MalformedPacket:
    """Why `first_byte` is not among `decoders`."""
    packet_type = first_byte >> 4
    if not any(known >> 4 == packet_type for known in decoders):
        return MalformedPacket(f"packet type {packet_type} does not go this way", "MQTT-2.2.1")
    if packet_type == PUBLISH >> 4:
        if first_byte & 0x06 == 0x06:  # noqa: PLR2004 - both QoS bits
            return MalformedPacket("PUBLISH with QoS 3", "MQTT-3.3.1-4")
        return MalformedPacket("PUBLISH with QoS 0 and DUP", "MQTT-3.3.1-2")
    tag = _FLAG_TAGS.get(packet_type, "MQTT-2.2.2-2")
    return MalformedPacket(f"reserved flags of packet type {packet_type} are wrong", tag)


# Decoding


def decode_connect(body: bytes) -> Connect:
    """`body` is a CONNECT's, known to start with the protocol name and level."""
    if len(body) < _CONNECT_HEADER_SIZE:
        raise MalformedPacket("CONNECT ends inside its header", "MQTT-3.1.2")
    flags = body[7]
    keep_alive = body[8] << 8 | body[9]
    _check_connect_flags(flags)
    # [MQTT-3.1.3-1] and [MQTT-3.1.3-3]: the fields come in this order, the client id always
    client_id, pos = read_string(body, _CONNECT_HEADER_SIZE)
    will = None
    if flags & WILL:
        topic, pos = read_string(body, pos)
        payload, pos = read_binary(body, pos)
        _check_received_name(topic)
        will = Will(
            topic=topic, payload=payload, qos=(flags & WILL_QOS) >> 3, retain=flags & WILL_RETAIN != 0
        )
    username = password = None
    if flags & USERNAME:
        username, pos = read_string(body, pos)
    if flags & PASSWORD:
        password, pos = read_binary(body, pos)
    # A field whose flag is not set is a field too many [MQTT-3.1.2-11] [MQTT-3.1.2-18] [MQTT-3.1.2-20].
    if pos != len(body):
        raise MalformedPacket("CONNECT has more bytes than its flags say", "MQTT-3.1.2-18")
    return Connect(
        client_id=client_id,
        clean_session=flags & CLEAN_START != 0,
        keep_alive=keep_alive,
        username=username,
        password=password,
        will=will,
        protocol_level=LEVEL,
    )


def _check_connect_flags(flags: int) -> None:
    if flags & RESERVED:
        raise MalformedPacket("CONNECT's reserved flag is set", "MQTT-3.1.2-3")
    if flags & WILL:
        if flags & WILL_QOS == WILL_QOS:
            raise MalformedPacket("CONNECT has a will of QoS 3", "MQTT-3.1.2-14")
    elif flags & WILL_QOS:
        raise MalformedPacket("CONNECT has a will QoS but no will", "MQTT-3.1.2-13")
    elif flags & WILL_RETAIN:
        raise MalformedPacket("CONNECT has a retained will but no will", "MQTT-3.1.2-15")
    if flags & PASSWORD and not flags & USERNAME:
        raise MalformedPacket("CONNECT has a password but no user name", "MQTT-3.1.2-22")


def _decode_connack(_: int, body: bytes) -> Connack:
    if len(body) != _ACK_SIZE:
        raise MalformedPacket("CONNACK's body is not two bytes", "MQTT-3.2.1")
    flags, code = body
    if flags & ~1:
        raise MalformedPacket("CONNACK's reserved flags are set", "MQTT-3.2.2")
    if code > ConnackCode.NOT_AUTHORIZED:
        raise MalformedPacket("CONNACK's return code is reserved", "MQTT-3.2.2")
    if flags and code:
        raise MalformedPacket("CONNACK refuses, yet a session is present", "MQTT-3.2.2-4")
    return Connack(session_present=flags == 1, code=code)


def _decode_publish(first_byte: int, body: bytes) -> Publish:
    topic, pos = read_string(body, 0)
    _check_received_name(topic)
    packet_id = None
    qos = first_byte >> 1 & 3
    if qos:  # [MQTT-2.3.1-1] [MQTT-2.3.1-5]
        packet_id = read_packet_id(body, pos)
        pos += 2
    return Publish(
        topic=topic,
        payload=body[pos:],
        qos=qos,
        retain=first_byte & RETAIN != 0,
        dup=first_byte & DUP != 0,
        packet_id=packet_id,
    )


def _ack_decoder(make: Callable[..., Any], name: str) -> Callable[[int, bytes], Any]:
    """The decoder of a packet whose body is its packet identifier."""

    def decode(_: int, body: bytes) -> Any:
        if len(body) != _ACK_SIZE:
            raise MalformedPacket(f"{name}'s body is not two bytes", "MQTT-2.3.1")
        return make(packet_id=read_packet_id(body, 0))

    return decode


def _decode_subscribe(_: int, body: bytes) -> Subscribe:
    packet_id = read_packet_id(body, 0)
    pos = 2
    end = len(body)
    filters: list[tuple[str, int]] = []
    while pos < end:
        topic_filter, pos = _read_filter(body, pos)
        if pos == end:
            raise MalformedPacket("SUBSCRIBE ends before a filter's QoS", "MQTT-3.8.3")
        qos = body[pos]
        if qos > _MAX_QOS:
            raise MalformedPacket("SUBSCRIBE asks for a QoS that is not 0, 1 or 2", "MQTT-3.8.3-4")
        filters.append((topic_filter, qos))
        pos += 1
    if not filters:
        raise MalformedPacket("SUBSCRIBE has no topic filter", "MQTT-3.8.3-3")
    return Subscribe(packet_id=packet_id, filters=tuple(filters))


def _decode_suback(_: int, body: bytes) -> Suback:
    packet_id = read_packet_id(body, 0)
    codes = tuple(body[2:])
    if not codes:
        raise MalformedPacket("SUBACK has no return code", "MQTT-3.8.4-5")
    if not _SUBACK_CODES.issuperset(codes):
        raise MalformedPacket("SUBACK has a reserved return code", "MQTT-3.9.3-2")
    return Suback(packet_id=packet_id, codes=codes)


def _decode_unsubscribe(_: int, body: bytes) -> Unsubscribe:
    packet_id = read_packet_id(body, 0)
    pos = 2
    filters: list[str] = []
    while pos < len(body):
        topic_filter, pos = _read_filter(body, pos)
        filters.append(topic_filter)
    if not filters:
        raise MalformedPacket("UNSUBSCRIBE has no topic filter", "MQTT-3.10.3-2")
    return Unsubscribe(packet_id=packet_id, filters=tuple(filters))


def _empty_decoder(packet: Any, name: str) -> Callable[[int, bytes], Any]:
    """The decoder of a packet that is only its header; all of them are one value."""

    def decode(_: int, body: bytes) -> Any:
        if body:
            raise MalformedPacket(f"{name} has a body", "MQTT-2.2.3")
        return packet

    return decode


def _check_received_name(topic: str) -> None:
    try:
        validate_topic_name(topic)
    except InvalidTopic as error:
        raise MalformedPacket(error.message, error.tag) from None


def _read_filter(body: bytes, pos: int) -> tuple[str, int]:
    topic_filter, pos = read_string(body, pos)
    try:
        validate_topic_filter(topic_filter)
    except InvalidTopic as error:
        raise MalformedPacket(error.message, error.tag) from None
    return topic_filter, pos


_BOTH_WAYS: Final[dict[int, Callable[[int, bytes], Any]]] = {
    # PUBLISH's flags are DUP, QoS and RETAIN; [MQTT-3.3.1-4] no QoS 3, [MQTT-3.3.1-2] no DUP with QoS 0
    **{PUBLISH | flags: _decode_publish for flags in (0, 1, 2, 3, 4, 5, 0xA, 0xB, 0xC, 0xD)},
    PUBACK: _ack_decoder(Puback, "PUBACK"),
    PUBREC: _ack_decoder(Pubrec, "PUBREC"),
    PUBREL: _ack_decoder(Pubrel, "PUBREL"),
    PUBCOMP: _ack_decoder(Pubcomp, "PUBCOMP"),
}

FROM_CLIENT: Final[Mapping[int, Callable[[int, bytes], ClientPacket]]] = {
    **_BOTH_WAYS,
    SUBSCRIBE: _decode_subscribe,
    UNSUBSCRIBE: _decode_unsubscribe,
    PINGREQ: _empty_decoder(Pingreq(), "PINGREQ"),
    DISCONNECT: _empty_decoder(Disconnect(), "DISCONNECT"),
}
"""What a client may send, except CONNECT, which has to be read to know its protocol level."""

FROM_SERVER: Final[Mapping[int, Callable[[int, bytes], ServerPacket]]] = {
    **_BOTH_WAYS,
    CONNACK: _decode_connack,
    SUBACK: _decode_suback,
    UNSUBACK: _ack_decoder(Unsuback, "UNSUBACK"),
    PINGRESP: _empty_decoder(Pingresp(), "PINGRESP"),
}


# Encoding


def _encode_connect(packet: Connect) -> bytes:
    if not 0 <= packet.keep_alive <= _MAX_KEEP_ALIVE:
        raise InvalidPacket("the keep-alive is not in 0..65535 seconds", "MQTT-3.1.2")
    flags = CLEAN_START if packet.clean_session else 0
    payload = [write_string(packet.client_id)]
    if packet.will is not None:
        will = packet.will
        flags |= WILL | _checked_qos(will.qos) << 3 | (WILL_RETAIN if will.retain else 0)
        validate_topic_name(will.topic)
        payload += (write_string(will.topic), write_binary(will.payload))
    if packet.username is not None:
        flags |= USERNAME
        payload.append(write_string(packet.username))
    if packet.password is not None:
        if packet.username is None:
            raise InvalidPacket("CONNECT has a password but no user name", "MQTT-3.1.2-22")
        flags |= PASSWORD
        payload.append(write_binary(packet.password))
    header = _CONNECT_PREFIX + bytes((flags, packet.keep_alive >> 8, packet.keep_alive & 0xFF))
    return frame(CONNECT, header + b"".join(payload))


def _encode_connack(packet: Connack) -> bytes:
    if not 0 <= packet.code <= ConnackCode.NOT_AUTHORIZED:
        raise InvalidPacket("CONNACK's return code is reserved", "MQTT-3.2.2")
    if packet.code and packet.session_present:
        raise InvalidPacket("CONNACK refuses, yet a session is present", "MQTT-3.2.2-4")
    return bytes((CONNACK, _ACK_SIZE, packet.session_present, packet.code))


def _encode_publish(packet: Publish) -> bytes:
    validate_topic_name(packet.topic)
    qos = _checked_qos(packet.qos)
    first_byte = PUBLISH | qos << 1 | (RETAIN if packet.retain else 0)
    header = write_string(packet.topic)
    if qos:
        header += write_packet_id(packet.packet_id)
        if packet.dup:
            first_byte |= DUP
    elif packet.packet_id is not None:
        raise InvalidPacket("PUBLISH with QoS 0 and a packet identifier", "MQTT-2.3.1-5")
    elif packet.dup:
        raise InvalidPacket("PUBLISH with QoS 0 and DUP", "MQTT-3.3.1-2")
    return frame(first_byte, header + packet.payload)


def _ack_encoder(first_byte: int) -> Callable[[Any], bytes]:
    """The encoder of a packet whose body is its packet identifier."""
    header = bytes((first_byte, _ACK_SIZE))

    def encode(packet: Any) -> bytes:
        return header + write_packet_id(packet.packet_id)

    return encode


def _encode_subscribe(packet: Subscribe) -> bytes:
    if not packet.filters:
        raise InvalidPacket("SUBSCRIBE has no topic filter", "MQTT-3.8.3-3")
    body = [write_packet_id(packet.packet_id)]
    for topic_filter, qos in packet.filters:
        validate_topic_filter(topic_filter)
        body += (write_string(topic_filter), bytes((_checked_qos(qos),)))
    return frame(SUBSCRIBE, b"".join(body))


def _encode_suback(packet: Suback) -> bytes:
    if not packet.codes or not _SUBACK_CODES.issuperset(packet.codes):
        raise InvalidPacket("SUBACK's return codes are not 0, 1, 2 or 0x80, one at least", "MQTT-3.9.3-2")
    return frame(SUBACK, write_packet_id(packet.packet_id) + bytes(packet.codes))


def _encode_unsubscribe(packet: Unsubscribe) -> bytes:
    if not packet.filters:
        raise InvalidPacket("UNSUBSCRIBE has no topic filter", "MQTT-3.10.3-2")
    body = [write_packet_id(packet.packet_id)]
    for topic_filter in packet.filters:
        validate_topic_filter(topic_filter)
        body.append(write_string(topic_filter))
    return frame(UNSUBSCRIBE, b"".join(body))


def _checked_qos(qos: int) -> int:
    if not 0 <= qos <= _MAX_QOS:
        raise InvalidPacket("the QoS is not 0, 1 or 2", "MQTT-4.3")
    return qos


ENCODERS: Final[Mapping[type[Packet], Callable[[Any], bytes]]] = {
    Connect: _encode_connect,
    Connack: _encode_connack,
    Publish: _encode_publish,
    Puback: _ack_encoder(PUBACK),
    Pubrec: _ack_encoder(PUBREC),
    Pubrel: _ack_encoder(PUBREL),
    Pubcomp: _ack_encoder(PUBCOMP),
    Subscribe: _encode_subscribe,
    Suback: _encode_suback,
    Unsubscribe: _encode_unsubscribe,
    Unsuback: _ack_encoder(UNSUBACK),
    Pingreq: lambda _: bytes((PINGREQ, 0)),
    Pingresp: lambda _: bytes((PINGRESP, 0)),
    Disconnect: lambda _: bytes((DISCONNECT, 0)),
}
