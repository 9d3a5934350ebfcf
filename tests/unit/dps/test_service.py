"""The provisioning service over HTTPS, when the gateway itself is in trouble. The rest is in tests/integration."""

import asyncio
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from gateway.admission import Admitted
from gateway.attempts import Attempts
from gateway.dps.service import DpsService
from gateway.enrollment.decide import Verified
from gateway.errors import StoreUnavailable
from gateway.exchange import HttpExchange, HttpResponse
from gateway.refusals import Reason, Refused
from gateway.registry.device import Device, Status
from gateway.session import Dialect
from gateway.settings import parse_settings

NOW = 1893456000.0
VERIFIED = Verified(mechanism="symmetricKey", enrollment_group="G", key_slot="primary", auto_approve=True)
DEVICE = Device.new("t-1", status=Status.PROVISIONED, now=NOW)


class StubIntake:
    def retry_after_s(self) -> int:
        return 17


class StubAdmission:
    def __init__(self, *, admits: Any, provisions: Any) -> None:
        self._admits = admits
        self._provisions = provisions
        self.intake = StubIntake()

    def admit(self, request: Any, *, now: float) -> Any:
        if isinstance(self._admits, Exception):
            raise self._admits
        return self._admits

    def holds(self, outcome: Any) -> bool:
        return True

    async def provision(self, admitted: Admitted, model_id: str | None, *, now: float) -> Any:
        if isinstance(self._provisions, Exception):
            raise self._provisions
        return self._provisions

    def knows(self, device_id: str) -> bool:
        return True


def ask(
    *, admits: Any = None, provisions: Any = DEVICE, shutting_down: bool = False, registration_id: str = "t-1"
) -> tuple[HttpResponse, Any]:
    settings = parse_settings(
        {"hosts": ["gw.example"], "id_scope": "0ne00ABCDEF", "state_dir": "s",
         "devices": {"certificate_file": "c", "key_file": "k"}}
    )  # fmt: skip
    admits = admits or Admitted(Dialect.DPS, "t-1", VERIFIED, None, None)
    service = DpsService(
        admission=StubAdmission(admits=admits, provisions=provisions), tpm_keys=None,
        attempts=Attempts(max_devices=1, max_per_device=1, max_accepted=1), settings=settings, clock=lambda: NOW,
    )  # fmt: skip
    target = f"/0ne00ABCDEF/registrations/{registration_id}/register?api-version=2021-06-01"
    exchange = HttpExchange(
        "PUT", target, "SharedAccessSignature sr=x", b"", None, "192.0.2.1:5", "TLSv1.3", 1
    )
    answer = service.answer(exchange, shutting_down=shutting_down)
    assert not isinstance(answer, asyncio.Future)
    return answer, orjson.loads(answer.body)


@pytest.mark.parametrize("at", ["admits", "provisions"])
def test_overload_is_429_with_a_time_to_come_back_and_no_line_of_its_own(at: str) -> None:
    with capture_logs() as lines:
        answer, body = ask(**{at: Refused(Reason.OVERLOADED)})
    assert (answer.status, body["errorCode"], dict(answer.headers)["Retry-After"]) == (429, 429001, "17")
    assert lines == []


@pytest.mark.parametrize("at", ["admits", "provisions"])
def test_a_store_that_is_down_is_500_and_never_401(at: str) -> None:
    with capture_logs() as lines:
        answer, body = ask(**{at: StoreUnavailable("disk full")})
    assert (answer.status, body["errorCode"], dict(answer.headers)["Retry-After"]) == (500, 500001, "5")
    assert [(line["event"], line["reason"]) for line in lines] == [
        ("registration.failed", "store_unavailable")
    ]


def test_a_gateway_that_ends_says_that_it_is_worth_to_try_again() -> None:
    answer, _ = ask(shutting_down=True)
    assert (answer.status, dict(answer.headers)["Retry-After"]) == (500, "5")


def test_storm_control_is_told_who_was_proved_and_who_was_refused() -> None:
    proved, _ = ask()
    assert (proved.device_id, proved.group, proved.refused) == ("t-1", "G", None)
    refused, _ = ask(admits=Refused(Reason.TOKEN_SIGNATURE_INVALID))
    assert (refused.device_id, refused.refused) == ("t-1", Reason.TOKEN_SIGNATURE_INVALID)
    blocked, _ = ask(provisions=Refused(Reason.DEVICE_BLOCKED))
    assert (blocked.status, blocked.device_id, blocked.refused) == (
        403,
        "t-1",
        None,
    )  # its credential was right


def test_of_an_id_that_is_too_long_to_be_one_the_log_and_storm_control_have_the_beginning() -> None:
    with capture_logs() as lines:
        answer, _ = ask(admits=Refused(Reason.CLIENT_ID_INVALID), registration_id="x" * 12_000)
    assert (answer.device_id, lines[0]["device_id"]) == ("x" * 128, "x" * 128)
