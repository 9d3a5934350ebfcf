"""What a server process has used: CPU time to the nanosecond, and memory.

The kernel keeps a CPU clock for every process: it counts the run time of all its threads, also of those that have
ended, and another process may read it (clock_getcpuclockid(3); a process's clock id is made of its pid as in
linux/posix-timers.h). `/proc/PID/stat` has the same sum in hundredths of a second only, and `/proc/PID/schedstat`
has one thread. How the time splits into user and system is sampled by the kernel's tick (4 ms on most machines),
here as there, so the split is an estimate and the sum is not.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Cost", "CpuTime", "cpu_time", "open_sockets", "resident_bytes", "settle"]

_SAMPLED, _SAMPLED_USER, _EXACT = 0, 1, 2  # CPUCLOCK_PROF, CPUCLOCK_VIRT, CPUCLOCK_SCHED
_NS_PER_US: Final = 1000
_KIB: Final = 1024
_QUIET_NS: Final = 1_000_000
_QUIET_FOR_S: Final = 0.1
_SETTLE_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuTime:
    """Nanoseconds, since the process began or between two readings."""

    total_ns: int
    sampled_ns: int
    sampled_user_ns: int

    def __sub__(self, earlier: "CpuTime") -> "CpuTime":
        return CpuTime(
            total_ns=self.total_ns - earlier.total_ns,
            sampled_ns=self.sampled_ns - earlier.sampled_ns,
            sampled_user_ns=self.sampled_user_ns - earlier.sampled_user_ns,
        )

    def per(self, count: int) -> "Cost":
        user = self.sampled_user_ns / self.sampled_ns if self.sampled_ns else 1.0
        return Cost(us=self.total_ns / count / _NS_PER_US, user_share=user)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """CPU time of the server for one connect, or one message."""

    us: float
    user_share: float
    """0 to 1: what of it was outside the kernel."""


def cpu_time(pid: int) -> CpuTime:
    """Of the process, its threads and its living descendants. Raises `ProcessLookupError` if it is gone."""
    total = sampled = user = 0
    for each in _family(pid):
        total += _read(each, _EXACT)
        sampled += _read(each, _SAMPLED)
        user += _read(each, _SAMPLED_USER)
    return CpuTime(total_ns=total, sampled_ns=sampled, sampled_user_ns=user)


def _read(pid: int, clock: int) -> int:
    try:
        return time.clock_gettime_ns((~pid << 3) | clock)
    except OSError:
        raise ProcessLookupError(f"process {pid} is gone") from None


def _family(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text(encoding="ascii").split():
            yield from _family(int(child))


def resident_bytes(pid: int) -> int:
    """The RSS of the process and its descendants: pages it touched and has not given back."""
    return sum(_resident_bytes(each) for each in _family(pid))


def _resident_bytes(pid: int) -> int:
    """Counted page by page: the kernel's shorter way (VmRSS) is off by up to some dozen pages a thread."""
    with Path(f"/proc/{pid}/smaps_rollup").open(encoding="ascii") as lines:
        return next(int(line.split()[1]) * _KIB for line in lines if line.startswith("Rss:"))


def open_sockets(pid: int) -> int:
    """How many sockets the process has open: its connections, and a constant few."""
    found = 0
    with os.scandir(f"/proc/{pid}/fd") as files:
        for file in files:
            try:
                found += os.readlink(file.path).startswith("socket:")  # noqa: PTH115 - thousands of them
            except FileNotFoundError:
                continue
    return found


def settle(pid: int) -> CpuTime:
    """Wait until the server has finished what the storm left it to do (or ten seconds), and read its clock."""
    deadline = time.monotonic() + _SETTLE_TIMEOUT_S
    reading = cpu_time(pid)
    while time.monotonic() < deadline:
        time.sleep(_QUIET_FOR_S)
        before, reading = reading, cpu_time(pid)
        if (reading - before).total_ns < _QUIET_NS:
            break
    return reading
