"""`gateway encryption-key`: what the keys in the database are encrypted with. Both commands work without a gateway."""

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli.files import write_new
from gateway.cli.options import CONFIG, Config, Json
from gateway.cli.output import print_json
from gateway.errors import OperationError

if TYPE_CHECKING:
    from gateway.registry.keyring import Keyring
    from gateway.registry.store import SqlStore

__all__ = ["app"]

_MAX_NAMED_ROWS: Final = 20

app = typer.Typer(
    help="The key that devices' and groups' keys are encrypted with in the database.", no_args_is_help=True
)


@app.command("new")
def new(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it; must not exist.")],
    as_json: Json = False,
) -> None:
    """Make a key. Name its file in `registry.encryption_key_file`; the next start encrypts what is in the clear."""
    from gateway.registry.keyring import new_key  # noqa: PLC0415 - `gateway --help` needs none of this

    write_new(file, f"{new_key()}\n".encode(), mode=0o600)
    if as_json:
        print_json({"file": str(file)})
    else:
        print(f"a new key is in {file}; keep a copy of it, but not beside the database's backups")


@app.command("rotate")
def rotate(config: Config = CONFIG, as_json: Json = False) -> None:
    """Encrypt everything with a new key, and forget the old one. The gateway must be stopped.

    Whenever it is interrupted, the key file has every key that the database needs: run it again. Nor is the old one
    forgotten while a row is damaged, so that it can't be encrypted anew: the error says which.
    """
    from gateway.registry.keyring import (  # noqa: PLC0415
        ENVIRONMENT,
        load_keyring,
        new_key,
        read_key_file,
        write_key_file,
    )
    from gateway.settings import load_settings  # noqa: PLC0415
    from gateway.state_lock import StateLock  # noqa: PLC0415

    settings = load_settings(config)
    file = settings.registry.encryption_key_file
    if ENVIRONMENT in os.environ:
        raise OperationError(
            f"the key comes from {ENVIRONMENT}, which a command can't change",
            hint="put a new key before the old one, a comma between them; start the gateway once; take the old one out",
        )
    if file is None:
        raise OperationError(
            "no key is set: keys are in the database as they are",
            hint="gateway encryption-key new FILE, name it in registry.encryption_key_file, and start the gateway",
        )
    with StateLock(settings.lock_file):
        asyncio.run(_seal(settings.store_url, load_keyring(settings)))  # is this the key at all?
        fresh = new_key()
        write_key_file(file, [fresh, *read_key_file(file)])
        keyring = load_keyring(settings)
        store = asyncio.run(_seal(settings.store_url, keyring))
        sealed, left = store.sealing
        if left:
            named = ", ".join(left[:_MAX_NAMED_ROWS])
            raise OperationError(
                f"damaged rows can't be encrypted with the new key {keyring.current}, so the old keys stay in {file}"
                f" behind it ({len(left)} of {sealed + len(left)}: {named})",
                hint="restore them from a backup, or delete them (gateway enrollment delete), and run it again",
            )
        write_key_file(file, [fresh])
    if store.holds_remains:
        typer.echo(
            "warning: another program reads the database, so what the old key encrypted is still in its file;"
            " the next start of the gateway erases it",
            err=True,
        )
    if as_json:
        print_json({"file": str(file), "key": keyring.current, "enrollments": sealed})
    else:
        print(
            f"{sealed} enrollments and groups are encrypted with the new key {keyring.current}, the only one in {file}"
        )


async def _seal(store_url: str, keyring: "Keyring") -> "SqlStore":
    """The store, closed again, with what came of it."""
    from gateway.registry.store import SqlStore  # noqa: PLC0415

    store = SqlStore(store_url, keyring)
    await store.open()
    await store.close()
    return store
