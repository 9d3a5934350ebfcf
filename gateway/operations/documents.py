"""How operations write what they return: camelCase names, times in ISO 8601, UTC."""

from datetime import UTC, datetime

from gateway.errors import ChangedError

__all__ = ["refuse_changed", "timestamp"]


def timestamp(unix_seconds: float | None) -> str | None:
    """`2026-11-23T22:28:07.120Z`, or None for a time that has not come."""
    if unix_seconds is None:
        return None
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def refuse_changed(what: str, etag: str, if_match: str | None) -> None:
    """Raise `ChangedError` if the caller means another state than the one there is."""
    if if_match is not None and if_match != etag:
        raise ChangedError(f"{what} has changed since you read it", hint="read it again, then decide again")
