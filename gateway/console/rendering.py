"""Pages from templates. Everything that is put into one is escaped."""

import json
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from gateway import __version__

__all__ = ["render"]

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR


def render(
    request: Request, page: str, *, http_status: HTTPStatus = HTTPStatus.OK, **values: Any
) -> HTMLResponse:
    """The page of that file under `pages/`. A value that a page asks for and nobody gave is a fault."""
    text = _PAGES.get_template(page).render(path=request.url.path, version=__version__, **values)
    return HTMLResponse(text, status_code=http_status)


def _ago(timestamp: str | None, now: float) -> str:
    """`2026-11-24T02:30:00Z` → `5 min ago`."""
    if timestamp is None:
        return "never"
    return f"{_duration(max(0.0, now - datetime.fromisoformat(timestamp).timestamp()))} ago"


def _duration(seconds: float) -> str:
    for limit, unit, name in ((2 * _MINUTE, 1, "s"), (2 * _HOUR, _MINUTE, "min"), (2 * _DAY, _HOUR, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / _DAY:.0f} days"


def _count(number: int, noun: str, plural: str = "") -> str:
    """`1 device`, `12,345 devices`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {plural or noun + 's'}"


def _when(timestamp: str | None) -> str:
    """`2026-11-24T02:30:00Z` → `2026-11-24 02:30:00 UTC`."""
    if timestamp is None:
        return "never"
    return datetime.fromisoformat(timestamp).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _as_json(value: Any) -> str:
    """What a device sent, on one line. (Jinja's own `tojson` escapes for scripts; here `<` stays readable, escaped once.)"""
    return json.dumps(value, ensure_ascii=False)


def _bars(values: list[int], places: int, height: int) -> list[tuple[int, float, float]]:
    """Of a bar chart with `places` bars, the newest on the right: each bar's x, y and height. A bar is 3 wide."""
    highest = max(values, default=0) or 1
    start = (places - len(values)) * 4
    tall = [round(value * height / highest, 1) for value in values]
    return [(start + number * 4, round(height - each, 1), each) for number, each in enumerate(tall) if each]


def _polyline(values: list[int], width: int, height: int) -> str:
    """The points of an SVG polyline: the highest value reaches the top."""
    highest = max(values, default=0) or 1
    step = width / max(1, len(values) - 1)
    return " ".join(
        f"{i * step:.1f},{height - value / highest * height:.1f}" for i, value in enumerate(values)
    )


_PAGES: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "pages"),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_PAGES.filters |= {
    "ago": _ago,
    "duration": _duration,
    "count": _count,
    "when": _when,
    "polyline": _polyline,
    "bars": _bars,
    "as_json": _as_json,
}
