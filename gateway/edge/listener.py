"""The sockets that devices dial: TLS for the world, plain for loopback only."""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any, cast

from OpenSSL import SSL

from gateway.edge.connection import Connection, Edge
from gateway.edge.http import HttpConnection
from gateway.edge.poller import Poller, PollerProtocol
from gateway.edge.tls import Channel, Receiver, TlsChannel
from gateway.errors import StartError
from gateway.log import get_logger
from gateway.settings import BindAddress

__all__ = ["DeviceListener"]

log = get_logger()


class DeviceListener:
    """One address to dial. `context` is None for the plain one; `poller` is None where the system has no epoll.

    With `make_https`, what it makes answers there, and not MQTT.
    """

    def __init__(
        self,
        edge: Edge,
        bind: BindAddress,
        context: SSL.Context | None,
        poller: Poller | None,
        *,
        make_https: Callable[[Edge], HttpConnection] | None = None,
    ) -> None:
        self._edge = edge
        self._bind = bind
        self._make_https = make_https
        self._context = context
        self._poller = poller
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._turned_away = 0

    @property
    def port(self) -> int:
        """The port in use, which is the system's choice if the setting says 0."""
        if not self._sockets:
            raise RuntimeError("the listener is not open")
        port: int = self._sockets[0].getsockname()[1]
        return port

    async def open(self) -> None:
        """Start to listen. Raises `StartError`, with the address, if the socket can't be had."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(
                self._bind.host, self._bind.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            for family, _, _, _, address in dict.fromkeys(found):
                self._sockets.append(_listen(family, address, self._edge.settings.accept_backlog))
        except OSError as error:
            self._close_sockets()
            raise StartError(
                f"devices can't be served on {self._bind}: {_why(error)}", hint=_hint(error, self._setting)
            ) from None
        for sock in self._sockets:
            if self._poller is not None:
                self._poller.listen(sock, self._make_protocol)
            else:
                make_protocol = cast(
                    Callable[[], asyncio.Protocol], self._make_protocol
                )  # it has the methods
                self._servers.append(await loop.create_server(make_protocol, sock=sock))
        log.info(
            "listener.opened",
            listener="devices" if self._make_https is None else "devices_https",
            bind=f"{self._bind.host}:{self.port}",
            tls=self._context is not None,
        )

    async def close(self) -> None:
        """Stop listening; live connections go on."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        if self._poller is not None:
            for sock in self._sockets:
                self._poller.stop_listening(sock)
        self._close_sockets()

    def _close_sockets(self) -> None:
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()

    def report_turned_away(self) -> None:
        """One line for all connections that were closed unserved since the last call."""
        if self._turned_away:
            count, self._turned_away = self._turned_away, 0
            log.warning("listener.refused", count=count, limit=self._edge.max_connections)

    def _make_protocol(self) -> PollerProtocol:
        edge = self._edge
        # Without the poller there is no room to wait in: who finds no handshake free is turned away.
        if self._poller is None and edge.storm.queue.handshakes >= edge.settings.storm.max_handshakes:
            edge.storm.turned_away += 1
            return _TurnedAway()
        if len(edge.connections) >= edge.max_connections:
            self._turned_away += 1
            return _TurnedAway()
        if self._context is None:
            return Connection(edge)
        return TlsChannel(self._context, self._attach)

    @property
    def _setting(self) -> str:
        return "devices.bind" if self._make_https is None else "devices.https_bind"

    def _attach(self, channel: Channel, transport: asyncio.Transport) -> Receiver:
        connection = Connection(self._edge) if self._make_https is None else self._make_https(self._edge)
        connection.attach(channel, transport)
        return connection


class _TurnedAway(asyncio.Protocol):
    """Over the limit: closed at once, before TLS, so that the device can try again rather than hang."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _listen(family: int, address: Any, backlog: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Accepted sockets inherit it: a PUBACK does not wait for the one before it to be acknowledged.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind(address)
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _hint(error: OSError, setting: str) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"another program listens there: stop it, or change `{setting}`"
        case errno.EACCES:
            return "ports below 1024 need the right to bind them"
        case _:
            return ""
