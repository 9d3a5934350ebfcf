"""MQTT 5 packets, as bytes: what each means, or which rule it breaks. The notation is that of `vectors`.

Written by hand from "MQTT Version 5.0": a vector for each packet's every field, and one for each property.
"""

from gateway.mqtt import (
    MQTT_5,
    NO_LOCAL,
    RETAIN_AS_PUBLISHED,
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Properties,
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
from tests.conformance.mqtt.vectors import Sender, Vector, wire

__all__ = ["INVALID_5", "VALID_5"]


def _client(description: str, notation: str, packet: Packet | UnsupportedProtocol, **more: bool) -> Vector:
    return Vector(
        description=f"5, {description}",
        sender=Sender.CLIENT,
        data=wire(notation),
        packet=packet,
        codec=MQTT_5,
        **more,
    )


def _server(description: str, notation: str, packet: Packet, **more: bool) -> Vector:
    return Vector(
        description=f"5, {description}",
        sender=Sender.SERVER,
        data=wire(notation),
        packet=packet,
        codec=MQTT_5,
        **more,
    )


def _wrong(sender: Sender, description: str, notation: str, tag: str, shows: str = "") -> Vector:
    return Vector(
        description=f"5, {description}",
        sender=sender,
        data=wire(notation),
        tag=tag,
        shows=shows,
        codec=MQTT_5,
    )


def _client_wrong(description: str, notation: str, tag: str, shows: str = "") -> Vector:
    return _wrong(Sender.CLIENT, description, notation, tag, shows)


def _server_wrong(description: str, notation: str, tag: str) -> Vector:
    return _wrong(Sender.SERVER, description, notation, tag)


def _connect(**properties: object) -> Connect:
    return Connect("dev1", keep_alive=60, protocol_level=5, properties=Properties(**properties))  # type: ignore[arg-type]


def _publish(**properties: object) -> Publish:
    return Publish("a/b", b"hi", properties=Properties(**properties))  # type: ignore[arg-type]


def _with_will(**properties: object) -> Connect:
    will = Will(topic="w", payload=b"x", properties=Properties(**properties))  # type: ignore[arg-type]
    return Connect("dev1", keep_alive=60, will=will, protocol_level=5)


def _accepted(**properties: object) -> Connack:
    return Connack(session_present=False, code=0, properties=Properties(**properties))  # type: ignore[arg-type]


_EVERY_REASON = "1f 0004 'why?'"

VALID_5 = (
    # CONNECT
    _client(
        "CONNECT",
        "10 11 0004 'MQTT' 05 02 003c 00 0004 'dev1'",
        Connect("dev1", keep_alive=60, protocol_level=5),
    ),
    _client(
        "CONNECT with everything",
        "10 32 0004 'MQTT' 05 ee 003c 05 11 00000e10 0004 'dev1' 05 18 00000005 0003 'w/t' 0003 'bye'"
        " 0004 'user' 0004 'pass'",
        Connect(
            "dev1",
            clean_session=True,
            keep_alive=60,
            username="user",
            password=b"pass",
            will=Will(
                topic="w/t", payload=b"bye", qos=1, retain=True, properties=Properties(will_delay_interval=5)
            ),
            protocol_level=5,
            properties=Properties(session_expiry_interval=3600),
        ),
    ),
    _client(
        "CONNECT without a client id",
        "10 0d 0004 'MQTT' 05 00 0000 00 0000",
        Connect("", False, protocol_level=5),
    ),
    _client(
        "CONNECT with a password and no user name",
        "10 15 0004 'MQTT' 05 42 003c 00 0004 'dev1' 0002 'pw'",
        Connect("dev1", keep_alive=60, password=b"pw", protocol_level=5),
    ),
    _client(
        "CONNECT with Session Expiry Interval",
        "10 16 0004 'MQTT' 05 02 003c 05 11 ffffffff 0004 'dev1'",
        _connect(session_expiry_interval=0xFFFFFFFF),
    ),
    _client(
        "CONNECT with Receive Maximum",
        "10 14 0004 'MQTT' 05 02 003c 03 21 0001 0004 'dev1'",
        _connect(receive_maximum=1),
    ),
    _client(
        "CONNECT with Maximum Packet Size",
        "10 16 0004 'MQTT' 05 02 003c 05 27 00010000 0004 'dev1'",
        _connect(maximum_packet_size=65536),
    ),
    _client(
        "CONNECT with Topic Alias Maximum",
        "10 14 0004 'MQTT' 05 02 003c 03 22 000a 0004 'dev1'",
        _connect(topic_alias_maximum=10),
    ),
    _client(
        "CONNECT with Request Response Information",
        "10 13 0004 'MQTT' 05 02 003c 02 19 01 0004 'dev1'",
        _connect(request_response_information=1),
    ),
    _client(
        "CONNECT with Request Problem Information",
        "10 13 0004 'MQTT' 05 02 003c 02 17 00 0004 'dev1'",
        _connect(request_problem_information=0),
    ),
    _client(
        "CONNECT with two User Properties of one name",
        "10 1f 0004 'MQTT' 05 02 003c 0e 26 0001 'k' 0001 '1' 26 0001 'k' 0001 '2' 0004 'dev1'",
        _connect(user_properties=(("k", "1"), ("k", "2"))),
    ),
    _client(
        "CONNECT with Authentication Method and Data",
        "10 1c 0004 'MQTT' 05 02 003c 0b 15 0003 'SAS' 16 0002 'tk' 0004 'dev1'",
        _connect(authentication_method="SAS", authentication_data=b"tk"),
    ),
    _client(
        "CONNECT whose will has every message property",
        "10 3d 0004 'MQTT' 05 06 003c 00 0004 'dev1' 25 01 01 02 00000001 03 0001 't' 08 0001 'r' 09 0001 'c'"
        " 18 00000002 26 0001 'k' 0001 'v' 26 0001 'k' 0000 0001 'w' 0001 'x'",
        _with_will(
            payload_format_indicator=1,
            message_expiry_interval=1,
            content_type="t",
            response_topic="r",
            correlation_data=b"c",
            will_delay_interval=2,
            user_properties=(("k", "v"), ("k", "")),
        ),
    ),
    # CONNACK
    _server("CONNACK", "20 03 00 00 00", Connack(session_present=False, code=0)),
    _server("CONNACK with session present", "20 03 01 00 00", Connack(session_present=True, code=0)),
    _server(
        "CONNACK that refuses with Reason String",
        "20 0a 00 87 07 1f 0004 'why?'",
        Connack(session_present=False, code=0x87, properties=Properties(reason_string="why?")),
    ),
    _server(
        "CONNACK with Session Expiry Interval",
        "20 08 00 00 05 11 00000e10",
        _accepted(session_expiry_interval=3600),
    ),
    _server("CONNACK with Receive Maximum", "20 06 00 00 03 21 0010", _accepted(receive_maximum=16)),
    _server("CONNACK with Maximum QoS", "20 05 00 00 02 24 01", _accepted(maximum_qos=1)),
    _server("CONNACK with Retain Available", "20 05 00 00 02 25 00", _accepted(retain_available=0)),
    _server(
        "CONNACK with Maximum Packet Size",
        "20 08 00 00 05 27 00042000",
        _accepted(maximum_packet_size=270336),
    ),
    _server(
        "CONNACK with Assigned Client Identifier",
        "20 0a 00 00 07 12 0004 'dev1'",
        _accepted(assigned_client_identifier="dev1"),
    ),
    _server("CONNACK with Topic Alias Maximum", "20 06 00 00 03 22 000a", _accepted(topic_alias_maximum=10)),
    _server(
        "CONNACK with Wildcard Subscription Available",
        "20 05 00 00 02 28 01",
        _accepted(wildcard_subscription_available=1),
    ),
    _server(
        "CONNACK with Subscription Identifiers Available",
        "20 05 00 00 02 29 00",
        _accepted(subscription_identifier_available=0),
    ),
    _server(
        "CONNACK with Shared Subscription Available",
        "20 05 00 00 02 2a 00",
        _accepted(shared_subscription_available=0),
    ),
    _server("CONNACK with Server Keep Alive", "20 06 00 00 03 13 049a", _accepted(server_keep_alive=1178)),
    _server(
        "CONNACK with Response Information",
        "20 09 00 00 06 1a 0003 'r/i'",
        _accepted(response_information="r/i"),
    ),
    _server("CONNACK with Server Reference", "20 08 00 00 05 1c 0002 'b2'", _accepted(server_reference="b2")),
    _server(
        "CONNACK with Authentication Method and Data",
        "20 0e 00 00 0b 15 0003 'SAS' 16 0002 'ok'",
        _accepted(authentication_method="SAS", authentication_data=b"ok"),
    ),
    # PUBLISH
    _client("PUBLISH", "30 08 0003 'a/b' 00 'hi'", Publish("a/b", b"hi")),
    _client("PUBLISH with QoS 1", "32 0a 0003 'a/b' 0007 00 'hi'", Publish("a/b", b"hi", qos=1, packet_id=7)),
    _client(
        "PUBLISH with QoS 2, DUP and RETAIN",
        "3d 0a 0003 'a/b' 0007 00 'hi'",
        Publish("a/b", b"hi", qos=2, retain=True, dup=True, packet_id=7),
    ),
    _client(
        "PUBLISH with Payload Format Indicator",
        "30 0a 0003 'a/b' 02 01 01 'hi'",
        _publish(payload_format_indicator=1),
    ),
    _client(
        "PUBLISH with Message Expiry Interval",
        "30 0d 0003 'a/b' 05 02 0000003c 'hi'",
        _publish(message_expiry_interval=60),
    ),
    _client("PUBLISH with Topic Alias", "30 0b 0003 'a/b' 03 23 0002 'hi'", _publish(topic_alias=2)),
    _client(
        "PUBLISH with Response Topic",
        "30 0e 0003 'a/b' 06 08 0003 'r/t' 'hi'",
        _publish(response_topic="r/t"),
    ),
    _client(
        "PUBLISH with Correlation Data",
        "30 0d 0003 'a/b' 05 09 0002 00ff 'hi'",
        _publish(correlation_data=b"\x00\xff"),
    ),
    _client(
        "PUBLISH with User Property",
        "30 0f 0003 'a/b' 07 26 0001 'k' 0001 'v' 'hi'",
        _publish(user_properties=(("k", "v"),)),
    ),
    _client("PUBLISH with Content Type", "30 0c 0003 'a/b' 04 03 0001 't' 'hi'", _publish(content_type="t")),
    _server(
        "PUBLISH with two Subscription Identifiers",
        "30 0d 0003 'a/b' 05 0b 01 0b 8001 'hi'",
        _publish(subscription_identifiers=(1, 128)),
    ),
    _server(
        "PUBLISH whose alias stands for its topic",
        "30 08 0000 03 23 0001 'hi'",
        Publish("", b"hi", properties=Properties(topic_alias=1)),
    ),
    # The acknowledgements
    *(
        _client(f"{name} that says nothing more", f"{first} 02 0007", kind(packet_id=7))
        for first, name, kind in (
            ("40", "PUBACK", Puback),
            ("50", "PUBREC", Pubrec),
            ("62", "PUBREL", Pubrel),
            ("70", "PUBCOMP", Pubcomp),
        )
    ),
    *(
        _client(f"{name} with a reason", f"{first} 03 0007 {reason:02x}", kind(packet_id=7, reason=reason))
        for first, name, kind, reason in (
            ("40", "PUBACK", Puback, 0x10),
            ("50", "PUBREC", Pubrec, 0x97),
            ("62", "PUBREL", Pubrel, 0x92),
            ("70", "PUBCOMP", Pubcomp, 0x92),
        )
    ),
    *(
        _server(
            f"{name} with Reason String and User Property",
            f"{first} 12 0007 {reason:02x} 0e {_EVERY_REASON} 26 0001 'k' 0001 'v'",
            kind(
                packet_id=7,
                reason=reason,
                properties=Properties(reason_string="why?", user_properties=(("k", "v"),)),
            ),
        )
        for first, name, kind, reason in (
            ("40", "PUBACK", Puback, 0x87),
            ("50", "PUBREC", Pubrec, 0x99),
            ("62", "PUBREL", Pubrel, 0x92),
            ("70", "PUBCOMP", Pubcomp, 0x00),
        )
    ),
    _client(
        "PUBACK with a reason and an empty list of properties",
        "40 04 0007 10 00",
        Puback(packet_id=7, reason=0x10),
        canonical=False,
    ),
    # SUBSCRIBE, UNSUBSCRIBE and their answers
    _client(
        "SUBSCRIBE with every option",
        "82 0f 000a 00 0003 'a/b' 2e 0003 'c/#' 01",
        Subscribe(packet_id=10, filters=(("a/b", 2 | NO_LOCAL | RETAIN_AS_PUBLISHED | 0x20), ("c/#", 1))),
    ),
    _client(
        "SUBSCRIBE with Subscription Identifier and User Property",
        "82 12 000a 09 0b 05 26 0001 'k' 0001 'v' 0003 'a/b' 00",
        Subscribe(
            packet_id=10,
            filters=(("a/b", 0),),
            properties=Properties(subscription_identifiers=(5,), user_properties=(("k", "v"),)),
        ),
    ),
    _client(
        "SUBSCRIBE to a shared subscription",
        "82 11 000a 00 000b '$share/g/ab' 00",
        Subscribe(packet_id=10, filters=(("$share/g/ab", 0),)),
    ),
    _server("SUBACK", "90 06 000a 00 00 01 8f", Suback(packet_id=10, codes=(0, 1, 0x8F))),
    _server(
        "SUBACK with Reason String",
        "90 0b 000a 07 1f 0004 'why?' 87",
        Suback(packet_id=10, codes=(0x87,), properties=Properties(reason_string="why?")),
    ),
    _client("UNSUBSCRIBE", "a2 08 000a 00 0003 'a/b'", Unsubscribe(packet_id=10, filters=("a/b",))),
    _client(
        "UNSUBSCRIBE with User Property",
        "a2 0f 000a 07 26 0001 'k' 0001 'v' 0003 'a/b'",
        Unsubscribe(packet_id=10, filters=("a/b",), properties=Properties(user_properties=(("k", "v"),))),
    ),
    _server("UNSUBACK", "b0 05 000a 00 00 11", Unsuback(packet_id=10, codes=(0, 0x11))),
    # PINGREQ, PINGRESP, DISCONNECT, AUTH
    _client("PINGREQ", "c0 00", Pingreq()),
    _server("PINGRESP", "d0 00", Pingresp()),
    _client("DISCONNECT that says nothing more", "e0 00", Disconnect()),
    _client("DISCONNECT with a will", "e0 01 04", Disconnect(reason=4)),
    _client("DISCONNECT of no length of properties", "e0 02 00 00", Disconnect(), canonical=False),
    _client(
        "DISCONNECT with Session Expiry Interval",
        "e0 07 00 05 11 0000000a",
        Disconnect(properties=Properties(session_expiry_interval=10)),
    ),
    _server(
        "DISCONNECT with Reason String and Server Reference",
        "e0 0e 9d 0c 1c 0002 'b2' 1f 0004 'why?'",
        Disconnect(reason=0x9D, properties=Properties(server_reference="b2", reason_string="why?")),
    ),
    _server("DISCONNECT after a take-over", "e0 01 8e", Disconnect(reason=0x8E)),
    _client(
        "AUTH that authenticates again",
        "f0 0d 19 0b 15 0003 'SAS' 16 0002 'tk'",
        Auth(reason=0x19, properties=Properties(authentication_method="SAS", authentication_data=b"tk")),
    ),
    _server(
        "AUTH that goes on, with Reason String",
        "f0 0f 18 0d 15 0003 'SAS' 1f 0004 'why?'",
        Auth(reason=0x18, properties=Properties(authentication_method="SAS", reason_string="why?")),
    ),
    _server("AUTH of success", "f0 00", Auth()),
)

INVALID_5 = (
    # The fixed header, and the data types
    _client_wrong("SUBSCRIBE with flags 0000", "80 08 000a 00 0003 'a/b' 00", "MQTT5-3.8.1-1"),
    _client_wrong("UNSUBSCRIBE with flags 0000", "a0 08 000a 00 0003 'a/b'", "MQTT5-3.10.1-1"),
    _client_wrong("PUBREL with flags 0000", "60 02 0007", "MQTT5-3.6.1-1"),
    _client_wrong("DISCONNECT with flags 0001", "e1 00", "MQTT5-3.14.1-1"),
    _client_wrong("AUTH with flags 0001", "f1 00", "MQTT5-3.15.1-1"),
    _client_wrong("PINGREQ with flags 0001", "c1 00", "MQTT5-2.1.3-1"),
    _client_wrong("PUBLISH with QoS 3", "36 0a 0003 'a/b' 0007 00 'hi'", "MQTT5-3.3.1-4"),
    _client_wrong("PUBLISH with QoS 0 and DUP", "38 08 0003 'a/b' 00 'hi'", "MQTT5-3.3.1-2"),
    _client_wrong("packet type 0", "00 00", "MQTT5-2.1.2"),
    _client_wrong("a remaining length of five bytes", "30 8080808001", "MQTT5-2.1.4"),
    _client_wrong("a topic with a surrogate", "30 06 0003 eda080 00", "MQTT5-1.5.4-1"),
    _client_wrong("a topic with U+0000", "30 06 0003 'a' 00 'b' 00", "MQTT5-1.5.4-2"),
    _client_wrong("a topic that ends early", "30 04 0003 'a/'", "MQTT5-1.5.4"),
    _client_wrong("packet identifier 0", "32 08 0003 'a/b' 0000 00", "MQTT5-2.2.1-3"),
    _client_wrong("a packet identifier that ends early", "40 01 00", "MQTT5-2.2.1"),
    # Properties
    _client_wrong(
        "a length of properties in more bytes than needed", "30 08 0003 'a/b' 8000 'h'", "MQTT5-1.5.5-1"
    ),
    _client_wrong("a length of properties that does not end", "30 09 0003 'a/b' 80808080", "MQTT5-1.5.5"),
    _client_wrong("properties that go beyond the packet", "30 07 0003 'a/b' 05 01", "MQTT5-2.2.2"),
    _client_wrong(
        "a property that goes beyond the properties", "30 0b 0003 'a/b' 01 02 00000001", "MQTT5-2.2.2"
    ),
    _client_wrong("a property that does not exist", "30 08 0003 'a/b' 02 7f 00", "MQTT5-2.2.2"),
    _client_wrong("a property of another packet", "30 09 0003 'a/b' 03 21 0001", "MQTT5-2.2.2"),
    _client_wrong("a property twice", "30 0a 0003 'a/b' 04 01 01 01 01", "MQTT5-2.2.2"),
    _client_wrong("a flag of 2", "30 08 0003 'a/b' 02 01 02", "MQTT5-2.2.2"),
    _client_wrong("topic alias 0", "30 09 0003 'a/b' 03 23 0000", "MQTT5-2.2.2", "3.3.2-8"),
    _client_wrong("a response topic with a wildcard", "30 0b 0003 'a/b' 05 08 0002 'r#'", "MQTT5-3.3.2-14"),
    _client_wrong("a number that ends early", "30 08 0003 'a/b' 02 02 00", "MQTT5-2.2.2"),
    _client_wrong("AUTH with data and without a method", "f0 07 00 05 16 0002 'tk'", "MQTT5-3.1.2.11.10"),
    _client_wrong("AUTH without a method", "f0 01 19", "MQTT5-3.15.2.2.2"),
    # CONNECT
    _client_wrong("a CONNECT that ends in its header", "10 09 0004 'MQTT' 05 02 00", "MQTT5-3.1.2"),
    _client_wrong("CONNECT of 'mqtt'", "10 11 0004 'mqtt' 05 02 003c 00 0004 'dev1'", "MQTT5-3.1.2-1"),
    _client_wrong(
        "CONNECT with the will flag but no will",
        "10 12 0004 'MQTT' 05 06 003c 00 0004 'dev1' 00",
        "MQTT5-1.5.4",
        "3.1.2-9",
    ),
    _client_wrong(
        "CONNECT with a will topic but no will message",
        "10 15 0004 'MQTT' 05 06 003c 00 0004 'dev1' 00 0001 't'",
        "MQTT5-1.5.4",
        "3.1.2-9",
    ),
    _client_wrong(
        "CONNECT with the user name flag but no user name",
        "10 11 0004 'MQTT' 05 82 003c 00 0004 'dev1'",
        "MQTT5-1.5.4",
        "3.1.2-17",
    ),
    _client_wrong(
        "CONNECT with a password but not its flag",
        "10 18 0004 'MQTT' 05 82 003c 00 0004 'dev1' 0001 'u' 0002 'pw'",
        "MQTT5-3.1.2-16",
        "3.1.2-18",
    ),
    _client_wrong(
        "CONNECT with the password flag but no password",
        "10 11 0004 'MQTT' 05 42 003c 00 0004 'dev1'",
        "MQTT5-1.5.4",
        "3.1.2-19",
    ),
    _client_wrong(
        "CONNECT with the reserved flag", "10 11 0004 'MQTT' 05 03 003c 00 0004 'dev1'", "MQTT5-3.1.2-3"
    ),
    _client_wrong(
        "CONNECT with a will of QoS 3", "10 11 0004 'MQTT' 05 1e 003c 00 0004 'dev1'", "MQTT5-3.1.2-12"
    ),
    _client_wrong(
        "CONNECT with a will QoS but no will", "10 11 0004 'MQTT' 05 0a 003c 00 0004 'dev1'", "MQTT5-3.1.2-11"
    ),
    _client_wrong(
        "CONNECT with RETAIN but no will",
        "10 11 0004 'MQTT' 05 22 003c 00 0004 'dev1'",
        "MQTT5-3.1.2-13",
    ),
    _client_wrong(
        "CONNECT longer than its flags say",
        "10 12 0004 'MQTT' 05 02 003c 00 0004 'dev1' 00",
        "MQTT5-3.1.2-16",
    ),
    _client_wrong(
        "CONNECT with Receive Maximum 0", "10 14 0004 'MQTT' 05 02 003c 03 21 0000 0004 'dev1'", "MQTT5-2.2.2"
    ),
    _client_wrong(
        "CONNECT with a client id that is not UTF-8",
        "10 0e 0004 'MQTT' 05 02 003c 00 0001 ff",
        "MQTT5-1.5.4-1",
    ),
    # CONNACK
    _server_wrong("a CONNACK that ends early", "20 02 00 00", "MQTT5-3.2.2"),
    _server_wrong("CONNACK with reserved flags", "20 03 02 00 00", "MQTT5-3.2.2-1"),
    _server_wrong("CONNACK with a reason of PUBACK", "20 03 00 10 00", "MQTT5-3.2.2-8"),
    _server_wrong("CONNACK that refuses a present session", "20 03 01 87 00", "MQTT5-3.2.2-6"),
    _server_wrong("CONNACK that goes on", "20 04 00 00 00 00", "MQTT5-2.1.4"),
    # PUBLISH and the acknowledgements
    _client_wrong("PUBLISH without topic and alias", "30 03 0000 00", "MQTT5-3.3.2.1"),
    _client_wrong("PUBLISH to a wildcard", "30 06 0003 'a/#' 00", "MQTT5-4.7.0-1"),
    _client_wrong("PUBACK with a reason of CONNACK", "40 03 0007 84", "MQTT5-3.4.2-1"),
    _client_wrong("PUBREC with a reason of CONNACK", "50 03 0007 84", "MQTT5-3.5.2-1"),
    _client_wrong("PUBREL with a reason of PUBACK", "62 03 0007 10", "MQTT5-3.6.2-1"),
    _client_wrong("PUBCOMP with a reason of PUBACK", "70 03 0007 10", "MQTT5-3.7.2-1"),
    # SUBSCRIBE, UNSUBSCRIBE and their answers
    _client_wrong("SUBSCRIBE without a filter", "82 03 000a 00", "MQTT5-3.8.3-2"),
    _client_wrong("SUBSCRIBE that ends before its options", "82 08 000a 00 0003 'a/b'", "MQTT5-3.8.3"),
    _client_wrong("SUBSCRIBE with reserved options", "82 09 000a 00 0003 'a/b' 40", "MQTT5-3.8.3-5"),
    _client_wrong("SUBSCRIBE with QoS 3", "82 09 000a 00 0003 'a/b' 03", "MQTT5-3.8.3.1"),
    _client_wrong("SUBSCRIBE with retain handling 3", "82 09 000a 00 0003 'a/b' 30", "MQTT5-3.8.3.1"),
    _client_wrong("a shared SUBSCRIBE with No Local", "82 11 000a 00 000b '$share/g/ab' 04", "MQTT5-3.8.3-4"),
    _client_wrong("a shared SUBSCRIBE without a name", "82 10 000a 00 000a '$share//ab' 00", "MQTT5-4.8.2-1"),
    _client_wrong(
        "a shared SUBSCRIBE with a wildcard for a name",
        "82 11 000a 00 000b '$share/+/ab' 00",
        "MQTT5-4.8.2-2",
    ),
    _client_wrong("a shared SUBSCRIBE without a filter", "82 0e 000a 00 0008 '$share/g' 00", "MQTT5-4.8.2-2"),
    _client_wrong("SUBSCRIBE with two identifiers", "82 0d 000a 04 0b 01 0b 02 0003 'a/b' 00", "MQTT5-2.2.2"),
    _client_wrong("SUBSCRIBE to an empty filter", "82 06 000a 00 0000 00", "MQTT5-4.7.3-1"),
    _client_wrong("SUBSCRIBE with # in the middle", "82 0b 000a 00 0005 'a/#/b' 00", "MQTT5-4.7.1-1"),
    _client_wrong("SUBSCRIBE with + inside a level", "82 09 000a 00 0003 'a+b' 00", "MQTT5-4.7.1-2"),
    _client_wrong("UNSUBSCRIBE without a filter", "a2 03 000a 00", "MQTT5-3.10.3-2"),
    _server_wrong("SUBACK with a reason of PUBACK", "90 04 000a 00 10", "MQTT5-3.9.3-2"),
    _server_wrong("SUBACK without a reason", "90 03 000a 00", "MQTT5-3.9.3-2"),
    _server_wrong("UNSUBACK with a reason of SUBACK", "b0 04 000a 00 01", "MQTT5-3.11.3-2"),
    # The rest
    _client_wrong("PINGREQ with a body", "c0 01 00", "MQTT5-3.12"),
    _client_wrong("DISCONNECT with a reason of the server's", "e0 01 8e", "MQTT5-3.14.2-1"),
    _client_wrong("DISCONNECT with a reason of CONNACK", "e0 01 84", "MQTT5-3.14.2-1"),
    _server_wrong(
        "DISCONNECT of the server with a session expiry", "e0 07 00 05 11 00000001", "MQTT5-3.14.2-2"
    ),
    _client_wrong("AUTH with a reason of DISCONNECT", "f0 01 04", "MQTT5-3.15.2-1"),
)
