"""A model written from what a device sent: every message that was seen fits it, or a note says what does not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.validation import Validator
from gateway.templates.inference import Inferred, Shape, infer_model, properties_of
from gateway.templates.template import build_template

MODEL = "dtmi:com:example:Mill;1"


def shape(*messages: Any, room: int = 256) -> Shape:
    seen, left = Shape(), [room]
    for message in messages:
        seen.see(message, left)
    return seen


def model(*messages: Any, **more: Any) -> Inferred:
    return infer_model(MODEL, "Mill", {None: shape(*messages)}, **({"properties": {}} | more))


def schema(*values: Any) -> Any:
    """The schema of a field that had these values, one after the other."""
    inferred = model(*({"field": value} for value in values))
    contents = inferred.documents[0]["contents"]
    build_template(inferred.documents, MODEL)
    return contents[0]["schema"] if contents else None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([True, False], "boolean"),
        ([1, -5], "integer"),
        ([1, 2**31], "long"),
        ([1, 2.5], "double"),
        (["on", "off"], "string"),
        (["2026-11-24T02:00:00Z", "2026-11-24T02:00:01.5+01:00"], "dateTime"),
        (["2026-11-24"], "date"),
        (["2026-11-24", "yesterday"], "string"),
        (["02:00:00"], "time"),
        (["PT15M", "P1DT2H"], "duration"),
        (["P"], "string"),
        (["1" * 200], "string"),
        ([[1, 2], []], {"@type": "Array", "elementSchema": "integer"}),
        ([{"lat": 1, "lon": 2.5}, {"lat": 1, "lon": 2, "alt": 3}], "geopoint"),
        ([{"x": 1, "y": 2, "z": 3}], "vector"),
        ([{"type": "Point", "coordinates": [1, 2]}], "point"),
        ([{"a": 1}, {"b": True}], {
            "@type": "Object", "fields": [{"name": "a", "schema": "integer"}, {"name": "b", "schema": "boolean"}],
        }),
        ([{"1": 1, "2": 2}], {
            "@type": "Map", "mapKey": {"name": "key", "schema": "string"},
            "mapValue": {"name": "value", "schema": "integer"},
        }),
    ],
)  # fmt: skip
def test_a_fields_schema_is_what_all_its_values_were(values: list[Any], expected: Any) -> None:
    assert schema(*values) == expected


@pytest.mark.parametrize(
    ("message", "note"),
    [
        ({"field": None}, "telemetry field: left out, it was always null or empty"),
        ({"field": []}, "telemetry field: left out, the array was always empty"),
        ({"field": [1, "a"]}, "telemetry field[]: left out, it was integer and string by turns"),
        ({"field": {}}, "telemetry field: left out, nothing is known of what is in it"),
        ({"field": {"1": 1, "a b": "x"}}, "telemetry field: left out, its keys are no names"),
        ({"no-name": 1}, "telemetry no-name: left out, DTDL has no such names"),
    ],
)
def test_what_can_not_be_modelled_is_left_out_with_a_note(message: dict[str, Any], note: str) -> None:
    inferred = model(message)
    assert inferred.documents[0]["contents"] == []
    assert any(said.startswith(note) for said in inferred.notes), inferred.notes


def test_a_field_that_changes_its_type_is_left_out_and_one_that_is_null_at_times_is_not() -> None:
    inferred = model({"mixed": 1, "gap": 1}, {"mixed": "a", "gap": None})
    assert [content["name"] for content in inferred.documents[0]["contents"]] == ["gap"]
    assert len(inferred.notes) == 2


def test_components_are_told_apart_and_share_an_interface_if_they_are_alike() -> None:
    telemetry = {name: shape({"temperature": 1.5}) for name in ("left", "right")}
    inferred = infer_model(
        MODEL, "Mill", {None: shape({"load": 1}), **telemetry, "lid": shape({"open": True})}, {}
    )
    template = build_template(inferred.documents, MODEL)
    assert set(template.root.telemetry) == {"load"}
    assert {name: set(part.telemetry) for name, part in template.components.items()} == {
        "left": {"temperature"}, "right": {"temperature"}, "lid": {"open"},
    }  # fmt: skip
    assert [document["@id"] for document in inferred.documents] == [
        MODEL, "dtmi:com:example:Mill:left;1", "dtmi:com:example:Mill:lid;1",
    ]  # fmt: skip


def test_reported_properties_are_properties_and_acknowledged_ones_are_writable() -> None:
    reported = {
        "serial": "A7",
        "target": {"value": 21.5, "ac": 200, "av": 3, "ad": "done"},
        "left": {"__t": "c", "limit": 5},
    }
    inferred = infer_model(MODEL, "Mill", {}, properties_of(reported, [256]))
    template = build_template(inferred.documents, MODEL)
    assert {name: found.writable for name, found in template.root.properties.items()} == {
        "serial": False, "target": True,
    }  # fmt: skip
    assert set(template.components["left"].properties) == {"limit"}


def test_only_so_many_fields_and_so_deep_is_remembered_and_said() -> None:
    wide = shape({f"f{number}": 1 for number in range(50)}, room=10)
    assert len(wide.fields) == 10
    deep: Any = 1
    for _ in range(50):
        deep = {"in": deep}
    inferred = infer_model(MODEL, "Mill", {None: shape({"deep": deep}), "wide": wide}, {})
    build_template(inferred.documents, MODEL)
    assert any("deeper" in note for note in inferred.notes)
    assert any("wide." in note and "more fields" in note for note in inferred.notes)
    assert not shape({"x" * 600: 1}).fields


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12) | st.sampled_from(["2026-11-24T02:00:00Z", "02:00:00", "PT5M", "2026-11-24"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab1_-", max_size=3), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "c", "a-b"]), JSON, max_size=4), max_size=6))
def test_what_was_seen_fits_the_model_unless_a_note_names_the_field(messages: list[dict[str, Any]]) -> None:
    inferred = model(*messages)
    validator = Validator(build_template(inferred.documents, MODEL), max_issues=100)
    noted = " ".join(note.split(":")[0] + " " for note in inferred.notes)
    for message in messages:
        for issue in validator.check(None, message).issues:
            field = issue.path.split(".")[0].split("[")[0]
            assert f"telemetry {field}" in noted, (issue, inferred)
