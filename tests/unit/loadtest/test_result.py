"""How a storm's counts are made and told."""

import io

import pytest
from rich.console import Console

from loadtest.result import Latency, StormResult, print_result
from loadtest.tally import Tally


def tally() -> Tally:
    counts = Tally(finished_s=0.5, cpu_s=0.1, latest_start_s=0.002)
    first, second = counts.at(0.2), counts.at(1.7)
    first.offered, second.offered = 4, 2
    first.admitted = second.admitted = second.timed_out = second.lost = 1
    first.latencies_s.append(0.010)
    second.latencies_s.append(0.030)
    first.refused.update(["connack 5", "connack 3"])
    first.failed.update(["connection refused"])
    return counts


def test_only_the_latencies_of_the_admitted_are_told() -> None:
    result = StormResult.of(tally())
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
        "tester": {"cpuSeconds": 0.1, "latestStartMs": 2.0},
    }


def test_a_percentile_is_a_latency_that_a_device_had() -> None:
    latency = Latency.of([float(n) for n in range(1, 101)])
    assert latency == Latency(p50=50, p90=90, p99=99, maximum=100)
    assert Latency.of([7.0]) == Latency(p50=7, p90=7, p99=7, maximum=7)


def test_a_storm_in_which_nobody_was_admitted_has_no_latency() -> None:
    nobody = Tally(finished_s=1.0)
    nobody.at(0).offered = nobody.at(0).timed_out = 1
    result = StormResult.of(nobody)
    assert result.latency is None
    assert result.to_json()["latencyMs"] is None
    print_result(result, Console(file=io.StringIO()))


@pytest.mark.parametrize(
    "line", ["offered", "refused, connack 5", "timed out", "failed, connection refused", "lost"]
)
def test_the_summary_names_everything_that_happened(line: str) -> None:
    out = io.StringIO()
    print_result(StormResult.of(tally()), Console(file=out, width=80))
    assert line in out.getvalue()
