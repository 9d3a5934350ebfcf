"""The sockets that devices dial: TLS for the world, plain for loopback only."""

import asyncio
import errno

from OpenSSL import SSL

from gateway.edge.connection import Connection, Edge
from gateway.edge.tls import Channel, TlsChannel
from gateway.errors import StartError
from gateway.log import get_logger
from gateway.settings import BindAddress

__all__ = ["DeviceListener"]

log = get_logger()


class DeviceListener:
    """One listening socket. `context` is None for the plain one."""

    def __init__(self, edge: Edge, bind: BindAddress, context: SSL.Context | None) -> None:
        self._edge = edge
        self._bind = bind
        self._context = context
        self._server: asyncio.Server | None = None
        self._turned_away = 0

    @property
    def port(self) -> int:
        """The port in use, which is the system's choice if the setting says 0."""
        if self._server is None:
            raise RuntimeError("the listener is not open")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def open(self) -> None:
        """Start to listen. Raises `StartError`, with the address, if the socket can't be had."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                self._make_protocol,
                self._bind.host,
                self._bind.port,
                backlog=self._edge.settings.accept_backlog,
                reuse_address=True,
            )
        except OSError as error:
            raise StartError(
                f"devices can't be served on {self._bind}: {_why(error)}", hint=_hint(error)
            ) from None
        log.info(
            "listener.opened",
            listener="devices",
            bind=f"{self._bind.host}:{self.port}",
            tls=self._context is not None,
        )

    async def close(self) -> None:
        """Stop listening; live connections go on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def report_turned_away(self) -> None:
        """One line for all connections that were closed unserved since the last call."""
        if self._turned_away:
            count, self._turned_away = self._turned_away, 0
            log.warning("listener.refused", count=count, limit=self._edge.max_connections)

    def _make_protocol(self) -> asyncio.Protocol:
        edge = self._edge
        if len(edge.connections) >= edge.max_connections:
            self._turned_away += 1
            return _TurnedAway()
        if self._context is None:
            return Connection(edge)
        return TlsChannel(self._context, self._attach)

    def _attach(self, channel: Channel, transport: asyncio.Transport) -> Connection:
        connection = Connection(self._edge)
        connection.attach(channel, transport)
        return connection


class _TurnedAway(asyncio.Protocol):
    """Over the limit: closed at once, before TLS, so that the device can try again rather than hang."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _hint(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "another program listens there: stop it, or change `devices.bind`"
        case errno.EACCES:
            return "ports below 1024 need the right to bind them"
        case _:
            return ""
