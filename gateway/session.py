"""What a dialect's session and its connection know of each other.

The edge owns sockets and the MQTT state machine; `dps` and `hub` own what the messages mean. Neither imports
the other: both know these protocols, and `gateway.app` puts them together.
"""

from enum import StrEnum
from typing import Final, Protocol

from gateway.mqtt import NO_PROPERTIES, Properties

__all__ = ["NO_LINK", "CloseReason", "Dialect", "Link", "Session"]


class Dialect(StrEnum):
    """The two kinds of session that share one port; the CONNECT's user name tells them apart."""

    DPS = "dps"
    HUB = "hub"


class CloseReason(StrEnum):
    """Why a connection ended: first what the peer did, then what the gateway decided."""

    DISCONNECTED = "disconnected"
    DISCONNECTED_WITH_WILL = "disconnected_with_will"
    """MQTT 5: it left in order, and wants its will to be published."""
    CONNECTION_LOST = "connection_lost"
    PROTOCOL_VIOLATED = "protocol_violated"
    TOPIC_UNKNOWN = "topic_unknown"
    QOS_UNSUPPORTED = "qos_unsupported"
    KEEP_ALIVE_EXPIRED = "keep_alive_expired"
    CONNECT_TIMED_OUT = "connect_timed_out"
    TLS_FAILED = "tls_failed"
    SEND_BUFFER_FULL = "send_buffer_full"
    REFUSED = "refused"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105
    CERTIFICATE_EXPIRED = "certificate_expired"
    """It came in by a certificate, and that one, or one of its chain, has expired since."""
    RENEWAL_REFUSED = "renewal_refused"
    """MQTT 5: it authenticated again, and was not accepted."""
    TAKEN_OVER = "taken_over"
    DEVICE_BLOCKED = "device_blocked"
    DEVICE_DELETED = "device_deleted"
    ENROLLMENT_CHANGED = "enrollment_changed"
    SHUTTING_DOWN = "shutting_down"
    FAULT = "fault"


class Link(Protocol):
    """What a session may ask of its connection. All of it is synchronous and bounded."""

    def publish(self, topic: str, payload: bytes, qos: int) -> bool:
        """Send to the device, with QoS 0 if too many messages are unacknowledged. False if that can't be: the
        connection is closed, or the device takes no packet of that size."""
        ...

    def puback(self, packet_id: int) -> None: ...

    def close(self, reason: CloseReason, detail: str = "") -> None: ...

    @property
    def is_open(self) -> bool: ...


class _NoLink:
    def publish(self, topic: str, payload: bytes, qos: int) -> bool:
        return False

    def puback(self, packet_id: int) -> None: ...

    def close(self, reason: CloseReason, detail: str = "") -> None: ...

    @property
    def is_open(self) -> bool:
        return False


NO_LINK: Final[Link] = _NoLink()
"""What a session has when its connection is gone."""


class Session(Protocol):
    """What a connection tells the session of its dialect."""

    def publish_received(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int,
        retain: bool,
        packet_id: int | None,
        properties: Properties = NO_PROPERTIES,
    ) -> None: ...

    def grant(self, topic_filter: str, qos: int) -> int | None:
        """The granted QoS, or None if the dialect has no such filter (an MQTT 3.1.1 connection is then closed)."""
        ...

    def unsubscribed(self, topic_filter: str) -> bool:
        """Whether there was such a subscription."""
        ...

    @property
    def subscriptions(self) -> dict[str, int]:
        """Topic filter → granted QoS: what a persistent session keeps. Empty in a dialect that has none."""
        ...

    def ended(self, reason: CloseReason, *, will_waits: bool = False) -> None:
        """The connection is gone; nothing can be sent any more. `will_waits`: `publish_will` comes later, or never.

        What waits for days may not hold what belongs to the connection: the session lets its link go.
        """
        ...

    def publish_will(self) -> None:
        """Publish the will, if there is one that has not been published."""
        ...
