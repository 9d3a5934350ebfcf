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
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Final

from gateway.mqtt.codec import CODECS, MQTT_3_1_1, Decoder
from gateway.mqtt.errors import InflightFull, InvalidPacket, MalformedPacket, WrongState
from gateway.mqtt.packets import (
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
        Action.SEND: State.OPEN,
    },
    State.CLOSED: {},
}
"""What may happen in each state, and where it leads. A received packet that is not there is a violation, an
action that is not there is the caller's mistake. One exception is in the code: a CONNECT that lacks its
client id leads to REFUSING [MQTT-3.1.3-8]."""

_READING: Final = frozenset((State.NEW, State.OPEN))


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """The peer broke the protocol: close the connection, without a word [MQTT-4.8.0-1] [MQTT-3.1.4-1].

    `message` is one line for a log and ends with the tag in brackets; `tag` names the broken rule, and is
    empty if the rule is not the specification's. It is the last event.
    """

    message: str
    tag: str


Event = ClientPacket | Violation


@cache
def _connack(level: int, session_present: bool, code: int) -> bytes:
    return CODECS[level].encode(Connack(session_present=session_present, code=code))


class ServerConnection:
    """The state of one connection.

    Until the CONNECT is accepted a packet may have `max_connect_packet_size` bytes, and as many may wait for
    the decision; then `max_packet_size`. At most `max_inflight` QoS 1 messages to the client are
    unacknowledged.
    """

    __slots__ = (
        "_codec",
        "_decoder",
        "_inflight",
        "_last_packet_id",
        "_max_inflight",
        "_max_packet_size",
        "_state",
    )

    def __init__(self, *, max_connect_packet_size: int, max_packet_size: int, max_inflight: int) -> None:
        if not 1 <= max_inflight <= _MAX_PACKET_ID:
            raise ValueError("max_inflight is not in 1..65535")
        self._state = State.NEW
        self._codec = MQTT_3_1_1
        self._decoder = Decoder(MQTT_3_1_1.from_client, max_packet_size=max_connect_packet_size)
        self._max_packet_size = max_packet_size
        self._max_inflight = max_inflight
        self._inflight: set[int] = set()
        self._last_packet_id = 0

    @property
    def state(self) -> State:
        return self._state

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

    def accept(self, *, session_present: bool) -> bytes:
        """The CONNACK that opens the session. Raises `WrongState`."""
        packet = _connack(self._codec.level, session_present, 0)
        self._act(Action.ACCEPT)
        self._decoder.max_packet_size = self._max_packet_size
        return packet

    def refuse(self, code: int) -> bytes:
        """The CONNACK that says no; close the connection after it [MQTT-3.2.2-5]. Raises `WrongState`."""
        if not code:
            raise InvalidPacket("a refusal needs a return code other than 0", "MQTT-3.2.2-5")
        packet = _connack(self._codec.level, False, code)
        self._act(Action.REFUSE)
        return packet

    def publish(self, topic: str, payload: bytes, qos: int) -> bytes:
        """A message to the client, QoS 0 or 1.

        Raises `InflightFull`, `WrongState`, or `InvalidPacket` and `InvalidTopic` for what MQTT can't say.
        """
        if not qos:
            return self._send(Publish(topic=topic, payload=payload))
        if qos != 1:
            raise InvalidPacket("this end sends with QoS 0 or 1")
        if len(self._inflight) >= self._max_inflight:
            raise InflightFull(f"{self._max_inflight} messages wait for their PUBACK")
        packet_id = self._unused_packet_id()
        packet = self._send(Publish(topic=topic, payload=payload, qos=1, packet_id=packet_id))
        self._inflight.add(packet_id)
        self._last_packet_id = packet_id
        return packet

    def puback(self, packet_id: int) -> bytes:
        return self._send(Puback(packet_id=packet_id))

    def suback(self, packet_id: int, codes: tuple[int, ...]) -> bytes:
        """`codes` in the order of the SUBSCRIBE's filters [MQTT-3.9.3-1]."""
        return self._send(Suback(packet_id=packet_id, codes=codes))

    def unsuback(self, packet_id: int) -> bytes:
        return self._send(Unsuback(packet_id=packet_id))

    def pingresp(self) -> bytes:
        return self._send(Pingresp())

    def _next_event(self) -> Event | None:
        """None if there is none yet, or none is wanted."""
        if self._state not in _READING:
            return None
        try:
            packet = self._decoder.next_packet()
        except MalformedPacket as error:
            return self._violation(error.message, error.tag)
        if packet is None:
            return None
        state = TRANSITIONS[self._state].get(type(packet))
        if state is None:
            if self._state is State.NEW:
                return self._violation("the first packet is not a CONNECT", "MQTT-3.1.0-1")
            return self._violation("a second CONNECT", "MQTT-3.1.0-2")
        self._state = state
        if isinstance(packet, Puback):
            # An identifier that we do not wait for frees nothing and does no harm.
            self._inflight.discard(packet.packet_id)
        elif isinstance(packet, Connect):
            if packet.lacks_client_id:
                self._state = State.REFUSING
            self._codec = CODECS[packet.protocol_level]
            self._decoder.decoders = self._codec.from_client
        return packet

    def _violation(self, message: str, tag: str = "") -> Violation:
        self._state = State.CLOSED
        return Violation(message=f"{message} [{tag}]" if tag else message, tag=tag)

    def _act(self, action: Action) -> None:
        state = TRANSITIONS[self._state].get(action)
        if state is None:
            raise WrongState(f"{action.value} is not possible while the connection is {self._state.value}")
        self._state = state

    def _send(self, packet: Packet) -> bytes:
        self._act(Action.SEND)
        return self._codec.encode(packet)

    def _unused_packet_id(self) -> int:
        """[MQTT-2.3.1-4]; there is one, since fewer than `max_inflight` are in use."""
        packet_id = self._last_packet_id % _MAX_PACKET_ID + 1
        while packet_id in self._inflight:
            packet_id = packet_id % _MAX_PACKET_ID + 1
        return packet_id
