"""Which core the servers run on, and which the tester: so that neither takes the other's time or cache.

Linux only, like all of the bench: a process's affinity and its CPU clock are the kernel's.
"""

import contextlib
import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Cores", "choose_cores", "open_files_allowed", "running_on"]

_SIBLINGS = "/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"


@dataclass(frozen=True, slots=True)
class Cores:
    """Numbers of logical cores. The same twice if the machine has only one."""

    server: int
    tester: int

    @property
    def apart(self) -> bool:
        return self.server != self.tester

    def __str__(self) -> str:
        if not self.apart:
            return f"ONE core ({self.server}) for servers and tester alike: they take each other's cache"
        return f"servers on core {self.server}, tester on core {self.tester}"


def choose_cores() -> Cores:
    """The last core for the servers, and for the tester the first that is not its hyper-thread, if there is one."""
    allowed = sorted(os.sched_getaffinity(0))
    server = allowed[-1]
    apart = [core for core in allowed if core not in _siblings(server)]
    return Cores(server=server, tester=(apart or allowed)[0])


def _siblings(core: int) -> set[int]:
    """`0,4` or `0-1` → the logical cores of one physical core; only itself if the kernel does not say."""
    try:
        text = Path(_SIBLINGS.format(core=core)).read_text(encoding="ascii")
        found = set()
        for part in text.strip().split(","):
            first, _, last = part.partition("-")
            found |= set(range(int(first), int(last or first) + 1))
    except (OSError, ValueError):
        return {core}
    return found


@contextlib.contextmanager
def running_on(core: int) -> Iterator[None]:
    """What is started inside inherits this core, with all the threads that it ever makes."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def open_files_allowed() -> int:
    """Raise this process's limit, which its children inherit, as far as it goes. Returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 1 << 20
    wanted = most if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
