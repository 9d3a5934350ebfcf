"""Telemetry to the applications that are connected to amqtt.

amqtt's own broadcast loop walks its table of subscriptions while it awaits; one SUBSCRIBE meanwhile breaks the
walk, and the subscribers not yet served miss the message. Its queue has no bound either, and each copy costs it a task.
So this sink does the fan-out itself: it matches synchronously, on a table that can't change meanwhile, and writes each
copy to the subscriber's connection. What waits for one subscriber (its PUBACK, room in its connection, or its return) is
bounded, in messages and in bytes; what exceeds it is dropped and counted. Copies to one subscriber leave in the order of
their messages.

A QoS 1 copy stands in amqtt's own books (`inflight_out`, the PUBACK waiters) as if amqtt had sent it. So a persistent
session that goes away gets what it has not acknowledged when it comes back. [MQTT-4.4.0-1]

This is one of the two modules that import amqtt (docs/architecture.md); it leans on internals of 0.12
(`Broker._sessions` by way of `BrokerContext`, `Session.transitions`, the handler's waiters), hence the cap in
pyproject.toml.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from amqtt.adapters import StreamWriterAdapter
from amqtt.broker import BrokerContext, RetainedApplicationMessage
from amqtt.session import OutgoingApplicationMessage, Session

from gateway import mqtt
from gateway.applications import Applications
from gateway.mqtt.topics import matches

__all__ = ["AmqttSink"]


_CLOSE_TIMEOUT_S: Final = 2.0
_ROOM_BYTES: Final = 64 * 1024
"""A subscriber whose connection holds more than this unsent is behind."""
_KEPT: Final = "gateway.kept"
"""An attribute of an away session: how many messages were there when their bytes were counted last, and those bytes."""
_SENT: Final = object()
"""Stands where amqtt keeps the packet it sent: a copy that is sent again has DUP then. [MQTT-3.3.1-1]"""


class _Backlog:
    """What one subscriber has not acknowledged."""

    __slots__ = ("bytes", "copies")

    def __init__(self) -> None:
        self.copies = 0
        self.bytes = 0


class AmqttSink:
    """Implements `gateway.telemetry.router.Sink`."""

    def __init__(
        self, context: BrokerContext, applications: Applications, *, max_backlog: int, max_backlog_bytes: int
    ) -> None:
        self._context = context
        self._applications = applications
        self._max_backlog = max_backlog
        self._max_backlog_bytes = max_backlog_bytes
        self._waiting: dict[str, _Backlog] = {}
        self._behind: Counter[str] = Counter()
        self._copies: set[asyncio.Future[Any]] = set()
        self._lost = 0

    def deliver(self, topic: str, payload: bytes, qos: int) -> int:
        dropped = 0
        for topic_filter, subscriptions in self._context.subscriptions.items():
            if subscriptions and matches(topic_filter, topic):
                for session, granted_qos in subscriptions:
                    dropped += not self._deliver_to(session, topic, payload, min(qos, granted_qos))
        return dropped

    def take_lost(self) -> int:
        lost, self._lost = self._lost, 0
        return lost

    @property
    def backlog(self) -> int:
        return len(self._copies)

    async def close(self) -> None:
        """Let what is on its way arrive, within bounds: the applications are disconnected next."""
        if self._copies:
            _, late = await asyncio.wait(self._copies, timeout=_CLOSE_TIMEOUT_S)
            for copy in late:
                copy.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _deliver_to(self, session: Session, topic: str, payload: bytes, qos: int) -> bool:
        """False if there was no room. A subscriber without the right, or away without a session, is no drop."""
        if not self._applications.may_receive(session.username, topic):
            return True
        if session.transitions.state != "connected":
            return self._keep_for(session, topic, payload, qos)
        client_id = session.client_id or ""
        room = self._max_backlog_bytes - len(payload)
        waiting = self._waiting.get(client_id)
        if waiting is not None:
            room -= waiting.bytes
            if room < 0 or waiting.copies >= self._max_backlog:
                return False
        _, handler = self._context._broker_instance.sessions.get(client_id, (None, None))  # noqa: SLF001
        if handler is None:
            return True
        if not isinstance(
            handler.writer, StreamWriterAdapter
        ):  # a WebSocket frames what it is given by itself
            sending = asyncio.ensure_future(handler.mqtt_publish(topic, payload, qos, retain=False))
            self._expect(
                client_id,
                len(payload),
                sending,
                lost=lambda: not sending.cancelled() and sending.exception() is not None,
            )
            return True
        if not self._has_room(client_id, handler.writer, room):
            return False
        if qos:
            self._send_acknowledged(session, handler, topic, payload)
        else:
            handler.writer.write(mqtt.encode(mqtt.Publish(topic, payload)))
        return True

    def _has_room(self, client_id: str, writer: StreamWriterAdapter, room: int) -> bool:
        """Whether the connection takes more: all that fits, and then as many messages as the backlog allows.

        `room` is how many bytes it may hold unsent.
        """
        unsent = writer._writer.transport.get_write_buffer_size()  # noqa: SLF001
        if unsent <= _ROOM_BYTES:
            self._behind.pop(client_id, None)
            return True
        if unsent > room:
            return False
        self._behind[client_id] += 1
        return self._behind[client_id] <= self._max_backlog

    def _send_acknowledged(self, session: Session, handler: Any, topic: str, payload: bytes) -> None:
        """QoS 1, as amqtt does it, but for the task and its five seconds."""
        packet_id = session.next_packet_id
        message = OutgoingApplicationMessage(packet_id, topic, 1, payload, retain=False)
        message.publish_packet = _SENT
        session.inflight_out[packet_id] = message
        acknowledged = asyncio.get_running_loop().create_future()
        handler._puback_waiters[packet_id] = acknowledged  # noqa: SLF001
        handler.writer.write(mqtt.encode(mqtt.Publish(topic, payload, qos=1, packet_id=packet_id)))

        def settle(done: "asyncio.Future[Any]") -> None:
            if handler._puback_waiters.get(packet_id) is done:  # noqa: SLF001
                del handler._puback_waiters[packet_id]  # noqa: SLF001
            if not done.cancelled() or session.clean_session:
                session.inflight_out.pop(packet_id, None)

        acknowledged.add_done_callback(settle)
        self._expect(
            session.client_id or "",
            len(payload),
            acknowledged,
            lost=lambda: acknowledged.cancelled() and bool(session.clean_session),
        )

    def _keep_for(self, session: Session, topic: str, payload: bytes, qos: int) -> bool:
        """For a persistent session that is away: QoS 1 waits for it, within the same bound. [MQTT-3.1.2-5]"""
        if session.clean_session or session.is_anonymous or qos == 0:
            return True
        kept, unacknowledged = session.retained_messages.qsize(), len(session.inflight_out)
        counted = session.attributes.get(_KEPT)
        if counted is None or counted[:2] != (kept, unacknowledged):
            counted = (kept, unacknowledged, _bytes_held(session))  # it was here meanwhile
        held = counted[2] + len(payload)
        if kept >= self._max_backlog or held > self._max_backlog_bytes:
            session.attributes[_KEPT] = counted
            return False
        session.attributes[_KEPT] = (kept + 1, unacknowledged, held)
        session.retained_messages.put_nowait(RetainedApplicationMessage(None, topic, payload, qos))
        return True

    def _expect(
        self, client_id: str, size: int, copy: "asyncio.Future[Any]", *, lost: Callable[[], bool]
    ) -> None:
        """Count `copy` as waiting until it is done; `lost` then says whether it never arrived."""

        waiting = self._waiting.get(client_id)
        if waiting is None:
            waiting = self._waiting[client_id] = _Backlog()

        def done(_: "asyncio.Future[Any]") -> None:
            self._copies.discard(copy)
            waiting.copies -= 1
            waiting.bytes -= size
            if not waiting.copies:
                del self._waiting[client_id]
            self._lost += lost()

        waiting.copies += 1
        waiting.bytes += size
        self._copies.add(copy)
        copy.add_done_callback(done)


def _bytes_held(session: Session) -> int:
    """Of the messages that wait for an away session, and of those that it has not acknowledged."""
    kept = session.retained_messages._queue  # noqa: SLF001
    return sum(len(message.data) for message in (*kept, *session.inflight_out.values()))
