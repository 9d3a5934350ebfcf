"""How operations write what they return: camelCase names, times in ISO 8601, UTC."""

from datetime import UTC, datetime

__all__ = ["timestamp"]


def timestamp(unix_seconds: float | None) -> str | None:
    """`2026-11-23T22:28:07.120Z`, or None for a time that has not come."""
    if unix_seconds is None:
        return None
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
