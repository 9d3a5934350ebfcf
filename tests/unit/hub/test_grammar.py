from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.hub import grammar
from gateway.hub.grammar import HubRequest, Operation, PropertyBagError


@pytest.mark.parametrize(
    ("username", "host", "device", "model"),
    [
        (
            "localhost/py-1/?api-version=2020-09-30&DeviceClientType=azure-iot-device-iothub-py%2F2.14.0%28x%29"
            "&model-id=dtmi%3Acom%3Aexample%3AThermostat%3B1",
            "localhost", "py-1", "dtmi:com:example:Thermostat;1",
        ),
        (
            "localhost/node-1/?api-version=2021-04-12&model-id=dtmi:com:example:Thermostat;1"
            "&DeviceClientType=azure-iot-device%2F1.18.4%20(node%20v20%3B%20x64)",
            "localhost", "node-1", "dtmi:com:example:Thermostat;1",
        ),
        ("gw.example/c-1/api-version=2016-11-14&DeviceClientType=c", "gw.example", "c-1", None),
        ("gw.example/d/?api-version=2018-06-30", "gw.example", "d", None),
    ],
)  # fmt: skip
def test_user_names_of_the_sdks_are_hub_logins(
    username: str, host: str, device: str, model: str | None
) -> None:
    login = grammar.parse_username(username)
    assert login is not None
    assert (login.host, login.device_id, login.module_id, login.model_id) == (host, device, None, model)


def test_a_module_is_recognised_as_one() -> None:
    login = grammar.parse_username("gw.example/d/m/?api-version=2021-04-12")
    assert login is not None
    assert (login.device_id, login.module_id) == ("d", "m")


@pytest.mark.parametrize(
    "username",
    ["", "app", "a/b", "host/device/?model-id=x", "host//?api-version=1", "/d/?api-version=1", "h/d/m/x/?api-version=1",
     "host/device/?api-version=1&model-id=%ff"],
)  # fmt: skip
def test_other_user_names_are_not(username: str) -> None:
    assert grammar.parse_username(username) is None


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("$iothub/twin/GET/?$rid=a1", HubRequest(operation=Operation.TWIN_GET, request_id="a1")),
        (
            "$iothub/twin/PATCH/properties/reported/?$rid=2",
            HubRequest(operation=Operation.TWIN_PATCH, request_id="2"),
        ),
        ("$iothub/methods/res/200/?$rid=3", HubRequest(operation=Operation.METHOD_RESPONSE, request_id="3")),
        ("$iothub/twin/GET/?rid=1", None),
        ("$iothub/twin/GET/", None),
        ("$iothub/twin/PATCH/properties/desired/?$rid=1", None),
        ("$iothub/methods/res/ok/?$rid=3", None),
        ("devices/d/messages/events/", None),
        ("anything", None),
    ],
)
def test_request_topics_are_told_apart(topic: str, expected: HubRequest | None) -> None:
    assert grammar.parse_request(topic) == expected


def test_a_property_bag_is_decoded_as_the_python_sdk_sends_it() -> None:
    bag = "%24.mid=7&%24.ct=application%2Fjson&%24.ce=utf-8&%24.sub=thermostat1&alert=no%20%26%20yes%3Dmaybe"
    assert grammar.decode_property_bag(bag, max_properties=10) == {
        "$.mid": "7", "$.ct": "application/json", "$.ce": "utf-8", "$.sub": "thermostat1", "alert": "no & yes=maybe",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("bag", "expected"),
    [
        ("", {}),
        ("?", {}),
        ("flag", {"flag": None}),
        ("empty=", {"empty": ""}),
        ("a+b=c+d", {"a+b": "c+d"}),
        ("a=1&a=2", {"a": "2"}),
        ("a=1/", {"a": "1"}),
    ],
)
def test_edges_of_a_property_bag(bag: str, expected: dict[str, str | None]) -> None:
    assert grammar.decode_property_bag(bag, max_properties=10) == expected


@pytest.mark.parametrize(
    "bag", ["a=%ff", "%ff=a", "=value", "a=1&&b=2", "&".join("k" * i for i in range(1, 13))]
)
def test_a_property_bag_that_means_nothing_is_an_error(bag: str) -> None:
    with pytest.raises(PropertyBagError):
        grammar.decode_property_bag(bag, max_properties=10)


@given(st.text())
def test_no_property_bag_raises_anything_else(bag: str) -> None:
    with suppress(PropertyBagError):
        grammar.decode_property_bag(bag, max_properties=10)


PART = st.one_of(
    st.sampled_from(
        ["localhost", "d", "", "api-version", "api-version=1", "model-id=", "model-id=%ff", "x%2Fy", "="]
    ),
    st.text(),
)


@given(st.text() | st.lists(st.sampled_from("/?&=%") | PART).map("".join))
def test_no_user_name_raises(username: str) -> None:
    grammar.parse_username(username)


@given(st.lists(PART, min_size=1).map("&".join))
def test_whatever_the_query_a_user_name_of_the_hub_s_form_is_a_login_of_its_device_or_none(
    query: str,
) -> None:
    login = grammar.parse_username(f"localhost/d/?{query.replace('/', '')}")
    assert login is None or (login.host, login.device_id, login.module_id) == ("localhost", "d", None)
    assert login is None or login.api_version


def test_a_device_may_subscribe_to_the_four_documented_filters() -> None:
    allowed = {
        "$iothub/twin/res/#",
        "$iothub/twin/PATCH/properties/desired/#",
        "$iothub/methods/POST/#",
        "devices/d/messages/devicebound/#",
    }
    assert all(grammar.is_device_filter(topic_filter, "d") for topic_filter in allowed)
    assert not grammar.is_device_filter("devices/e/messages/devicebound/#", "d")
    assert not grammar.is_device_filter("#", "d")  # fmt: skip


def test_a_twin_answer_names_the_request_first() -> None:
    assert grammar.twin_response_topic(204, "r", 5) == "$iothub/twin/res/204/?$rid=r&$version=5"
    assert grammar.twin_response_topic(200, "r") == "$iothub/twin/res/200/?$rid=r"
