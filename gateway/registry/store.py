"""The store: what survives. A protocol, and its implementation on SQL.

`SqlStore` speaks SQLAlchemy Core, so another database is another URL; what only SQLite needs is in
`gateway.registry.sqlite` and in `SqlStore.open`. Driver errors are translated here and nowhere else.
"""

import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache, partial
from operator import itemgetter
from typing import Any, Final, Protocol, cast

import orjson
from sqlalchemy import ColumnElement, Connection, Insert, Row, Table, bindparam, delete, event, func, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gateway.enrollment.models import EnrollmentGroup, IndividualEnrollment
from gateway.errors import StoreCorrupt, StoreError, StoreUnavailable
from gateway.registry import schema
from gateway.registry.device import Device
from gateway.registry.keyring import NO_KEYS, Keyring, Sealing, seal_rows
from gateway.registry.migrate import migrate
from gateway.registry.operators import SqlOperatorStore
from gateway.registry.records import (
    device_from_row,
    device_to_row,
    group_from_row,
    group_to_row,
    individual_from_row,
    individual_to_row,
    tags_to_text,
)
from gateway.registry.sqlite import DatabaseFile, SqliteThread, file_of, is_sqlite, make_private, tune

__all__ = [
    "Batch",
    "Change",
    "Deletion",
    "DeviceEntry",
    "DeviceQuery",
    "SqlStore",
    "Store",
    "TemplateRecord",
    "Together",
    "TwinRecord",
]

_CORRUPT: Final = ("file is not a database", "malformed", "unsupported file format")
_ROWS_AT_A_TIME: Final = 500
"""Of one transaction: the event loop gets its turn between them."""
_UNSCRUBBED: Final = 1
"""SQLite's `user_version` of a file in which freed pages may still hold secrets in the clear."""
_DELETE_DEVICE: Final = delete(schema.devices).where(schema.devices.c.id == bindparam("gone"))
_DELETE_TWIN: Final = delete(schema.twins).where(schema.twins.c.device_id == bindparam("gone"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEntry:
    """All that admission needs to know of an id: its registration and its individual enrollment, if it has them."""

    device: Device | None = None
    individual: IndividualEnrollment | None = None


_NO_ENTRY: Final = DeviceEntry()


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinRecord:
    """A twin as stored; `desired` and `reported` are JSON objects as text."""

    device_id: str
    desired: str
    desired_version: int
    reported: str
    reported_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateRecord:
    """A device template as stored; `document` is JSON text."""

    id: str
    display_name: str
    source: str
    document: str
    created_at: float
    updated_at: float
    etag: str


@dataclass(frozen=True, slots=True)
class Deletion:
    """A device and its twin go; its individual enrollment stays."""

    device_id: str


@dataclass(frozen=True, slots=True)
class Together:
    """Devices that one transaction writes: all of them, or none."""

    devices: tuple[Device, ...]


Change = Device | TwinRecord | Deletion | Together


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one transaction writes: first deletions, then whole rows."""

    deletions: set[str]
    devices: dict[str, Device]
    twins: dict[str, TwinRecord]

    @classmethod
    def of(cls, changes: Iterable[Change]) -> "Batch":
        """Later changes of a device take the place of earlier ones."""
        batch = cls(deletions=set(), devices={}, twins={})
        for change in changes:
            match change:
                case Device():
                    batch.devices[change.id] = change
                case Together(devices):
                    batch.devices.update((device.id, device) for device in devices)
                case TwinRecord():
                    batch.twins[change.device_id] = change
                case Deletion(device_id):
                    batch.deletions.add(device_id)
                    batch.devices.pop(device_id, None)
                    batch.twins.pop(device_id, None)
        return batch


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceQuery:
    """Which devices to list; None means any."""

    status: str | None = None
    template_id: str | None = None
    model_id: str | None = None
    group: str | None = None
    unassociated: bool = False
    id_prefix: str | None = None
    tag: str | None = None
    """Upper and lower case count as the same."""


class Store(Protocol):
    """What survives. Every method raises `StoreError` if the store can't answer."""

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def load_all_entries(self, *, at_most: int) -> Mapping[str, DeviceEntry | StoreCorrupt] | None:
        """Every entry there is; None if there are more, or if somebody else may write to the store meanwhile."""
        ...

    async def load_entries(self, device_ids: Sequence[str]) -> Mapping[str, DeviceEntry | StoreCorrupt]:
        """An entry for every id, empty for one that is unknown; why there is none where a row is damaged."""
        ...

    async def load_twins(self, device_ids: Sequence[str]) -> dict[str, TwinRecord]: ...
    async def commit(self, batch: Batch) -> None: ...
    async def list_devices(self, query: DeviceQuery, *, after: str | None, limit: int) -> list[Device]: ...
    async def count_devices(self, query: DeviceQuery | None = None) -> dict[str, int]: ...
    async def count_by_template(self) -> dict[str, int]: ...
    async def load_groups(self) -> list[EnrollmentGroup]: ...
    async def save_group(self, group: EnrollmentGroup) -> None: ...
    async def delete_group(self, group_id: str) -> None: ...
    async def list_individuals(self, *, after: str | None, limit: int) -> list[IndividualEnrollment]: ...
    async def save_individual(self, individual: IndividualEnrollment) -> None: ...
    async def delete_individual(self, registration_id: str) -> None: ...
    async def load_templates(self) -> list[TemplateRecord]: ...
    async def save_template(self, template: TemplateRecord) -> None: ...
    async def delete_template(self, template_id: str) -> None: ...


class SqlStore:
    """The store on an SQL database."""

    def __init__(self, url: str, keyring: Keyring = NO_KEYS) -> None:
        self._given_url = url
        self._keyring = keyring
        self.sealing = Sealing(0, ())
        """What `open` has encrypted anew."""
        self.holds_remains = False
        """Whether what is encrypted now may still be in free pages of SQLite's file as it was: the next `open` erases it."""
        self._group_from_row = partial(group_from_row, keyring=keyring)
        self._individual_from_row = partial(individual_from_row, keyring=keyring)
        self._engine: AsyncEngine | None = None
        self._sqlite_file: DatabaseFile | None = None
        self._sqlite_writer: SqliteThread | None = None
        self._sqlite_reader: SqliteThread | None = None
        self.operators = SqlOperatorStore(reading=self._reading, writing=self._writing)

    async def open(self) -> None:
        """Connect, bring the schema up to date, and secrets under the current key.

        Raises `StoreUnavailable` or `StoreCorrupt`.
        """
        engine = _make_engine(self._given_url)
        self._engine = engine
        try:
            async with self._translated(), engine.begin() as connection:
                if is_sqlite(engine.url):
                    # Python's driver begins no transaction for DDL by itself; whoever pulls the plug in the midst
                    # of a migration must not leave half of one.
                    await connection.exec_driver_sql("BEGIN IMMEDIATE")
                await connection.run_sync(migrate)
                self.sealing = await connection.run_sync(seal_rows, self._keyring)
                if self.sealing.sealed and is_sqlite(engine.url):
                    await connection.exec_driver_sql(f"PRAGMA user_version={_UNSCRUBBED}")
            if is_sqlite(engine.url):
                # Readers beside a writer. It is written into the file, so not before the file is known to be ours.
                async with self._reading() as connection:
                    await connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                    self.holds_remains = not await connection.run_sync(_scrub)
                file = self._sqlite_file = DatabaseFile(file_of(engine.url))
                self._sqlite_writer = SqliteThread(file, "registrations")
                self._sqlite_reader = SqliteThread(file, "look-ups")
        except StoreError:
            await self.close()
            raise

    async def close(self) -> None:
        for thread in (self._sqlite_writer, self._sqlite_reader):
            if thread is not None:
                await thread.close()
        self._sqlite_writer = self._sqlite_reader = self._sqlite_file = None
        if self._engine is not None:
            await self._engine.dispose()
            self._engine = None

    async def load_all_entries(self, *, at_most: int) -> dict[str, DeviceEntry | StoreCorrupt] | None:
        """Every entry there is; None if there are more, or if somebody else may write to the store meanwhile."""
        if self._sqlite_reader is None:
            return None  # several gateways may share a database server
        async with self._translated():
            found = await self._sqlite_reader.read(partial(_read_all_from_sqlite, at_most))
        if found is None:
            return None
        devices, individuals = found
        return self._entries_of(devices, individuals)

    async def load_entries(self, device_ids: Sequence[str]) -> dict[str, DeviceEntry | StoreCorrupt]:
        """An entry for every id, empty for one that is unknown; why there is none where a row is damaged."""
        devices, individuals = await self._rows_of(
            device_ids,
            (schema.devices, schema.devices.c.id),
            (schema.individual_enrollments, schema.individual_enrollments.c.registration_id),
        )
        return dict.fromkeys(device_ids, _NO_ENTRY) | self._entries_of(devices, individuals)

    def _entries_of(
        self, devices: Iterable[Mapping[str, Any]], individuals: Iterable[Mapping[str, Any]]
    ) -> dict[str, DeviceEntry | StoreCorrupt]:
        """A row that can't be read costs its own device its entry, and nobody else. It must not become an entry without
        an enrollment: a group might let that device in."""
        known: dict[str, Device] = {}
        enrolled: dict[str, IndividualEnrollment] = {}
        damaged: dict[str, StoreCorrupt] = {}
        for row in devices:
            try:
                known[row["id"]] = device_from_row(row)
            except StoreError as error:
                damaged[row["id"]] = self._placed(error)
        for row in individuals:
            try:
                enrolled[row["registration_id"]] = self._individual_from_row(row)
            except StoreError as error:
                damaged[row["registration_id"]] = self._placed(error)
        entries: dict[str, DeviceEntry | StoreCorrupt] = {
            id_: DeviceEntry(device=known.get(id_), individual=enrolled.get(id_))
            for id_ in known.keys() | enrolled.keys()
        }
        return entries | damaged

    async def load_twins(self, device_ids: Sequence[str]) -> dict[str, TwinRecord]:
        (twins,) = await self._rows_of(device_ids, (schema.twins, schema.twins.c.device_id))
        return {row["device_id"]: TwinRecord(**row) for row in twins}

    async def commit(self, batch: Batch) -> None:
        """One transaction, so one fsync, for all of it."""
        if self._sqlite_writer is not None:
            async with self._translated():
                await self._sqlite_writer.write(partial(_write_to_sqlite, batch))
            return
        async with self._writing() as connection:
            if batch.deletions:
                await connection.execute(
                    _DELETE_DEVICE, [{"gone": device_id} for device_id in batch.deletions]
                )
                await connection.execute(_DELETE_TWIN, [{"gone": device_id} for device_id in batch.deletions])
            if batch.devices:
                devices = list(batch.devices.values())
                for start in range(0, len(devices), _ROWS_AT_A_TIME):
                    rows = [device_to_row(device) for device in devices[start : start + _ROWS_AT_A_TIME]]
                    await self._put(connection, schema.devices, rows)
            if batch.twins:
                rows = [_to_row(twin) for twin in batch.twins.values()]
                await self._put(connection, schema.twins, rows)

    async def list_devices(self, query: DeviceQuery, *, after: str | None, limit: int) -> list[Device]:
        """A page of devices, by id."""
        columns = schema.devices.c
        statement = select(schema.devices).where(*_conditions(query)).order_by(columns.id).limit(limit)
        if after is not None:
            statement = statement.where(columns.id > after)
        async with self._reading() as connection:
            return [device_from_row(_named(row)) for row in await connection.execute(statement)]

    async def count_devices(self, query: DeviceQuery | None = None) -> dict[str, int]:
        """Devices by status."""
        column = schema.devices.c.status
        statement = select(column, func.count()).where(*_conditions(query or DeviceQuery())).group_by(column)
        async with self._reading() as connection:
            found = await connection.execute(statement)
            return {row[0]: row[1] for row in found}

    async def count_by_template(self) -> dict[str, int]:
        """Devices by device template, without the Unassociated ones."""
        column = schema.devices.c.template_id
        statement = select(column, func.count()).where(column.is_not(None)).group_by(column)
        async with self._reading() as connection:
            return {row[0]: row[1] for row in await connection.execute(statement)}

    async def load_groups(self) -> list[EnrollmentGroup]:
        async with self._reading() as connection:
            found = await connection.execute(select(schema.enrollment_groups).order_by("id"))
            return [self._group_from_row(_named(row)) for row in found]

    async def save_group(self, group: EnrollmentGroup) -> None:
        async with self._writing() as connection:
            await self._put(connection, schema.enrollment_groups, [group_to_row(group, self._keyring)])

    async def delete_group(self, group_id: str) -> None:
        async with self._writing() as connection:
            groups = schema.enrollment_groups
            await connection.execute(delete(groups).where(groups.c.id == group_id))

    async def list_individuals(self, *, after: str | None, limit: int) -> list[IndividualEnrollment]:
        column = schema.individual_enrollments.c.registration_id
        statement = select(schema.individual_enrollments).order_by(column).limit(limit)
        if after is not None:
            statement = statement.where(column > after)
        async with self._reading() as connection:
            return [self._individual_from_row(_named(row)) for row in await connection.execute(statement)]

    async def save_individual(self, individual: IndividualEnrollment) -> None:
        async with self._writing() as connection:
            row = individual_to_row(individual, self._keyring)
            await self._put(connection, schema.individual_enrollments, [row])

    async def delete_individual(self, registration_id: str) -> None:
        async with self._writing() as connection:
            column = schema.individual_enrollments.c.registration_id
            await connection.execute(delete(schema.individual_enrollments).where(column == registration_id))

    async def load_templates(self) -> list[TemplateRecord]:
        async with self._reading() as connection:
            found = await connection.execute(select(schema.templates).order_by("id"))
            return [TemplateRecord(**_named(row)) for row in found]

    async def save_template(self, template: TemplateRecord) -> None:
        async with self._writing() as connection:
            await self._put(connection, schema.templates, [_to_row(template)])

    async def delete_template(self, template_id: str) -> None:
        async with self._writing() as connection:
            await connection.execute(delete(schema.templates).where(schema.templates.c.id == template_id))

    # Below: connections, upserts, errors

    async def _rows_of(
        self, device_ids: Sequence[str], *tables: tuple[Table, ColumnElement[str]]
    ) -> list[list[Mapping[str, Any]]]:
        """The rows of each table that have one of the ids in the column."""
        if self._sqlite_reader is not None:
            async with self._translated():
                return await self._sqlite_reader.read(partial(_read_from_sqlite, device_ids, tables))
        async with self._reading() as connection:
            return [
                [_named(row) for row in await connection.execute(select(table).where(ids.in_(device_ids)))]
                for table, ids in tables
            ]

    async def _put(self, connection: AsyncConnection, table: Table, rows: list[dict[str, Any]]) -> None:
        await connection.execute(_upsert(self._open_engine.dialect.name, table), rows)

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        self._check_file()
        async with self._translated(), self._open_engine.connect() as connection:
            yield connection

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        self._check_file()
        async with self._translated(), self._open_engine.begin() as connection:
            yield connection

    def _check_file(self) -> None:
        """Before the engine may open a connection: a new one would make an empty file, or join another's journal."""
        if self._sqlite_file is not None:
            self._sqlite_file.check()

    @property
    def _open_engine(self) -> AsyncEngine:
        if self._engine is None:
            raise StoreUnavailable("the store is closed")
        return self._engine

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise _translate(error, self._given_url) from error
        except StoreCorrupt as error:
            raise self._placed(error) from error

    def _placed(self, error: StoreError) -> StoreCorrupt:
        return StoreCorrupt(f"{_place(self._given_url)}: {error.message}", hint=error.hint)


def _scrub(connection: Connection) -> bool:
    """Write the file anew if it held secrets that are encrypted now: what SQLite frees it does not erase.

    False if that must be done again: somebody else reads the database, so that the old file could not be replaced.
    """
    if connection.exec_driver_sql("PRAGMA user_version").scalar() != _UNSCRUBBED:
        return True
    connection.exec_driver_sql("VACUUM")
    # Until this has been done the new content is in the -wal only, and the file has the old one. The mark goes last.
    busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
    if busy:
        return False
    connection.exec_driver_sql("PRAGMA user_version=0")
    return True


def _write_to_sqlite(batch: Batch, connection: sqlite3.Connection) -> None:
    gone = [(device_id,) for device_id in batch.deletions]
    rows: Iterable[Mapping[str, Any]]
    # Row by row: a hundred thousand devices may belong together.
    for table, key, rows in (
        (schema.devices, "id", map(device_to_row, batch.devices.values())),
        (schema.twins, "device_id", map(_to_row, batch.twins.values())),
    ):
        if gone:
            connection.executemany(f"DELETE FROM {table.name} WHERE {key} = ?", gone)  # noqa: S608 - our own names
        statement, columns = _sqlite_upsert(table)
        connection.executemany(statement, map(itemgetter(*columns), rows))


def _read_from_sqlite(
    device_ids: Sequence[str],
    tables: tuple[tuple[Table, ColumnElement[str]], ...],
    connection: sqlite3.Connection,
) -> list[list[Mapping[str, Any]]]:
    wanted = (orjson.dumps(device_ids).decode(),)
    found: list[list[Mapping[str, Any]]] = []
    for table, ids in tables:
        names = [column.name for column in table.c]
        # One statement for any number of ids: SQLite keeps it prepared.
        statement = (
            f"SELECT {', '.join(names)} FROM {table.name} WHERE {ids.key} IN (SELECT value FROM json_each(?))"  # noqa: S608
        )
        rows = connection.execute(statement, wanted)
        found.append([dict(zip(names, row, strict=True)) for row in rows])
    return found


def _read_all_from_sqlite(
    at_most: int, connection: sqlite3.Connection
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]] | None:
    found: list[list[Mapping[str, Any]]] = []
    for table in (schema.devices, schema.individual_enrollments):
        names = [column.name for column in table.c]
        rows = connection.execute(f"SELECT {', '.join(names)} FROM {table.name} LIMIT ?", (at_most + 1,))  # noqa: S608
        found.append([dict(zip(names, row, strict=True)) for row in rows])
        at_most -= len(found[-1])
        if at_most < 0:
            return None
    return found[0], found[1]


@cache
def _sqlite_upsert(table: Table) -> tuple[str, tuple[str, ...]]:
    """The statement's text, and the columns in the order of its parameters."""
    compiled = _upsert("sqlite", table).compile(dialect=sqlite_dialect())
    return str(compiled), tuple(compiled.positiontup or ())


def _make_engine(given_url: str) -> AsyncEngine:
    try:
        url = make_url(given_url)
        if is_sqlite(url):
            make_private(file_of(url))
        engine = create_async_engine(url)
    except ModuleNotFoundError as error:
        raise StoreUnavailable(
            f"{_place(given_url)}: its driver {error.name} is not installed", hint=f"pip install {error.name}"
        ) from None
    except SQLAlchemyError as error:
        raise StoreUnavailable(
            f"{_place(given_url)}: {_one_line(error)}",
            hint="write an SQLAlchemy URL of an asyncio driver, such as sqlite+aiosqlite:////var/lib/gateway/gateway.db",
        ) from None
    if is_sqlite(url):
        event.listen(engine.sync_engine, "connect", tune)
    return engine


def _conditions(query: DeviceQuery) -> list[ColumnElement[bool]]:
    columns = schema.devices.c
    conditions: list[ColumnElement[bool]] = [
        column == value
        for column, value in (
            (columns.status, query.status), (columns.template_id, query.template_id),
            (columns.model_id, query.model_id), (columns.enrollment_group, query.group),
        )
        if value is not None
    ]  # fmt: skip
    if query.unassociated:
        conditions.append(columns.template_id.is_(None))
    if query.id_prefix is not None:
        conditions.append(func.substr(columns.id, 1, len(query.id_prefix)) == query.id_prefix)
    if query.tag is not None:
        conditions.append(columns.tags.icontains(tags_to_text((query.tag,)), autoescape=True))
    return conditions


@cache
def _upsert(dialect: str, table: Table) -> Insert:
    keys = [column.name for column in table.primary_key]
    insert = sqlite_insert(table) if dialect == "sqlite" else postgresql_insert(table)
    changes = {column.name: insert.excluded[column.name] for column in table.c if column.name not in keys}
    return insert.on_conflict_do_update(index_elements=keys, set_=changes)


def _named(row: Row[Any]) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", row._mapping)  # noqa: SLF001 - SQLAlchemy's documented way to a row by names


def _to_row(record: TwinRecord | TemplateRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__slots__}


def _place(given_url: str) -> str:
    """What to call the store: the path of a file, else the URL without its password."""
    try:
        url = make_url(given_url)
    except SQLAlchemyError:
        return "registry.url"
    return str(url.database) if is_sqlite(url) else url.render_as_string(hide_password=True)


def _translate(error: Exception, given_url: str) -> StoreError:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    problem = _one_line(cause)
    message = f"{_place(given_url)}: {problem}"
    if any(mark in problem for mark in _CORRUPT):
        return StoreCorrupt(message, hint="restore it from a backup, or move it away to start anew")
    if isinstance(cause, sqlite3.Error):
        return StoreUnavailable(message, hint="look at the disk's free space and the file's permissions")
    return StoreUnavailable(message, hint="see whether the database server runs and can be reached")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
