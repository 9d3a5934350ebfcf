"""`gateway token …`: API tokens, which programs show to operate the gateway over HTTP."""

from enum import StrEnum
from typing import Annotated

import typer

from gateway.cli.channel import call
from gateway.cli.options import CONFIG, Config, Json
from gateway.cli.output import print_json, print_table

__all__ = ["app"]

app = typer.Typer(help="API tokens: which programs may operate the gateway over HTTP, and how far.")

Name = Annotated[str, typer.Argument(help="What the audit log calls who shows the token.")]


class Role(StrEnum):
    """What a token may do; each role has the rights of the one before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    BUILDER = "builder"
    ADMINISTRATOR = "administrator"


@app.command()
def create(
    name: Name,
    role: Annotated[Role, typer.Option(help="What it may do.")] = Role.OPERATOR,
    days: Annotated[float, typer.Option(help="How long it is good, in days.")] = 365.0,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Make an API token, and print it: nobody can show it again."""
    token = call(config, "token.create", name=name, role=role.value, days=days)
    if as_json:
        print_json(token)
    else:
        print(token["token"])


@app.command("list")
def list_(config: Config = CONFIG, as_json: Json = False) -> None:
    """List the API tokens, without their secrets."""
    tokens = call(config, "token.list")["tokens"]
    if as_json:
        print_json(tokens)
        return
    print_table(
        ("NAME", "ROLE", "EXPIRES", "EXPIRED"),
        ((token["id"], token["role"], token["expiresAt"], token["expired"]) for token in tokens),
        empty="no API tokens; make one with `gateway token create`",
    )


@app.command()
def delete(name: Name, config: Config = CONFIG, as_json: Json = False) -> None:
    """Delete an API token: it is refused from now on."""
    deleted = call(config, "token.delete", name=name)
    if as_json:
        print_json(deleted)
    else:
        print(f"deleted token {deleted['id']}")
