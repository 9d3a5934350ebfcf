"""Which core the servers run on, and which the tester, so that neither takes the other's time or cache.

Linux only, like all of the bench: a process's affinity and its CPU clock are the kernel's.
"""

import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Core", "Cores", "choose_cores", "open_files_allowed"]

_SIBLINGS = "/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"


class Core:
    """One logical core, and the processes that were started on it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._started: list[subprocess.Popen[Any]] = []

    def start(self, command: Sequence[str], **options: Any) -> "subprocess.Popen[Any]":
        """`subprocess.Popen`; the process stays on this core, with all the threads that it ever makes."""
        with _interrupts_wait(), _running_on(self.number):
            self._started.append(subprocess.Popen(command, **options))
        return self._started[-1]

    def end_all(self) -> None:
        """Kill what still runs: whoever started it did not come to the point of ending it."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.wait()


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Between the process and the note that it was started nothing may come: Ctrl-C is raised afterwards."""
    caught: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _frame: caught.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if caught:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _running_on(number: int) -> Iterator[None]:
    """A process inherits the cores of the one that starts it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {number})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True, slots=True)
class Cores:
    """The same one twice if the machine has only one."""

    server: Core
    tester: Core

    @property
    def apart(self) -> bool:
        return self.server.number != self.tester.number

    def end_all(self) -> None:
        self.tester.end_all()
        self.server.end_all()

    def __str__(self) -> str:
        if not self.apart:
            return (
                f"ONE core ({self.server.number}) for servers and tester alike: they take each other's cache"
            )
        return f"servers on core {self.server.number}, tester on core {self.tester.number}"


def choose_cores() -> Cores:
    """The last core for the servers, and for the tester the first that is not its hyper-thread, if there is one."""
    allowed = sorted(os.sched_getaffinity(0))
    server = allowed[-1]
    apart = [core for core in allowed if core not in _siblings(server)]
    return Cores(server=Core(server), tester=Core((apart or allowed)[0]))


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


def open_files_allowed() -> int:
    """Raise this process's limit, which its children inherit, as far as it goes. Returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 1 << 20
    wanted = most if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
