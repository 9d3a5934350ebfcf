"""Every verb an operator has, once. The control socket, the command line and (later) HTTP only call these.

Verbs are grouped by their noun: `operations.groups.create(…)`, `operations.devices.block(…)`. Each is one async
method whose keyword arguments are JSON values and whose result is a JSON object; a failure is
`NotFoundError`, `ConflictError` or another `GatewayError`, with one line and the next step. `VERBS` names them for whoever
speaks JSON, and `Operations.call` checks the arguments.
"""

from gateway.operations.core import VERBS, Operations
from gateway.operations.sessions import NullSessions, OpenSession, Sessions
from gateway.operations.verbs import Verb

__all__ = ["VERBS", "NullSessions", "OpenSession", "Operations", "Sessions", "Verb"]
