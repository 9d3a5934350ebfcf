"""What waits for an application is bounded, in messages and in bytes, whether it is connected or away."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from amqtt.adapters import StreamWriterAdapter
from amqtt.broker import BrokerContext
from amqtt.session import Session

from gateway.applications import Applications
from gateway.telemetry.sinks.amqtt import AmqttSink

MESSAGE = b"x" * 100_000
TEN = 10 * len(MESSAGE)


class _Socket:
    """What a writer writes to: nothing leaves until the test says so."""

    def __init__(self) -> None:
        self.unsent = 0
        self.transport = self

    def write(self, data: bytes) -> None:
        self.unsent += len(data)

    def get_write_buffer_size(self) -> int:
        return self.unsent


class Bench:
    """One subscriber to everything, by QoS 1."""

    def __init__(self, *, max_backlog: int = 1000, max_backlog_bytes: int = TEN, qos: int = 1) -> None:
        self.socket = _Socket()
        self.session = session = Session()
        session.client_id, session.username, session.clean_session = "back-end", "app", False
        session.transitions.connect()
        self.handler = SimpleNamespace(
            writer=StreamWriterAdapter(cast("Any", self.socket)), _puback_waiters={}
        )
        context = SimpleNamespace(
            subscriptions={"telemetry/#": [(session, qos)]},
            _broker_instance=SimpleNamespace(sessions={"back-end": (session, self.handler)}),
        )
        everything = SimpleNamespace(may_receive=lambda _username, _topic: True)
        self.sink = AmqttSink(
            cast("BrokerContext", context),
            cast("Applications", everything),
            max_backlog=max_backlog,
            max_backlog_bytes=max_backlog_bytes,
        )

    def deliver(self, count: int, payload: bytes = MESSAGE, *, reads: bool = False) -> int:
        """Returns how many had room; if it `reads`, all of them leave the gateway."""
        had_room = 0
        for _ in range(count):
            had_room += not self.sink.deliver("telemetry/x", payload, 1)
            self.socket.unsent = 0 if reads else self.socket.unsent
        return had_room

    async def acknowledge(self, count: int) -> None:
        for packet_id in list(self.handler._puback_waiters)[:count]:
            self.handler._puback_waiters[packet_id].set_result(None)
        await asyncio.sleep(0)

    async def leave(self) -> None:
        for waiter in list(self.handler._puback_waiters.values()):
            waiter.cancel()
        self.session.transitions.disconnect()
        await asyncio.sleep(0)

    def come_back(self) -> None:
        """And take everything."""
        self.session.transitions.connect()
        self.session.inflight_out.clear()
        self.session.clear_queues()


async def test_what_a_subscriber_does_not_acknowledge_is_bounded_in_bytes() -> None:
    bench = Bench()
    assert bench.deliver(30, reads=True) == 10
    await bench.acknowledge(3)
    assert bench.deliver(30, reads=True) == 3
    await bench.acknowledge(100)
    assert bench.sink.backlog == 0


@pytest.mark.parametrize("qos", [0, 1])
async def test_what_a_subscriber_does_not_read_is_bounded_in_bytes(qos: int) -> None:
    bench = Bench(qos=qos)
    accepted = bench.deliver(30)
    assert 4 <= accepted <= 11
    assert bench.socket.unsent <= TEN + 2 * len(MESSAGE)
    bench.socket.unsent = 0
    await bench.acknowledge(100)
    assert bench.deliver(1) == 1


async def test_what_waits_for_a_session_that_is_away_is_bounded_in_bytes() -> None:
    bench = Bench()
    await bench.leave()
    assert bench.deliver(30) == 10
    assert bench.session.retained_messages.qsize() == 10
    bench.come_back()
    await bench.leave()
    assert bench.deliver(30) == 10


async def test_what_it_had_not_acknowledged_when_it_went_away_counts_too() -> None:
    bench = Bench()
    assert bench.deliver(4, reads=True) == 4
    await bench.leave()
    assert bench.deliver(30) == 6
    bench.come_back()
    await bench.leave()
    assert bench.deliver(30) == 10


@pytest.mark.parametrize("is_away", [False, True])
async def test_small_messages_are_bounded_by_their_number(*, is_away: bool) -> None:
    bench = Bench(max_backlog=5)
    if is_away:
        await bench.leave()
    assert bench.deliver(30, b"{}") == 5
