"""MQTT 3.1.1 packets, as bytes: what each means, or which rule it breaks.

All tests that need packets take them from here. Each vector is written by hand from the specification, not by
our encoder. The notation: hexadecimal bytes, `'text'` for ASCII, `78*124` for a byte that is repeated.

A vector that is `canonical` is what an encoder must write for its packet; the others are unusual, but
allowed.
"""

from dataclasses import dataclass
from enum import Enum

from gateway.mqtt import (
    MQTT_3_1_1,
    Codec,
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
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    UnsupportedProtocol,
    Will,
)

__all__ = ["INVALID", "VALID", "Sender", "Vector", "wire"]


class Sender(Enum):
    CLIENT = "client"
    SERVER = "server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """Bytes that `sender` sends. They mean `packet`; if that is None, they break the rule `tag`.

    `shows` names a statement that they break besides: an absent field is found by the end of the packet, a field that
    should not be there by what is left over.
    """

    description: str
    sender: Sender
    data: bytes
    packet: Packet | UnsupportedProtocol | None = None
    tag: str = ""
    shows: str = ""
    canonical: bool = True
    codec: Codec = MQTT_3_1_1

    @property
    def id(self) -> str:
        return f"{self.sender.value}: {self.description}"


def wire(notation: str) -> bytes:
    """The bytes of `notation`."""
    data = b""
    for token in notation.split():
        if token.startswith("'"):
            data += token.strip("'").encode("ascii")
        else:
            digits, _, times = token.partition("*")
            data += bytes.fromhex(digits) * int(times or 1)
    return data


def _from_client(
    description: str, notation: str, packet: Packet | UnsupportedProtocol, **more: bool
) -> Vector:
    return Vector(description=description, sender=Sender.CLIENT, data=wire(notation), packet=packet, **more)


def _from_server(description: str, notation: str, packet: Packet) -> Vector:
    return Vector(description=description, sender=Sender.SERVER, data=wire(notation), packet=packet)


def _bad_client(description: str, notation: str, tag: str, shows: str = "") -> Vector:
    return Vector(description=description, sender=Sender.CLIENT, data=wire(notation), tag=tag, shows=shows)


def _bad_server(description: str, notation: str, tag: str) -> Vector:
    return Vector(description=description, sender=Sender.SERVER, data=wire(notation), tag=tag)


_WILL = Will(topic="t", payload=b"bye")

_CONNECT = (
    _from_client(
        "CONNECT of an anonymous clean session",
        "10 0c 0004 'MQTT' 04 02 0000 0000",
        Connect(client_id=""),
    ),
    _from_client(
        "CONNECT with client id and keep-alive",
        "10 10 0004 'MQTT' 04 02 003c 0004 'dev1'",
        Connect(client_id="dev1", keep_alive=60),
    ),
    _from_client(
        "CONNECT that wants its session back",
        "10 10 0004 'MQTT' 04 00 003c 0004 'dev1'",
        Connect(client_id="dev1", clean_session=False, keep_alive=60),
    ),
    _from_client(
        "CONNECT without client id that wants its session back, to be answered with CONNACK 2",
        "10 0c 0004 'MQTT' 04 00 003c 0000",
        Connect(client_id="", clean_session=False, keep_alive=60),
    ),
    _from_client(
        "CONNECT with a user name and no password, as a certificate's owner does",
        "10 13 0004 'MQTT' 04 82 003c 0004 'dev1' 0001 'u'",
        Connect(client_id="dev1", keep_alive=60, username="u"),
    ),
    _from_client(
        "CONNECT with user name and password",
        "10 17 0004 'MQTT' 04 c2 003c 0004 'dev1' 0001 'u' 0002 'pw'",
        Connect(client_id="dev1", keep_alive=60, username="u", password=b"pw"),
    ),
    _from_client(
        "CONNECT with empty user name and empty password",
        "10 14 0004 'MQTT' 04 c2 003c 0004 'dev1' 0000 0000",
        Connect(client_id="dev1", keep_alive=60, username="", password=b""),
    ),
    _from_client(
        "CONNECT with a password that is not text",
        "10 18 0004 'MQTT' 04 c2 003c 0004 'dev1' 0001 'u' 0003 00ff00",
        Connect(client_id="dev1", keep_alive=60, username="u", password=b"\x00\xff\x00"),
    ),
    _from_client(
        "CONNECT with a will of QoS 0",
        "10 18 0004 'MQTT' 04 06 003c 0004 'dev1' 0001 't' 0003 'bye'",
        Connect(client_id="dev1", keep_alive=60, will=_WILL),
    ),
    _from_client(
        "CONNECT with a will of QoS 1",
        "10 18 0004 'MQTT' 04 0e 003c 0004 'dev1' 0001 't' 0003 'bye'",
        Connect(client_id="dev1", keep_alive=60, will=Will(topic="t", payload=b"bye", qos=1)),
    ),
    _from_client(
        "CONNECT with a retained will of QoS 2",
        "10 18 0004 'MQTT' 04 36 003c 0004 'dev1' 0001 't' 0003 'bye'",
        Connect(client_id="dev1", keep_alive=60, will=Will(topic="t", payload=b"bye", qos=2, retain=True)),
    ),
    _from_client(
        "CONNECT with an empty will",
        "10 15 0004 'MQTT' 04 06 003c 0004 'dev1' 0001 't' 0000",
        Connect(client_id="dev1", keep_alive=60, will=Will(topic="t", payload=b"")),
    ),
    _from_client(
        "CONNECT with every field",
        "10 1f 0004 'MQTT' 04 f6 003c 0004 'dev1' 0001 't' 0003 'bye' 0001 'u' 0002 'pw'",
        Connect(
            client_id="dev1",
            keep_alive=60,
            username="u",
            password=b"pw",
            will=Will(topic="t", payload=b"bye", qos=2, retain=True),
        ),
    ),
    _from_client(
        "CONNECT with the longest keep-alive",
        "10 10 0004 'MQTT' 04 02 ffff 0004 'dev1'",
        Connect(client_id="dev1", keep_alive=65535),
    ),
    _from_client(
        "CONNECT with a client id of two, three and four byte characters",
        "10 15 0004 'MQTT' 04 02 003c 0009 c3a9 e697a5 f09f9880",
        Connect(client_id="é日😀", keep_alive=60),
    ),
    _from_client(
        "CONNECT with U+FEFF in the client id, which stays",
        "10 0f 0004 'MQTT' 04 02 003c 0003 efbbbf",
        Connect(client_id="\ufeff", keep_alive=60),
    ),
    _from_client(
        "CONNECT with the control character U+0001, which is unwise but allowed",
        "10 0d 0004 'MQTT' 04 02 003c 0001 01",
        Connect(client_id="\x01", keep_alive=60),
    ),
    _from_client(
        "CONNECT with the non-character U+FFFF, which is unwise but allowed",
        "10 0f 0004 'MQTT' 04 02 003c 0003 efbfbf",
        Connect(client_id="\uffff", keep_alive=60),
    ),
    _from_client(
        "CONNECT with the 23 character client id that every server must take",
        "10 23 0004 'MQTT' 04 02 003c 0017 'abcdefghijklmnopqrs0123'",
        Connect(client_id="abcdefghijklmnopqrs0123", keep_alive=60),
    ),
    _from_client(
        "CONNECT with a client id of 128 characters",
        "10 8c01 0004 'MQTT' 04 02 003c 0080 61*128",
        Connect(client_id="a" * 128, keep_alive=60),
    ),
    _from_client(
        "CONNECT whose length takes two bytes where one is enough",
        "10 9000 0004 'MQTT' 04 02 003c 0004 'dev1'",
        Connect(client_id="dev1", keep_alive=60),
        canonical=False,
    ),
    _from_client(
        "CONNECT of a level to come",
        "10 11 0004 'MQTT' 06 02 003c 00 0004 'dev1'",
        UnsupportedProtocol(level=6),
        canonical=False,
    ),
    _from_client(
        "CONNECT of MQTT 3.1",
        "10 12 0006 'MQIsdp' 03 02 003c 0004 'dev1'",
        UnsupportedProtocol(level=3),
        canonical=False,
    ),
    _from_client(
        "CONNECT of MQTT 3.1 that says level 4",
        "10 12 0006 'MQIsdp' 04 02 003c 0004 'dev1'",
        UnsupportedProtocol(level=4),
        canonical=False,
    ),
    _from_client(
        "CONNECT of level 3 and nothing else",
        "10 07 0004 'MQTT' 03",
        UnsupportedProtocol(level=3),
        canonical=False,
    ),
    _from_client(
        "CONNECT of a bridge, level 4 with the high bit set",
        "10 10 0004 'MQTT' 84 02 003c 0004 'dev1'",
        UnsupportedProtocol(level=0x84),
        canonical=False,
    ),
)

_BAD_CONNECT = (
    _bad_client("CONNECT with flag 1", "11 10 0004 'MQTT' 04 02 003c 0004 'dev1'", "MQTT-2.2.2-2"),
    _bad_client("CONNECT with flag 8", "18 10 0004 'MQTT' 04 02 003c 0004 'dev1'", "MQTT-2.2.2-2"),
    _bad_client("CONNECT without a body", "10 00", "MQTT-1.5.3"),
    _bad_client("CONNECT that ends in the protocol name", "10 03 0004 'M'", "MQTT-1.5.3"),
    _bad_client("CONNECT of 'mqtt'", "10 10 0004 'mqtt' 04 02 003c 0004 'dev1'", "MQTT-3.1.2-1"),
    _bad_client("CONNECT of 'MQTTX'", "10 11 0005 'MQTTX' 04 02 003c 0004 'dev1'", "MQTT-3.1.2-1"),
    _bad_client("CONNECT of no name", "10 03 0000 04", "MQTT-3.1.2-1"),
    _bad_client("CONNECT of a name that is not UTF-8", "10 04 0001 ff 04", "MQTT-1.5.3-1"),
    _bad_client("CONNECT that ends before its level", "10 06 0004 'MQTT'", "MQTT-3.1.2"),
    _bad_client("CONNECT that ends before its flags", "10 07 0004 'MQTT' 04", "MQTT-3.1.2"),
    _bad_client("CONNECT that ends in its keep-alive", "10 09 0004 'MQTT' 04 02 00", "MQTT-3.1.2"),
    _bad_client("CONNECT without a client id", "10 0a 0004 'MQTT' 04 02 003c", "MQTT-1.5.3"),
    _bad_client("CONNECT with half a client id", "10 0d 0004 'MQTT' 04 02 003c 0004 'd'", "MQTT-1.5.3"),
    _bad_client("CONNECT with the reserved flag", "10 10 0004 'MQTT' 04 03 003c 0004 'dev1'", "MQTT-3.1.2-3"),
    _bad_client(
        "CONNECT with a will of QoS 3",
        "10 18 0004 'MQTT' 04 1e 003c 0004 'dev1' 0001 't' 0003 'bye'",
        "MQTT-3.1.2-14",
    ),
    _bad_client(
        "CONNECT with will QoS 1 but no will", "10 10 0004 'MQTT' 04 0a 003c 0004 'dev1'", "MQTT-3.1.2-13"
    ),
    _bad_client(
        "CONNECT with will QoS 2 but no will", "10 10 0004 'MQTT' 04 12 003c 0004 'dev1'", "MQTT-3.1.2-13"
    ),
    _bad_client(
        "CONNECT with will retain but no will", "10 10 0004 'MQTT' 04 22 003c 0004 'dev1'", "MQTT-3.1.2-15"
    ),
    _bad_client(
        "CONNECT with a password but no user name",
        "10 14 0004 'MQTT' 04 42 003c 0004 'dev1' 0002 'pw'",
        "MQTT-3.1.2-22",
    ),
    _bad_client(
        "CONNECT with the will flag but no will",
        "10 10 0004 'MQTT' 04 06 003c 0004 'dev1'",
        "MQTT-1.5.3",
        "3.1.2-9",
    ),
    _bad_client(
        "CONNECT with a will topic but no will message",
        "10 13 0004 'MQTT' 04 06 003c 0004 'dev1' 0001 't'",
        "MQTT-1.5.3",
        "3.1.2-9",
    ),
    _bad_client(
        "CONNECT with a will but not its flag",
        "10 18 0004 'MQTT' 04 02 003c 0004 'dev1' 0001 't' 0003 'bye'",
        "MQTT-3.1.2-18",
        "3.1.2-11",
    ),
    _bad_client(
        "CONNECT with a wildcard in the will topic",
        "10 18 0004 'MQTT' 04 06 003c 0004 'dev1' 0001 '#' 0003 'bye'",
        "MQTT-4.7.1-1",
    ),
    _bad_client(
        "CONNECT with an empty will topic",
        "10 17 0004 'MQTT' 04 06 003c 0004 'dev1' 0000 0003 'bye'",
        "MQTT-4.7.3-1",
    ),
    _bad_client(
        "CONNECT with a will topic that is not UTF-8",
        "10 18 0004 'MQTT' 04 06 003c 0004 'dev1' 0001 ff 0003 'bye'",
        "MQTT-1.5.3-1",
    ),
    _bad_client(
        "CONNECT with the user name flag but no user name",
        "10 10 0004 'MQTT' 04 82 003c 0004 'dev1'",
        "MQTT-1.5.3",
        "3.1.2-19",
    ),
    _bad_client(
        "CONNECT with the password flag but no password",
        "10 13 0004 'MQTT' 04 c2 003c 0004 'dev1' 0001 'u'",
        "MQTT-1.5.3",
        "3.1.2-21",
    ),
    _bad_client(
        "CONNECT with a password but not its flag",
        "10 17 0004 'MQTT' 04 82 003c 0004 'dev1' 0001 'u' 0002 'pw'",
        "MQTT-3.1.2-18",
        "3.1.2-20",
    ),
    _bad_client(
        "CONNECT with a user name but not its flag",
        "10 13 0004 'MQTT' 04 02 003c 0004 'dev1' 0001 'u'",
        "MQTT-3.1.2-18",
    ),
    _bad_client(
        "CONNECT with a byte too many",
        "10 18 0004 'MQTT' 04 c2 003c 0004 'dev1' 0001 'u' 0002 'pw' 00",
        "MQTT-3.1.2-18",
    ),
    _bad_client("CONNECT with U+0000", "10 0f 0004 'MQTT' 04 02 003c 0003 610062", "MQTT-1.5.3-2"),
    _bad_client("CONNECT with a surrogate", "10 0f 0004 'MQTT' 04 02 003c 0003 eda080", "MQTT-1.5.3-1"),
    _bad_client(
        "CONNECT with a surrogate pair", "10 12 0004 'MQTT' 04 02 003c 0006 eda080edb080", "MQTT-1.5.3-1"
    ),
    _bad_client("CONNECT with an overlong U+0000", "10 0e 0004 'MQTT' 04 02 003c 0002 c080", "MQTT-1.5.3-1"),
    _bad_client("CONNECT with an overlong slash", "10 0e 0004 'MQTT' 04 02 003c 0002 c0af", "MQTT-1.5.3-1"),
    _bad_client("CONNECT with half a character", "10 0d 0004 'MQTT' 04 02 003c 0001 c3", "MQTT-1.5.3-1"),
    _bad_client(
        "CONNECT with a continuation byte alone", "10 0d 0004 'MQTT' 04 02 003c 0001 80", "MQTT-1.5.3-1"
    ),
    _bad_client("CONNECT beyond U+10FFFF", "10 10 0004 'MQTT' 04 02 003c 0004 f4908080", "MQTT-1.5.3-1"),
    _bad_client(
        "CONNECT with U+0000 in the user name",
        "10 13 0004 'MQTT' 04 82 003c 0004 'dev1' 0001 00",
        "MQTT-1.5.3-2",
    ),
    _bad_client(
        "CONNECT with a user name that is not UTF-8",
        "10 13 0004 'MQTT' 04 82 003c 0004 'dev1' 0001 ff",
        "MQTT-1.5.3-1",
    ),
)

_PUBLISH = (
    _from_client("PUBLISH without payload", "30 03 0001 't'", Publish(topic="t", payload=b"")),
    _from_client("PUBLISH, QoS 0", "30 05 0001 't' 'hi'", Publish(topic="t", payload=b"hi")),
    _from_client("PUBLISH, retained", "31 05 0001 't' 'hi'", Publish(topic="t", payload=b"hi", retain=True)),
    _from_client(
        "PUBLISH, QoS 1", "32 07 0001 't' 0001 'hi'", Publish(topic="t", payload=b"hi", qos=1, packet_id=1)
    ),
    _from_client(
        "PUBLISH, QoS 1, retained",
        "33 07 0001 't' 0001 'hi'",
        Publish(topic="t", payload=b"hi", qos=1, retain=True, packet_id=1),
    ),
    _from_client(
        "PUBLISH, QoS 1, again",
        "3a 07 0001 't' 0001 'hi'",
        Publish(topic="t", payload=b"hi", qos=1, dup=True, packet_id=1),
    ),
    _from_client(
        "PUBLISH, QoS 1, retained, again",
        "3b 07 0001 't' 0001 'hi'",
        Publish(topic="t", payload=b"hi", qos=1, retain=True, dup=True, packet_id=1),
    ),
    _from_client(
        "PUBLISH, QoS 2", "34 07 0001 't' 0001 'hi'", Publish(topic="t", payload=b"hi", qos=2, packet_id=1)
    ),
    _from_client(
        "PUBLISH, QoS 2, retained",
        "35 07 0001 't' 0001 'hi'",
        Publish(topic="t", payload=b"hi", qos=2, retain=True, packet_id=1),
    ),
    _from_client(
        "PUBLISH, QoS 2, again",
        "3c 07 0001 't' 0001 'hi'",
        Publish(topic="t", payload=b"hi", qos=2, dup=True, packet_id=1),
    ),
    _from_client(
        "PUBLISH, QoS 2, retained, again",
        "3d 07 0001 't' 0001 'hi'",
        Publish(topic="t", payload=b"hi", qos=2, retain=True, dup=True, packet_id=1),
    ),
    _from_client(
        "PUBLISH with the highest packet identifier and no payload",
        "32 05 0001 't' ffff",
        Publish(topic="t", payload=b"", qos=1, packet_id=65535),
    ),
    _from_client("PUBLISH to a single slash", "30 03 0001 '/'", Publish(topic="/", payload=b"")),
    _from_client("PUBLISH to empty levels", "30 06 0004 'a//b'", Publish(topic="a//b", payload=b"")),
    _from_client("PUBLISH to a topic with a space", "30 05 0003 612062", Publish(topic="a b", payload=b"")),
    _from_client(
        "PUBLISH to a topic beyond ASCII",
        "30 0b 0009 c3a9 e697a5 f09f9880",
        Publish(topic="é日😀", payload=b""),
    ),
    _from_client(
        "PUBLISH of bytes", "30 07 0001 't' 00ff8001", Publish(topic="t", payload=b"\x00\xff\x80\x01")
    ),
    _from_client(
        "PUBLISH of a DPS poll",
        "32 44 0040 '$dps/registrations/GET/iotdps-get-operationstatus/?$rid=1&oper=1' 0002",
        Publish(
            topic="$dps/registrations/GET/iotdps-get-operationstatus/?$rid=1&oper=1",
            payload=b"",
            qos=1,
            packet_id=2,
        ),
    ),
    _from_client("PUBLISH of 127 bytes", "30 7f 0001 't' 78*124", Publish(topic="t", payload=b"x" * 124)),
    _from_client("PUBLISH of 128 bytes", "30 8001 0001 't' 78*125", Publish(topic="t", payload=b"x" * 125)),
    _from_client(
        "PUBLISH of 16383 bytes", "30 ff7f 0001 't' 78*16380", Publish(topic="t", payload=b"x" * 16380)
    ),
    _from_client(
        "PUBLISH of 16384 bytes", "30 808001 0001 't' 78*16381", Publish(topic="t", payload=b"x" * 16381)
    ),
    _from_client(
        "PUBLISH whose length takes four bytes where one is enough",
        "30 85808000 0001 't' 'hi'",
        Publish(topic="t", payload=b"hi"),
        canonical=False,
    ),
    _from_server("PUBLISH, QoS 0", "30 05 0001 't' 'hi'", Publish(topic="t", payload=b"hi")),
    _from_server(
        "PUBLISH, QoS 1, again",
        "3a 07 0001 't' 0001 'hi'",
        Publish(topic="t", payload=b"hi", qos=1, dup=True, packet_id=1),
    ),
)

_BAD_PUBLISH = (
    _bad_client("PUBLISH, QoS 3", "36 07 0001 't' 0001 'hi'", "MQTT-3.3.1-4"),
    _bad_client("PUBLISH, QoS 3, retained", "37 07 0001 't' 0001 'hi'", "MQTT-3.3.1-4"),
    _bad_client("PUBLISH, QoS 3, again", "3e 07 0001 't' 0001 'hi'", "MQTT-3.3.1-4"),
    _bad_client("PUBLISH with every flag", "3f 07 0001 't' 0001 'hi'", "MQTT-3.3.1-4"),
    _bad_client("PUBLISH, QoS 0, again", "38 05 0001 't' 'hi'", "MQTT-3.3.1-2"),
    _bad_client("PUBLISH, QoS 0, retained, again", "39 05 0001 't' 'hi'", "MQTT-3.3.1-2"),
    _bad_client("PUBLISH without a body", "30 00", "MQTT-1.5.3"),
    _bad_client("PUBLISH that ends in the topic's length", "30 01 00", "MQTT-1.5.3"),
    _bad_client("PUBLISH that ends in its topic", "30 03 0002 't'", "MQTT-1.5.3"),
    _bad_client("PUBLISH whose topic says it has 65535 bytes", "30 03 ffff 't'", "MQTT-1.5.3"),
    _bad_client("PUBLISH to no topic", "30 04 0000 'hi'", "MQTT-4.7.3-1"),
    _bad_client("PUBLISH to +", "30 03 0001 '+'", "MQTT-4.7.1-1"),
    _bad_client("PUBLISH to #", "30 03 0001 '#'", "MQTT-4.7.1-1"),
    _bad_client("PUBLISH to a/+/b", "30 07 0005 'a/+/b'", "MQTT-4.7.1-1"),
    _bad_client("PUBLISH to a#", "30 04 0002 'a#'", "MQTT-4.7.1-1"),
    _bad_client("PUBLISH to a topic with U+0000", "30 05 0003 610062", "MQTT-1.5.3-2"),
    _bad_client("PUBLISH to a topic that is not UTF-8", "30 03 0001 ff", "MQTT-1.5.3-1"),
    _bad_client("PUBLISH to a topic with a surrogate", "30 05 0003 edbfbf", "MQTT-1.5.3-1"),
    _bad_client("PUBLISH, QoS 1, without an identifier", "32 03 0001 't'", "MQTT-2.3.1"),
    _bad_client("PUBLISH, QoS 1, with half an identifier", "32 04 0001 't' 00", "MQTT-2.3.1"),
    _bad_client("PUBLISH, QoS 1, identifier 0", "32 05 0001 't' 0000", "MQTT-2.3.1-1"),
    _bad_client("PUBLISH, QoS 2, identifier 0", "34 05 0001 't' 0000", "MQTT-2.3.1-1"),
    _bad_server("PUBLISH, QoS 3", "36 07 0001 't' 0001 'hi'", "MQTT-3.3.1-4"),
    _bad_server("PUBLISH to #", "30 03 0001 '#'", "MQTT-4.7.1-1"),
)

_ACKS = (
    _from_client("PUBACK", "40 02 0001", Puback(packet_id=1)),
    _from_client("PUBACK of the highest identifier", "40 02 ffff", Puback(packet_id=65535)),
    _from_client("PUBREC", "50 02 0102", Pubrec(packet_id=258)),
    _from_client("PUBREL", "62 02 0102", Pubrel(packet_id=258)),
    _from_client("PUBCOMP", "70 02 0102", Pubcomp(packet_id=258)),
    _from_server("PUBACK", "40 02 0001", Puback(packet_id=1)),
    _from_server("PUBREC", "50 02 0102", Pubrec(packet_id=258)),
    _from_server("PUBREL", "62 02 0102", Pubrel(packet_id=258)),
    _from_server("PUBCOMP", "70 02 0102", Pubcomp(packet_id=258)),
    _from_server("UNSUBACK", "b0 02 000a", Unsuback(packet_id=10)),
)

_BAD_ACKS = (
    _bad_client("PUBACK with flags", "42 02 0001", "MQTT-2.2.2-2"),
    _bad_client("PUBREC with flags", "52 02 0001", "MQTT-2.2.2-2"),
    _bad_client("PUBREL without its flag", "60 02 0001", "MQTT-3.6.1-1"),
    _bad_client("PUBREL with all flags", "6f 02 0001", "MQTT-3.6.1-1"),
    _bad_client("PUBCOMP with flags", "71 02 0001", "MQTT-2.2.2-2"),
    _bad_client("PUBACK without an identifier", "40 00", "MQTT-2.3.1"),
    _bad_client("PUBACK with half an identifier", "40 01 00", "MQTT-2.3.1"),
    _bad_client("PUBACK with a byte too many", "40 03 0001 00", "MQTT-2.3.1"),
    _bad_client("PUBACK of identifier 0", "40 02 0000", "MQTT-2.3.1-1"),
    _bad_client("PUBREC of identifier 0", "50 02 0000", "MQTT-2.3.1-1"),
    _bad_client("PUBREL of identifier 0", "62 02 0000", "MQTT-2.3.1-1"),
    _bad_client("PUBCOMP of identifier 0", "70 02 0000", "MQTT-2.3.1-1"),
    _bad_server("UNSUBACK with flags", "b2 02 000a", "MQTT-2.2.2-2"),
    _bad_server("UNSUBACK with a byte too many", "b0 03 000a 00", "MQTT-2.3.1"),
)

_SUBSCRIBE = (
    _from_client("SUBSCRIBE, QoS 0", "82 06 0001 0001 't' 00", Subscribe(packet_id=1, filters=(("t", 0),))),
    _from_client("SUBSCRIBE, QoS 1", "82 06 0001 0001 't' 01", Subscribe(packet_id=1, filters=(("t", 1),))),
    _from_client("SUBSCRIBE, QoS 2", "82 06 0001 0001 't' 02", Subscribe(packet_id=1, filters=(("t", 2),))),
    _from_client(
        "SUBSCRIBE to three filters",
        "82 10 000a 0001 'a' 00 0003 'b/+' 01 0001 '#' 02",
        Subscribe(packet_id=10, filters=(("a", 0), ("b/+", 1), ("#", 2))),
    ),
    _from_client(
        "SUBSCRIBE twice to one filter",
        "82 0a 0001 0001 't' 00 0001 't' 01",
        Subscribe(packet_id=1, filters=(("t", 0), ("t", 1))),
    ),
    _from_client("SUBSCRIBE to +", "82 06 0001 0001 '+' 00", Subscribe(packet_id=1, filters=(("+", 0),))),
    _from_client(
        "SUBSCRIBE to a/+/b/#",
        "82 0c 0001 0007 'a/+/b/#' 00",
        Subscribe(packet_id=1, filters=(("a/+/b/#", 0),)),
    ),
    _from_client("SUBSCRIBE to /+", "82 07 0001 0002 '/+' 00", Subscribe(packet_id=1, filters=(("/+", 0),))),
    _from_client("SUBSCRIBE to /#", "82 07 0001 0002 '/#' 00", Subscribe(packet_id=1, filters=(("/#", 0),))),
    _from_client(
        "SUBSCRIBE to DPS's answers",
        "82 1d 0001 0018 '$dps/registrations/res/#' 01",
        Subscribe(packet_id=1, filters=(("$dps/registrations/res/#", 1),)),
    ),
)

_BAD_SUBSCRIBE = (
    _bad_client("SUBSCRIBE without its flag", "80 06 0001 0001 't' 00", "MQTT-3.8.1-1"),
    _bad_client("SUBSCRIBE with another flag", "83 06 0001 0001 't' 00", "MQTT-3.8.1-1"),
    _bad_client("SUBSCRIBE without a body", "82 00", "MQTT-2.3.1"),
    _bad_client("SUBSCRIBE with half an identifier", "82 01 00", "MQTT-2.3.1"),
    _bad_client("SUBSCRIBE with identifier 0", "82 06 0000 0001 't' 00", "MQTT-2.3.1-1"),
    _bad_client("SUBSCRIBE to nothing", "82 02 0001", "MQTT-3.8.3-3"),
    _bad_client("SUBSCRIBE without a QoS", "82 05 0001 0001 't'", "MQTT-3.8.3"),
    _bad_client("SUBSCRIBE with QoS 3", "82 06 0001 0001 't' 03", "MQTT-3.8.3-4"),
    _bad_client("SUBSCRIBE with a reserved bit", "82 06 0001 0001 't' 04", "MQTT-3.8.3-4"),
    _bad_client("SUBSCRIBE with the highest reserved bit", "82 06 0001 0001 't' 81", "MQTT-3.8.3-4"),
    _bad_client("SUBSCRIBE to an empty filter", "82 05 0001 0000 00", "MQTT-4.7.3-1"),
    _bad_client("SUBSCRIBE to #/a", "82 08 0001 0003 '#/a' 00", "MQTT-4.7.1-2"),
    _bad_client("SUBSCRIBE to a#", "82 07 0001 0002 'a#' 00", "MQTT-4.7.1-2"),
    _bad_client("SUBSCRIBE to a/#/b", "82 0a 0001 0005 'a/#/b' 00", "MQTT-4.7.1-2"),
    _bad_client("SUBSCRIBE to ##", "82 07 0001 0002 '##' 00", "MQTT-4.7.1-2"),
    _bad_client("SUBSCRIBE to a+", "82 07 0001 0002 'a+' 00", "MQTT-4.7.1-3"),
    _bad_client("SUBSCRIBE to +a/b", "82 09 0001 0004 '+a/b' 00", "MQTT-4.7.1-3"),
    _bad_client("SUBSCRIBE to a/++", "82 09 0001 0004 'a/++' 00", "MQTT-4.7.1-3"),
    _bad_client("SUBSCRIBE to U+0000", "82 06 0001 0001 00 00", "MQTT-1.5.3-2"),
    _bad_client("SUBSCRIBE to what is not UTF-8", "82 06 0001 0001 ff 00", "MQTT-1.5.3-1"),
    _bad_client("SUBSCRIBE that ends in a filter", "82 05 0001 0009 't'", "MQTT-1.5.3"),
    _bad_client(
        "SUBSCRIBE whose second filter is bad", "82 0b 0001 0001 't' 00 0002 'a#' 00", "MQTT-4.7.1-2"
    ),
)

_UNSUBSCRIBE = (
    _from_client("UNSUBSCRIBE", "a2 05 0001 0001 't'", Unsubscribe(packet_id=1, filters=("t",))),
    _from_client(
        "UNSUBSCRIBE from two filters",
        "a2 0a 0002 0001 't' 0003 'a/#'",
        Unsubscribe(packet_id=2, filters=("t", "a/#")),
    ),
)

_BAD_UNSUBSCRIBE = (
    _bad_client("UNSUBSCRIBE without its flag", "a0 05 0001 0001 't'", "MQTT-3.10.1-1"),
    _bad_client("UNSUBSCRIBE with all flags", "af 05 0001 0001 't'", "MQTT-3.10.1-1"),
    _bad_client("UNSUBSCRIBE without a body", "a2 00", "MQTT-2.3.1"),
    _bad_client("UNSUBSCRIBE with identifier 0", "a2 05 0000 0001 't'", "MQTT-2.3.1-1"),
    _bad_client("UNSUBSCRIBE from nothing", "a2 02 0001", "MQTT-3.10.3-2"),
    _bad_client("UNSUBSCRIBE from an empty filter", "a2 04 0001 0000", "MQTT-4.7.3-1"),
    _bad_client("UNSUBSCRIBE from a#", "a2 06 0001 0002 'a#'", "MQTT-4.7.1-2"),
    _bad_client("UNSUBSCRIBE from what is not UTF-8", "a2 05 0001 0001 ff", "MQTT-1.5.3-1"),
    _bad_client("UNSUBSCRIBE that ends in a filter", "a2 05 0001 0002 't'", "MQTT-1.5.3"),
    _bad_client("UNSUBSCRIBE with a byte too many", "a2 06 0001 0001 't' 00", "MQTT-1.5.3"),
)

_ANSWERS = (
    _from_server("CONNACK", "20 02 00 00", Connack(session_present=False, code=0)),
    _from_server("CONNACK with a session", "20 02 01 00", Connack(session_present=True, code=0)),
    _from_server("CONNACK 1", "20 02 00 01", Connack(session_present=False, code=1)),
    _from_server("CONNACK 2", "20 02 00 02", Connack(session_present=False, code=2)),
    _from_server("CONNACK 3", "20 02 00 03", Connack(session_present=False, code=3)),
    _from_server("CONNACK 4", "20 02 00 04", Connack(session_present=False, code=4)),
    _from_server("CONNACK 5", "20 02 00 05", Connack(session_present=False, code=5)),
    _from_server("SUBACK", "90 03 0001 01", Suback(packet_id=1, codes=(1,))),
    _from_server(
        "SUBACK of each code", "90 06 000a 00 01 02 80", Suback(packet_id=10, codes=(0, 1, 2, 0x80))
    ),
    _from_server("PINGRESP", "d0 00", Pingresp()),
)

_BAD_ANSWERS = (
    _bad_server("CONNACK with flags", "21 02 00 00", "MQTT-2.2.2-2"),
    _bad_server("CONNACK with a reserved bit", "20 02 02 00", "MQTT-3.2.2"),
    _bad_server("CONNACK 6", "20 02 00 06", "MQTT-3.2.2"),
    _bad_server("CONNACK 5 with a session", "20 02 01 05", "MQTT-3.2.2-4"),
    _bad_server("CONNACK of one byte", "20 01 00", "MQTT-3.2.1"),
    _bad_server("CONNACK of three bytes", "20 03 00 00 00", "MQTT-3.2.1"),
    _bad_server("SUBACK with flags", "92 03 0001 01", "MQTT-2.2.2-2"),
    _bad_server("SUBACK of identifier 0", "90 03 0000 01", "MQTT-2.3.1-1"),
    _bad_server("SUBACK without a code", "90 02 0001", "MQTT-3.8.4-5"),
    _bad_server("SUBACK 3", "90 03 0001 03", "MQTT-3.9.3-2"),
    _bad_server("SUBACK 0x81", "90 04 0001 00 81", "MQTT-3.9.3-2"),
    _bad_server("PINGRESP with flags", "d1 00", "MQTT-2.2.2-2"),
    _bad_server("PINGRESP with a body", "d0 01 00", "MQTT-2.2.3"),
)

_REST = (
    _from_client("PINGREQ", "c0 00", Pingreq()),
    _from_client("PINGREQ whose length takes two bytes", "c0 8000", Pingreq(), canonical=False),
    _from_client("DISCONNECT", "e0 00", Disconnect()),
)

_BAD_REST = (
    _bad_client("PINGREQ with flags", "c1 00", "MQTT-2.2.2-2"),
    _bad_client("PINGREQ with a body", "c0 01 00", "MQTT-2.2.3"),
    _bad_client("DISCONNECT with flags", "e1 00", "MQTT-3.14.1-1"),
    _bad_client("DISCONNECT with a reason, as in MQTT 5", "e0 01 00", "MQTT-2.2.3"),
    _bad_client("packet type 0", "00 00", "MQTT-2.2.1"),
    _bad_client("packet type 15", "f0 00", "MQTT-2.2.1"),
    _bad_client("CONNACK", "20 02 00 00", "MQTT-2.2.1"),
    _bad_client("SUBACK", "90 03 0001 01", "MQTT-2.2.1"),
    _bad_client("UNSUBACK", "b0 02 000a", "MQTT-2.2.1"),
    _bad_client("PINGRESP", "d0 00", "MQTT-2.2.1"),
    _bad_client("a length of five bytes", "30 80808080 01", "MQTT-2.2.3"),
    _bad_client("a length of many bytes", "30 ffffffff ff ff 7f", "MQTT-2.2.3"),
    _bad_client("an HTTP request", "'GET' 20 '/' 20 'HTTP/1.1'", "MQTT-2.2.2-2"),
    _bad_client("a TLS handshake", "16 0301 0200 0100", "MQTT-2.2.2-2"),
    _bad_server("CONNECT", "10 10 0004 'MQTT' 04 02 003c 0004 'dev1'", "MQTT-2.2.1"),
    _bad_server("SUBSCRIBE", "82 06 0001 0001 't' 00", "MQTT-2.2.1"),
    _bad_server("UNSUBSCRIBE", "a2 05 0001 0001 't'", "MQTT-2.2.1"),
    _bad_server("PINGREQ", "c0 00", "MQTT-2.2.1"),
    _bad_server("DISCONNECT", "e0 00", "MQTT-2.2.1"),
)

VALID = (*_CONNECT, *_PUBLISH, *_ACKS, *_SUBSCRIBE, *_UNSUBSCRIBE, *_ANSWERS, *_REST)

INVALID = (
    *_BAD_CONNECT,
    *_BAD_PUBLISH,
    *_BAD_ACKS,
    *_BAD_SUBSCRIBE,
    *_BAD_UNSUBSCRIBE,
    *_BAD_ANSWERS,
    *_BAD_REST,
)
