"""A look at what one device says and is told, packet by packet: switched on while the gateway runs, for a bounded time.

A trace belongs to a claimed client id, so it also shows the CONNECT of a device that is refused. Its connections look for
it once, at CONNECT, and then hold it; who is not traced pays one `is None` a packet. What is seen becomes the log event
`device.traced`. Passwords and tokens are never shown; payloads only if they are asked for. What is called a secret is
blanked wherever a device puts names on values: in payloads, property bags of topics, and user properties.

Anybody may claim the id. So attempts to connect have half of a trace, and the other half is for whoever is let in.
"""

import dataclasses
import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote

import orjson

from gateway import mqtt
from gateway.errors import ConflictError, NotFoundError
from gateway.log import get_logger
from gateway.mqtt.codec import CODECS, MQTT_3_1_1, Decoder
from gateway.secrets import REDACTED
from gateway.settings import TraceSettings

__all__ = ["Trace", "Traces", "redacted_payload"]

log = get_logger()

_MAX_TOPIC: Final = 512
_SECRET_NAME: Final = re.compile(
    r"pass(word|phrase|wd)?$|secret|token|credential|authorization|signature|(^|_|[a-z])key$|^sig$|connection_?string",
    re.IGNORECASE,
)
_SIGNATURE: Final = re.compile(r"(sig(?:nature)?=|SharedAccessKey=)[^&;\s'\"]+", re.IGNORECASE)
_BAG_PAIR: Final = re.compile(r"((?:^|[/?&])([^/?&=]*)=)[^&]+")
"""A named value of a topic's property bag, or of a request's: `/NAME=VALUE&NAME=VALUE`."""
_ANY_PACKET: Final = 268_435_455  # what MQTT can say; we made it ourselves


class Trace:
    """One device's trace. `ends_at` is unix seconds."""

    __slots__ = (
        "_attempts", "_clock", "_decoder", "_max_packets", "_payload_bytes",
        "device_id", "ends_at", "packets", "started_at", "why_ended",
    )  # fmt: skip

    def __init__(
        self,
        device_id: str,
        *,
        ends_at: float,
        payload_bytes: int,
        max_packets: int,
        clock: Callable[[], float],
    ) -> None:
        self.device_id = device_id
        self.started_at = clock()
        self.ends_at = ends_at
        self.packets = 0
        self.why_ended: str | None = None
        self._attempts = 0
        self._payload_bytes = payload_bytes
        self._max_packets = max_packets
        self._clock = clock
        self._decoder = Decoder(MQTT_3_1_1.from_server, max_packet_size=_ANY_PACKET)

    def received(self, event: mqtt.Event, connection_id: int) -> None:
        """What came from the device."""
        if isinstance(event, mqtt.Violation):
            self._say("in", "not MQTT", connection_id, {"detail": event.message})
        else:
            self._say_packet("in", event, connection_id)

    def sent(self, data: bytes, connection_id: int, level: int) -> None:
        """What the device is told: whole packets of the protocol `level`."""
        self._decoder.decoders = CODECS[level].from_server
        self._decoder.feed(data)
        while (packet := self._decoder.next_packet()) is not None:
            self._say_packet("out", packet, connection_id)

    def _say_packet(self, direction: str, packet: Any, connection_id: int) -> None:
        facts = _facts(packet)
        if isinstance(packet, mqtt.Connect) or (isinstance(packet, mqtt.Connack) and packet.code):
            self._attempts += 1
            left = max(1, self._max_packets // 2) - self._attempts
            if left < 0:
                return
            if not left:
                facts["detail"] = "more attempts to connect are not shown"
        if self._payload_bytes and isinstance(packet, mqtt.Publish) and packet.payload:
            facts["payload"] = redacted_payload(packet.payload, self._payload_bytes)
        self._say(direction, type(packet).__name__.upper(), connection_id, facts)

    def _say(self, direction: str, packet: str, connection_id: int, facts: dict[str, Any]) -> None:
        if self.why_ended is not None:
            return
        if self._clock() >= self.ends_at:
            self.end("time")
            return
        self.packets += 1
        log.info(
            "device.traced", device_id=self.device_id, direction=direction, packet=packet, **facts,
            connection_id=connection_id,
        )  # fmt: skip
        if self.packets >= self._max_packets:
            self.end("packets")

    def end(self, why: str) -> None:
        """Once: by `time`, by `packets`, or by an `operator`."""
        if self.why_ended is None:
            self.why_ended = why
            log.info("trace.ended", device_id=self.device_id, reason=why, packets=self.packets)


class Traces:
    """The devices that are traced. `by_device` is empty, and so false, if nobody is."""

    def __init__(self, settings: TraceSettings, *, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self.by_device: dict[str, Trace] = {}

    def start(self, device_id: str, *, for_s: int, payload: bool) -> Trace:
        """Trace a device from now on; a trace that it has already ends. Raises `ConflictError` if too many are traced."""
        self.expire()
        settings = self._settings
        if device_id in self.by_device:
            self.stop(device_id)
        if len(self.by_device) >= settings.max_devices:
            raise ConflictError(
                f"{len(self.by_device)} devices are traced already", hint="end one: gateway trace ID --off"
            )
        trace = Trace(
            device_id,
            ends_at=self._clock() + min(for_s, settings.max_duration_s),
            payload_bytes=settings.max_payload_bytes if payload else 0,
            max_packets=settings.max_packets,
            clock=self._clock,
        )
        self.by_device[device_id] = trace
        log.info(
            "trace.started", device_id=device_id, for_s=round(trace.ends_at - self._clock()), payload=payload
        )
        return trace

    def stop(self, device_id: str) -> Trace:
        """Raises `NotFoundError` if it is not traced."""
        trace = self.by_device.pop(device_id, None)
        if trace is None:
            raise NotFoundError(f"{device_id} is not traced", hint="see `gateway trace`")
        trace.end("operator")
        return trace

    def expire(self) -> list[Trace]:
        """End those whose time, or number of packets, is over. Called each second."""
        if not self.by_device:
            return []
        now = self._clock()
        over = [
            trace for trace in self.by_device.values() if trace.why_ended is not None or now >= trace.ends_at
        ]
        for trace in over:
            del self.by_device[trace.device_id]
            trace.end("time")
        return over


def redacted_payload(payload: bytes, at_most: int) -> str:
    """Text, cut to `at_most` bytes, without values that are called a secret; hex for what is no text."""
    try:
        document = orjson.loads(payload)
    except orjson.JSONDecodeError:
        text = payload[:at_most].decode("utf-8", errors="replace")
        if "\ufffd" in text:
            return payload[:at_most].hex() + _more(len(payload), at_most)
        return _SIGNATURE.sub(rf"\1{REDACTED}", text) + _more(len(payload), at_most)
    try:
        shown = orjson.dumps(_without_secrets(document))
    except (TypeError, RecursionError):  # orjson reads deeper than it writes
        return f"JSON that is nested too deep to be shown ({len(payload)} bytes)"
    return shown[:at_most].decode("utf-8", errors="ignore") + _more(len(shown), at_most)


def _more(length: int, at_most: int) -> str:
    return f"… ({length} bytes)" if length > at_most else ""


def _without_secrets(value: Any) -> Any:
    match value:
        case dict():
            return {
                name: REDACTED if _SECRET_NAME.search(name) else _without_secrets(each)
                for name, each in value.items()
            }
        case list():
            return [_without_secrets(each) for each in value]
        case str():
            return _SIGNATURE.sub(rf"\1{REDACTED}", value)
        case _:
            return value


def _topic(topic: str) -> str:
    """As long as a line bears, without what is called a secret in its property bag."""

    def blank(pair: re.Match[str]) -> str:
        return f"{pair[1]}{REDACTED}" if _SECRET_NAME.search(unquote(pair[2])) else pair[0]

    return _BAG_PAIR.sub(blank, topic)[:_MAX_TOPIC]


def _properties(properties: mqtt.Properties) -> str:
    user = tuple(
        (name, REDACTED if _SECRET_NAME.search(name) else value) for name, value in properties.user_properties
    )
    shown = dataclasses.replace(
        properties,
        user_properties=user,
        response_topic=None if properties.response_topic is None else _topic(properties.response_topic),
    )
    text = repr(shown)[len("Properties(") : -1]
    return _SIGNATURE.sub(rf"\1{REDACTED}", text)[: 2 * _MAX_TOPIC]


def _facts(packet: Any) -> dict[str, Any]:
    """What is worth a look; of MQTT 5 also the reason code and the properties, which keep their secrets to themselves."""
    facts = _fields(packet)
    if reason := getattr(packet, "reason", 0):
        facts["code"] = reason
    properties = getattr(packet, "properties", mqtt.NO_PROPERTIES)
    if properties is not mqtt.NO_PROPERTIES:
        facts["properties"] = _properties(properties)
    return facts


def _fields(packet: Any) -> dict[str, Any]:
    match packet:
        case mqtt.Connect():
            will = {} if packet.will is None else {"will": _topic(packet.will.topic)}
            return {
                "client_id": packet.client_id[:128],
                "username": None if packet.username is None else _topic(packet.username),
                "password_bytes": None if packet.password is None else len(packet.password),
                "clean_session": packet.clean_session,
                "keep_alive": packet.keep_alive,
                **will,
            }
        case mqtt.Connack():
            return {"code": packet.code, "session_present": packet.session_present}
        case mqtt.Publish():
            return {
                "topic": _topic(packet.topic),
                "qos": packet.qos,
                "bytes": len(packet.payload),
                "retain": packet.retain or None,
                "dup": packet.dup or None,
                "packet_id": packet.packet_id,
            }
        case mqtt.Subscribe():
            filters = [f"{_topic(topic_filter)} (qos {qos})" for topic_filter, qos in packet.filters]
            return {"packet_id": packet.packet_id, "filters": ", ".join(filters)[: 2 * _MAX_TOPIC]}
        case mqtt.Unsubscribe():
            return {
                "packet_id": packet.packet_id,
                "filters": ", ".join(map(_topic, packet.filters))[: 2 * _MAX_TOPIC],
            }
        case mqtt.Suback():
            return {"packet_id": packet.packet_id, "granted": ", ".join(map(str, packet.codes))}
        case mqtt.UnsupportedProtocol():
            return {"level": packet.level}
        case _:
            packet_id = getattr(packet, "packet_id", None)
            return {} if packet_id is None else {"packet_id": packet_id}
