"""What only SQLite needs of the store: a private file, connections that commit durably, and threads for the hot path.

SQLAlchemy's engine takes eight hops between threads for a commit, and converts every row twice. Registrations
and look-ups come by the thousand, so each has a thread here with a connection of its own, and a commit is one hop.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import URL

from gateway.errors import StoreUnavailable

__all__ = ["SqliteThread", "file_of", "is_sqlite", "make_private", "tune"]

T = TypeVar("T")

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


class SqliteThread:
    """A thread with a connection of its own, which does one piece of work after the other."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._connection: sqlite3.Connection | None = None

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `work`; raises what it raises, and `sqlite3.Error`."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._do, work)

    async def write(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """One durable transaction of all that `work` writes, or nothing of it. Raises likewise."""
        await asyncio.get_running_loop().run_in_executor(self._executor, self._transact, work)

    async def close(self) -> None:
        """Return when what was begun is done."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._executor, self._disconnect)
        self._executor.shutdown()

    # In the thread

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._connection is None:
            connection = sqlite3.connect(self._path, isolation_level=None)
            tune(connection, None)
            self._connection = connection
        return work(self._connection)

    def _transact(self, work: Callable[[sqlite3.Connection], None]) -> None:
        self._do(lambda connection: _transaction(connection, work))

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _transaction(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], None]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
