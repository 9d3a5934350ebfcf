"""Telemetry from devices to one subscriber, QoS 1 both ways: a process of its own on the tester's core.

`python -m loadtest.bench.telemetry` reads an order (JSON, one line) from standard input, connects everybody, says
`ready`, and waits for another line. Then it sends; a new message leaves when an earlier one has reached the
subscriber, so that nothing piles up at the server. The result is one line of JSON; everybody stays connected until standard
input ends, so that connects and disconnects are no part of what the bench measures in between.
"""

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, cast

import orjson
import uvloop

from gateway.errors import OperationError
from gateway.mqtt import (
    MQTT_3_1_1,
    Connack,
    Connect,
    Decoder,
    Disconnect,
    Puback,
    Publish,
    ServerPacket,
    Suback,
    Subscribe,
    encode,
)
from gateway.secrets import SymmetricKey
from gateway.simulate.wire import telemetry_topic
from loadtest.bench.cores import Core
from loadtest.bench.servers import HOST, Server
from loadtest.bench.usage import Cost, settle
from loadtest.devices import Population, SasKeys

__all__ = ["Exchange", "run_exchange"]

MODEL: Final = "dtmi:com:example:Thermostat;1"
_TIMEOUT_S: Final = 60.0
_MAX_PACKET_BYTES: Final = 64 * 1024
_LAST_PACKET_ID: Final = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What is to be sent, and how much may be on its way at a time."""

    messages: int
    devices: int = 16
    window: int = 16
    """Below the 20 messages that Mosquitto has in flight to one client. Of what it has to queue, version 2.0.11
    now and then drops a message of a subscriber that is not behind, with 64 on their way in one run of twelve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """An exchange with one server. Without a group key the devices are anonymous, and topics are passed through."""

    device_port: int
    subscriber_port: int
    topic_filter: str
    group_key: str | None
    username: str | None
    password: str | None
    messages: int
    devices: int
    window: int


def run_exchange(exchange: Exchange, server: Server, core: Core) -> tuple[Cost, float]:
    """The server's CPU time per message, and messages a second.

    Raises `OperationError` unless every message came out exactly once, and validated if it is the gateway.
    """
    order = json.dumps(asdict(_order(exchange, server)))
    client = core.start(
        [sys.executable, "-m", __spec__.name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert client.stdin is not None
    assert client.stdout is not None
    try:
        print(order, file=client.stdin, flush=True)
        _expect(client.stdout.readline() == "ready\n", client, server)
        before = settle(server.pid)
        print(file=client.stdin, flush=True)
        said = client.stdout.readline()
        _expect(said.startswith("{"), client, server)
        used = settle(server.pid) - before
    finally:
        client.communicate()
    return used.per(exchange.messages), float(json.loads(said)["messagesPerSecond"])


def _expect(condition: bool, client: subprocess.Popen[str], server: Server) -> None:
    if not condition:
        said = client.communicate()[1].strip().splitlines()[-1:]
        raise OperationError(f"{server.name}: telemetry: {''.join(said)}", hint=f"its log: {server.log}")


def _order(exchange: Exchange, server: Server) -> _Order:
    assert server.plain is not None
    device_port, document = server.plain.port, server.setup.document
    if not server.is_gateway:
        return _Order(
            device_port=device_port,
            subscriber_port=device_port,
            topic_filter="devices/+/messages/events/#",
            group_key=None,
            username=None,
            password=None,
            **asdict(exchange),
        )
    return _Order(
        device_port=device_port,
        subscriber_port=document["appPort"],
        topic_filter=f"telemetry/{MODEL}/+",
        group_key=server.setup.group_key,
        username=document["appUsername"],
        password=document["appPassword"],
        **asdict(exchange),
    )


class _Client(asyncio.Protocol):
    """One connection; `ready` once the server has accepted it."""

    def __init__(self, hello: bytes, received: "Callable[[_Client, ServerPacket], None]") -> None:
        self._hello = hello
        self._received = received
        self._decoder = Decoder(MQTT_3_1_1.from_server, max_packet_size=_MAX_PACKET_BYTES)
        self._packet_ids = itertools.cycle(range(1, _LAST_PACKET_ID + 1))
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._hello)

    def data_received(self, data: bytes) -> None:
        self._decoder.feed(data)
        while (packet := self._decoder.next_packet()) is not None:
            self._received(self, packet)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(ConnectionResetError("the server closed a connection"))

    def publish(self, topic: str, payload: bytes) -> None:
        packet_id = next(self._packet_ids)
        self.transport.write(encode(Publish(topic=topic, payload=payload, qos=1, packet_id=packet_id)))


class _Exchange:
    """All connections of one order, and the count of what came through."""

    def __init__(self, order: _Order) -> None:
        self._order = order
        self._sent = 0
        self._acknowledged = 0
        self._arrived: set[float] = set()
        self._finished = asyncio.Event()
        self._problem = ""

    async def connect(self) -> None:
        order = self._order
        login = Connect(
            client_id="bench-subscriber",
            keep_alive=0,
            username=order.username,
            password=order.password.encode() if order.password else None,
        )
        self._subscriber = await self._dial(order.subscriber_port, encode(login), self._at_subscriber)
        self._devices = []
        for device_id, hello in _devices(order):
            client = await self._dial(order.device_port, hello, self._at_device)
            self._devices.append((telemetry_topic(device_id, None), client))

    async def _dial(
        self, port: int, hello: bytes, received: Callable[[_Client, ServerPacket], None]
    ) -> _Client:
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: _Client(hello, received), HOST, port)
        async with asyncio.timeout(_TIMEOUT_S):
            await client.ready
        return client

    async def run(self) -> dict[str, Any]:
        started = time.perf_counter()
        for _ in range(min(self._order.window, self._order.messages)):
            self._send()
        async with asyncio.timeout(_TIMEOUT_S):
            await self._finished.wait()
        if self._problem:
            raise OperationError(self._problem)
        return {"messagesPerSecond": round(self._order.messages / (time.perf_counter() - started), 1)}

    def leave(self) -> None:
        for client in (self._subscriber, *(client for _, client in self._devices)):
            client.transport.write(encode(Disconnect()))
            client.transport.close()

    def _send(self) -> None:
        topic, client = self._devices[self._sent % len(self._devices)]
        client.publish(topic, b'{"temperature":%d.5}' % self._sent)
        self._sent += 1

    def _at_device(self, client: _Client, packet: ServerPacket) -> None:
        match packet:
            case Connack(code=0):
                client.ready.set_result(None)
            case Puback():
                self._acknowledged += 1
                self._check()
            case _:
                self._give_up(f"a device was told {packet}")

    def _at_subscriber(self, client: _Client, packet: ServerPacket) -> None:
        match packet:
            case Connack(code=0):
                filters = ((self._order.topic_filter, 1),)
                client.transport.write(encode(Subscribe(packet_id=1, filters=filters)))
            case Suback(codes=(1,)):
                client.ready.set_result(None)
            case Publish(payload=payload, packet_id=int(packet_id)):
                client.transport.write(encode(Puback(packet_id=packet_id)))
                self._arrive(orjson.loads(payload))
            case _:
                self._give_up(f"the subscriber was told {packet}")

    def _arrive(self, message: dict[str, Any]) -> None:
        if self._order.group_key is not None:
            if message["validation"]["status"] != "valid":
                self._give_up(f"not valid: {message}")
            message = message["body"]
        if message["temperature"] in self._arrived:
            self._give_up(f"arrived twice: {message}")
        self._arrived.add(message["temperature"])
        if self._sent < self._order.messages:
            self._send()
        self._check()

    def _check(self) -> None:
        if len(self._arrived) == self._acknowledged == self._order.messages:
            self._finished.set()

    def _give_up(self, problem: str) -> None:
        self._problem = self._problem or problem
        self._finished.set()


def _devices(order: _Order) -> list[tuple[str, bytes]]:
    """Each one's id and its CONNECT."""
    if order.group_key is None:
        ids = [f"talker-{number}" for number in range(order.devices)]
        return [(each, encode(Connect(client_id=each, keep_alive=0))) for each in ids]
    population = Population(
        count=order.devices,
        credentials=SasKeys(group_key=SymmetricKey.from_base64(order.group_key)),
        hub=HOST,
        prefix="talker-",
        model_id=MODEL,
    )
    return [(population.device_id(number), population.hub_connect(number)) for number in range(order.devices)]


async def _main() -> None:
    loop = asyncio.get_running_loop()
    exchange = _Exchange(_Order(**json.loads(await loop.run_in_executor(None, sys.stdin.readline))))
    await exchange.connect()
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    print(json.dumps(await exchange.run()), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    exchange.leave()


if __name__ == "__main__":
    try:
        uvloop.run(_main())
    except (OperationError, OSError, TimeoutError) as error:
        sys.exit(str(error) or f"not everything came through within {_TIMEOUT_S:.0f} s")
