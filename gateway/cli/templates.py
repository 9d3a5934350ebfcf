"""`gateway template …`: device templates, made from DTDL models."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.channel import call
from gateway.cli.files import read_text
from gateway.cli.options import CONFIG, Config, Json
from gateway.cli.output import print_fields, print_json, print_table

__all__ = ["app"]

app = typer.Typer(help="Device templates: what the devices of a model send and accept.")


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(help="DTDL v2 or v3: an interface, or an array with its components.")
    ],
    root: Annotated[
        str | None, typer.Option(help="The DTMI of the model, if the file has several interfaces.")
    ] = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Publish a device template, and associate the devices that announced its model."""
    imported = call(config, "template.import", content=read_text(file), root=root)
    if as_json:
        print_json(imported)
        return
    count = imported["associatedDevices"]
    print(f"published {imported['id']}" + (f", associated {count} devices" if count else ""))


@app.command("list")
def list_(config: Config = CONFIG, as_json: Json = False) -> None:
    """List the device templates."""
    templates = call(config, "template.list")["templates"]
    if as_json:
        print_json(templates)
        return
    print_table(
        ("ID", "NAME", "SOURCE"),
        ((template["id"], template["displayName"], template["source"]) for template in templates),
        empty="no device templates; publish one with `gateway template import FILE`",
    )


@app.command()
def show(
    template_id: Annotated[str, typer.Argument(metavar="ID", help="The template's DTMI.")],
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Show one device template: what it can do."""
    template = call(config, "template.show", template_id=template_id)
    if as_json:
        print_json(template)
        return
    components = template.pop("components")
    print_fields(template | {f"component {name}": contents for name, contents in components.items()})


@app.command()
def export(
    template_id: Annotated[str, typer.Argument(metavar="ID", help="The template's DTMI.")],
    config: Config = CONFIG,
    as_json: Json = False,  # noqa: ARG001 - DTDL is JSON anyway
) -> None:
    """Print the template's DTDL, with its components: what `gateway template import` reads."""
    print_json(call(config, "template.export", template_id=template_id)["document"])
