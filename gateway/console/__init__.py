"""The web console: an operator's pages, rendered by the gateway itself.

It adds no verb of its own: a page asks `Operations.call` what the REST API asks, in the name of the API token that its
reader signed in with. Pages work without scripts; small ES modules add what only they can (live events, progress, copying).
"""

from gateway.console.app import make_console_app

__all__ = ["make_console_app"]
