"""What is counted, second by second, in a worker process; tallies of several are added up.

Each attempt that was offered is in exactly one of admitted, refused, timed out and failed once it is over. `lost`
are sessions that ended on their own after their admission, and not attempts.
"""

from array import array
from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Second", "Tally", "Totals"]


def _floats() -> "array[float]":
    return array("f")


@dataclass(slots=True)
class Second:
    """One second of a run, counted from its start."""

    offered: int = 0
    admitted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """By code: `connack 5`, `dps 401002`."""
    timed_out: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """By cause: `connection refused`."""
    lost: int = 0
    latencies_s: "array[float]" = field(default_factory=_floats)
    """Of the admitted."""

    def add(self, other: "Second") -> None:
        self.offered += other.offered
        self.admitted += other.admitted
        self.refused += other.refused
        self.timed_out += other.timed_out
        self.failed += other.failed
        self.lost += other.lost
        self.latencies_s.extend(other.latencies_s)


@dataclass(slots=True)
class Totals:
    """How far a run is: what a worker tells while it goes on."""

    offered: int = 0
    admitted: int = 0
    refused: int = 0
    timed_out: int = 0
    failed: int = 0
    lost: int = 0
    sessions: int = 0
    published: int = 0
    acknowledged: int = 0

    def add(self, other: "Totals") -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class Tally:
    """All that a run counted."""

    seconds: dict[int, Second] = field(default_factory=dict)
    finished_s: float = 0.0
    """When the last attempt had its outcome, in seconds after the start."""
    latest_start_s: float = 0.0
    """How late the tester itself was, at most, with an attempt that was due at a given time."""
    cpu_s: float = 0.0
    """What the worker processes spent, from the start of the offer to its last outcome."""

    def at(self, elapsed_s: float) -> Second:
        """The second in which this is."""
        number = int(elapsed_s)
        second = self.seconds.get(number)
        if second is None:
            second = self.seconds[number] = Second()
        return second

    def total(self) -> Second:
        total = Second()
        for second in self.seconds.values():
            total.add(second)
        return total

    def merge(self, other: "Tally") -> None:
        for number, second in other.seconds.items():
            self.seconds.setdefault(number, Second()).add(second)
        self.finished_s = max(self.finished_s, other.finished_s)
        self.latest_start_s = max(self.latest_start_s, other.latest_start_s)
        self.cpu_s += other.cpu_s
