"""The live sessions, and what is remembered of those that may come back.

A session is keyed by dialect and device id: one device uses the same client id for DPS and for the hub, and
the Python SDK asks both for a persistent session. One device has one hub session; a newer connection of
the same, *proven* identity takes it over. (MQTT 3.1.1 section 3.1.4: [MQTT-3.1.4-2].)

Of a session that is away its subscriptions are remembered, in MQTT 5 for as long as its Session Expiry Interval says; and
its will, if that is to wait.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Protocol

from gateway.edge.deadlines import Deadlines
from gateway.identity.sas import KeySlot
from gateway.identity.x509 import Link
from gateway.session import CloseReason, Dialect, Session
from gateway.trace import Trace

__all__ = ["LiveSession", "SessionTable", "WaitingWill"]


class LiveSession(Protocol):
    """What the table needs to know of a connection with an accepted CONNECT."""

    @property
    def dialect(self) -> Dialect: ...
    @property
    def device_id(self) -> str: ...
    @property
    def enrollment_group(self) -> str | None: ...
    @property
    def key_slot(self) -> KeySlot: ...
    @property
    def issued(self) -> tuple[Link, ...]: ...
    def close(self, reason: CloseReason, detail: str = "") -> None: ...
    def trace(self, trace: Trace | None) -> None: ...


class WaitingWill:
    """MQTT 5: the will of a session whose device may still come back. `gateway.edge.deadlines` says when it is due.

    It waits for days, and a device may leave one at each reconnect: so the session that it holds has let its link go,
    and the wheel holds a will only as long as the table does.
    """

    __slots__ = ("_deadlines", "_session", "_table", "bucket", "device_id")

    def __init__(self, session: Session, device_id: str, table: "SessionTable", deadlines: Deadlines) -> None:
        self.bucket = 0
        self.device_id = device_id
        self._session = session
        self._table = table
        self._deadlines = deadlines

    def deadline_reached(self, now: float) -> None:
        """Due."""
        self._table.publish_will(self.device_id)

    def wait_until(self, at: float) -> None:
        self._deadlines.watch(self, at)

    def wait_no_longer(self) -> None:
        self._deadlines.forget(self)

    def publish(self) -> None:
        self._session.publish_will()


class SessionTable:
    """Every live session, and the subscriptions of persistent ones that are away (bounded, oldest forgotten)."""

    def __init__(self, *, max_offline: int) -> None:
        self._live: dict[tuple[Dialect, str], LiveSession] = {}
        self._offline: OrderedDict[str, tuple[dict[str, int], float | None]] = OrderedDict()
        self._wills: dict[str, WaitingWill] = {}
        self._max_offline = max_offline
        self.entered = 0
        """Sessions that ever entered."""

    @property
    def count(self) -> int:
        return len(self._live)

    @property
    def wills(self) -> int:
        """How many wait."""
        return len(self._wills)

    def count_by_dialect(self) -> dict[str, int]:
        """Looks at every session: for an operator."""
        counted = Counter(dialect for dialect, _ in self._live)
        return {dialect.value: counted[dialect] for dialect in Dialect}

    def enter(self, session: LiveSession) -> LiveSession | None:
        """Make `session` the live one of its device. Returns the one it takes over, for the caller to close."""
        key = (session.dialect, session.device_id)
        self.entered += 1
        replaced = self._live.get(key)
        self._live[key] = session
        return replaced

    def leave(self, session: LiveSession) -> None:
        """Forget `session`, unless a newer one has taken its place."""
        key = (session.dialect, session.device_id)
        if self._live.get(key) is session:
            del self._live[key]

    def keep_subscriptions(
        self, device_id: str, subscriptions: dict[str, int], *, until: float | None = None
    ) -> None:
        """Remember a persistent session's topic filters while its device is away. `until`: monotonic seconds."""
        if self._max_offline == 0:
            return
        self._offline[device_id] = subscriptions, until
        self._offline.move_to_end(device_id)
        while len(self._offline) > self._max_offline:
            self._offline.popitem(last=False)

    def resume(self, device_id: str, *, keeps: bool, now: float) -> dict[str, int] | None:
        """What was remembered, once; None if there is nothing, so "session present" is only said when true.

        Without `keeps` a new session begins, and the old one is over.
        """
        subscriptions, until = self._offline.pop(device_id, (None, None))
        will = self._take_will(device_id) if self._wills else None
        if not keeps or (until is not None and now >= until):
            subscriptions = None
        if will is not None and subscriptions is None:
            will.publish()  # its session has ended, or was forgotten for want of room
        return subscriptions

    def hold_will(self, will: WaitingWill, *, until: float) -> bool:
        """Let the will of an away device wait, until monotonic seconds. False if there is no room."""
        if len(self._wills) >= self._max_offline:
            return False
        self._take_will(will.device_id)
        self._wills[will.device_id] = will
        will.wait_until(until)
        return True

    def publish_will(self, device_id: str) -> None:
        """It is due, or the session is over: its will does not wait any longer."""
        will = self._take_will(device_id)
        if will is not None:
            will.publish()

    def _take_will(self, device_id: str) -> WaitingWill | None:
        """The only way out: a will that nobody waits for is in no wheel either."""
        will = self._wills.pop(device_id, None)
        if will is not None:
            will.wait_no_longer()
        return will

    def is_connected(self, device_id: str) -> bool:
        return (Dialect.HUB, device_id) in self._live

    def trace(self, device_id: str, trace: Trace | None) -> None:
        """Trace a device's sessions of both dialects; None: no longer."""
        for dialect in Dialect:
            session = self._live.get((dialect, device_id))
            if session is not None:
                session.trace(trace)

    def close_device(self, device_id: str, reason: CloseReason) -> int:
        """Close a device's sessions of both dialects. Returns how many there were."""
        self._offline.pop(device_id, None)
        self.publish_will(device_id)
        found = [
            self._live[key]
            for key in ((Dialect.HUB, device_id), (Dialect.DPS, device_id))
            if key in self._live
        ]
        for session in found:
            session.close(reason)
        return len(found)

    def close_where(self, matches: Callable[[LiveSession], bool], reason: CloseReason) -> int:
        """Close every session that `matches`: an operator's act, so it may look at all of them."""
        found = [session for session in self._live.values() if matches(session)]
        for session in found:
            session.close(reason)
        return len(found)

    def close_all(self, reason: CloseReason) -> int:
        """The gateway ends, and no session outlives it."""
        for device_id in list(self._wills):
            self.publish_will(device_id)
        return self.close_where(lambda _: True, reason)
