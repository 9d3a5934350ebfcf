"""structlog, set up once: one line per event, `noun.past_participle key=value …`, secrets redacted.

Two formats: `console` for people (columns, colours on a terminal) and `json` for machines (one object per
line). amqtt logs through the standard library; its warnings are folded into our stream as
`broker.reported`, one line each, without tracebacks.
"""

import asyncio
import atexit
import contextlib
import logging
import re
import sys
import time
from collections.abc import MutableMapping
from datetime import UTC, datetime, tzinfo
from typing import Any, Final, TextIO

import orjson
import structlog

from gateway.errors import GatewayError
from gateway.secrets import REDACTED
from gateway.settings import LogSettings

__all__ = ["configure", "get_logger", "redact", "report_failure"]

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_SECRET_KEYS: Final = frozenset(
    {
        "password",
        "token",
        "key",
        "primary_key",
        "secondary_key",
        "secret",
        "sig",
        "signature",
        "authorization",
    }
)
_SIGNATURE: Final = re.compile(r"(sig=)[^&\s'\"]+")
_COLOURS: Final = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m"}
_DIM, _BOLD, _RESET = "\x1b[2m", "\x1b[1m", "\x1b[0m"

EventDict = MutableMapping[str, Any]


def get_logger() -> Any:
    """The project's logger. Fields are passed with each event, so nothing is bound on the connect path."""
    return structlog.get_logger()


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's logging to write to `stream` (default: stdout)."""
    out = stream or sys.stdout
    level = _LEVELS[settings.level]
    lines = _Lines(out)
    atexit.register(lines.flush)
    render = _JsonRenderer() if settings.format == "json" else _ConsoleRenderer(colours=out.isatty())
    structlog.configure(
        processors=[structlog.stdlib.add_log_level, redact, render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_BrokerHandler()]
    root.setLevel(max(level, logging.WARNING))


def report_failure(error: GatewayError) -> None:
    """The one line that says why the gateway can't start or go on."""
    get_logger().error("gateway.failed", error=error.message, hint=error.hint)


def redact(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Blank every value that is, or contains, a secret: by its key, or by the shape of a SAS signature."""
    for key, value in event.items():
        if key in _SECRET_KEYS:
            event[key] = REDACTED
        elif isinstance(value, str) and "sig=" in value:
            event[key] = _SIGNATURE.sub(rf"\1{REDACTED}", value)
    return event


class _Lines:
    """Where structlog's finished lines go: those of one turn of the event loop leave in one write.

    Two lines per connect, each written and flushed by itself, cost as much as deciding the CONNECT does.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._waiting: list[str] = []

    def msg(self, line: str) -> None:
        if not self._waiting:
            try:
                asyncio.get_running_loop().call_soon(self.flush)
            except RuntimeError:  # no loop runs in this thread: start, end, or a worker
                self._waiting.append(line)
                self.flush()
                return
        self._waiting.append(line)

    debug = info = warning = error = critical = exception = log = msg

    def flush(self) -> None:
        lines, self._waiting = self._waiting, []
        if not lines:
            return
        lines.append("")
        with contextlib.suppress(OSError, ValueError):  # whoever read the log is gone: nobody is left to tell
            self._out.write("\n".join(lines))
            self._out.flush()


class _Clock:
    """The time as text. Formatting it costs as much as the rest of a line, so a second's text is kept."""

    def __init__(self, pattern: str, zone: tzinfo | None) -> None:
        self._pattern = pattern
        self._zone = zone
        self._second = 0
        self._text = ""

    def __call__(self) -> str:
        """To the millisecond."""
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, self._zone).strftime(self._pattern)
        return f"{self._text}.{int((now - second) * 1000):03d}"


class _JsonRenderer:
    """`{"event": "session.opened", …, "timestamp": "2026-11-23T22:31:07.120Z"}`."""

    def __init__(self) -> None:
        self._clock = _Clock("%Y-%m-%dT%H:%M:%S", UTC)

    def __call__(self, _logger: object, _method: str, event: EventDict) -> str:
        event["timestamp"] = f"{self._clock()}Z"
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class _ConsoleRenderer:
    """`22:31:07.120 info    session.opened       device_id=t-1 dialect=hub`."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours
        self._clock = _Clock("%H:%M:%S", None)

    def __call__(self, _logger: object, _method: str, event: EventDict) -> str:
        level, name = event.pop("level", "info"), event.pop("event", "")
        at = self._clock()
        fields = " ".join(f"{self._key(k)}{_plain(v)}" for k, v in event.items() if v is not None and v != "")
        if self._colours:
            colour = _COLOURS.get(level, "")
            return f"{_DIM}{at}{_RESET} {colour}{level:<7}{_RESET} {_BOLD}{name:<24}{_RESET} {fields}"
        return f"{at} {level:<7} {name:<24} {fields}"

    def _key(self, key: str) -> str:
        return f"{_DIM}{key}={_RESET}" if self._colours else f"{key}="


def _plain(value: object) -> str:
    text = str(value)
    if text.isprintable() and " " not in text and '"' not in text:
        return text
    return orjson.dumps(text).decode()


class _BrokerHandler(logging.Handler):
    """Fold the standard library's records into our stream: one line, no traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        log = get_logger()
        level = logging.ERROR if record.levelno >= logging.ERROR else logging.WARNING
        message = record.getMessage().splitlines() or [""]
        error = record.exc_info[1] if record.exc_info else None
        log.log(
            level,
            "broker.reported",
            logger=record.name,
            message=message[0],
            error=str(error) if error else None,
        )
