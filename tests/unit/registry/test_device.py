"""The states of a device, as an operator sees them."""

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.errors import ConflictError
from gateway.registry.device import TRANSITIONS, Device, Status, Verb, is_device_id, transition

VERBS: tuple[Verb, ...] = ("approve", "provision", "block", "unblock")


def device(status: Status, **facts: Any) -> Device:
    return Device.new("mill-1", status=status, now=1.0, **facts)


class DeviceLife(RuleBasedStateMachine):
    """Whatever operators and connects do, in whatever order, against a model written another way."""

    @initialize(status=st.sampled_from([Status.WAITING, Status.REGISTERED, Status.PROVISIONED]))
    def come_in(self, status: Status) -> None:
        self.device = device(status)
        self.rank, self.is_blocked = list(Status).index(status), False

    @rule(verb=st.sampled_from(VERBS), now=st.floats(1, 2))
    def move(self, verb: Verb, now: float) -> None:
        allowed = {
            "approve": not self.is_blocked and self.rank == 0,
            "provision": not self.is_blocked and self.rank == 1,
            "block": not self.is_blocked,
            "unblock": self.is_blocked,
        }[verb]
        if not allowed:
            with pytest.raises(ConflictError, match="mill-1 is"):
                transition(self.device, verb, now=now)
            return
        before = self.device
        self.device = transition(before, verb, now=now)
        assert self.device.etag != before.etag
        assert self.device.updated_at == now
        assert self.device.created_at == before.created_at
        self.rank += verb in ("approve", "provision")
        self.is_blocked = verb == "block"

    @invariant()
    def shows_what_central_s_rest_api_shows(self) -> None:
        if not hasattr(self, "device"):
            return
        was = list(Status)[self.rank]
        assert self.device.status is (Status.BLOCKED if self.is_blocked else was)
        assert self.device.status_before_block is (was if self.is_blocked else None)
        assert self.device.provisioned == (self.rank == 2)
        assert self.device.enabled == (not self.is_blocked and self.rank > 0)


TestDeviceLife = DeviceLife.TestCase


def test_every_status_can_be_left_and_every_verb_is_used() -> None:
    assert {status for status, _ in TRANSITIONS} == set(Status)
    assert {verb for _, verb in TRANSITIONS} == set(VERBS)


def test_a_device_is_assigned_when_it_is_provisioned() -> None:
    assert device(Status.WAITING).assigned_at is None
    assert device(Status.PROVISIONED).assigned_at == 1.0
    assert transition(device(Status.REGISTERED), "provision", now=5.0).assigned_at == 5.0


def test_blocking_keeps_when_a_device_was_assigned_and_its_template() -> None:
    before = device(Status.PROVISIONED, template_id="dtmi:com:example:Mill;1", enrollment_group="G")
    after = transition(transition(before, "block", now=2.0), "unblock", now=3.0)
    assert (after.assigned_at, after.template_id, after.enrollment_group) == (1.0, before.template_id, "G")


def test_a_forbidden_move_says_in_words_why() -> None:
    with pytest.raises(ConflictError) as refused:
        transition(device(Status.PROVISIONED), "approve", now=2.0)
    assert str(refused.value) == "mill-1 is provisioned: it can't be approved"


def test_a_device_without_a_name_is_called_by_its_id() -> None:
    assert device(Status.WAITING).name == "mill-1"
    assert device(Status.WAITING, name="Mill in hall 3").name == "Mill in hall 3"


@pytest.mark.parametrize(
    ("text", "in_central", "in_dps"),
    [
        ("t", True, True),
        ("Mill-007", True, True),
        ("-", True, True),
        ("x" * 128, True, True),
        ("x" * 129, False, False),
        ("", False, False),
        ("a.b_c:d", False, True),
        (".hidden-", False, True),
        ("ends-with.", False, False),
        ("a b", False, False),
        ("a/b", False, False),
        ("a+b", False, False),
        ("#", False, False),
        ("größe", False, False),
        ("a\n", False, False),
        ("٣", False, False),
    ],
)
def test_ids_are_those_of_central_and_with_the_setting_those_of_dps(
    text: str, in_central: bool, in_dps: bool
) -> None:
    assert is_device_id(text) is in_central
    assert is_device_id(text, extended=True) is in_dps
