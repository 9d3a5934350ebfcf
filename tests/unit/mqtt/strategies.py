"""Hypothesis strategies for MQTT packets that keep all the rules."""

from dataclasses import replace

from hypothesis import strategies as st

from gateway.mqtt import (
    NO_PROPERTIES,
    Auth,
    Connack,
    Connect,
    Disconnect,
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
    Will,
)
from gateway.mqtt.properties import ROWS
from gateway.mqtt.reasons import REASONS_OF, SENT_BY_CLIENTS

__all__ = [
    "chunks_of",
    "client_packets",
    "client_packets_5",
    "connects",
    "names",
    "packets_after_connect",
    "payloads",
    "publishes",
    "server_packets",
    "server_packets_5",
    "topic_filters",
    "topic_names",
]

_characters = st.characters(exclude_categories=("Cs",), exclude_characters="\0")
_level_characters = st.characters(exclude_categories=("Cs",), exclude_characters="\0+#/")

names = st.text(_characters, max_size=40)
payloads = st.binary(max_size=300)
packet_ids = st.integers(1, 65535)
levels = st.text(_level_characters, max_size=8)


@st.composite
def topic_names(draw):
    return "/".join(draw(st.lists(levels, min_size=1, max_size=5))) or draw(st.sampled_from(("/", "$SYS/a")))


@st.composite
def topic_filters(draw):
    parts = draw(st.lists(st.one_of(levels, st.just("+")), max_size=5))
    if not "/".join(parts) or draw(st.booleans()):
        parts.append("#")
    return "/".join(parts)


wills = st.builds(Will, topic=topic_names(), payload=payloads, qos=st.integers(0, 2), retain=st.booleans())


@st.composite
def connects(draw):
    username = draw(st.none() | names)
    return Connect(
        client_id=draw(names),
        clean_session=draw(st.booleans()),
        keep_alive=draw(st.integers(0, 65535)),
        username=username,
        password=None if username is None else draw(st.none() | payloads),
        will=draw(st.none() | wills),
    )


@st.composite
def publishes(draw):
    qos = draw(st.integers(0, 2))
    return Publish(
        topic=draw(topic_names()),
        payload=draw(payloads),
        qos=qos,
        retain=draw(st.booleans()),
        dup=bool(qos) and draw(st.booleans()),
        packet_id=draw(packet_ids) if qos else None,
    )


_acks = st.one_of([st.builds(kind, packet_id=packet_ids) for kind in (Puback, Pubrec, Pubrel, Pubcomp)])

_subscribes = st.builds(
    Subscribe,
    packet_id=packet_ids,
    filters=st.lists(st.tuples(topic_filters(), st.integers(0, 2)), min_size=1, max_size=4).map(tuple),
)
_unsubscribes = st.builds(
    Unsubscribe, packet_id=packet_ids, filters=st.lists(topic_filters(), min_size=1, max_size=4).map(tuple)
)

packets_after_connect = st.one_of(publishes(), _acks, _subscribes, _unsubscribes, st.just(Pingreq()))
client_packets = st.one_of(connects(), packets_after_connect, st.just(Disconnect()))
server_packets = st.one_of(
    publishes(),
    _acks,
    st.builds(Connack, session_present=st.booleans(), code=st.just(0)),
    st.builds(Connack, session_present=st.just(False), code=st.integers(1, 5)),
    st.builds(
        Suback,
        packet_id=packet_ids,
        codes=st.lists(st.sampled_from((0, 1, 2, 0x80)), min_size=1, max_size=6).map(tuple),
    ),
    st.builds(Unsuback, packet_id=packet_ids),
    st.just(Pingresp()),
)


@st.composite
def chunks_of(draw, data):
    """`data` cut in pieces anywhere."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


# MQTT 5: the same packets, with reasons and with every property that they may have.

_text = st.text(_characters, max_size=12)
_PROPERTY_VALUES = {
    "payload_format_indicator": st.integers(0, 1),
    "message_expiry_interval": st.integers(0, 0xFFFFFFFF),
    "content_type": _text,
    "response_topic": topic_names(),
    "correlation_data": st.binary(max_size=20),
    "subscription_identifiers": st.lists(st.integers(1, 268_435_455), min_size=1, max_size=1).map(tuple),
    "session_expiry_interval": st.integers(0, 0xFFFFFFFF),
    "assigned_client_identifier": _text,
    "server_keep_alive": st.integers(0, 65535),
    "authentication_method": _text,
    "request_problem_information": st.integers(0, 1),
    "will_delay_interval": st.integers(0, 0xFFFFFFFF),
    "request_response_information": st.integers(0, 1),
    "response_information": _text,
    "server_reference": _text,
    "reason_string": _text,
    "receive_maximum": st.integers(1, 65535),
    "topic_alias_maximum": st.integers(0, 65535),
    "topic_alias": st.integers(1, 65535),
    "maximum_qos": st.integers(0, 1),
    "retain_available": st.integers(0, 1),
    "user_properties": st.lists(st.tuples(_text, _text), min_size=1, max_size=3).map(tuple),
    "maximum_packet_size": st.integers(1, 0xFFFFFFFF),
    "wildcard_subscription_available": st.integers(0, 1),
    "subscription_identifier_available": st.integers(0, 1),
    "shared_subscription_available": st.integers(0, 1),
}


@st.composite
def properties_of(draw, packet):
    """Some of the properties that `packet` may carry."""
    allowed = [row.name for row in ROWS if packet in row.packets and row.name in _PROPERTY_VALUES]
    names_drawn = draw(st.lists(st.sampled_from(allowed), unique=True, max_size=6))
    values = {name: draw(_PROPERTY_VALUES[name]) for name in names_drawn}
    if "authentication_method" in values and draw(st.booleans()):
        values["authentication_data"] = draw(st.binary(max_size=20))
    return Properties(**values) if values else NO_PROPERTIES


_NAMES_5 = {
    Connack: "CONNACK", Puback: "PUBACK", Pubrec: "PUBREC", Pubrel: "PUBREL", Pubcomp: "PUBCOMP", Subscribe: "SUBSCRIBE",
    Suback: "SUBACK", Unsubscribe: "UNSUBSCRIBE", Unsuback: "UNSUBACK", Disconnect: "DISCONNECT", Auth: "AUTH",
}  # fmt: skip


@st.composite
def _built(draw, kind, **fields):
    return kind(
        properties=draw(properties_of(_NAMES_5[kind])),
        **{name: draw(value) for name, value in fields.items()},
    )


@st.composite
def connects_5(draw):
    connect = draw(connects())
    will = connect.will
    if will is not None:
        will = replace(will, properties=draw(properties_of("will")))
    password = draw(st.none() | payloads)  # in MQTT 5 there may be one without a user name
    properties = draw(properties_of("CONNECT"))
    return connect._replace(will=will, password=password, protocol_level=5, properties=properties)


@st.composite
def publishes_5(draw):
    publish = draw(publishes())._replace(properties=draw(properties_of("PUBLISH")))
    return publish._replace(topic="") if publish.properties.topic_alias and draw(st.booleans()) else publish


def _reasons(name):
    return st.sampled_from(sorted(REASONS_OF[name]))


_acks_5 = st.one_of(
    [
        _built(kind, packet_id=packet_ids, reason=_reasons(_NAMES_5[kind]))
        for kind in (Puback, Pubrec, Pubrel, Pubcomp)
    ]
)
_options = st.builds(
    lambda qos, bits, handling: qos | bits | handling << 4,
    st.integers(0, 2),
    st.sampled_from((0, 4, 8, 12)),
    st.integers(0, 2),
)
_codes = {
    name: st.lists(_reasons(name), min_size=1, max_size=5).map(tuple) for name in ("SUBACK", "UNSUBACK")
}

packets_after_connect_5 = st.one_of(
    publishes_5(),
    _acks_5,
    _built(
        Subscribe,
        packet_id=packet_ids,
        filters=st.lists(st.tuples(topic_filters(), _options), min_size=1, max_size=4).map(tuple),
    ),
    _built(
        Unsubscribe,
        packet_id=packet_ids,
        filters=st.lists(topic_filters(), min_size=1, max_size=4).map(tuple),
    ),
    st.just(Pingreq()),
)
_disconnects_of_clients = _built(Disconnect, reason=st.sampled_from(sorted(SENT_BY_CLIENTS)))
_auths = st.builds(
    lambda reason, data: Auth(
        reason=reason, properties=Properties(authentication_method="SAS", authentication_data=data)
    ),
    _reasons("AUTH"),
    st.none() | st.binary(max_size=20),
)
client_packets_5 = st.one_of(connects_5(), packets_after_connect_5, _disconnects_of_clients, _auths)
server_packets_5 = st.one_of(
    publishes_5(),
    _acks_5,
    _built(Connack, session_present=st.booleans(), code=st.just(0)),
    _built(Connack, session_present=st.just(False), code=_reasons("CONNACK")),
    _built(Suback, packet_id=packet_ids, codes=_codes["SUBACK"]),
    _built(Unsuback, packet_id=packet_ids, codes=_codes["UNSUBACK"]),
    st.just(Pingresp()),
    st.builds(Disconnect, reason=_reasons("DISCONNECT")),
    _auths,
)
