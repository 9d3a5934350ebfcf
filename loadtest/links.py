"""The devices' sockets, on one epoll: dial, send, and tell what the server said.

CONNACK 0, PUBACK and PINGRESP are known by their bytes; whatever else comes takes the general way, a decoder.
"""

import errno
import os
import select
import socket
from typing import Final, Protocol

from gateway.mqtt import MQTT_3_1_1, Decoder, MalformedPacket, Pingresp, ServerPacket, encode
from loadtest.device import Device
from loadtest.plan import Target
from loadtest.tls import TlsClient, TlsError, TlsStream

__all__ = ["Links", "Owner"]

_ACCEPTED: Final = (b"\x20\x02\x00\x00", b"\x20\x02\x01\x00")
_PINGRESP: Final = encode(Pingresp())
_PUBACK: Final = 0x40
_ACK_BYTES: Final = 4
_MAX_PACKET_BYTES: Final = 512 * 1024
_READ_BYTES: Final = 64 * 1024
_MAX_EVENTS: Final = 1024
_IP_BIND_ADDRESS_NO_PORT: Final = 24
"""<linux/in.h>: the port is chosen at connect(), so that one local address has as many for each destination."""


class Owner(Protocol):
    """Who hears what comes."""

    def accepted(self, device: Device) -> None:
        """CONNACK 0."""

    def acknowledged(self, device: Device, packet_id: int) -> None:
        """PUBACK."""

    def received(self, device: Device, packet: ServerPacket) -> None:
        """Any packet, those two too if they came in pieces or together."""

    def failed(self, device: Device, cause: str) -> None:
        """The connection is of no more use. The owner closes it."""


class Links:
    """All connections of one worker."""

    def __init__(self, target: Target, owner: Owner) -> None:
        self._target = target
        self._family = socket.AF_INET6 if ":" in target.address[0] else socket.AF_INET
        self._tls = TlsClient(target) if target.ca_file is not None else None
        self._owner = owner
        self._epoll = select.epoll()
        self._by_fd: dict[int, Device] = {}
        self._watched = -1

    def watch(self, fd: int) -> None:
        """`poll` also tells when this is readable."""
        self._watched = fd
        self._epoll.register(fd, select.EPOLLIN)

    def poll(self, timeout_s: float) -> bool:
        """Wait for what comes, and hand it to the owner. True if what is watched is readable."""
        watched = False
        for fd, event in self._epoll.poll(timeout_s, _MAX_EVENTS):
            device = self._by_fd.get(fd)
            if device is not None:
                self._ready(device, event)
            elif fd == self._watched:
                watched = True
        return watched

    def dial(self, device: Device, connect: bytes) -> None:
        """Open a connection, with TLS if the target has it, and send the packet as soon as it stands."""
        sock = socket.socket(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        device.sock, device.fd = sock, sock.fileno()
        device.packet_id = 1  # subscriptions have it
        if self._target.sources:
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((self._target.sources[device.number % len(self._target.sources)], 0))
        problem = sock.connect_ex(self._target.address)
        self._by_fd[device.fd] = device
        self._epoll.register(device.fd, select.EPOLLIN)
        if problem not in {0, errno.EINPROGRESS}:
            self._owner.failed(device, _plain(problem))
        elif self._tls is None:
            self._write(device, connect)
        else:
            device.tls = self._tls.stream(connect, device.certificate)
            self._write(device, device.tls.start())

    def send(self, device: Device, packet: bytes) -> None:
        """Nothing happens if the connection is closed."""
        if device.sock is not None:
            self._write(device, packet if device.tls is None else device.tls.seal(packet))

    def close(self, device: Device) -> None:
        if device.sock is not None:
            del self._by_fd[device.fd]
            device.sock.close()
            device.sock = device.tls = device.decoder = None
            device.unsent = b""

    def _write(self, device: Device, data: bytes) -> None:
        """On loopback a connection usually stands before `connect` returns, so this tries at once."""
        sock = device.sock
        if sock is None:
            return
        if device.unsent:
            device.unsent += data
            return
        try:
            sent = sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._owner.failed(device, _plain(error.errno))
            return
        if sent < len(data):
            device.unsent = data[sent:]
            self._epoll.modify(device.fd, select.EPOLLIN | select.EPOLLOUT)

    def _ready(self, device: Device, event: int) -> None:
        if event & select.EPOLLOUT and not event & (select.EPOLLERR | select.EPOLLHUP):
            data, device.unsent = device.unsent, b""
            self._epoll.modify(device.fd, select.EPOLLIN)
            self._write(device, data)
        if event & ~select.EPOLLOUT and device.sock is not None:
            self._read(device, device.sock)

    def _read(self, device: Device, sock: socket.socket) -> None:
        try:
            data = sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._owner.failed(device, _plain(error.errno))
            return
        if not data:
            in_handshake = device.tls is not None and not device.tls.established
            where = " in the TLS handshake" if in_handshake else ""
            self._owner.failed(device, f"connection closed{where}")
        elif device.tls is None:
            self._said(device, data)
        else:
            self._unseal(device, device.tls, data)

    def _unseal(self, device: Device, tls: TlsStream, data: bytes) -> None:
        try:
            said, answer = tls.receive(data)
        except TlsError as error:
            self._owner.failed(device, f"TLS: {error}")
            return
        if answer:
            self._write(device, answer)
        if said and device.tls is tls:
            self._said(device, said)

    def _said(self, device: Device, data: bytes) -> None:
        if device.decoder is not None:
            self._decode(device, device.decoder, data)
        elif data in _ACCEPTED:
            self._owner.accepted(device)
        elif len(data) == _ACK_BYTES and data[0] == _PUBACK:
            self._owner.acknowledged(device, data[2] << 8 | data[3])
        elif data != _PINGRESP:
            device.decoder = Decoder(MQTT_3_1_1.from_server, max_packet_size=_MAX_PACKET_BYTES)
            self._decode(device, device.decoder, data)

    def _decode(self, device: Device, decoder: Decoder[ServerPacket], data: bytes) -> None:
        decoder.feed(data)
        try:
            while device.decoder is decoder and (packet := decoder.next_packet()) is not None:
                self._owner.received(device, packet)
        except MalformedPacket:
            self._owner.failed(device, "malformed packet")
        if device.decoder is decoder and not decoder.buffered:
            device.decoder = None


def _plain(number: int | None) -> str:
    """`connection refused`"""
    return os.strerror(number).lower() if number else "no answer"
