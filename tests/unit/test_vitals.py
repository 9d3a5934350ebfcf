"""Rates of what the gateway counts."""

from collections import Counter

from gateway.refusals import Reason
from gateway.vitals import Rate, Vitals


class Total:
    def __init__(self) -> None:
        self.value = 0

    def __call__(self) -> int:
        return self.value


def seconds(rate: Rate, total: Total, *growths: int) -> None:
    for growth in growths:
        total.value += growth
        rate.sample()


def test_a_rate_is_now_and_on_average_as_far_as_it_has_run() -> None:
    total = Total()
    rate = Rate(total)
    assert rate.per_second(60) == 0
    seconds(rate, total, 10, 0, 20)
    assert rate.last(60) == [10, 0, 20]
    assert (rate.per_second(1), rate.per_second(2), rate.per_second(60)) == (20, 10, 10)


def test_what_was_counted_before_does_not_count() -> None:
    total = Total()
    total.value = 1000
    rate = Rate(total)
    seconds(rate, total, 5)
    assert rate.to_json() == {
        "now": 5,
        "minute": 5,
        "hour": 5,
        "total": 1005,
        "lastMinute": [5],
        "lastHour": [],
    }


def test_an_hour_is_kept_and_no_more() -> None:
    total = Total()
    rate = Rate(total)
    seconds(rate, total, 100, *[1] * 3600)
    assert rate.last(10_000) == [1] * 3600
    assert rate.per_second(3600) == 1


def test_the_last_hour_is_told_by_the_minute() -> None:
    total = Total()
    rate = Rate(total)
    seconds(rate, total, *[1] * 60, *[2] * 60, 7)
    assert rate.minutes() == [60, 120]
    seconds(rate, total, *[0] * 59, *[3] * 3600)
    assert rate.minutes() == [180] * 60
    seconds(rate, total, 5)
    assert rate.minutes() == [180] * 59


def test_refusals_are_counted_by_reason_and_forgotten_after_an_hour() -> None:
    counted = Counter({Reason.TOKEN_EXPIRED: 7})
    vitals = Vitals(started_at=0)
    vitals.watch_refusals(lambda: counted)
    for _ in range(30):
        vitals.sample()
    counted[Reason.TOKEN_EXPIRED] += 1
    counted[Reason.DEVICE_BLOCKED] += 20
    assert vitals.to_json()["refusals"] == [
        {"reason": "device_blocked", "count": 20},
        {"reason": "token_expired", "count": 8},
    ]
    for _ in range(30):
        vitals.sample()
    assert vitals.to_json()["refusals"][0] == {"reason": "device_blocked", "count": 20}
    for _ in range(3600):
        vitals.sample()
    assert vitals.to_json()["refusals"] == []


def test_facts_are_read_when_somebody_looks() -> None:
    total = Total()
    vitals = Vitals(started_at=0)
    vitals.add_fact("connections", total)
    vitals.watch("accepted", total)
    total.value = 3
    assert vitals.to_json()["connections"] == 3
    assert vitals.to_json()["rates"]["accepted"]["now"] == 0
