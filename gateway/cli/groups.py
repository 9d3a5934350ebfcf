"""`gateway group …`: enrollment groups."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.channel import call
from gateway.cli.completion import complete_group
from gateway.cli.files import read_key, read_optional
from gateway.cli.options import CONFIG, Config, Json
from gateway.cli.output import print_fields, print_json, print_table

__all__ = ["Name", "Slot", "app", "print_change"]

app = typer.Typer(help="Enrollment groups: devices that share a key, or a certificate authority.")

Name = Annotated[
    str, typer.Argument(help="The group's name, SAS-IoT-Devices for example.", autocompletion=complete_group)
]


class Mechanism(StrEnum):
    """How the devices of a group prove who they are."""

    SAS = "sas"
    X509 = "x509"


class Slot(StrEnum):
    """One of two live credentials, so that either can be rolled over."""

    PRIMARY = "primary"
    SECONDARY = "secondary"


@app.command()
def create(
    *,
    name: Name,
    kind: Annotated[
        Mechanism | None,
        typer.Option("--type", help="SAS keys or X.509 certificates; default: X.509 if a CA is given."),
    ] = None,
    auto_approve: Annotated[
        bool, typer.Option(help="Register new devices at once, or let them wait for approval.")
    ] = True,
    primary_key_file: Annotated[
        Path | None, typer.Option(help="A file with the primary key in base64; default: a generated one.")
    ] = None,
    secondary_key_file: Annotated[Path | None, typer.Option(help="Likewise, the secondary key.")] = None,
    primary_ca: Annotated[
        Path | None,
        typer.Option(help="PEM: the CA (root or intermediate) that signs the devices' certificates."),
    ] = None,
    secondary_ca: Annotated[Path | None, typer.Option(help="PEM: a second CA, for a rollover.")] = None,
    verified: Annotated[
        bool, typer.Option(help="Take the CAs as your own, or ask for proof of possession of their keys.")
    ] = True,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Create an enrollment group. Keys are read from files, so that no shell history keeps them."""
    mechanism = kind or (Mechanism.X509 if primary_ca is not None else Mechanism.SAS)
    group = call(
        config,
        "group.create",
        name=name,
        attestation="x509" if mechanism is Mechanism.X509 else "symmetricKey",
        auto_approve=auto_approve,
        primary_key=read_key(primary_key_file),
        secondary_key=read_key(secondary_key_file),
        primary_certificate=read_optional(primary_ca),
        secondary_certificate=read_optional(secondary_ca),
        verified=verified,
    )
    if as_json:
        print_json(group)
    else:
        print(f"created group {group['id']}")
        if group["attestation"] == "x509" and group["primaryCertificate"] is None:
            print(f"give it the CA that signs its devices: gateway group ca set {group['id']} primary FILE")


@app.command("list")
def list_(config: Config = CONFIG, as_json: Json = False) -> None:
    """List the enrollment groups."""
    groups = call(config, "group.list")["groups"]
    if as_json:
        print_json(groups)
        return
    print_table(
        ("NAME", "TYPE", "ENABLED", "AUTO-APPROVE"),
        ((group["id"], group["attestation"], group["enabled"], group["autoApprove"]) for group in groups),
        empty="no enrollment groups; make one with `gateway group create`",
    )


@app.command()
def show(
    name: Name,
    keys: Annotated[bool, typer.Option("--keys", help="Show the keys, too. They are secrets.")] = False,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Show one enrollment group."""
    group = call(config, "group.show", name=name, keys=keys)
    if as_json:
        print_json(group)
    else:
        print_fields(group)


@app.command()
def enable(name: Name, config: Config = CONFIG, as_json: Json = False) -> None:
    """Let the devices of a group in again."""
    print_change(call(config, "group.enable", name=name), "enabled", as_json=as_json)


@app.command()
def disable(name: Name, config: Config = CONFIG, as_json: Json = False) -> None:
    """Refuse the devices of a group, and close their sessions."""
    print_change(call(config, "group.disable", name=name), "disabled", as_json=as_json)


@app.command()
def delete(name: Name, config: Config = CONFIG, as_json: Json = False) -> None:
    """Delete a group; its devices stay, but are refused. Closes their sessions."""
    print_change(call(config, "group.delete", name=name), "deleted", as_json=as_json)


@app.command()
def update(
    *,
    name: Name,
    display_name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    auto_approve: Annotated[
        bool | None, typer.Option(help="Register new devices at once, or let them wait for approval.")
    ] = None,
    primary_key_file: Annotated[
        Path | None, typer.Option(help="A file with a primary key in base64, to replace the old one.")
    ] = None,
    secondary_key_file: Annotated[Path | None, typer.Option(help="Likewise, the secondary key.")] = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Change a group. Sessions that came in by a key that is replaced are closed."""
    result = call(
        config,
        "group.update",
        name=name,
        display_name=display_name,
        auto_approve=auto_approve,
        primary_key=read_key(primary_key_file),
        secondary_key=read_key(secondary_key_file),
    )
    print_change(result, "updated", as_json=as_json)


@app.command("regenerate-key")
def regenerate_key(
    name: Name,
    slot: Annotated[Slot, typer.Argument(help="Which of the two keys.")],
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Replace one of a group's keys by a new one, and print it. Sessions of the old key are closed."""
    result = call(config, "group.regenerate_key", name=name, slot=slot.value)
    if as_json:
        print_json(result)
    else:
        print(result[f"{slot.value}Key"])


def print_change(result: dict[str, Any], done: str, *, as_json: bool) -> None:
    if as_json:
        print_json(result)
        return
    closed = result.get("closedSessions", 0)
    print(f"{done} group {result['id']}" + (f", {closed} sessions closed" if closed else ""))
