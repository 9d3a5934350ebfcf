"""One device connection: bytes to MQTT events, CONNECT to admission, the rest to the session of its dialect.

Everything here is synchronous. A connection has no task and no timer of its own; if admission has to wait for the
registrar, the connection pauses reading and goes on in the future's callback.
"""

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol, assert_never, cast

from gateway import mqtt
from gateway.admission import Admission, Admitted, ConnectRequest
from gateway.attempts import MAX_CLAIMED_ID, Attempts, Presented, read_password
from gateway.counts import EdgeCounts
from gateway.edge import v5
from gateway.edge.deadlines import Deadlines
from gateway.edge.renewal import Renewal
from gateway.edge.sessions import SessionTable, WaitingWill
from gateway.edge.storm import StormControl
from gateway.edge.tls import Channel
from gateway.errors import GatewayError
from gateway.identity.evidence import CertificateEvidence
from gateway.identity.sas import KeySlot
from gateway.identity.x509 import Link
from gateway.log import get_logger
from gateway.refusals import Reason, Refused, answer_for
from gateway.session import CloseReason, Dialect, Session
from gateway.settings import DeviceSettings
from gateway.trace import Trace, Traces

__all__ = ["FAULTS_OF_THE_PEER", "Closable", "Connection", "Edge", "SessionFactory", "next_connection_id"]

log = get_logger()

_connection_ids = itertools.count(1)
next_connection_id: Final = _connection_ids.__next__
"""For the log: unique in one run, whatever the protocol."""

_ORDINARY: Final = frozenset(
    {
        CloseReason.DISCONNECTED, CloseReason.CONNECTION_LOST, CloseReason.KEEP_ALIVE_EXPIRED, CloseReason.TOKEN_EXPIRED,
        CloseReason.TAKEN_OVER, CloseReason.SHUTTING_DOWN, CloseReason.DISCONNECTED_WITH_WILL,
    }
)  # fmt: skip
"""Ends that a healthy fleet sees every day."""
_FOR_WHY: Final = frozenset(CloseReason) - {
    CloseReason.DISCONNECTED, CloseReason.CONNECTION_LOST, CloseReason.TAKEN_OVER, CloseReason.SHUTTING_DOWN,
    CloseReason.DISCONNECTED_WITH_WILL,
}  # fmt: skip
"""Ends that an operator wants to know of who asks why a device is not connected."""
_ENDS_THE_SESSION: Final = frozenset(
    {
        CloseReason.DEVICE_BLOCKED,
        CloseReason.DEVICE_DELETED,
        CloseReason.ENROLLMENT_CHANGED,
        CloseReason.SHUTTING_DOWN,
    }
)
"""Ends after which nothing of a session is kept."""
FAULTS_OF_THE_PEER: Final = frozenset(
    {CloseReason.TLS_FAILED, CloseReason.PROTOCOL_VIOLATED, CloseReason.CONNECT_TIMED_OUT}
)
"""Ends of a handshake that count against the peer's address."""
_LINGER_S: Final = 5.0
"""How long a closed connection may take to send what it holds."""

SessionFactory = Callable[["Connection", Admitted, mqtt.Connect, dict[str, int] | None], Session]


class _Gone:
    """The channel of a connection that has none any more."""

    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0


_GONE: Final[Channel] = _Gone()
_NO_MQTT: Final = mqtt.ServerConnection(max_connect_packet_size=1, max_packet_size=1, max_inflight=1)
"""The state of a connection that is gone: no half packet, no topic aliases."""


class Closable(Protocol):
    """An open connection, of whichever protocol."""

    def close(self, reason: CloseReason, detail: str = "") -> None: ...


@dataclass(slots=True, kw_only=True)
class Edge:
    """What all connections share. `clock` is unix time; deadlines count on the monotonic clock."""

    settings: DeviceSettings
    admission: Admission
    attempts: Attempts
    traces: Traces
    sessions: SessionTable
    deadlines: Deadlines
    storm: StormControl[Any]
    make_session: SessionFactory
    max_connections: int
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    connections: "set[Closable]"
    counts: EdgeCounts = field(default_factory=EdgeCounts)
    shutting_down: bool = False


class Connection:
    """A device's connection. Below it: a transport, or a `TlsChannel` that speaks like one."""

    __slots__ = (
        "_bytes_in", "_bytes_out", "_certificate", "_channel", "_claimed_id", "_clean_session", "_close_reason", "_connect",
        "_edge", "_expires_at", "_expires_with", "_handshake", "_held_answer", "_keep_alive_s", "_last_heard",
        "_messages_in", "_messages_out", "_mqtt", "_opened_at", "_renewal", "_session", "_tls", "_trace", "_will_delay_s",
        "bucket", "connection_id", "device_id",
        "dialect", "enrollment_group", "issued", "key_slot", "peer",
    )  # fmt: skip

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self.bucket = 0
        self.connection_id = next(_connection_ids)
        self.peer = ""
        self._channel: Channel = _GONE
        self._tls: str | None = None
        self._certificate: CertificateEvidence | None = None
        self._mqtt = mqtt.ServerConnection(
            max_connect_packet_size=edge.settings.max_connect_packet_bytes,
            max_packet_size=edge.settings.max_packet_bytes,
            max_inflight=edge.settings.max_inflight,
        )
        self._trace: Trace | None = None
        self._session: Session | None = None
        self._connect: mqtt.Connect | None = None
        self._claimed_id: str | None = None
        self._clean_session = True
        self._close_reason: CloseReason | None = None
        self._handshake: str | None = None
        self._held_answer: bytes | None = None
        # Of MQTT 5 only
        self._renewal: Renewal | None = None
        self._will_delay_s = 0
        self._keep_alive_s = 0.0
        self._expires_at: float | None = None
        self._expires_with = CloseReason.TOKEN_EXPIRED
        self._last_heard = 0.0
        self._opened_at = 0.0
        self._messages_in = self._messages_out = self._bytes_in = self._bytes_out = 0
        # What the session table reads (gateway.edge.sessions.LiveSession), once the CONNECT is accepted.
        self.dialect: Dialect
        self.device_id: str
        self.enrollment_group: str | None
        self.key_slot: KeySlot
        self.issued: tuple[Link, ...] = ()

    @property
    def tls(self) -> str | None:
        """The TLS version, None on the plain listener."""
        return self._tls

    # asyncio, or the TLS channel, calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The plain listener's way in."""
        self.attach(cast(asyncio.Transport, transport), cast(asyncio.Transport, transport))

    def attach(self, channel: Channel, transport: asyncio.Transport) -> None:
        """`channel` is what we write to; `transport` knows the peer's address."""
        self._channel = channel
        peer = transport.get_extra_info("peername")
        self.peer = f"{peer[0]}:{peer[1]}" if peer else "unknown"
        edge = self._edge
        edge.connections.add(self)
        self._handshake = edge.storm.began(peer[0] if peer else "")
        self._opened_at = edge.monotonic()
        edge.deadlines.watch(self, self._opened_at + edge.settings.connect_timeout_s)

    def tls_established(self, version: str, certificate: CertificateEvidence | None) -> None:
        self._tls = version
        self._certificate = certificate
        self._edge.counts.handshake_seconds.observe(self._edge.monotonic() - self._opened_at)

    def tls_failed(self, detail: str) -> None:
        self._edge.counts.tls_failed += self._tls is None
        self._end(
            CloseReason.TLS_FAILED if self._tls is None else CloseReason.CONNECTION_LOST, detail, abort=True
        )

    def data_received(self, data: bytes) -> None:
        if self._close_reason is not None:
            return
        if self._connect is not None and data:
            # It does not wait for the decision: what it sends may stay in the kernel until then.
            self._channel.pause_reading()
        self._bytes_in += len(data)
        now = self._edge.monotonic()
        try:
            for event in self._mqtt.receive_data(data):
                # At whole packets only [MQTT-3.1.2-24]: a byte now and then is no sign of life.
                self._last_heard = now
                self._handle(event)
                if self._has_ended():
                    return
        except Exception as error:  # noqa: BLE001 - a fault of ours ends this connection, in one line, and no other
            self._end(CloseReason.FAULT, repr(error), abort=True)

    def eof_received(self) -> bool | None:
        self._end(CloseReason.CONNECTION_LOST)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(CloseReason.CONNECTION_LOST, str(exc) if exc else "")
        self._edge.deadlines.forget(self)
        self._edge.connections.discard(self)
        # Nothing points in a circle any more, so all of it is freed here and not by the garbage collector.
        # What still waits for something of it (a look-up, a will) holds no buffers.
        self._session = None
        self._channel = _GONE
        self._mqtt = _NO_MQTT

    def tls_answered(self) -> None:
        """See `gateway.edge.tls.Receiver`."""
        self._bound_unsent()

    def pause_writing(self) -> None:
        """The transport holds more than it likes; `_write` keeps the bound."""

    def resume_writing(self) -> None:
        """Nothing was held back: what exceeds the bound ends the connection instead."""

    def deadline_reached(self, now: float) -> float | None:
        """See `gateway.edge.deadlines`. One look covers CONNECT time-out, keep-alive and expiry."""
        if self._close_reason is not None:
            self._channel.abort()  # it was closed politely, and the peer does not read
        elif self._held_answer is not None:
            self._write(self._held_answer)
            self._end(CloseReason.REFUSED)
        elif self._session is None:
            self._end(CloseReason.CONNECT_TIMED_OUT)
        elif self._expires_at is not None and now >= self._expires_at:
            self._end(self._expires_with)
        elif now - self._last_heard >= self._keep_alive_s:
            self._end(CloseReason.KEEP_ALIVE_EXPIRED)
        else:
            return self._next_deadline()
        return None

    # What a session may ask of its connection (gateway.session.Link)

    @property
    def is_open(self) -> bool:
        return self._close_reason is None

    def _has_ended(self) -> bool:
        return self._close_reason is not None

    def publish(self, topic: str, payload: bytes, qos: int) -> bool:
        if self._close_reason is not None:
            return False
        try:
            packet = self._mqtt.publish(topic, payload, qos)
        except mqtt.TooLargeForClient:
            return False
        except mqtt.InflightFull:
            # The device gets its answer all the same, and no later than it would have. QoS 1 adds nothing to it: an answer
            # is never sent again, so a queue that waits for PUBACKs would be memory that a device can fill, for no gain.
            return self.publish(topic, payload, 0)
        self._messages_out += 1
        self._write(packet)
        return True

    def puback(self, packet_id: int) -> None:
        if self._close_reason is None:
            self._write(self._mqtt.puback(packet_id))

    def close(self, reason: CloseReason, detail: str = "") -> None:
        self._end(reason, detail)

    def trace(self, trace: Trace | None) -> None:
        """Show the packets from here on; None: no longer."""
        self._trace = trace

    # MQTT events

    def _handle(self, event: mqtt.Event) -> None:  # noqa: C901, PLR0912 - one arm per kind of packet
        if self._trace is not None:
            self._trace.received(event, self.connection_id)
        match event:
            case mqtt.Publish():
                self._messages_in += 1
                if event.qos > 1:
                    self._end(CloseReason.QOS_UNSUPPORTED, event.topic[:80])
                    return
                self._opened_session.publish_received(
                    event.topic, event.payload, qos=event.qos, retain=event.retain, packet_id=event.packet_id,
                    properties=event.properties,
                )  # fmt: skip
            case mqtt.Pingreq():
                self._write(self._mqtt.pingresp())
            case mqtt.Puback():
                pass  # the state machine has freed its slot
            case mqtt.Connect():
                self._connect_received(event)
            case mqtt.Subscribe():
                self._subscribe_received(event)
            case mqtt.Unsubscribe():
                self._unsubscribe_received(event)
            case mqtt.Disconnect():
                self._end(CloseReason.DISCONNECTED_WITH_WILL if event.reason else CloseReason.DISCONNECTED)
            case mqtt.Auth():
                self._auth_received(event)
            case mqtt.UnsupportedProtocol():
                self._refuse(Refused(Reason.PROTOCOL_UNSUPPORTED, f"protocol level {event.level}"))
            case mqtt.Violation():
                if event.answer:
                    self._write(event.answer)
                self._end(CloseReason.PROTOCOL_VIOLATED, event.message)
            case mqtt.Pubrec() | mqtt.Pubrel() | mqtt.Pubcomp():
                self._end(CloseReason.QOS_UNSUPPORTED, type(event).__name__)
            case _:
                assert_never(event)

    @property
    def _opened_session(self) -> Session:
        if self._session is None:
            raise RuntimeError("the state machine lets nothing through before CONNECT is accepted")
        return self._session

    def _subscribe_received(self, subscribe: mqtt.Subscribe) -> None:
        codes = []
        for topic_filter, options in subscribe.filters:
            granted = self._opened_session.grant(topic_filter, options & mqtt.MAXIMUM_QOS)
            if granted is None:
                if self._mqtt.level != mqtt.MQTT_5_LEVEL:
                    self._end(CloseReason.TOPIC_UNKNOWN, topic_filter[:80])
                    return
                granted = mqtt.ReasonCode.TOPIC_FILTER_INVALID
            codes.append(granted)
        try:
            answer = self._mqtt.suback(subscribe.packet_id, tuple(codes))
        except mqtt.TooLargeForClient as error:
            self._answer_too_large(error)
        else:
            self._write(answer)

    def _unsubscribe_received(self, unsubscribe: mqtt.Unsubscribe) -> None:
        codes = tuple(
            0 if self._opened_session.unsubscribed(topic_filter) else mqtt.ReasonCode.NO_SUBSCRIPTION_EXISTED
            for topic_filter in unsubscribe.filters
        )
        try:
            answer = self._mqtt.unsuback(unsubscribe.packet_id, codes)
        except mqtt.TooLargeForClient as error:
            self._answer_too_large(error)
        else:
            self._write(answer)

    def _answer_too_large(self, error: mqtt.TooLargeForClient) -> None:
        """MQTT 5: it asks for more in one packet than it takes an answer to."""
        words = mqtt.Properties(
            reason_string="the answer is larger than the Maximum Packet Size of the client"
        )
        self._last_word(mqtt.ReasonCode.PACKET_TOO_LARGE, words)
        self._end(CloseReason.PROTOCOL_VIOLATED, str(error))

    # AUTH: a new token before the old one ends

    def _auth_received(self, auth: mqtt.Auth) -> None:
        if self._renewal is None:
            raise RuntimeError("the state machine lets AUTH through only where CONNECT named a method")
        request = self._renewal.request(auth)
        if isinstance(request, Refused):
            self._renewed(request)
        else:
            self._renew(request)

    def _renew(self, request: ConnectRequest) -> None:
        try:
            outcome = self._edge.admission.renew(request, now=self._edge.clock())
        except GatewayError as error:
            self._renewed(Refused(Reason.STORE_UNAVAILABLE, str(error)))
            return
        if isinstance(outcome, asyncio.Future):
            # What the device sends meanwhile is served: it was admitted, and its old token is still good [MQTT5-4.12.1].
            outcome.add_done_callback(partial(self._renewal_decided, request))
        else:
            self._renewed(outcome)

    def _renewal_decided(self, request: ConnectRequest, future: "asyncio.Future[Admitted | Refused]") -> None:
        if self._close_reason is not None or future.cancelled():
            return
        error = future.exception()
        if error is not None:
            self._renewed(Refused(Reason.STORE_UNAVAILABLE, str(error)))
        elif self._edge.admission.holds(future.result()):
            self._renewed(future.result())
        else:
            self._renew(request)

    def _renewed(self, outcome: Admitted | Refused) -> None:
        """AUTH 0x00 and the new expiry; or the reason why not, and the end of the session [MQTT5-4.12.1-2]."""
        if isinstance(outcome, Refused):
            self._last_word(*v5.farewell(outcome))
            self._end(CloseReason.RENEWAL_REFUSED, outcome.reason)
            return
        edge = self._edge
        self.key_slot, self.enrollment_group = outcome.verified.key_slot, outcome.verified.enrollment_group
        self.issued = outcome.verified.issued
        self._expire_with(outcome)
        self._write(self._mqtt.send(mqtt.Auth(properties=mqtt.Properties(authentication_method=v5.METHOD))))
        log.info(
            "session.renewed",
            device_id=self.device_id,
            expires_at=outcome.expires_at,
            connection_id=self.connection_id,
        )
        deadline = self._next_deadline()
        if deadline < self.bucket:
            edge.deadlines.watch(self, deadline)

    def _expire_with(self, admitted: Admitted) -> None:
        """The session ends with its token or certificate. `expires_at` is unix seconds; deadlines are monotonic."""
        edge, expires_at = self._edge, admitted.expires_at
        if expires_at is not None:
            self._expires_at = edge.monotonic() + max(0.0, expires_at - edge.clock())
        self._expires_with = (
            CloseReason.CERTIFICATE_EXPIRED
            if admitted.verified.mechanism == "x509"
            else CloseReason.TOKEN_EXPIRED
        )

    # CONNECT

    def _connect_received(self, connect: mqtt.Connect) -> None:
        self._connect = connect
        self._claimed_id = connect.client_id[:MAX_CLAIMED_ID]
        if self._edge.traces.by_device:
            self.trace(self._edge.traces.by_device.get(connect.client_id))
            if self._trace is not None:
                self._trace.received(connect, self.connection_id)
        if self._edge.shutting_down:
            self._refuse(Refused(Reason.SHUTTING_DOWN))
            return
        if connect.lacks_client_id:
            self._refuse(Refused(Reason.CLIENT_ID_INVALID, "no client id"))  # [MQTT-3.1.3-8]
            return
        request = ConnectRequest(connect.client_id, connect.username, connect.password, self._certificate)
        if connect.protocol_level == mqtt.MQTT_5_LEVEL:
            unsupported = v5.unsupported(connect)
            if unsupported is not None:
                self._refuse(unsupported)
                return
            request = request._replace(
                client_id=connect.client_id or None, password=v5.credential(connect)
            )  # [MQTT5-3.1.3-6]
        self._admit(request)

    def _admit(self, request: ConnectRequest) -> bool:
        """Whether it is decided; if not, `_admission_ended` follows."""
        try:
            outcome = self._edge.admission.admit(request, now=self._edge.clock())
        except GatewayError as error:
            outcome = Refused(Reason.STORE_UNAVAILABLE, str(error))
        if isinstance(outcome, asyncio.Future):
            outcome.add_done_callback(partial(self._admission_ended, request))
            return False
        self._decided(outcome)
        return True

    def _admission_ended(self, request: ConnectRequest, future: "asyncio.Future[Admitted | Refused]") -> None:
        if self._close_reason is not None:
            if not future.cancelled():
                future.exception()  # seen; there is nobody left to tell
            return
        error = None if future.cancelled() else future.exception()
        if future.cancelled():
            self._refuse(Refused(Reason.SHUTTING_DOWN))
        elif isinstance(error, GatewayError):
            self._refuse(Refused(Reason.STORE_UNAVAILABLE, str(error)))
        elif error is not None:
            log.error("store.failed", device_id=self._claimed_id, error=repr(error))
            self._refuse(Refused(Reason.STORE_UNAVAILABLE, type(error).__name__))
        elif self._edge.admission.holds(future.result()):
            self._decided(future.result())
        elif not self._admit(request):  # an operator has changed what it rests on, and it waits again
            return
        # Packets that came with the CONNECT were held by the state machine; then the socket speaks again.
        self.data_received(b"")
        if not self._has_ended():
            self._channel.resume_reading()

    def _decided(self, outcome: Admitted | Refused) -> None:
        if isinstance(outcome, Refused):
            self._refuse(outcome)
        else:
            self._accept(outcome)

    def _refuse(self, refused: Refused) -> None:
        """One CONNACK, one log line; nothing else in the gateway has changed.

        Overload is not logged one by one but counted (`storm.shed`), and the answer to somebody who keeps failing is
        held back for a while.
        """
        edge, answer = self._edge, answer_for(refused.reason)
        edge.counts.refused[refused.reason] += 1
        if refused.reason is not Reason.OVERLOADED:
            log.warning(
                "connect.refused", device_id=self._claimed_id, reason=refused.reason, detail=refused.detail,
                hint=answer.hint, peer=self.peer, tls=self._tls, connection_id=self.connection_id,
            )  # fmt: skip
        if self._handshake is not None:
            now = edge.monotonic()
            delay_s = edge.storm.refused(self._handshake, self._claimed_id, refused.reason, now)
            self._handshake = None
            if delay_s:
                self._held_answer = self._refusal(refused)
                edge.deadlines.watch(self, now + delay_s)
                self._remember(refused)
                return
        self._write(self._refusal(refused))
        self._end(CloseReason.REFUSED)
        self._remember(refused)
        self._connect = None

    def _refusal(self, refused: Refused) -> bytes:
        if self._mqtt.level == mqtt.MQTT_5_LEVEL:
            return self._mqtt.refuse(*v5.explain(refused))
        return self._mqtt.refuse(answer_for(refused.reason).connack)

    def _remember(self, refused: Refused) -> None:
        """For `gateway why`. Overload says nothing of a device, and is refused as cheaply as can be."""
        edge, connect = self._edge, self._connect
        if connect is None or not connect.client_id or refused.reason is Reason.OVERLOADED:
            edge.attempts.refusals[refused.reason] += 1
        else:
            edge.attempts.refused(
                connect.client_id, refused, known=edge.admission.knows(connect.client_id), at=edge.clock(), peer=self.peer,
                tls=self._tls, presented=Presented(
                    connect.client_id, connect.username, read_password(connect.password), self._certificate
                ),
            )  # fmt: skip

    def _accept(self, admitted: Admitted) -> None:
        edge, connect = self._edge, self._connect
        if connect is None:
            raise RuntimeError("a decision without a CONNECT")
        self._connect = None  # its password has done its work
        self.dialect, self.device_id = admitted.dialect, admitted.device_id
        self.enrollment_group = admitted.verified.enrollment_group
        self.key_slot = admitted.verified.key_slot
        self.issued = admitted.verified.issued
        is_hub = admitted.dialect is Dialect.HUB
        self._clean_session = connect.clean_session or not is_hub
        replaced = edge.sessions.enter(self)
        if replaced is not None:
            replaced.close(CloseReason.TAKEN_OVER, f"by connection {self.connection_id}")
        remembered = (
            edge.sessions.resume(admitted.device_id, keeps=not self._clean_session, now=edge.monotonic())
            if is_hub
            else None
        )
        self._session = edge.make_session(self, admitted, connect, remembered)
        edge.counts.accepted[admitted.dialect, admitted.verified.mechanism, self._tls] += 1
        keep_alive_s, properties = connect.keep_alive, mqtt.NO_PROPERTIES
        if connect.protocol_level == mqtt.MQTT_5_LEVEL:
            keep_alive_s, properties = self._welcome(connect, is_hub=is_hub)
        self._set_deadlines(admitted, keep_alive_s)
        if self._handshake is not None:
            edge.storm.admitted(self._handshake, self.device_id, self.enrollment_group, self._opened_at)
            self._handshake = None
        # [MQTT-3.2.2-2] session present only with a stored session; DPS must never say so.
        self._write(self._mqtt.accept(session_present=remembered is not None, properties=properties))
        log.info(
            "session.opened", device_id=admitted.device_id, dialect=admitted.dialect,
            mechanism=admitted.verified.mechanism, group=admitted.verified.enrollment_group,
            template=admitted.device.template_id if admitted.device else None, tls=self._tls, peer=self.peer,
            connection_id=self.connection_id,
        )  # fmt: skip
        edge.attempts.accepted(
            (admitted.device_id, edge.clock(), self.peer, self._tls, admitted.dialect, admitted.verified)
        )

    def _welcome(self, connect: mqtt.Connect, *, is_hub: bool) -> tuple[int, mqtt.Properties]:
        """MQTT 5: the keep-alive in force, and what the CONNACK announces."""
        self._claimed_id = self.device_id
        welcome = v5.welcome(connect, self.device_id, self._edge.settings, keeps_sessions=is_hub)
        # The wish at the start and the wish for the end are two in MQTT 5; from here on only the end counts.
        self._clean_session = not welcome.session_expiry_s
        self._will_delay_s = v5.will_delay_s(connect)
        if connect.properties.authentication_method is not None:
            self._renewal = Renewal(self.device_id, connect.username)
        return welcome.keep_alive_s, welcome.properties

    def _set_deadlines(self, admitted: Admitted, keep_alive: int) -> None:
        edge = self._edge
        now = self._opened_at = edge.monotonic()
        edge.counts.admission_seconds.observe(now - self._last_heard)
        # [MQTT-3.1.2-24] one and a half times the keep-alive, and never longer than the server's maximum.
        longest = float(edge.settings.max_keep_alive_s)
        self._keep_alive_s = min(keep_alive * 1.5, longest) if keep_alive else longest
        self._expire_with(admitted)
        # The look that the CONNECT's deadline has coming will do, unless the session's own comes sooner.
        deadline = self._next_deadline()
        if deadline < self.bucket:
            edge.deadlines.watch(self, deadline)

    def _next_deadline(self) -> float:
        quiet = self._last_heard + self._keep_alive_s
        return quiet if self._expires_at is None else min(quiet, self._expires_at)

    # Writing and ending

    def _write(self, data: bytes) -> None:
        if self._trace is not None:
            self._trace.sent(data, self.connection_id, self._mqtt.level)
        self._bytes_out += len(data)
        self._channel.write(data)
        self._bound_unsent()

    def _bound_unsent(self) -> None:
        if self._channel.get_write_buffer_size() > self._edge.settings.max_send_buffer_bytes:
            self._end(CloseReason.SEND_BUFFER_FULL, abort=True)

    def _end(self, reason: CloseReason, detail: str = "", *, abort: bool = False) -> None:
        """End once: leave the tables, tell the session, say the canonical line, close the channel."""
        if self._close_reason is not None:
            return
        self._close_reason = reason
        self._edge.counts.closed[reason] += 1
        if self._handshake is not None:
            self._edge.storm.broke_off(
                self._handshake, self._edge.monotonic(), is_fault_of_peer=reason in FAULTS_OF_THE_PEER
            )
            self._handshake = None
        elif self._held_answer is not None:
            self._edge.storm.answered_late()
        if self._session is not None:
            try:
                self._end_session(reason, detail)
            except Exception as error:  # noqa: BLE001 - the socket goes all the same, and so do all others
                self._log_closed(CloseReason.FAULT, repr(error))
        elif reason is not CloseReason.REFUSED:
            self._log_closed(reason, detail)
        if abort:
            self._channel.abort()
        else:
            if reason in v5.DISCONNECTS:
                code, words = v5.DISCONNECTS[reason]
                self._last_word(code, mqtt.Properties(reason_string=words))
            self._channel.close()
            if self._channel.get_write_buffer_size():
                self._edge.deadlines.watch(self, self._edge.monotonic() + _LINGER_S)

    def _last_word(self, code: int, properties: mqtt.Properties) -> None:
        """MQTT 5: DISCONNECT, if the session is open. To an MQTT 3.1.1 device nothing can be said."""
        if self._mqtt.level != mqtt.MQTT_5_LEVEL or self._mqtt.state is not mqtt.State.OPEN:
            return
        with contextlib.suppress(mqtt.TooLargeForClient):
            self._write(self._mqtt.disconnect(code, properties))

    def _log_closed(self, reason: CloseReason, detail: str) -> None:
        log.log(
            logging.ERROR if reason is CloseReason.FAULT else logging.INFO,
            "connection.closed", reason=reason, detail=detail, device_id=self._claimed_id, peer=self.peer,
            tls=self._tls, connection_id=self.connection_id,
        )  # fmt: skip

    def _end_session(self, reason: CloseReason, detail: str) -> None:
        edge, session = self._edge, self._opened_session
        edge.sessions.leave(self)
        if self._mqtt.level == mqtt.MQTT_5_LEVEL:
            self._end_session_5(session, reason)
        else:
            session.ended(reason)
            if session.subscriptions and not self._clean_session and reason not in _ENDS_THE_SESSION:
                edge.sessions.keep_subscriptions(self.device_id, session.subscriptions)
        if reason in _FOR_WHY:
            edge.attempts.ended(self.device_id, reason, detail, at=edge.clock(), peer=self.peer)
        log.log(
            logging.INFO if reason in _ORDINARY else logging.WARNING,
            "session.closed", device_id=self.device_id, dialect=self.dialect, reason=reason, detail=detail,
            duration_s=round(edge.monotonic() - self._opened_at, 3), messages_in=self._messages_in,
            messages_out=self._messages_out, bytes_in=self._bytes_in, bytes_out=self._bytes_out, peer=self.peer,
            connection_id=self.connection_id,
        )  # fmt: skip

    def _end_session_5(self, session: Session, reason: CloseReason) -> None:
        """What is kept, for how long, and when the will is due (MQTT 5, sections 3.1.2.11.2 and 3.1.3.2.2)."""
        edge = self._edge
        is_kept = reason not in _ENDS_THE_SESSION and self.dialect is Dialect.HUB
        expiry = min(self._mqtt.session_expiry_interval, edge.settings.max_session_expiry_s) if is_kept else 0
        delay = min(self._will_delay_s, expiry)
        session.ended(reason, will_waits=bool(delay))
        now = edge.monotonic()
        if expiry:
            edge.sessions.keep_subscriptions(self.device_id, session.subscriptions, until=now + expiry)
        if delay:
            will = WaitingWill(session, self.device_id, edge.sessions, edge.deadlines)
            if not edge.sessions.hold_will(will, until=now + delay):
                session.publish_will()
