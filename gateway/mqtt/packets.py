"""MQTT's control packets as values, the same for either end and for every protocol level.

They hold what the packet says, not how it is written; `gateway.mqtt.codec` checks and translates. A packet
that came from the decoder keeps all the rules of its protocol level; one made by hand is checked when it is encoded.
What only MQTT 5 can say, reasons and properties, has a default that says nothing.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from gateway.mqtt.properties import NO_PROPERTIES, Properties

__all__ = [
    "MAXIMUM_QOS",
    "MQTT_5_LEVEL",
    "NO_LOCAL",
    "RETAIN_AS_PUBLISHED",
    "RETAIN_HANDLING",
    "Auth",
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


MQTT_5_LEVEL: Final = 5
"""The protocol level of MQTT 5; 3.1.1's is 4."""

MAXIMUM_QOS: Final = 0x03
NO_LOCAL: Final = 0x04
RETAIN_AS_PUBLISHED: Final = 0x08
RETAIN_HANDLING: Final = 0x30
"""The bits of the subscription options (MQTT 5, section 3.8.3.1)."""


class ConnackCode(IntEnum):
    """CONNACK's return codes (MQTT 3.1.1, table 3.1). MQTT 5 has `gateway.mqtt.reasons.ReasonCode`."""

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
    properties: Properties = NO_PROPERTIES


class Connect(NamedTuple):
    """A client introduces itself. `keep_alive` is in seconds, 0 for none. The password never prints.

    `clean_session` is MQTT 5's Clean Start: there it only says what happens at the start, and the property Session
    Expiry Interval what happens at the end.
    """

    client_id: str
    clean_session: bool = True
    keep_alive: int = 0
    username: str | None = None
    password: bytes | None = None
    will: Will | None = None
    protocol_level: int = 4
    properties: Properties = NO_PROPERTIES

    def __repr__(self) -> str:
        shown = self._replace(password=None if self.password is None else b"[redacted]")
        return f"Connect{tuple(shown)!r}"

    @property
    def lacks_client_id(self) -> bool:
        """In MQTT 3.1.1 only a clean session may do without; else the answer is CONNACK 2 [MQTT-3.1.3-8]."""
        return not self.client_id and not self.clean_session and self.protocol_level < MQTT_5_LEVEL


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsupportedProtocol:
    """Stands for a CONNECT of a protocol level that we do not speak; the rest of it was not read.

    The answer is CONNACK 1, and then the connection ends [MQTT-3.1.2-2].
    """

    level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Connack:
    """The server's answer to CONNECT. `code` is a return code, or in MQTT 5 a reason code."""

    session_present: bool
    code: int
    properties: Properties = NO_PROPERTIES


class Publish(NamedTuple):
    """A message. `packet_id` is None with QoS 0, and only then.

    In MQTT 5 the topic may be empty where the property Topic Alias stands for it.
    """

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int | None = None
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Puback:
    """QoS 1: the message has arrived."""

    packet_id: int
    reason: int = 0
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Pubrec:
    """QoS 2, the receiver's first answer."""

    packet_id: int
    reason: int = 0
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Pubrel:
    """QoS 2, the sender's answer to PUBREC."""

    packet_id: int
    reason: int = 0
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Pubcomp:
    """QoS 2, the end of the delivery."""

    packet_id: int
    reason: int = 0
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    """`filters` are pairs of topic filter and subscription options, in the order the SUBACK must keep.

    The options of MQTT 3.1.1 are the highest QoS wanted; MQTT 5 adds the bits `NO_LOCAL`, `RETAIN_AS_PUBLISHED` and
    the two of `RETAIN_HANDLING`, and `options & MAXIMUM_QOS` is the QoS of either.
    """

    packet_id: int
    filters: tuple[tuple[str, int], ...]
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Suback:
    """One code for each filter of the SUBSCRIBE: the QoS granted, or 0x80 and, in MQTT 5, above for a failure."""

    packet_id: int
    codes: tuple[int, ...]
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe:
    """`filters` are to be compared character by character with those subscribed to [MQTT-3.10.4-1]."""

    packet_id: int
    filters: tuple[str, ...]
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsuback:
    """The answer to UNSUBSCRIBE, whether or not there was anything to remove [MQTT-3.10.4-5].

    In MQTT 5 with one code for each filter; in 3.1.1 `codes` is empty.
    """

    packet_id: int
    codes: tuple[int, ...] = ()
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True)
class Pingreq:
    """The client is alive, and asks whether the server is."""


@dataclass(frozen=True, slots=True)
class Pingresp:
    """The server is alive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnect:
    """The client leaves in order; its will is not to be published [MQTT-3.14.4-3], but for MQTT 5's reason 0x04.

    In MQTT 5 the server says it too, and why.
    """

    reason: int = 0
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """MQTT 5: a step of enhanced authentication, at the start or with reason 0x19 later (section 4.12)."""

    reason: int = 0
    properties: Properties = NO_PROPERTIES


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
    | Auth
)
"""What a server can receive."""

ServerPacket = (
    Connack | Publish | Puback | Pubrec | Pubrel | Pubcomp | Suback | Unsuback | Pingresp | Disconnect | Auth
)
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
    | Auth
)
"""What can be encoded."""
