"""What an operator reads of a model."""

from gateway.templates.outline import outline

BASE = {
    "@id": "dtmi:x:Base;1",
    "contents": [
        {"@type": "Property", "name": "serial", "schema": "string"},
        {"@type": "Telemetry", "name": "temperature", "schema": "integer"},
    ],
}
MILL = {
    "@id": "dtmi:x:Mill;1",
    "extends": "dtmi:x:Base;1",
    "contents": [
        {
            "@type": ["Telemetry", "Temperature"], "name": "temperature", "schema": "double", "unit": "degreeCelsius",
            "displayName": {"de": "Temperatur", "en": "Temperature"},
        },
        {
            "@type": "Telemetry", "name": "state",
            "schema": {"@type": "Enum", "valueSchema": "integer", "enumValues": [{"name": "on"}, {"name": "off"}]},
        },
        {"@type": "Telemetry", "name": "place", "schema": "dtmi:standard:schema:geospatial:point;3"},
        {
            "@type": "Property", "name": "limits", "writable": True,
            "schema": {"@type": "Object", "fields": [{"name": "low"}, {"name": "high"}]},
        },
        {
            "@type": "Property", "name": "all",
            "schema": {"@type": "Array", "elementSchema": {"@type": "Map", "mapValue": {"schema": "long"}}},
        },
        {"@type": "Command", "name": "reset"},
        {"@type": "Command", "name": "move", "request": {"name": "by", "schema": "double"}},
        {"@type": "Component", "name": "left", "schema": "dtmi:x:Base;1"},
    ],
}  # fmt: skip


def told(part: list[dict[str, object]], key: str) -> dict[object, object]:
    return {each["name"]: each[key] for each in part}


def test_each_capability_tells_its_type_unit_and_meaning() -> None:
    model = outline([MILL, BASE], "dtmi:x:Mill;1")
    temperature = model["telemetry"][0]
    assert temperature == {
        "name": "temperature", "displayName": "Temperature", "type": "double", "unit": "degreeCelsius",
        "meaning": "Temperature", "writable": False,
    }  # fmt: skip
    assert told(model["telemetry"], "type") == {
        "temperature": "double",
        "state": "enum: on, off",
        "place": "point",
    }
    assert told(model["properties"], "type") == {
        "limits": "object: low, high", "all": "array of map of long", "serial": "string",
    }  # fmt: skip
    assert told(model["properties"], "writable") == {"limits": True, "all": False, "serial": False}
    assert told(model["commands"], "type") == {"reset": "", "move": "double → nothing"}


def test_a_component_tells_what_its_interface_says() -> None:
    model = outline([MILL, BASE], "dtmi:x:Mill;1")
    assert told(model["components"]["left"]["properties"], "type") == {"serial": "string"}


def test_what_is_not_as_expected_is_left_out() -> None:
    odd = {
        "@id": "dtmi:x:Odd;1",
        "contents": [7, {"@type": "Telemetry"}, {"@type": "Telemetry", "name": "a", "schema": 5}],
    }
    assert told(outline([odd], "dtmi:x:Odd;1")["telemetry"], "type") == {"a": ""}
    assert outline([odd], "dtmi:x:Nobody;1")["telemetry"] == []
