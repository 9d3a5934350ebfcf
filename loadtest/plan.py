"""What a run is to do, as values that go to the worker processes."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias, assert_never

__all__ = ["Arrival", "Messages", "Offer", "Pattern", "Plan", "Retry", "Route", "Target", "TlsVersion"]

Offer: TypeAlias = tuple[int, float | None]
"""A device, by its number, and when it is due: seconds after the start, or as soon as a connector is free."""


class TlsVersion(StrEnum):
    TLS_1_2 = "1.2"
    TLS_1_3 = "1.3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The server's device listener. Without `ca_file`, one without TLS.

    `address` is the one of the name's addresses that answered: looked up once, not for every device.
    """

    host: str
    address: tuple[str, int]
    ca_file: Path | None = None
    tls_version: TlsVersion | None = None
    """None: the newest that both sides know."""
    sources: tuple[str, ...] = ()
    """The local addresses that the devices come from, in turn; none: the system's choice."""


class Route(StrEnum):
    """Where a device goes first."""

    HUB = "hub"
    DPS = "dps"


class Pattern(StrEnum):
    """How attempts come in over time."""

    ASAP = "asap"
    """The next as soon as a connector is free: measures what the server can do, with as many in flight as there
    are connectors."""
    CONSTANT = "constant"
    RAMP = "ramp"
    AT_ONCE = "at-once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """When attempt number n is due, in seconds after the start."""

    pattern: Pattern = Pattern.ASAP
    rate_per_s: float = 0.0
    ramp_s: float = 0.0

    def due(self, number: int) -> float | None:
        """None: whenever a connector is free. A ramp goes from nothing to the rate in `ramp_s`, and stays there."""
        match self.pattern:
            case Pattern.ASAP:
                return None
            case Pattern.AT_ONCE:
                return 0.0
            case Pattern.CONSTANT:
                return number / self.rate_per_s
            case Pattern.RAMP:
                during_ramp = self.rate_per_s * self.ramp_s / 2
                if number < during_ramp:
                    return math.sqrt(2 * number * self.ramp_s / self.rate_per_s)
                return self.ramp_s + (number - during_ramp) / self.rate_per_s
            case _:
                assert_never(self.pattern)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """A device that did not come in tries again, after a pause that doubles, from `first_s` to `longest_s`.

    Each pause is drawn at random between its half and its whole: devices that failed together come back apart.
    """

    first_s: float = 1.0
    longest_s: float = 30.0
    give_up_s: float = 600.0
    """So long after its first failure in a row."""

    def pause_s(self, failures: int, random: float) -> float:
        """After so many failures in a row; `random` is in [0, 1)."""
        longest = min(self.longest_s, self.first_s * (1 << min(failures - 1, 30)))
        return longest * (0.5 + random / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Messages:
    """What the devices publish while they are held: one device after the other, at a rate of all together.

    A topic may name {device}, {number} (of the message, for each device from 1) and {at} (when it was due, in unix
    milliseconds). The default is the hub's topic, with the last two as properties.
    """

    total: int
    rate_per_s: float
    qos: int = 1
    topic: str = (
        "devices/{device}/messages/events/%24.ct=application%2Fjson&%24.ce=utf-8&number={number}&at={at}"
    )
    body: bytes = b'{"temperature": 21.5}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the devices do."""

    path: Route = Route.HUB
    arrival: Arrival = Arrival()
    connectors: int | None = 200
    """How many devices may be between dialling and their outcome. None: no limit."""
    timeout_s: float = 30.0
    """For one attempt, provisioning included."""
    subscribe: bool = False
    """A device is admitted when its subscription is confirmed, not at its CONNACK."""
    rounds: int = 1
    """How often each device comes."""
    stay: bool = True
    """Once admitted a device stays; otherwise it disconnects at once."""
    retry: Retry | None = None
    messages: Messages | None = None
    churn_per_s: float = 0.0
    """While all are held: so many leave, and come back at once."""
    renew_after_s: float | None = None
    """A device comes back with a new token when it has been in for so long."""

    def share(self, worker: int, processes: int) -> "Plan":
        """The plan of one of several worker processes: its part of the connectors and of the churn."""
        connectors = self.connectors
        if connectors is not None:
            connectors = max(1, connectors // processes + (worker < connectors % processes))
        return replace(self, connectors=connectors, churn_per_s=self.churn_per_s / processes)

    def offers(self, devices: Sequence[int], worker: int, processes: int) -> Iterator[Offer]:
        """The offers of one of several worker processes, which has these devices."""
        order = itertools.chain.from_iterable(itertools.repeat(devices, self.rounds))
        for position, device in enumerate(order):
            yield device, self.arrival.due(worker + position * processes)
