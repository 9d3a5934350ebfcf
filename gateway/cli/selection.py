"""Options that choose devices by what they are: the same for every command on many devices."""

from enum import StrEnum
from typing import Annotated

import typer

from gateway.cli.completion import complete_group, complete_template

__all__ = [
    "GroupFilter",
    "ModelFilter",
    "PrefixFilter",
    "Status",
    "StatusFilter",
    "TagFilter",
    "TemplateFilter",
    "Unassociated",
]


class Status(StrEnum):
    """A device's status."""

    WAITING = "waiting"
    REGISTERED = "registered"
    PROVISIONED = "provisioned"
    BLOCKED = "blocked"


StatusFilter = Annotated[Status | None, typer.Option("--status", help="Only devices of this status.")]
TemplateFilter = Annotated[
    str | None,
    typer.Option(
        "--template", help="Only devices of this device template.", autocompletion=complete_template
    ),
]
ModelFilter = Annotated[
    str | None, typer.Option("--model", help="Only devices that announced this model id.")
]
GroupFilter = Annotated[
    str | None,
    typer.Option("--group", help="Only devices of this enrollment group.", autocompletion=complete_group),
]
PrefixFilter = Annotated[str | None, typer.Option("--prefix", help="Only devices whose id begins like this.")]
TagFilter = Annotated[str | None, typer.Option("--tag", help="Only devices with this tag.")]
Unassociated = Annotated[bool, typer.Option("--unassociated", help="Only devices without a device template.")]
