"""A message's body held against its device template. Pure.

The verdict marks; it never drops. What the template does not model, or types otherwise, is an `Issue` with its
path, and the message goes out all the same.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from gateway.templates.schema import (
    GEOSPATIAL,
    Array,
    EnumSchema,
    MapSchema,
    ObjectSchema,
    Primitive,
    Schema,
)
from gateway.templates.template import DeviceTemplate

__all__ = ["Issue", "ValidationResult", "Validator"]


@dataclass(frozen=True, slots=True)
class Issue:
    """`path` is dotted, with indexes: `position.lat`, `samples[3]`; empty for the body itself."""

    path: str
    problem: str


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """`issues` lists at most as many as the setting allows."""

    valid: bool
    issues: tuple[Issue, ...]


_VALID: Final = ValidationResult(valid=True, issues=())


class Validator:
    """One template's rules, made ready once."""

    def __init__(self, template: DeviceTemplate, *, max_issues: int) -> None:
        self._root = template.root.telemetry
        self._components = {name: component.telemetry for name, component in template.components.items()}
        self._max_issues = max_issues

    def check(self, component: str | None, body: Any) -> ValidationResult:
        """`body` is the parsed JSON of a message, of the root or of a component."""
        fields = self._root if component is None else self._components.get(component)
        if fields is None:
            return _invalid(Issue("", f"the template has no component {component!r}"))
        if not isinstance(body, dict):
            return _invalid(Issue("", "telemetry is a JSON object"))
        issues: list[Issue] = []
        for name, value in body.items():
            schema = fields.get(name)
            if schema is None:
                issues.append(Issue(name, "not in the template"))
            else:
                _check(schema, value, name, issues)
            if len(issues) >= self._max_issues:
                break
        if not issues:
            return _VALID
        return ValidationResult(valid=False, issues=tuple(issues[: self._max_issues]))


def _invalid(issue: Issue) -> ValidationResult:
    return ValidationResult(valid=False, issues=(issue,))


def _check(schema: Schema, value: Any, path: str, issues: list[Issue]) -> None:
    match schema:
        case Primitive(kind=kind):
            if not _PRIMITIVE_CHECKS[kind](value):
                issues.append(Issue(path, f"not a {kind}"))
        case ObjectSchema(fields=fields):
            if not isinstance(value, dict):
                issues.append(Issue(path, "not an object"))
                return
            for name, inner in value.items():
                if name in fields:
                    _check(fields[name], inner, f"{path}.{name}", issues)
                else:
                    issues.append(Issue(f"{path}.{name}", "not in the template"))
        case Array(element=element):
            if not isinstance(value, list):
                issues.append(Issue(path, "not an array"))
                return
            for index, inner in enumerate(value):
                _check(element, inner, f"{path}[{index}]", issues)
        case MapSchema(value=inner_schema):
            if not isinstance(value, dict):
                issues.append(Issue(path, "not a map"))
                return
            for name, inner in value.items():
                _check(inner_schema, inner, f"{path}.{name}", issues)
        case EnumSchema(values=values):
            if isinstance(value, bool) or not isinstance(value, int | str) or value not in values:
                issues.append(Issue(path, "not one of the enum's values"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_integer(lowest: int, highest: int) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        if isinstance(value, float):
            return value.is_integer() and lowest <= value <= highest  # JSON does not tell 5 from 5.0
        return isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest

    return check


def _is_text(pattern: str | None = None) -> Callable[[Any], bool]:
    compiled = re.compile(pattern) if pattern is not None else None

    def check(value: Any) -> bool:
        return isinstance(value, str) and (compiled is None or compiled.fullmatch(value) is not None)

    return check


def _is_geometry(value: Any) -> bool:
    return isinstance(value, dict)


def _is_decimal(value: Any) -> bool:
    return _is_number(value) or isinstance(value, str)


# ISO 8601 as RFC 3339 profiles it; a duration as XML Schema writes it.
_DATE: Final = r"\d{4}-\d{2}-\d{2}"
_TIME: Final = r"\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?"
_DURATION: Final = r"-?P(?=.)(\d+(\.\d+)?Y)?(\d+(\.\d+)?M)?(\d+(\.\d+)?W)?(\d+(\.\d+)?D)?(T(?=.)(\d+(\.\d+)?H)?(\d+(\.\d+)?M)?(\d+(\.\d+)?S)?)?"

_PRIMITIVE_CHECKS: Final[dict[str, Callable[[Any], bool]]] = {
    "boolean": lambda value: isinstance(value, bool),
    "byte": _is_integer(-(2**7), 2**7 - 1),
    "short": _is_integer(-(2**15), 2**15 - 1),
    "integer": _is_integer(-(2**31), 2**31 - 1),
    "long": _is_integer(-(2**63), 2**63 - 1),
    "unsignedByte": _is_integer(0, 2**8 - 1),
    "unsignedShort": _is_integer(0, 2**16 - 1),
    "unsignedInteger": _is_integer(0, 2**32 - 1),
    "unsignedLong": _is_integer(0, 2**64 - 1),
    "float": _is_number,
    "double": _is_number,
    "decimal": _is_decimal,
    "scaledDecimal": _is_geometry,
    "string": _is_text(),
    "bytes": _is_text(r"[A-Za-z0-9+/]*={0,2}"),
    "uuid": _is_text(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
    "date": _is_text(_DATE),
    "time": _is_text(_TIME),
    "dateTime": _is_text(f"{_DATE}[Tt ]{_TIME}"),
    "duration": _is_text(_DURATION),
    **dict.fromkeys(GEOSPATIAL, _is_geometry),
}

