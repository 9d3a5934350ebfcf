"""A model of who may be in, and the gateway held to it: devices, operators, a store that fails, restarts, in any order.

Hypothesis chooses the steps; everything is the gateway's own, wired as it wires itself (`Gateway`, `open_core`), but for
sockets and the clock. What has to hold after each step: exactly those devices are connected that the model lets in,
nobody is who is blocked or whose group is disabled, and what was acknowledged is in the database.
"""

import asyncio
import sqlite3
import tempfile
import time
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
from gateway.identity import sas
from gateway.secrets import SymmetricKey
from gateway.telemetry.router import TelemetryRouter
from tests.support.bench import settings_in
from tests.unit.edge.test_connection import Channel

DEVICES = st.sampled_from(["d-1", "d-2", "d-3"])
GROUPS = st.sampled_from(["open", "closed"])
SLOTS = st.sampled_from(["primary", "secondary"])
ROOT = Actor.local("root")
PATIENCE_S = 20.0
STEP_S = 30.0
PATIENT = {"certificate_file": "c", "key_file": "k", "storm": {"refusals_before_delay": 1000}}
"""No answer is held back: that is another test's."""


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
class _Live:
    connection: Connection
    channel: _Channel
    group: str
    slot: str


@dataclass
class _Model:
    """What somebody who knows the rules, and not the code, expects."""

    enabled: dict[str, bool] = field(default_factory=lambda: {"open": True, "closed": True})
    status: dict[str, str] = field(default_factory=dict)
    """Of registered devices: provisioned, waiting (for approval), blocked."""
    group: dict[str, str] = field(default_factory=dict)
    """By which group a device came in last: it is stored, so a change of group needs the store."""
    store_works: bool = True

    def may_connect(self, device: str, group: str, *, key_is_good: bool) -> bool:
        if not key_is_good or not self.enabled[group]:
            return False
        known = self.status.get(device)
        if known is None:
            return group == "open" and self.store_works
        return known == "provisioned" and (self.store_works or self.group[device] == group)

    def registers(self, device: str, group: str, *, key_is_good: bool) -> str | None:
        """What the attempt leaves of a device that nobody knew."""
        if device in self.status or not key_is_good or not self.enabled[group] or not self.store_works:
            return None
        return "provisioned" if group == "open" else "waiting"


class AdmissionMachine(RuleBasedStateMachine):
    """One gateway, its devices, its operator."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.settings = settings_in(Path(self.directory.name), devices=PATIENT)
        self.database = Path(self.directory.name) / "gateway.db"
        self.now = time.time()
        self.monotonic = 1000.0
        self.model = _Model()
        self.live: dict[str, _Live] = {}
        self.keys: dict[tuple[str, str], SymmetricKey] = {}
        self.old_keys: dict[str, SymmetricKey] = {}

    # The gateway

    @initialize()
    def start(self) -> None:
        self.runner.run(self._open())
        for name, approves in (("open", True), ("closed", False)):
            self._call("group.create", name=name, attestation="symmetricKey", auto_approve=approves)
            self._learn_keys(name)

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

    def _call(self, verb: str, **arguments: Any) -> dict[str, Any]:
        return self.runner.run(self.core.operations.call(verb, arguments, by=ROOT))

    def _learn_keys(self, group: str) -> None:
        shown = self._call("group.show", name=group, keys=True)
        for slot in ("primary", "secondary"):
            self.keys[group, slot] = SymmetricKey.from_base64(shown[f"{slot}Key"])

    def _time_passes(self) -> None:
        self.now += 1
        self.monotonic += STEP_S

        async def tick() -> None:
            self.edge.deadlines.tick(self.monotonic)

        self.runner.run(tick())

    # Devices

    @rule(
        device=DEVICES,
        group=GROUPS,
        slot=SLOTS,
        key=st.sampled_from(["good", "good", "good", "old", "foreign"]),
    )
    def device_connects(self, device: str, group: str, slot: str, key: str) -> None:
        if key == "old" and group not in self.old_keys:
            return
        group_key = {"good": self.keys[group, slot], "old": self.old_keys.get(group), "foreign": None}[key]
        device_key = (
            SymmetricKey(bytes(32)) if group_key is None else sas.derive_device_key(group_key, device)
        )
        good = key == "good"
        expected = self.model.may_connect(device, group, key_is_good=good)
        left = self.model.registers(device, group, key_is_good=good)

        live = self.runner.run(self._connect(device, device_key, group, slot))
        accepted = live.channel.written.startswith(b"\x20\x02") and live.channel.written[3:4] == b"\0"

        assert accepted == expected, live.channel.written
        if left is not None:
            self.model.status[device] = left
            self.model.group[device] = group
        if accepted:
            self.model.group[device] = group
            before = self.live.get(device)
            self.live[device] = live
            assert before is None or before.channel.closed  # taken over
        else:
            assert live.channel.closed

    async def _connect(self, device: str, key: SymmetricKey, group: str, slot: str) -> _Live:
        resource = f"localhost/devices/{device}"
        token = sas.sign(resource.replace("/", "%2F"), key, int(self.now) + 100_000)
        channel = _Channel()
        connection = Connection(self.edge)
        connection.attach(channel, channel)  # type: ignore[arg-type]
        username = f"localhost/{device}/?api-version=2021-04-12"
        connection.data_received(
            mqtt.encode(mqtt.Connect(device, username=username, password=token.encode(), keep_alive=0))
        )
        async with asyncio.timeout(PATIENCE_S):
            await channel.answered.wait()
        if channel.closed:
            connection.connection_lost(None)
        return _Live(connection, channel, group, slot)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), politely=st.booleans())
    def device_leaves(self, data: st.DataObject, politely: bool) -> None:
        device = data.draw(st.sampled_from(sorted(self.live)))
        live = self.live.pop(device)

        async def leave() -> None:
            if politely:
                live.connection.data_received(mqtt.encode(mqtt.Disconnect()))
            live.connection.connection_lost(None)

        self.runner.run(leave())

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def device_sends(self, data: st.DataObject) -> None:
        device = data.draw(st.sampled_from(sorted(self.live)))
        live = self.live[device]

        async def send() -> None:
            topic = f"devices/{device}/messages/events/"
            live.connection.data_received(mqtt.encode(mqtt.Publish(topic, b"{}", 1, packet_id=7)))

        self.runner.run(send())
        assert live.channel.written.endswith(b"\x40\x02\x00\x07")

    # The operator

    @precondition(lambda self: self.model.store_works and self.model.status)
    @rule(data=st.data(), act=st.sampled_from(["block", "unblock", "approve", "delete"]))
    def operator_acts_on_a_device(self, data: st.DataObject, act: str) -> None:
        device = data.draw(st.sampled_from(sorted(self.model.status)))
        try:
            self._call(f"device.{act}", device_id=device)
        except GatewayError:
            assert act in {"approve", "unblock", "block"}  # what does not apply is said, and changes nothing
            return
        match act:
            case "block" | "delete":
                self._expect_closed([device])
        match act:
            case "delete":
                del self.model.status[device]
                self.waited.discard(device)
            case "block":
                if self.model.status[device] == "waiting":
                    self.waited.add(device)
                self.model.status[device] = "blocked"
            case "unblock" if self.model.status[device] == "blocked":
                self.model.status[device] = "waiting" if device in self.waited else "provisioned"
                self.waited.discard(device)
            case "approve" if self.model.status[device] == "waiting":
                self.model.status[device] = "provisioned"

    @property
    def waited(self) -> set[str]:
        """Blocked devices that waited for approval before."""
        return self.__dict__.setdefault("_waited", set())

    @precondition(lambda self: self.model.store_works)
    @rule(group=GROUPS, enabled=st.booleans())
    def operator_switches_a_group(self, group: str, enabled: bool) -> None:
        self._call(f"group.{'enable' if enabled else 'disable'}", name=group)
        self.model.enabled[group] = enabled
        if not enabled:
            self._expect_closed([name for name, live in self.live.items() if live.group == group])

    @precondition(lambda self: self.model.store_works)
    @rule(group=GROUPS, slot=SLOTS)
    def operator_regenerates_a_key(self, group: str, slot: str) -> None:
        self.old_keys[group] = self.keys[group, slot]
        self._call("group.regenerate_key", name=group, slot=slot)
        self._learn_keys(group)
        self._expect_closed(
            [name for name, live in self.live.items() if (live.group, live.slot) == (group, slot)]
        )

    def _expect_closed(self, devices: list[str]) -> None:
        for device in devices:
            live = self.live.pop(device, None)
            if live is not None:
                assert live.channel.closed
                self.runner.run(self._lost(live))

    async def _lost(self, live: _Live) -> None:
        live.connection.connection_lost(None)

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
            self.runner.run(self._lost(live))
        self.live.clear()
        self.runner.run(self.stack.aclose())
        self.runner.run(self._open())

    @rule()
    def time_passes(self) -> None:
        self._time_passes()

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


TestAdmission = AdmissionMachine.TestCase
TestAdmission.settings = hypothesis_settings(
    max_examples=max(25, hypothesis_settings.default.max_examples // 4), stateful_step_count=30
)
