"""What a simulated device says, and how it reads the answers of the provisioning service."""

import json

import pytest

from gateway.secrets import SymmetricKey
from gateway.simulate.wire import (
    Assigned,
    Declined,
    ProvisioningAnswer,
    TryAgain,
    hub_token,
    hub_username,
    parse_provisioning_answer,
    provisioning_request,
    provisioning_token,
    provisioning_username,
    telemetry_topic,
)

DEVICE_KEY = SymmetricKey.from_base64("aQpAiAZrJbAmQOJePbtIhddrHcjLagLwGpnPkZyejRY=")
EXPIRY = 1893456000
MODEL = "dtmi:com:example:Thermostat;1"


def test_the_tokens_are_those_of_the_protocols_vectors() -> None:
    assert provisioning_token("0ne00ABCDEF", "thermostat-001", DEVICE_KEY, EXPIRY) == (
        "SharedAccessSignature sr=0ne00ABCDEF%2Fregistrations%2Fthermostat-001"
        "&sig=WwuAPeu%2F6OSsRI7jQPstxusWDnG5pMDA0I7LWBCGQbU%3D&se=1893456000&skn=registration"
    )
    assert hub_token("gateway.example.com", "thermostat-001", DEVICE_KEY, EXPIRY) == (
        "SharedAccessSignature sr=gateway.example.com%2Fdevices%2Fthermostat-001"
        "&sig=mVXpSjgt6DCO5ajaZjuQktby60sIVnS3sNLY8XC03Eo%3D&se=1893456000"
    )


def test_the_user_names_say_who_where_and_which_model() -> None:
    assert provisioning_username("0ne00ABCDEF", "d-1").startswith(
        "0ne00ABCDEF/registrations/d-1/api-version=2019-03-31"
    )
    plain = hub_username("gateway.example.com", "d-1", None)
    assert plain.startswith("gateway.example.com/d-1/?api-version=2021-04-12")
    assert "model-id" not in plain
    assert hub_username("gateway.example.com", "d-1", MODEL).endswith(
        "&model-id=dtmi%3Acom%3Aexample%3AThermostat%3B1"
    )


def test_a_registration_is_asked_for_with_the_model_and_then_followed() -> None:
    topic, body = provisioning_request("d-1", MODEL, None)
    assert topic == "$dps/registrations/PUT/iotdps-register/?$rid=1"
    assert json.loads(body) == {"registrationId": "d-1", "payload": {"modelId": MODEL}}
    assert json.loads(provisioning_request("d-1", None, None)[1]) == {"registrationId": "d-1"}
    topic, body = provisioning_request("d-1", MODEL, "4.a b")
    assert topic == "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=1&operationId=4.a%20b"
    assert body == b" "


def test_a_component_is_named_in_the_telemetry_topic() -> None:
    assert telemetry_topic("d-1", None) == (
        "devices/d-1/messages/events/%24.ct=application%2Fjson&%24.ce=utf-8"
    )
    assert telemetry_topic("d-1", "thermostat1").endswith("&%24.sub=thermostat1")


ASSIGNED = {"status": "assigned", "registrationState": {"assignedHub": "h.example", "deviceId": "d-1"}}


@pytest.mark.parametrize(
    ("where", "body", "expected"),
    [
        ("200/?$rid=1", ASSIGNED, Assigned(hub="h.example", device_id="d-1")),
        (
            "202/?$rid=1&retry-after=3",
            {"operationId": "4.x", "status": "assigning"},
            TryAgain(after_s=3, operation_id="4.x", why="assigning"),
        ),
        (
            "202/?$rid=1",
            {"operationId": "4.x", "status": "unassigned"},
            TryAgain(after_s=2, operation_id="4.x", why="unassigned"),
        ),
        (
            "429/?$rid=1&retry-after=7",
            {"errorCode": 429001, "message": "busy"},
            TryAgain(after_s=7, operation_id=None, why="busy"),
        ),
        ("401/?$rid=1", {"errorCode": 401002, "message": "no"}, Declined(code="401002", why="no")),
        (
            "200/?$rid=1",
            {"status": "failed", "registrationState": {"errorCode": 400209, "errorMessage": "not you"}},
            Declined(code="400209", why="not you"),
        ),
        ("200/?$rid=1", {"status": "disabled"}, Declined(code="200", why="disabled")),
        (
            "200/?$rid=1",
            {"status": "assigned", "registrationState": {"deviceId": "d-1"}},
            Declined(code="200", why="assigned"),
        ),
    ],
)
def test_an_answer_is_read_as_what_it_means(
    where: str, body: dict[str, object], expected: ProvisioningAnswer
) -> None:
    assert parse_provisioning_answer(f"$dps/registrations/res/{where}", json.dumps(body).encode()) == expected


@pytest.mark.parametrize(
    ("where", "payload"),
    [("200/?$rid=1", b"{"), ("200/?$rid=1", b"[]"), ("x/?$rid=1", b"{}"), ("202/?retry-after=soon", b"{}")],
)
def test_an_answer_that_makes_no_sense_is_declined(where: str, payload: bytes) -> None:
    answer = parse_provisioning_answer(f"$dps/registrations/res/{where}", payload)
    assert isinstance(answer, Declined)
    assert answer.code == "unreadable"
