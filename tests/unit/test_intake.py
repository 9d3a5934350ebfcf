"""The admission rate and the registrations in progress: what a proven device is told, and what holds for all."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.intake import Intake
from gateway.settings import StormSettings


def intake(**settings: Any) -> Intake:
    return Intake(StormSettings(**settings), now=0.0)


class Rush:
    """Groups that ask so often a second, steadily, and what they get."""

    def __init__(self, made: Intake, **rates_per_s: int) -> None:
        """`new_x=5` are new devices of group x, `known_x=5` known ones."""
        self.made, self.rates = made, rates_per_s
        self.admitted: Counter[str] = Counter()
        self.now = 0.0

    def run(self, seconds: int) -> Counter[str]:
        """What was admitted in these seconds."""
        before = Counter(self.admitted)
        due = sorted(
            (self.now + second + (number + 0.5) / rate, name)
            for second in range(seconds)
            for name, rate in self.rates.items()
            for number in range(rate)
        )
        for at, name in due:
            kind, _, group = name.partition("_")
            self.admitted[name] += self.made.admit(group, at, is_known=kind == "known")
        self.now += seconds
        return self.admitted - before


def test_without_a_rate_everybody_is_admitted() -> None:
    assert Rush(intake(), new_a=5000).run(2) == {"new_a": 10_000}


@pytest.mark.parametrize("who", ["known_a", "new_a"])
def test_who_comes_alone_gets_the_whole_rate(who: str) -> None:
    rush = Rush(intake(admission_rate_per_s=100), **{who: 1000})
    rush.run(2)
    assert rush.run(10)[who] == pytest.approx(1000, abs=10)


def test_known_devices_go_before_new_ones_and_new_ones_are_not_starved() -> None:
    rush = Rush(intake(admission_rate_per_s=100, per_group_share=1), known_a=300, new_a=300)
    rush.run(3)
    admitted = rush.run(10)
    assert admitted["known_a"] > 800
    assert admitted["new_a"] >= 95


def test_a_group_that_floods_leaves_the_others_what_they_need() -> None:
    rush = Rush(intake(admission_rate_per_s=100), known_big=2000, known_small=30, new_third=5)
    rush.run(3)
    admitted = rush.run(10)
    assert admitted["known_small"] == 300
    assert admitted["new_third"] == 50
    assert admitted["known_big"] == pytest.approx(650, abs=30)


@given(
    st.lists(st.tuples(st.floats(-1, 5), st.sampled_from(["a", "b", None]), st.booleans()), max_size=300),
    st.integers(1, 50),
)
def test_never_more_than_the_rate_allows_even_if_the_clock_jumps(
    asks: list[tuple[float, str | None, bool]], rate: int
) -> None:
    made = intake(admission_rate_per_s=rate)
    now, forward, admitted = 0.0, 0.0, 0
    for step, group, is_known in asks:
        now += step
        forward += max(0.0, step)
        admitted += made.admit(group, now, is_known=is_known)
    assert admitted <= max(1, rate) + max(1, rate * 0.1) + rate * forward + 1e-6


def test_registrations_in_progress_are_bounded_and_one_group_leaves_a_quarter_to_others() -> None:
    made = intake(max_registrations=100)
    assert Counter(made.begin_registration("big") for _ in range(200)) == {True: 75, False: 125}
    assert Counter(made.begin_registration("small") for _ in range(50)) == {True: 25, False: 25}
    made.end_registration("big")
    assert not made.begin_registration("big")
    assert made.begin_registration("small")
    assert made.report() == {"over_registrations": 151}
    assert made.report() == {}


@given(st.lists(st.sampled_from(["a", "b", "c", "-"]), max_size=200), st.integers(1, 20))
def test_registrations_are_counted_right_whatever_comes(steps: list[str], limit: int) -> None:
    made = intake(max_registrations=limit)
    open_ones: list[str] = []
    for step in steps:
        if step != "-":
            if made.begin_registration(step):
                open_ones.append(step)
        elif open_ones:
            made.end_registration(open_ones.pop(0))
        assert made.registrations == len(open_ones) <= limit
        assert made.registrations == sum(made._registering.values())
        assert open_ones or made.begin_registration("first") is True
        if not open_ones:
            made.end_registration("first")


def test_groups_without_number_take_bounded_memory() -> None:
    made = intake(admission_rate_per_s=1_000_000)
    for number in range(3000):
        made.admit(str(number), 0.0, is_known=True)
    assert len(made._taken) == 1000


def test_devices_are_asked_to_come_back_at_different_times() -> None:
    made = intake(retry_after_min_s=5, retry_after_max_s=30)
    times = {made.retry_after_s() for _ in range(500)}
    assert min(times) >= 5
    assert max(times) <= 30
    assert len(times) > 15
