from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.errors import TemplateError
from gateway.templates import repository
from gateway.templates.repository import resolve
from gateway.templates.template import build_template
from tests.unit.templates.models import ID, PART, component, interface

MODELS = Path(__file__).parents[2] / "data" / "models"
PATH, EXPANDED = "dtmi/com/example/device-1.json", "dtmi/com/example/device-1.expanded.json"
PART_PATH = "dtmi/com/example/part-1.json"


def run(model_id: str, files: dict[str, bytes]) -> tuple[list[dict[str, Any]] | None, list[str]]:
    """What `resolve` finds in `files`, and what it asked for."""
    steps = resolve(model_id)
    asked = [next(steps)]
    while True:
        try:
            asked.append(steps.send(files.get(asked[-1])))
        except StopIteration as end:
            return end.value, asked


def files_of(**documents: Any) -> dict[str, bytes]:
    paths = {"device": PATH, "expanded": EXPANDED, "part": PART_PATH}
    return {paths[name]: orjson.dumps(document) for name, document in documents.items()}


def ids(documents: list[dict[str, Any]] | None) -> list[str]:
    assert documents is not None
    return [document["@id"].rpartition(":")[2] for document in documents]


def stored() -> dict[str, bytes]:
    return {str(file.relative_to(MODELS)): file.read_bytes() for file in MODELS.rglob("*.json")}


@pytest.mark.parametrize(
    ("model", "found"),
    [
        ("Thermostat;1", ["Thermostat;1"]),
        ("WeatherStation;1", ["WeatherStation;1"]),
        ("TemperatureController;1", ["TemperatureController;1", "Thermostat;1"]),
        ("Pump;1", ["Pump;1", "DeviceInformation;1"]),
        ("AirMonitor;1", ["AirMonitor;1", "DeviceInformation;1", "Thermostat;1"]),
        ("GreenhouseSensor;2", ["GreenhouseSensor;2", "HumiditySensor;1", "Thermostat;1", "Sensor;1"]),
    ],
)
def test_a_model_is_found_with_all_it_depends_on_and_becomes_a_template(model: str, found: list[str]) -> None:
    model_id = f"dtmi:com:example:{model}"
    documents, _ = run(model_id, stored())
    assert ids(documents) == found
    assert build_template(documents, model_id).id == model_id


def test_the_expanded_file_is_asked_for_first_and_is_enough() -> None:
    documents, asked = run(ID, files_of(expanded=[interface(ID, component("part", PART)), interface(PART)]))
    assert asked == [EXPANDED]
    assert ids(documents) == ["Device;1", "Part;1"]


def test_dependencies_are_asked_for_one_after_the_other_and_once() -> None:
    files = files_of(device=interface(ID, component("a", PART), component("b", PART)), part=interface(PART))
    documents, asked = run(ID, files)
    assert asked == [EXPANDED, PATH, PART_PATH]
    assert ids(documents) == ["Device;1", "Part;1"]


def test_a_dependency_that_stands_in_the_same_file_is_not_asked_for() -> None:
    base, files = "dtmi:com:example:Base;1", {}
    files[PATH] = orjson.dumps(interface(ID, component("part", PART), extends=base))
    files["dtmi/com/example/base-1.json"] = orjson.dumps([interface(base), interface(PART)])
    documents, asked = run(ID, files)
    assert asked == [EXPANDED, PATH, "dtmi/com/example/base-1.json"]
    assert ids(documents) == ["Device;1", "Base;1", "Part;1"]


def test_a_model_that_the_repository_does_not_have_is_none() -> None:
    assert run(ID, {}) == (None, [EXPANDED, PATH])


def test_a_byte_order_mark_is_no_harm() -> None:
    documents, _ = run(ID, {PATH: b"\xef\xbb\xbf" + orjson.dumps(interface())})
    assert ids(documents) == ["Device;1"]


@pytest.mark.parametrize(
    ("files", "line"),
    [
        (
            files_of(device=interface(ID, component("part", PART))),
            f"{ID} needs {PART}, which the model repository lacks",
        ),
        ({PATH: b"<html>"}, f"{PATH}: not JSON"),
        ({PATH: b""}, f"{PATH}: not JSON"),
        ({PATH: b"\xff"}, f"{PATH}: not JSON"),
        ({EXPANDED: b"{"}, f"{EXPANDED}: not JSON"),
        ({PATH: b"[]"}, f"{PATH}: a DTDL document is a JSON object, or an array of them"),
        ({PATH: b"5"}, f"{PATH}: a DTDL document is a JSON object, or an array of them"),
        ({PATH: b"[{}, 5]"}, f"{PATH}: a DTDL document is a JSON object, or an array of them"),
        ({PATH: b"{}"}, "the document: @context is not DTDL's"),
        (files_of(device=interface(PART)), f"{PATH} does not hold {ID}"),
        (
            files_of(
                device=interface(ID, component("part", PART)), part=interface("dtmi:com:example:PART;1")
            ),
            f"{PART_PATH} does not hold {PART}",
        ),
    ],
)
def test_a_repository_with_something_wrong_in_it_is_told_in_one_line(
    files: dict[str, bytes], line: str
) -> None:
    with pytest.raises(TemplateError) as refused:
        run(ID, files)
    assert str(refused.value) == line


def test_a_model_may_depend_on_so_many_others_and_no_more() -> None:
    def chain(length: int) -> dict[str, bytes]:
        return {
            f"dtmi/a/b-{n}.json": orjson.dumps(
                interface(f"dtmi:a:b;{n}", *([component("next", f"dtmi:a:b;{n + 1}")] if n < length else []))
            )
            for n in range(1, length + 1)
        }

    documents, _ = run("dtmi:a:b;1", chain(256))
    assert documents is not None
    assert len(documents) == 256
    with pytest.raises(TemplateError, match="depends on more than 256 models"):
        run("dtmi:a:b;1", chain(257))


def test_a_model_may_be_so_large_with_its_dependencies_and_no_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    files = files_of(device=interface(ID, component("part", PART)), part=interface(PART))
    size = sum(map(len, files.values()))
    monkeypatch.setattr(repository, "_MAX_BYTES", size)
    assert run(ID, files)[0] is not None
    monkeypatch.setattr(repository, "_MAX_BYTES", size - 1)
    with pytest.raises(TemplateError, match=f"or {size - 1} bytes"):
        run(ID, files)
