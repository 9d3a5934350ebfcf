"""What simulated devices measure."""

import json
from typing import Any

import pytest

from gateway.simulate.telemetry import telemetry_for
from gateway.telemetry.validation import Validator
from gateway.templates.schema import GEOSPATIAL, PRIMITIVES
from gateway.templates.template import build_template


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


def model(*contents: dict[str, Any]) -> dict[str, Any]:
    return {
        "@context": "dtmi:dtdl:context;4",
        "@id": "dtmi:com:example:Pump;1",
        "@type": "Interface",
        "contents": list(contents),
    }


def telemetry(name: str, schema: object) -> dict[str, Any]:
    return {"@type": "Telemetry", "name": name, "schema": schema}


MOTOR = {
    **model(
        telemetry("temperature", "double"),
        telemetry("starts", "integer"),
        telemetry(
            "state",
            {
                "@type": "Enum",
                "valueSchema": "string",
                "enumValues": [{"name": n, "enumValue": n} for n in ("idle", "busy")],
            },
        ),
        telemetry("axes", {"@type": "Array", "elementSchema": "float"}),
        telemetry(
            "limits",
            {
                "@type": "Object",
                "fields": [{"name": "low", "schema": "long"}, {"name": "since", "schema": "dateTime"}],
            },
        ),
        telemetry(
            "by_phase",
            {
                "@type": "Map",
                "mapKey": {"name": "phase", "schema": "string"},
                "mapValue": {"name": "amps", "schema": "double"},
            },
        ),
    ),
    "@id": "dtmi:com:example:Motor;1",
}


def test_a_device_of_a_template_sends_what_its_parts_ask_for() -> None:
    pump = model(
        {"@type": "Component", "name": "motor", "schema": "dtmi:com:example:Motor;1"},
        {"@type": "Component", "name": "spare", "schema": "dtmi:com:example:Motor;1"},
    )
    template = build_template([pump, MOTOR], "dtmi:com:example:Pump;1")
    source = telemetry_for(template.model_id, "d-1", template)
    first, second = source(0), source(1)
    assert (first.component, second.component) == ("motor", "spare"), "the pump itself has no telemetry"
    assert 15 < first.body["temperature"] < 30
    assert first.body["limits"]["since"] == "2026-01-01T00:00:00Z"
    validator = Validator(template, max_issues=10)
    for number in range(50):
        reading = source(number)
        assert validator.check(reading.component, reading.body).issues == ()


@pytest.mark.parametrize("kind", sorted(PRIMITIVES | GEOSPATIAL))
def test_every_schema_of_dtdl_gets_a_value_that_is_valid(kind: str) -> None:
    template = build_template(model(telemetry("x", kind)), "dtmi:com:example:Pump;1")
    source = telemetry_for(template.model_id, "d-1", template)
    validator = Validator(template, max_issues=10)
    for number in range(20):
        body = json.loads(json.dumps(source(number).body))
        assert body.keys() == {"x"}
        assert validator.check(None, body).issues == ()


def test_a_device_of_a_template_without_telemetry_sends_empty_messages() -> None:
    template = build_template(model(), "dtmi:com:example:Pump;1")
    assert telemetry_for(template.model_id, "d-1", template)(0).body == {}
