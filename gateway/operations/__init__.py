"""Every verb an operator has, once. The control socket, the command line and HTTP only call these.

`Operations.call(verb, arguments, by=actor)` is the one road to them: it checks the arguments and the actor's role, and
leaves what was written in the audit log. `VERBS` is the table: the name of each verb, the role it needs, whether it
writes. Behind it, verbs are grouped by their noun (`devices.py`, `groups.py`, …): each is one async method whose keyword
arguments are JSON values and whose result is a JSON object; a failure is `NotFoundError`, `ConflictError` or another
`GatewayError`, with one line and the next step.
"""

from gateway.operations.core import VERBS, Operations
from gateway.operations.sessions import NullSessions, OpenSession, Sessions
from gateway.operations.verbs import Verb

__all__ = ["VERBS", "NullSessions", "OpenSession", "Operations", "Sessions", "Verb"]
