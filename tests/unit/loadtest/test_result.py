"""How a storm's counts are made and told."""

import io

import pytest
from rich.console import Console

from loadtest.result import Latency, StormResult, Tally, print_result
from loadtest.sessions import ADMITTED, TIMED_OUT, Kind, Outcome, failed


def tally() -> Tally:
    counts = Tally(offered=6)
    for outcome, latency_s in (
        (ADMITTED, 0.010),
        (ADMITTED, 0.030),
        (Outcome(Kind.REFUSED, "connack 5"), 0.5),
        (Outcome(Kind.REFUSED, "connack 3"), 0.5),
        (TIMED_OUT, 30.0),
        (failed("connection refused"), 0.5),
    ):
        counts.add(outcome, latency_s)
    return counts


def test_only_the_latencies_of_the_admitted_are_told() -> None:
    result = StormResult.of(tally(), lost=1, elapsed_s=0.5)
    assert result.to_json() == {
        "offered": 6,
        "admitted": 2,
        "refused": {"connack 5": 1, "connack 3": 1},
        "timedOut": 1,
        "failed": {"connection refused": 1},
        "lost": 1,
        "elapsedSeconds": 0.5,
        "admittedPerSecond": 4.0,
        "latencyMs": {"p50": 10.0, "p90": 30.0, "p99": 30.0, "max": 30.0},
    }


def test_a_percentile_is_a_latency_that_a_device_had() -> None:
    latency = Latency.of([float(n) for n in range(1, 101)])
    assert latency == Latency(p50=50, p90=90, p99=99, maximum=100)
    assert Latency.of([7.0]) == Latency(p50=7, p90=7, p99=7, maximum=7)


def test_a_storm_in_which_nobody_was_admitted_has_no_latency() -> None:
    result = StormResult.of(Tally(offered=1, timed_out=1), lost=0, elapsed_s=1.0)
    assert result.latency is None
    assert result.to_json()["latencyMs"] is None
    print_result(result, Console(file=io.StringIO()))


@pytest.mark.parametrize(
    "line", ["offered", "refused, connack 5", "timed out", "failed, connection refused", "lost"]
)
def test_the_summary_names_everything_that_happened(line: str) -> None:
    out = io.StringIO()
    print_result(StormResult.of(tally(), lost=1, elapsed_s=0.5), Console(file=out, width=80))
    assert line in out.getvalue()
