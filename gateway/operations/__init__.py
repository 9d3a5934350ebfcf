"""Every verb an operator has, once. The control socket, the command line and HTTP only call these.

`Operations.call(verb, arguments, by=actor)` is the one road to them: it checks the arguments and the actor's role, and
leaves what was written in the audit log. `VERBS` is the table: the name of each verb, the role it needs, whether it
writes. Behind it, verbs are grouped by their noun (`devices.py`, `groups.py`, …): each is one async method whose keyword
arguments are JSON values and whose result is a JSON object; a failure is `NotFoundError`, `ConflictError` or another
`GatewayError`, with one line and the next step.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gateway.operations.core import VERBS, Operations
    from gateway.operations.sessions import NullSessions, OpenSession, Sessions
    from gateway.operations.verbs import Verb

__all__ = ["VERBS", "NullSessions", "OpenSession", "Operations", "Sessions", "Verb"]

_HOMES: Final = {
    "VERBS": "core", "Operations": "core", "NullSessions": "sessions", "OpenSession": "sessions", "Sessions": "sessions",
    "Verb": "verbs",
}  # fmt: skip

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import what is asked for. A command that reaches the running gateway needs `jobs` alone, and no database."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
