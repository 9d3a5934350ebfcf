"""A gateway for models of it: all is its own, wired as it wires itself (`Gateway`, `open_core`), but for sockets and clock.

Hypothesis chooses the steps. A test's machine adds how devices prove themselves and what an operator does about that; here
is what all have in common: verbs on devices, a store that fails, restarts, time. What has to hold after each step: exactly
those devices are connected that the model lets in, and what was acknowledged is in the database.
"""

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway import mqtt
from gateway.app import Core, Gateway, open_core
from gateway.audit import Actor
from gateway.edge.connection import Connection
from gateway.errors import GatewayError
from gateway.identity.evidence import CertificateEvidence
from gateway.telemetry.router import TelemetryRouter
from tests.support.bench import settings_in
from tests.unit.edge.test_connection import Channel

__all__ = ["DEVICE_IDS", "SLOTS", "GatewayMachine", "Live", "Model", "examples"]

DEVICE_IDS = ("d-1", "d-2", "d-3")
SLOTS = st.sampled_from(["primary", "secondary"])
ROOT = Actor.local("root")
PATIENCE_S = 20.0
STEP_S = 30.0
PATIENT = {"certificate_file": "c", "key_file": "k", "storm": {"refusals_before_delay": 1000}}
"""No answer is held back: that is another test's."""


def examples() -> hypothesis_settings:
    """Fewer than of a property of one function: an example is up to thirty steps of a gateway."""
    return hypothesis_settings(
        max_examples=max(20, hypothesis_settings.default.max_examples // 5), stateful_step_count=30
    )


class _Channel(Channel):
    """Tells when it was written to or closed."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = asyncio.Event()

    def write(self, data: bytes) -> None:
        super().write(data)
        self.answered.set()

    def close(self) -> None:
        super().close()
        self.answered.set()


@dataclass
class Live:
    """A connection and what it came in by."""

    connection: Connection
    channel: _Channel
    group: str
    slot: str
    level: int
    proof: Any = None

    @property
    def answers(self) -> list[mqtt.Packet]:
        """What the gateway has said so far."""
        decoder = mqtt.Decoder(mqtt.CODECS[self.level].from_server, max_packet_size=1 << 20)
        decoder.feed(self.channel.written)
        return list(iter(decoder.next_packet, None))

    @property
    def is_accepted(self) -> bool:
        first = self.answers[0]
        assert isinstance(first, mqtt.Connack)
        return first.code == 0


@dataclass
class Model:
    """What somebody who knows the rules, and not the code, expects."""

    approving: frozenset[str]
    """Groups whose devices need no approval."""
    enabled: dict[str, bool]
    status: dict[str, str] = field(default_factory=dict)
    """Of registered devices: provisioned, waiting (for approval), blocked."""
    group: dict[str, str] = field(default_factory=dict)
    """By which group a device came in last: it is stored, so a change of group needs the store."""
    waited: set[str] = field(default_factory=set)
    """Blocked devices that waited for approval before."""
    store_works: bool = True

    def attempt(self, device: str, group: str, *, proved: bool) -> bool:
        """A CONNECT: whether it is accepted; and what it leaves of the device."""
        if not proved or not self.enabled[group]:
            return False
        known = self.status.get(device)
        if known is None:
            if not self.store_works:
                return False
            known = self.status[device] = "provisioned" if group in self.approving else "waiting"
            self.group[device] = group
        if known != "provisioned" or not (self.store_works or self.group[device] == group):
            return False
        self.group[device] = group
        return True


class GatewayMachine(RuleBasedStateMachine):
    """One gateway, its devices, its operator."""

    groups: tuple[str, ...]
    approving: frozenset[str]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.settings = settings_in(Path(self.directory.name), devices=PATIENT)
        self.database = Path(self.directory.name) / "gateway.db"
        self.now = time.time()
        self.monotonic = 1000.0
        self.model = Model(approving=self.approving, enabled=dict.fromkeys(self.groups, True))
        self.live: dict[str, Live] = {}

    def make_groups(self) -> None:
        """An operator's first steps."""
        raise NotImplementedError

    # The gateway

    @initialize()
    def start(self) -> None:
        self.runner.run(self._open())
        self.make_groups()

    async def _open(self) -> None:
        self.stack = AsyncExitStack()
        failures: list[GatewayError] = []
        self.gateway = Gateway(self.settings, sinks=(), on_failure=failures.append, clock=lambda: self.now)
        gateway = self.gateway
        self.core: Core = await self.stack.enter_async_context(
            open_core(
                self.settings, sessions=gateway.sessions, attempts=gateway.attempts, clock=lambda: self.now
            )
        )
        router = TelemetryRouter(
            self.settings.telemetry,
            find_template=self.core.catalog.get,
            sinks=(),
            observations=self.core.observations,
        )
        self.edge = gateway._make_edge(self.core, router)
        self.edge.monotonic = lambda: self.monotonic

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            if not self.model.store_works:
                self.store_recovers()
            self.runner.run(self.stack.aclose())
        self.runner.close()
        self.directory.cleanup()

    def call(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """What an operator does."""
        return self.runner.run(self.core.operations.call(verb, arguments, by=ROOT))

    def expect_closed(self, devices: Iterable[str]) -> None:
        """The step just made ended their sessions, and no other's (the invariant sees to that)."""
        for device in list(devices):
            live = self.live.pop(device, None)
            if live is not None:
                assert live.channel.closed
                self._lose(live)

    def _lose(self, live: Live) -> None:
        async def lost() -> None:
            live.connection.connection_lost(None)

        self.runner.run(lost())

    # Devices

    def connect(self, live: Live, connect: mqtt.Connect, certificate: CertificateEvidence | None) -> None:
        """One attempt, held against the model: `live.proof` is whether it is one, or what it is."""

        async def attempt() -> None:
            live.connection.attach(live.channel, live.channel)  # type: ignore[arg-type]
            if certificate is not None:
                live.connection.tls_established("TLSv1.3", certificate)
            live.connection.data_received(mqtt.CODECS[live.level].encode(connect))
            async with asyncio.timeout(PATIENCE_S):
                await live.channel.answered.wait()
            if live.channel.closed:
                live.connection.connection_lost(None)

        device = connect.client_id
        expected = self.model.attempt(device, live.group, proved=bool(live.proof))
        self.runner.run(attempt())
        assert live.is_accepted == expected, live.answers
        if expected:
            before = self.live.get(device)
            self.live[device] = live
            assert before is None or before.channel.closed  # taken over
        else:
            assert live.channel.closed

    def new(self, *, group: str, slot: str, level: int, proof: Any) -> Live:
        """A connection that has not said anything."""
        return Live(Connection(self.edge), _Channel(), group, slot, level, proof)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), politely=st.booleans())
    def device_leaves(self, data: st.DataObject, politely: bool) -> None:
        live = self.live.pop(data.draw(st.sampled_from(sorted(self.live))))

        async def leave() -> None:
            if politely:
                live.connection.data_received(mqtt.CODECS[live.level].encode(mqtt.Disconnect()))
            live.connection.connection_lost(None)

        self.runner.run(leave())

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def device_sends(self, data: st.DataObject) -> None:
        device = data.draw(st.sampled_from(sorted(self.live)))
        live = self.live[device]

        async def send() -> None:
            message = mqtt.Publish(f"devices/{device}/messages/events/", b"{}", 1, packet_id=7)
            live.connection.data_received(mqtt.CODECS[live.level].encode(message))

        self.runner.run(send())
        assert live.answers[-1] == mqtt.Puback(packet_id=7)

    # The operator

    @precondition(lambda self: self.model.store_works and self.model.status)
    @rule(data=st.data(), act=st.sampled_from(["block", "unblock", "approve", "delete"]))
    def operator_acts_on_a_device(self, data: st.DataObject, act: str) -> None:
        device = data.draw(st.sampled_from(sorted(self.model.status)))
        model = self.model
        try:
            self.call(f"device.{act}", device_id=device)
        except GatewayError:
            assert act in {"approve", "unblock", "block"}  # what does not apply is said, and changes nothing
            return
        if act in {"block", "delete"}:
            self.expect_closed([device])
        match act:
            case "delete":
                del model.status[device]
                model.waited.discard(device)
            case "block":
                if model.status[device] == "waiting":
                    model.waited.add(device)
                model.status[device] = "blocked"
            case "unblock" if model.status[device] == "blocked":
                model.status[device] = "waiting" if device in model.waited else "provisioned"
                model.waited.discard(device)
            case "approve" if model.status[device] == "waiting":
                model.status[device] = "provisioned"

    @precondition(lambda self: self.model.store_works)
    @rule(data=st.data(), enabled=st.booleans())
    def operator_switches_a_group(self, data: st.DataObject, enabled: bool) -> None:
        group = data.draw(st.sampled_from(self.groups))
        self.call(f"group.{'enable' if enabled else 'disable'}", name=group)
        self.model.enabled[group] = enabled
        if not enabled:
            self.expect_closed([name for name, live in self.live.items() if live.group == group])

    # The machine

    @precondition(lambda self: self.model.store_works)
    @rule()
    def store_goes(self) -> None:
        self.database.rename(self.database.with_suffix(".away"))
        self.model.store_works = False

    @precondition(lambda self: not self.model.store_works)
    @rule()
    def store_recovers(self) -> None:
        self.database.with_suffix(".away").rename(self.database)
        self.model.store_works = True

    @precondition(lambda self: self.model.store_works)
    @rule()
    def gateway_restarts(self) -> None:
        for live in self.live.values():
            self._lose(live)
        self.live.clear()
        self.runner.run(self.stack.aclose())
        self.runner.run(self._open())

    @rule()
    def time_passes(self) -> None:
        self.now += 1
        self.monotonic += STEP_S

        async def tick() -> None:
            self.edge.deadlines.tick(self.monotonic)

        self.runner.run(tick())

    # What has to hold

    @invariant()
    def those_are_connected_that_may_be(self) -> None:
        if not hasattr(self, "gateway"):
            return
        assert self.gateway.sessions.count == len(self.live)
        for device, live in self.live.items():
            assert not live.channel.closed
            assert self.gateway.sessions.is_connected(device)
            assert self.model.status[device] == "provisioned"
            assert self.model.enabled[live.group]

    @invariant()
    def what_was_acknowledged_is_on_the_disk(self) -> None:
        if not self.model.store_works or not self.database.exists():
            return
        with closing(sqlite3.connect(self.database)) as database:
            stored = {row[0] for row in database.execute("SELECT id FROM devices")}
        assert stored == set(self.model.status)
