import pytest

from gateway.templates.dtmi import expanded_path, is_dtmi, last_segment, repository_path

THERMOSTAT = "dtmi:com:example:Thermostat;1"


@pytest.mark.parametrize(
    "text",
    [
        THERMOSTAT, "dtmi:a;1", "dtmi:com:example:T2;10", "dtmi:com:example_inc:T;999999999", "dtmi:a:b__c;1",
        "dtmi:com:example:Thermostat;1.1", "dtmi:com:example:Thermostat;1.120000", "dtmi:" + "a" * 121 + ";1",
    ],
)  # fmt: skip
def test_a_model_identifier_is_recognised(text: str) -> None:
    assert is_dtmi(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "dtmi", "dtmi:", "dtmi:;1", "dtmi:a", "dtmi:a;", "dtmi:a;0", "dtmi:a;01", "dtmi:a;-1", "dtmi:a;1.",
        "dtmi:a;1.0", "dtmi:a;1.01", "dtmi:a;1.1234567", "dtmi:a;1.2.3",
        "dtmi:a;1234567890", "DTMI:a;1", "urn:a;1", " dtmi:a;1", "dtmi:a;1 ", "dtmi:a;1\n", "dtmi::a;1",
        "dtmi:a::b;1", "dtmi:1a;1", "dtmi:_a;1", "dtmi:a_;1", "dtmi:a-b;1", "dtmi:a.b;1", "dtmi:ä;1", "dtmi:a;\uff11",
        "dtmi:a/b;1", "dtmi:..:etc;1", "dtmi:a:+;1", "dtmi:a:#;1", "dtmi:" + "a" * 122 + ";1",
    ],
)  # fmt: skip
def test_anything_else_is_not(text: str) -> None:
    assert not is_dtmi(text)


@pytest.mark.parametrize(
    ("dtmi", "path"),
    [
        (THERMOSTAT, "dtmi/com/example/thermostat-1.json"),
        ("dtmi:azure:DeviceManagement:DeviceInformation;1", "dtmi/azure/devicemanagement/deviceinformation-1.json"),
        ("dtmi:com:example:Temp_Sensor;12", "dtmi/com/example/temp_sensor-12.json"),
        ("dtmi:com:example:Thermostat;1.2", "dtmi/com/example/thermostat-1.2.json"),
    ],
)  # fmt: skip
def test_a_models_file_lies_where_the_public_layout_puts_it(dtmi: str, path: str) -> None:
    assert repository_path(dtmi) == path
    assert expanded_path(dtmi) == path.replace(".json", ".expanded.json")


@pytest.mark.parametrize("text", ["dtmi:..:..:etc:passwd;1", "/etc/passwd", "dtmi:a", ""])
def test_what_is_no_dtmi_has_no_path(text: str) -> None:
    with pytest.raises(ValueError, match="is not a DTMI"):
        repository_path(text)
    with pytest.raises(ValueError, match="is not a DTMI"):
        expanded_path(text)


def test_a_model_without_a_name_is_called_by_its_last_segment() -> None:
    assert last_segment(THERMOSTAT) == "Thermostat"
    assert last_segment("dtmi:Pump;2") == "Pump"
