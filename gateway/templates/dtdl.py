"""DTDL v2, v3 and v4 interfaces, from JSON to values.

Source: github.com/Azure/opendigitaltwins-dtdl. Read is what a gateway needs: telemetry, properties, commands,
components, `extends`; relationships and semantic annotations are let through. Whatever is malformed is a
`TemplateError` of one line that names the element.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.errors import TemplateError
from gateway.templates.dtmi import is_dtmi, last_segment
from gateway.templates.schema import (
    CENTRAL,
    GEOSPATIAL,
    PRIMITIVES,
    Array,
    EnumSchema,
    MapSchema,
    ObjectSchema,
    Primitive,
    Schema,
)

__all__ = ["Interface", "Property", "is_name", "parse_interfaces"]

_CONTEXT: Final = re.compile(r"dtmi:dtdl:context;([234])(?:#.*)?")
_NAME: Final = re.compile(r"[A-Za-z](?:[A-Za-z0-9_]*[A-Za-z0-9])?")
_STANDARD_SCHEMA: Final = re.compile(
    r"dtmi:(?:dtdl:instance:Schema|standard:schema:geospatial|iotcentral:schema):([A-Za-z]+);[0-9]+"
)
"""The long names of primitive schemas, of geospatial ones, and of those that IoT Central adds."""
_MAX_NAME: Final = 512
_MAX_SCHEMA_DEPTH: Final = 12
_MAX_SCHEMAS: Final = 10_000
"""Of one interface, counted once for every use: reusable schemas that refer to each other multiply."""
_MAX_CONTENTS: Final = 10_000
_MAX_INTERFACES: Final = 1_000
_KINDS: Final = ("Telemetry", "Property", "Command", "Component", "Relationship")

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    schema: Schema
    writable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """One interface by itself: `extends` and `components` name others by DTMI."""

    id: str
    display_name: str
    telemetry: dict[str, Schema]
    properties: dict[str, Property]
    commands: frozenset[str]
    components: dict[str, str]
    extends: tuple[str, ...]

    @property
    def needs(self) -> frozenset[str]:
        """The DTMIs of the interfaces that this one refers to."""
        return frozenset(self.extends) | frozenset(self.components.values())


def parse_interfaces(document: object) -> dict[str, Interface]:
    """A DTDL document (an interface, or an array of them) → its interfaces by DTMI, inline ones included.

    Raises `TemplateError`.
    """
    elements = document if isinstance(document, list) else [document]
    interfaces: dict[str, Interface] = {}
    for element in elements:
        if not isinstance(element, dict):
            raise TemplateError("a DTDL document is a JSON object, or an array of them")
        _check_context(element, required=element is elements[0])
        try:
            for interface in _Reader().interface(element):
                if interface.id in interfaces and interfaces[interface.id] != interface:
                    raise TemplateError(f"{interface.id} is there twice, and not the same")
                interfaces[interface.id] = interface
        except RecursionError:
            raise TemplateError("the document is nested too deep") from None
        if len(interfaces) > _MAX_INTERFACES:
            raise TemplateError(f"more than {_MAX_INTERFACES} interfaces")
    return interfaces


def _check_context(element: Json, *, required: bool) -> None:
    context = element.get("@context")
    if context is None and not required:
        return
    names = context if isinstance(context, list) else [context]
    if not any(isinstance(name, str) and _CONTEXT.fullmatch(name) for name in names):
        raise TemplateError(
            f"{_name_of(element)}: @context is not DTDL's", hint='it is "dtmi:dtdl:context;2", or ;3 or ;4'
        )


class _Reader:
    """Reads one interface and the ones that stand inside it."""

    def __init__(self) -> None:
        self._inner: list[Interface] = []
        self._schemas: dict[str, Any] = {}
        self._count = 0

    def interface(self, element: Json) -> Iterator[Interface]:
        """The interface itself first, then the inline ones."""
        dtmi = element.get("@id")
        if not isinstance(dtmi, str) or not is_dtmi(dtmi):
            raise TemplateError(f"@id {_shown(dtmi)} is not the DTMI of an interface")
        if "Interface" not in _types(element):
            raise TemplateError(f"{dtmi}: @type is not Interface")
        self._collect_schemas(element, dtmi)
        telemetry: dict[str, Schema] = {}
        properties: dict[str, Property] = {}
        commands: set[str] = set()
        components: dict[str, str] = {}
        for name, kind, content in _contents(element, dtmi):
            where = f"{dtmi}, {kind.lower()} {name}"
            match kind:
                case "Telemetry":
                    telemetry[name] = self._schema(content.get("schema"), where)
                case "Property":
                    schema = self._schema(content.get("schema"), where)
                    properties[name] = Property(schema=schema, writable=content.get("writable") is True)
                case "Command":
                    commands.add(name)
                case "Component":
                    components[name] = self._reference(content.get("schema"), where)
                case _:
                    pass  # relationships are between twins; a device sends nothing for them
        yield Interface(
            id=dtmi,
            display_name=_display_name(element) or last_segment(dtmi),
            telemetry=telemetry,
            properties=properties,
            commands=frozenset(commands),
            components=components,
            extends=tuple(dict.fromkeys(self._extends(element, dtmi))),
        )
        yield from self._inner

    def _extends(self, element: Json, dtmi: str) -> Iterator[str]:
        return (self._reference(base, f"{dtmi}, extends") for base in _list(element.get("extends")))

    def _reference(self, value: object, where: str) -> str:
        """The DTMI of another interface, named or inline."""
        if isinstance(value, dict):
            inner = list(_Reader().interface(value))
            self._inner += inner
            return inner[0].id
        if isinstance(value, str) and is_dtmi(value):
            return value
        raise TemplateError(f"{where}: {_shown(value)} is not the DTMI of an interface")

    def _collect_schemas(self, element: Json, dtmi: str) -> None:
        for schema in _list(element.get("schemas")):
            if not isinstance(schema, dict) or not isinstance(schema.get("@id"), str):
                raise TemplateError(f"{dtmi}, schemas: each has an @id")
            self._schemas[schema["@id"]] = schema

    def _schema(self, value: object, where: str, depth: int = 0) -> Schema:
        if depth > _MAX_SCHEMA_DEPTH:
            raise TemplateError(f"{where}: the schema is nested too deep, or refers to itself")
        self._count += 1
        if self._count > _MAX_SCHEMAS:
            raise TemplateError(f"{where}: the interface has more than {_MAX_SCHEMAS} schemas")
        if isinstance(value, str):
            return self._named_schema(value, where, depth)
        if not isinstance(value, dict):
            raise TemplateError(f"{where}: the schema is missing")
        kinds = _types(value)
        if "Array" in kinds:
            return Array(self._schema(value.get("elementSchema"), where, depth + 1))
        if "Enum" in kinds:
            return EnumSchema(_enum_values(value, where))
        if "Map" in kinds:
            inner = value.get("mapValue")
            return MapSchema(
                self._schema(inner.get("schema") if isinstance(inner, dict) else None, where, depth + 1)
            )
        if "Object" in kinds:
            return ObjectSchema(self._fields(value, where, depth))
        raise TemplateError(f"{where}: a schema's @type can't be {_shown(value.get('@type'))}")

    def _fields(self, element: Json, where: str, depth: int) -> dict[str, Schema]:
        fields: dict[str, Schema] = {}
        for field in _list(element.get("fields")):
            name = field.get("name") if isinstance(field, dict) else None
            if not isinstance(name, str) or not is_name(name):
                raise TemplateError(f"{where}: a field of an object has no usable name")
            if name in fields:
                raise TemplateError(f"{where}: two fields are named {name}")
            fields[name] = self._schema(field.get("schema"), f"{where}.{name}", depth + 1)
        return fields

    def _named_schema(self, name: str, where: str, depth: int) -> Schema:
        standard = _STANDARD_SCHEMA.fullmatch(name)
        short = standard[1] if standard else name
        if short in PRIMITIVES or short in GEOSPATIAL:
            return Primitive(short)
        if short in CENTRAL:
            return CENTRAL[short]
        if name in self._schemas:
            return self._schema(self._schemas[name], where, depth + 1)
        raise TemplateError(f"{where}: the schema {_shown(name)} is unknown")


def _contents(element: Json, dtmi: str) -> Iterator[tuple[str, str, Json]]:
    """Name, kind and element of everything in `contents`."""
    contents = _list(element.get("contents"))
    if len(contents) > _MAX_CONTENTS:
        raise TemplateError(f"{dtmi}: more than {_MAX_CONTENTS} contents")
    names: set[str] = set()
    for content in contents:
        if not isinstance(content, dict):
            raise TemplateError(f"{dtmi}: what stands in contents is not an object")
        name = content.get("name")
        if not isinstance(name, str) or not is_name(name):
            raise TemplateError(f"{dtmi}: {_shown(name)} is not a name for a content")
        if name in names:
            raise TemplateError(f"{dtmi}: two contents are named {name}")
        names.add(name)
        kinds = [kind for kind in _KINDS if kind in _types(content)]
        if len(kinds) != 1:
            raise TemplateError(f"{dtmi}, {name}: @type is none of {', '.join(_KINDS)}")
        yield name, kinds[0], content


def _enum_values(element: Json, where: str) -> frozenset[int | str]:
    kind = element.get("valueSchema")
    wanted = (int if kind == "integer" else str) if kind in ("integer", "string") else None
    if wanted is None:
        raise TemplateError(f"{where}: an enum's valueSchema is integer or string")
    values: set[int | str] = set()
    for entry in _list(element.get("enumValues")):
        value = entry.get("enumValue") if isinstance(entry, dict) else None
        if not isinstance(value, int | str) or isinstance(value, bool) or not isinstance(value, wanted):
            raise TemplateError(f"{where}: an enum's value {_shown(value)} is no {kind}")
        values.add(value)
    return frozenset(values)


def _types(element: Json) -> set[str]:
    return {kind for kind in _list(element.get("@type")) if isinstance(kind, str)}


def _list(value: object) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def is_name(text: str) -> bool:
    return len(text) <= _MAX_NAME and _NAME.fullmatch(text) is not None


def _display_name(element: Json) -> str | None:
    """`displayName` as a string, or in English, or in whatever language it has."""
    value = element.get("displayName")
    if isinstance(value, dict):
        texts: Iterable[object] = (value.get("en"), *value.values())
        value = next((text for text in texts if isinstance(text, str) and text), None)
    # One line of text: it goes into lists and log lines.
    return (" ".join(value.split())[:_MAX_NAME] or None) if isinstance(value, str) else None


def _shown(value: object) -> str:
    """A wrong value in the line that refuses it."""
    match value:
        case str():
            return repr(value[:140])
        case None:
            return "nothing"
        case dict():
            return "an object"
        case list():
            return "an array"
        case bool():
            return "true" if value else "false"
        case _:
            return "a number"


def _name_of(element: Json) -> str:
    dtmi = element.get("@id")
    return dtmi if isinstance(dtmi, str) and is_dtmi(dtmi) else "the document"
