"""How a storm's counts are made and told."""

import io

import pytest
from rich.console import Console

from loadtest.result import Latency, StormResult, print_result
from loadtest.tally import Histogram, Tally


def tally() -> Tally:
    counts = Tally(
        offered_until_s=1.5,
        finished_s=0.5,
        cpu_s=0.1,
        latest_start_s=0.002,
        bad_offered=1,
        sessions=1,
        everybody_in_s=2.5,
    )
    counts.times_to_in_s.extend([0.01, 2.0])
    first, second = counts.at(0.2), counts.at(1.7)
    first.offered, second.offered = 4, 2
    first.admitted = second.admitted = second.timed_out = second.lost = 1
    first.latencies_s.append(0.010)
    second.latencies_s.append(0.030)
    second.deferred = 4
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
        "deferred": 4,
        "elapsedSeconds": 0.5,
        "admittedPerSecond": 4.0,
        "offeredUntilSeconds": 1.5,
        "admittedPerSecondMeanwhile": 1.0,
        "latencyMs": {"p50": 10.0, "p90": 30.0, "p99": 30.0, "max": 30.0},
        "badCredentials": {"offered": 1, "admittedDevices": 0},
        "devicesIn": 2,
        "sessionsAtEnd": 1,
        "timeToInMs": {"p50": 10.0, "p90": 2000.0, "p99": 2000.0, "max": 2000.0},
        "everybodyInSeconds": 2.5,
        "messages": None,
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
    "line",
    [
        "told to ask later",
        "since the offer ended",
        "the last one after",
        "messages published",
        "nobody connected",
        "bad credential",
        "offered",
        "refused, connack 5",
        "timed out",
        "failed, connection refused",
        "lost",
    ],
)
def test_the_summary_names_everything_that_happened(line: str) -> None:
    out = io.StringIO()
    counts = tally()
    counts.unsent = 1
    counts.at(1.7).published = 3
    print_result(StormResult.of(counts, qos=1), Console(file=out, width=80))
    assert line in out.getvalue()


def test_a_bad_credential_that_is_refused_is_as_it_should_be_and_one_that_is_admitted_is_not() -> None:
    counts = Tally(bad_offered=1)
    counts.at(0).offered, counts.at(0).admitted = 3, 2
    counts.at(0).refused.update(["connack 5"])
    assert StormResult.of(counts).all_admitted
    counts.bad_admitted.add(7)
    assert not StormResult.of(counts).all_admitted


def test_a_histogram_is_at_most_two_percent_off() -> None:
    histogram = Histogram()
    for milliseconds in range(1, 1001):
        histogram.record(milliseconds / 1000)
    for percent in (50, 90, 99, 100):
        assert histogram.percentile(percent) == pytest.approx(percent / 100, rel=0.02)
    assert Latency.of_histogram(Histogram()) is None
