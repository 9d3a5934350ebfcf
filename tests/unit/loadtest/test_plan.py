"""When devices come, and when they come back."""

import pytest

from loadtest.plan import Arrival, Pattern, Plan, Retry


def test_a_ramp_reaches_its_rate_when_it_should_and_keeps_it() -> None:
    ramp = Arrival(pattern=Pattern.RAMP, rate_per_s=100, ramp_s=10)
    due = [ramp.due(number) or 0.0 for number in range(700)]
    assert due == sorted(due)
    assert due[500] == pytest.approx(10)
    assert due[600] - due[500] == pytest.approx(1)
    assert due[499] - due[498] == pytest.approx(1 / 100, rel=0.01)


def test_the_workers_together_keep_the_rate() -> None:
    plan = Plan(arrival=Arrival(pattern=Pattern.CONSTANT, rate_per_s=10), rounds=2)
    offers = [*plan.offers([0, 2], 0, 2), *plan.offers([1, 3], 1, 2)]
    assert sorted(due for _, due in offers if due is not None) == [n / 10 for n in range(8)]


def test_the_connectors_are_shared_out_and_none_is_left_over() -> None:
    shares = [Plan(connectors=10).share(worker, 3).connectors for worker in range(3)]
    assert shares == [4, 3, 3]
    assert Plan(connectors=1).share(1, 2).connectors == 1
    assert Plan(connectors=None, churn_per_s=9).share(0, 3) == Plan(connectors=None, churn_per_s=3)


def test_a_device_that_keeps_failing_waits_longer_each_time_up_to_a_limit() -> None:
    retry = Retry(first_s=1, longest_s=8)
    assert [retry.pause_s(failures, 0.999999) for failures in (1, 2, 3, 4, 5, 99)] == pytest.approx(
        [1, 2, 4, 8, 8, 8], rel=1e-3
    )
    assert retry.pause_s(1, 0.0) == 0.5
