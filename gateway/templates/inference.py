"""A DTDL model out of what a device sent. Pure.

A `Shape` is what all values seen in one place have in common: the JSON types, the range of integers, whether every string
was a date, the fields of objects. It grows with the number of fields, not with the number of messages. From shapes a
model is written that every message seen would be valid against; where that can't be, a note says what was left out, for
a person to decide.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from gateway.templates.dtdl import is_name
from gateway.templates.schema import CENTRAL

__all__ = ["Inferred", "Shape", "infer_model", "properties_of"]

_MAX_DEPTH: Final = 5
"""Of a schema: the limit of DTDL v2 and v3."""
_CONTEXT: Final = "dtmi:dtdl:context;2"
_CENTRAL_CONTEXT: Final = "dtmi:iotcentral:context;2"
_INTEGER: Final = range(-(2**31), 2**31)
_TEXTS: Final[Mapping[str, re.Pattern[str]]] = {
    "dateTime": re.compile(
        r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[Zz]|[+-]\d\d:?\d\d)?", re.ASCII
    ),
    "date": re.compile(r"\d{4}-\d\d-\d\d", re.ASCII),
    "time": re.compile(r"\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:?\d\d)?", re.ASCII),
    "duration": re.compile(
        r"-?P(?=.)(?:\d+Y)?(?:\d+M)?(?:\d+W)?(?:\d+D)?(?:T(?=.)(?:\d+H)?(?:\d+M)?(?:\d+(?:\.\d+)?S)?)?",
        re.ASCII,
    ),
}
"""Kinds of text that a schema tells apart, if every value seen is one."""
_MAX_TEXT: Final = 64
"""A longer string is none of these."""
_MAX_NAME: Final = 512
_MAX_LOOKED_AT: Final = 200
"""Fields of an object, or elements of an array, of one message: a long array is of one kind."""
_GEOMETRIES: Final = ("Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon")

Json = dict[str, Any]


@dataclass(slots=True)
class Shape:
    """What the values seen in one place have in common. `room` is shared: how many more fields may be remembered."""

    kinds: set[str] = field(default_factory=set)
    """JSON's types, integers apart from other numbers."""
    texts: set[str] | None = None
    """Kinds of text that every string was; None: no string yet."""
    geometries: set[str] | None = None
    """Likewise, GeoJSON geometries, of objects."""
    wide: bool = False
    """An integer did not fit into 32 bits."""
    fields: dict[str, "Shape"] = field(default_factory=dict)
    element: "Shape | None" = None
    cut: bool = False
    """Something in it was not remembered: too deep, or too much."""

    def see(self, value: Any, room: list[int], depth: int = 0) -> None:
        """Take one value in. `room` holds one number: it is counted down for every field that is new."""
        match value:
            case None:
                self.kinds.add("null")
            case bool():
                self.kinds.add("boolean")
            case int():
                self.kinds.add("integer")
                self.wide = self.wide or value not in _INTEGER
            case float():
                self.kinds.add("number")
            case str():
                self.kinds.add("string")
                possible: Iterable[str] = _TEXTS if self.texts is None else self.texts
                if len(value) > _MAX_TEXT:
                    possible = ()
                self.texts = {kind for kind in possible if _TEXTS[kind].fullmatch(value)}
            case dict():
                self._see_object(value, room, depth)
            case list():
                self.kinds.add("array")
                for item in value[:_MAX_LOOKED_AT]:
                    self.element = self._inner(self.element, item, room, depth)

    def _see_object(self, value: Json, room: list[int], depth: int) -> None:
        self.kinds.add("object")
        geometry = value.get("type")
        named = (
            {geometry} if geometry in _GEOMETRIES and isinstance(value.get("coordinates"), list) else set()
        )
        self.geometries = named if self.geometries is None else self.geometries & named
        self.cut = self.cut or len(value) > _MAX_LOOKED_AT
        for name, inner in islice(value.items(), _MAX_LOOKED_AT):
            seen = self._inner(self.fields.get(name), inner, room, depth) if len(name) <= _MAX_NAME else None
            if seen is not None:
                self.fields[name] = seen

    def _inner(self, known: "Shape | None", value: Any, room: list[int], depth: int) -> "Shape | None":
        if known is None:
            if depth >= _MAX_DEPTH or room[0] <= 0:
                self.cut = True
                return None
            room[0] -= 1
            known = Shape()
        known.see(value, room, depth + 1)
        return known


@dataclass(frozen=True, slots=True)
class Inferred:
    """DTDL documents, the root first, and what a person should know of them."""

    documents: list[Json]
    notes: list[str]


def infer_model(
    model_id: str,
    display_name: str,
    telemetry: Mapping[str | None, Shape],
    properties: Mapping[str | None, Mapping[str, tuple[Shape, bool]]],
) -> Inferred:
    """A model of what was seen, by component; None is the root. Properties are `(shape, writable)` by name."""
    writer = _Writer()
    components = sorted({name for name in (*telemetry, *properties) if name is not None})
    contents = {
        name: writer.contents(telemetry.get(name), properties.get(name, {}), name)
        for name in (None, *components)
    }
    root = contents[None]
    documents: list[Json] = []
    known: dict[str, str] = {}
    path, _, version = model_id.partition(";")
    for component in components:
        text = json.dumps(contents[component], sort_keys=True)
        if text not in known:  # components alike share an interface
            known[text] = f"{path}:{component};{version}"
            documents.append(_interface(known[text], component, contents[component]))
        root.append({"@type": "Component", "name": component, "schema": known[text]})
    return Inferred([_interface(model_id, display_name, root), *documents], writer.notes)


def properties_of(reported: Json, room: list[int]) -> dict[str | None, dict[str, tuple[Shape, bool]]]:
    """The shapes of a twin's reported properties, by component and name.

    A component is marked `"__t": "c"`; what answers a writable property has `value`, `ac` and `av` (IoT Plug and Play).
    """
    found: dict[str | None, dict[str, tuple[Shape, bool]]] = {}
    for name, value in reported.items():
        if isinstance(value, dict) and value.get("__t") == "c":
            found[name] = {inner: _property(part, room) for inner, part in value.items() if inner != "__t"}
        else:
            found.setdefault(None, {})[name] = _property(value, room)
    return found


def _property(value: Any, room: list[int]) -> tuple[Shape, bool]:
    writable = isinstance(value, dict) and {"value", "ac", "av"} <= value.keys()
    shape = Shape()
    shape.see(value["value"] if writable else value, room)
    return shape, writable


class _Writer:
    """Writes shapes as DTDL, and notes what it had to leave out."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def contents(
        self,
        telemetry: Shape | None,
        properties: Mapping[str, tuple[Shape, bool]],
        component: str | None,
    ) -> list[Json]:
        where = f"{component}." if component else ""
        contents: list[Json] = []
        if telemetry is not None:
            if telemetry.cut:
                self.notes.append(f"{where or 'the message'} has more fields than are remembered")
            for name, shape in sorted(telemetry.fields.items()):
                if self._is_usable(name, f"telemetry {where}{name}"):
                    schema = self._schema(shape, f"telemetry {where}{name}")
                    if schema is not None:
                        contents.append({"@type": "Telemetry", "name": name, "schema": schema})
        taken = {content["name"] for content in contents}
        for name, (shape, writable) in sorted(properties.items()):
            said = f"property {where}{name}"
            if name in taken:
                self.notes.append(f"{said}: telemetry has this name already")
            elif self._is_usable(name, said) and (schema := self._schema(shape, said)) is not None:
                content = {"@type": "Property", "name": name, "schema": schema}
                contents.append(content | ({"writable": True} if writable else {}))
        return contents

    def _is_usable(self, name: str, where: str) -> bool:
        if not is_name(name):
            self.notes.append(f"{where}: left out, DTDL has no such names (letters, digits and _)")
            return False
        return True

    def _schema(self, shape: Shape, where: str) -> Json | str | None:
        kinds = shape.kinds - {"null"}
        if "null" in shape.kinds and kinds:
            self.notes.append(f"{where}: was null at times, which no schema allows")
        if shape.cut:
            self.notes.append(f"{where}: has more in it, or goes deeper, than is remembered")
        match sorted(kinds):
            case []:
                self.notes.append(f"{where}: left out, it was always null or empty")
            case ["boolean"]:
                return "boolean"
            case ["integer"]:
                return "long" if shape.wide else "integer"
            case ["number"] | ["integer", "number"]:
                return "double"
            case ["string"]:
                return next((kind for kind in _TEXTS if kind in (shape.texts or ())), "string")
            case ["array"]:
                return self._array(shape, where)
            case ["object"]:
                return self._object(shape, where)
            case mixed:
                self.notes.append(f"{where}: left out, it was {' and '.join(mixed)} by turns")
        return None

    def _array(self, shape: Shape, where: str) -> Json | None:
        if shape.element is None:
            self.notes.append(f"{where}: left out, the array was always empty")
            return None
        element = self._schema(shape.element, f"{where}[]")
        return None if element is None else {"@type": "Array", "elementSchema": element}

    def _object(self, shape: Shape, where: str) -> Json | str | None:
        if shape.geometries:
            [name] = shape.geometries
            return name[0].lower() + name[1:]
        for name, known in CENTRAL.items():
            required = {"lat", "lon"} if name == "geopoint" else known.fields.keys()
            numbers = all(inner.kinds <= {"integer", "number"} for inner in shape.fields.values())
            if numbers and required <= shape.fields.keys() <= known.fields.keys():
                return name
        schemas: dict[str, Json | str] = {}
        for name, inner in sorted(shape.fields.items()):
            schema = self._schema(inner, f"{where}.{name}")
            if schema is not None:
                schemas[name] = schema
        if not schemas:
            self.notes.append(f"{where}: left out, nothing is known of what is in it")
            return None
        if all(map(is_name, schemas)):
            return {
                "@type": "Object",
                "fields": [{"name": name, "schema": schema} for name, schema in schemas.items()],
            }
        first, *others = schemas.values()
        if any(other != first for other in others):
            self.notes.append(f"{where}: left out, its keys are no names, and its values differ in type")
            return None
        return {
            "@type": "Map",
            "mapKey": {"name": "key", "schema": "string"},
            "mapValue": {"name": "value", "schema": first},
        }


def _interface(dtmi: str, display_name: str, contents: list[Json]) -> Json:
    central = any(f'"schema": "{name}"' in json.dumps(contents) for name in CENTRAL)
    return {
        "@context": [_CENTRAL_CONTEXT, _CONTEXT] if central else _CONTEXT,
        "@id": dtmi,
        "@type": "Interface",
        "displayName": display_name,
        "contents": contents,
    }
