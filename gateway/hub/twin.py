"""The twin's rules: JSON merge patch (RFC 7396), and what IoT Hub allows in a property. Pure.

Source of the limits: learn.microsoft.com, iot-hub-devguide-device-twins, "Tags and properties format".
"""

import re
from typing import Any, Final

__all__ = ["check_patch", "merge"]

# `.`, `$`, space, and the control characters of C0 and C1.
_FORBIDDEN_IN_NAMES: Final = re.compile(r"[.$ \x00-\x1f\x7f-\x9f]")
_MAX_NAME_BYTES: Final = 1024
_MAX_STRING_BYTES: Final = 4096
_MIN_INTEGER: Final = -(2**52)
_MAX_INTEGER: Final = 2**52 - 1
_QUOTED_CHARACTERS: Final = 40


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
    """Why a patch is refused, in one line; None if it is fine.

    `max_depth` is how many objects and arrays may lie within one another below the patch itself.
    """
    return _problem_in_object(patch, max_depth)


def _problem_in_object(value: dict[str, Any], depth_left: int) -> str | None:
    for name, below in value.items():
        problem = _problem_with_name(name) or _problem_with_value(below, depth_left)
        if problem is not None:
            return problem
    return None


def _problem_with_name(name: str) -> str | None:
    if not name or len(name.encode()) > _MAX_NAME_BYTES:
        return f"a property's name has 1 to {_MAX_NAME_BYTES} bytes"
    if _FORBIDDEN_IN_NAMES.search(name):
        return (
            f"the property {name[:_QUOTED_CHARACTERS]!r} has a character that names can't have: "
            "'.', '$', a space or a control character"
        )
    return None


def _problem_with_value(value: Any, depth_left: int) -> str | None:
    match value:
        case dict() | list() if depth_left == 0:
            return "properties are nested too deep"
        case dict():
            return _problem_in_object(value, depth_left - 1)
        case list():
            problems = (_problem_with_value(below, depth_left - 1) for below in value)
            return next((problem for problem in problems if problem is not None), None)
        case str() if len(value) * 4 > _MAX_STRING_BYTES and len(value.encode()) > _MAX_STRING_BYTES:
            return f"a string has at most {_MAX_STRING_BYTES} bytes"
        case int() if not _MIN_INTEGER <= value <= _MAX_INTEGER:
            return f"an integer lies between {_MIN_INTEGER} and {_MAX_INTEGER}"
    return None
