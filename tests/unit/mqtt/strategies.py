"""Hypothesis strategies for MQTT packets that keep all the rules."""

from hypothesis import strategies as st

from gateway.mqtt import (
    Connack,
    Connect,
    Disconnect,
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
    Will,
)

__all__ = [
    "chunks_of",
    "client_packets",
    "connects",
    "names",
    "packets_after_connect",
    "payloads",
    "publishes",
    "server_packets",
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
