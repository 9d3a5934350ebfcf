"""What is measured: the rows of the table, their marks, and how large each storm is."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from loadtest.bench.tester import Storm

__all__ = ["FULL", "SMOKE", "Measure", "Row", "Size", "rows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many of each. Large enough that a round's figure stays within a few percent, small enough for minutes."""

    plain: int
    tls: int
    first: int
    amqtt: int


FULL: Final = Size(plain=3000, tls=1000, first=2000, amqtt=300)
SMOKE: Final = Size(plain=20, tls=10, first=20, amqtt=10)
"""Enough to see that every scenario works; the times mean nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One storm on one server: a figure per round."""

    server: str
    what: str
    storm: Storm
    new_devices: bool = False
    """Other device ids in each round."""

    def in_round(self, number: int) -> Storm:
        """The storm of that round; round 0 is for warming up."""
        if not self.new_devices:
            return self.storm
        return replace(self.storm, prefix=f"{self.storm.prefix}{number}-")

    @property
    def name(self) -> str:
        return f"{self.server}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: ours over theirs, in CPU time per connect or message, and what is asked of it."""

    number: int
    what: str
    ours: Measure
    theirs: Measure
    times: int = 1
    """Theirs counts so many times: DPS and hub are two connects."""
    mark: float
    stretch: float
    beside: tuple[Measure, ...] = ()
    """Measured in the same rounds, for the reader."""

    @property
    def measures(self) -> tuple[Measure, ...]:
        return (self.ours, self.theirs, *self.beside)


def rows(size: Size, only: Iterable[int] = ()) -> list[Row]:
    """Those rows, or all of them."""
    wanted = set(only)
    return [row for row in _rows(size) if not wanted or row.number in wanted]


def _rows(size: Size) -> list[Row]:
    plain = Storm(count=size.plain, prefix="known-")
    first = Storm(count=size.first, prefix="new-")
    tls = Storm(count=size.tls, prefix="known-tls-", tls="1.3")
    return [
        Row(
            number=1,
            what="known device, SAS, plain : Mosquitto anonymous",
            ours=Measure(server="gateway", what="known, SAS, plain", storm=plain),
            theirs=Measure(server="mosquitto", what="known, anonymous, plain", storm=_anonymous(plain)),
            mark=1.5,
            stretch=1.0,
            beside=(
                Measure(
                    server="amqtt",
                    what="known, anonymous, plain",
                    storm=_anonymous(replace(plain, count=size.amqtt)),
                ),
            ),
        ),
        Row(
            number=2,
            what="first connect, SAS, plain, durable : Mosquitto anonymous",
            ours=Measure(server="gateway", what="first, SAS, plain, durable", storm=first, new_devices=True),
            theirs=Measure(
                server="mosquitto", what="first, anonymous, plain", storm=_anonymous(first), new_devices=True
            ),
            mark=2.5,
            stretch=1.5,
        ),
        Row(
            number=4,
            what="known device, SAS, TLS 1.3 : Mosquitto anonymous, TLS 1.3",
            ours=Measure(server="gateway", what="known, SAS, TLS 1.3", storm=tls),
            theirs=Measure(server="mosquitto", what="known, anonymous, TLS 1.3", storm=_anonymous(tls)),
            mark=1.1,
            stretch=0.8,
        ),
    ]


def _anonymous(storm: Storm) -> Storm:
    return replace(storm, credentials="none")
