"""Telemetry to the applications that are connected to amqtt.

amqtt's own broadcast loop walks its table of subscriptions while it awaits; one SUBSCRIBE meanwhile breaks the
walk, and the subscribers not yet served miss the message. Its queue has no bound either. So this sink does
the fan-out itself: it matches synchronously, on a table that can't change meanwhile, and hands each copy
to the session's protocol handler. A subscriber may have a bounded number of copies waiting; what exceeds it
is dropped and counted. Copies to one subscriber start in the order of their messages.

This is one of the two modules that import amqtt (docs/architecture.md); it leans on internals of 0.12
(`Broker._sessions` by way of `BrokerContext`, `Session.transitions`), hence the cap in pyproject.toml.
"""

import asyncio
from collections import Counter
from typing import Any, Final

from amqtt.broker import BrokerContext, RetainedApplicationMessage
from amqtt.session import Session

from gateway.applications import Applications
from gateway.mqtt.topics import matches

__all__ = ["AmqttSink"]


_CLOSE_TIMEOUT_S: Final = 2.0


class AmqttSink:
    """Implements `gateway.telemetry.router.Sink`."""

    def __init__(self, context: BrokerContext, applications: Applications, *, max_backlog: int) -> None:
        self._context = context
        self._applications = applications
        self._max_backlog = max_backlog
        self._waiting: Counter[str] = Counter()
        self._copies: set[asyncio.Task[Any]] = set()
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
        if self._waiting[client_id] >= self._max_backlog:
            return False
        _, handler = self._context._broker_instance.sessions.get(client_id, (None, None))  # noqa: SLF001
        if handler is None:
            return True
        self._waiting[client_id] += 1
        copy = asyncio.get_running_loop().create_task(
            handler.mqtt_publish(topic, payload, qos, retain=False), name=f"telemetry to {client_id}"
        )
        self._copies.add(copy)
        copy.add_done_callback(lambda done: self._copy_ended(client_id, done))
        return True

    def _keep_for(self, session: Session, topic: str, payload: bytes, qos: int) -> bool:
        """For a persistent session that is away: QoS 1 waits for it, within the same bound. [MQTT-3.1.2-5]"""
        if session.clean_session or session.is_anonymous or qos == 0:
            return True
        if session.retained_messages.qsize() >= self._max_backlog:
            return False
        session.retained_messages.put_nowait(RetainedApplicationMessage(None, topic, payload, qos))
        return True

    def _copy_ended(self, client_id: str, copy: "asyncio.Task[Any]") -> None:
        self._copies.discard(copy)
        self._waiting[client_id] -= 1
        if self._waiting[client_id] <= 0:
            del self._waiting[client_id]
        if not copy.cancelled() and copy.exception() is not None:
            # The subscriber went away, or let amqtt's five seconds for a PUBACK pass.
            self._lost += 1
