"""The rounds: every measure once in each, one after the other, so that what disturbs the machine disturbs all."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, assert_never

from gateway.errors import OperationError
from loadtest.bench.arena import Arena
from loadtest.bench.plan import Connects, Measure, Memory, Messages, Row
from loadtest.bench.servers import Missing
from loadtest.bench.telemetry import run_exchange
from loadtest.bench.tester import holding, run_storm
from loadtest.bench.usage import resident_bytes, settle

__all__ = ["PeerFailedError", "Results", "Sample", "Spread", "run_rounds"]

_WARM_UP: Final = 0
_WARM_UP_SHARE: Final = 50
_KB: Final = 1000
_PEERS_TRIES: Final = 3


class PeerFailedError(OperationError):
    """A peer did not do what is measured; the other rows go on. (If it is the gateway, the bench ends.)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One round's figure: microseconds, or KB."""

    value: float
    user_share: float | None = None
    """0 to 1: what of the CPU time was outside the kernel."""
    per_second: float | None = None
    """Admitted or delivered; bounded by the tester as much as by the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The median of the rounds, and the smallest and the largest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(median=statistics.median(values), low=min(values), high=max(values))


@dataclass(slots=True)
class Results:
    """What the rounds found."""

    rounds: int
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    """By measure: one for each round, but memory is measured once."""
    missing: dict[str, str] = field(default_factory=dict)
    """By server: what is not here, and how to get it."""
    failed: dict[str, str] = field(default_factory=dict)
    """By measure: why a peer has no figure."""

    def spread(self, measure: Measure) -> Spread | None:
        samples = self.samples.get(measure.name)
        return Spread.of([each.value for each in samples]) if samples else None

    def user_share(self, measure: Measure) -> float | None:
        shares = [
            each.user_share for each in self.samples.get(measure.name, ()) if each.user_share is not None
        ]
        return statistics.median(shares) if shares else None

    def figure(self, row: Row) -> Spread | None:
        """What the row is about. Ratios are paired: each round's own, and then the median of those."""
        if row.theirs is None:
            return self.spread(row.ours)
        ours, theirs = self.samples.get(row.ours.name), self.samples.get(row.theirs.name)
        if not ours or not theirs:
            return None
        return Spread.of([a.value / (row.times * b.value) for a, b in zip(ours, theirs, strict=True)])

    def least(self, row: Row) -> float | None:
        """The ratio of the smallest of each: what neighbours on a busy machine can only make larger."""
        ours, theirs = self.spread(row.ours), row.theirs and self.spread(row.theirs)
        return ours.low / (row.times * theirs.low) if ours and theirs else None


def run_rounds(rows: Sequence[Row], rounds: int, arena: Arena, progress: Callable[[str], None]) -> Results:
    """One round to warm up, which makes the devices known, and then `rounds` that count; if none, the first does."""
    results = Results(rounds)
    measures = list({measure.name: measure for row in rows for measure in row.measures}.values())
    for number in range(rounds + 1):
        # Backwards every other time: whoever comes second finds the core warmer.
        for measure in measures if number % 2 else reversed(measures):
            if measure.name in results.failed:
                continue
            progress(
                f"round {number} of {rounds}: {measure.name}" if number else f"warming up: {measure.name}"
            )
            try:
                sample = _sample(measure, number, arena)
            except Missing as missing:
                results.missing[measure.server] = f"{missing.message}: {missing.hint}"
                continue
            except PeerFailedError as failure:
                # Figures are paired by round, so a measure with a gap has none.
                results.failed[measure.name] = f"{failure.message} ({failure.hint})"
                results.samples.pop(measure.name, None)
                continue
            if sample is not None and (number != _WARM_UP or not rounds or isinstance(measure, Memory)):
                results.samples.setdefault(measure.name, []).append(sample)
    return results


def _sample(measure: Measure, number: int, arena: Arena) -> Sample | None:
    """None if there is nothing to measure in this round."""
    match measure:
        case Connects():
            return _connects(measure, number, arena)
        case Messages():
            return _messages(measure, arena)
        case Memory():
            return _memory(measure, arena) if number == _WARM_UP else None
        case _:
            assert_never(measure)


def _connects(measure: Connects, number: int, arena: Arena) -> Sample:
    server = arena.server(measure.server, measure.held)
    before = settle(server.pid)
    outcome = run_storm(measure.in_round(number), server, arena.cores.tester)
    cost = (settle(server.pid) - before).per(measure.storm.count)
    return Sample(value=cost.us, user_share=cost.user_share, per_second=float(outcome["admittedPerSecond"]))


def _messages(measure: Messages, arena: Arena) -> Sample:
    """A peer that loses a message gets another chance or two: Mosquitto 2.0.11 now and then drops one of those it queues."""
    server = arena.server(measure.server)
    for left in reversed(range(1 if server.is_gateway else _PEERS_TRIES)):
        try:
            cost, per_second = run_exchange(measure.exchange, server, arena.cores.tester)
        except OperationError as error:
            if server.is_gateway:
                raise
            if not left:
                raise PeerFailedError(
                    error.message, hint=f"tried {_PEERS_TRIES} times; {error.hint}"
                ) from None
        else:
            return Sample(value=cost.us, user_share=cost.user_share, per_second=per_second)
    raise AssertionError("the last try returns or raises")


def _memory(measure: Memory, arena: Arena) -> Sample:
    """A few devices come and go first, so that the code that a first connect loads is not taken for sessions."""
    few = replace(measure.idle, count=max(1, measure.idle.count // _WARM_UP_SHARE))
    with arena.fresh(measure.server, known=measure.idle) as server:
        run_storm(few, server, arena.cores.tester)
        settle(server.pid)
        before = resident_bytes(server.pid)
        with holding(measure.idle, server, arena.cores.tester):
            grown = resident_bytes(server.pid) - before
    return Sample(value=grown / measure.idle.count / _KB)
