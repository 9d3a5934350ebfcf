"""A device template: a DTDL model with all it depends on, made ready for use.

`extends` is resolved, components are looked up, and what the model says of telemetry stands in one place.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson

from gateway.errors import TemplateError
from gateway.templates.dtdl import Interface, Property, parse_interfaces
from gateway.templates.schema import Schema

__all__ = [
    "Capabilities",
    "DeviceTemplate",
    "Source",
    "build_template",
    "lacking",
    "missing_interfaces",
    "template_from_json",
]

Source = Literal["published", "repository"]

_MAX_EXTENDS_DEPTH: Final = 12
"""DTDL v4's limit; that of v2 and v3 is 10."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a device, or one component of it, can say and do; inherited contents included."""

    telemetry: dict[str, Schema]
    properties: dict[str, Property]
    commands: frozenset[str]


_Resolved = tuple[Capabilities, dict[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTemplate:
    """`id` is the DTMI of its model. `documents` is the DTDL it was built from, to be stored and shown."""

    id: str
    display_name: str
    source: Source
    root: Capabilities
    components: dict[str, Capabilities]
    documents: tuple[dict[str, Any], ...] = field(repr=False)

    @property
    def model_id(self) -> str:
        return self.id

    def to_json(self) -> str:
        """The documents as JSON text; `template_from_json` reads it. Raises `TemplateError`."""
        try:
            return orjson.dumps(self.documents).decode()
        except (
            orjson.JSONEncodeError
        ):  # what a template leaves unread may be nested deeper than orjson writes
            raise TemplateError(f"{self.id}: the document can't be stored: it is nested too deep") from None


def build_template(documents: object, model_id: str, *, source: Source = "published") -> DeviceTemplate:
    """A template of `model_id` from a DTDL document or an array of them. Raises `TemplateError`."""
    interfaces = parse_interfaces(documents)
    root = interfaces.get(model_id)
    if root is None:
        raise TemplateError(f"the document has no interface {model_id}")
    missing = lacking(interfaces, model_id)
    if missing:
        raise TemplateError(
            f"{model_id} needs {', '.join(sorted(missing)[:5])}, which the document lacks",
            hint="put the interfaces it depends on into the same file, as an array",
        )
    resolved: dict[str, _Resolved] = {}
    capabilities, components = _resolve(interfaces, model_id, (), resolved)
    listed: list[Any] = documents if isinstance(documents, list) else [documents]
    return DeviceTemplate(
        id=model_id,
        display_name=root.display_name,
        source=source,
        root=capabilities,
        components={
            name: _resolve(interfaces, target, (), resolved)[0] for name, target in components.items()
        },
        documents=tuple(listed),
    )


def template_from_json(text: str, model_id: str, *, source: Source) -> DeviceTemplate:
    """What `DeviceTemplate.to_json` wrote. Raises `TemplateError`."""
    try:
        documents = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise TemplateError(f"{model_id}: what is stored is not JSON") from None
    return build_template(documents, model_id, source=source)


def missing_interfaces(documents: Iterable[object], model_id: str) -> frozenset[str]:
    """The DTMIs that `model_id` depends on, directly or not, and that `documents` lack. Raises `TemplateError`."""
    return lacking(parse_interfaces(list(documents)), model_id)


def lacking(interfaces: Mapping[str, Interface], model_id: str) -> frozenset[str]:
    """The DTMIs that `model_id` depends on, itself included, and that `interfaces` lack."""
    missing: set[str] = set()
    seen: set[str] = set()
    waiting = [model_id]
    while waiting:
        dtmi = waiting.pop()
        if dtmi in seen:
            continue
        seen.add(dtmi)
        interface = interfaces.get(dtmi)
        if interface is None:
            missing.add(dtmi)
        else:
            waiting.extend(interface.needs)
    return frozenset(missing)


def _resolve(
    interfaces: Mapping[str, Interface], dtmi: str, path: tuple[str, ...], resolved: dict[str, _Resolved]
) -> _Resolved:
    """An interface's contents with what it inherits; its components by name.

    `resolved` keeps each result: a base that is inherited along many paths is worked out once.
    """
    if dtmi in resolved:
        return resolved[dtmi]
    if dtmi in path:
        raise TemplateError(f"{dtmi} extends itself")
    if len(path) > _MAX_EXTENDS_DEPTH:
        raise TemplateError(f"{path[0]}: extends goes deeper than {_MAX_EXTENDS_DEPTH}")
    interface = interfaces[dtmi]
    telemetry: dict[str, Schema] = {}
    properties: dict[str, Property] = {}
    commands: set[str] = set()
    components: dict[str, str] = {}
    for base in interface.extends:
        inherited, inherited_components = _resolve(interfaces, base, (*path, dtmi), resolved)
        telemetry |= inherited.telemetry
        properties |= inherited.properties
        commands |= inherited.commands
        components |= inherited_components
    own = Capabilities(
        telemetry=telemetry | interface.telemetry,
        properties=properties | interface.properties,
        commands=frozenset(commands) | interface.commands,
    )
    resolved[dtmi] = own, components | interface.components
    return resolved[dtmi]
