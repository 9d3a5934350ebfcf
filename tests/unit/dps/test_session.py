import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.admission import Admitted
from gateway.dps.session import DpsSession
from gateway.enrollment.decide import Verified
from gateway.errors import StoreUnavailable
from gateway.intake import Intake
from gateway.refusals import Reason, Refused
from gateway.registry.device import Device, Status
from gateway.session import CloseReason, Dialect
from gateway.settings import StormSettings
from tests.support.links import RecordingLink

REGISTER = "$dps/registrations/PUT/iotdps-register/?$rid=r1"
POLL = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=r2&operationId=4.op"
DEVICE = Device.new("t-1", status=Status.PROVISIONED, now=1893456000.0)

Provision = Callable[[str | None], Awaitable[Device | Refused]]


class StubAdmission:
    def __init__(self, provision: Provision) -> None:
        self._provision = provision
        self.models: list[str | None] = []
        self.refused: list[Refused] = []
        storm = StormSettings(retry_after_min_s=5, retry_after_max_s=30)
        self.intake = Intake(storm, now=0.0, randint=lambda low, high: low + high)

    async def provision(self, admitted: Admitted, model_id: str | None, *, now: float) -> Device | Refused:
        self.models.append(model_id)
        return await self._provision(model_id)


async def assigned(_: str | None) -> Device:
    return DEVICE


def session(provision: Provision = assigned) -> tuple[DpsSession, RecordingLink, StubAdmission]:
    link, admission = RecordingLink(), StubAdmission(provision)
    verified = Verified(mechanism="symmetricKey", enrollment_group="G", key_slot="primary", auto_approve=True)
    admitted = Admitted(dialect=Dialect.DPS, device_id="t-1", verified=verified, device=None, expires_at=None)
    made = DpsSession(
        link, admitted, admission=admission, hub_host="gw.example", approval_retry_after_s=7,
        on_refused=admission.refused.append, clock=lambda: 1893456000.0,
    )  # fmt: skip
    assert made.grant("$dps/registrations/res/#", 1) == 1
    return made, link, admission


def publish(made: DpsSession, topic: str = REGISTER, body: bytes = b"", qos: int = 1) -> None:
    made.publish_received(topic, body, qos=qos, retain=False, packet_id=9 if qos else None)


async def test_puback_comes_before_the_answer_and_the_answer_has_the_granted_quality() -> None:
    made, link, _ = session()
    publish(made)
    assert link.order == ["puback", "publish"]
    assert link.sent[0][2] == 1
    topic, body = link.last
    assert topic == "$dps/registrations/res/200/?$rid=r1"
    assert (body["status"], body["registrationState"]["assignedHub"]) == ("assigned", "gw.example")


async def test_a_poll_is_answered_with_its_own_operation_and_its_body_means_nothing() -> None:
    made, link, admission = session()
    publish(made, POLL, b'{"payload":{"modelId":"dtmi:ignored;1"}}')
    assert link.last[1]["operationId"] == "4.op"
    assert admission.models == [None]


async def test_the_announced_model_is_handed_on() -> None:
    made, _, admission = session()
    publish(made, body=b'{"payload":{"modelId":"dtmi:a:b;1"},"registrationId":"somebody-else"}')
    assert admission.models == ["dtmi:a:b;1"]


async def test_who_waits_for_approval_is_told_when_to_ask_again() -> None:
    async def waiting(_: str | None) -> Refused:
        return Refused(Reason.APPROVAL_PENDING)

    made, link, _ = session(waiting)
    publish(made)
    assert link.last[0] == "$dps/registrations/res/202/?$rid=r1&retry-after=7"
    assert link.last[1]["status"] == "assigning"


@pytest.mark.parametrize(
    ("reason", "topic", "code"),
    [
        (Reason.DEVICE_BLOCKED, "$dps/registrations/res/403/?$rid=r1", 403003),
        (Reason.OVERLOADED, "$dps/registrations/res/429/?$rid=r1&retry-after=35", 429001),
    ],
)
async def test_a_refusal_is_an_error_body(reason: Reason, topic: str, code: int) -> None:
    async def refused(_: str | None) -> Refused:
        return Refused(reason)

    made, link, _ = session(refused)
    publish(made)
    assert (link.last[0], link.last[1]["errorCode"]) == (topic, code)


async def test_a_store_that_is_down_is_a_server_error_that_sdks_retry() -> None:
    async def down(_: str | None) -> Device:
        raise StoreUnavailable("disk full")

    made, link, _ = session(down)
    publish(made)
    assert link.last[0] == "$dps/registrations/res/500/?$rid=r1&retry-after=5"


async def test_an_answer_that_has_to_wait_for_a_commit_comes_after_it() -> None:
    commit: asyncio.Future[Device] = asyncio.get_running_loop().create_future()

    async def waits(_: str | None) -> Device:
        return await commit

    made, link, _ = session(waits)
    publish(made)
    assert link.order == ["puback"]
    commit.set_result(DEVICE)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert link.last[1]["status"] == "assigned"


async def test_only_a_few_requests_may_wait_at_once() -> None:
    never: asyncio.Future[Device] = asyncio.get_running_loop().create_future()

    async def waits(_: str | None) -> Any:
        return await never

    made, link, _ = session(waits)
    for _ in range(5):
        publish(made)
    assert link.last[0].startswith("$dps/registrations/res/429/")
    never.cancel()
    await asyncio.sleep(0)


@pytest.mark.parametrize("body", [b"[1]", b"{", b'"' + b"x" * 20_000 + b'"'])
async def test_a_body_that_is_no_small_object_is_a_bad_request(body: bytes) -> None:
    made, link, _ = session()
    publish(made, body=body)
    assert link.last[0] == "$dps/registrations/res/400/?$rid=r1"


async def test_any_other_topic_closes_the_connection() -> None:
    made, link, _ = session()
    publish(made, "devices/t-1/messages/events/")
    assert link.closed is CloseReason.TOPIC_UNKNOWN
    assert made.grant("devices/#", 0) is None


async def test_who_has_not_subscribed_or_is_gone_gets_no_answer() -> None:
    made, link, _ = session()
    made.unsubscribed("$dps/registrations/res/#")
    publish(made, qos=0)
    made.grant("$dps/registrations/res/#", 0)
    made.ended(CloseReason.CONNECTION_LOST)
    publish(made, qos=0)
    assert link.sent == []
