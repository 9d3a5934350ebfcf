"""`gateway status`: the gateway on one screen."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli.channel import call
from gateway.cli.options import CONFIG, Config, Json
from gateway.cli.output import print_json, print_page, printable
from gateway.errors import GatewayError, OperationError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

__all__ = ["status"]

_REFRESH_S: Final = 1.0
_MAX_REASONS: Final = 4
_MAX_CERTIFICATES: Final = 4
_SOON_DAYS: Final = 30
_BARS: Final = "▁▂▃▄▅▆▇█"
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_STATUS_STYLES: Final = {"provisioned": "green", "registered": "", "waiting": "yellow", "blocked": "red"}


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Stay, and refresh each second.")] = False,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """What the gateway holds and how it is doing, on one screen: sessions, rates, refusals, certificates that expire."""
    if watch:
        if as_json or not sys.stdout.isatty():
            raise OperationError("--watch needs a terminal", hint="leave --json out, or poll without --watch")
        _watch(config)
        return
    document = call(config, "status")
    if as_json:
        print_json(document)
    else:
        print_page(_page(printable(document)))


def _watch(config: Path) -> None:
    """Until interrupted. A gateway that restarts, or a store that is busy, is a line on the screen."""
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    page: RenderableType = Text("…")
    with Live(page, console=Console(highlight=False), screen=True, auto_refresh=False) as live:
        while True:
            try:
                page = _page(printable(call(config, "status")))
            except GatewayError as error:
                page = Text(f"{error.message}\n{error.hint}", style="red")
            live.update(page, refresh=True)
            time.sleep(_REFRESH_S)


def _page(document: dict[str, Any]) -> "RenderableType":
    from rich.console import Group  # noqa: PLC0415 - rich takes as long to import as a command to run
    from rich.table import Table  # noqa: PLC0415

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    rows: list[tuple[str, Any]] = [("devices", _devices(document))]
    if document["running"]:
        rows = [("sessions", _sessions(document)), *rows, *_running(document)]
    else:
        rows.append(("store", _store(document)))
    rows.append(
        ("templates", f"{document['templates']}, and {_count(document['groups'], 'enrollment group')}")
    )
    rows.append(("certificates", _certificates(document)))
    for name, shown in rows:
        table.add_row(name, shown)
    return Group(_head(document), "", table)


def _head(document: dict[str, Any]) -> "Text":
    from rich.text import Text  # noqa: PLC0415

    head = Text().append(f"gateway {document['version']}", style="bold")
    if document["running"]:
        head.append("  running", style="green").append(f" for {_duration(document['uptimeS'])}")
    else:
        head.append("  not running", style="yellow")
    return head.append(f"  {document['hosts'][0]}, ID scope {document['idScope']}", style="dim")


def _running(document: dict[str, Any]) -> list[tuple[str, Any]]:
    rates, registrar = document["rates"], document["registrar"]
    commits, written, queue = rates["commits"], rates["written"], registrar["maxQueue"]
    batch = written["total"] / commits["total"] if commits["total"] else 0
    lost = [f"{document['dropped']} copies dropped"] if document["dropped"] else []
    lost += [f"{document['deadLettered']} dead letters"] if document["deadLettered"] else []
    return [
        ("connects", _rate(rates["accepted"])),
        ("refusals", _rate(rates["refused"], bad=True)),
        *([("", _reasons(document))] if document["refusals"] else []),
        ("storms", _storms(document["storm"])),
        ("telemetry", _rate(rates["telemetry"])),
        ("sinks", ", ".join([*document["sinks"], *(lost or ["nothing dropped"])])),
        (
            "registrar",
            f"{registrar['waiting']} of {queue} waiting, {commits['now']:g} commits/s of {batch:.1f} changes",
        ),
        ("store", _store(document)),
    ]


def _storms(storm: dict[str, Any]) -> str:
    """What storm control has shed since the start, if anything."""
    shed = {
        "turned away": storm["turnedAway"],
        "gave up waiting": storm["gaveUp"],
        "over the rate": storm["overRate"],
        "over the registrations": storm["overRegistrations"],
        "answers delayed": storm["delayed"],
    }
    told = ", ".join(f"{count} {name}" for name, count in shed.items() if count)
    return f"{_count(storm['handshakes'], 'handshake')}, {storm['waiting']} waiting; {told or 'nothing shed'}"


def _sessions(document: dict[str, Any]) -> str:
    by_dialect = ", ".join(f"{count} {name}" for name, count in document["sessionsByDialect"].items())
    return f"{document['sessions']} ({by_dialect}) on {_count(document['connections'], 'connection')}"


def _devices(document: dict[str, Any]) -> "Text":
    from rich.text import Text  # noqa: PLC0415

    shown = Text(", ").join(
        Text(f"{count} {name}", style=_STATUS_STYLES[name] if count else "dim")
        for name, count in document["devices"].items()
    )
    if document["devices"]["waiting"]:
        shown.append("\napprove those who wait: ", style="dim").append("gateway device list --status waiting")
    return shown


def _rate(rate: dict[str, Any], *, bad: bool = False) -> "Text":
    from rich.text import Text  # noqa: PLC0415

    averages = (("now", "now"), ("minute", "last minute"), ("hour", "last hour"))
    text = " ".join(f"{rate[name]:g}/s {shown}".ljust(9 + len(shown)) for name, shown in averages)
    return Text(f"{text} ").append(_spark(rate["lastMinute"]), style="red" if bad else "green")


def _spark(values: list[int]) -> str:
    """The last half minute as bars."""
    shown = values[-30:]
    highest = max(shown, default=0)
    if not highest:
        return ""
    return "".join(_BARS[(value * (len(_BARS) - 1) + highest - 1) // highest] for value in shown)


def _reasons(document: dict[str, Any]) -> str:
    """The most frequent of the last hour."""
    refusals = document["refusals"]
    shown = [f"{each['count']} {each['reason']}" for each in refusals[:_MAX_REASONS]]
    more = [f"{len(refusals) - _MAX_REASONS} more reasons"] if len(refusals) > _MAX_REASONS else []
    return "last hour: " + ", ".join([*shown, *more])


def _store(document: dict[str, Any]) -> str:
    store = document["store"]
    if store["bytes"] is None:
        return str(store["kind"])
    return f"{store['kind']}, {store['file']}, {store['bytes'] / 1_000_000:.1f} MB"


def _certificates(document: dict[str, Any]) -> "Text":
    from rich.text import Text  # noqa: PLC0415

    shown = Text()
    for certificate in document["certificates"][:_MAX_CERTIFICATES]:
        days = certificate["days"]
        left = f"expires in {_count(days, 'day')}" if days >= 0 else f"expired {_count(-days, 'day')} ago"
        style = "red" if days < 0 else "yellow" if days < _SOON_DAYS else ""
        shown.append(left, style=style).append(f"  {certificate['of']}: {certificate['subject']}\n")
    more = len(document["certificates"]) - _MAX_CERTIFICATES
    if more > 0:
        shown.append(f"{more} more that last longer\n")
    leaves = document["leaves"]
    if leaves["verified"]:
        style = "yellow" if leaves["soon"] else ""
        shown.append(f"{leaves['soon']} of {leaves['verified']}", style=style)
        shown.append(f" devices' certificates seen expire within {leaves['soonDays']} days\n")
    shown.rstrip()
    return shown


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _duration(seconds: float) -> str:
    for limit, unit, name in ((2 * _MINUTE, 1, "s"), (2 * _HOUR, _MINUTE, "min"), (2 * _DAY, _HOUR, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / _DAY:.0f} days"
