"""A storm that keeps books: devices that come, send numbered messages, and come again whenever something breaks.

What a device was told is written down the moment it hears it: CONNACK 0 (it is registered) and each PUBACK. What
arrives at an ordinary subscriber is the other side of the books. `Books.account` holds the two, and the registry, against
each other.
"""

import asyncio
import contextlib
import json
import random
import sqlite3
import ssl
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiomqtt

from tests.support.device import Fleet, packet, text

__all__ = ["MOST_OWED", "Account", "Books", "Proxy", "Storm"]

PATIENCE_S = 10.0
PAUSE_S = 0.05
"""Between two attempts of a device, with some chance: what a real one does for longer."""
MOST_OWED = 300
"""Devices wait while so many messages are acknowledged and not arrived: an application that is too slow loses some."""
_CONNACK, _PUBACK = 0x20, 0x40


@dataclass
class Account:
    """How the books close."""

    devices: int
    registered: int
    doubled: int
    unregistered: set[str]
    """Were told that they are registered, and are not."""
    acknowledged: int
    arrived: int
    lost: dict[str, list[int]]
    """By device: acknowledged, and not arrived."""
    repeated: int
    turned_away: int
    broken: int
    breaks: list[str]
    """Why the application lost its connection."""

    def __str__(self) -> str:
        lost = sum(map(len, self.lost.values()))
        return (
            f"{self.devices} devices, {self.registered} registered ({self.doubled} twice,"
            f" {len(self.unregistered)} told so and not), {self.acknowledged} messages acknowledged,"
            f" {self.arrived} arrived ({self.repeated} more than once), {lost} acknowledged and not arrived;"
            f" {self.turned_away} CONNECTs turned away, {self.broken} connections broke;"
            f" the application lost its connection {len(self.breaks)} times"
        )


@dataclass
class Books:
    """What everybody was told."""

    told_registered: set[str] = field(default_factory=set)
    acknowledged: dict[str, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    """By device and number: when."""
    arrived: dict[str, dict[int, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    """By device and number: how often."""
    turned_away: int = 0
    broken: int = 0
    breaks: list[str] = field(default_factory=list)
    owed: int = 0
    """Acknowledged since the application subscribed, and not arrived yet."""
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def acknowledgements(self) -> int:
        return sum(map(len, self.acknowledged.values()))

    async def tell(self) -> None:
        async with self.news:
            self.news.notify_all()

    async def until(self, holds: Any, *, seconds: float = 60.0) -> None:
        """Wait until `holds()`; asked at each news."""
        async with asyncio.timeout(seconds), self.news:
            await self.news.wait_for(holds)

    def account(self, database: Path, devices: int) -> Account:
        with contextlib.closing(sqlite3.connect(database)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            stored = [row[0] for row in connection.execute("SELECT id FROM devices")]
        lost = {
            device: sorted(numbers.keys() - self.arrived[device].keys())
            for device, numbers in self.acknowledged.items()
            if numbers.keys() - self.arrived[device].keys()
        }
        return Account(
            devices=devices,
            registered=len(set(stored)),
            doubled=len(stored) - len(set(stored)),
            unregistered=self.told_registered - set(stored),
            acknowledged=self.acknowledgements,
            arrived=sum(map(len, self.arrived.values())),
            lost=lost,
            repeated=sum(times > 1 for numbers in self.arrived.values() for times in numbers.values()),
            turned_away=self.turned_away,
            broken=self.broken,
            breaks=self.breaks,
        )


class Storm:
    """Devices and one application. `port` is where the devices dial; over TLS, or plain without `tls`."""

    def __init__(
        self, setup: dict[str, Any], fleet: Fleet, *, devices: int, messages: int, port: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        self.books = Books()
        self.names = [f"storm-{number:04d}" for number in range(devices)]
        self._setup = setup
        self._fleet = fleet
        self._messages = messages
        self._port = port
        self._tls = {"ssl": tls, "server_hostname": "localhost"} if tls else {}
        self._somebody_listens = asyncio.Event()
        self._random = random.Random(7)  # noqa: S311

    @contextlib.asynccontextmanager
    async def blowing(self) -> AsyncIterator[Books]:
        """Everybody comes. At the end: until every device has every message acknowledged, and all that is due arrived."""
        listener = asyncio.create_task(self._listen())
        devices = [asyncio.create_task(self._live(name)) for name in self.names]
        try:
            yield self.books
            async with asyncio.timeout(120):
                await asyncio.gather(*devices)
            await self._settle()
        finally:
            for task in (*devices, listener):
                task.cancel()
            await asyncio.gather(*devices, listener, return_exceptions=True)

    async def _settle(self) -> None:
        """Until nothing more arrives: one last message by each device comes after all that it sent before."""
        last = self._messages
        for name in self.names:
            await self._send_one(name, last)
        await self.books.until(lambda: all(last in self.books.arrived[name] for name in self.names))

    # The application

    async def _listen(self) -> None:
        while True:
            try:
                async with aiomqtt.Client(
                    "127.0.0.1",
                    self._setup["appPort"],
                    username=self._setup["appUsername"],
                    password=self._setup["appPassword"],
                ) as client:
                    await client.subscribe("telemetry/#", qos=1)
                    self.books.owed = 0
                    self._somebody_listens.set()
                    async for message in client.messages:
                        envelope = json.loads(bytes(message.payload))  # type: ignore[arg-type]
                        device = str(message.topic).rpartition("/")[2]
                        self.books.arrived[device][envelope["body"]["n"]] += 1
                        self.books.owed -= 1
                        await self.books.tell()
            except aiomqtt.MqttError as error:
                if self._somebody_listens.is_set():
                    self.books.breaks.append(str(error))
            self._somebody_listens.clear()
            await asyncio.sleep(PAUSE_S)

    # A device

    async def _live(self, name: str) -> None:
        number = 0
        while number < self._messages:
            number = await self._session(name, number, self._messages)

    async def _send_one(self, name: str, number: int) -> None:
        while await self._session(name, number, number + 1) == number:
            pass

    async def _session(self, name: str, number: int, end: int) -> int:
        """One connection: messages from `number` on. Returns the first that is not acknowledged."""
        await asyncio.sleep(PAUSE_S * self._random.random())
        await self._somebody_listens.wait()  # what nobody is subscribed to is not promised to anybody
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(PATIENCE_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port, **self._tls)
                if not await self._connect(name, reader, writer):
                    return number
            while number < end and self._somebody_listens.is_set():
                async with asyncio.timeout(PATIENCE_S):
                    await self._publish(name, number, reader, writer)
                number += 1
        except (OSError, EOFError, TimeoutError):
            self.books.broken += 1
            await self.books.tell()
        finally:
            if writer is not None:
                writer.transport.abort()
        return number

    async def _connect(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        username, token = self._fleet.hub_login(name)
        body = text("MQTT") + b"\x04\xc2\x00\x3c" + text(name) + text(username) + text(token)
        writer.write(packet(1, 0, body))
        answer = await reader.readexactly(4)
        assert answer[0] == _CONNACK
        if answer[3]:
            assert answer[3] == 3, f"a device with a good key was refused with {answer[3]}"
            self.books.turned_away += 1
            await self.books.tell()
            return False
        self.books.told_registered.add(name)
        await self.books.tell()
        return True

    async def _publish(
        self, name: str, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        async with (
            self.books.news
        ):  # more than the application's queue takes would be dropped, and counted as that
            await self.books.news.wait_for(lambda: self.books.owed < MOST_OWED)
        packet_id = (number + 1).to_bytes(2, "big")
        topic = f"devices/{name}/messages/events/"
        writer.write(packet(3, 0b0010, text(topic) + packet_id + b'{"n":%d}' % number))
        answer = await reader.readexactly(4)
        assert answer == bytes((_PUBACK, 2)) + packet_id
        self.books.acknowledged[name][number] = time.monotonic()
        self.books.owed += 1
        await self.books.tell()


class Proxy:
    """A bad network between devices and gateway: it holds data back, hands on a part, and breaks connections.

    TCP repairs what single packets lose; what a peer sees of a bad network is this. Packets that are really lost:
    `tests.support.network`, which not every machine can have.
    """

    def __init__(self, port: int, *, break_after_bytes: int) -> None:
        self._to = port
        self._break_after = break_after_bytes
        self._random = random.Random(11)  # noqa: S311
        self._server: asyncio.Server | None = None
        self.is_bad = True
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        ends = (
            asyncio.create_task(self._pass(reader, far_writer)),
            asyncio.create_task(self._pass(far_reader, writer)),
        )
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        for transport in (writer.transport, far_writer.transport):
            transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = self._random.randrange(self._break_after)
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                if self.is_bad:
                    if self._random.random() < 0.1:
                        await asyncio.sleep(0.05 * self._random.random())
                    if len(data) >= left:
                        writer.write(data[:left])
                        await writer.drain()
                        return
                    left -= len(data)
                writer.write(data)
                await writer.drain()
