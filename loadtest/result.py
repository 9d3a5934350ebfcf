"""What a storm counted, and how it is told."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from loadtest.tally import Tally

__all__ = ["Latency", "StormResult", "print_result"]

_MS: Final = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Seconds; percentiles by nearest rank, so that each is a latency that a device really had."""

    p50: float
    p90: float
    p99: float
    maximum: float

    @classmethod
    def of(cls, latencies_s: Iterable[float]) -> "Latency | None":
        """None if there are none."""
        ordered = sorted(latencies_s)
        if not ordered:
            return None

        def percentile(percent: int) -> float:
            return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]

        return cls(p50=percentile(50), p90=percentile(90), p99=percentile(99), maximum=ordered[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class StormResult:
    """The end of a storm."""

    offered: int
    admitted: int
    refused: dict[str, int]
    timed_out: int
    failed: dict[str, int]
    lost: int
    """Admitted, and then disconnected by the server before the storm was over."""
    elapsed_s: float
    """From the first dial to the last outcome."""
    latency: Latency | None
    tester_cpu_s: float
    """What the tester spent; above a core for each of its processes, it was the bottleneck."""
    tester_late_s: float
    """The longest that an attempt waited in the tester after it was due."""

    @classmethod
    def of(cls, tally: Tally) -> "StormResult":
        total = tally.total()
        return cls(
            offered=total.offered,
            admitted=total.admitted,
            refused=dict(total.refused.most_common()),
            timed_out=total.timed_out,
            failed=dict(total.failed.most_common()),
            lost=total.lost,
            elapsed_s=tally.finished_s,
            latency=Latency.of(total.latencies_s),
            tester_cpu_s=tally.cpu_s,
            tester_late_s=tally.latest_start_s,
        )

    @property
    def all_admitted(self) -> bool:
        return self.admitted == self.offered and not self.lost

    @property
    def admitted_per_s(self) -> float:
        return self.admitted / self.elapsed_s if self.elapsed_s else 0.0

    def to_json(self) -> dict[str, Any]:
        latency = self.latency
        return {
            "offered": self.offered,
            "admitted": self.admitted,
            "refused": self.refused,
            "timedOut": self.timed_out,
            "failed": self.failed,
            "lost": self.lost,
            "elapsedSeconds": round(self.elapsed_s, 3),
            "admittedPerSecond": round(self.admitted_per_s, 1),
            "latencyMs": latency
            and {
                "p50": round(latency.p50 * _MS, 2),
                "p90": round(latency.p90 * _MS, 2),
                "p99": round(latency.p99 * _MS, 2),
                "max": round(latency.maximum * _MS, 2),
            },
            "tester": {
                "cpuSeconds": round(self.tester_cpu_s, 3),
                "latestStartMs": round(self.tester_late_s * _MS, 2),
            },
        }


def print_result(result: StormResult, console: Console) -> None:
    """The summary for a terminal."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_row("offered", f"{result.offered:,}")
    table.add_row("admitted", f"{result.admitted:,}")
    for code, count in result.refused.items():
        table.add_row(f"refused, {code}", f"{count:,}", style="yellow")
    if result.timed_out:
        table.add_row("timed out", f"{result.timed_out:,}", style="red")
    for reason, count in result.failed.items():
        table.add_row(f"failed, {reason}", f"{count:,}", style="red")
    if result.lost:
        table.add_row("lost again", f"{result.lost:,}", style="red")
    table.add_row("took", f"{result.elapsed_s:.2f} s")
    table.add_row("admitted a second", f"{result.admitted_per_s:,.0f}")
    if result.latency is not None:
        for name, value in (
            ("p50", result.latency.p50),
            ("p90", result.latency.p90),
            ("p99", result.latency.p99),
            ("max", result.latency.maximum),
        ):
            table.add_row(f"latency {name}", f"{value * _MS:,.1f} ms")
    console.print(table)
