"""What only SQLite needs of the store: a private file, and connections that commit durably."""

import os
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL

from gateway.errors import StoreUnavailable

__all__ = ["file_of", "is_sqlite", "make_private", "tune"]

_BUSY_TIMEOUT_MS: Final = 5000


def is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def file_of(url: URL) -> Path:
    """The database's file. Raises `StoreUnavailable` for a URL that doesn't simply give its path."""
    # ":memory:" would forget every device at a restart, and "file:" names a file in ways that we don't follow.
    if not url.database or url.database.startswith((":memory:", "file:")):
        raise StoreUnavailable(
            f"registry.url: {url.render_as_string()} names no file",
            hint="write the path of a file, as in sqlite+aiosqlite:////var/lib/gateway/gateway.db",
        )
    return Path(url.database)


def make_private(path: Path) -> None:
    """Make the file if need be. It holds keys: nobody but its owner reads it."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreUnavailable(
            f"{path}: {error.strerror}", hint="state_dir must be writable by this user"
        ) from None


def tune(connection: Any, _record: object) -> None:
    """What each connection needs anew: durable commits (FULL), and patience with another's write."""
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={_BUSY_TIMEOUT_MS}", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
