"""What the server uses meanwhile: its CPU time and its memory, from /proc."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Sample", "ServerUsage"]

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_EVERY_S: Final = 1.0
_UTIME, _STIME = 11, 12
"""Fields 14 and 15 of proc_pid_stat(5), counted from 0 after the command's closing parenthesis, which is field 2."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Over the time since the sample before."""

    elapsed_s: float
    cpu_percent: float
    """Of one core."""
    rss_bytes: int


class ServerUsage:
    """`pid` is asked each time: a server that is restarted has another one."""

    def __init__(self, pid: Callable[[], int | None], proc: Path = Path("/proc")) -> None:
        self._pid = pid
        self._proc = proc
        self._before: tuple[int, float, float] | None = None
        self.samples: list[Sample] = []

    def sample(self, elapsed_s: float) -> None:
        """Called often; takes one a second."""
        if self._before is not None and 0 <= elapsed_s - self._before[2] < _EVERY_S:
            return
        pid = self._pid()
        if pid is None:
            return
        try:
            stat = (self._proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
            resident = int((self._proc / str(pid) / "statm").read_text().split()[1])
        except (OSError, IndexError):  # it has just ended
            return
        if not resident:  # killed, and not yet reaped
            return
        cpu_s = (int(stat[_UTIME]) + int(stat[_STIME])) / _TICKS_PER_S
        if self._before is not None and self._before[0] == pid:
            passed_s = elapsed_s - self._before[2]
            percent = 100 * (cpu_s - self._before[1]) / passed_s
            self.samples.append(Sample(elapsed_s, percent, resident * _PAGE_BYTES))
        self._before = (pid, cpu_s, elapsed_s)
