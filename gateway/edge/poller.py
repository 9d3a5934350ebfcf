"""Sockets by the batch: one epoll for all device connections, itself one file of the event loop.

asyncio's transports hand over one event at a time, each between two system calls, and after every call into
the kernel's network stack the interpreter starts with cold caches: deciding a CONNECT then takes three times as long as
in a tight loop. So a turn here has stages: accept and read whatever is ready, let the connections work on all of it,
then send and close. That halves the cost of a connect (docs/decisions/0008-own-poller.md, with the measurements).

A `SocketChannel` does for its protocol what an asyncio transport does, with the same names. What is written during a
turn leaves at its end; what the kernel does not take waits in the channel, for the protocol to bound
(`get_write_buffer_size`).
"""

import asyncio
import errno
import os
import select
import socket
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

from gateway.edge.storm import StormControl, Verdict, address_prefix

__all__ = ["Poller", "PollerProtocol", "SocketChannel", "has_epoll"]

_STREAM: Final = int(socket.SOCK_STREAM)
_READABLE: Final = 0x001  # EPOLLIN, EPOLLOUT: the module has the names on Linux only
_WRITABLE: Final = 0x004
_MAX_EVENTS: Final = 256
_MAX_ACCEPTS: Final = 128
"""In one turn: the sessions that are there have a turn of their own soon."""
_MAX_LOOKS: Final = 512
"""In one turn, with those that wait or are turned away, which costs little."""
_QUEUE_CHECK_S: Final = 0.05
"""While somebody waits to be let in; most are let in at the end of a turn."""
_READ_SIZE: Final = 64 * 1024
_SEND_AT_ONCE: Final = 64 * 1024
"""More than this does not wait for the end of the turn, so that what is held is what the kernel refused."""
_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def has_epoll() -> bool:
    """Whether this system has it: Linux. Elsewhere devices are served by asyncio's transports."""
    return hasattr(select, "epoll")


class PollerProtocol(Protocol):
    """What a channel tells its owner: the methods of `asyncio.Protocol`."""

    def connection_made(self, transport: Any) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> bool | None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...


class _Nobody:
    """The protocol of a channel that has ended, or has none yet."""

    def connection_made(self, transport: Any) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> bool | None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...


_NOBODY: Final[PollerProtocol] = _Nobody()


class SocketChannel:
    """One connected socket. The methods are those of an asyncio transport that devices' connections use."""

    __slots__ = (
        "_events",
        "_is_dirty",
        "_is_gone",
        "_out",
        "_peer",
        "_poller",
        "_socket",
        "closing",
        "error",
        "protocol",
    )

    def __init__(self, poller: "Poller", sock: socket.SocketType, peer: Any) -> None:
        self._poller = poller
        self._socket = sock
        self._peer = peer
        self._events = _READABLE
        self._out: bytes | bytearray = b""
        self._is_dirty = self._is_gone = False
        self.closing = False
        self.error: Exception | None = None
        self.protocol = _NOBODY

    def get_extra_info(self, name: str) -> Any:
        return self._peer if name == "peername" else None

    def get_write_buffer_size(self) -> int:
        return len(self._out)

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes) -> None:
        if self.closing:
            return
        if not self._out:
            self._out = data
        else:
            if isinstance(self._out, bytes):
                self._out = bytearray(self._out)
            self._out += data
        if len(self._out) > _SEND_AT_ONCE and not self._events & _WRITABLE:
            self._send()
        self.look_at()

    def close(self) -> None:
        """Send what is held, then end."""
        if not self.closing:
            self.closing = True
            self.look_at()

    def abort(self) -> None:
        """End without sending what is held."""
        self._out = b""
        self.closing = True
        self.look_at()

    def pause_reading(self) -> None:
        self._watch(self._events & ~_READABLE)

    def resume_reading(self) -> None:
        if not self.closing:
            self._watch(self._events | _READABLE)

    # The poller's side

    def read(self) -> bytes | None:
        """What has arrived: empty at the end of the stream, None if it was nothing after all."""
        try:
            return self._socket.recv(_READ_SIZE)
        except BlockingIOError:
            return None
        except OSError as error:
            self.error = error
            return b""

    def settle(self) -> None:
        """The end of a turn: send what was written, end what was closed."""
        self._is_dirty = False
        if self._is_gone:
            return
        if self._out:
            self._send()
        if self._out:
            self._watch(_WRITABLE if self.closing else self._events | _WRITABLE)
        elif self.closing:
            self._is_gone = True
            self._poller.forget(self._socket)
            self._socket.close()
            self.protocol.connection_lost(self.error)
            # The protocol holds this channel: a circle that the garbage collector would have to find.
            self.protocol = _NOBODY
        elif self._events & _WRITABLE:
            self._watch(self._events & ~_WRITABLE)

    def _send(self) -> None:
        try:
            sent = self._socket.send(self._out)
        except BlockingIOError:
            return
        except OSError as error:
            self.error = error
            self.abort()
            return
        if sent == len(self._out):
            self._out = b""
        else:
            if isinstance(self._out, bytes):
                self._out = bytearray(self._out)
            del self._out[:sent]

    def look_at(self) -> None:
        if not self._is_dirty:
            self._is_dirty = True
            self._poller.look_at(self)

    def _watch(self, events: int) -> None:
        if events != self._events and not self._is_gone:
            self._poller.watch(self._socket, self._events, events)
            self._events = events


class _Listener(NamedTuple):
    socket: socket.socket
    family: int
    make_protocol: Callable[[], PollerProtocol]


class Accepted(NamedTuple):
    """A connection of which nothing has been read yet."""

    listener: _Listener
    fd: int
    peer: Any


class Poller:
    """The epoll. Everything runs in turns of the event loop that was running when it was made.

    With `storm`, a connection may have to wait before it gets a channel and a protocol, or is closed instead.
    """

    def __init__(self, storm: StormControl[Accepted] | None = None) -> None:
        self._storm = storm
        self._queue_check: asyncio.TimerHandle | None = None
        self._resting: list[socket.socket] = []
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._channels: dict[int, SocketChannel] = {}
        self._listeners: dict[int, _Listener] = {}
        self._paused: list[socket.socket] = []
        self._dirty: list[SocketChannel] = []
        self._in_turn = False
        self._loop.add_reader(self._epoll.fileno(), self._turn)

    def listen(self, sock: socket.socket, make_protocol: Callable[[], PollerProtocol]) -> None:
        """Accept connections on `sock`, which listens and does not block."""
        self._listeners[sock.fileno()] = _Listener(sock, int(sock.family), make_protocol)
        self._epoll.register(sock.fileno(), _READABLE)

    def stop_listening(self, sock: socket.socket) -> None:
        """Forget `sock`, which the caller closes."""
        del self._listeners[sock.fileno()]
        if self._storm is not None:
            for waiting in self._storm.queue.clear():
                os.close(waiting.fd)
        if sock in self._paused:
            self._paused.remove(sock)
        elif sock in self._resting:
            self._resting.remove(sock)
        else:
            self._epoll.unregister(sock.fileno())

    def resume_accepting(self) -> bool:
        """Accept again where the system had no file or memory left. Returns whether that was so."""
        paused, self._paused = self._paused, []
        for sock in paused:
            self._epoll.register(sock.fileno(), _READABLE)
        return bool(paused)

    def close(self) -> None:
        """Stop polling. Channels that are still open are cut."""
        if self._queue_check is not None:
            self._queue_check.cancel()
        self._loop.remove_reader(self._epoll.fileno())
        for channel in tuple(self._channels.values()):
            channel.abort()
        self._settle()
        self._epoll.close()

    # A channel's side

    def look_at(self, channel: SocketChannel) -> None:
        """`channel` has something to send or to end."""
        self._dirty.append(channel)
        if not self._in_turn and len(self._dirty) == 1:
            self._loop.call_soon(self._settle)

    def watch(self, sock: socket.SocketType, before: int, events: int) -> None:
        # Not even a hang-up is reported of a socket that nobody reads or writes: else each poll would return it.
        if not before:
            self._epoll.register(sock.fileno(), events)
        elif not events:
            self._epoll.unregister(sock.fileno())
        else:
            self._epoll.modify(sock.fileno(), events)

    def forget(self, sock: socket.SocketType) -> None:
        del self._channels[sock.fileno()]  # closing the socket takes it out of the epoll

    # A turn

    def _turn(self) -> None:
        self._in_turn = True
        try:
            received: list[tuple[SocketChannel, bytes]] = []
            for fd, events in self._epoll.poll(0, _MAX_EVENTS):
                channel = self._channels.get(fd)
                if channel is None:
                    self._accept(fd, received)
                elif events == _READABLE:
                    self._read(channel, received)
                else:
                    if events & _WRITABLE:
                        channel.look_at()
                    if events & ~_WRITABLE:  # readable, or hung up, which reading tells
                        self._read(channel, received)
            for channel, data in received:
                self._deliver(channel, data)
        finally:
            self._in_turn = False
        self._settle()

    def _read(self, channel: SocketChannel, received: list[tuple[SocketChannel, bytes]]) -> None:
        data = channel.read()
        if data is not None:
            received.append((channel, data))

    def _accept(self, fd: int, received: list[tuple[SocketChannel, bytes]]) -> None:
        listener = self._listeners.get(fd)
        if listener is None:
            return
        accept = listener.socket._accept  # type: ignore[attr-defined]  # noqa: SLF001 - `accept` without its wrapper
        storm, now, entered = self._storm, time.monotonic(), 0
        for _ in range(_MAX_LOOKS):
            try:
                accepted, peer = accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._epoll.unregister(fd)
                    self._paused.append(listener.socket)
                return
            connection = Accepted(listener, accepted, peer)
            if storm is not None and not self._may_enter(storm, connection, now):
                if self._resting:
                    return
                continue
            # Who connects speaks first, and in a storm has spoken before it is accepted.
            self._read(self._open(connection), received)
            entered += 1
            if entered == _MAX_ACCEPTS:
                return

    def _open(self, connection: Accepted) -> SocketChannel:
        listener, fd, peer = connection
        sock = socket.SocketType(listener.family, _STREAM, 0, fd)
        sock.setblocking(False)
        channel = SocketChannel(self, sock, peer)
        self._channels[fd] = channel
        self._epoll.register(fd, _READABLE)
        channel.protocol = listener.make_protocol()
        channel.protocol.connection_made(channel)
        return channel

    def _deliver(self, channel: SocketChannel, data: bytes) -> None:
        if channel.closing:
            if not data:
                channel.abort()  # nobody is left to take what it holds
            return
        try:
            if data:
                channel.protocol.data_received(data)
            else:
                channel.protocol.eof_received()
                channel.close()
        except Exception as error:  # noqa: BLE001 - a fault ends this connection and no other
            channel.error = error
            channel.abort()

    def _settle(self) -> None:
        dirty, self._dirty = self._dirty, []
        for channel in dirty:
            try:
                channel.settle()
            except Exception as error:  # noqa: BLE001 - likewise
                self._loop.call_exception_handler(
                    {"message": "a connection could not end", "exception": error}
                )
        if self._storm is not None and (self._storm.queue.waiting or self._resting):
            self._let_in(self._storm)

    # A storm

    def _may_enter(self, storm: StormControl[Accepted], connection: Accepted, now: float) -> bool:
        """Whether a handshake may begin at once; if not, the connection waits or is closed."""
        match storm.queue.arrive(connection, address_prefix(connection.peer[0]), now):
            case Verdict.ENTER:
                return True
            case Verdict.WAIT:
                pass
            case Verdict.TURN_AWAY:
                os.close(connection.fd)
                storm.turned_away += 1
                if storm.queue.is_spent(now):
                    # Enough for the moment: accept nobody until the next look at the queue.
                    sock = connection.listener.socket
                    self._epoll.unregister(sock.fileno())
                    self._resting.append(sock)
        return False

    def _let_in(self, storm: StormControl[Accepted]) -> None:
        """Let those who wait take the handshakes that have become free, and see to it that nobody waits too long."""
        while (connection := storm.queue.next()) is not None:
            self._open(connection)
        if self._queue_check is None and (storm.queue.waiting or self._resting):
            self._queue_check = self._loop.call_later(_QUEUE_CHECK_S, self._check_queue, storm)

    def _check_queue(self, storm: StormControl[Accepted]) -> None:
        self._queue_check = None
        now = time.monotonic()
        while (connection := storm.queue.overdue(now)) is not None:
            os.close(connection.fd)
            storm.gave_up += 1
        if not storm.queue.is_spent(now):
            resting, self._resting = self._resting, []
            for sock in resting:
                self._epoll.register(sock.fileno(), _READABLE)
        self._let_in(storm)
