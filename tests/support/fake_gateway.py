"""A listener that answers CONNECTs as a test tells it to: for clients of ours that need no real gateway."""

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from gateway import pki
from gateway.mqtt import Connect, Disconnect, Event, Publish, ServerConnection, Subscribe

_LEAK_TIMEOUT_S = 10.0
"""A client that leaves a connection open is a failed test."""

Behaviour = Literal["admit", "silent", "hang up", "garbage", "drop later"] | int
"""What becomes of a hub CONNECT: an int is a CONNACK code; `drop later` admits and then closes."""

ProvisioningBehaviour = Literal["assign", "poll first", "busy first", "decline", "refuse", "never"]


@dataclass
class FakeGateway:
    """What it saw. Devices that are not named are admitted, and assigned to `hub`."""

    hub: str = "hub.example"
    behaviours: Mapping[str, Behaviour] = field(default_factory=dict)
    provisioning: Mapping[str, ProvisioningBehaviour] = field(default_factory=dict)
    port: int = 0
    connects: list[Connect] = field(default_factory=list)
    certificate_names: list[str] = field(default_factory=list)
    """The common names of the client certificates that were shown."""
    tls_versions: set[str] = field(default_factory=set)
    subscribed: list[str] = field(default_factory=list)
    """Topic filters, without what the provisioning service's clients subscribe to."""
    published: list[tuple[str, Publish]] = field(default_factory=list)
    """(client id, message), without what was said to the provisioning service."""
    asked: Counter[str] = field(default_factory=Counter)
    """By client id: how often the provisioning service was asked."""
    on_connect: Callable[[Connect], None] = lambda _: None
    goodbyes: int = 0
    open: int = 0
    all_closed: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class Certificates:
    """Files of one CA, and a server that it vouches for."""

    ca_file: Path
    other_ca_file: Path
    """Of a CA that vouches for nobody."""
    device: tuple[Path, Path]
    """A self-signed device's certificate and key."""
    server: ssl.SSLContext
    """Asks for a client certificate, and takes that device's."""


def make_certificates(directory: Path, device_id: str) -> Certificates:
    ca, other = pki.create_ca("Right"), pki.create_ca("Wrong")
    server, device = pki.issue_server(ca, ["localhost", "127.0.0.1"]), pki.self_signed_device(device_id)
    contents = {
        "ca.crt": ca.certificate_pem,
        "other.crt": other.certificate_pem,
        "server.crt": server.chain_pem,
        "server.key": server.key_pem,
        "device.crt": device.chain_pem,
        "device.key": device.key_pem,
    }
    files = {name: directory / name for name in contents}
    for name, content in contents.items():
        files[name].write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["server.crt"], files["server.key"])
    context.load_verify_locations(files["device.crt"])
    context.verify_mode = ssl.CERT_OPTIONAL
    return Certificates(
        ca_file=files["ca.crt"],
        other_ca_file=files["other.crt"],
        device=(files["device.crt"], files["device.key"]),
        server=context,
    )


@asynccontextmanager
async def fake_gateway(
    gateway: FakeGateway, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[FakeGateway]:
    """Serve on a free port of loopback."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Session(gateway), host, 0, ssl=tls)
    gateway.port = server.sockets[0].getsockname()[1]
    async with server:
        yield gateway
        async with asyncio.timeout(_LEAK_TIMEOUT_S):
            while gateway.open:
                await gateway.all_closed.wait()


class _Session(asyncio.Protocol):
    def __init__(self, gateway: FakeGateway) -> None:
        self._gateway = gateway
        self._mqtt = ServerConnection(max_connect_packet_size=16384, max_packet_size=300_000, max_inflight=10)
        self._client_id = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        shown = transport.get_extra_info("peercert")
        if shown:
            subject = {key: value for ((key, value),) in shown["subject"]}
            self._gateway.certificate_names.append(subject["commonName"])
        encrypted = transport.get_extra_info("ssl_object")
        if encrypted is not None:
            self._gateway.tls_versions.add(encrypted.version())
        self._gateway.open += 1
        self._gateway.all_closed.clear()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gateway.open -= 1
        if not self._gateway.open:
            self._gateway.all_closed.set()

    def data_received(self, data: bytes) -> None:
        for event in self._mqtt.receive_data(data):
            self._handle(event)

    def _handle(self, event: Event) -> None:
        match event:
            case Connect():
                self._client_id = event.client_id
                self._gateway.connects.append(event)
                self._gateway.on_connect(event)
                if "/registrations/" in (event.username or ""):
                    self._connect_to_provisioning()
                else:
                    self._connect_to_hub()
            case Subscribe():
                self._gateway.subscribed += [
                    name for name, _ in event.filters if not name.startswith("$dps/")
                ]
                self._transport.write(self._mqtt.suback(event.packet_id, (1,) * len(event.filters)))
            case Publish():
                assert event.packet_id is not None
                self._transport.write(self._mqtt.puback(event.packet_id))
                if event.topic.startswith("$dps/"):
                    self._provision(event)
                else:
                    self._gateway.published.append((self._client_id, event))
            case Disconnect():
                self._gateway.goodbyes += 1
                self._transport.close()
            case _:
                pass

    def _connect_to_hub(self) -> None:
        match self._gateway.behaviours.get(self._client_id, "admit"):
            case int(code):
                self._transport.write(self._mqtt.refuse(code))
                self._transport.close()
            case "admit":
                self._transport.write(self._mqtt.accept(session_present=False))
            case "drop later":
                self._transport.write(self._mqtt.accept(session_present=False))
                self._transport.close()
            case "hang up":
                self._transport.close()
            case "garbage":
                self._transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            case "silent":
                pass

    def _connect_to_provisioning(self) -> None:
        if self._gateway.provisioning.get(self._client_id) == "refuse":
            self._transport.write(self._mqtt.refuse(5))
            self._transport.close()
        else:
            self._transport.write(self._mqtt.accept(session_present=False))

    def _provision(self, request: Publish) -> None:
        first = not self._gateway.asked[self._client_id]
        self._gateway.asked[self._client_id] += 1
        waiting: dict[str, object] = {"operationId": "4.op 1", "status": "assigning"}
        match self._gateway.provisioning.get(self._client_id, "assign"):
            case "poll first" if first:
                self._answer("202/?$rid=1&retry-after=0", waiting)
            case "busy first" if first:
                self._answer("429/?$rid=1&retry-after=0", {"errorCode": 429001, "message": "busy"})
            case "decline":
                self._answer("401/?$rid=1", {"errorCode": 401002, "message": "no such enrollment"})
            case "never":
                self._answer("202/?$rid=1&retry-after=0", {**waiting, "status": "unassigned"})
            case _:
                state = {"assignedHub": self._gateway.hub, "deviceId": self._client_id, "status": "assigned"}
                assert first or "GET" not in request.topic or request.topic.endswith("operationId=4.op%201")
                self._answer(
                    "200/?$rid=1", {"operationId": "4.op 1", "status": "assigned", "registrationState": state}
                )

    def _answer(self, topic: str, body: dict[str, object]) -> None:
        payload = json.dumps(body).encode()
        self._transport.write(self._mqtt.publish(f"$dps/registrations/res/{topic}", payload, qos=1))
