"""The one JSON form of an error: `{"code", "message", "hint"}`, on the control socket and with `--json`.

The codes are an interface: scripts branch on them. A code made from an exception leads back to the
same class, so a command says the same thing whether it went through a running gateway or not.
"""

from collections.abc import Mapping
from typing import Any, Final

from gateway.errors import (
    ChangedError,
    ConflictError,
    ForbiddenError,
    GatewayError,
    NotFoundError,
    OperationError,
    SettingsError,
    StartError,
    StoreCorrupt,
    StoreUnavailable,
    TemplateError,
)

__all__ = ["error_from_json", "error_to_json"]

# The most special class comes first: `isinstance` takes the first that fits.
_CODES: Final[tuple[tuple[str, type[GatewayError]], ...]] = (
    ("not_found", NotFoundError),
    ("changed", ChangedError),
    ("conflict", ConflictError),
    ("forbidden", ForbiddenError),
    ("invalid_request", OperationError),
    ("template_invalid", TemplateError),
    ("store_unavailable", StoreUnavailable),
    ("store_corrupt", StoreCorrupt),
    ("settings_invalid", SettingsError),
    ("start_failed", StartError),
    ("error", GatewayError),
)
_CLASSES: Final = dict(_CODES)


def error_to_json(error: GatewayError) -> dict[str, str]:
    """The JSON form of an error: its code, its line, and the next step (which may be empty)."""
    code = next(code for code, kind in _CODES if isinstance(error, kind))
    return {"code": code, "message": error.message, "hint": error.hint}


def error_from_json(document: Mapping[str, Any]) -> GatewayError:
    """The exception that `document` was made from; an unknown code gives a plain `GatewayError`."""
    kind = _CLASSES.get(str(document.get("code")), GatewayError)
    return kind(str(document.get("message", "")), hint=str(document.get("hint", "")))
