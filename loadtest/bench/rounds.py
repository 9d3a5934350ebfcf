"""The rounds: every measure once in each, one after the other, so that what disturbs the machine disturbs all."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from loadtest.bench.arena import Arena
from loadtest.bench.plan import Measure, Row
from loadtest.bench.servers import Missing
from loadtest.bench.tester import run_storm
from loadtest.bench.usage import Cost, settle

__all__ = ["Results", "Spread", "run_rounds"]

_WARM_UP: Final = 0


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
    """What the rounds found, by measure; the lists of one run are equally long, one figure per round."""

    rounds: int
    costs: dict[str, list[Cost]] = field(default_factory=dict)
    rates: dict[str, list[float]] = field(default_factory=dict)
    """Admitted a second: bounded by the tester as much as by the server."""
    missing: dict[str, str] = field(default_factory=dict)
    """By server: what is not here, and how to get it."""

    def cost(self, measure: Measure) -> Spread | None:
        costs = self.costs.get(measure.name)
        return Spread.of([each.us for each in costs]) if costs else None

    def user_share(self, measure: Measure) -> float:
        return statistics.median(each.user_share for each in self.costs[measure.name])

    def ratio(self, row: Row) -> Spread | None:
        """Paired: each round's own ratio, and then the median of those."""
        ours, theirs = self.costs.get(row.ours.name), self.costs.get(row.theirs.name)
        if not ours or not theirs:
            return None
        return Spread.of([a.us / (row.times * b.us) for a, b in zip(ours, theirs, strict=True)])


def run_rounds(rows: Sequence[Row], rounds: int, arena: Arena, progress: Callable[[str], None]) -> Results:
    """One round to warm up, which makes the devices known, and then `rounds` that count."""
    results = Results(rounds)
    measures = list({measure.name: measure for row in rows for measure in row.measures}.values())
    for number in range(rounds + 1):
        # Backwards every other time: whoever comes second finds the core warmer.
        for measure in measures if number % 2 else reversed(measures):
            progress(
                f"round {number} of {rounds}: {measure.name}" if number else f"warming up: {measure.name}"
            )
            try:
                cost, rate = _run(measure, number, arena)
            except Missing as missing:
                results.missing[measure.server] = f"{missing.message}: {missing.hint}"
                continue
            if number != _WARM_UP:
                results.costs.setdefault(measure.name, []).append(cost)
                results.rates.setdefault(measure.name, []).append(rate)
    return results


def _run(measure: Measure, number: int, arena: Arena) -> tuple[Cost, float]:
    server = arena[measure.server]
    before = settle(server.pid)
    outcome = run_storm(measure.in_round(number), server, arena.setup, arena.cores.tester)
    used = settle(server.pid) - before
    return used.per(measure.storm.count), float(outcome["admittedPerSecond"])
