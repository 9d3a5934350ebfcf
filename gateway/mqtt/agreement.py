"""What the two ends of an MQTT 5 connection can do, as CONNECT and CONNACK said, and what follows for each packet.

MQTT 3.1.1 has nothing of the kind: its connections have no `Agreement`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Final

from gateway.mqtt.errors import MalformedPacket, TooLargeForClient
from gateway.mqtt.packets import (
    Auth,
    ClientPacket,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Subscribe,
)
from gateway.mqtt.properties import NO_PROPERTIES, Properties
from gateway.mqtt.reasons import ReasonCode
from gateway.mqtt.topics import SHARED_PREFIX

__all__ = ["Agreement"]

_DEFAULT_RECEIVE_MAXIMUM: Final = 65535
_MAX_PACKET_SIZE: Final = 268_435_460
_FAILURE: Final = 0x80


class Agreement:
    """Made from the CONNECT; `announce` adds what the CONNACK says. Until then the client may do all that it wants to.

    `receive_maximum` and `max_packet_size` are the client's, for what is sent to it; `session_expiry_interval`, in
    seconds, is the one in force.
    """

    __slots__ = (
        "_aliases", "_authentication_method", "_own", "_problem_information", "_receiving", "max_packet_size",
        "receive_maximum", "session_expiry_interval",
    )  # fmt: skip

    def __init__(self, connect: Connect) -> None:
        wanted = connect.properties
        self.receive_maximum = wanted.receive_maximum or _DEFAULT_RECEIVE_MAXIMUM
        self.max_packet_size = wanted.maximum_packet_size or _MAX_PACKET_SIZE
        self.session_expiry_interval = wanted.session_expiry_interval or 0
        self._problem_information = wanted.request_problem_information != 0
        self._authentication_method = wanted.authentication_method
        self._own = NO_PROPERTIES
        self._aliases: dict[int, str] = {}
        # QoS 1 and 2 messages of the client that are not answered yet.
        self._receiving: set[int] = set()

    def announce(self, own: Properties) -> None:
        """`own` is what the CONNACK says; from here on the client is held to it."""
        self._own = own
        if own.session_expiry_interval is not None:
            self.session_expiry_interval = own.session_expiry_interval

    def check(self, packet: ClientPacket) -> ClientPacket:
        """`packet`, with its topic where an alias stood for it. Raises `MalformedPacket` for what was not agreed."""
        if isinstance(packet, Publish):
            return self._check_publish(packet)
        if isinstance(packet, Subscribe):
            self._check_subscribe(packet)
        elif isinstance(packet, Disconnect):
            expiry = packet.properties.session_expiry_interval
            if expiry is not None:
                if expiry and not self.session_expiry_interval:
                    raise _error("a session that was to end now is to be kept", "MQTT5-3.14.2.2.2")
                self.session_expiry_interval = expiry
        elif isinstance(packet, Auth):
            self._check_auth(packet)
        return packet

    def _check_publish(self, packet: Publish) -> Publish:
        own = self._own
        if own.maximum_qos is not None and packet.qos > own.maximum_qos:
            raise _error(f"PUBLISH with QoS {packet.qos}", "MQTT5-3.2.2-11", ReasonCode.QOS_NOT_SUPPORTED)
        if packet.retain and own.retain_available == 0:
            raise _error("PUBLISH with RETAIN", "MQTT5-3.2.2-14", ReasonCode.RETAIN_NOT_SUPPORTED)
        if packet.packet_id is not None:
            self._receiving.add(packet.packet_id)
            if len(self._receiving) > (own.receive_maximum or _DEFAULT_RECEIVE_MAXIMUM):
                raise _error(
                    "more messages at once than the receive maximum", "MQTT5-3.3.4-7",
                    ReasonCode.RECEIVE_MAXIMUM_EXCEEDED,
                )  # fmt: skip
        return packet if packet.properties is NO_PROPERTIES else self._resolve_alias(packet)

    def _resolve_alias(self, packet: Publish) -> Publish:
        properties = packet.properties
        if properties.subscription_identifiers:
            raise _error("a client's PUBLISH has a subscription identifier", "MQTT5-3.3.4-6")
        alias = properties.topic_alias
        if alias is None:
            return packet
        if alias > (self._own.topic_alias_maximum or 0):
            raise _error("a topic alias above the maximum", "MQTT5-3.3.2-9", ReasonCode.TOPIC_ALIAS_INVALID)
        if packet.topic:
            self._aliases[alias] = packet.topic
            return packet
        topic = self._aliases.get(alias)
        if topic is None:
            raise _error(
                f"topic alias {alias} was never set", "MQTT5-3.3.2-7", ReasonCode.TOPIC_ALIAS_INVALID
            )
        return packet._replace(topic=topic)

    def _check_subscribe(self, packet: Subscribe) -> None:
        own = self._own
        if packet.properties.subscription_identifiers and own.subscription_identifier_available == 0:
            raise _error(
                "SUBSCRIBE has a subscription identifier", "MQTT5-3.2.2.3.12",
                ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
            )  # fmt: skip
        for topic_filter, _ in packet.filters:
            if own.shared_subscription_available == 0 and topic_filter.startswith(SHARED_PREFIX):
                raise _error(
                    "SUBSCRIBE has a shared subscription", "MQTT5-3.2.2.3.13",
                    ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
                )  # fmt: skip
            if own.wildcard_subscription_available == 0 and ("+" in topic_filter or "#" in topic_filter):
                raise _error(
                    "SUBSCRIBE has a wildcard", "MQTT5-3.2.2.3.11",
                    ReasonCode.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
                )  # fmt: skip

    def _check_auth(self, packet: Auth) -> None:
        if self._authentication_method is None:
            raise _error("AUTH, where CONNECT named no authentication method", "MQTT5-4.12.0-7")
        if packet.properties.authentication_method != self._authentication_method:
            raise _error("AUTH has another method than CONNECT", "MQTT5-4.12.1-1")
        if packet.reason != ReasonCode.REAUTHENTICATE:
            raise _error("AUTH that nobody asked for", "MQTT5-4.12.0-2")

    def fit(self, packet: Packet, encode: Callable[[Packet], bytes]) -> bytes:
        """The bytes of `packet` as the client wants it: without explanations that it does not ask for or can't take.

        Raises `TooLargeForClient` if that is not enough.
        """
        properties: Properties = getattr(packet, "properties", NO_PROPERTIES)
        explains = properties.reason_string is not None or bool(properties.user_properties)
        if isinstance(packet, (Puback, Pubcomp)) or (
            isinstance(packet, Pubrec) and packet.reason >= _FAILURE
        ):
            self._receiving.discard(packet.packet_id)
        if (
            explains
            and not self._problem_information
            and not isinstance(packet, (Publish, Connack, Disconnect))
        ):
            packet, explains = _unexplained(packet, properties), False  # [MQTT5-3.1.2-29]
        data = encode(packet)
        if len(data) > self.max_packet_size and explains and not isinstance(packet, Publish):
            data = encode(_unexplained(packet, properties))  # [MQTT5-3.2.2-19] and its like
        if len(data) > self.max_packet_size:  # [MQTT5-3.1.2-24] [MQTT5-3.1.2-25]
            raise TooLargeForClient(
                f"a packet of {len(data)} bytes, where the client takes {self.max_packet_size}"
            )
        return data


def _unexplained(packet: Any, properties: Properties) -> Any:
    short = dataclasses.replace(properties, reason_string=None, user_properties=())
    return dataclasses.replace(packet, properties=NO_PROPERTIES if short == NO_PROPERTIES else short)


def _error(message: str, tag: str, reason: int = ReasonCode.PROTOCOL_ERROR) -> MalformedPacket:
    return MalformedPacket(message, tag, reason)
