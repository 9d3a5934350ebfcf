"""What can go wrong in this room.

    MqttError
    ├── MalformedPacket    the peer's bytes break the specification
    │   └── PacketTooLarge … or only our own maximum
    ├── InvalidTopic       a topic name or filter breaks the specification (also a ValueError)
    ├── InvalidPacket      a packet of ours has no form on the wire (also a ValueError)
    ├── TooLargeForClient  … or is longer than an MQTT 5 client takes
    ├── InflightFull       too many QoS 1 messages wait for their PUBACK
    └── WrongState         the caller asked for what the connection's state forbids

`tag` names the statement of MQTT 3.1.1 that is broken, such as `MQTT-2.3.1-1`, or of MQTT 5, `MQTT5-2.2.1-3`. Where the
specification states a rule without numbering it, `tag` is the section, `MQTT-2.2.3`; where the rule is ours, it is empty.
"""

from typing import Final

__all__ = [
    "InflightFull",
    "InvalidPacket",
    "InvalidTopic",
    "MalformedPacket",
    "MqttError",
    "PacketTooLarge",
    "TooLargeForClient",
    "WrongState",
]


MALFORMED: Final = 0x81
TOO_LARGE: Final = 0x95


class MqttError(Exception):
    """The root. `str()` is one line and ends with the tag in brackets, if there is one."""

    def __init__(self, message: str, tag: str = "") -> None:
        super().__init__(f"{message} [{tag}]" if tag else message)
        self.message = message
        self.tag = tag


class MalformedPacket(MqttError):  # noqa: N818 - the specification's own word
    """What the peer sent is not MQTT. The only answer is to close the connection [MQTT-4.8.0-1].

    `reason` is what MQTT 5 says before it does (section 4.13.1): 0x81, or more precisely.
    """

    def __init__(self, message: str, tag: str = "", reason: int = MALFORMED) -> None:
        super().__init__(message, tag)
        self.reason = reason
        self.connect_level = 0
        """The protocol level of the CONNECT that is malformed; 0 if it is no CONNECT, or its level is not known."""


class PacketTooLarge(MalformedPacket):
    """The packet may be well formed, but is larger than the decoder's maximum."""

    def __init__(self, message: str, tag: str = "") -> None:
        super().__init__(message, tag, TOO_LARGE)


class InvalidTopic(MqttError, ValueError):  # noqa: N818 - named like its siblings
    """A topic name or topic filter that the specification forbids."""


class InvalidPacket(MqttError, ValueError):  # noqa: N818 - named like its siblings
    """A packet that can't be encoded: a field is out of range, or two fields contradict each other."""


class TooLargeForClient(MqttError):  # noqa: N818 - named like its siblings
    """A packet of ours is longer than the client's Maximum Packet Size; it is not sent [MQTT5-3.1.2-24]."""


class InflightFull(MqttError):  # noqa: N818 - a condition the caller handles, not a fault
    """As many QoS 1 messages as allowed are unacknowledged; try again when a PUBACK has come."""


class WrongState(MqttError):  # noqa: N818 - named like its siblings
    """A mistake of the caller's: for instance, a PUBLISH before the CONNECT was accepted."""
