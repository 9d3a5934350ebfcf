"""One device of a worker: its packets, its connection if it has one, and what it waits for."""

import socket
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from gateway.mqtt import Decoder, ServerPacket
from loadtest.tls import ClientCertificate, TlsStream

__all__ = ["INTERRUPTED", "TIMED_OUT", "Device", "Kind", "Outcome", "Stage"]


class Stage(Enum):
    """What a device waits for."""

    PROVISIONING = auto()
    """CONNACK of the provisioning service"""
    ANSWERS = auto()
    """SUBACK of the topic of its answers"""
    ASSIGNMENT = auto()
    HUB = auto()
    """CONNACK of the hub"""
    SUBSCRIPTION = auto()
    IN = auto()
    AWAY = auto()


class Kind(Enum):
    """What can become of an attempt that is not admitted."""

    REFUSED = auto()
    """The server said no: a CONNACK code, an answer of the provisioning service."""
    TIMED_OUT = auto()
    FAILED = auto()
    """Nothing was said: the connection could not be made, or ended first."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`cause` tells apart what is counted apart: the code of a refusal, the reason of a failure."""

    kind: Kind
    cause: str = ""


TIMED_OUT: Final = Outcome(Kind.TIMED_OUT)
INTERRUPTED: Final = Outcome(Kind.FAILED, "interrupted")


class Device:
    """Changed by the driver and the publisher only."""

    __slots__ = (
        "bad", "certificate", "connect", "decoder", "due", "failing_since", "failures", "fd", "first_due", "first_stage",
        "hub", "messages", "number", "packet_id", "pending", "session", "sock", "stage", "started", "tls", "unsent",
    )  # fmt: skip

    def __init__(self, number: int, certificate: ClientCertificate | None, *, bad: bool) -> None:
        self.number = number
        self.connect = b""
        """The first packet of an attempt."""
        self.certificate = certificate
        self.first_stage = Stage.HUB
        """What it waits for after that packet."""
        self.bad = bad
        """It has somebody else's credential."""
        self.hub: str | None = None
        """The hub that it was assigned; a device that comes back goes straight there."""
        self.stage = Stage.AWAY
        self.sock: socket.socket | None = None
        self.fd = -1
        self.tls: TlsStream | None = None
        self.unsent = b""
        self.decoder: Decoder[ServerPacket] | None = None
        """Only while there is part of a packet that is not one of those known by their bytes."""
        self.due = self.started = 0.0
        self.first_due: float | None = None
        self.failures = 0
        """In a row"""
        self.failing_since = 0.0
        self.session = 0
        """Counts its admissions."""
        self.packet_id = 0
        self.messages = 0
        """That it has sent."""
        self.pending: dict[int, tuple[int, float]] | None = None
        """By packet id: the number of a message that is not acknowledged, and when it was due."""
