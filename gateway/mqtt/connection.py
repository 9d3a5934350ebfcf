"""The server's end of an MQTT connection, without a socket: bytes in, events and bytes out.

             CONNECT                accept
    NEW ───────────────▶ DECIDING ─────────▶ OPEN ──┐ packets, both ways
     │                      │                 │  ◀──┘
     │ CONNECT that can     │ refuse          │ DISCONNECT
     │ only be refused      ▼                 ▼
     └───▶ REFUSING ─────▶ CLOSED ◀────────── a violation, from any state
                 refuse

`TRANSITIONS` is that picture as a table. Whoever owns the socket feeds what it reads to `receive_data`,
handles the events, and sends what the actions return. Time is the caller's too: the deadline for CONNECT, the
keep-alive.

The CONNECT says whether the connection speaks MQTT 3.1.1 or 5. In 5 the server holds the client to what its CONNACK
announces (`gateway.mqtt.agreement`), and says why it ends a connection.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Final

from gateway.mqtt.agreement import Agreement
from gateway.mqtt.codec import CODECS, MQTT_3_1_1, MQTT_5, Decoder
from gateway.mqtt.errors import InflightFull, InvalidPacket, MalformedPacket, TooLargeForClient, WrongState
from gateway.mqtt.packets import (
    MQTT_5_LEVEL,
    Auth,
    ClientPacket,
    Connack,
    Connect,
    Disconnect,
    Packet,
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
    UnsupportedProtocol,
)
from gateway.mqtt.properties import NO_PROPERTIES, Properties
from gateway.mqtt.reasons import REASONS_OF, ReasonCode
from gateway.mqtt.v311 import PUBACK_HEADER
from gateway.mqtt.wire import write_packet_id

__all__ = ["TRANSITIONS", "Action", "Event", "ServerConnection", "State", "Violation"]

_MAX_PACKET_ID: Final = 65535


class State(StrEnum):
    NEW = "new"
    DECIDING = "deciding"
    """A CONNECT was received and waits for `accept` or `refuse`."""
    REFUSING = "refusing"
    """Likewise, but the specification leaves only `refuse`."""
    OPEN = "open"
    CLOSED = "closed"


class Action(StrEnum):
    """What the server's side can do."""

    ACCEPT = "accept"
    REFUSE = "refuse"
    SEND = "send"
    DISCONNECT = "disconnect"
    """MQTT 5 only."""


TRANSITIONS: Final[Mapping[State, Mapping[type[ClientPacket] | Action, State]]] = {
    State.NEW: {Connect: State.DECIDING, UnsupportedProtocol: State.REFUSING},
    State.DECIDING: {Action.ACCEPT: State.OPEN, Action.REFUSE: State.CLOSED},
    State.REFUSING: {Action.REFUSE: State.CLOSED},
    State.OPEN: {
        Publish: State.OPEN,
        Puback: State.OPEN,
        Pubrec: State.OPEN,
        Pubrel: State.OPEN,
        Pubcomp: State.OPEN,
        Subscribe: State.OPEN,
        Unsubscribe: State.OPEN,
        Pingreq: State.OPEN,
        Disconnect: State.CLOSED,
        Auth: State.OPEN,
        Action.SEND: State.OPEN,
        Action.DISCONNECT: State.CLOSED,
    },
    State.CLOSED: {},
}
"""What may happen in each state, and where it leads. A received packet that is not there is a violation, an
action that is not there is the caller's mistake. One exception is in the code: a CONNECT that lacks its
client id leads to REFUSING [MQTT-3.1.3-8]."""

_READING: Final = frozenset((State.NEW, State.OPEN))
_MIN_CLIENT_PACKET_SIZE: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """The peer broke the protocol: close the connection, in MQTT 3.1.1 without a word [MQTT-4.8.0-1] [MQTT-3.1.4-1].

    `message` is one line for a log and ends with the tag in brackets; `tag` names the broken rule, and is
    empty if the rule is not the specification's. `answer` is to be sent first: in MQTT 5 the CONNACK or DISCONNECT that
    says what was wrong [MQTT5-4.13.1-1]. It is the last event.
    """

    message: str
    tag: str
    answer: bytes = b""


Event = ClientPacket | Violation


@cache
def _connack(level: int, session_present: bool, code: int) -> bytes:
    return CODECS[level].encode(Connack(session_present=session_present, code=code))


class ServerConnection:
    """The state of one connection.

    Until the CONNECT is accepted a packet may have `max_connect_packet_size` bytes, and as many may wait for
    the decision; then `max_packet_size`. At most `max_inflight` QoS 1 messages to the client are
    unacknowledged, and no more than the client's Receive Maximum. A client of MQTT 5 that takes packets of less than
    `min_client_packet_size` bytes is refused: it could not take every CONNACK.
    """

    __slots__ = (
        "_agreement",
        "_codec",
        "_decoder",
        "_inflight",
        "_last_packet_id",
        "_max_inflight",
        "_max_packet_size",
        "_min_client_packet_size",
        "_state",
    )

    def __init__(
        self,
        *,
        max_connect_packet_size: int,
        max_packet_size: int,
        max_inflight: int,
        min_client_packet_size: int = _MIN_CLIENT_PACKET_SIZE,
    ) -> None:
        if not 1 <= max_inflight <= _MAX_PACKET_ID:
            raise ValueError("max_inflight is not in 1..65535")
        self._state = State.NEW
        self._codec = MQTT_3_1_1
        self._agreement: Agreement | None = None
        self._decoder = Decoder(MQTT_3_1_1.from_client, max_packet_size=max_connect_packet_size)
        self._max_packet_size = max_packet_size
        self._max_inflight = max_inflight
        self._min_client_packet_size = min_client_packet_size
        self._inflight: set[int] = set()
        self._last_packet_id = 0

    @property
    def state(self) -> State:
        return self._state

    @property
    def level(self) -> int:
        """The protocol level: 4 until a CONNECT says otherwise."""
        return self._codec.level

    @property
    def session_expiry_interval(self) -> int:
        """MQTT 5: for how many seconds the session outlives the connection, as last agreed."""
        return 0 if self._agreement is None else self._agreement.session_expiry_interval

    @property
    def inflight(self) -> int:
        """The number of QoS 1 messages that the client has not acknowledged."""
        return len(self._inflight)

    def receive_data(self, data: bytes) -> Iterator[Event]:
        """The events that `data` completes. Take them all, or drop the connection.

        A CONNECT or `UnsupportedProtocol` asks for `accept` or `refuse`. What follows it is held until then:
        answer while you iterate, and the held events come next; answer later, and `receive_data(b"")` gives
        them. After a `Disconnect` or a `Violation` nothing comes any more.
        """
        if self._state is State.CLOSED:
            return iter(())  # [MQTT-3.1.4-5] [MQTT-3.14.4-2]
        self._decoder.feed(data)
        if self._state in _READING:
            # Lazy, so that an answer given to one event decides whether and how the next is read.
            return iter(self._next_event, None)
        if self._decoder.buffered > self._decoder.max_packet_size:
            return iter((self._violation("too many bytes before the CONNACK"),))
        return iter(())

    def accept(self, *, session_present: bool, properties: Properties = NO_PROPERTIES) -> bytes:
        """The CONNACK that opens the session. Raises `WrongState`.

        `properties` are MQTT 5's. What they announce as a limit the client is held to.
        """
        if self._agreement is None:
            packet = _connack(self._codec.level, session_present, 0)
        else:
            packet = self._encode(Connack(session_present=session_present, code=0, properties=properties))
            self._agreement.announce(properties)
            self._max_inflight = min(self._max_inflight, self._agreement.receive_maximum)
        self._act(Action.ACCEPT)
        self._decoder.max_packet_size = self._max_packet_size
        return packet

    def refuse(self, code: int, properties: Properties = NO_PROPERTIES) -> bytes:
        """The CONNACK that says no; close the connection after it [MQTT-3.2.2-5]. Raises `WrongState`.

        `code` is a return code, or with MQTT 5 a reason code; `properties` are for MQTT 5 only.
        """
        if not code:
            raise InvalidPacket("a refusal needs a return code other than 0", "MQTT-3.2.2-5")
        if self._agreement is None:
            packet = _connack(self._codec.level, False, code)
        else:
            packet = self._encode(Connack(session_present=False, code=code, properties=properties))
        self._act(Action.REFUSE)
        return packet

    def disconnect(self, reason: int, properties: Properties = NO_PROPERTIES) -> bytes:
        """MQTT 5: the server's last word.

        Raises `WrongState`, in MQTT 3.1.1 too, where it has none; and `InvalidPacket` for what only a client may say.
        """
        if self._agreement is None:
            raise WrongState("a server of MQTT 3.1.1 closes without a word")
        if reason < ReasonCode.UNSPECIFIED_ERROR:
            raise InvalidPacket("a server's DISCONNECT has a client's reason", "MQTT5-3.14.2-1")
        if properties.session_expiry_interval is not None:
            raise InvalidPacket("a server's DISCONNECT has a session expiry", "MQTT5-3.14.2-2")
        self._act(Action.DISCONNECT)
        return self._encode(Disconnect(reason=reason, properties=properties))

    def publish(self, topic: str, payload: bytes, qos: int) -> bytes:
        """A message to the client, QoS 0 or 1.

        Raises `InflightFull`, `TooLargeForClient`, `WrongState`, or `InvalidPacket` and `InvalidTopic` for what MQTT
        can't say.
        """
        if not qos:
            return self.send(Publish(topic=topic, payload=payload))
        if qos != 1:
            raise InvalidPacket("this end sends with QoS 0 or 1")
        if len(self._inflight) >= self._max_inflight:
            raise InflightFull(f"{self._max_inflight} messages wait for their PUBACK")
        packet_id = self._unused_packet_id()
        packet = self.send(Publish(topic=topic, payload=payload, qos=1, packet_id=packet_id))
        self._inflight.add(packet_id)
        self._last_packet_id = packet_id
        return packet

    def puback(self, packet_id: int) -> bytes:
        if self._agreement is None:
            self._act(Action.SEND)
            return PUBACK_HEADER + write_packet_id(packet_id)  # the most frequent answer of all
        return self.send(Puback(packet_id=packet_id))

    def suback(self, packet_id: int, codes: tuple[int, ...]) -> bytes:
        """`codes` in the order of the SUBSCRIBE's filters [MQTT-3.9.3-1]."""
        return self.send(Suback(packet_id=packet_id, codes=codes))

    def unsuback(self, packet_id: int, codes: tuple[int, ...] = ()) -> bytes:
        """`codes` are for MQTT 5 only, in the order of the UNSUBSCRIBE's filters [MQTT5-3.11.3-1]."""
        return self.send(Unsuback(packet_id=packet_id, codes=codes))

    def pingresp(self) -> bytes:
        return self.send(Pingresp())

    def send(self, packet: Packet) -> bytes:
        """Any other packet of an open session. Raises as `publish` does."""
        self._act(Action.SEND)
        return self._encode(packet)

    def _next_event(self) -> Event | None:
        """None if there is none yet, or none is wanted."""
        if self._state not in _READING:
            return None
        try:
            packet = self._decoder.next_packet()
            if packet is None:
                return None
            if self._agreement is not None:
                packet = self._agreement.check(packet)
        except MalformedPacket as error:
            if error.connect_level == MQTT_5_LEVEL:
                self._codec = MQTT_5
            return self._violation(error.message, self._codec.tag(error.tag), error.reason)
        state = TRANSITIONS[self._state].get(type(packet))
        if state is None:
            tag = "MQTT-3.1.0-1" if self._state is State.NEW else "MQTT-3.1.0-2"
            what = "the first packet is not a CONNECT" if self._state is State.NEW else "a second CONNECT"
            return self._violation(what, self._codec.tag(tag), ReasonCode.PROTOCOL_ERROR)
        if isinstance(packet, Puback):
            # An identifier that we do not wait for frees nothing and does no harm.
            self._inflight.discard(packet.packet_id)
        elif isinstance(packet, Connect):
            return self._connect_received(packet)
        self._state = state
        return packet

    def _connect_received(self, connect: Connect) -> Event:
        self._state = State.REFUSING if connect.lacks_client_id else State.DECIDING
        if connect.protocol_level == MQTT_5_LEVEL:
            self._codec = MQTT_5
            self._decoder.decoders = MQTT_5.from_client
            self._agreement = Agreement(connect)
            if self._agreement.max_packet_size < self._min_client_packet_size:
                return self._violation(
                    f"the client takes packets of {self._agreement.max_packet_size} bytes at most, and"
                    f" {self._min_client_packet_size} are needed",
                    reason=ReasonCode.PACKET_TOO_LARGE,
                )
        return connect

    def _violation(
        self, message: str, tag: str = "", reason: int = ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR
    ) -> Violation:
        answer = self._last_word(message, reason) if self._codec is MQTT_5 else b""
        self._state = State.CLOSED
        return Violation(message=f"{message} [{tag}]" if tag else message, tag=tag, answer=answer)

    def _last_word(self, message: str, reason: int) -> bytes:
        """MQTT 5: what to say before the connection is closed for a violation."""
        properties = Properties(reason_string=message)
        packet: Connack | Disconnect
        if self._state is State.OPEN:
            packet = Disconnect(reason=reason, properties=properties)
        else:
            code = reason if reason in REASONS_OF["CONNACK"] else ReasonCode.PROTOCOL_ERROR
            packet = Connack(session_present=False, code=code, properties=properties)
        try:
            return self._encode(packet)
        except TooLargeForClient:
            return b""

    def _act(self, action: Action) -> None:
        state = TRANSITIONS[self._state].get(action)
        if state is None:
            raise WrongState(f"{action.value} is not possible while the connection is {self._state.value}")
        self._state = state

    def _encode(self, packet: Packet) -> bytes:
        if self._agreement is None:
            return self._codec.encode(packet)
        return self._agreement.fit(packet, self._codec.encode)

    def _unused_packet_id(self) -> int:
        """[MQTT-2.3.1-4]; there is one, since fewer than `max_inflight` are in use."""
        packet_id = self._last_packet_id % _MAX_PACKET_ID + 1
        while packet_id in self._inflight:
            packet_id = packet_id % _MAX_PACKET_ID + 1
        return packet_id
