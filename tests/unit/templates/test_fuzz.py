"""Whatever stands in a document, it becomes a template or is refused in one line."""

import copy
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import TemplateError
from gateway.telemetry.validation import Validator
from gateway.templates.template import build_template
from tests.unit.templates.models import ID, interface, telemetry

MODELS = Path(__file__).parents[2] / "data" / "models" / "dtmi" / "com" / "example"
GOOD = [
    orjson.loads((MODELS / name).read_bytes())
    for name in (
        "temperaturecontroller-1.json",
        "weatherstation-1.json",
        "pump-1.expanded.json",
        "sensor-1.json",
    )
]
WORDS = st.sampled_from(
    [
        "@context", "@id", "@type", "contents", "name", "schema", "schemas", "extends", "fields", "elementSchema",
        "enumValues", "enumValue", "valueSchema", "mapValue", "displayName", "Interface", "Telemetry", "Property",
        "Component", "Command", "Object", "Array", "Enum", "Map", "double", "integer", "string", "dtmi:dtdl:context;2",
        ID, "value",
    ]
)  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=8)
JSON: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=25,
)


def build(document: Any, model_id: str) -> None:
    try:
        template = build_template(document, model_id)
    except TemplateError as error:
        line = str(error)
    else:
        Validator(template, max_issues=5).check(None, {"value": 1, "temperature": "x", "wind": {"from": []}})
        line = ""
    assert "\n" not in line


@given(JSON)
def test_any_json_is_a_template_or_is_refused(document: Any) -> None:
    build(document, ID)


@given(JSON)
def test_any_content_makes_a_template_or_is_refused(content: Any) -> None:
    build(interface(contents=content), ID)


@given(JSON)
def test_any_schema_makes_a_template_or_is_refused(schema: Any) -> None:
    build(interface(ID, telemetry(schema=schema)), ID)


@given(st.sampled_from(GOOD), st.data())
def test_a_good_model_with_one_thing_changed_is_a_template_or_is_refused(
    good: Any, data: st.DataObject
) -> None:
    document = copy.deepcopy(good)
    model_id = (document[0] if isinstance(document, list) else document)["@id"]
    places = list(containers(document))
    place = data.draw(st.sampled_from(places))
    key = data.draw(
        st.sampled_from(sorted(place)) if isinstance(place, dict) else st.integers(0, len(place) - 1)
    )
    match data.draw(st.sampled_from(["remove", "replace", "insert"])):
        case "remove":
            del place[key]
        case "replace":
            place[key] = data.draw(JSON)
        case "insert" if isinstance(place, dict):
            place[data.draw(WORDS)] = data.draw(JSON)
        case _:
            place.insert(key, copy.deepcopy(data.draw(st.sampled_from(places))))
    build(document, model_id)


def containers(value: Any) -> list[Any]:
    """Every object and array of a document that has something in it."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = [container for item in inner for container in containers(item)]
    return [value, *found] if inner else found


@pytest.mark.parametrize(
    "key", ["contents", "schemas", "extends", "@context", "@type", "displayName", "comment"]
)
def test_json_that_is_nested_very_deep_is_no_crash(key: str) -> None:
    for opening, closing in ((b"[", b"]"), (b'{"schema":', b"}")):
        deep = orjson.loads(opening * 500 + b"1" + closing * 500)
        build(interface(**{key: deep}), ID)
        build(interface(ID, telemetry(schema=deep)), ID)
