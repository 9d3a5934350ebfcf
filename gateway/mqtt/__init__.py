"""MQTT 3.1.1 without I/O: packets, the codec, the server's state machine, topics.

Pure, and knows nothing of the project. Where a line exists because the specification says so, the statement's
number stands beside it: `[MQTT-3.1.0-2]` is of "MQTT Version 3.1.1", OASIS Standard, 29 October 2014.
"""

from gateway.mqtt.codec import CODECS, MQTT_3_1_1, Codec, Decoder, encode
from gateway.mqtt.connection import Event, ServerConnection, State, Violation
from gateway.mqtt.errors import (
    InflightFull,
    InvalidPacket,
    InvalidTopic,
    MalformedPacket,
    MqttError,
    PacketTooLarge,
    WrongState,
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
    UnsupportedProtocol,
    Will,
)
from gateway.mqtt.topics import filter_covers, matches, validate_topic_filter, validate_topic_name

__all__ = [
    "CODECS",
    "MQTT_3_1_1",
    "ClientPacket",
    "Codec",
    "Connack",
    "ConnackCode",
    "Connect",
    "Decoder",
    "Disconnect",
    "Event",
    "InflightFull",
    "InvalidPacket",
    "InvalidTopic",
    "MalformedPacket",
    "MqttError",
    "Packet",
    "PacketTooLarge",
    "Pingreq",
    "Pingresp",
    "Puback",
    "Pubcomp",
    "Publish",
    "Pubrec",
    "Pubrel",
    "ServerConnection",
    "ServerPacket",
    "State",
    "Suback",
    "Subscribe",
    "Unsuback",
    "Unsubscribe",
    "UnsupportedProtocol",
    "Violation",
    "Will",
    "WrongState",
    "encode",
    "filter_covers",
    "matches",
    "validate_topic_filter",
    "validate_topic_name",
]
