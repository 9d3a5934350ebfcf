"""What is not as it should be, in words."""

from typing import Any

import pytest

from loadtest.registry_check import RegistryCheck
from loadtest.result import StormResult
from loadtest.tally import Tally
from loadtest.verdict import cautions, problems


def storm() -> Tally:
    """Ten attempts: eight devices came in, two have a bad credential and were refused."""
    tally = Tally(bad_offered=2, sessions=8)
    second = tally.at(0)
    second.offered, second.admitted, second.published, second.acknowledged = 10, 8, 5, 5
    second.refused.update({"connack 5": 2})
    tally.times_to_in_s.extend([0.1] * 8)
    return tally


def told(tally: Tally, *, retried: bool = False, qos: int = 1, **fields: Any) -> tuple[str, ...]:
    result = StormResult.of(tally, qos=qos)
    given: dict[str, Any] = {"registry": None, "delivery": None, **fields}
    return problems(result, good_devices=8, retried=retried, **given)


@pytest.mark.parametrize("retried", [False, True])
def test_strangers_that_are_refused_are_no_problem(retried: bool) -> None:
    assert told(storm(), retried=retried) == ()


def test_a_stranger_that_came_in_is_one() -> None:
    tally = storm()
    tally.bad_admitted.add(3)
    tally.at(0).admitted += 1
    assert told(tally) == ("1 device came in with somebody else's credential",)


def test_without_retry_each_attempt_and_each_session_counts() -> None:
    tally = storm()
    tally.at(0).offered += 3
    tally.at(1).lost = 1_000
    assert told(tally) == ("3 attempts did not end in an admission", "1,000 sessions broke off")


def test_with_retry_it_counts_who_is_connected_at_the_end() -> None:
    tally = storm()
    tally.at(0).offered += 3
    tally.at(1).lost = 1
    assert told(tally, retried=True) == ()
    tally.sessions = 5
    del tally.times_to_in_s[-1]
    assert told(tally, retried=True) == ("1 device never came in", "2 devices had no connection at the end")


def test_messages_that_were_not_sent_or_not_acknowledged() -> None:
    tally = storm()
    tally.unsent = 4
    tally.at(0).acknowledged -= 1
    assert told(tally, qos=0) == ("4 messages fell due when no device was connected",)
    assert told(tally) == (
        "4 messages fell due when no device was connected",
        "1 message got no PUBACK",
    )


def test_a_registry_and_a_delivery_that_do_not_match() -> None:
    registry = RegistryCheck(acknowledged=8, unsure=0, missing=("a", "b"), unexpected=("c",), twice=("d",))
    delivery = {"missing": {"count": 2}, "unexpected": 1}
    assert told(storm(), registry=registry, delivery=delivery) == (
        "2 registered devices missing from the registry",
        "1 refused device found in the registry",
        "1 device found in the registry more than once",
        "2 messages did not reach the application",
        "1 message reached the application that nobody had sent",
    )


def test_a_tester_that_began_attempts_too_late_is_a_caution_unless_they_waited_for_a_connector() -> None:
    tally = storm()
    tally.latest_start_s = 2.25
    result = StormResult.of(tally)
    (caution,) = cautions(result, connectors=None)
    assert "up to 2.2 s after they were due" in caution
    assert cautions(result, connectors=200) == ()
    tally.latest_start_s = 0.1
    assert cautions(StormResult.of(tally), connectors=None) == ()
