"""`gateway group ca …`: the certificate authorities of an enrollment group, and proof of possession."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.channel import call
from gateway.cli.files import read_text
from gateway.cli.groups import Name, Slot, print_change
from gateway.cli.options import CONFIG, Config, Json
from gateway.cli.output import print_fields, print_json

__all__ = ["app"]

app = typer.Typer(help="The CAs that sign a group's devices: a primary, and a secondary for a change of CA.")

WhichCa = Annotated[Slot, typer.Argument(help="Which of the two CAs.")]


@app.command()
def show(name: Name, slot: WhichCa, config: Config = CONFIG, as_json: Json = False) -> None:
    """Show a CA: whose it is, until when it is good, whether it is verified."""
    found = call(config, "group.show_ca", name=name, slot=slot.value)
    if as_json:
        print_json(found)
        return
    certificate = found.pop("certificate")
    print_fields(found)
    print(certificate, end="")


@app.command("set")
def set_(
    *,
    name: Name,
    slot: WhichCa,
    file: Annotated[Path, typer.Argument(help="PEM: the CA's certificate, root or intermediate.")],
    verified: Annotated[
        bool, typer.Option("--verified", help="It is yours: no proof of possession is needed.")
    ] = False,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Give a group a CA, in place of the one there is. It vouches for devices once it is verified."""
    result = call(
        config, "group.set_ca", name=name, slot=slot.value, certificate=read_text(file), verified=verified
    )
    done = "verified" if result[f"{slot.value}Certificate"]["verified"] else "not yet verified"
    print_change(result, f"set the {slot.value} CA ({done}) of", as_json=as_json)


@app.command()
def remove(name: Name, slot: WhichCa, config: Config = CONFIG, as_json: Json = False) -> None:
    """Take a CA from a group: what it signed is refused at once, and its sessions are closed."""
    result = call(config, "group.remove_ca", name=name, slot=slot.value)
    print_change(result, f"removed the {slot.value} CA of", as_json=as_json)


@app.command("set-crl")
def set_crl(
    *,
    name: Name,
    slot: WhichCa,
    file: Annotated[Path, typer.Argument(help="PEM: the CA's certificate revocation list.")],
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Give a CA its revocation list, in place of the one there is: what is on it is refused, its sessions are closed."""
    result = call(config, "group.set_crl", name=name, slot=slot.value, crl=read_text(file))
    revoked = result[f"{slot.value}Certificate"]["revocationList"]["revoked"]
    print_change(
        result, f"set the revocation list of the {slot.value} CA ({revoked} revoked) of", as_json=as_json
    )


@app.command("remove-crl")
def remove_crl(name: Name, slot: WhichCa, config: Config = CONFIG, as_json: Json = False) -> None:
    """Take a CA's revocation list away: what was on it is let in again."""
    result = call(config, "group.remove_crl", name=name, slot=slot.value)
    print_change(result, f"removed the revocation list of the {slot.value} CA of", as_json=as_json)


@app.command()
def code(name: Name, slot: WhichCa, config: Config = CONFIG, as_json: Json = False) -> None:
    """Print a new verification code: the CN of a certificate that the CA's owner is to sign with it."""
    made = call(config, "group.make_verification_code", name=name, slot=slot.value)
    if as_json:
        print_json(made)
    else:
        print(made["verificationCode"])


@app.command()
def verify(
    name: Name,
    slot: WhichCa,
    file: Annotated[Path, typer.Argument(help="PEM: a certificate, signed by the CA, whose CN is the code.")],
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Prove possession of a CA's key. From then on it vouches for devices."""
    result = call(config, "group.verify_ca", name=name, slot=slot.value, certificate=read_text(file))
    print_change(result, f"verified the {slot.value} CA of", as_json=as_json)
