"""`gateway audit`: who changed what, when, and how it looked before."""

from typing import Annotated, Any

import typer

from gateway.cli.channel import call_all
from gateway.cli.options import CONFIG, Config, Json
from gateway.cli.output import print_json, print_table

__all__ = ["audit"]

_VOLATILE = frozenset({"updatedAt", "connected", "etag"})
"""What differs without anybody's doing."""
_MAX_SHOWN = 4


def audit(
    *,
    target: Annotated[str | None, typer.Option(help="Only what was done to this device, group, …")] = None,
    by: Annotated[
        str | None, typer.Option(help="Only what they did: token/NAME over HTTP, local/USER here.")
    ] = None,
    verb: Annotated[str | None, typer.Option(help="Only this verb, such as device.block.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 50,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Show what operators changed, the newest first."""
    records = call_all(
        config, "audit.list", "records", cursor="before", at_most=limit, actor=by, verb=verb, target=target
    )
    if as_json:
        print_json(records)
        return
    print_table(
        ("AT", "BY", "WHAT", "TARGET", "OUTCOME", "CHANGE"),
        (
            (
                record["at"],
                record["actor"],
                record["verb"],
                record["target"],
                record["outcome"],
                _change(record),
            )
            for record in records
        ),
        empty="nobody has changed anything",
    )


def _change(record: dict[str, Any]) -> str:
    """What is different, in few words; what was asked for, if that can't be seen (a key that was replaced)."""
    if record["outcome"] != "done":
        return ""
    before, after = record["before"], record["after"]
    if before is None or after is None:
        return ""
    differs = [name for name in after if after[name] != before.get(name) and name not in _VOLATILE]
    if differs:
        return ", ".join(
            f"{name}: {_short(before.get(name))} → {_short(after[name])}" for name in differs[:_MAX_SHOWN]
        )
    given = {name: value for name, value in record["arguments"].items() if value != record["target"]}
    return ", ".join(f"{name}: {_short(value)}" for name, value in list(given.items())[:_MAX_SHOWN])


def _short(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case {"subject": subject, "verified": verified}:
            return f"{subject} ({'verified' if verified else 'not verified'})"
        case dict() | list():
            return "…"
        case _:
            return str(value)
