"""What a DTDL model says of each capability, for people: type, unit, meaning, display name. Pure.

The documents were parsed before (`gateway.templates.dtdl`); here what they say is only told, so what is not as expected
is left out.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["outline"]

_KINDS: Final = {"Telemetry": "telemetry", "Property": "properties", "Command": "commands"}
_MAX_DEPTH: Final = 12
_MAX_NAMES: Final = 8
"""Of an enum or an object; the rest are counted."""

_Json = Mapping[str, Any]


def outline(documents: Iterable[_Json], model_id: str) -> dict[str, Any]:
    """`{"telemetry": […], "properties": […], "commands": […], "components": {name: the same}}`.

    Each capability is `{"name", "displayName", "type", "unit", "meaning", "writable"}`: text, "" where the model says
    nothing. What is inherited comes last.
    """
    interfaces = {str(document.get("@id")): document for document in documents}
    found = _capabilities(interfaces, model_id)
    components: dict[str, Any] = {}
    for content in _contents(interfaces, model_id):
        target = content.get("schema")
        if "Component" in _types(content) and isinstance(content.get("name"), str):
            if isinstance(target, dict):
                interfaces[str(target.get("@id"))] = target
                target = target.get("@id")
            components[content["name"]] = _capabilities(interfaces, str(target))
    return {**found, "components": components}


def _capabilities(interfaces: Mapping[str, _Json], model_id: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in _KINDS.values()}
    seen: set[tuple[str, str]] = set()
    for content in _contents(interfaces, model_id):
        types = _types(content)
        kind = next((_KINDS[each] for each in types if each in _KINDS), None)
        name = content.get("name")
        if kind is not None and isinstance(name, str) and (kind, name) not in seen:
            seen.add((kind, name))
            found[kind].append(_told(content, name, [each for each in types if each not in _KINDS]))
    return found


def _contents(interfaces: Mapping[str, _Json], model_id: str, depth: int = 0) -> list[_Json]:
    """An interface's contents, then those that it inherits."""
    interface = interfaces.get(model_id)
    if interface is None or depth > _MAX_DEPTH:
        return []
    found: list[_Json] = [each for each in _list(interface.get("contents")) if isinstance(each, dict)]
    for base in _list(interface.get("extends")):
        found += _contents(interfaces, str(base.get("@id") if isinstance(base, dict) else base), depth + 1)
    return found


def _told(content: _Json, name: str, meaning: list[str]) -> dict[str, Any]:
    if "Command" in _types(content):
        request, response = content.get("request"), content.get("response")
        asked = _type_of(request.get("schema")) if isinstance(request, dict) else ""
        answered = _type_of(response.get("schema")) if isinstance(response, dict) else ""
        kind = f"{asked or 'nothing'} → {answered or 'nothing'}" if asked or answered else ""
    else:
        kind = _type_of(content.get("schema"))
    return {
        "name": name,
        "displayName": _text(content.get("displayName")),
        "type": kind,
        "unit": _text(content.get("unit")),
        "meaning": ", ".join(meaning),
        "writable": content.get("writable") is True,
    }


def _type_of(schema: object, depth: int = 0) -> str:
    """`double`, `enum: on, off`, `object: x, y`, `array of double`, `map of string`."""
    if isinstance(schema, str):
        return schema.rpartition(":")[2].partition(";")[0] if schema.startswith("dtmi:") else schema
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return ""
    types = _types(schema)
    if "Enum" in types:
        return f"enum: {_names(schema.get('enumValues'))}"
    if "Object" in types:
        return f"object: {_names(schema.get('fields'))}"
    if "Array" in types:
        return f"array of {_type_of(schema.get('elementSchema'), depth + 1)}"
    if "Map" in types:
        value = schema.get("mapValue")
        return f"map of {_type_of(value.get('schema') if isinstance(value, dict) else None, depth + 1)}"
    return types[0].lower() if types else ""


def _names(parts: object) -> str:
    names = [str(each.get("name")) for each in _list(parts) if isinstance(each, dict)]
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more


def _text(value: object) -> str:
    """Plain text; of a text in several languages the English, else the first."""
    if isinstance(value, dict):
        value = value.get("en") or next(iter(value.values()), "")
    return value if isinstance(value, str) else ""


def _types(element: _Json) -> list[str]:
    return [str(each) for each in _list(element.get("@type"))]


def _list(value: object) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
