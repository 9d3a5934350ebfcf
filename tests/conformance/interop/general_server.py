"""A general MQTT server over `gateway.mqtt`, for tests only: what the device listener leaves out of MQTT, it has.

The gateway's listener gives devices the topics of a hub and nothing else. To hold the protocol engine against other
people's conformance suites there has to be a server whose clients send to each other: retained messages, QoS 2,
wills, shared subscriptions, topic aliases both ways, sessions that outlive a connection. It knows nothing of sockets
or clocks: `Link` takes and gives bytes, and `GeneralServer.tick` says what time it is.

`python -m tests.conformance.interop.general_server --port 1883` puts it on a loopback socket, so that a suite from
elsewhere can be pointed at it.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from gateway.mqtt import (
    MAXIMUM_QOS,
    MQTT_5_LEVEL,
    NO_LOCAL,
    NO_PROPERTIES,
    RETAIN_AS_PUBLISHED,
    RETAIN_HANDLING,
    SHARED_PREFIX,
    ConnackCode,
    Connect,
    Disconnect,
    Event,
    Pingreq,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    ReasonCode,
    ServerConnection,
    Subscribe,
    TooLargeForClient,
    Unsubscribe,
    UnsupportedProtocol,
    Violation,
    Will,
    matches,
)

__all__ = [
    "FORBIDDEN_FILTER",
    "MAX_PACKET_SIZE",
    "RECEIVE_MAXIMUM",
    "SERVER_KEEP_ALIVE_S",
    "TOPIC_ALIAS_MAXIMUM",
    "GeneralServer",
    "Link",
]

MAX_PACKET_SIZE = 16 * 1024
RECEIVE_MAXIMUM = 10
TOPIC_ALIAS_MAXIMUM = 10
SERVER_KEEP_ALIVE_S = 60
FORBIDDEN_FILTER = "test/nosubscribe"
"""The one topic filter that nobody may subscribe to."""

_FOREVER = 0xFFFFFFFF
_MAX_PACKET_ID = 65535
_FAILURE = 0x80


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Message:
    """What one client sent, before it is known who gets it. `expires_at` is None if it never does."""

    publish: Publish
    publisher: str
    expires_at: float | None = None


@dataclasses.dataclass(kw_only=True)
class _Subscription:
    options: int
    identifier: int | None


@dataclasses.dataclass(kw_only=True)
class _Outgoing:
    """A message on its way to one client; `packet_id` from the time that it was sent first."""

    message: _Message
    qos: int
    retain: bool
    identifiers: tuple[int, ...] = ()
    packet_id: int | None = None


class _Session:
    """What the server keeps for a client id."""

    def __init__(self, client_id: str) -> None:
        self.client_id = client_id
        self.link: Link | None = None
        self.subscriptions: dict[str, _Subscription] = {}
        self.queue: deque[_Outgoing] = deque()
        # By packet identifier: what was sent and waits for PUBACK or PUBREC; None once it waits for PUBCOMP.
        self.inflight: dict[int, _Outgoing | None] = {}
        self.received: set[int] = set()  # QoS 2: identifiers whose PUBREL has not come
        self.will: tuple[Will, float] | None = (
            None  # and when it is to be published, while nobody is connected
        )
        self.ends_at: float | None = None
        self._identifiers = itertools.cycle(range(1, _MAX_PACKET_ID + 1))

    def unused_packet_id(self) -> int:
        return next(one for one in self._identifiers if one not in self.inflight)


class Link:
    """One connection: `receive` what the peer sends; what it gets goes to `write`, and `close` ends it."""

    def __init__(
        self, server: "GeneralServer", write: Callable[[bytes], None], close: Callable[[], None]
    ) -> None:
        self._server = server
        self._write = write
        self._close = close
        self.connection = ServerConnection(
            max_connect_packet_size=MAX_PACKET_SIZE,
            max_packet_size=MAX_PACKET_SIZE,
            max_inflight=1,  # of `ServerConnection.publish`, which is not used: sessions count their own
            min_client_packet_size=1,
        )
        self.session: _Session | None = None
        self.will: Will | None = None
        self.will_delay_s = 0
        self.window = _MAX_PACKET_ID
        self.alias_maximum = 0
        self.clean_session = True
        self.aliases: dict[str, int] = {}
        self.keep_alive_s = 0
        self.last_heard = server.now
        self.is_open = True

    def receive(self, data: bytes) -> None:
        if not self.is_open:
            return
        for event in self.connection.receive_data(data):
            self.last_heard = self._server.now  # at a whole packet [MQTT-3.1.2-24]
            self._server.handle(self, event)

    def lost(self) -> None:
        """The network went away."""
        if self.is_open:
            self._server.connection_ended(self)

    def write(self, data: bytes) -> None:
        if self.is_open:
            self._write(data)

    def end(self, last_word: bytes = b"") -> None:
        """Close from this side; the caller has settled what becomes of the session."""
        self.write(last_word)
        self.is_open = False
        self._close()

    def alias_of(self, topic: str) -> int | None:
        """The alias that stands for `topic`, or is to be given to it; None if there is none left."""
        if topic in self.aliases:
            return self.aliases[topic]
        return len(self.aliases) + 1 if len(self.aliases) < self.alias_maximum else None

    @property
    def is_5(self) -> bool:
        return self.connection.level == MQTT_5_LEVEL

    def say_goodbye(self, reason: ReasonCode) -> bytes:
        return self.connection.disconnect(reason) if self.is_5 else b""


class GeneralServer:
    """Sessions, subscriptions, retained messages and timers, for any number of links."""

    def __init__(self) -> None:
        self.now = 0.0
        """In seconds, from `tick`."""
        self._sessions: dict[str, _Session] = {}
        self._retained: dict[str, _Message] = {}
        self._links: set[Link] = set()
        self._names = itertools.count(1)
        self._turns: dict[str, int] = {}  # of shared subscriptions
        self._handlers: dict[type[Event], Callable[[Link, Any], None]] = {
            Connect: self._connect,
            UnsupportedProtocol: self._refuse_protocol,
            Violation: lambda link, violation: self.connection_ended(link, violation.answer),
            Publish: self._publish_received,
            Pubrel: self._released,
            Puback: self._acknowledged,
            Pubrec: self._acknowledged,
            Pubcomp: self._acknowledged,
            Subscribe: self._subscribe,
            Unsubscribe: self._unsubscribe,
            Pingreq: lambda link, _: link.write(link.connection.pingresp()),
            Disconnect: self._disconnected,
        }

    def open(self, write: Callable[[bytes], None], close: Callable[[], None]) -> Link:
        link = Link(self, write, close)
        self._links.add(link)
        return link

    # Time

    def tick(self, now: float) -> None:
        """Let everything happen that is due by `now`, in its order."""
        order = itertools.count()
        due: list[tuple[float, int, Callable[[], None]]] = [
            (at, next(order), happens) for at, happens in self._timers() if at <= now
        ]
        heapq.heapify(due)
        while due:
            self.now, _, happens = heapq.heappop(due)
            happens()
        self.now = now

    def _timers(self) -> Iterator[tuple[float, Callable[[], None]]]:
        for link in self._links:
            if link.keep_alive_s:
                yield link.last_heard + 1.5 * link.keep_alive_s, partial(self._silent, link)
        for session in self._sessions.values():
            if session.will is not None:
                yield session.will[1], partial(self._publish_will, session)
            if session.ends_at is not None:
                yield session.ends_at, partial(self._end_session, session)

    def _silent(self, link: Link) -> None:
        self.connection_ended(link, link.say_goodbye(ReasonCode.KEEP_ALIVE_TIMEOUT))

    # What links report

    def handle(self, link: Link, event: Event) -> None:
        handler: Callable[[Link, Any], None] = self._handlers[type(event)]
        handler(link, event)

    def connection_ended(self, link: Link, last_word: bytes = b"") -> None:
        """Settle will and session as for a connection that went without a DISCONNECT of the client."""
        self._hang_up(link, last_word)
        session = link.session
        if session is None or session.link is not link:
            return
        session.link = None
        of_311 = 0 if link.clean_session else _FOREVER
        expiry = link.connection.session_expiry_interval if link.is_5 else of_311
        session.ends_at = None if expiry == _FOREVER else self.now + expiry
        if link.will is not None:
            session.will = (link.will, self.now + min(link.will_delay_s, expiry))
            if session.will[1] <= self.now:
                self._publish_will(session)
        if not expiry:
            self._end_session(session)

    def _disconnected(self, link: Link, disconnect: Disconnect) -> None:
        if disconnect.reason == ReasonCode.SUCCESS:
            link.will = None
        self.connection_ended(link)

    def _refuse_protocol(self, link: Link, _: UnsupportedProtocol) -> None:
        self._hang_up(link, link.connection.refuse(ConnackCode.UNACCEPTABLE_PROTOCOL))

    def _hang_up(self, link: Link, last_word: bytes = b"") -> None:
        self._links.discard(link)
        link.end(last_word)

    # Sessions

    def _connect(self, link: Link, connect: Connect) -> None:
        wanted = connect.properties
        if connect.lacks_client_id:
            self._hang_up(link, link.connection.refuse(ConnackCode.IDENTIFIER_REJECTED))
            return
        if wanted.authentication_method is not None:
            self._hang_up(link, link.connection.refuse(ReasonCode.BAD_AUTHENTICATION_METHOD))
            return
        client_id = connect.client_id or f"assigned-{next(self._names)}"
        session = self._sessions.get(client_id)
        if session is not None and session.link is not None:
            self.connection_ended(session.link, session.link.say_goodbye(ReasonCode.SESSION_TAKEN_OVER))
            session = self._sessions.get(client_id)
        if session is not None and connect.clean_session:
            self._end_session(session)
            session = None
        session_present = session is not None
        if session is None:
            session = self._sessions[client_id] = _Session(client_id)
        session.link, session.ends_at, session.will = link, None, None
        link.session, link.will = session, connect.will
        link.clean_session = connect.clean_session
        link.will_delay_s = connect.will.properties.will_delay_interval or 0 if connect.will else 0
        link.keep_alive_s = connect.keep_alive
        link.window = wanted.receive_maximum or _MAX_PACKET_ID
        link.alias_maximum = wanted.topic_alias_maximum or 0
        own = NO_PROPERTIES
        if link.is_5:
            if not 0 < connect.keep_alive <= SERVER_KEEP_ALIVE_S:
                link.keep_alive_s = SERVER_KEEP_ALIVE_S
            own = Properties(
                assigned_client_identifier=None if connect.client_id else client_id,
                maximum_packet_size=MAX_PACKET_SIZE,
                receive_maximum=RECEIVE_MAXIMUM,
                topic_alias_maximum=TOPIC_ALIAS_MAXIMUM,
                server_keep_alive=None if link.keep_alive_s == connect.keep_alive else link.keep_alive_s,
            )
        link.write(link.connection.accept(session_present=session_present, properties=own))
        self._resend(session, link)

    def _end_session(self, session: _Session) -> None:
        if session.will is not None:
            self._publish_will(session)
        self._sessions.pop(session.client_id, None)

    def _publish_will(self, session: _Session) -> None:
        if session.will is None:
            return
        will, _ = session.will
        session.will = None
        properties = dataclasses.replace(will.properties, will_delay_interval=None)
        self._route(
            session.client_id,
            Publish(will.topic, will.payload, will.qos, will.retain, properties=properties),
        )

    # Messages from clients

    def _publish_received(self, link: Link, publish: Publish) -> None:
        session = _of(link)
        if publish.qos == 2:
            if publish.packet_id not in session.received:
                session.received.add(publish.packet_id or 0)
                self._route(session.client_id, publish)
            link.write(link.connection.send(Pubrec(packet_id=publish.packet_id or 0)))
            return
        self._route(session.client_id, publish)
        if publish.packet_id is not None:
            link.write(link.connection.puback(publish.packet_id))

    def _released(self, link: Link, pubrel: Pubrel) -> None:
        session = _of(link)
        known = pubrel.packet_id in session.received
        session.received.discard(pubrel.packet_id)
        reason = 0 if known or not link.is_5 else ReasonCode.PACKET_IDENTIFIER_NOT_FOUND
        link.write(link.connection.send(Pubcomp(packet_id=pubrel.packet_id, reason=reason)))

    def _route(self, publisher: str, publish: Publish) -> None:
        properties = dataclasses.replace(publish.properties, topic_alias=None)
        publish = publish._replace(packet_id=None, dup=False, properties=properties)
        expiry = properties.message_expiry_interval
        message = _Message(
            publish=publish, publisher=publisher, expires_at=None if expiry is None else self.now + expiry
        )
        if publish.retain:
            if publish.payload:
                self._retained[publish.topic] = message
            else:
                self._retained.pop(publish.topic, None)
        shared: dict[str, list[tuple[_Session, _Subscription]]] = {}
        for session in list(self._sessions.values()):
            own: list[_Subscription] = []
            for topic_filter, subscription in session.subscriptions.items():
                if topic_filter.startswith(SHARED_PREFIX):
                    if matches(topic_filter.split("/", 2)[2], publish.topic):
                        shared.setdefault(topic_filter, []).append((session, subscription))
                elif matches(topic_filter, publish.topic) and not (
                    subscription.options & NO_LOCAL and session.client_id == publisher
                ):
                    own.append(subscription)
            if own:
                self._give(session, message, own)
        for topic_filter, members in shared.items():
            turn = self._turns[topic_filter] = self._turns.get(topic_filter, -1) + 1
            awake = [one for one in members if one[0].link is not None] or members
            member, subscription = awake[turn % len(awake)]
            self._give(member, message, [subscription])

    def _give(self, session: _Session, message: _Message, subscriptions: Iterable[_Subscription]) -> None:
        """One copy, however many subscriptions match: with the highest QoS, and all their identifiers."""
        subscriptions = list(subscriptions)
        wanted = max(one.options & MAXIMUM_QOS for one in subscriptions)
        as_published = any(one.options & RETAIN_AS_PUBLISHED for one in subscriptions)
        self._enqueue(
            session,
            _Outgoing(
                message=message,
                qos=min(message.publish.qos, wanted),
                retain=message.publish.retain and as_published,
                identifiers=tuple(one.identifier for one in subscriptions if one.identifier is not None),
            ),
        )

    # Messages to clients

    def _enqueue(self, session: _Session, outgoing: _Outgoing) -> None:
        if outgoing.qos == 0 and session.link is None:
            return
        session.queue.append(outgoing)
        self._pump(session)

    def _pump(self, session: _Session) -> None:
        link = session.link
        while link is not None and session.queue:
            if session.queue[0].qos and len(session.inflight) >= link.window:
                return
            self._send(session, link, session.queue.popleft())

    def _send(self, session: _Session, link: Link, outgoing: _Outgoing, *, again: bool = False) -> None:
        message = outgoing.message
        properties = message.publish.properties
        if message.expires_at is not None:
            if message.expires_at <= self.now and not again:
                return
            left = max(int(message.expires_at - self.now), 1)
            properties = dataclasses.replace(properties, message_expiry_interval=left)
        if outgoing.identifiers:
            properties = dataclasses.replace(properties, subscription_identifiers=outgoing.identifiers)
        topic = message.publish.topic
        alias = link.alias_of(topic)
        if alias is not None:
            properties = dataclasses.replace(properties, topic_alias=alias)
        if outgoing.qos and outgoing.packet_id is None:
            outgoing.packet_id = session.unused_packet_id()
        publish = Publish(
            "" if topic in link.aliases else topic,
            message.publish.payload,
            outgoing.qos,
            outgoing.retain,
            dup=again,
            packet_id=outgoing.packet_id,
            properties=properties if link.is_5 else NO_PROPERTIES,
        )
        try:
            data = link.connection.send(publish)
        except TooLargeForClient:
            return  # [MQTT5-3.1.2-25]
        if alias is not None:
            link.aliases[topic] = alias
        if outgoing.packet_id is not None:
            session.inflight[outgoing.packet_id] = outgoing
        link.write(data)

    def _resend(self, session: _Session, link: Link) -> None:
        waiting, session.inflight = session.inflight, {}
        for packet_id, outgoing in waiting.items():
            if outgoing is None:
                session.inflight[packet_id] = None
                link.write(link.connection.send(Pubrel(packet_id=packet_id)))
            else:
                self._send(session, link, outgoing, again=True)
        self._pump(session)

    def _acknowledged(self, link: Link, ack: Puback | Pubrec | Pubcomp) -> None:
        session = _of(link)
        known = ack.packet_id in session.inflight
        if isinstance(ack, Pubrec) and ack.reason < _FAILURE:
            if session.inflight.get(ack.packet_id) is not None:
                # To the end: PUBRELs come again in the order of their PUBRECs [MQTT-4.6.0-4].
                del session.inflight[ack.packet_id]
                session.inflight[ack.packet_id] = None
            reason = 0 if known or not link.is_5 else ReasonCode.PACKET_IDENTIFIER_NOT_FOUND
            link.write(link.connection.send(Pubrel(packet_id=ack.packet_id, reason=reason)))
            return
        session.inflight.pop(ack.packet_id, None)
        self._pump(session)

    # Subscriptions

    def _subscribe(self, link: Link, subscribe: Subscribe) -> None:
        session = _of(link)
        identifiers = subscribe.properties.subscription_identifiers
        codes: list[int] = []
        retained: list[_Outgoing] = []
        for topic_filter, options in subscribe.filters:
            if topic_filter == FORBIDDEN_FILTER:
                codes.append(ReasonCode.UNSPECIFIED_ERROR)
                continue
            is_new = topic_filter not in session.subscriptions
            subscription = _Subscription(options=options, identifier=identifiers[0] if identifiers else None)
            session.subscriptions[topic_filter] = subscription
            codes.append(options & MAXIMUM_QOS)
            handling = (options & RETAIN_HANDLING) >> 4
            if handling == 0 or (handling == 1 and is_new):
                retained += self._retained_for(topic_filter, subscription)
        link.write(link.connection.suback(subscribe.packet_id, tuple(codes)))
        for outgoing in retained:
            self._enqueue(session, outgoing)

    def _retained_for(self, topic_filter: str, subscription: _Subscription) -> Iterable[_Outgoing]:
        if topic_filter.startswith(SHARED_PREFIX):
            return
        for topic, message in self._retained.items():
            if matches(topic_filter, topic):
                yield _Outgoing(
                    message=message,
                    qos=min(message.publish.qos, subscription.options & MAXIMUM_QOS),
                    retain=True,
                    identifiers=() if subscription.identifier is None else (subscription.identifier,),
                )

    def _unsubscribe(self, link: Link, unsubscribe: Unsubscribe) -> None:
        session = _of(link)
        codes = tuple(
            ReasonCode.SUCCESS
            if session.subscriptions.pop(topic_filter, None)
            else ReasonCode.NO_SUBSCRIPTION_EXISTED
            for topic_filter in unsubscribe.filters
        )
        link.write(link.connection.unsuback(unsubscribe.packet_id, codes if link.is_5 else ()))


def _of(link: Link) -> _Session:
    assert link.session is not None
    return link.session


# On a socket


class _SocketLink(asyncio.Protocol):
    def __init__(self, server: GeneralServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._link = self._server.open(transport.write, self._close)

    def _close(self) -> None:
        """Leave the peer time to read the last word: closing at once could take it back with a reset."""
        with contextlib.suppress(OSError):  # the peer was quicker
            self._transport.write_eof()
        asyncio.get_running_loop().call_later(1.0, self._transport.close)

    def data_received(self, data: bytes) -> None:
        self._server.now = asyncio.get_running_loop().time()
        self._link.receive(data)

    def connection_lost(self, _: Exception | None) -> None:
        self._link.lost()


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = GeneralServer()
    server.tick(loop.time())
    listener = await loop.create_server(lambda: _SocketLink(server), "127.0.0.1", port)
    print(
        f"a general MQTT server for tests listens on 127.0.0.1:{listener.sockets[0].getsockname()[1]}",
        flush=True,
    )
    while True:
        await asyncio.sleep(0.1)
        server.tick(loop.time())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A general MQTT server, for conformance suites")
    parser.add_argument("--port", type=int, default=1883)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(parser.parse_args().port))
