"""What simulated devices measure."""

import json

import pytest

from gateway.simulate.telemetry import telemetry_for
from gateway.templates.schema import (
    GEOSPATIAL,
    PRIMITIVES,
    Array,
    EnumSchema,
    MapSchema,
    ObjectSchema,
    Primitive,
)


def test_a_device_sends_the_same_readings_each_time_and_others_than_its_neighbour() -> None:
    model = "dtmi:com:example:Thermostat;1"
    first = [telemetry_for(model, "d-1")(number) for number in range(5)]
    assert first == [telemetry_for(model, "d-1")(number) for number in range(5)]
    assert first != [telemetry_for(model, "d-2")(number) for number in range(5)]


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_device_with_components_sends_for_each_in_turn(version: str) -> None:
    source = telemetry_for(f"dtmi:com:example:TemperatureController;{version}", "d-1")
    readings = [source(number) for number in range(4)]
    assert [reading.component for reading in readings] == [None, "thermostat1", "thermostat2", None]
    assert [set(reading.body) for reading in readings[:3]] == [
        {"workingSet"},
        {"temperature"},
        {"temperature"},
    ]


@pytest.mark.parametrize("model", [None, "dtmi:com:example:Nobody;1", ""])
def test_a_device_without_a_known_model_sends_temperature_and_humidity(model: str | None) -> None:
    reading = telemetry_for(model, "d-1")(0)
    assert reading.component is None
    assert set(reading.body) == {"temperature", "humidity"}


def test_a_temperature_is_one_that_a_person_believes() -> None:
    source = telemetry_for("dtmi:com:example:Thermostat;1", "d-1")
    values = [source(number).body["temperature"] for number in range(500)]
    assert 15 < min(values) < 20
    assert 24 < max(values) < 30


def test_a_device_of_a_model_with_schemas_sends_what_they_ask_for() -> None:
    source = telemetry_for(
        "dtmi:com:example:Pump;1",
        "d-1",
        schemas={
            None: {},
            "motor": {
                "temperature": Primitive("double"),
                "starts": Primitive("integer"),
                "running": Primitive("boolean"),
                "state": EnumSchema(frozenset({"idle", "busy"})),
                "place": Primitive("point"),
                "axes": Array(Primitive("float")),
                "limits": ObjectSchema({"low": Primitive("long"), "since": Primitive("dateTime")}),
                "by_phase": MapSchema(Primitive("double")),
            },
            "log": {"line": Primitive("string")},
        },
    )
    first, second = source(0), source(1)
    assert (first.component, second.component) == ("motor", "log")
    assert 15 < first.body["temperature"] < 30
    assert isinstance(first.body["starts"], int)
    assert first.body["running"] is True
    assert first.body["state"] in {"idle", "busy"}
    assert first.body["place"]["type"] == "Point"
    assert len(first.body["axes"]) == 2
    assert first.body["limits"]["since"] == "2026-01-01T00:00:00Z"
    assert isinstance(first.body["by_phase"]["entry"], float)
    assert second.body == {"line": "line 1"}


@pytest.mark.parametrize("kind", sorted(PRIMITIVES | GEOSPATIAL))
def test_every_primitive_has_a_value_that_json_can_carry(kind: str) -> None:
    source = telemetry_for(None, "d-1", schemas={None: {"x": Primitive(kind)}})
    body = source(3).body
    assert json.loads(json.dumps(body)) == body
    assert body["x"] is not None


def test_a_model_without_telemetry_sends_empty_messages() -> None:
    assert telemetry_for("dtmi:com:example:Mute;1", "d-1", schemas={None: {}})(0).body == {}
