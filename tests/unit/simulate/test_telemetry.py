"""What simulated devices measure."""

import pytest

from gateway.simulate.telemetry import telemetry_for


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
