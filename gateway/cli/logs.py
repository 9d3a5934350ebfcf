"""`gateway logs`: the log of the running gateway, its last events and those that come."""

import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli.channel import connect_running, no_gateway
from gateway.cli.completion import complete_device
from gateway.cli.options import CONFIG, Config, Json
from gateway.errors import StartError
from gateway.printable import escaped

if TYPE_CHECKING:
    from gateway.settings import Settings

__all__ = ["Tail", "follow_log", "format_event", "logs"]

_RETRY_S: Final = 0.5
_WIDE: Final = 120
"""From this width on times have milliseconds, and what goes on in a second line begins below what it belongs to."""
_COLOURS: Final = {"debug": "2", "info": "32", "warning": "33", "error": "31"}
_DIM, _BOLD, _HINT = "2", "1", "36"
_FIRST: Final = ("reason", "status", "change", "direction", "packet")
"""What an event is about comes first; what only ties lines together last."""
_SELF_EVIDENT: Final = ("direction", "packet")
"""Shown without their names."""
_LAST: Final = ("hint", "peer", "tls", "connection_id")


class Level(StrEnum):
    """A log level."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def logs(
    *,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on: print events as they come.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="Begin with so many past events.")] = 10,
    device: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Only what is about this device.", autocompletion=complete_device),
    ] = None,
    event: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Only events of this name, such as connect.refused or 'session.*'; may be repeated.",
        ),
    ] = None,
    level: Annotated[Level, typer.Option(help="Only events of this level and above.")] = Level.DEBUG,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Print the log of the running gateway: its last events, and with -f those that come."""
    from gateway.settings import load_settings  # noqa: PLC0415

    settings = load_settings(config)
    arguments = {
        "device_id": device, "events": event or [], "level": level.value, "recent": lines, "follow": follow,
    }  # fmt: skip
    tail = Tail(as_json=as_json)
    try:
        if follow:
            follow_log(settings, config, arguments, tail)
        else:
            _read(settings, config, arguments, tail.print)
    except BrokenPipeError:  # `gateway logs -f | head`: whoever read it has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _read(
    settings: "Settings",
    config: Path,
    arguments: dict[str, Any],
    on_progress: Callable[[dict[str, Any]], None],
) -> None:
    client = connect_running(settings)
    if client is None:
        raise no_gateway(settings, config)
    with client:
        client.run("log.follow", arguments, (), on_progress)


def follow_log(settings: "Settings", config: Path, arguments: dict[str, Any], tail: "Tail") -> None:
    """Until interrupted. A gateway that restarts is waited for, and goes on where it was left."""
    _before_it_is_lost(settings, config, arguments, tail)
    while True:
        tail.notice(f"the gateway on {settings.state_dir} is gone; waiting for it")
        while True:
            client = connect_running(settings)
            if client is not None:
                break
            time.sleep(_RETRY_S)
        tail.notice("the gateway is back")
        more = {"recent": settings.log.max_recent_events, "since": tail.position or arguments.get("since")}
        with client:
            try:
                client.run("log.follow", arguments | more, (), tail.print)
            except StartError:
                time.sleep(_RETRY_S)


def _before_it_is_lost(settings: "Settings", config: Path, arguments: dict[str, Any], tail: "Tail") -> None:
    try:
        _read(settings, config, arguments, tail.print)
    except StartError:
        if not tail.connected:
            raise


class Tail:
    """Where the events go."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self.connected = False
        self.position: str | None = None

    def print(self, batch: dict[str, Any]) -> None:
        """What the gateway reports."""
        self.connected = True
        if batch["dropped"]:
            self._dropped(batch["dropped"])
        for document in batch["events"]:
            self._write(document)
        self.position = batch["position"] or self.position
        sys.stdout.flush()

    def notice(self, text: str) -> None:
        """About the stream itself: to stderr, where it disturbs no program."""
        print(_styled(f"-- {text}", _DIM, on=self._colours), file=sys.stderr, flush=True)

    def _dropped(self, count: int) -> None:
        if self._as_json:
            _print_json({"timestamp": _now(), "level": "warning", "event": "stream.dropped", "count": count})
        else:
            self.notice(f"{count} events were lost: this reader is too slow")

    def _write(self, document: dict[str, Any]) -> None:
        if self._as_json:
            _print_json(document)
            return
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print(format_event(document, width=width, colours=self._colours))


def format_event(document: dict[str, Any], *, width: int | None, colours: bool) -> str:
    """One event for people: time, level, name, device, then its facts.

    In a terminal of `width` what does not fit goes on below, further in; None: all of it on one line.
    """
    facts = {name: value for name, value in document.items() if value is not None and value != ""}
    at, level, event = (facts.pop(name, "") for name in ("timestamp", "level", "event"))
    device = _plain(facts.pop("device_id", ""))
    wide = width is None or width >= _WIDE
    columns = [
        (_time_of_day(at, milliseconds=wide), _DIM),
        (f"{level:<7}", _COLOURS.get(level, "")),
        (f"{event:<20}", _BOLD),
        (f"{device:<14}", "36"),
    ]
    hint = facts.pop("hint", "") if width is not None else ""
    head = " ".join(_styled(text, style, on=colours) for text, style in columns)
    used = sum(len(text) for text, _ in columns) + len(columns) - 1
    words = [("" if name in _SELF_EVIDENT else name, _plain(facts[name])) for name in _ordered(facts)]
    if width is None:
        return " ".join([head, *(_pair(pair, colours) for pair in words)]).rstrip()
    indent = used + 1 if wide else 4
    shown = _wrapped(head, used, words, width=width, indent=indent, colours=colours)
    for line in textwrap.wrap(f"→ {_printable(hint)}", width - indent) if hint else ():
        shown += f"\n{' ' * indent}{_styled(line, _HINT, on=colours)}"
    return shown


def _wrapped(
    head: str, used: int, words: list[tuple[str, str]], *, width: int, indent: int, colours: bool
) -> str:
    lines, line, at = [], head, used
    for pair in words:
        length = (len(pair[0]) + 1 if pair[0] else 0) + len(pair[1])
        if at + 1 + length > width and at > indent:
            lines.append(line.rstrip())
            line, at = " " * indent, indent
        else:
            line, at = line + " ", at + 1
        line, at = line + _pair(pair, colours), at + length
    return "\n".join([*lines, line.rstrip()])


def _ordered(facts: dict[str, Any]) -> list[str]:
    def place(name: str) -> int:
        if name in _FIRST:
            return -len(_FIRST) + _FIRST.index(name)
        return 1 + _LAST.index(name) if name in _LAST else 0

    return sorted(facts, key=place)


def _pair(pair: tuple[str, str], colours: bool) -> str:
    name, value = pair
    if not name:
        return _styled(value, _BOLD, on=colours)
    style = "33" if name == "reason" else _DIM if name in _LAST and name != "hint" else ""
    return f"{_styled(f'{name}=', _DIM, on=colours)}{_styled(value, style, on=colours)}"


def _plain(value: object) -> str:
    """Quoted if it has spaces; nothing in it steers a terminal."""
    text = value if isinstance(value, str) else str(value)
    if text.isprintable() and " " not in text and '"' not in text:
        return text
    return '"' + _printable(text).replace('"', '\\"') + '"'


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def _styled(text: str, style: str, *, on: bool) -> str:
    return f"\x1b[{style}m{text}\x1b[0m" if on and style and text else text


def _time_of_day(timestamp: str, *, milliseconds: bool) -> str:
    """In the time of this terminal's place."""
    at = datetime.fromisoformat(timestamp).astimezone()
    return f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}" if milliseconds else f"{at:%H:%M:%S}"


def _print_json(document: dict[str, Any]) -> None:
    import orjson  # noqa: PLC0415

    print(escaped(orjson.dumps(document).decode()))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
