"""Which user of this machine asks: the audit log's *who* for the command line."""

import os
import pwd
import socket
import struct
from typing import Final

from gateway.roles import Actor

__all__ = ["actor_at", "this_actor"]

_UCRED: Final = struct.Struct("3i")
"""pid, uid, gid of the peer: socket(7), SO_PEERCRED."""


def this_actor() -> Actor:
    """The user whose process this is."""
    return _actor(os.getuid())


def actor_at(connected: socket.socket | None) -> Actor:
    """The user at the other end of a Unix-domain socket, as the kernel knows it."""
    if connected is None or not hasattr(socket, "SO_PEERCRED"):
        return this_actor()  # only the socket's owner can connect, and that is whose process this is
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _, user_id, _ = _UCRED.unpack(credentials)
    return _actor(user_id)


def _actor(user_id: int) -> Actor:
    try:
        return Actor.local(pwd.getpwuid(user_id).pw_name)
    except KeyError:  # containers often run under a number without a name
        return Actor.local(str(user_id))
