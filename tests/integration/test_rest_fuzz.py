"""Schemathesis asks a running gateway what its OpenAPI document allows, and what it does not: no answer is a fault.

A gateway of its own, since anything may come of it. The seed is fixed: a failure is the same the next time.
"""

from collections.abc import Iterator
from typing import Any, cast

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings

from gateway.api.rest import make_rest_app
from gateway.api.rest.calling import Context
from tests.support.gateway_process import GatewayProcess

_EXAMPLES = 8


def _document() -> dict[str, Any]:
    """What `/api/openapi.json` serves: it depends on nothing that a gateway holds."""
    return make_rest_app(cast(Context, None)).openapi()


def url_of(gateway: GatewayProcess) -> str:
    return f"http://127.0.0.1:{gateway.setup['httpPort']}/api"


def _without_tls(text: str) -> str:
    return text.replace("tls: true", "tls: false")


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path_factory.mktemp("fuzzed") / "gw", edit=_without_tls) as gateway:
        gateway.cli("device", "register", "d")
        gateway.cli("enrollment", "create", "d")
        yield gateway


@pytest.fixture(scope="module")
def session(fuzzed: GatewayProcess) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.headers["Authorization"] = fuzzed.setup["apiToken"]
        yield session


_SCHEMA = schemathesis.openapi.from_dict(_document())
_OPERATIONS = [result.ok() for result in _SCHEMA.get_all_operations()]


@pytest.mark.parametrize("operation", _OPERATIONS, ids=[operation.label for operation in _OPERATIONS])
def test_no_request_makes_a_fault(operation: Any, fuzzed: GatewayProcess, session: requests.Session) -> None:
    @seed(20220731)
    @settings(
        max_examples=_EXAMPLES, deadline=None, database=None, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(operation.as_strategy())
    def ask(case: Any) -> None:
        if not case.path.startswith("/verbs/"):
            case.query = {**(case.query or {}), "api-version": "2022-07-31"}
        answer = case.call(base_url=url_of(fuzzed), session=session, timeout=30)
        assert answer.status_code < 500, f"{case.formatted_path}: {answer.status_code} {answer.text}"
        if answer.status_code >= 400:
            assert answer.json()["error"].keys() == {"code", "message", "requestId", "time"}

    ask()


def test_the_gateway_logged_no_fault_and_still_answers(
    fuzzed: GatewayProcess, session: requests.Session
) -> None:
    assert fuzzed.lines("operation.failed") == []
    assert session.post(f"{url_of(fuzzed)}/verbs/status", json={}, timeout=30).json()["running"] is True
