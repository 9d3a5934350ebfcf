"""The bits that MQTT 3.1.1 and 5 share: packets' first bytes, PUBLISH's flags, CONNECT's flags.

A first byte is the packet's type in the high half, and in the low one the flags that belong to it (MQTT 3.1.1, tables
2.1 and 2.2; MQTT 5, tables 2-1 and 2-2).
"""

from typing import Final

__all__ = [
    "AUTH",
    "CLEAN_START",
    "CONNACK",
    "CONNECT",
    "DISCONNECT",
    "DUP",
    "PASSWORD",
    "PINGREQ",
    "PINGRESP",
    "PUBACK",
    "PUBCOMP",
    "PUBLISH",
    "PUBREC",
    "PUBREL",
    "RESERVED",
    "RETAIN",
    "SUBACK",
    "SUBSCRIBE",
    "UNSUBACK",
    "UNSUBSCRIBE",
    "USERNAME",
    "WILL",
    "WILL_QOS",
    "WILL_RETAIN",
]

CONNECT: Final = 0x10
CONNACK: Final = 0x20
PUBLISH: Final = 0x30
PUBACK: Final = 0x40
PUBREC: Final = 0x50
PUBREL: Final = 0x62
PUBCOMP: Final = 0x70
SUBSCRIBE: Final = 0x82
SUBACK: Final = 0x90
UNSUBSCRIBE: Final = 0xA2
UNSUBACK: Final = 0xB0
PINGREQ: Final = 0xC0
PINGRESP: Final = 0xD0
DISCONNECT: Final = 0xE0
AUTH: Final = 0xF0
"""MQTT 5 only."""

# PUBLISH's own
DUP: Final = 0x08
RETAIN: Final = 0x01

# CONNECT's (section 3.1.2.3 of both)
RESERVED: Final = 0x01
CLEAN_START: Final = 0x02
"""MQTT 3.1.1 calls it Clean Session."""
WILL: Final = 0x04
WILL_QOS: Final = 0x18
WILL_RETAIN: Final = 0x20
PASSWORD: Final = 0x40
USERNAME: Final = 0x80
