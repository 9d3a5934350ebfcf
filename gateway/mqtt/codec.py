"""Bytes to packets and back.

A packet's first byte picks the decoder from a table, its class picks the encoder from another. Each protocol
level has its pair of tables (a `Codec`), so a further level is a further `Codec` in `CODECS`. Which level a
client speaks is known only from its CONNECT; that is why the CONNECT's name and level are read here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from gateway.mqtt import v5, v311
from gateway.mqtt.errors import InvalidPacket, MalformedPacket, PacketTooLarge
from gateway.mqtt.headers import CONNECT
from gateway.mqtt.packets import ClientPacket, Connect, Packet, ServerPacket, UnsupportedProtocol
from gateway.mqtt.wire import read_string

__all__ = ["CODECS", "MQTT_3_1_1", "MQTT_5", "Codec", "Decoder", "encode"]

P = TypeVar("P")

_PROTOCOL_NAME: Final = b"\x00\x04MQTT"
_OLD_PROTOCOL_NAME: Final = "MQIsdp"
"""MQTT 3.1, before it was a standard."""
_MIN_HEADER: Final = 2
_MAX_HEADER: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """One protocol level. The decoders are keyed by a packet's first byte, the encoders by its class.

    `tag` gives a statement the number that it has in this version.
    """

    level: int
    tag: Callable[[str], str]
    from_client: Mapping[int, Callable[[int, bytes], ClientPacket]]
    from_server: Mapping[int, Callable[[int, bytes], ServerPacket]]
    encoders: Mapping[type[Packet], Callable[[Any], bytes]]

    def encode(self, packet: Packet) -> bytes:
        """Raises `InvalidPacket` or `InvalidTopic`, each a `ValueError`, if `packet` can't be written."""
        encoder = self.encoders.get(type(packet))
        if encoder is None:
            raise InvalidPacket(f"{type(packet).__name__} is not a packet of protocol level {self.level}")
        return encoder(packet)


class Decoder(Generic[P]):
    """Cuts a stream of bytes into packets: `feed` it, then take packets until there is none.

    `decoders` is a `Codec`'s `from_client` or `from_server`. A packet of more than `max_packet_size` bytes,
    header included, is refused as soon as its length is known; the maximum may be changed at any time. So
    what a decoder holds is bounded by the maximum and by what is fed at once, and its work grows with the
    number of bytes only, however they are split.
    """

    __slots__ = ("_buffer", "_needed", "_pos", "decoders", "max_packet_size")

    def __init__(self, decoders: Mapping[int, Callable[[int, bytes], P]], *, max_packet_size: int) -> None:
        self.decoders = decoders
        self.max_packet_size = max_packet_size
        # What was fed, and how far it has been read. Nearly always that is whole packets, cut from the bytes as they
        # came; only what waits for more bytes is copied together.
        self._buffer: bytes | bytearray = b""
        self._pos = 0
        # How long the rest of the buffer must be before it is worth another look.
        self._needed = _MIN_HEADER

    @property
    def buffered(self) -> int:
        """The number of bytes that were fed and have not come out in a packet."""
        return len(self._buffer) - self._pos

    def feed(self, data: bytes) -> None:
        if self._pos == len(self._buffer):
            self._buffer = data
        else:
            if isinstance(self._buffer, bytes):
                self._buffer = bytearray(self._buffer)
            del self._buffer[: self._pos]
            self._buffer += data
        self._pos = 0

    def next_packet(self) -> P | None:
        """The next packet, or None until more is fed.

        Raises `MalformedPacket`; there is no way to find the next packet after that, so every further call
        raises it again.
        """
        buffer, pos = self._buffer, self._pos
        available = len(buffer) - pos
        if available < self._needed:
            return None
        first_byte = buffer[pos]
        decode = self.decoders.get(first_byte)
        if decode is None:
            raise v311.header_fault(first_byte, self.decoders)
        length, header = buffer[pos + 1], 2
        if length > 0x7F:  # noqa: PLR2004 - the length goes on in the next byte
            length, header = _read_length(buffer, pos)
            if not header:
                self._needed = available + 1
                return None
        size = header + length
        if size > self.max_packet_size:
            raise PacketTooLarge(f"a packet of {size} bytes, where {self.max_packet_size} are allowed")
        if available < size:
            self._needed = size
            return None
        body = buffer[pos + header : pos + size]
        packet = decode(first_byte, body if isinstance(body, bytes) else bytes(body))
        if size == available:
            self._buffer, self._pos = b"", 0  # an idle connection keeps nothing
        else:
            self._pos = pos + size
        self._needed = _MIN_HEADER
        return packet


def encode(packet: Packet) -> bytes:
    """`packet` in MQTT 3.1.1. Raises `InvalidPacket` or `InvalidTopic`, each a `ValueError`."""
    return MQTT_3_1_1.encode(packet)


def _read_length(buffer: bytes | bytearray, start: int) -> tuple[int, int]:
    """The remaining length and the header's size (section 2.2.3); `(0, 0)` if more bytes are needed."""
    length = 0
    header = buffer[start : start + _MAX_HEADER]
    for pos in range(1, len(header)):
        byte = header[pos]
        length |= (byte & 0x7F) << 7 * (pos - 1)
        if byte <= 0x7F:  # noqa: PLR2004 - the last byte of the length
            return length, pos + 1
    if len(header) == _MAX_HEADER:
        raise MalformedPacket("the remaining length has more than four bytes", "MQTT-2.2.3")
    return 0, 0


def _decode_connect(_: int, body: bytes) -> Connect | UnsupportedProtocol:
    """Read the protocol's name and level, and leave the rest to the level."""
    if body.startswith(_PROTOCOL_NAME):
        pos = len(_PROTOCOL_NAME)
    else:
        name, pos = read_string(body, 0)
        # [MQTT-3.1.2-1] lets us hang up on any other name; a device of MQTT 3.1 deserves its CONNACK 1.
        if name != _OLD_PROTOCOL_NAME:
            raise MalformedPacket("the protocol name is not MQTT", "MQTT-3.1.2-1")
    if pos == len(body):
        raise MalformedPacket("CONNECT ends before its protocol level", "MQTT-3.1.2")
    level = body[pos]
    decode = _CONNECT_DECODERS.get(level) if pos == len(_PROTOCOL_NAME) else None
    if decode is None:
        return UnsupportedProtocol(level=level)
    try:
        return decode(body)
    except MalformedPacket as error:
        error.connect_level = level
        raise


_CONNECT_DECODERS: Final[Mapping[int, Callable[[bytes], Connect]]] = {
    v311.LEVEL: v311.decode_connect,
    v5.LEVEL: v5.decode_connect,
}

MQTT_3_1_1: Final = Codec(
    level=v311.LEVEL,
    tag=str,
    from_client={CONNECT: _decode_connect, **v311.FROM_CLIENT},
    from_server=v311.FROM_SERVER,
    encoders=v311.ENCODERS,
)

MQTT_5: Final = Codec(
    level=v5.LEVEL,
    tag=v5.tag,
    from_client={CONNECT: _decode_connect, **v5.FROM_CLIENT},
    from_server=v5.FROM_SERVER,
    encoders=v5.ENCODERS,
)

CODECS: Final[Mapping[int, Codec]] = {codec.level: codec for codec in (MQTT_3_1_1, MQTT_5)}
"""By protocol level."""
