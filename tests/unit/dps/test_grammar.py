import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dps import grammar
from gateway.dps.grammar import DpsLogin, Operation, Request


@pytest.mark.parametrize(
    ("username", "rid"),
    [
        (
            "0ne00ABCDEF/registrations/py-1/api-version=2019-03-31&ClientVersion=azure-iot-device%2F2.14.0",
            "py-1",
        ),
        ("0ne00ABCDEF/registrations/n-1/api-version=2019-03-31", "n-1"),
        ("0ne00ABCDEF/registrations/c-1/api-version=2021-06-01&ClientVersion=1.0", "c-1"),
        ("0ne00ABCDEF/registrations/x%3A1/api-version=2019-03-31", "x:1"),
    ],
)
def test_user_names_of_the_sdks_are_provisioning_logins(username: str, rid: str) -> None:
    login = grammar.parse_username(username)
    assert login is not None
    assert (login.id_scope, login.registration_id) == ("0ne00ABCDEF", rid)


@pytest.mark.parametrize(
    "username",
    [
        "", "app", "localhost/py-1/?api-version=2021-04-12", "scope/registrations/", "scope/registrations/id",
        "scope/registrations/id/ClientVersion=1", "/registrations/id/api-version=1", "scope/registrations//api-version=1",
    ],
)  # fmt: skip
def test_other_user_names_are_not(username: str) -> None:
    assert grammar.parse_username(username) is None


def test_a_register_request_keeps_the_request_id_that_the_device_chose() -> None:
    topic = "$dps/registrations/PUT/iotdps-register/?$rid=8f3c"
    assert grammar.parse_request(topic) == Request(operation=Operation.REGISTER, request_id="8f3c")


def test_a_poll_names_its_operation_wherever_it_stands() -> None:
    prefix = "$dps/registrations/GET/iotdps-get-operationstatus/?"
    for query in ("$rid=1&operationId=4.ab", "operationId=4.ab&$rid=1"):
        assert grammar.parse_request(prefix + query) == Request(
            operation=Operation.POLL, request_id="1", operation_id="4.ab"
        )


@pytest.mark.parametrize(
    "topic",
    [
        "$dps/registrations/PUT/iotdps-register/", "$dps/registrations/PUT/iotdps-register/?rid=1",
        "$dps/registrations/PUT/iotdps-register/?$rid=", "$dps/registrations/POST/iotdps-register/?$rid=1",
        "devices/x/messages/events/", "$dps/registrations/PUT/iotdps-register/?$rid=" + "a" * 129,
    ],
)  # fmt: skip
def test_other_topics_are_no_request(topic: str) -> None:
    assert grammar.parse_request(topic) is None


@pytest.mark.parametrize("body", [b"", b" ", b"\n"])
def test_a_blank_body_announces_nothing(body: bytes) -> None:
    assert grammar.parse_body(body) == {}


@pytest.mark.parametrize("body", [b"[]", b"1", b"{", b"\xff", b"null"])
def test_a_body_that_is_no_object_is_told_apart(body: bytes) -> None:
    assert grammar.parse_body(body) is None


@pytest.mark.parametrize(
    ("payload", "model"),
    [
        ({"modelId": "dtmi:a;1"}, "dtmi:a;1"),
        ({"iotcModelId": "dtmi:b;1"}, "dtmi:b;1"),
        ({"iotcModelId": "dtmi:b;1", "modelId": "dtmi:a;1"}, "dtmi:a;1"),
        ({"__iot:interfaces": {"CapabilityModelId": "urn:c:1"}}, "urn:c:1"),
        ({"modelId": ""}, None),
        ({"modelId": 7}, None),
        (None, None),
        ("text", None),
    ],
)
def test_the_model_is_read_from_every_form_that_devices_send(payload: object, model: str | None) -> None:
    assert grammar.model_id_in({"registrationId": "x", "payload": payload}) == model


def test_an_answer_names_the_request_first_and_the_wait_second() -> None:
    assert grammar.response_topic(202, "r1", 3) == "$dps/registrations/res/202/?$rid=r1&retry-after=3"
    assert grammar.response_topic(200, "r1") == "$dps/registrations/res/200/?$rid=r1"


@pytest.mark.parametrize(
    ("mechanism", "group", "expected"),
    [
        ("symmetricKey", "SAS-IoT-Devices", {"enrollmentGroupId": "SAS-IoT-Devices"}),
        ("symmetricKey", None, {}),
        ("x509", "X509-IoT-Devices", {}),
    ],
)
def test_assigned_carries_a_whole_registration_state_without_nulls(
    mechanism: str, group: str | None, expected: dict[str, str]
) -> None:
    body = grammar.success_body(
        operation_id="4.op", device_id="t-1", assigned_hub="gw.example", mechanism=mechanism,
        enrollment_group=group, created_at=1893456000.25, updated_at=1893456001, etag="e1",
    )  # fmt: skip
    document = orjson.loads(body)
    state = document["registrationState"]
    assert (document["operationId"], document["status"]) == ("4.op", "assigned")
    assert state[mechanism] == expected
    assert (state["registrationId"], state["deviceId"], state["assignedHub"]) == ("t-1", "t-1", "gw.example")
    assert state["createdDateTimeUtc"] == "2030-01-01T00:00:00.2500000Z"
    assert (state["status"], state["substatus"]) == ("assigned", "initialAssignment")
    assert b"null" not in body


def test_a_waiting_device_is_told_assigning() -> None:
    assert orjson.loads(grammar.pending_body("4.op")) == {"operationId": "4.op", "status": "assigning"}


def test_an_error_has_the_four_fields_that_sdks_log() -> None:
    body = grammar.error_body(401002, "Unauthorized", tracking_id="t", now=1893456000)
    assert orjson.loads(body) == {
        "errorCode": 401002,
        "trackingId": "t",
        "message": "Unauthorized",
        "timestampUtc": "2030-01-01T00:00:00.0000000Z",
    }


def test_the_login_of_a_provisioning_user_name_has_its_version() -> None:
    login = grammar.parse_username("s/registrations/d/api-version=2019-03-31")
    assert login == DpsLogin(id_scope="s", registration_id="d", api_version="2019-03-31")


PART = st.one_of(
    st.sampled_from(
        ["0ne00ABCDEF", "registrations", "d", "", "api-version", "api-version=1", "%ff", "x%2Fy", "="]
    ),
    st.text(),
)


@given(st.lists(st.sampled_from("/?&=%") | PART).map("".join))
def test_no_user_name_and_no_topic_raises(text: str) -> None:
    grammar.parse_username(text)
    grammar.parse_request(text)
    grammar.parse_request(f"$dps/registrations/PUT/iotdps-register/?{text}")
    grammar.parse_request(f"$dps/registrations/GET/iotdps-get-operationstatus/?{text}")


@given(st.lists(PART, min_size=1).map("&".join))
def test_whatever_the_query_a_user_name_of_provisioning_s_form_is_a_login_of_its_device_or_none(
    query: str,
) -> None:
    login = grammar.parse_username(f"0ne00ABCDEF/registrations/d/{query}")
    has_version = any(
        pair.startswith("api-version=") and pair != "api-version=" for pair in query.lstrip("?").split("&")
    )
    assert (login is not None) == has_version
    assert login is None or (login.id_scope, login.registration_id) == ("0ne00ABCDEF", "d")


@given(
    st.dictionaries(
        st.sampled_from(["modelId", "iotcModelId", "__iot:interfaces", "x"]),
        st.none()
        | st.text()
        | st.integers()
        | st.dictionaries(st.just("CapabilityModelId"), st.none() | st.text()),
    )
)
def test_a_register_body_announces_a_model_or_none_whatever_is_in_its_place(
    payload: dict[str, object],
) -> None:
    model = grammar.model_id_in({"payload": payload})
    assert model is None or (isinstance(model, str) and model)
