"""What a device of MQTT 5 is told that one of MQTT 3.1.1 is not: limits, reasons and their words. Pure.

The limits stay near those of IoT Hub's own MQTT 5 (learn.microsoft.com "IoT Hub MQTT 5 support", now deprecated): QoS 1 at
most, nothing retained, no shared subscriptions, ten topic aliases, and authentication by the method `SAS`.
docs/mqtt5.md has the list.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from gateway import mqtt
from gateway.mqtt import Properties, ReasonCode
from gateway.mqtt.reasons import REASONS_OF
from gateway.refusals import Reason, Refused, answer_for
from gateway.session import CloseReason
from gateway.settings import DeviceSettings

__all__ = [
    "DISCONNECTS",
    "METHOD",
    "Welcome",
    "credential",
    "explain",
    "unsupported",
    "welcome",
    "will_delay_s",
]

METHOD: Final = "SAS"
"""The one authentication method: the data is a SAS token, as it would be in the password."""

_TOPIC_ALIAS_MAXIMUM: Final = 10
_RECEIVE_MAXIMUM: Final = 1024
"""Everything is acknowledged as it is read, so that nobody gets there; it bounds what is remembered of one who tries."""
_KEEP_ALIVE_MARGIN: Final = 1.5

DISCONNECTS: Final[Mapping[CloseReason, tuple[int, str]]] = {
    CloseReason.TOPIC_UNKNOWN: (ReasonCode.TOPIC_NAME_INVALID, "the gateway knows no such topic"),
    CloseReason.QOS_UNSUPPORTED: (ReasonCode.QOS_NOT_SUPPORTED, "QoS 1 at most"),
    CloseReason.KEEP_ALIVE_EXPIRED: (
        ReasonCode.KEEP_ALIVE_TIMEOUT,
        "nothing heard for 1.5 times the keep-alive",
    ),
    CloseReason.TOKEN_EXPIRED: (ReasonCode.MAXIMUM_CONNECT_TIME, "token expired"),
    CloseReason.CERTIFICATE_EXPIRED: (ReasonCode.MAXIMUM_CONNECT_TIME, "certificate expired"),
    CloseReason.TAKEN_OVER: (ReasonCode.SESSION_TAKEN_OVER, "a newer connection of this device"),
    CloseReason.DEVICE_BLOCKED: (ReasonCode.NOT_AUTHORIZED, "device blocked"),
    CloseReason.DEVICE_DELETED: (ReasonCode.ADMINISTRATIVE_ACTION, "device deleted"),
    CloseReason.ENROLLMENT_CHANGED: (
        ReasonCode.ADMINISTRATIVE_ACTION,
        "the enrollment has changed; connect again",
    ),
    CloseReason.SHUTTING_DOWN: (ReasonCode.SERVER_SHUTTING_DOWN, "the gateway ends; connect again"),
}
"""The gateway's last word to a session, where it has one: reason code and reason string."""


class Welcome(NamedTuple):
    """What a CONNACK says, and what follows from it: the keep-alive and the session expiry in force, in seconds."""

    properties: Properties
    keep_alive_s: int
    session_expiry_s: int


def unsupported(connect: mqtt.Connect) -> Refused | None:
    """Why a CONNECT asks for what this gateway does not have."""
    method = connect.properties.authentication_method
    if method is not None and method != METHOD:
        return Refused(Reason.AUTHENTICATION_METHOD_UNKNOWN, f"authentication method {method[:40]!r}")
    if (
        method is not None
        and connect.password is not None
        and connect.properties.authentication_data is not None
    ):
        return Refused(Reason.TOKEN_MALFORMED, "a token as password, and another as authentication data")
    if connect.will is not None and connect.will.qos > 1:
        return Refused(Reason.WILL_QOS_UNSUPPORTED)
    if connect.will is not None and connect.will.retain:
        return Refused(Reason.WILL_RETAIN_UNSUPPORTED)
    return None


def credential(connect: mqtt.Connect) -> bytes | None:
    """The SAS token: authentication data if there are any, else the password."""
    data = connect.properties.authentication_data
    return connect.password if data is None else data


def welcome(
    connect: mqtt.Connect, device_id: str, settings: DeviceSettings, *, keeps_sessions: bool
) -> Welcome:
    """The limits of a session that is accepted. `keeps_sessions` is False where none outlives its connection."""
    wanted = connect.properties.session_expiry_interval or 0
    expiry = min(wanted, settings.max_session_expiry_s) if keeps_sessions else 0
    longest = int(settings.max_keep_alive_s / _KEEP_ALIVE_MARGIN)
    keep_alive = connect.keep_alive if 0 < connect.keep_alive <= longest else max(1, longest)
    method = connect.properties.authentication_method
    properties = Properties(
        session_expiry_interval=expiry if expiry != wanted else None,
        receive_maximum=_RECEIVE_MAXIMUM,
        maximum_qos=1,
        retain_available=0,
        maximum_packet_size=settings.max_packet_bytes,
        assigned_client_identifier=None if connect.client_id else device_id,
        topic_alias_maximum=_TOPIC_ALIAS_MAXIMUM,
        subscription_identifier_available=0,
        shared_subscription_available=0,
        server_keep_alive=keep_alive if keep_alive != connect.keep_alive else None,
        authentication_method=method,
    )
    return Welcome(properties, keep_alive, expiry)


def will_delay_s(connect: mqtt.Connect) -> int:
    """How long the will is to wait for the device to come back."""
    return 0 if connect.will is None else connect.will.properties.will_delay_interval or 0


def explain(refused: Refused) -> tuple[int, Properties]:
    """The reason code of a refusal, and as many words as may be told."""
    answer = answer_for(refused.reason)
    return answer.connack5, Properties(reason_string=answer.told)


def farewell(refused: Refused) -> tuple[int, Properties]:
    """The same for a session that is open: DISCONNECT has fewer codes than CONNACK."""
    code, words = explain(refused)
    if code not in REASONS_OF["DISCONNECT"]:
        code = ReasonCode.SERVER_BUSY if code == ReasonCode.SERVER_UNAVAILABLE else ReasonCode.NOT_AUTHORIZED
    return code, words
