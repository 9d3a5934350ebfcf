"""A gateway in this process: all is its own, wired as it wires itself (`Gateway`, `open_core`), but sockets and clock."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from gateway import mqtt
from gateway.app import Core, Gateway, open_core
from gateway.audit import Actor
from gateway.edge.connection import Connection
from gateway.errors import GatewayError
from gateway.identity import sas
from gateway.identity.evidence import CertificateEvidence
from gateway.secrets import SymmetricKey
from gateway.telemetry.router import TelemetryRouter
from tests.support.bench import settings_in
from tests.unit.edge.test_connection import Channel

__all__ = ["Peer", "SignallingChannel", "WiredGateway", "hub_connect", "hub_token", "hub_username"]

ROOT = Actor.local("root")
PATIENCE_S = 20.0
PATIENT = {"certificate_file": "c", "key_file": "k", "storm": {"refusals_before_delay": 1000}}
"""No answer is held back: that is another test's."""


class SignallingChannel(Channel):
    """Tells when it was written to or closed."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = asyncio.Event()

    def write(self, data: bytes) -> None:
        super().write(data)
        self.answered.set()

    def close(self) -> None:
        super().close()
        self.answered.set()


@dataclass
class Peer:
    """A device's end of a connection without a socket."""

    connection: Connection
    level: int = 4
    channel: SignallingChannel = field(default_factory=SignallingChannel)

    def send(self, packet: mqtt.Packet) -> None:
        self.connection.data_received(mqtt.CODECS[self.level].encode(packet))

    def dial(self, connect: mqtt.Connect, certificate: CertificateEvidence | None = None) -> None:
        """Say CONNECT; over TLS if there is a certificate."""
        self.connection.attach(self.channel, self.channel)  # type: ignore[arg-type]
        if certificate is not None:
            self.connection.tls_established("TLSv1.3", certificate)
        self.send(connect)

    async def answer(self) -> mqtt.Packet:
        """The first thing that the gateway says."""
        async with asyncio.timeout(PATIENCE_S):
            await self.channel.answered.wait()
        return self.answers[0]

    async def ask(self, packet: mqtt.Packet) -> mqtt.Packet:
        """Send it, and the next thing that the gateway says."""
        self.channel.answered.clear()
        self.send(packet)
        async with asyncio.timeout(PATIENCE_S):
            await self.channel.answered.wait()
        return self.answers[-1]

    @property
    def answers(self) -> list[mqtt.Packet]:
        """What the gateway has said so far."""
        decoder = mqtt.Decoder(mqtt.CODECS[self.level].from_server, max_packet_size=1 << 20)
        decoder.feed(self.channel.written)
        return list(iter(decoder.next_packet, None))

    @property
    def is_accepted(self) -> bool:
        first = self.answers[0]
        assert isinstance(first, mqtt.Connack)
        return first.code == 0


class RecordingSink:
    """Takes every message. Implements `gateway.telemetry.router.Sink`."""

    backlog = 0

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []

    def deliver(self, topic: str, payload: bytes, qos: int) -> int:
        self.messages.append((topic, payload))
        return 0

    def take_lost(self) -> int:
        return 0


class WiredGateway:
    """`clock` gives unix seconds, `monotonic` the seconds that deadlines count on. `sink` has the telemetry."""

    def __init__(
        self,
        directory: Path,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings_in(directory, devices=PATIENT)
        self._clock = clock
        self._monotonic = monotonic
        self.sink = RecordingSink()

    async def open(self) -> None:
        failures: list[GatewayError] = []
        self._stack = AsyncExitStack()
        self.gateway = gateway = Gateway(
            self.settings, sinks=(), on_failure=failures.append, clock=self._clock
        )
        self.core: Core = await self._stack.enter_async_context(
            open_core(self.settings, sessions=gateway.sessions, attempts=gateway.attempts, clock=self._clock)
        )
        router = TelemetryRouter(
            self.settings.telemetry,
            find_template=self.core.catalog.get,
            sinks=(self.sink,),
            observations=self.core.observations,
        )
        self.edge = gateway._make_edge(self.core, router)
        self.edge.monotonic = self._monotonic

    async def close(self) -> None:
        await self._stack.aclose()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def call(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """What an operator does."""
        return await self.core.operations.call(verb, arguments, by=ROOT)

    async def make_group(self, name: str) -> SymmetricKey:
        """A group with symmetric keys; returns the primary one."""
        await self.call("group.create", name=name, attestation="symmetricKey")
        return SymmetricKey.from_base64((await self.call("group.show", name=name, keys=True))["primaryKey"])

    def peer(self, *, level: int = 4) -> Peer:
        return Peer(Connection(self.edge), level)

    def is_connected(self, device_id: str) -> bool:
        return self.gateway.sessions.is_connected(device_id)


def hub_username(device_id: str, *, model: str | None = None) -> str:
    return f"localhost/{device_id}/?api-version=2021-04-12" + (f"&model-id={model}" if model else "")


def hub_token(device_id: str, group_key: SymmetricKey, *, now: float | None = None) -> bytes:
    """A token that is good for a day or so."""
    expiry = int(time.time() if now is None else now) + 100_000
    key = sas.derive_device_key(group_key, device_id)
    return sas.sign(f"localhost%2Fdevices%2F{device_id}", key, expiry).encode()


def hub_connect(
    device_id: str,
    group_key: SymmetricKey,
    *,
    model: str | None = None,
    level: int = 4,
    now: float | None = None,
) -> mqtt.Connect:
    """A CONNECT to the hub with a SAS token of a group's device; in MQTT 5 with the token as authentication data."""
    token, username = hub_token(device_id, group_key, now=now), hub_username(device_id, model=model)
    if level == mqtt.MQTT_5_LEVEL:
        by_sas = mqtt.Properties(authentication_method="SAS", authentication_data=token)
        return mqtt.Connect(device_id, username=username, protocol_level=level, properties=by_sas)
    return mqtt.Connect(device_id, username=username, password=token)
