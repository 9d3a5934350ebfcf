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
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway import mqtt
from gateway.edge.connection import Connection
from gateway.errors import GatewayError
from gateway.identity.evidence import CertificateEvidence
from tests.support.wired import Peer, WiredGateway

__all__ = ["DEVICE_IDS", "SLOTS", "GatewayMachine", "Live", "Model", "examples"]

DEVICE_IDS = ("d-1", "d-2", "d-3")
SLOTS = st.sampled_from(["primary", "secondary"])
STEP_S = 30.0
_FEW = 100


def examples() -> hypothesis_settings:
    """Fewer than of a property of one function: an example is up to thirty steps of a gateway. The same ones each time, but
    with `make fuzz`, which has more of them.
    """
    default = hypothesis_settings.default.max_examples
    few = default <= _FEW
    return hypothesis_settings(
        max_examples=20 if few else default // 5, stateful_step_count=30, derandomize=few
    )


@dataclass
class Live(Peer):
    """A connection and what it came in by. `proof` is false if it proves nothing."""

    group: str = ""
    slot: str = ""
    proof: Any = None


@dataclass
class Model:
    """What somebody who knows the rules, and not the code, expects."""

    approving: frozenset[str]
    """Groups whose devices need no approval."""
    enabled: dict[str, bool]
    status: dict[str, str] = field(default_factory=dict)
    """Of registered devices: waiting (for approval), registered (approved, and not seen since), provisioned, blocked."""
    group: dict[str, str] = field(default_factory=dict)
    """By which group a device came in last: it is stored, so a change of group needs the store."""
    before_block: dict[str, str] = field(default_factory=dict)
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
        if known not in {"registered", "provisioned"}:
            return False
        if not self.store_works and (known == "registered" or self.group[device] != group):
            return False  # there is something to write
        self.status[device] = "provisioned"
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
        self.wired = WiredGateway(
            Path(self.directory.name), clock=lambda: self.now, monotonic=lambda: self.monotonic
        )
        self.database = Path(self.directory.name) / "gateway.db"
        self.now = time.time()
        self.monotonic = 1000.0
        self.model = Model(approving=self.approving, enabled=dict.fromkeys(self.groups, True))
        self.live: dict[str, Live] = {}
        self.is_open = False

    def make_groups(self) -> None:
        """An operator's first steps."""
        raise NotImplementedError

    # The gateway

    @initialize()
    def start(self) -> None:
        self.runner.run(self.wired.open())
        self.is_open = True
        self.make_groups()

    def teardown(self) -> None:
        if self.is_open:
            if not self.model.store_works:
                self.store_recovers()
            self.runner.run(self.wired.close())
        self.runner.close()
        self.directory.cleanup()

    def call(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """What an operator does."""
        return self.runner.run(self.wired.call(verb, **arguments))

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

    def connect(
        self, live: Live, connect: mqtt.Connect, certificate: CertificateEvidence | None = None
    ) -> None:
        """One attempt, held against the model."""

        async def attempt() -> None:
            live.dial(connect, certificate)
            await live.answer()
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
        return Live(Connection(self.wired.edge), level, group=group, slot=slot, proof=proof)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), politely=st.booleans())
    def device_leaves(self, data: st.DataObject, politely: bool) -> None:
        live = self.live.pop(data.draw(st.sampled_from(sorted(self.live))))

        async def leave() -> None:
            if politely:
                live.send(mqtt.Disconnect())
            live.connection.connection_lost(None)

        self.runner.run(leave())

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def device_sends(self, data: st.DataObject) -> None:
        device = data.draw(st.sampled_from(sorted(self.live)))
        live = self.live[device]

        async def send() -> None:
            live.send(mqtt.Publish(f"devices/{device}/messages/events/", b"{}", 1, packet_id=7))

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
        before = model.status[device]
        match act:
            case "delete":
                del model.status[device]
            case "block" if before != "blocked":
                model.before_block[device], model.status[device] = before, "blocked"
            case "unblock" if before == "blocked":
                model.status[device] = model.before_block[device]
            case "approve" if before == "waiting":
                model.status[device] = "registered"
        if act in {"block", "delete"}:
            self.expect_closed([device])

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
        self.runner.run(self.wired.close())
        self.runner.run(self.wired.open())

    @rule()
    def time_passes(self) -> None:
        self.now += 1
        self.monotonic += STEP_S

        async def tick() -> None:
            self.wired.edge.deadlines.tick(self.monotonic)

        self.runner.run(tick())

    # What has to hold

    @invariant()
    def those_are_connected_that_may_be(self) -> None:
        if not self.is_open:
            return
        assert self.wired.gateway.sessions.count == len(self.live)
        for device, live in self.live.items():
            assert not live.channel.closed
            assert self.wired.is_connected(device)
            assert self.model.status[device] == "provisioned"
            assert self.model.enabled[live.group]

    @invariant()
    def what_was_acknowledged_is_on_the_disk(self) -> None:
        if not self.model.store_works or not self.database.exists():
            return
        with closing(sqlite3.connect(self.database)) as database:
            stored = {row[0] for row in database.execute("SELECT id FROM devices")}
        assert stored == set(self.model.status)
