"""A message's body held against its device template. Pure.

The verdict marks; it never drops. What the template does not model, or types otherwise, is an `Issue` with its
path, and the message goes out all the same.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
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
    """`path` is dotted, with indexes: `position.lat`, `samples[3]`; empty for the body itself; cut if very long."""

    path: str
    problem: str


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """`issues` lists at most as many as the setting allows."""

    valid: bool
    issues: tuple[Issue, ...]


_VALID: Final = ValidationResult(valid=True, issues=())
_MAX_PATH: Final = 1024
"""Characters. A device names the keys of a map as it likes, and each issue below a key would repeat it."""


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
        _check_fields(fields, body, "", issues, self._max_issues)
        if not issues:
            return _VALID
        return ValidationResult(valid=False, issues=tuple(issues))


def _invalid(issue: Issue) -> ValidationResult:
    return ValidationResult(valid=False, issues=(issue,))


def _check_fields(
    fields: Mapping[str, Schema], value: dict[str, Any], prefix: str, issues: list[Issue], limit: int
) -> None:
    """Names and values of an object. Looks no further once there are `limit` issues."""
    for name, inner in value.items():
        schema = fields.get(name)
        if schema is None:
            issues.append(Issue(_path(prefix, name), "not in the template"))
        elif type(schema) is Primitive:  # by far the most, so they come first
            if not _PRIMITIVE_CHECKS[schema.kind](inner):
                issues.append(Issue(_path(prefix, name), _mismatch(schema)))
        else:
            _check(schema, inner, _path(prefix, name), issues, limit)
        if len(issues) >= limit:
            return


def _check(schema: Schema, value: Any, path: str, issues: list[Issue], limit: int) -> None:
    match schema, value:
        case ObjectSchema(fields=fields), dict():
            _check_fields(fields, value, f"{path}.", issues, limit)
        case Array(element=element), list():
            _check_each(element, enumerate(value), path, issues, limit)
        case MapSchema(value=element), dict():
            _check_each(element, value.items(), path, issues, limit)
        case Primitive(kind=kind), _ if _PRIMITIVE_CHECKS[kind](value):
            pass
        case EnumSchema(values=values), int() | float() | str() if (
            type(value) is not bool and value in values
        ):
            pass
        case _:
            issues.append(Issue(path, _mismatch(schema)))


def _mismatch(schema: Schema) -> str:
    match schema:
        case Primitive(kind=kind):
            return f"not {'an' if kind.startswith(('i', 'un')) else 'a'} {kind}"
        case ObjectSchema():
            return "not an object"
        case Array():
            return "not an array"
        case MapSchema():
            return "not a map"
        case EnumSchema():
            return "not one of the enum's values"


def _check_each(
    schema: Schema, items: Iterable[tuple[int | str, Any]], path: str, issues: list[Issue], limit: int
) -> None:
    """Elements of an array by index, or values of a map by name."""
    fits = _PRIMITIVE_CHECKS[schema.kind] if type(schema) is Primitive else None
    for key, value in items:
        if fits is not None and fits(value):
            continue  # long arrays of numbers are common: no path is made for what is right
        step = f"[{key}]" if isinstance(key, int) else f".{key}"
        _check(schema, value, _path(path, step), issues, limit)
        if len(issues) >= limit:
            return


def _path(path: str, step: str) -> str:
    longer = path + step
    return longer if len(longer) <= _MAX_PATH else f"{longer[:_MAX_PATH]}…"


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


def _is_geometry(kind: str) -> Callable[[Any], bool]:
    """GeoJSON (RFC 7946): DTDL's `lineString` is the geometry `LineString`."""
    name = kind[0].upper() + kind[1:]

    def check(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and value.get("type") == name
            and isinstance(value.get("coordinates"), list)
        )

    return check


def _is_day(value: Any) -> bool:
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        return False
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_moment(value: Any) -> bool:
    return (
        isinstance(value, str)
        and value[10:11] in {"T", "t", " "}
        and _is_day(value[:10])
        and _is_time(value[11:])
    )


def _is_decimal(value: Any) -> bool:
    return _is_number(value) or _is_decimal_text(value)


def _is_scaled_decimal(value: Any) -> bool:
    """DTDL v4: `{"scale": 2, "value": "1.25"}`, the value times ten to the scale."""
    return isinstance(value, dict) and _is_short(value.get("scale")) and _is_decimal_text(value.get("value"))


# Dates and times in ISO 8601 as RFC 3339 profiles it; a duration as XML Schema writes it.
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_N: Final = r"[0-9]+(?:\.[0-9]+)?"

_is_short: Final = _is_integer(-(2**15), 2**15 - 1)
_is_decimal_text: Final = _is_text(rf"[+-]?{_N}")
_is_time: Final = _is_text(
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::(?:[0-5][0-9]|60)(?:\.[0-9]+)?)?(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})?"
)
_is_duration: Final = _is_text(
    rf"-?P(?=.)(?:{_N}Y)?(?:{_N}M)?(?:{_N}W)?(?:{_N}D)?(?:T(?=.)(?:{_N}H)?(?:{_N}M)?(?:{_N}S)?)?"
)

_PRIMITIVE_CHECKS: Final[dict[str, Callable[[Any], bool]]] = {
    "boolean": lambda value: isinstance(value, bool),
    "byte": _is_integer(-(2**7), 2**7 - 1),
    "short": _is_short,
    "integer": _is_integer(-(2**31), 2**31 - 1),
    "long": _is_integer(-(2**63), 2**63 - 1),
    "unsignedByte": _is_integer(0, 2**8 - 1),
    "unsignedShort": _is_integer(0, 2**16 - 1),
    "unsignedInteger": _is_integer(0, 2**32 - 1),
    "unsignedLong": _is_integer(0, 2**64 - 1),
    "float": _is_number,
    "double": _is_number,
    "decimal": _is_decimal,
    "scaledDecimal": _is_scaled_decimal,
    "string": _is_text(),
    "bytes": _is_text(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"),
    "uuid": _is_text(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
    "date": _is_day,
    "time": _is_time,
    "dateTime": _is_moment,
    "duration": _is_duration,
    **{kind: _is_geometry(kind) for kind in GEOSPATIAL},
}
