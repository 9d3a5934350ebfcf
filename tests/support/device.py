"""A device as the wire sees it: MQTT 3.1.1 packets made by hand on a blocking socket.

Deliberately not built on `gateway.mqtt`: a test with its own bytes finds the mistakes that a shared codec would
hide. Signing is the gateway's own `identity.sas`, which has its own vectors.
"""

import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from gateway.identity import sas
from gateway.secrets import SymmetricKey

TIMEOUT_S = 15.0
CONNACK, PUBLISH, PUBACK, SUBACK, UNSUBACK, PINGRESP = 2, 3, 4, 9, 11, 13


@dataclass(frozen=True)
class Packet:
    kind: int
    flags: int
    body: bytes

    @property
    def topic(self) -> str:
        length = int.from_bytes(self.body[:2], "big")
        return self.body[2 : 2 + length].decode()

    @property
    def packet_id(self) -> int:
        at = 2 + len(self.topic.encode()) if self.kind == PUBLISH else 0
        return int.from_bytes(self.body[at : at + 2], "big")

    @property
    def payload(self) -> bytes:
        return self.body[2 + len(self.topic.encode()) + (2 if self.flags & 0b0110 else 0) :]

    def json(self) -> Any:
        return json.loads(self.payload)


def packet(kind: int, flags: int, body: bytes) -> bytes:
    length, remaining = b"", len(body)
    while True:
        remaining, digit = divmod(remaining, 128)
        length += bytes([digit | (0x80 if remaining else 0)])
        if not remaining:
            return bytes([kind << 4 | flags]) + length + body


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(2, "big") + data


class Device:
    """One connection. The context manager closes the socket, as a device that loses power does."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self._buffer = b""
        self._packet_id = 0

    @classmethod
    def plain(cls, setup: dict[str, Any]) -> Self:
        return cls(socket.create_connection(("127.0.0.1", setup["plainPort"]), TIMEOUT_S))

    @classmethod
    def tls(
        cls, setup: dict[str, Any], *, certificate: Path | None = None, key: Path | None = None,
        version: ssl.TLSVersion | None = None,
    ) -> Self:  # fmt: skip
        context = ssl.create_default_context(cafile=setup["caCertificate"])
        if version is not None:
            context.minimum_version = context.maximum_version = version
        if certificate is not None:
            context.load_cert_chain(certificate, key)
        raw = socket.create_connection(("127.0.0.1", setup["port"]), TIMEOUT_S)
        return cls(context.wrap_socket(raw, server_hostname="localhost"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def connect(
        self, client_id: str, username: str | None, password: str | None = None, *, clean: bool = True,
        keep_alive: int = 60, will: tuple[str, bytes] | None = None,
    ) -> int:  # fmt: skip
        """Send CONNECT; return CONNACK's code. `session_present` is kept."""
        flags, payload = (0x02 if clean else 0), text(client_id)
        if will is not None:
            flags |= 0x04
            payload += text(will[0]) + text(will[1])
        if username is not None:
            flags |= 0x80
            payload += text(username)
        if password is not None:
            flags |= 0x40
            payload += text(password)
        self.send(
            packet(1, 0, text("MQTT") + b"\x04" + bytes([flags]) + keep_alive.to_bytes(2, "big") + payload)
        )
        answer = self.receive()
        assert answer.kind == CONNACK
        self.session_present = bool(answer.body[0])
        return answer.body[1]

    def subscribe(self, *filters: str, qos: int = 1) -> list[int]:
        body = self._next_id() + b"".join(text(f) + bytes([qos]) for f in filters)
        self.send(packet(8, 2, body))
        answer = self.receive()
        assert answer.kind == SUBACK
        return list(answer.body[2:])

    def publish(self, topic: str, payload: bytes = b"", *, qos: int = 1, retain: bool = False) -> None:
        """Send PUBLISH; for QoS 1, take its PUBACK too (it must come next)."""
        packet_id = self._next_id() if qos else b""
        self.send(packet(3, qos << 1 | retain, text(topic) + packet_id + payload))
        if qos == 1:
            answer = self.receive()
            assert (answer.kind, answer.body) == (PUBACK, packet_id)

    def ping(self) -> None:
        self.send(b"\xc0\x00")
        assert self.receive().kind == PINGRESP

    def disconnect(self) -> None:
        self.send(b"\xe0\x00")
        assert self.is_closed()

    def receive(self) -> Packet:
        """The next packet. Raises `ConnectionError` if the gateway has closed the connection."""
        while True:
            parsed = _parse(self._buffer)
            if parsed is not None:
                received, self._buffer = parsed
                return received
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("closed by the gateway")
            self._buffer += data

    def request(self, topic: str, payload: bytes = b" ", *, qos: int = 1) -> Packet:
        """Publish and return the answer that the gateway publishes; acknowledges it if it came with QoS 1."""
        self.publish(topic, payload, qos=qos)
        answer = self.receive()
        assert answer.kind == PUBLISH
        if answer.flags & 0b0110:
            self.send(packet(4, 0, answer.packet_id.to_bytes(2, "big")))
        return answer

    def is_closed(self) -> bool:
        """Wait for the gateway to close; False if it says something instead."""
        try:
            self.receive()
        except ConnectionError:
            return True
        return False

    def _next_id(self) -> bytes:
        self._packet_id += 1
        return self._packet_id.to_bytes(2, "big")


def _parse(data: bytes) -> tuple[Packet, bytes] | None:
    length, shift = 0, 0
    for index, byte in enumerate(data[1:5], start=1):
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            start, end = index + 1, index + 1 + length
            if len(data) < end:
                return None
            return Packet(data[0] >> 4, data[0] & 0x0F, data[start:end]), data[end:]
    return None


class Fleet:
    """Devices of the group `SAS-IoT-Devices` of one set-up: their keys, tokens and logins."""

    def __init__(self, setup: dict[str, Any], group_key: str) -> None:
        self.setup = setup
        self._group_key = SymmetricKey.from_base64(group_key)

    def token(
        self, resource: str, device_id: str, *, expires_in_s: int = 3600, key: str | None = None
    ) -> str:
        device_key = (
            SymmetricKey.from_base64(key) if key else sas.derive_device_key(self._group_key, device_id)
        )
        return sas.sign(resource.replace("/", "%2F"), device_key, int(time.time()) + expires_in_s)

    def hub_login(
        self, device_id: str, *, model: str | None = None, expires_in_s: int = 3600
    ) -> tuple[str, str]:
        username = f"localhost/{device_id}/?api-version=2021-04-12" + (f"&model-id={model}" if model else "")
        return username, self.token(f"localhost/devices/{device_id}", device_id, expires_in_s=expires_in_s)

    def dps_login(self, device_id: str, *, expires_in_s: int = 3600) -> tuple[str, str]:
        scope = self.setup["idScope"]
        username = f"{scope}/registrations/{device_id}/api-version=2019-03-31"
        return username, self.token(
            f"{scope}/registrations/{device_id}", device_id, expires_in_s=expires_in_s
        )

    @contextmanager
    def hub(
        self, device_id: str, *, tls: bool = False, model: str | None = None, **connect: Any
    ) -> Iterator[Device]:
        """A device with an accepted hub session."""
        with Device.tls(self.setup) if tls else Device.plain(self.setup) as device:
            code = device.connect(device_id, *self.hub_login(device_id, model=model), **connect)
            assert code == 0, f"CONNACK {code}"
            yield device

    @contextmanager
    def dps(self, device_id: str, *, tls: bool = False) -> Iterator[Device]:
        """A device with an accepted DPS session, subscribed to its answers."""
        with Device.tls(self.setup) if tls else Device.plain(self.setup) as device:
            code = device.connect(device_id, *self.dps_login(device_id))
            assert code == 0, f"CONNACK {code}"
            assert device.subscribe("$dps/registrations/res/#") == [1]
            yield device
