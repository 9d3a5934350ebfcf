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

__all__ = ["DatabaseFile", "SqliteThread", "file_of", "is_sqlite", "make_private", "tune"]

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


class DatabaseFile:
    """Whether the file is still where it was. SQLite goes on writing to a file that was removed or moved away: what it then
    acknowledges is lost with the process.
    """

    def __init__(self, path: Path) -> None:
        """`path` is there and is the database."""
        self.path = path
        self._identity = self._look()

    def check(self) -> None:
        """Raise `StoreUnavailable` if nobody would find what is written now."""
        found = self._look()
        if found is None:
            raise StoreUnavailable(
                f"{self.path}: the file was removed or moved away under the running gateway",
                hint="move it back, with the -wal beside it; or restart the gateway, which then begins with what is there",
            )
        if found != self._identity:
            raise StoreUnavailable(
                f"{self.path}: another file is in its place",
                hint="restart the gateway to use it, or move the gateway's own back",
            )

    def _look(self) -> tuple[int, int] | None:
        try:
            there = os.stat(self.path)  # noqa: PTH116 - half the time of Path.stat, and it is done at each commit
        except OSError:
            return None
        return there.st_dev, there.st_ino


class SqliteThread:
    """A thread with a connection of its own, which does one piece of work after the other."""

    def __init__(self, file: DatabaseFile, name: str) -> None:
        self._file = file
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._connection: sqlite3.Connection | None = None

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `work`; raises what it raises, `StoreUnavailable` and `sqlite3.Error`."""
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
        self._file.check()
        if self._connection is None:
            connection = sqlite3.connect(self._file.path, isolation_level=None)
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
