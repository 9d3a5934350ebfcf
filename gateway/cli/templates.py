"""`gateway template …`: device templates, made from DTDL models."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.channel import call, call_all, run_job
from gateway.cli.completion import complete_device, complete_template
from gateway.cli.files import read_text, write_new
from gateway.cli.options import CONFIG, Config, Json
from gateway.cli.output import print_fields, print_json, print_table

__all__ = ["app"]

app = typer.Typer(help="Device templates: what the devices of a model send and accept.")


@app.command("import")
def import_(
    *,
    file: Annotated[
        Path, typer.Argument(help="DTDL v2 or v3: an interface, or an array with its components.")
    ],
    root: Annotated[
        str | None, typer.Option(help="The DTMI of the model, if the file has several interfaces.")
    ] = None,
    assign: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Assign it to this device, whatever it announced; may be repeated."),
    ] = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Publish a device template, and associate the devices that announced its model."""
    imported = call(config, "template.import", content=read_text(file), root=root)
    assigned: dict[str, Any] = {"changed": 0, "unchanged": 0, "failed": 0}
    problems: list[dict[str, Any]] = []
    if assign:
        assigned = run_job(
            config, "device.change", [assign], lambda report: problems.extend(report["problems"]),
            action="assign", by="list", assign_template=imported["id"],
        )  # fmt: skip
    if as_json:
        print_json(imported | {"assignedDevices": assigned["changed"], "problems": problems})
    else:
        said = [f"published {imported['id']}"]
        if imported["associatedDevices"]:
            said.append(f"associated {imported['associatedDevices']} devices")
        if assigned["changed"] + assigned["unchanged"]:
            said.append(f"assigned to {assigned['changed'] + assigned['unchanged']}")
        print(", ".join(said))
        for problem in problems:
            print(problem["problem"], file=sys.stderr)
    if problems:
        raise typer.Exit(1)


@app.command("list")
def list_(config: Config = CONFIG, as_json: Json = False) -> None:
    """List the device templates."""
    templates = call(config, "template.list")["templates"]
    if as_json:
        print_json(templates)
        return
    print_table(
        ("ID", "NAME", "SOURCE", "DEVICES"),
        (
            (template["id"], template["displayName"], template["source"], template["devices"])
            for template in templates
        ),
        empty="no device templates; publish one with `gateway template import FILE`",
    )


@app.command()
def show(
    template_id: Annotated[
        str, typer.Argument(metavar="ID", help="The template's DTMI.", autocompletion=complete_template)
    ],
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
    template_id: Annotated[
        str, typer.Argument(metavar="ID", help="The template's DTMI.", autocompletion=complete_template)
    ],
    config: Config = CONFIG,
    as_json: Json = False,  # noqa: ARG001 - DTDL is JSON anyway
) -> None:
    """Print the template's DTDL, with its components: what `gateway template import` reads."""
    print_json(call(config, "template.export", template_id=template_id)["document"])


@app.command()
def versions(
    model: Annotated[str, typer.Argument(metavar="ID", help="A DTMI, of any version or without one.")],
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """List the published versions of a model, and how many devices have each."""
    found = call(config, "template.versions", model=model)
    if as_json:
        print_json(found)
        return
    print_table(
        ("VERSION", "ID", "NAME", "SOURCE", "DEVICES"),
        (
            (each["version"], each["id"], each["displayName"], each["source"], each["devices"])
            for each in found["versions"]
        ),
        empty="",
    )


@app.command()
def devices(
    template_id: Annotated[
        str, typer.Argument(metavar="ID", help="The template's DTMI.", autocompletion=complete_template)
    ],
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """List the devices that have a device template."""
    call(config, "template.show", template_id=template_id)  # says so if there is none
    found = call_all(config, "device.list", "devices", template_id=template_id)
    if as_json:
        print_json(found)
        return
    print_table(
        ("ID", "NAME", "STATUS", "CONNECTED"),
        ((device["id"], device["name"], device["status"], device["connected"]) for device in found),
        empty="no device has this template",
    )


@app.command()
def delete(
    template_id: Annotated[
        str, typer.Argument(metavar="ID", help="The template's DTMI.", autocompletion=complete_template)
    ],
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Delete a device template that no device has."""
    deleted = call(config, "template.delete", template_id=template_id)
    if as_json:
        print_json(deleted)
    else:
        print(f"deleted {deleted['id']}")


@app.command()
def autogenerate(
    *,
    device_id: Annotated[
        str,
        typer.Argument(
            metavar="DEVICE", help="An Unassociated device that sends.", autocompletion=complete_device
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option("--id", metavar="DTMI", help="The model's id; default: what the device announced."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The template's name for people.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to write; default: standard output.")
    ] = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Write DTDL from what an Unassociated device sends, for you to review and import.

    With --json: what was seen and the notes, too.
    """
    generated = call(config, "template.autogenerate", device_id=device_id, model_id=model, display_name=name)
    text = json.dumps(generated["document"], indent=2, ensure_ascii=False) + "\n"
    if out is not None:
        write_new(out, text.encode(), mode=0o644)
    if as_json:
        print_json(generated)
        return
    if out is None:
        print(text, end="")
    print(f"{generated['id']}, from {generated['messages']} messages of {device_id}", file=sys.stderr)
    for note in generated["notes"]:
        print(f"note: {note}", file=sys.stderr)
    file = out or "FILE"
    print(f"review it, then: gateway template import {file} --assign {device_id}", file=sys.stderr)
