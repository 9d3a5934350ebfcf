"""What operations ask of the live sessions."""

from collections.abc import Callable
from typing import Protocol

from gateway.identity.sas import KeySlot
from gateway.identity.x509 import Link
from gateway.session import CloseReason
from gateway.trace import Trace

__all__ = ["NullSessions", "OpenSession", "Sessions"]


class OpenSession(Protocol):
    """What an operator's act chooses sessions by."""

    @property
    def enrollment_group(self) -> str | None: ...

    @property
    def key_slot(self) -> KeySlot:
        """Whether it came in by the primary or the secondary key, or certificate."""
        ...

    @property
    def issued(self) -> tuple[Link, ...]:
        """How the certificate that it came in by leads to the group's CA; empty for any other way in."""
        ...


class Sessions(Protocol):
    """The running gateway's session table (`gateway.edge.sessions.SessionTable`), or none: `NullSessions`."""

    @property
    def count(self) -> int: ...

    def is_connected(self, device_id: str) -> bool: ...

    def trace(self, device_id: str, trace: Trace | None) -> None:
        """Trace a device's sessions; None: no longer."""
        ...

    def close_device(self, device_id: str, reason: CloseReason) -> int:
        """Close a device's sessions. Returns how many there were."""
        ...

    def close_where(self, matches: Callable[[OpenSession], bool], reason: CloseReason) -> int:
        """Close every session that `matches`. Returns how many there were."""
        ...


class NullSessions:
    """No gateway runs, so nobody is connected."""

    count = 0

    def is_connected(self, device_id: str) -> bool:
        return False

    def trace(self, device_id: str, trace: Trace | None) -> None:
        """Nobody is there."""

    def close_device(self, device_id: str, reason: CloseReason) -> int:
        return 0

    def close_where(self, matches: Callable[[OpenSession], bool], reason: CloseReason) -> int:
        return 0
