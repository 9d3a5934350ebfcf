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
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, Final, Protocol, TextIO

import orjson
import structlog

from gateway.errors import GatewayError
from gateway.feed import LEVELS, Feed
from gateway.log_file import LogFile
from gateway.printable import escaped
from gateway.secrets import REDACTED
from gateway.settings import LogSettings

__all__ = ["FEED", "configure", "get_logger", "redact", "reopen", "report_failure"]

FEED: Final = Feed()
"""What is logged, for who follows it: a process has one log."""

_NAMES: Final = {number: name for name, number in LEVELS.items()}
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
_SIGNATURE_MARK: Final = "sig="
_SIGNATURE: Final = re.compile(r"(sig=)[^&\s'\"]+")
_COLOURS: Final = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m"}
_DIM, _BOLD, _RESET = "\x1b[2m", "\x1b[1m", "\x1b[0m"

_files: dict[Path, LogFile] = {}

Fields = dict[str, Any]
Render = Callable[[str, str, Fields], str]
"""Level, event and fields → the line, without its end. The fields stay as they are: who follows the log gets them, too."""


class _Output(Protocol):
    """Where lines go: a stream, or a `LogFile`."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> None: ...
    def isatty(self) -> bool: ...


def get_logger() -> Any:
    """The project's logger. Fields are passed with each event, so nothing is bound on the connect path."""
    return structlog.get_logger()


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's logging to write to `stream` (default: stdout)."""
    FEED.resize(settings.max_recent_events)
    out: _Output = stream or _file_of(settings) or sys.stdout
    level = LEVELS[settings.level]
    render: Render = _JsonRenderer() if settings.format == "json" else _ConsoleRenderer(colours=out.isatty())
    lines = _Lines(out, render, level)
    atexit.register(lines.flush)
    structlog.configure(
        processors=[],
        wrapper_class=_BoundLogger,
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_BrokerHandler()]
    root.setLevel(max(level, logging.WARNING))


def reopen() -> None:
    """Begin a new file of the same name, if there is one: logrotate has renamed it."""
    for file in _files.values():
        try:
            file.reopen()
        except OSError as error:
            get_logger().error("setting.warned", file=file.baseFilename, error=error.strerror)


def _file_of(settings: LogSettings) -> LogFile | None:
    """The log file, opened once however often the log is set up."""
    if settings.file is None:
        return None
    path = settings.file.absolute()
    if path not in _files:
        _files[path] = LogFile(path, max_bytes=settings.max_file_bytes, keep=settings.max_files)
    return _files[path]


def report_failure(error: GatewayError) -> None:
    """The one line that says why the gateway can't start or go on."""
    get_logger().error("gateway.failed", error=error.message, hint=error.hint)


def redact(fields: Fields) -> Fields:
    """Blank every value that is, or contains, a secret: by its key, or by the shape of a SAS signature."""
    redacted: Fields = {}
    for key, value in fields.items():
        if key in _SECRET_KEYS:
            redacted[key] = REDACTED
        elif value is not None and _SIGNATURE_MARK in (
            text := value if isinstance(value, str) else str(value)
        ):
            redacted[key] = _SIGNATURE.sub(rf"\1{REDACTED}", text)
        else:
            redacted[key] = value
    return redacted


class _BoundLogger(structlog.BoundLoggerBase):
    """structlog's logger without its chain of processors: one step from the call to the line.

    The chain (copy the context, add the level, redact, render, each a call) took 5 to 8 µs for a line, and a
    connect has two (docs/performance.md).
    """

    _logger: "_Lines"

    def debug(self, event: str, **fields: Any) -> None:
        self._logger.write(10, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._logger.write(20, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._logger.write(30, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._logger.write(40, event, fields)

    def log(self, level: int, event: str, **fields: Any) -> None:
        self._logger.write(level, event, fields)


class _Lines:
    """Renders lines and writes them: those of one turn of the event loop leave in one write.

    Two lines per connect, each written and flushed by itself, cost as much as deciding the CONNECT does.
    """

    def __init__(self, out: "_Output", render: Render, level: int) -> None:
        self._out = out
        self._render = render
        self._level = level
        self._waiting: list[str] = []

    def write(self, level: int, event: str, fields: Fields) -> None:
        if level < self._level:
            return
        if not _SECRET_KEYS.isdisjoint(fields):
            fields = redact(fields)
        name = _NAMES[level]
        line = self._render(name, event, fields)
        if _SIGNATURE_MARK in line:
            fields = redact(fields)
            line = self._render(name, event, fields)
        FEED.write(level, event, fields)
        if not self._waiting:
            try:
                asyncio.get_running_loop().call_soon(self.flush)
            except RuntimeError:  # no loop runs in this thread: start, end, or a worker
                self._waiting.append(line)
                self.flush()
                return
        self._waiting.append(line)

    def flush(self) -> None:
        lines, self._waiting = self._waiting, []
        if not lines:
            return
        lines.append("")
        with contextlib.suppress(OSError, ValueError):  # whoever read the log is gone: nobody is left to tell
            self._out.write("\n".join(lines))
            self._out.flush()


class _Clock:
    """The time as text, to the millisecond. Formatting it costs as much as the rest of a line, so it is kept."""

    def __init__(self, pattern: str, zone: tzinfo | None) -> None:
        self._pattern = pattern
        self._zone = zone
        self._second = 0
        self._second_text = ""
        self._millisecond = 0
        self._text = ""

    def __call__(self) -> str:
        now = int(time.time() * 1000)
        if now != self._millisecond:
            self._millisecond = now
            second, rest = divmod(now, 1000)
            if second != self._second:
                self._second = second
                self._second_text = datetime.fromtimestamp(second, self._zone).strftime(self._pattern)
            self._text = f"{self._second_text}.{rest:03d}"
        return self._text


class _JsonRenderer:
    """`{"timestamp":"2026-11-23T22:31:07.120Z","level":"info","event":"session.opened",…}`."""

    def __init__(self) -> None:
        self._clock = _Clock("%Y-%m-%dT%H:%M:%S", UTC)

    def __call__(self, level: str, event: str, fields: Fields) -> str:
        head = f'{{"timestamp":"{self._clock()}Z","level":"{level}","event":"{event}"'
        if not fields:
            return head + "}"
        line = f"{head},{orjson.dumps(fields, default=str)[1:].decode()}"
        # JSON escapes what is below 0x20 only. Nearly always a line is ASCII, and two looks at it say so.
        return line if line.isascii() and "\x7f" not in line else escaped(line)


class _ConsoleRenderer:
    """`22:31:07.120 info    session.opened       device_id=t-1 dialect=hub`."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours
        self._clock = _Clock("%H:%M:%S", None)

    def __call__(self, level: str, event: str, fields: Fields) -> str:
        if self._colours:
            colour = _COLOURS.get(level, "")
            text = " ".join(
                [f"{_DIM}{k}={_RESET}{_plain(v)}" for k, v in fields.items() if v is not None and v != ""]
            )
            return (
                f"{_DIM}{self._clock()}{_RESET} {colour}{level:<7}{_RESET} {_BOLD}{event:<24}{_RESET} {text}"
            )
        pairs = [f"{k}={v}" for k, v in fields.items() if v is not None and v != ""]
        text = " ".join(pairs)
        # Nearly always no value needs quotes, and one look at the whole line says so.
        if not text.isprintable() or '"' in text or text.count(" ") >= max(1, len(pairs)):
            text = " ".join([f"{k}={_plain(v)}" for k, v in fields.items() if v is not None and v != ""])
        return f"{self._clock()} {level:<7} {event:<24} {text}"


def _plain(value: object) -> str:
    text = str(value)
    if text.isprintable() and " " not in text and '"' not in text:
        return text
    return escaped(orjson.dumps(text).decode())


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
