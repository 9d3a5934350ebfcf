"""A client in memory: it says what a test tells it to, and answers as a client must. Time is the test's."""

from typing import Any

from gateway.mqtt import (
    CODECS,
    MQTT_5_LEVEL,
    NO_PROPERTIES,
    Connack,
    Connect,
    Decoder,
    Disconnect,
    Packet,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    ServerPacket,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    Will,
)
from tests.conformance.interop.general_server import GeneralServer

__all__ = ["Client", "Net"]

_MAX_PACKET_SIZE = 1 << 28


class Net:
    """The server, the clock, and clients of one protocol level."""

    def __init__(self, level: int) -> None:
        self.level = level
        self.server = GeneralServer()

    def client(self, client_id: str, **connect: Any) -> "Client":
        """A client that is connected."""
        client = Client(self, client_id)
        client.connect(**connect)
        return client

    def wait(self, seconds: float) -> None:
        self.server.tick(self.server.now + seconds)


class Client:
    """`received` has every packet in its order, `messages` the PUBLISHes, with their topics where aliases stood."""

    def __init__(self, net: Net, client_id: str) -> None:
        self.client_id = client_id
        self.received: list[ServerPacket] = []
        self.messages: list[Publish] = []
        self.answers = True
        """Whether it acknowledges what it gets; one that does not is a client that hangs."""
        self.is_closed = True
        self._net = net
        self._packet_id = 0

    def open(self) -> None:
        """A network connection, and no word yet."""
        self._decoder = Decoder(CODECS[self._net.level].from_server, max_packet_size=_MAX_PACKET_SIZE)
        self._aliases: dict[int, str] = {}
        self._link = self._net.server.open(self._read, self._closed)
        self.is_closed = False

    def connect(
        self,
        *,
        clean: bool = True,
        keep_alive: int = 0,
        will: Will | None = None,
        session_expiry: int | None = None,
        wanted: Properties = NO_PROPERTIES,
    ) -> Connack | None:
        """The CONNACK; None if the server hung up without one. `session_expiry` counts in MQTT 5 only."""
        self.open()
        if self._net.level == MQTT_5_LEVEL and session_expiry is not None:
            wanted = Properties(session_expiry_interval=session_expiry)
        before = len(self.received)
        self.send(
            Connect(
                self.client_id,
                clean_session=clean,
                keep_alive=keep_alive,
                will=will,
                protocol_level=self._net.level,
                properties=wanted,
            )
        )
        answers = self.received[before:]
        return answers[0] if answers and isinstance(answers[0], Connack) else None

    def send(self, packet: Packet) -> None:
        self.send_bytes(CODECS[self._net.level].encode(packet))

    def send_bytes(self, data: bytes) -> None:
        if not self.is_closed:
            self._link.receive(data)

    def publish(
        self,
        topic: str,
        payload: bytes = b"",
        qos: int = 0,
        *,
        retain: bool = False,
        properties: Properties = NO_PROPERTIES,
    ) -> None:
        self.send(
            Publish(
                topic,
                payload,
                qos,
                retain,
                packet_id=self.next_packet_id() if qos else None,
                properties=properties,
            )
        )

    def subscribe(self, *filters: tuple[str, int], identifier: int | None = None) -> tuple[int, ...]:
        """The codes that the server granted. `filters` are pairs of topic filter and options."""
        properties = (
            NO_PROPERTIES if identifier is None else Properties(subscription_identifiers=(identifier,))
        )
        packet_id = self.next_packet_id()
        before = len(self.received)
        self.send(Subscribe(packet_id=packet_id, filters=filters, properties=properties))
        return next(
            one.codes
            for one in self.received[before:]
            if isinstance(one, Suback) and one.packet_id == packet_id
        )

    def unsubscribe(self, *filters: str) -> tuple[int, ...]:
        packet_id = self.next_packet_id()
        before = len(self.received)
        self.send(Unsubscribe(packet_id=packet_id, filters=filters))
        return next(
            one.codes
            for one in self.received[before:]
            if isinstance(one, Unsuback) and one.packet_id == packet_id
        )

    def disconnect(self, reason: int = 0, properties: Properties = NO_PROPERTIES) -> None:
        self.send(Disconnect(reason=reason, properties=properties))

    def vanish(self) -> None:
        """The network breaks."""
        self.is_closed = True
        self._link.lost()

    def forget(self) -> None:
        """Begin a new chapter: what was received so far is not looked at any more."""
        self.received.clear()
        self.messages.clear()

    @property
    def payloads(self) -> list[bytes]:
        return [one.payload for one in self.messages]

    @property
    def last_reason(self) -> int | None:
        """Why the server said that it goes; None if it said nothing."""
        last = self.received[-1] if self.received else None
        return last.reason if isinstance(last, Disconnect) else None

    def next_packet_id(self) -> int:
        self._packet_id += 1
        return self._packet_id

    def _closed(self) -> None:
        self.is_closed = True

    def _read(self, data: bytes) -> None:
        self._decoder.feed(data)
        while (packet := self._decoder.next_packet()) is not None:
            self.received.append(packet)
            if isinstance(packet, Publish):
                self._message(packet)
            if self.answers:
                self._answer(packet)

    def _message(self, publish: Publish) -> None:
        alias = publish.properties.topic_alias
        if alias is not None:
            topic = self._aliases.setdefault(alias, publish.topic)
            publish = publish._replace(topic=publish.topic or topic)
        self.messages.append(publish)

    def _answer(self, packet: ServerPacket) -> None:
        if isinstance(packet, Publish) and packet.qos:
            answer = Puback if packet.qos == 1 else Pubrec
            self.send(answer(packet_id=packet.packet_id or 0))
        elif isinstance(packet, Pubrec):
            self.send(Pubrel(packet_id=packet.packet_id))
        elif isinstance(packet, Pubrel):
            self.send(Pubcomp(packet_id=packet.packet_id))
