"""A device's end of one connection, an `asyncio.Protocol`: it sends a CONNECT and settles on one outcome."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, cast

from gateway.mqtt import (
    MQTT_3_1_1,
    Connack,
    Decoder,
    Disconnect,
    MalformedPacket,
    Puback,
    Publish,
    ServerPacket,
    Suback,
    Subscribe,
    encode,
)
from gateway.simulate.wire import (
    PROVISIONING_ANSWERS,
    Assigned,
    Declined,
    TryAgain,
    parse_provisioning_answer,
    provisioning_request,
)

__all__ = ["ADMITTED", "TIMED_OUT", "HubSession", "Kind", "Outcome", "ProvisioningSession", "failed"]

_MAX_PACKET_BYTES: Final = 64 * 1024
_DISCONNECT: Final = encode(Disconnect())
_FAILED_SUBSCRIPTION: Final = 0x80


class Kind(Enum):
    """What can become of an attempt; each is exactly one of these."""

    ADMITTED = "admitted"
    REFUSED = "refused"
    """The gateway said no: a CONNACK code, an answer of the provisioning service."""
    TIMED_OUT = "timed out"
    FAILED = "failed"
    """Nothing was said: the connection could not be made, or ended first."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`detail` tells apart what is counted apart: the code of a refusal, the reason of a failure."""

    kind: Kind
    detail: str = ""


ADMITTED: Final = Outcome(Kind.ADMITTED)
TIMED_OUT: Final = Outcome(Kind.TIMED_OUT)


def failed(reason: str) -> Outcome:
    return Outcome(Kind.FAILED, reason)


class _Session(asyncio.Protocol):
    """What both dialects share: CONNECT, CONNACK, and an outcome that is set once."""

    def __init__(self, connect: bytes, outcome: asyncio.Future[Outcome]) -> None:
        self._connect = connect
        self.outcome = outcome
        self._decoder = Decoder(MQTT_3_1_1.from_server, max_packet_size=_MAX_PACKET_BYTES)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._connect)

    def data_received(self, data: bytes) -> None:
        self._decoder.feed(data)
        try:
            while (packet := self._decoder.next_packet()) is not None:
                self.packet_received(packet)
        except MalformedPacket:
            self.settle(failed("malformed packet"))
            self.transport.abort()

    def packet_received(self, packet: ServerPacket) -> None:
        raise NotImplementedError

    def connection_lost(self, exc: Exception | None) -> None:
        self.settle(
            failed("connection reset" if isinstance(exc, ConnectionResetError) else "connection closed")
        )

    def settle(self, outcome: Outcome) -> None:
        """The first outcome counts; one that nobody waits for any more does not."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    def leave(self) -> None:
        """Say goodbye and close."""
        if not self.transport.is_closing():
            self.transport.write(_DISCONNECT)
            self.transport.close()


class HubSession(_Session):
    """Admitted with CONNACK 0; then it stays, and `lost` hears when the connection ends."""

    def __init__(
        self, connect: bytes, outcome: asyncio.Future[Outcome], lost: "Callable[[HubSession], None]"
    ) -> None:
        super().__init__(connect, outcome)
        self._lost = lost

    def packet_received(self, packet: ServerPacket) -> None:
        if isinstance(packet, Connack):
            self.settle(_connack(packet))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._lost(self)


class ProvisioningSession(_Session):
    """CONNECT, SUBSCRIBE, register, and ask again as long as it is told to; `hub` is set when admitted."""

    def __init__(
        self, connect: bytes, outcome: asyncio.Future[Outcome], *, device_id: str, model_id: str | None
    ) -> None:
        super().__init__(connect, outcome)
        self._device_id = device_id
        self._model_id = model_id
        self._last_packet_id = 1
        self.hub = ""

    def packet_received(self, packet: ServerPacket) -> None:
        match packet:
            case Connack(code=0):
                filters = ((PROVISIONING_ANSWERS, 1),)
                self.transport.write(encode(Subscribe(packet_id=self._last_packet_id, filters=filters)))
            case Connack():
                self.settle(_connack(packet))
            case Suback(codes=codes) if _FAILED_SUBSCRIPTION in codes:
                self.settle(Outcome(Kind.REFUSED, "suback 128"))
            case Suback():
                self._ask(None)
            case Publish():
                if packet.packet_id is not None:
                    self.transport.write(encode(Puback(packet_id=packet.packet_id)))
                self._answered(packet)
            case _:
                pass

    def _ask(self, operation_id: str | None) -> None:
        if self.transport.is_closing():
            return
        topic, body = provisioning_request(self._device_id, self._model_id, operation_id)
        self._last_packet_id += 1
        self.transport.write(
            encode(Publish(topic=topic, payload=body, qos=1, packet_id=self._last_packet_id))
        )

    def _answered(self, packet: Publish) -> None:
        match parse_provisioning_answer(packet.topic, packet.payload):
            case Assigned(hub=hub):
                self.hub = hub
                self.settle(ADMITTED)
            case TryAgain(after_s=after_s, operation_id=operation_id):
                asyncio.get_running_loop().call_later(after_s, self._ask, operation_id)
            case Declined(code=code):
                self.settle(Outcome(Kind.REFUSED, f"dps {code}"))


def _connack(packet: Connack) -> Outcome:
    return ADMITTED if packet.code == 0 else Outcome(Kind.REFUSED, f"connack {packet.code}")
