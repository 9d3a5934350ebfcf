"""The twin's rules: JSON merge patch (RFC 7396), and what IoT Hub allows in a property. Pure."""

from typing import Any, Final

__all__ = ["check_patch", "merge"]

_FORBIDDEN: Final = frozenset(".$# ")
_MAX_NAME: Final = 1024
_MAX_INTEGER: Final = 2**53


def merge(state: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """`state` with `patch` applied: objects merge, null deletes, anything else replaces. Neither is changed."""
    merged = dict(state)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            below = merged.get(name)
            merged[name] = merge(below if isinstance(below, dict) else {}, value)
        else:
            merged[name] = value
    return merged


def check_patch(patch: dict[str, Any], *, max_depth: int) -> str | None:
    """Why a patch is refused, in one line; None if it is fine. (IoT Hub: names, depth, integers.)"""
    return _check(patch, max_depth)


def _check(value: Any, depth_left: int) -> str | None:
    if isinstance(value, dict):
        if depth_left == 0:
            return "properties are nested too deep"
        for name, below in value.items():
            if not name or len(name.encode()) > _MAX_NAME:
                return f"a property's name has 1 to {_MAX_NAME} bytes"
            if any(character in _FORBIDDEN or not character.isprintable() for character in name):
                return f"the property {name[:40]!r} has a character that names can't have: . $ # space, control"
            problem = _check(below, depth_left - 1)
            if problem is not None:
                return problem
    elif isinstance(value, list):
        if depth_left == 0:
            return "properties are nested too deep"
        for below in value:
            problem = _check(below, depth_left - 1)
            if problem is not None:
                return problem
    elif isinstance(value, int) and not -_MAX_INTEGER <= value <= _MAX_INTEGER:
        return "an integer is outside what JSON keeps exactly"
    return None
