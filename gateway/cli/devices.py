"""`gateway device …`: devices, from registration in advance to deletion, and their credentials."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli import device_files
from gateway.cli.channel import call, call_all
from gateway.cli.completion import complete_device
from gateway.cli.many import PAST, Chosen, change_many
from gateway.cli.options import CONFIG, Config, DeviceId, Json
from gateway.cli.output import print_fields, print_json, print_table, printable
from gateway.cli.selection import (
    GroupFilter,
    ModelFilter,
    PrefixFilter,
    StatusFilter,
    TagFilter,
    TemplateFilter,
    Unassociated,
)

__all__ = ["app"]

app = typer.Typer(help="Devices: what is registered, and what an operator decides about it.")

DeviceIds = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID]...", help="Devices by their ids.", autocompletion=complete_device),
]
ListFile = Annotated[
    Path | None, typer.Option("--file", help="Devices by a list: one id a line; - is standard input.")
]
Everything = Annotated[bool, typer.Option("--all", help="All devices.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say how many it would be; change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]


@app.command("list")
def list_(
    *,
    status: StatusFilter = None,
    template: TemplateFilter = None,
    model: ModelFilter = None,
    group: GroupFilter = None,
    prefix: PrefixFilter = None,
    tag: TagFilter = None,
    unassociated: Unassociated = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many; default: all.")] = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """List devices, by id."""
    devices = call_all(
        config,
        "device.list",
        "devices",
        at_most=limit,
        status=status.value if status else None,
        template_id=template,
        model_id=model,
        group=group,
        unassociated=unassociated,
        id_prefix=prefix,
        tag=tag,
    )
    if as_json:
        print_json(devices)
        return
    print_table(
        ("ID", "STATUS", "TEMPLATE", "GROUP", "CONNECTED"),
        (
            (
                device["id"],
                device["status"],
                device["template"],
                device["enrollmentGroup"],
                device["connected"],
            )
            for device in devices
        ),
        empty="no devices",
    )


@app.command()
def show(device_id: DeviceId, config: Config = CONFIG, as_json: Json = False) -> None:
    """Show one device."""
    device = call(config, "device.show", device_id=device_id)
    if as_json:
        print_json(device)
    else:
        print_fields(device)


@app.command()
def telemetry(device_id: DeviceId, config: Config = CONFIG, as_json: Json = False) -> None:
    """Show the last messages of a device since the gateway started, the newest first."""
    messages = call(config, "device.telemetry", device_id=device_id)["messages"]
    if as_json:
        print_json(messages)
        return
    print_table(
        ("AT", "TOPIC", "CHECK", "BODY"),
        ((each["at"], each["topic"], *_check_and_body(each)) for each in printable(messages)),
        empty=f"{device_id} has sent nothing that is remembered",
    )


@app.command()
def register(
    *,
    device_id: DeviceId,
    name: Annotated[str | None, typer.Option(help="A name for people; default: the id.")] = None,
    template: Annotated[str | None, typer.Option(help="Assign this device template.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="A tag, such as site=berlin; may be repeated.")
    ] = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Register a device before it first connects. It then needs no approval."""
    device = call(
        config, "device.register", device_id=device_id, name=name, template_id=template, tags=tag or []
    )
    _print_change(device, "registered", as_json=as_json)


@app.command()
def update(
    *,
    device_id: DeviceId,
    name: Annotated[str | None, typer.Option(help="Its new name.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Add this tag; may be repeated.")] = None,
    untag: Annotated[list[str] | None, typer.Option(help="Take this tag away; may be repeated.")] = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Change a device's name, or its tags."""
    device = call(
        config, "device.update", device_id=device_id, name=name, add_tags=tag or [], remove_tags=untag or []
    )
    _print_change(device, "updated", as_json=as_json)


app.command("import")(device_files.import_)
app.command("export")(device_files.export)


def _verb(action: str, text: str) -> Callable[..., None]:
    """The command that does `action` to the devices that are named, listed or filtered; `text` is its help."""

    def command(
        *,
        device_ids: DeviceIds = None,
        file: ListFile = None,
        status: StatusFilter = None,
        template: TemplateFilter = None,
        model: ModelFilter = None,
        group: GroupFilter = None,
        prefix: PrefixFilter = None,
        tag: TagFilter = None,
        unassociated: Unassociated = False,
        everything: Everything = False,
        dry_run: DryRun = False,
        yes: Yes = False,
        config: Config = CONFIG,
        as_json: Json = False,
    ) -> None:
        chosen = Chosen(
            ids=device_ids or [], file=file, status=status, template=template, model=model, group=group, prefix=prefix,
            tag=tag, unassociated=unassociated, everything=everything,
        )  # fmt: skip
        _change(config, action, chosen, dry_run=dry_run, yes=yes, as_json=as_json)

    return app.command(action, help=text)(command)


approve = _verb(
    "approve",
    "Let devices in that wait for approval: those that are named, or all that wait in what a filter means.",
)
reject = _verb("reject", "Turn devices away that wait for approval: block them. Unblocked, they wait again.")
block = _verb("block", "Refuse devices from now on, and close their sessions.")
unblock = _verb("unblock", "Give blocked devices the status back that they had.")
delete = _verb(
    "delete",
    "Forget devices and their twins, and close their sessions. With a valid credential one may register anew.",
)


@app.command()
def assign(
    device_id: DeviceId,
    template: Annotated[str, typer.Argument(metavar="TEMPLATE", help="The device template's DTMI.")],
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Assign a device template to a device, or migrate it to another one."""
    device = call(config, "device.assign", device_id=device_id, template_id=template)
    _print_change(device, f"assigned {template} to", as_json=as_json)


@app.command()
def migrate(
    *,
    to: Annotated[str, typer.Argument(metavar="TEMPLATE", help="The device template's DTMI.")],
    device_ids: DeviceIds = None,
    file: ListFile = None,
    status: StatusFilter = None,
    template: TemplateFilter = None,
    model: ModelFilter = None,
    group: GroupFilter = None,
    prefix: PrefixFilter = None,
    tag: TagFilter = None,
    unassociated: Unassociated = False,
    everything: Everything = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Assign a device template to many devices, or migrate them to another one."""
    chosen = Chosen(
        ids=device_ids or [], file=file, status=status, template=template, model=model, group=group, prefix=prefix,
        tag=tag, unassociated=unassociated, everything=everything,
    )  # fmt: skip
    change_many(config, "assign", chosen, assign_template=to, dry_run=dry_run, yes=yes, as_json=as_json)


@app.command()
def connection(
    *,
    device_id: DeviceId,
    keys: Annotated[
        bool, typer.Option("--keys", help="Show the keys, in the QR code too. They are secrets.")
    ] = False,
    group: Annotated[
        str | None,
        typer.Option(help="The group that a new device will come in by; default: SAS-IoT-Devices."),
    ] = None,
    qr: Annotated[bool, typer.Option("--qr", help="Show it as a QR code, too.")] = False,
    svg: Annotated[Path | None, typer.Option(help="Write the QR code to this SVG file.")] = None,
    snippet: Annotated[
        bool, typer.Option("--snippet", help="Show how a device says it, with Microsoft's Python SDK.")
    ] = False,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Show what a device needs to connect: ID scope, host, key, model. It need not be registered yet."""
    from gateway.cli.connection import print_connection, write_svg  # noqa: PLC0415 - as others, only when needed

    shown = call(
        config,
        "device.connection",
        device_id=device_id,
        keys=keys,
        group=group,
        svg=svg is not None or as_json,
    )
    if svg is not None:
        write_svg(svg, shown["svg"], secret=keys)
    if as_json:
        print_json(shown)
    else:
        print_connection(shown, qr=qr, snippet=snippet)


@app.command("compute-key")
def compute_key(
    device_id: DeviceId,
    group: Annotated[
        str | None, typer.Option(help="The SAS enrollment group; default: SAS-IoT-Devices.")
    ] = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Print the device's key: what it signs its SAS tokens with. It need not be registered yet."""
    keys = call(config, "device.compute_key", device_id=device_id, group=group)
    if as_json:
        print_json(keys)
    else:
        print(keys["primaryKey"])


@app.command("issue-cert")
def issue_cert(
    device_id: DeviceId,
    out: Annotated[Path, typer.Option(help="The directory to write ID.crt and ID.key to.")] = Path(),
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long the certificate is valid.")] = 365,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Issue a certificate for a device from the development CA that `gateway init` made."""
    from gateway.cli.certificates import issue  # noqa: PLC0415 - imports cryptography

    issued = issue(config, device_id, out=out, days=days)
    if as_json:
        print_json(issued)
    else:
        print(f"certificate (with its chain): {issued['certificate']}")
        print(f"key: {issued['key']}")


def _check_and_body(kept: dict[str, Any]) -> tuple[str, str]:
    """What came of a message, and what the device sent."""
    message = kept["message"]
    if message is None:
        return "", f"({kept['bytes']:,} bytes: too large to keep)"
    body = json.dumps(message["body"], ensure_ascii=False)
    if "reason" in message:
        return message["reason"], body
    issues = message["validation"]["issues"]
    told = f": {issues[0]['path']} {issues[0]['problem']}" if issues else ""
    return message["validation"]["status"] + told, body


def _print_change(device: dict[str, Any], done: str, *, as_json: bool) -> None:
    if as_json:
        print_json(device)
    else:
        print(f"{done} {device['id']}")


def _change(config: Path, action: str, chosen: Chosen, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    if chosen.is_single and not dry_run:
        device = call(config, f"device.{action}", device_id=chosen.ids[0])
        _print_change(device, PAST[action], as_json=as_json)
    else:
        change_many(config, action, chosen, dry_run=dry_run, yes=yes, as_json=as_json)
