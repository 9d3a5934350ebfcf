from typing import Any

import orjson
import pytest

from gateway.telemetry.validation import Issue, Validator
from gateway.templates.schema import GEOSPATIAL, PRIMITIVES
from gateway.templates.template import build_template
from tests.unit.templates.models import ID, PART, component, interface, telemetry


def validator(*contents: dict[str, Any], max_issues: int = 20) -> Validator:
    part = interface(PART, telemetry("flow"))
    return Validator(build_template([interface(ID, *contents), part], ID), max_issues=max_issues)


def issues(schema: Any, value: Any) -> list[tuple[str, str]]:
    """What is wrong with `value`, sent as JSON."""
    body = orjson.loads(orjson.dumps({"value": value}))
    result = validator(telemetry(schema=schema)).check(None, body)
    assert result.valid == (not result.issues)
    return [(issue.path, issue.problem) for issue in result.issues]


def geometry(kind: str) -> dict[str, Any]:
    return {"type": kind[0].upper() + kind[1:], "coordinates": []}


GOOD: dict[str, list[Any]] = {
    "boolean": [True, False],
    "byte": [-128, 127],
    "short": [-(2**15), 2**15 - 1],
    "integer": [0, -(2**31), 2**31 - 1, 5.0],
    "long": [-(2**63), 2**63 - 1, 1e3],
    "unsignedByte": [0, 255],
    "unsignedShort": [0, 2**16 - 1],
    "unsignedInteger": [0, 2**32 - 1],
    "unsignedLong": [0, 2**64 - 1],
    "float": [1.5, 1, -1e300],
    "double": [21.5, 21, 0, -0.0, 1e300],
    "decimal": [1.25, 3, "1.25", "-0.1", "100000000000000000000.5"],
    "scaledDecimal": [{"scale": 2, "value": "1.25"}],
    "string": ["", "x", "ü", "5"],
    "bytes": ["", "AAAA", "AAA=", "AA==", "+/8="],
    "uuid": ["123e4567-e89b-12d3-a456-426614174000", "123E4567-E89B-12D3-A456-426614174000"],
    "date": ["2026-11-23", "2024-02-29"],
    "time": ["22:31:07", "22:31", "22:31:07.120", "22:31:07Z", "22:31:07+01:00", "23:59:60"],
    "dateTime": ["2026-11-23T22:31:07Z", "2026-11-23T22:31:07.120+01:00", "2026-11-23t22:31:07z", "2026-11-23 22:31:07"],
    "duration": ["PT5S", "P1D", "P1Y2M3DT4H5M6.7S", "P2W", "-PT1M", "PT0.5H"],
    **{kind: [geometry(kind)] for kind in sorted(GEOSPATIAL)},
}  # fmt: skip
BAD: dict[str, list[Any]] = {
    "boolean": [0, 1, "true", None, [], {}],
    "byte": [128, -129, 1.5, True, "1"],
    "short": [2**15, -(2**15) - 1],
    "integer": [2**31, -(2**31) - 1, 5.5, True, False, "5", None, [], {}, 1e300],
    "long": [2**63, 0.5, True, "5", 1e19],
    "unsignedByte": [-1, 256],
    "unsignedShort": [-1, 2**16],
    "unsignedInteger": [-1, 2**32],
    "unsignedLong": [-1, 0.5, True],
    "float": [True, "1.5", None, []],
    "double": [True, False, "21.5", None, [21.5], {"value": 21.5}],
    "decimal": [True, "", "1,5", "abc", "1.", None],
    "scaledDecimal": [
        1.5, {}, {"scale": 2}, {"scale": 0.5, "value": "1"}, {"scale": 2**15, "value": "1"}, {"scale": 2, "value": 1},
    ],
    "string": [5, True, None, [], {}],
    "bytes": ["A", "AA", "AA=", "A===", "AA-_", "AAAA\n", 5],
    "uuid": ["", "123e4567e89b12d3a456426614174000", "123e4567-e89b-12d3-a456-42661417400g", 5],
    "date": ["2026-13-01", "2026-02-30", "2025-02-29", "20261123", "2026-W01-1", "23.11.2026", "2026-11-23T00:00:00Z", 5],
    "time": ["24:00:00", "22:60", "22:31:61", "22", "", "22:31:07 ", "٢٢:٣١", 5],
    "dateTime": ["2026-11-23", "22:31:07", "2026-02-30T22:31:07Z", "2026-11-23T25:00:00Z", "2026-11-23T", "", 1732400000],
    "duration": ["", "P", "PT", "5S", "P5S", "PT5", "P1DT", 5],
    **{
        kind: [{}, [], [1, 2], "POINT (1 2)", geometry("other"), {"type": geometry(kind)["type"]}]
        for kind in sorted(GEOSPATIAL)
    },
}  # fmt: skip


def test_the_tables_leave_no_primitive_out() -> None:
    assert set(GOOD) == set(BAD) == PRIMITIVES | GEOSPATIAL


@pytest.mark.parametrize(
    ("kind", "value"), [(kind, value) for kind, values in GOOD.items() for value in values]
)
def test_a_value_that_fits_its_type_is_valid(kind: str, value: Any) -> None:
    assert issues(kind, value) == []


@pytest.mark.parametrize(
    ("kind", "value"), [(kind, value) for kind, values in BAD.items() for value in values]
)
def test_a_value_of_another_type_is_marked(kind: str, value: Any) -> None:
    article = (
        "an"
        if kind in {"integer", "unsignedByte", "unsignedShort", "unsignedInteger", "unsignedLong"}
        else "a"
    )
    assert issues(kind, value) == [("value", f"not {article} {kind}")]


def array(element: Any) -> dict[str, Any]:
    return {"@type": "Array", "elementSchema": element}


def map_of(element: Any) -> dict[str, Any]:
    return {
        "@type": "Map",
        "mapKey": {"name": "key", "schema": "string"},
        "mapValue": {"name": "value", "schema": element},
    }


def object_of(**fields: Any) -> dict[str, Any]:
    return {
        "@type": "Object",
        "fields": [{"name": name, "schema": schema} for name, schema in fields.items()],
    }


def enum_of(*values: int | str) -> dict[str, Any]:
    kind = "integer" if isinstance(values[0], int) else "string"
    return {"@type": "Enum", "valueSchema": kind, "enumValues": [{"enumValue": value} for value in values]}


UNKNOWN = "not in the template"


@pytest.mark.parametrize(
    ("schema", "value", "found"),
    [
        (array("double"), [], []),
        (array("double"), [1, 2.5], []),
        (array("double"), [1, "x", None], [("value[1]", "not a double"), ("value[2]", "not a double")]),
        (array("double"), {"0": 1}, [("value", "not an array")]),
        (array("double"), "12", [("value", "not an array")]),
        (array(array("integer")), [[1], [2, 2.5]], [("value[1][1]", "not an integer")]),
        (map_of("double"), {}, []),
        (map_of("double"), {"a": 1, "b b": 2}, []),
        (map_of("double"), {"a": "x"}, [("value.a", "not a double")]),
        (map_of("double"), [1], [("value", "not a map")]),
        (object_of(a="double", b="string"), {"a": 1, "b": "x"}, []),
        (object_of(a="double", b="string"), {}, []),
        (object_of(a="double"), {"a": "x", "c": 1}, [("value.a", "not a double"), ("value.c", UNKNOWN)]),
        (object_of(a="double"), None, [("value", "not an object")]),
        (
            object_of(a=array(object_of(b="boolean"))),
            {"a": [{"b": True}, {"b": 0}]},
            [("value.a[1].b", "not a boolean")],
        ),
        ("geopoint", {"lat": 47.37, "lon": 8.55}, []),
        ("geopoint", {"lat": "47.37", "lon": 8.55}, [("value.lat", "not a double")]),
        ("vector", {"x": 0, "y": 0, "z": 9.81}, []),
        (enum_of(1, 2), 1, []),
        (enum_of(1, 2), 2.0, []),
        (enum_of(1, 2), 3, [("value", "not one of the enum's values")]),
        (enum_of(1, 2), True, [("value", "not one of the enum's values")]),
        (enum_of(1, 2), "1", [("value", "not one of the enum's values")]),
        (enum_of(0, 1), False, [("value", "not one of the enum's values")]),
        (enum_of("on", "off"), "on", []),
        (enum_of("on", "off"), "ON", [("value", "not one of the enum's values")]),
        (enum_of("on", "off"), ["on"], [("value", "not one of the enum's values")]),
        (enum_of("on", "off"), {"on": 1}, [("value", "not one of the enum's values")]),
    ],
)
def test_a_nested_value_is_marked_at_its_path(schema: Any, value: Any, found: list[tuple[str, str]]) -> None:
    assert issues(schema, value) == found


def test_a_message_may_carry_some_of_the_fields_or_none() -> None:
    rules = validator(telemetry("temperature"), telemetry("humidity"))
    for body in ({"temperature": 21.5, "humidity": 40}, {"humidity": 40}, {}):
        assert rules.check(None, body).valid


def test_a_name_that_the_template_does_not_model_is_marked() -> None:
    result = validator(telemetry("temperature")).check(None, {"temperature": 21.5, "Temperature": 21.5})
    assert result.issues == (Issue("Temperature", UNKNOWN),)


def test_a_property_is_no_telemetry() -> None:
    rules = validator({"@type": "Property", "name": "serial", "schema": "string"})
    assert rules.check(None, {"serial": "x"}).issues == (Issue("serial", UNKNOWN),)


@pytest.mark.parametrize("body", [None, 5, "text", True, [], [{"temperature": 1}]])
def test_telemetry_that_is_no_object_is_marked_as_a_whole(body: Any) -> None:
    assert validator(telemetry("temperature")).check(None, body).issues == (
        Issue("", "telemetry is a JSON object"),
    )


def test_a_components_telemetry_is_held_against_the_component() -> None:
    rules = validator(telemetry("temperature"), component("pump", PART))
    assert rules.check("pump", {"flow": 1}).valid
    assert rules.check("pump", {"temperature": 1}).issues == (Issue("temperature", UNKNOWN),)
    assert rules.check(None, {"flow": 1}).issues == (Issue("flow", UNKNOWN),)
    assert rules.check("fan", {"flow": 1}).issues == (Issue("", "the template has no component 'fan'"),)


@pytest.mark.parametrize(
    "body",
    [
        {f"unknown{n}": n for n in range(1000)},
        {"samples": ["x"] * 1000},
        {"limits": {f"k{n}": "x" for n in range(1000)}},
        {"nested": {"a": [["x"] * 1000] * 1000}},
    ],
)
def test_no_more_issues_are_looked_for_than_the_setting_allows(body: dict[str, Any]) -> None:
    rules = validator(
        telemetry("samples", array("double")),
        telemetry("limits", map_of("double")),
        telemetry("nested", object_of(a=array(array("double")))),
        max_issues=3,
    )
    assert len(rules.check(None, body).issues) == 3


def test_issues_up_to_the_setting_are_all_told() -> None:
    result = validator(telemetry("a"), telemetry("b"), max_issues=2).check(None, {"a": "x", "b": "x"})
    assert [issue.path for issue in result.issues] == ["a", "b"]


def test_a_very_long_key_is_cut_in_the_path_of_an_issue() -> None:
    key = "k" * 200_000
    found = issues(map_of(array("double")), {key: ["x"] * 20})
    assert {path for path, _ in found} == {f"value.{key}"[:1024] + "…"}
    assert [problem for _, problem in found] == ["not a double"] * 20
    assert issues("geopoint", {key: 1}) == [(f"value.{key}"[:1024] + "…", UNKNOWN)]
    deep = issues(map_of(map_of(object_of(a="double"))), {key: {key: {"a": "x", "b": 1}}})
    assert [len(path) for path, _ in deep] == [1025, 1025]


def test_a_path_that_is_just_short_enough_is_told_whole() -> None:
    key = "k" * (1024 - len("value."))
    assert issues(map_of("double"), {key: "x"}) == [(f"value.{key}", "not a double")]
    assert issues(map_of("double"), {f"{key}k": "x"}) == [(f"value.{key}…", "not a double")]


def test_braces_in_a_key_are_told_as_they_are() -> None:
    assert issues(map_of("double"), {"{0}": "x"}) == [("value.{0}", "not a double")]
