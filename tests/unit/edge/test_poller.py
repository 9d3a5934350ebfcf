"""The poller on real sockets of the loopback: what a device's end of the connection sees."""

import asyncio
import errno
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gateway.edge.poller import Accepted, Poller, SocketChannel, has_epoll
from gateway.edge.storm import StormControl
from gateway.settings import StormSettings

pytestmark = pytest.mark.skipif(
    not has_epoll(), reason="epoll is Linux's; elsewhere asyncio's transports serve"
)


class Server:
    """A protocol that remembers what it was told; `on_data` is what it does with what it gets."""

    def __init__(self, on_data: "Callable[[Server, bytes], None]") -> None:
        self.on_data = on_data
        self.received = b""
        self.ended = False
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.channel: SocketChannel = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.on_data(self, data)

    def eof_received(self) -> bool | None:
        self.ended = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


class Site:
    """A poller that listens, and everybody who was accepted."""

    def __init__(self, storm: StormControl[Accepted] | None = None) -> None:
        self.poller = Poller(storm)
        self.accepted: list[Server] = []
        self.on_data: Callable[[Server, bytes], None] = lambda server, data: server.channel.write(data)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.poller.listen(self.socket, self._make)

    def _on_data(self, server: Server, data: bytes) -> None:
        self.on_data(server, data)

    def _make(self) -> Server:
        self.accepted.append(Server(self._on_data))
        return self.accepted[-1]

    async def dial(self, hello: bytes = b"hello") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*self.socket.getsockname())
        writer.write(hello)
        return reader, writer

    def close(self) -> None:
        if self.socket.fileno() < 0:
            return  # a test has done it
        self.poller.stop_listening(self.socket)
        self.poller.close()
        self.socket.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    yield site
    site.close()


async def until(condition: Callable[[], Any]) -> None:
    while not condition():  # noqa: ASYNC110 - a turn of the loop is what it waits for
        await asyncio.sleep(0)


async def leave(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


async def test_everybody_who_dials_at_once_is_answered(site: Site) -> None:
    everybody = await asyncio.gather(*[site.dial(b"%03d" % number) for number in range(200)])
    answers = await asyncio.gather(*[reader.readexactly(3) for reader, _ in everybody])
    assert answers == [b"%03d" % number for number in range(200)]
    assert {server.channel.get_extra_info("peername")[0] for server in site.accepted} == {"127.0.0.1"}
    for _, writer in everybody:
        await leave(writer)
    assert await asyncio.gather(*[server.lost for server in site.accepted]) == [None] * 200


async def test_a_peer_that_reads_late_gets_everything_in_order(site: Site) -> None:
    parts = [bytes([number]) * 100_000 for number in range(100)]

    def say_all(server: Server, _: bytes) -> None:
        for part in parts:
            server.channel.write(part)

    site.on_data = say_all
    reader, writer = await site.dial()
    await until(lambda: site.accepted and site.accepted[0].channel.get_write_buffer_size())
    assert await reader.readexactly(10_000_000) == b"".join(parts)
    assert site.accepted[0].channel.get_write_buffer_size() == 0
    await leave(writer)


async def test_close_sends_what_is_held_and_abort_does_not(site: Site) -> None:
    def say_and_close(server: Server, _: bytes) -> None:
        server.channel.write(b"x" * 10_000_000)
        server.channel.close()
        server.channel.write(b"too late")

    site.on_data = say_and_close
    reader, writer = await site.dial()
    assert await reader.read() == b"x" * 10_000_000
    await leave(writer)

    def say_and_abort(server: Server, _: bytes) -> None:
        server.channel.write(b"never said")
        server.channel.abort()

    site.on_data = say_and_abort
    reader, writer = await site.dial()
    assert await reader.read() == b""
    assert await asyncio.gather(*[server.lost for server in site.accepted]) == [None, None]
    await leave(writer)


async def test_what_is_written_outside_a_turn_leaves_too(site: Site) -> None:
    site.on_data = lambda *_: None
    reader, writer = await site.dial()
    await until(lambda: site.accepted and site.accepted[0].received)
    site.accepted[0].channel.write(b"by ")
    site.accepted[0].channel.write(b"the way")
    site.accepted[0].channel.close()
    assert await reader.read() == b"by the way"
    await leave(writer)


async def test_who_pauses_reading_gets_nothing_until_it_resumes(site: Site) -> None:
    def pause(server: Server, _: bytes) -> None:
        server.channel.pause_reading()
        server.channel.write(b"wait")

    site.on_data = pause
    reader, writer = await site.dial(b"one")
    assert await reader.readexactly(4) == b"wait"
    writer.write(b"two")
    _, other = await site.dial(b"other")  # whose turn shows that the first one's bytes could have been read
    await until(lambda: len(site.accepted) == 2 and site.accepted[1].received)
    assert site.accepted[0].received == b"one"
    site.on_data = lambda server, data: server.channel.write(data)
    site.accepted[0].channel.resume_reading()
    assert await reader.readexactly(3) == b"two"
    await leave(writer)
    await leave(other)


async def test_a_peer_that_ends_its_side_still_gets_the_answer(site: Site) -> None:
    reader, writer = await site.dial(b"question")
    writer.write_eof()
    assert await reader.read() == b"question"
    assert site.accepted[0].ended
    await leave(writer)


async def test_a_peer_that_resets_is_lost_with_the_error_even_while_it_is_owed_something(site: Site) -> None:
    def owe(server: Server, _: bytes) -> None:
        server.channel.write(b"x" * 10_000_000)
        server.channel.close()

    site.on_data = owe
    dialled = socket.create_connection(site.socket.getsockname())
    dialled.send(b"hello")
    await until(lambda: site.accepted and site.accepted[0].received)
    dialled.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close sends RST
    dialled.close()
    assert isinstance(await site.accepted[0].lost, ConnectionError)


async def test_a_fault_ends_one_connection_and_no_other(site: Site) -> None:
    def stumble(server: Server, data: bytes) -> None:
        if data == b"bad":
            raise ZeroDivisionError
        server.channel.write(data)

    site.on_data = stumble
    bad, bad_writer = await site.dial(b"bad")
    good, good_writer = await site.dial(b"good")
    assert await good.readexactly(4) == b"good"
    assert await bad.read() == b""
    assert isinstance(await site.accepted[0].lost, ZeroDivisionError)
    await leave(bad_writer)
    await leave(good_writer)


async def test_out_of_descriptors_it_stops_accepting_until_it_is_told_to_try_again(site: Site) -> None:
    class Exhausted:
        """A listening socket of a process that has no descriptor left, until `room`."""

        def __init__(self, sock: socket.socket) -> None:
            self.socket, self.family, self.room, self.tried = sock, sock.family, False, 0

        def fileno(self) -> int:
            return self.socket.fileno()

        def _accept(self) -> tuple[int, Any]:
            self.tried += 1
            if not self.room:
                raise OSError(errno.EMFILE, "Too many open files")
            return self.socket._accept()

    site.poller.stop_listening(site.socket)
    exhausted = Exhausted(site.socket)
    site.poller.listen(exhausted, site._make)  # type: ignore[arg-type]
    reader, writer = await site.dial()
    await until(lambda: exhausted.tried)
    for _ in range(20):
        await asyncio.sleep(0)
    assert exhausted.tried == 1
    exhausted.room = True
    assert site.poller.resume_accepting()
    assert await reader.readexactly(5) == b"hello"
    assert not site.poller.resume_accepting()
    await leave(writer)
    site.poller.stop_listening(exhausted)  # type: ignore[arg-type]
    site.poller.listen(site.socket, site._make)


async def test_who_has_waited_for_a_handshake_as_long_as_one_may_is_closed_and_counted() -> None:
    settings = StormSettings(max_handshakes=1, max_wait_s=0.2)
    storm: StormControl[Accepted] = StormControl(settings, now=time.monotonic())
    site = Site(storm)
    site.on_data = lambda server, _: server.channel.write(storm.began("127.0.0.1").encode())
    try:
        first, first_writer = await site.dial()
        assert await first.readexactly(9) == b"127.0.0.1"  # it has the one handshake, and keeps it
        second, second_writer = await site.dial(b"")
        assert await asyncio.wait_for(second.read(), 10) == b""
        assert (storm.gave_up, storm.queue.waiting, len(site.accepted)) == (1, 0, 1)
        await leave(second_writer)
        await leave(first_writer)
    finally:
        site.close()


async def test_closing_the_poller_cuts_who_is_still_connected(site: Site) -> None:
    reader, writer = await site.dial()
    assert await reader.readexactly(5) == b"hello"
    site.close()
    assert await reader.read() == b""
    assert await site.accepted[0].lost is None
    await leave(writer)
