import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.mqtt import InvalidTopic, filter_covers, matches, validate_topic_filter, validate_topic_name
from tests.unit.mqtt.strategies import topic_filters, topic_names

relaxed = settings(deadline=None)


@pytest.mark.parametrize("name", ["t", "/", "a/b", "a//b", "/a", "a/", "$SYS/x", " ", "é/日", "a" * 65535])
def test_name_is_valid(name):
    validate_topic_name(name)


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("", "MQTT-4.7.3-1"),
        ("+", "MQTT-4.7.1-1"),
        ("a/#", "MQTT-4.7.1-1"),
        ("a+b", "MQTT-4.7.1-1"),
        ("a\0", "MQTT-4.7.3-2"),
        ("\ud800", "MQTT-1.5.3-1"),
        ("a" * 65536, "MQTT-4.7.3-3"),
        ("é" * 32768, "MQTT-4.7.3-3"),
    ],
)
@pytest.mark.covers(
    mqtt311="4.7.1-1 4.7.3-1 4.7.3-2 4.7.3-3 3.3.2-2", mqtt5="4.7.0-1 4.7.3-1 4.7.3-2 4.7.3-3 3.3.2-2"
)
def test_name_is_refused_with_its_rule(name, tag):
    with pytest.raises(InvalidTopic) as caught:
        validate_topic_name(name)
    assert caught.value.tag == tag


@pytest.mark.parametrize(
    "topic_filter",
    [
        "t",
        "#",
        "+",
        "/",
        "/#",
        "+/#",
        "a/#",
        "a/+/b",
        "+/+",
        "/+",
        "+/",
        "a//#",
        "$SYS/#",
        "$iothub/twin/res/#",
    ],
)
def test_filter_is_valid(topic_filter):
    validate_topic_filter(topic_filter)


@pytest.mark.parametrize(
    ("topic_filter", "tag"),
    [
        ("", "MQTT-4.7.3-1"),
        ("a#", "MQTT-4.7.1-2"),
        ("##", "MQTT-4.7.1-2"),
        ("#/", "MQTT-4.7.1-2"),
        ("a/#/b", "MQTT-4.7.1-2"),
        ("+#", "MQTT-4.7.1-2"),
        ("a+", "MQTT-4.7.1-3"),
        ("+a", "MQTT-4.7.1-3"),
        ("a/++/b", "MQTT-4.7.1-3"),
        ("a/+b/#", "MQTT-4.7.1-3"),
        ("#\0", "MQTT-4.7.3-2"),
    ],
)
@pytest.mark.covers(mqtt311="4.7.1-2 4.7.1-3", mqtt5="4.7.1-1 4.7.1-2")
def test_filter_is_refused_with_its_rule(topic_filter, tag):
    with pytest.raises(InvalidTopic) as caught:
        validate_topic_filter(topic_filter)
    assert caught.value.tag == tag


# The examples of MQTT 3.1.1, section 4.7, and their neighbours
@pytest.mark.parametrize(
    ("topic_filter", "name", "wanted"),
    [
        ("sport/tennis/player1/#", "sport/tennis/player1", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
        ("sport/tennis/player1/#", "sport/tennis/player10", False),
        ("sport/#", "sport", True),
        ("#", "sport", True),
        ("#", "/", True),
        ("sport/tennis/+", "sport/tennis/player1", True),
        ("sport/tennis/+", "sport/tennis/player1/ranking", False),
        ("sport/+", "sport", False),
        ("sport/+", "sport/", True),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        ("+/tennis/#", "sport/tennis", True),
        ("sport/+/player1", "sport/tennis/player1", True),
        ("sport/+/player1", "sport/tennis/player2", False),
        ("#", "$SYS/monitor", False),
        ("+/monitor/Clients", "$SYS/monitor/Clients", False),
        ("+/#", "$SYS", False),
        ("$SYS/#", "$SYS/monitor", True),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", True),
        ("a/#", "a/$b", True),
        ("Accounts", "accounts", False),
        ("a", "a/", False),
        ("a/", "a", False),
        ("a/b", "a/b", True),
        ("a/b/c", "a/b", False),
        ("a/b", "a/b/c", False),
        ("é", "e\u0301", False),
    ],
)
@pytest.mark.covers(mqtt311="4.7.2-1 4.7.3-4 3.3.2-3", mqtt5="4.7.2-1 4.7.3-4 3.3.2-3")
def test_filter_matches_as_the_specification_says(topic_filter, name, wanted):
    assert matches(topic_filter, name) is wanted


@relaxed
@given(topic_names())
def test_every_name_is_a_filter_that_matches_itself(name):
    validate_topic_name(name)
    validate_topic_filter(name)
    assert matches(name, name)
    assert matches("#", name) is not name.startswith("$")


@relaxed
@given(topic_filters())
def test_every_filter_is_covered_by_itself(topic_filter):
    validate_topic_filter(topic_filter)
    assert filter_covers(topic_filter, topic_filter)


@pytest.mark.parametrize(
    ("wide", "narrow", "covered"),
    [
        ("telemetry/#", "telemetry/thermostat/+", True),
        ("telemetry/#", "telemetry", True),
        ("telemetry/+/dev1", "telemetry/+/dev1", True),
        ("telemetry/+/dev1", "telemetry/x/dev1", True),
        ("telemetry/+/dev1", "telemetry/x/+", False),
        ("telemetry/+", "telemetry/#", False),
        ("telemetry/+", "#", False),
        ("telemetry/#", "#", False),
        ("#", "+/x", True),
        ("#", "$SYS/#", False),
        ("+/+", "$share/x", False),
        ("$SYS/#", "$SYS/+/x", True),
        ("+/#", "#", False),
        ("a/+/#", "a/#", False),
    ],
)
def test_filter_covers_another(wide, narrow, covered):
    assert filter_covers(wide, narrow) is covered


SMALL_NAMES = [
    "/".join(levels)
    for count in range(1, 5)
    for levels in itertools.product(("a", "b", "$", ""), repeat=count)
    if any(levels) or count > 1
]
small_filters = st.lists(st.sampled_from(("a", "$", "", "+")), max_size=3).flatmap(
    lambda levels: st.sampled_from(["/".join(levels) or "+", "/".join([*levels, "#"])])
)


@settings(deadline=None, max_examples=500)
@given(small_filters, small_filters)
def test_covering_is_what_trying_all_names_says(wide, narrow):
    # "b" is in the names and in no filter, so it stands for all the names that a filter does not spell out.
    every = all(matches(wide, name) for name in SMALL_NAMES if matches(narrow, name))
    if filter_covers(wide, narrow):
        assert every
    elif not wide.endswith("+/#"):
        assert not every
