"""Every connection is an open file, and a shell gives a process 1,024 of them by default."""

import resource
from typing import Final

__all__ = ["allow_open_files", "spare_files"]

_SPARE: Final = 512
"""For the applications, the store, the listeners, the log."""


def spare_files(max_waiting: int) -> int:
    """How many open files the gateway wants beside those of connected devices; `max_waiting` wait for a handshake."""
    return max_waiting + _SPARE


def allow_open_files(wanted: int) -> int:
    """Raise this process's limit towards `wanted`, as far as its hard limit goes. Returns the limit in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit
