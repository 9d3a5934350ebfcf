"""What a run came to, and how it is told."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from loadtest.tally import Histogram, Tally

__all__ = ["Latency", "MessageResult", "StormResult", "print_result"]

_MS: Final = 1000.0
_PERCENTILES: Final = (50, 90, 99)


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

    @classmethod
    def of_histogram(cls, histogram: Histogram) -> "Latency | None":
        """At most 2% off."""
        if not histogram:
            return None
        p50, p90, p99 = map(histogram.percentile, _PERCENTILES)
        return cls(p50=p50, p90=p90, p99=p99, maximum=histogram.percentile(100))

    def to_json(self) -> dict[str, float]:
        """Milliseconds."""
        return {
            "p50": round(self.p50 * _MS, 2),
            "p90": round(self.p90 * _MS, 2),
            "p99": round(self.p99 * _MS, 2),
            "max": round(self.maximum * _MS, 2),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageResult:
    """Of messages that were due: each is unsent or published and, with QoS 1, acknowledged or not."""

    qos: int
    published: int
    acknowledged: int
    unsent: int
    """Due when no device was connected."""
    puback: Latency | None

    def to_json(self) -> dict[str, Any]:
        return {
            "due": self.published + self.unsent,
            "published": self.published,
            "acknowledged": self.acknowledged if self.qos else None,
            "unsent": self.unsent,
            "pubackMs": self.puback and self.puback.to_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StormResult:
    """The end of a run."""

    offered: int
    admitted: int
    refused: dict[str, int]
    timed_out: int
    failed: dict[str, int]
    lost: int
    """Admitted, and then disconnected by the server before the run was over."""
    offered_until_s: float
    """When the last device came for the first time."""
    admitted_until_then: int
    """In the whole seconds before that."""
    deferred: int
    """How often the provisioning service said to ask again later."""
    elapsed_s: float
    """From the first dial to the last outcome of the offer."""
    latency: Latency | None
    bad_offered: int
    """Attempts with somebody else's credential: refused they are as they should be."""
    bad_admitted: int
    devices_in: int
    """That came in at least once."""
    sessions: int
    """Open at the end."""
    time_to_in: Latency | None
    """Of each device, from when it was first due to its first admission, retries and pauses included."""
    everybody_in_s: float
    """When the last of those came in."""
    messages: MessageResult | None
    tester_cpu_s: float
    """What the tester spent; above a core for each of its processes, it was the bottleneck."""
    tester_late_s: float
    """The longest that an attempt waited in the tester after it was due."""

    @classmethod
    def of(cls, tally: Tally, *, qos: int | None = None) -> "StormResult":
        """`qos` if messages were published."""
        total = tally.total()
        messages = None
        if qos is not None:
            messages = MessageResult(
                qos=qos,
                published=total.published,
                acknowledged=total.acknowledged,
                unsent=tally.unsent,
                puback=Latency.of_histogram(total.pubacks),
            )
        return cls(
            offered=total.offered,
            admitted=total.admitted,
            refused=dict(total.refused.most_common()),
            timed_out=total.timed_out,
            failed=dict(total.failed.most_common()),
            lost=total.lost,
            offered_until_s=tally.offered_until_s,
            admitted_until_then=sum(
                second.admitted
                for number, second in tally.seconds.items()
                if number < int(tally.offered_until_s)
            ),
            deferred=total.deferred,
            elapsed_s=tally.finished_s,
            latency=Latency.of(total.latencies_s),
            bad_offered=tally.bad_offered,
            bad_admitted=len(tally.bad_admitted),
            devices_in=len(tally.times_to_in_s),
            sessions=tally.sessions,
            time_to_in=Latency.of(tally.times_to_in_s),
            everybody_in_s=tally.everybody_in_s,
            messages=messages,
            tester_cpu_s=tally.cpu_s,
            tester_late_s=tally.latest_start_s,
        )

    @property
    def all_admitted(self) -> bool:
        """Each attempt, but for those with a bad credential; and no session was lost."""
        return self.admitted == self.offered - self.bad_offered and not self.lost and not self.bad_admitted

    @property
    def admitted_per_s_meanwhile(self) -> float | None:
        """While devices were still being offered: under overload, what the server keeps up. None below a second."""
        whole_seconds = int(self.offered_until_s)
        return self.admitted_until_then / whole_seconds if whole_seconds else None

    @property
    def admitted_per_s(self) -> float:
        return self.admitted / self.elapsed_s if self.elapsed_s else 0.0

    def to_json(self) -> dict[str, Any]:
        meanwhile = self.admitted_per_s_meanwhile
        return {
            "offered": self.offered,
            "admitted": self.admitted,
            "refused": self.refused,
            "timedOut": self.timed_out,
            "failed": self.failed,
            "lost": self.lost,
            "deferred": self.deferred,
            "elapsedSeconds": round(self.elapsed_s, 3),
            "admittedPerSecond": round(self.admitted_per_s, 1),
            "offeredUntilSeconds": round(self.offered_until_s, 3),
            "admittedPerSecondMeanwhile": None if meanwhile is None else round(meanwhile, 1),
            "latencyMs": self.latency and self.latency.to_json(),
            "badCredentials": {"offered": self.bad_offered, "admittedDevices": self.bad_admitted},
            "devicesIn": self.devices_in,
            "sessionsAtEnd": self.sessions,
            "timeToInMs": self.time_to_in and self.time_to_in.to_json(),
            "everybodyInSeconds": round(self.everybody_in_s, 3),
            "messages": self.messages and self.messages.to_json(),
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
    if result.deferred:
        table.add_row("told to ask later, by DPS", f"{result.deferred:,}", style="yellow")
    if result.bad_offered:
        table.add_row("with a bad credential", f"{result.bad_offered:,}")
        table.add_row("  admitted", f"{result.bad_admitted:,}", style="red" if result.bad_admitted else "")
    table.add_row("took", f"{result.elapsed_s:.2f} s")
    table.add_row("admitted a second", f"{result.admitted_per_s:,.0f}")
    _add_latency(table, "latency", result.latency)
    if result.offered - result.bad_offered != result.devices_in and result.time_to_in is not None:
        table.add_row("devices that came in", f"{result.devices_in:,}")
        table.add_row("the last one after", f"{result.everybody_in_s:.2f} s")
        table.add_row(
            "  since the offer ended", f"{max(0.0, result.everybody_in_s - result.offered_until_s):.2f} s"
        )
        meanwhile = result.admitted_per_s_meanwhile
        if meanwhile is not None:
            table.add_row("admitted a second until then", f"{meanwhile:,.0f}")
        _add_latency(table, "until in", result.time_to_in)
    if result.messages is not None:
        _add_messages(table, result.messages)
    console.print(table)


def _add_messages(table: Table, messages: MessageResult) -> None:
    table.add_row("messages published", f"{messages.published:,}")
    if messages.qos:
        missing = messages.acknowledged < messages.published
        table.add_row("  acknowledged", f"{messages.acknowledged:,}", style="red" if missing else "")
    if messages.unsent:
        table.add_row("  due, and nobody connected", f"{messages.unsent:,}", style="red")
    _add_latency(table, "  PUBACK", messages.puback)


def _add_latency(table: Table, name: str, latency: Latency | None) -> None:
    if latency is None:
        return
    for point, value in (
        ("p50", latency.p50),
        ("p90", latency.p90),
        ("p99", latency.p99),
        ("max", latency.maximum),
    ):
        table.add_row(f"{name} {point}", f"{value * _MS:,.1f} ms")
