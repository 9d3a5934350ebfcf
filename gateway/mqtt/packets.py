"""MQTT's control packets as values, the same for either end and for every protocol level.

They hold what the packet says, not how it is written; `gateway.mqtt.codec` checks and translates. A packet
that came from the decoder keeps all the rules of MQTT 3.1.1; one made by hand is checked when it is encoded.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

__all__ = [
    "ClientPacket",
    "Connack",
    "ConnackCode",
    "Connect",
    "Disconnect",
    "Packet",
    "Pingreq",
    "Pingresp",
    "Puback",
    "Pubcomp",
    "Publish",
    "Pubrec",
    "Pubrel",
    "ServerPacket",
    "Suback",
    "Subscribe",
    "Unsuback",
    "Unsubscribe",
    "UnsupportedProtocol",
    "Will",
]


class ConnackCode(IntEnum):
    """CONNACK's return codes (MQTT 3.1.1, table 3.1)."""

    ACCEPTED = 0
    UNACCEPTABLE_PROTOCOL = 1
    IDENTIFIER_REJECTED = 2
    SERVER_UNAVAILABLE = 3
    BAD_USERNAME_OR_PASSWORD = 4
    NOT_AUTHORIZED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """The message to publish when the connection ends without a DISCONNECT."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


class Connect(NamedTuple):
    """A client introduces itself. `keep_alive` is in seconds, 0 for none. The password never prints."""

    client_id: str
    clean_session: bool = True
    keep_alive: int = 0
    username: str | None = None
    password: bytes | None = None
    will: Will | None = None
    protocol_level: int = 4

    def __repr__(self) -> str:
        shown = self._replace(password=None if self.password is None else b"[redacted]")
        return f"Connect{tuple(shown)!r}"

    @property
    def lacks_client_id(self) -> bool:
        """Only a clean session may do without; else the answer is CONNACK 2 [MQTT-3.1.3-8]."""
        return not self.client_id and not self.clean_session


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsupportedProtocol:
    """Stands for a CONNECT of a protocol level that we do not speak; the rest of it was not read.

    The answer is CONNACK 1, and then the connection ends [MQTT-3.1.2-2].
    """

    level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Connack:
    """The server's answer to CONNECT."""

    session_present: bool
    code: int


class Publish(NamedTuple):
    """A message. `packet_id` is None with QoS 0, and only then."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Puback:
    """QoS 1: the message has arrived."""

    packet_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pubrec:
    """QoS 2, the receiver's first answer."""

    packet_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pubrel:
    """QoS 2, the sender's answer to PUBREC."""

    packet_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pubcomp:
    """QoS 2, the end of the delivery."""

    packet_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    """`filters` are pairs of topic filter and highest QoS wanted, in the order the SUBACK must keep."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suback:
    """One code for each filter of the SUBSCRIBE: the QoS granted, or 0x80 for a failure."""

    packet_id: int
    codes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe:
    """`filters` are to be compared character by character with those subscribed to [MQTT-3.10.4-1]."""

    packet_id: int
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsuback:
    """The answer to UNSUBSCRIBE, whether or not there was anything to remove [MQTT-3.10.4-5]."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Pingreq:
    """The client is alive, and asks whether the server is."""


@dataclass(frozen=True, slots=True)
class Pingresp:
    """The server is alive."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The client leaves in order; its will is not to be published [MQTT-3.14.4-3]."""


ClientPacket = (
    Connect
    | UnsupportedProtocol
    | Publish
    | Puback
    | Pubrec
    | Pubrel
    | Pubcomp
    | Subscribe
    | Unsubscribe
    | Pingreq
    | Disconnect
)
"""What a server can receive."""

ServerPacket = Connack | Publish | Puback | Pubrec | Pubrel | Pubcomp | Suback | Unsuback | Pingresp
"""What a client can receive."""

Packet = (
    Connect
    | Connack
    | Publish
    | Puback
    | Pubrec
    | Pubrel
    | Pubcomp
    | Subscribe
    | Suback
    | Unsubscribe
    | Unsuback
    | Pingreq
    | Pingresp
    | Disconnect
)
"""What can be encoded."""
