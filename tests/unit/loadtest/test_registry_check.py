"""What the devices were told, against what the registry holds."""

from loadtest.registry_check import RegistryCheck, Row, check
from loadtest.tally import Tally
from tests.support.driven import population


def compare(tally: Tally, after: list[Row], before: list[Row] | None = None) -> RegistryCheck:
    return check(population(4), tally, before=before or [], after=after)


def test_it_holds_if_each_that_was_told_so_is_there_once_and_no_other() -> None:
    found = compare(
        Tally(registered={0, 1}), [("storm-000001", "provisioned"), ("storm-000002", "registered")]
    )
    assert found.holds
    assert found.acknowledged == 2


def test_a_device_that_was_told_so_and_is_not_there_is_listed() -> None:
    found = compare(Tally(registered={0, 1}), [("storm-000001", "provisioned"), ("storm-000002", "blocked")])
    assert not found.holds
    assert found.missing == ("storm-000002",)
    assert found.to_json()["missing"] == {"count": 1, "devices": ["storm-000002"]}


def test_a_refused_device_that_is_there_is_listed_unless_it_waits_or_was_there_before() -> None:
    after = [("storm-000001", "provisioned"), ("storm-000002", "waiting"), ("storm-000003", "provisioned")]
    found = compare(Tally(), after, before=[("storm-000003", "provisioned")])
    assert found.unexpected == ("storm-000001",)
    assert not found.holds


def test_a_device_without_an_answer_may_be_there_or_not() -> None:
    assert compare(Tally(unsure={0, 1}), [("storm-000001", "provisioned")]).holds
    assert compare(Tally(unsure={0, 1}, registered={1}), [("storm-000002", "provisioned")]).unsure == 1


def test_a_device_that_is_listed_twice_is_told() -> None:
    found = compare(Tally(registered={0}), [("storm-000001", "provisioned"), ("storm-000001", "provisioned")])
    assert found.twice == ("storm-000001",)
    assert not found.holds


def test_devices_of_others_with_a_longer_name_are_left_alone() -> None:
    assert compare(Tally(), [("storm-000001-x", "provisioned")]).holds
