"""What is counted, second by second, in a worker process; tallies of several are added up.

Each attempt that was offered is in exactly one of admitted, refused, timed out and failed once it is over. `lost`
are sessions that ended on their own after their admission, and not attempts.
"""

import math
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

__all__ = ["DeviceMessages", "Histogram", "Second", "Tally", "Totals"]

_STEPS: Final = 50
"""In a factor of e: a histogram's percentile is at most 2% off."""


class Histogram(Counter[int]):
    """Times in steps of 2%: for what is too many to be kept one by one."""

    def record(self, seconds: float) -> None:
        self[round(math.log(max(seconds, 1e-6)) * _STEPS)] += 1

    def percentile(self, percent: float) -> float:
        """Seconds. Raises `ValueError` if there are none."""
        if not self:
            raise ValueError("nothing was recorded")
        wanted = max(1, math.ceil(percent / 100 * self.total()))
        step = 0
        for step in sorted(self):
            wanted -= self[step]
            if wanted <= 0:
                break
        return math.exp(step / _STEPS)


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
    deferred: int = 0
    """Answers of the provisioning service (429, 5xx) to ask again later: the attempt goes on."""
    latencies_s: "array[float]" = field(default_factory=_floats)
    """Of the admitted."""
    published: int = 0
    acknowledged: int = 0
    pubacks: Histogram = field(default_factory=Histogram)
    """From when a message was due to its PUBACK."""

    def add(self, other: "Second") -> None:
        self.offered += other.offered
        self.admitted += other.admitted
        self.refused += other.refused
        self.timed_out += other.timed_out
        self.failed += other.failed
        self.lost += other.lost
        self.deferred += other.deferred
        self.latencies_s.extend(other.latencies_s)
        self.published += other.published
        self.acknowledged += other.acknowledged
        self.pubacks.update(other.pubacks)


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
class DeviceMessages:
    """What one device published: its messages have the numbers 1 to `sent`."""

    sent: int = 0
    unacknowledged: list[int] = field(default_factory=list)
    """QoS 1, and no PUBACK came."""


@dataclass(slots=True)
class Tally:
    """All that a run counted."""

    seconds: dict[int, Second] = field(default_factory=dict)
    offered_until_s: float = 0.0
    """When the last device came for the first time (in each round), in seconds after the start."""
    finished_s: float = 0.0
    """When the last attempt of the offer had its outcome, in seconds after the start."""
    latest_start_s: float = 0.0
    """How late the tester itself was, at most, with an attempt that was due at a given time."""
    cpu_s: float = 0.0
    """What the worker processes spent, from the start of the offer to its last outcome."""
    bad_offered: int = 0
    bad_admitted: set[int] = field(default_factory=set)
    """Devices with somebody else's credential that were let in."""
    registered: set[int] = field(default_factory=set)
    """The devices that were told so: assigned by the provisioning service, or admitted by the hub."""
    unsure: set[int] = field(default_factory=set)
    """Those with an attempt that ended without an answer: they may be registered."""
    times_to_in_s: "array[float]" = field(default_factory=_floats)
    """Of each device, from when its first attempt was due to its first admission, however many it took."""
    everybody_in_s: float = 0.0
    """When the last of those came in, in seconds after the start."""
    sessions: int = 0
    """That were open at the end."""
    unsent: int = 0
    """Messages that were due when no device was connected."""
    messages: dict[int, DeviceMessages] = field(default_factory=dict)

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
        """Add what another worker counted, of other devices."""
        for number, second in other.seconds.items():
            self.seconds.setdefault(number, Second()).add(second)
        self.offered_until_s = max(self.offered_until_s, other.offered_until_s)
        self.finished_s = max(self.finished_s, other.finished_s)
        self.latest_start_s = max(self.latest_start_s, other.latest_start_s)
        self.cpu_s += other.cpu_s
        self.bad_offered += other.bad_offered
        self.bad_admitted |= other.bad_admitted
        self.registered |= other.registered
        self.unsure |= other.unsure
        self.times_to_in_s.extend(other.times_to_in_s)
        self.everybody_in_s = max(self.everybody_in_s, other.everybody_in_s)
        self.sessions += other.sessions
        self.unsent += other.unsent
        self.messages |= other.messages
