"""The data types that packets are made of (MQTT 3.1.1, sections 1.5 and 2.2.3; MQTT 5, section 1.5), read and written.

The readers take the body of a packet and a position in it, and give the value with the position after it.
They never look past the body's end: a field that does is malformed.
"""

from typing import Final

from gateway.mqtt.errors import InvalidPacket, MalformedPacket

__all__ = [
    "MAX_REMAINING_LENGTH",
    "frame",
    "read_binary",
    "read_packet_id",
    "read_string",
    "read_variable_integer",
    "write_binary",
    "write_packet_id",
    "write_string",
    "write_variable_integer",
]

MAX_REMAINING_LENGTH: Final = 268_435_455
"""What four length bytes can say (table 2.4)."""

_MAX_FIELD: Final = 0xFFFF
_LENGTH_CONTINUES: Final = 0x80


def read_binary(body: bytes, pos: int) -> tuple[bytes, int]:
    """Bytes after their 16-bit length."""
    start = pos + 2
    if start > len(body):
        raise MalformedPacket("the packet ends inside a field", "MQTT-1.5.3")
    end = start + (body[pos] << 8 | body[pos + 1])
    if end > len(body):
        raise MalformedPacket("the packet ends inside a field", "MQTT-1.5.3")
    return body[start:end], end


def read_string(body: bytes, pos: int) -> tuple[str, int]:
    """Text after its 16-bit length. U+FEFF stays where it is [MQTT-1.5.3-3]."""
    start = pos + 2
    if start > len(body):
        raise MalformedPacket("the packet ends inside a field", "MQTT-1.5.3")
    end = start + (body[pos] << 8 | body[pos + 1])
    if end > len(body):
        raise MalformedPacket("the packet ends inside a field", "MQTT-1.5.3")
    try:
        text = body[start:end].decode()
    except UnicodeDecodeError:
        # Python's decoder is as strict as RFC 3629: no surrogates, no overlong forms.
        raise MalformedPacket("a string is not UTF-8", "MQTT-1.5.3-1") from None
    if "\0" in text:
        raise MalformedPacket("a string has the character U+0000", "MQTT-1.5.3-2")
    return text, end


def read_packet_id(body: bytes, pos: int) -> int:
    """The two bytes at `pos`; the caller goes on at `pos + 2`."""
    if pos + 2 > len(body):
        raise MalformedPacket("the packet ends inside its packet identifier", "MQTT-2.3.1")
    packet_id = body[pos] << 8 | body[pos + 1]
    if not packet_id:
        raise MalformedPacket("the packet identifier is 0", "MQTT-2.3.1-1")
    return packet_id


def read_variable_integer(body: bytes, pos: int) -> tuple[int, int]:
    """A variable byte integer of MQTT 5: one to four bytes, seven bits in each, in as few as will do [MQTT5-1.5.5-1]."""
    value = shift = 0
    for at in range(pos, min(pos + 4, len(body))):
        byte = body[at]
        value |= (byte & 0x7F) << shift
        if byte < _LENGTH_CONTINUES:
            if not byte and shift:
                raise MalformedPacket("a variable byte integer has a byte too many", "MQTT5-1.5.5-1")
            return value, at + 1
        shift += 7
    raise MalformedPacket("a variable byte integer does not end", "MQTT5-1.5.5")


def write_variable_integer(value: int) -> bytes:
    if not 0 <= value <= MAX_REMAINING_LENGTH:
        raise InvalidPacket("a variable byte integer is not in 0..268435455", "MQTT5-1.5.5")
    written = bytearray()
    while value >= _LENGTH_CONTINUES:
        written.append(value & 0x7F | _LENGTH_CONTINUES)
        value >>= 7
    written.append(value)
    return bytes(written)


def write_binary(data: bytes) -> bytes:
    if len(data) > _MAX_FIELD:
        raise InvalidPacket("a field is longer than 65535 bytes", "MQTT-1.5.3")
    return len(data).to_bytes(2, "big") + data


def write_string(text: str) -> bytes:
    if "\0" in text:
        raise InvalidPacket("a string has the character U+0000", "MQTT-1.5.3-2")
    try:
        return write_binary(text.encode())
    except UnicodeEncodeError:
        raise InvalidPacket("a string has a lone surrogate", "MQTT-1.5.3-1") from None


def write_packet_id(packet_id: int | None) -> bytes:
    if packet_id is None or not 1 <= packet_id <= _MAX_FIELD:
        raise InvalidPacket("the packet identifier is not in 1..65535", "MQTT-2.3.1-1")
    return packet_id.to_bytes(2, "big")


def frame(first_byte: int, body: bytes) -> bytes:
    """A whole packet: the fixed header (type, flags and remaining length), then `body`."""
    length = len(body)
    if length < _LENGTH_CONTINUES:
        return bytes((first_byte, length)) + body
    if length > MAX_REMAINING_LENGTH:
        raise InvalidPacket("the packet is longer than four length bytes can say", "MQTT-2.2.3")
    return bytes((first_byte,)) + write_variable_integer(length) + body
