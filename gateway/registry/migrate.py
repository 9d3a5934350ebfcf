"""Bring a database to the current schema: Alembic, from the migrations in this package."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from gateway.errors import StoreCorrupt

__all__ = ["migrate"]

_MIGRATIONS: Final = Path(__file__).parent / "migrations"


def migrate(connection: Connection) -> None:
    """Upgrade within the caller's transaction. Raises `StoreCorrupt` for a database that isn't ours, or is newer."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    if current == scripts.get_current_head():
        return
    if current is None and inspect(connection).get_table_names():
        raise StoreCorrupt(
            "the database has tables that are not the gateway's", hint="give `registry.url` one of its own"
        )
    if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
        raise StoreCorrupt(
            f"the database is at schema {current}, which this version does not know",
            hint="it was used by a newer gateway: run that, or restore a backup",
        )
    command.upgrade(config, "head")
