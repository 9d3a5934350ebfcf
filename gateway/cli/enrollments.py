"""`gateway enrollment …`: individual enrollments. One wins over every group."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.channel import call, call_all
from gateway.cli.files import read_key, read_optional, read_tpm_public
from gateway.cli.options import CONFIG, Config, DeviceId, Json
from gateway.cli.output import print_fields, print_json, print_table

__all__ = ["app"]

app = typer.Typer(help="Individual enrollments: one device with a credential of its own.")


Certificate = Annotated[
    Path | None, typer.Option(help="PEM: the device's own certificate, self-signed or not.")
]
SecondaryCertificate = Annotated[Path | None, typer.Option(help="PEM: its next one.")]
Thumbprint = Annotated[
    str | None, typer.Option(help="Instead of the certificate: its SHA-1 or SHA-256, in hex.")
]
SecondaryThumbprint = Annotated[str | None, typer.Option(help="Likewise, of its next one.")]
PrimaryKeyFile = Annotated[Path | None, typer.Option(help="A file with the device's key in base64.")]
SecondaryKeyFile = Annotated[Path | None, typer.Option(help="Likewise, the secondary key.")]
EndorsementKey = Annotated[
    Path | None,
    typer.Option(
        help="A file with the endorsement key of the device's TPM: TPM2B_PUBLIC, as it is or in base64."
    ),
]
StorageRootKey = Annotated[
    Path | None, typer.Option(help="Likewise, its storage root key, if the device may have no other.")
]


class KeySlot(StrEnum):
    """The two keys of an enrollment."""

    PRIMARY = "primary"
    SECONDARY = "secondary"


@app.command()
def create(
    *,
    device_id: DeviceId,
    certificate: Certificate = None,
    secondary_certificate: SecondaryCertificate = None,
    thumbprint: Thumbprint = None,
    secondary_thumbprint: SecondaryThumbprint = None,
    primary_key_file: PrimaryKeyFile = None,
    secondary_key_file: SecondaryKeyFile = None,
    endorsement_key: EndorsementKey = None,
    storage_root_key: StorageRootKey = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Enroll one device: by its certificate or its TPM if one is given, else with SAS keys.

    The device needs no approval. Keys are read from files, so that no shell history keeps them; without a file,
    they are generated.
    """
    enrollment = call(
        config,
        "enrollment.create",
        device_id=device_id,
        attestation=_mechanism(certificate or thumbprint, endorsement_key) or "symmetricKey",
        primary_certificate=read_optional(certificate),
        secondary_certificate=read_optional(secondary_certificate),
        primary_thumbprint=thumbprint,
        secondary_thumbprint=secondary_thumbprint,
        primary_key=read_key(primary_key_file),
        secondary_key=read_key(secondary_key_file),
        endorsement_key=read_tpm_public(endorsement_key),
        storage_root_key=read_tpm_public(storage_root_key),
    )
    if as_json:
        print_json(enrollment)
    else:
        closed = ", its session is closed" if enrollment["closedSessions"] else ""
        print(f"enrolled {enrollment['id']} ({enrollment['attestation']}){closed}")


@app.command()
def update(
    *,
    device_id: DeviceId,
    certificate: Certificate = None,
    secondary_certificate: SecondaryCertificate = None,
    thumbprint: Thumbprint = None,
    secondary_thumbprint: SecondaryThumbprint = None,
    remove_secondary: Annotated[bool, typer.Option(help="Drop the second certificate.")] = False,
    primary_key_file: PrimaryKeyFile = None,
    secondary_key_file: SecondaryKeyFile = None,
    endorsement_key: EndorsementKey = None,
    storage_root_key: StorageRootKey = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Change the credential, or give the device another kind of one. What is not given stays.

    If a credential is not good any more, the device's session is closed.
    """
    keys = primary_key_file or secondary_key_file
    enrollment = call(
        config,
        "enrollment.update",
        device_id=device_id,
        attestation=_mechanism(certificate or thumbprint, endorsement_key)
        or ("symmetricKey" if keys else None),
        primary_certificate=read_optional(certificate),
        secondary_certificate=read_optional(secondary_certificate),
        primary_thumbprint=thumbprint,
        secondary_thumbprint=secondary_thumbprint,
        remove_secondary=remove_secondary,
        primary_key=read_key(primary_key_file),
        secondary_key=read_key(secondary_key_file),
        endorsement_key=read_tpm_public(endorsement_key),
        storage_root_key=read_tpm_public(storage_root_key),
    )
    _print_change(enrollment, "updated", as_json=as_json)


@app.command()
def regenerate_key(
    device_id: DeviceId,
    key: Annotated[
        KeySlot | None,
        typer.Argument(help="Which of the two keys. A device with a TPM has only one: leave it out."),
    ] = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Replace one of the device's keys by a new one, and close its session.

    `show --keys` shows the new key. A TPM gets its new one when the device provisions itself again.
    """
    result = call(
        config, "enrollment.regenerate_key", device_id=device_id, key=key.value if key is not None else None
    )
    _print_change(result, "regenerated a key of", as_json=as_json)


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


def _mechanism(certificate: Path | str | None, endorsement_key: Path | None) -> str | None:
    """What was given says which mechanism is meant."""
    if endorsement_key is not None:
        return "tpm"
    return "x509" if certificate else None


def _print_change(result: dict[str, Any], done: str, *, as_json: bool) -> None:
    if as_json:
        print_json(result)
    else:
        closed = result.get("closedSessions", 0)
        print(f"{done} the enrollment of {result['id']}" + (", its session is closed" if closed else ""))
