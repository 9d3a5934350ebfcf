"""The store: what survives. A protocol, and its implementation on SQL.

`SqlStore` speaks SQLAlchemy Core, so another database is another URL; what only SQLite needs is in `_tune_sqlite` and
`_make_private`. Driver errors are translated here and nowhere else.
"""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from sqlalchemy import Table, delete, event, func, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gateway.enrollment.models import EnrollmentGroup, IndividualEnrollment
from gateway.errors import StoreCorrupt, StoreError, StoreUnavailable
from gateway.registry import schema
from gateway.registry.device import Device
from gateway.registry.migrate import migrate
from gateway.registry.records import (
    device_from_row,
    device_to_row,
    group_from_row,
    group_to_row,
    individual_from_row,
    individual_to_row,
)

__all__ = ["Batch", "DeviceEntry", "DeviceQuery", "SqlStore", "Store", "TemplateRecord", "TwinRecord"]

_BUSY_TIMEOUT_MS: Final = 5000
_CORRUPT: Final = ("file is not a database", "malformed", "disk image", "unsupported file format")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEntry:
    """All that admission needs to know of an id: its registration and its individual enrollment, if it has them."""

    device: Device | None = None
    individual: IndividualEnrollment | None = None


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


@dataclass(slots=True, kw_only=True)
class Batch:
    """What one transaction writes: whole rows, the last of an id wins."""

    devices: dict[str, Device] = field(default_factory=dict)
    twins: dict[str, TwinRecord] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.devices) + len(self.twins)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceQuery:
    """Which devices to list; None means any."""

    status: str | None = None
    template_id: str | None = None
    model_id: str | None = None
    group: str | None = None
    unassociated: bool = False


class Store(Protocol):
    """What survives. Every method raises `StoreError` if the store can't answer."""

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def load_entries(self, device_ids: Sequence[str]) -> dict[str, DeviceEntry]: ...
    async def load_twins(self, device_ids: Sequence[str]) -> dict[str, TwinRecord]: ...
    async def commit(self, batch: Batch) -> None: ...
    async def list_devices(self, query: DeviceQuery, *, after: str | None, limit: int) -> list[Device]: ...
    async def count_devices(self) -> dict[str, int]: ...
    async def delete_device(self, device_id: str) -> None: ...
    async def load_groups(self) -> list[EnrollmentGroup]: ...
    async def save_group(self, group: EnrollmentGroup) -> None: ...
    async def delete_group(self, group_id: str) -> None: ...
    async def list_individuals(self, *, after: str | None, limit: int) -> list[IndividualEnrollment]: ...
    async def save_individual(self, individual: IndividualEnrollment) -> None: ...
    async def delete_individual(self, registration_id: str) -> None: ...
    async def load_templates(self) -> list[TemplateRecord]: ...
    async def save_template(self, template: TemplateRecord) -> None: ...


class SqlStore:
    """The store on an SQL database."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._engine: AsyncEngine | None = None
        self._upsert = sqlite_insert if self._is_sqlite else postgresql_insert

    async def open(self) -> None:
        """Connect, and bring the schema up to date. Raises `StoreUnavailable` or `StoreCorrupt`."""
        if self._is_sqlite:
            _make_private(self._path)
        engine = create_async_engine(self._url)
        if self._is_sqlite:
            event.listen(engine.sync_engine, "connect", _tune_sqlite)
        self._engine = engine
        try:
            async with self._translated(), engine.begin() as connection:
                await connection.run_sync(migrate)
        except StoreError:
            await self.close()
            raise

    async def close(self) -> None:
        if self._engine is not None:
            await self._engine.dispose()
            self._engine = None

    async def load_entries(self, device_ids: Sequence[str]) -> dict[str, DeviceEntry]:
        """An entry for every id, empty for one that is unknown."""
        individuals = schema.individual_enrollments
        async with self._reading() as connection:
            found = await connection.execute(
                select(schema.devices).where(schema.devices.c.id.in_(device_ids))
            )
            known = {device.id: device for device in map(device_from_row, found)}
            found = await connection.execute(
                select(individuals).where(individuals.c.registration_id.in_(device_ids))
            )
            enrolled = {
                individual.registration_id: individual for individual in map(individual_from_row, found)
            }
        return {id_: DeviceEntry(device=known.get(id_), individual=enrolled.get(id_)) for id_ in device_ids}

    async def load_twins(self, device_ids: Sequence[str]) -> dict[str, TwinRecord]:
        async with self._reading() as connection:
            found = await connection.execute(
                select(schema.twins).where(schema.twins.c.device_id.in_(device_ids))
            )
            return {row.device_id: TwinRecord(**row._mapping) for row in found}  # noqa: SLF001

    async def commit(self, batch: Batch) -> None:
        """One transaction, so one fsync, for all of it."""
        async with self._writing() as connection:
            if batch.devices:
                await self._put(
                    connection, schema.devices, [device_to_row(d) for d in batch.devices.values()]
                )
            if batch.twins:
                rows = [
                    {name: getattr(twin, name) for name in TwinRecord.__slots__}
                    for twin in batch.twins.values()
                ]
                await self._put(connection, schema.twins, rows)

    async def list_devices(self, query: DeviceQuery, *, after: str | None, limit: int) -> list[Device]:
        """A page of devices, by id."""
        columns = schema.devices.c
        statement = select(schema.devices).order_by(columns.id).limit(limit)
        if after is not None:
            statement = statement.where(columns.id > after)
        for column, value in (
            (columns.status, query.status), (columns.template_id, query.template_id),
            (columns.model_id, query.model_id), (columns.enrollment_group, query.group),
        ):  # fmt: skip
            if value is not None:
                statement = statement.where(column == value)
        if query.unassociated:
            statement = statement.where(columns.template_id.is_(None))
        async with self._reading() as connection:
            return [device_from_row(row) for row in await connection.execute(statement)]

    async def count_devices(self) -> dict[str, int]:
        """Devices by status."""
        column = schema.devices.c.status
        async with self._reading() as connection:
            found = await connection.execute(select(column, func.count()).group_by(column))
            return {row[0]: row[1] for row in found}

    async def delete_device(self, device_id: str) -> None:
        """The device and its twin; its individual enrollment stays."""
        async with self._writing() as connection:
            await connection.execute(delete(schema.devices).where(schema.devices.c.id == device_id))
            await connection.execute(delete(schema.twins).where(schema.twins.c.device_id == device_id))

    async def load_groups(self) -> list[EnrollmentGroup]:
        async with self._reading() as connection:
            found = await connection.execute(select(schema.enrollment_groups).order_by("id"))
            return [group_from_row(row) for row in found]

    async def save_group(self, group: EnrollmentGroup) -> None:
        async with self._writing() as connection:
            await self._put(connection, schema.enrollment_groups, [group_to_row(group)])

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
            return [individual_from_row(row) for row in await connection.execute(statement)]

    async def save_individual(self, individual: IndividualEnrollment) -> None:
        async with self._writing() as connection:
            await self._put(connection, schema.individual_enrollments, [individual_to_row(individual)])

    async def delete_individual(self, registration_id: str) -> None:
        async with self._writing() as connection:
            column = schema.individual_enrollments.c.registration_id
            await connection.execute(delete(schema.individual_enrollments).where(column == registration_id))

    async def load_templates(self) -> list[TemplateRecord]:
        async with self._reading() as connection:
            found = await connection.execute(select(schema.templates).order_by("id"))
            return [TemplateRecord(**row._mapping) for row in found]  # noqa: SLF001

    async def save_template(self, template: TemplateRecord) -> None:
        async with self._writing() as connection:
            row = {name: getattr(template, name) for name in TemplateRecord.__slots__}
            await self._put(connection, schema.templates, [row])

    # Below: connections, upserts, errors

    @property
    def _is_sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    @property
    def _path(self) -> Path:
        return Path(self._url.database or "")

    async def _put(self, connection: AsyncConnection, table: Table, rows: list[dict[str, Any]]) -> None:
        keys = [column.name for column in table.primary_key]
        statement = self._upsert(table)
        changes = {
            column.name: statement.excluded[column.name] for column in table.c if column.name not in keys
        }
        await connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changes), rows)

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        async with self._translated(), self._open_engine.connect() as connection:
            yield connection

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        async with self._translated(), self._open_engine.begin() as connection:
            yield connection

    @property
    def _open_engine(self) -> AsyncEngine:
        if self._engine is None:
            raise StoreUnavailable("the store is closed")
        return self._engine

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            raise self._translate(error) from error

    def _translate(self, error: SQLAlchemyError | OSError) -> StoreError:
        where = str(self._path) if self._is_sqlite else self._url.render_as_string(hide_password=True)
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        problem = " ".join(str(cause).split())
        if isinstance(error, DatabaseError) and any(mark in problem for mark in _CORRUPT):
            return StoreCorrupt(
                f"{where}: {problem}", hint="restore it from a backup, or move it away to start anew"
            )
        hint = (
            "look at the disk's free space and the file's permissions"
            if isinstance(error, OperationalError)
            else ""
        )
        return StoreUnavailable(f"{where}: {problem}", hint=hint)


def _tune_sqlite(connection: Any, _record: object) -> None:
    """Durable commits (FULL), readers beside a writer (WAL)."""
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={_BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _make_private(path: Path) -> None:
    """The database holds keys: nobody but its owner reads it."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreUnavailable(
            f"{path}: {error.strerror}", hint="state_dir must be writable by this user"
        ) from None
