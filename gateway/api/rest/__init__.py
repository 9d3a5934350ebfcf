"""The REST API: IoT Central's data plane, and every verb of our own beside it.

A thin layer: a route parses what came, calls one verb (`Caller.call`), and gives the result IoT Central's shape. Roles and
the audit log are `Operations.call`'s affair. One module per noun, each with a `router`; `app.py` puts them together, and a
new noun is one more line there. Verbs that have no place in IoT Central's API need no module: `verbs.py` makes
a route of every verb in the table.
"""

from gateway.api.rest.app import make_rest_app

__all__ = ["make_rest_app"]
