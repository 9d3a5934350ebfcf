"""`gateway trace ID`: what one device says and is told, packet by packet."""

import re
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gateway.cli.channel import call_running
from gateway.cli.completion import complete_device
from gateway.cli.logs import Tail, follow_log
from gateway.cli.options import CONFIG, Config, Json
from gateway.cli.output import print_json, print_table
from gateway.errors import GatewayError, OperationError

__all__ = ["parse_duration", "trace"]

_TIMEOUT_S: Final = 10.0
_RECENT: Final = 1000
"""Events since the start of the trace that are shown, should they be before the first look at the log."""
_UNITS: Final = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}


def trace(
    *,
    device_id: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]",
            help="The device's id; without it: list who is traced.",
            autocompletion=complete_device,
        ),
    ] = None,
    for_: Annotated[str, typer.Option("--for", metavar="TIME", help="How long: 90s, 10m or 1h.")] = "10m",
    payload: Annotated[
        bool,
        typer.Option("--payload", help="Show payloads, too; what is called a secret in them is blanked."),
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Only switch it on: the packets are in the log.")
    ] = False,
    off: Annotated[bool, typer.Option("--off", help="Switch it off.")] = False,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Show every MQTT packet from and to one device, connected or not, until the time is over or Ctrl-C."""
    if device_id is None:
        _list(config, as_json=as_json)
        return
    if off:
        ended = call_running(config, "trace.stop", timeout_s=_TIMEOUT_S, device_id=device_id)
        _print(ended, f"ended the trace of {device_id} after {ended['packets']} packets", as_json=as_json)
        return
    seconds = parse_duration(for_)
    started = call_running(
        config, "trace.start", timeout_s=_TIMEOUT_S, device_id=device_id, for_s=seconds, payload=payload
    )
    if detach:
        _print(started, f"tracing {device_id}: gateway logs -f --device {device_id}", as_json=as_json)
    else:
        _show(config, device_id, started, as_json=as_json)


def parse_duration(text: str) -> int:
    """`90s`, `10m`, `1h` → seconds. Raises `OperationError`."""
    found = re.fullmatch(r"(\d{1,6})\s*([a-z]*)", text.strip().lower())
    if found is None or found[2] not in _UNITS or not int(found[1]):
        raise OperationError(f"{text!r} is not a time", hint="write it like 90s, 10m or 1h")
    return int(found[1]) * _UNITS[found[2]]


def _list(config: Path, *, as_json: bool) -> None:
    traces = call_running(config, "trace.list", timeout_s=_TIMEOUT_S)["traces"]
    if as_json:
        print_json(traces)
        return
    rows = ((each["id"], each["packets"], each["endsAt"]) for each in traces)
    print_table(("ID", "PACKETS", "UNTIL"), rows, empty="nobody is traced")


def _print(document: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(document)
    else:
        print(text)


class _Over(Exception):  # noqa: N818 - not an error
    """The trace has ended, so there is nothing more to follow."""


class _TraceTail(Tail):
    """Prints until the trace ends."""

    def print(self, batch: dict[str, Any]) -> None:
        super().print(batch)
        if any(event["event"] == "trace.ended" for event in batch["events"]):
            raise _Over


def _show(config: Path, device_id: str, started: dict[str, Any], *, as_json: bool) -> None:
    """Everything that the log has of the device while it is traced. Interrupted, it ends the trace."""
    from gateway.settings import load_settings  # noqa: PLC0415

    tail = _TraceTail(as_json=as_json)
    tail.notice(f"tracing {device_id} until {started['endsAt']}; Ctrl-C ends it")
    arguments = {
        "device_id": device_id, "level": "debug", "recent": _RECENT, "since": started["startedAt"], "follow": True,
    }  # fmt: skip
    try:
        follow_log(load_settings(config), config, arguments, tail)
    except _Over:
        return
    except KeyboardInterrupt:
        try:
            call_running(config, "trace.stop", timeout_s=_TIMEOUT_S, device_id=device_id)
        except GatewayError as error:
            tail.notice(error.message)
        raise
