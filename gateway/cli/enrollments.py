"""`gateway enrollment …`: individual enrollments. One wins over every group."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.channel import call, call_all
from gateway.cli.files import read_key, read_optional
from gateway.cli.options import CONFIG, Config, Json
from gateway.cli.output import print_fields, print_json, print_table

__all__ = ["app"]

app = typer.Typer(help="Individual enrollments: one device with a credential of its own.")

DeviceId = Annotated[str, typer.Argument(metavar="ID", help="The device's id, which is its registration id.")]


@app.command()
def create(
    *,
    device_id: DeviceId,
    certificate: Annotated[
        Path | None, typer.Option(help="PEM: the device's own certificate, self-signed or not.")
    ] = None,
    secondary_certificate: Annotated[Path | None, typer.Option(help="PEM: its next one.")] = None,
    thumbprint: Annotated[
        str | None, typer.Option(help="Instead of the certificate: its SHA-1 or SHA-256, in hex.")
    ] = None,
    secondary_thumbprint: Annotated[str | None, typer.Option(help="Likewise, of its next one.")] = None,
    primary_key_file: Annotated[
        Path | None, typer.Option(help="A file with the device's key in base64; default: a generated one.")
    ] = None,
    secondary_key_file: Annotated[Path | None, typer.Option(help="Likewise, the secondary key.")] = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Enroll one device: with SAS keys, or with a certificate if one is given.

    The device needs no approval. Keys are read from files, so that no shell history keeps them.
    """
    enrollment = call(
        config,
        "enrollment.create",
        device_id=device_id,
        attestation="x509" if certificate or thumbprint else "symmetricKey",
        primary_certificate=read_optional(certificate),
        secondary_certificate=read_optional(secondary_certificate),
        primary_thumbprint=thumbprint,
        secondary_thumbprint=secondary_thumbprint,
        primary_key=read_key(primary_key_file),
        secondary_key=read_key(secondary_key_file),
    )
    if as_json:
        print_json(enrollment)
    else:
        print(f"enrolled {enrollment['id']} ({enrollment['attestation']})")


@app.command("list")
def list_(config: Config = CONFIG, as_json: Json = False) -> None:
    """List the individual enrollments."""
    enrollments = call_all(config, "enrollment.list", "enrollments")
    if as_json:
        print_json(enrollments)
        return
    print_table(
        ("ID", "TYPE", "ENABLED"),
        ((enrollment["id"], enrollment["attestation"], enrollment["enabled"]) for enrollment in enrollments),
        empty="no individual enrollments; make one with `gateway enrollment create`",
    )


@app.command()
def show(
    device_id: DeviceId,
    keys: Annotated[bool, typer.Option("--keys", help="Show the keys, too. They are secrets.")] = False,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Show one individual enrollment."""
    enrollment = call(config, "enrollment.show", device_id=device_id, keys=keys)
    if as_json:
        print_json(enrollment)
    else:
        print_fields(enrollment)


@app.command()
def enable(device_id: DeviceId, config: Config = CONFIG, as_json: Json = False) -> None:
    """Let the device in again."""
    _print_change(call(config, "enrollment.enable", device_id=device_id), "enabled", as_json=as_json)


@app.command()
def disable(device_id: DeviceId, config: Config = CONFIG, as_json: Json = False) -> None:
    """Refuse the device, whatever group it could come in by, and close its session."""
    _print_change(call(config, "enrollment.disable", device_id=device_id), "disabled", as_json=as_json)


@app.command()
def delete(device_id: DeviceId, config: Config = CONFIG, as_json: Json = False) -> None:
    """Delete the enrollment; the device stays, and may come in by a group. Closes its session."""
    _print_change(call(config, "enrollment.delete", device_id=device_id), "deleted", as_json=as_json)


def _print_change(result: dict[str, Any], done: str, *, as_json: bool) -> None:
    if as_json:
        print_json(result)
    else:
        print(f"{done} the enrollment of {result['id']}")
