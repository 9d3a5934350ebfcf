import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.errors import TemplateError
from gateway.templates.dtdl import Property
from gateway.templates.schema import Primitive
from gateway.templates.template import Source, build_template, missing_interfaces, template_from_json
from tests.unit.templates.models import ID, PART, component, interface, telemetry

MODELS = Path(__file__).parents[2] / "data" / "models" / "dtmi" / "com" / "example"
DOUBLE = Primitive("double")


def base(number: int, *contents: dict[str, Any], **more: Any) -> dict[str, Any]:
    return interface(f"dtmi:com:example:Base;{number}", *contents, **more)


def test_the_temperature_controller_has_a_root_and_two_components() -> None:
    document = orjson.loads((MODELS / "temperaturecontroller-1.json").read_bytes())
    template = build_template(document, "dtmi:com:example:TemperatureController;1")
    assert (template.id, template.model_id) == ("dtmi:com:example:TemperatureController;1",) * 2
    assert template.display_name == "Temperature controller"
    assert template.source == "published"
    assert template.root.telemetry == {"workingSet": DOUBLE}
    assert template.root.properties == {"serialNumber": Property(schema=Primitive("string"), writable=False)}
    assert list(template.components) == ["thermostat1", "thermostat2"]
    thermostat = template.components["thermostat1"]
    assert thermostat.telemetry == {"temperature": DOUBLE}
    assert thermostat.properties["targetTemperature"].writable
    assert template.components["thermostat2"] == thermostat


def test_any_interface_of_a_document_can_be_the_model() -> None:
    document = orjson.loads((MODELS / "temperaturecontroller-1.json").read_bytes())
    template = build_template(document, "dtmi:com:example:Thermostat;1")
    assert template.root.telemetry == {"temperature": DOUBLE}
    assert template.components == {}


def test_a_model_has_what_it_inherits_and_its_own_contents_win() -> None:
    template = build_template(
        [
            interface(
                ID,
                telemetry("own"),
                telemetry("shared", "string"),
                extends=["dtmi:com:example:Base;1", "dtmi:com:example:Base;2"],
            ),
            base(1, telemetry("shared"), component("part", PART), extends="dtmi:com:example:Base;3"),
            base(2, {"@type": "Command", "name": "reboot"}),
            base(3, {"@type": "Property", "name": "serial", "schema": "string"}, telemetry("deep")),
            interface(PART, telemetry("flow"), extends="dtmi:com:example:Base;3"),
        ],
        ID,
    )
    assert template.root.telemetry == {"deep": DOUBLE, "shared": Primitive("string"), "own": DOUBLE}
    assert template.root.commands == {"reboot"}
    assert set(template.root.properties) == {"serial"}
    assert set(template.components["part"].telemetry) == {"flow", "deep"}


def test_an_interface_that_is_inherited_along_many_paths_is_worked_out_once() -> None:
    layers = [
        base(number, extends=[f"dtmi:com:example:Left;{number}", f"dtmi:com:example:Right;{number}"])
        for number in range(1, 6)
    ]
    sides = [
        interface(f"dtmi:com:example:{side};{number}", extends=f"dtmi:com:example:Base;{number + 1}")
        for number in range(1, 6)
        for side in ("Left", "Right")
    ]
    template = build_template([*layers, *sides, base(6, telemetry("deep"))], "dtmi:com:example:Base;1")
    assert template.root.telemetry == {"deep": DOUBLE}


def chain(levels: int) -> list[dict[str, Any]]:
    """A model that inherits through as many levels."""
    bases = [base(level, extends=f"dtmi:com:example:Base;{level + 1}") for level in range(1, levels)]
    return [interface(ID, extends="dtmi:com:example:Base;1"), *bases, base(levels, telemetry("deep"))]


def test_a_model_may_inherit_through_as_many_levels_as_dtdl_allows() -> None:
    assert build_template(chain(12), ID).root.telemetry == {"deep": DOUBLE}


@pytest.mark.parametrize(
    ("documents", "line"),
    [
        ([interface(ID, extends=ID)], f"{ID} extends itself"),
        (
            [
                interface(ID, extends="dtmi:com:example:Base;1"),
                base(1, extends="dtmi:com:example:Base;2"),
                base(2, extends=ID),
            ],
            f"{ID} extends itself",
        ),
        (
            [interface(ID, component("part", PART)), interface(PART, extends=PART)],
            f"{PART} extends itself",
        ),
        (
            chain(13),
            f"{ID}: extends goes deeper than 12",
        ),
        ([interface(PART)], f"the document has no interface {ID}"),
        ([], f"the document has no interface {ID}"),
        ([interface(ID, component("part", PART))], f"{ID} needs {PART}, which the document lacks"),
        (
            [interface(ID, component("part", PART), extends="dtmi:com:example:Base;1")],
            f"{ID} needs dtmi:com:example:Base;1, {PART}, which the document lacks",
        ),
    ],
)  # fmt: skip
def test_what_can_not_become_a_template_is_refused_in_one_line(documents: Any, line: str) -> None:
    with pytest.raises(TemplateError) as refused:
        build_template(documents, ID)
    assert str(refused.value) == line


def test_a_components_own_parts_must_be_there_though_a_loop_of_them_is_no_harm() -> None:
    loop = [interface(ID, component("part", PART)), interface(PART, telemetry(), component("back", ID))]
    assert build_template(loop, ID).components["part"].telemetry == {"value": DOUBLE}


def test_what_a_document_lacks_is_named_whole() -> None:
    documents = [
        interface(ID, component("part", PART), extends="dtmi:com:example:Base;1"),
        base(1, extends="dtmi:a:b;1"),
    ]
    assert missing_interfaces(documents, ID) == {PART, "dtmi:a:b;1"}
    assert missing_interfaces([], ID) == {ID}
    assert missing_interfaces([interface()], ID) == frozenset()


@pytest.mark.parametrize("source", ["published", "repository"])
@pytest.mark.parametrize("file", sorted(MODELS.glob("*.json")), ids=lambda file: file.name)
def test_a_stored_template_is_read_back_the_same(file: Path, source: Source) -> None:
    document = orjson.loads(file.read_bytes())
    listed = document if isinstance(document, list) else [document]
    lacking = missing_interfaces(listed, listed[0]["@id"])
    while lacking:
        for dtmi in lacking:
            name = dtmi.removeprefix("dtmi:com:example:").lower().replace(";", "-")
            listed.append(orjson.loads((MODELS / f"{name}.json").read_bytes()))
        lacking = missing_interfaces(listed, listed[0]["@id"])
    template = build_template(listed, listed[0]["@id"], source=source)
    assert template_from_json(template.to_json(), template.id, source=source) == template


def test_a_stored_document_that_is_damaged_is_refused() -> None:
    with pytest.raises(TemplateError, match="what is stored is not JSON"):
        template_from_json("[{", ID, source="published")


def test_a_document_that_is_nested_too_deep_to_be_stored_is_refused_and_not_a_crash() -> None:
    document = interface(comment=json.loads("[" * 300 + "]" * 300))
    with pytest.raises(TemplateError, match="can't be stored"):
        build_template(document, ID).to_json()


def test_a_log_line_with_a_template_does_not_hold_its_whole_document() -> None:
    assert "@context" not in repr(build_template(interface(), ID))
