"""Requests to the provisioning service over HTTPS, taken apart."""

import base64

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dps import rest
from gateway.dps.grammar import parse_username
from gateway.dps.rest import Problem, RestOperation, RestRequest, ShownTpm
from tests.unit.identity.tpm_keys import ENDORSEMENT_KEY, STORAGE_ROOT_KEY

EK = base64.b64encode(ENDORSEMENT_KEY).decode()
SRK = base64.b64encode(STORAGE_ROOT_KEY).decode()
NODE_REGISTER = "/0ne00ABCDEF/registrations/n-1/register?api-version=2019-03-31&forceRegistration=true"


@pytest.mark.parametrize(
    ("method", "target", "operation"),
    [
        ("PUT", NODE_REGISTER, RestOperation.REGISTER),
        ("PUT", "/0ne00ABCDEF/registrations/n-1/register?api-version=2021-06-01", RestOperation.REGISTER),
        ("POST", "/0ne00ABCDEF/registrations/n-1?api-version=2021-06-01", RestOperation.LOOK_UP),
        (
            "GET",
            "/0ne00ABCDEF/registrations/n-1/operations/4.5%2E6?api-version=2019-03-31",
            RestOperation.POLL,
        ),
    ],
)
def test_requests_of_the_sdks_are_understood(method: str, target: str, operation: RestOperation) -> None:
    request = rest.parse_target(method, target)
    assert isinstance(request, RestRequest)
    assert (request.operation, request.registration_id) == (operation, "n-1")
    assert request.operation_id == ("4.5.6" if operation is RestOperation.POLL else "")
    login = parse_username(request.username)
    assert login is not None
    assert (login.id_scope, login.registration_id) == ("0ne00ABCDEF", "n-1")


def test_an_encoded_registration_id_is_the_same_in_the_path_and_in_the_login() -> None:
    request = rest.parse_target("POST", "/0ne00ABCDEF/registrations/x%3A1?api-version=1")
    assert isinstance(request, RestRequest)
    login = parse_username(request.username)
    assert login is not None
    assert request.registration_id == login.registration_id == "x:1"


@pytest.mark.parametrize(
    ("method", "target", "code", "allow"),
    [
        ("GET", "/", 404000, ""),
        ("PUT", "https://dps/0ne00ABCDEF/registrations/n-1/register?api-version=1", 404000, ""),
        ("PUT", "/0ne00ABCDEF/registrations/n-1/register/?api-version=1", 404000, ""),
        ("PUT", "/0ne00ABCDEF/devices/n-1/register?api-version=1", 404000, ""),
        ("POST", "/0ne00ABCDEF/registrations/n-1/register?api-version=1", 405000, "PUT"),
        ("HEAD", "/0ne00ABCDEF/registrations/n-1/operations/4?api-version=1", 405000, "GET"),
        ("DELETE", "/0ne00ABCDEF/registrations/n-1?api-version=1", 405000, "POST"),
        ("PUT", "/0ne00ABCDEF/registrations/n-1/register", 400004, ""),
        ("PUT", "/0ne00ABCDEF/registrations/n-1/register?api-version=", 400004, ""),
        ("GET", f"/0ne00ABCDEF/registrations/n-1/operations/{'4' * 129}?api-version=1", 400004, ""),
    ],
)
def test_what_means_nothing_here_has_a_code(method: str, target: str, code: int, allow: str) -> None:
    problem = rest.parse_target(method, target)
    assert isinstance(problem, Problem)
    assert (problem.code, problem.allow) == (code, allow)


@given(
    st.sampled_from(["PUT", "GET", "POST"]), st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E))
)
def test_no_target_breaks_the_parser(method: str, rest_of_it: str) -> None:
    for target in (
        rest_of_it,
        f"/s/registrations/{rest_of_it}",
        f"/s/registrations/a/operations/{rest_of_it}",
    ):
        assert isinstance(rest.parse_target(method, target), RestRequest | Problem)


def test_a_polls_path_is_one_that_is_understood() -> None:
    request = rest.parse_target("PUT", NODE_REGISTER)
    assert isinstance(request, RestRequest)
    polled = rest.parse_target("GET", rest.operation_path(request, "4.a.b"))
    assert isinstance(polled, RestRequest)
    assert (polled.operation_id, polled.username) == ("4.a.b", request.username)


# TPM


def test_a_tpm_is_shown_by_its_two_keys() -> None:
    shown = rest.tpm_in({"tpm": {"endorsementKey": EK, "storageRootKey": SRK}})
    assert isinstance(shown, ShownTpm)
    assert (shown.endorsement.public, shown.storage_root.public) == (ENDORSEMENT_KEY, STORAGE_ROOT_KEY)
    assert rest.tpm_in({"registrationId": "n-1"}) is None


@pytest.mark.parametrize(
    "tpm", ["", [], {}, {"endorsementKey": EK}, {"endorsementKey": EK, "storageRootKey": 1},
            {"endorsementKey": EK, "storageRootKey": SRK[:-4]}, {"endorsementKey": SRK + EK, "storageRootKey": SRK}],
)  # fmt: skip
def test_half_a_tpm_is_a_bad_request(tpm: object) -> None:
    problem = rest.tpm_in({"tpm": tpm})
    assert isinstance(problem, Problem)
    assert problem.code == 400004


def test_a_challenge_has_what_the_c_and_the_node_sdk_require() -> None:
    body = orjson.loads(rest.challenge_body(b"blob"))
    assert body == {
        "message": "Authorization required.",
        "keyName": "registration",
        "authenticationKey": "YmxvYg==",
    }
