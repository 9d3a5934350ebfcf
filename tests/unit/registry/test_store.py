"""The store on SQL: what it gives back, and how it fails. On a file of the test's own."""
# ruff: noqa: ASYNC240 - a test may wait for its own little files

import asyncio
import dataclasses
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, create_engine

from gateway import pki
from gateway.enrollment.models import (
    EnrollmentGroup,
    IndividualAttestation,
    IndividualEnrollment,
    SigningCertificate,
    SigningCertificates,
    SymmetricKeys,
    ThumbprintPair,
    TpmAttestation,
)
from gateway.errors import StoreCorrupt, StoreError, StoreUnavailable
from gateway.identity.tpm import StorageKey
from gateway.registry import schema, sqlite
from gateway.registry import store as store_module
from gateway.registry.device import Device, Status, transition
from gateway.registry.migrate import migrate
from gateway.registry.store import (
    Batch,
    Change,
    Deletion,
    DeviceEntry,
    DeviceQuery,
    SqlStore,
    TemplateRecord,
    Together,
    TwinRecord,
)
from gateway.secrets import SymmetricKey
from tests.unit.identity.tpm_keys import ENDORSEMENT_KEY, STORAGE_ROOT_KEY

KEYS = SymmetricKeys(primary=SymmetricKey.generate(), secondary=SymmetricKey.generate())


def device(device_id: str, status: Status = Status.PROVISIONED, **facts: Any) -> Device:
    return Device.new(device_id, status=status, now=1_700_000_000.25, **facts)


def twin(device_id: str, reported: str = "{}") -> TwinRecord:
    return TwinRecord(
        device_id=device_id, desired="{}", desired_version=1, reported=reported, reported_version=2
    )


def url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "gateway.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqlStore]:
    store = SqlStore(url(path))
    await store.open()
    yield store
    await store.close()


async def commit(store: SqlStore, *changes: Change) -> None:
    await store.commit(Batch.of(changes))


def create_at(path: Path, revision: str) -> None:
    """A database as an older gateway left it."""
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


async def failure_to_open(store_url: str) -> StoreError:
    store = SqlStore(store_url)
    with pytest.raises(StoreError) as failed:
        await store.open()
    await store.close()
    assert "\n" not in failed.value.message
    return failed.value


# What is written can be read


async def test_a_device_reads_as_it_was_written(store: SqlStore) -> None:
    plain = device("a")
    full = transition(
        device(
            "b", name="Mühle 7", template_id="dtmi:com:example:Mill;1", template_assigned_by="operator",
            model_id="dtmi:com:example:Mill;2", model_announced_by="dps", enrollment_group="SAS-IoT-Devices",
        ),
        "block",
        now=1_700_000_001.5,
    )  # fmt: skip
    await commit(store, plain, full)
    entries = await store.load_entries(["a", "b", "c"])
    assert entries == {"a": DeviceEntry(device=plain), "b": DeviceEntry(device=full), "c": DeviceEntry()}


async def test_a_changed_device_takes_the_place_of_the_old_one(store: SqlStore) -> None:
    old = device("a", Status.WAITING)
    await commit(store, old)
    changed = transition(old, "approve", now=2.0)
    await commit(store, changed)
    assert (await store.load_entries(["a"]))["a"].device == changed
    assert await store.count_devices() == {"registered": 1}


@pytest.mark.parametrize(
    "attestation",
    [
        KEYS,
        ThumbprintPair(primary="AB" * 32),
        ThumbprintPair(primary="A1" * 20, secondary="B2" * 32),
        TpmAttestation.new(StorageKey.parse(ENDORSEMENT_KEY), None),
        TpmAttestation.new(StorageKey.parse(ENDORSEMENT_KEY), StorageKey.parse(STORAGE_ROOT_KEY)),
    ],
)
async def test_an_individual_enrollment_reads_as_it_was_written(
    store: SqlStore, attestation: IndividualAttestation
) -> None:
    enrollment = IndividualEnrollment.new("a", attestation, now=1.5)
    await store.save_individual(enrollment)
    assert (await store.load_entries(["a"]))["a"] == DeviceEntry(individual=enrollment)
    disabled = enrollment.replace(now=2.0, enabled=False)
    await store.save_individual(disabled)
    assert await store.list_individuals(after=None, limit=10) == [disabled]
    await store.delete_individual("a")
    await store.delete_individual("never there")
    assert (await store.load_entries(["a"]))["a"] == DeviceEntry()


async def test_groups_read_as_they_were_written(store: SqlStore) -> None:
    root, other = (
        SigningCertificate(certificate=pki.create_ca(name, now=1_700_000_000).certificate, verified=verified,
                           verification_code=code)
        for name, verified, code in (("Root", True, None), ("Other", False, "C0DE"))
    )  # fmt: skip
    groups = [
        EnrollmentGroup.new("a", KEYS, auto_approve=False, now=1.0),
        EnrollmentGroup.new("b", SigningCertificates(primary=root, secondary=other), now=2.0),
        EnrollmentGroup.new("c", SigningCertificates(primary=root), display_name="Third", now=3.0),
        EnrollmentGroup.new("d", SigningCertificates(), now=4.0),
    ]
    for group in reversed(groups):
        await store.save_group(group)
    assert await store.load_groups() == groups
    disabled = groups[0].replace(now=4.0, enabled=False)
    await store.save_group(disabled)
    await store.delete_group("b")
    await store.delete_group("never there")
    assert await store.load_groups() == [disabled, *groups[2:]]


async def test_a_group_of_an_older_gateway_keeps_the_cas_that_its_operator_vouched_for(path: Path) -> None:
    root = pki.create_ca("Root", now=1_700_000_000)
    path.parent.mkdir()
    create_at(path, "0001")
    attestation = {"type": "signingCertificates", "primary": root.certificate_pem.decode(), "secondary": None}
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO enrollment_groups (id, attestation, enabled, auto_approve, created_at, updated_at, etag)"
            " VALUES ('old', ?, 1, 1, 1, 2, 'e')",
            (json.dumps(attestation),),
        )
    connection.close()
    store = SqlStore(url(path))
    await store.open()
    (group,) = await store.load_groups()
    await store.close()
    assert group.display_name == "old"
    assert group.attestation == SigningCertificates(
        primary=SigningCertificate(certificate=root.certificate, verified=True)
    )


async def test_templates_read_as_they_were_written(store: SqlStore) -> None:
    template = TemplateRecord(
        id="dtmi:com:example:Mill;1", display_name="Mühle", source="published", document="[]", created_at=1.0,
        updated_at=2.0, etag="e",
    )  # fmt: skip
    await store.save_template(template)
    assert await store.load_templates() == [template]


async def test_a_twin_reads_as_it_was_written(store: SqlStore) -> None:
    await commit(store, twin("a", '{"temperature":21.5}'))
    await commit(store, twin("b"), twin("a", '{"temperature":22}'))
    assert await store.load_twins(["a", "b", "c"]) == {"a": twin("a", '{"temperature":22}'), "b": twin("b")}


async def test_a_deletion_takes_the_device_and_its_twin_and_leaves_its_enrollment(store: SqlStore) -> None:
    enrollment = IndividualEnrollment.new("a", KEYS, now=1.0)
    await store.save_individual(enrollment)
    await commit(store, device("a"), twin("a"), device("b"), twin("b"))
    await commit(store, Deletion("a"), Deletion("never there"))
    assert set(await store.load_twins(["a", "b"])) == {"b"}
    entries = await store.load_entries(["a", "b"])
    assert (entries["a"], entries["b"].device is not None) == (DeviceEntry(individual=enrollment), True)


async def test_a_device_deleted_and_made_anew_in_one_commit_is_the_new_one(store: SqlStore) -> None:
    await commit(store, device("a"), twin("a"))
    again = device("a", Status.WAITING)
    await commit(store, device("a"), Deletion("a"), again)
    assert (await store.load_entries(["a"]))["a"].device == again
    assert await store.load_twins(["a"]) == {}


async def test_devices_are_listed_by_the_page_and_by_what_they_are(store: SqlStore) -> None:
    template, model = "dtmi:com:example:Mill;1", "dtmi:com:example:Mill;2"
    await commit(
        store,
        device("a"),
        device("b", Status.WAITING, model_id=model),
        device("c", template_id=template, enrollment_group="plant", tags=("Hall-3", "x")),
        device("d", Status.WAITING, template_id=template, model_id=model, tags=("hall-33",)),
    )

    async def listed(*, after: str | None = None, limit: int = 10, **wanted: object) -> str:
        query = DeviceQuery(**wanted)  # type: ignore[arg-type]
        return "".join(device.id for device in await store.list_devices(query, after=after, limit=limit))

    assert await listed() == "abcd"
    assert (await listed(limit=2), await listed(after="b", limit=2), await listed(after="d")) == (
        "ab",
        "cd",
        "",
    )
    assert await listed(status="waiting") == "bd"
    assert await listed(template_id=template) == "cd"
    assert await listed(model_id=model) == "bd"
    assert await listed(group="plant") == "c"
    assert await listed(unassociated=True) == "ab"
    assert await listed(status="waiting", template_id=template) == "d"
    assert await listed(tag="hall-3") == "c"
    assert await listed(tag="hall_3") == await listed(tag="hall") == await listed(tag="%") == ""
    assert await listed(id_prefix="b") == "b"
    assert await listed(id_prefix="%") == await listed(id_prefix="B") == ""
    assert await store.count_devices() == {"provisioned": 2, "waiting": 2}
    assert await store.count_devices(DeviceQuery(template_id=template)) == {"provisioned": 1, "waiting": 1}


async def test_devices_that_belong_together_are_written_by_one_transaction(store: SqlStore) -> None:
    devices = [device(f"d{number:04}", tags=("x", "y")) for number in range(1200)]
    broken = [*devices[:1100], dataclasses.replace(devices[1100], etag=None), *devices[1101:]]  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailable):
        await commit(store, Together(tuple(broken)))
    assert await store.count_devices() == {}
    await commit(store, Together(tuple(devices)))
    assert await store.list_devices(DeviceQuery(), after=None, limit=2000) == devices


async def test_five_hundred_devices_are_written_and_looked_up_at_once(store: SqlStore) -> None:
    devices = [device(f"d{number:03}") for number in range(500)]
    await commit(store, *devices)
    entries = await store.load_entries([device.id for device in devices])
    assert [entries[device.id].device for device in devices] == devices


# Durable, private, at the current schema


async def test_all_entries_are_read_at_once_unless_there_are_more_than_memory_holds(store: SqlStore) -> None:
    one, other = device("a"), device("b")
    await commit(store, one, other)
    individual = IndividualEnrollment.new("c", KEYS, now=1.0)
    await store.save_individual(individual)
    entries = await store.load_all_entries(at_most=3)
    assert entries == {
        "a": DeviceEntry(device=one),
        "b": DeviceEntry(device=other),
        "c": DeviceEntry(individual=individual),
    }
    assert await store.load_all_entries(at_most=2) is None


async def test_everything_is_there_when_the_store_is_opened_again(path: Path) -> None:
    for _ in range(2):
        store = SqlStore(url(path))
        await store.open()
        await commit(store, device("a"))
        await store.close()
    await store.open()
    assert await store.count_devices() == {"provisioned": 1}
    await store.close()


async def test_every_connection_commits_durably_and_lets_readers_read_meanwhile(
    store: SqlStore, path: Path
) -> None:
    async with asyncio.TaskGroup() as tasks:
        reading = [tasks.create_task(ask_pragmas(store)) for _ in range(3)]
    full = 2
    assert [task.result() for task in reading] == [("wal", full, 5000)] * 3
    for thread in (store._sqlite_writer, store._sqlite_reader):
        assert thread is not None
        found = await thread.read(
            lambda connection: [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in _PRAGMAS]
        )
        assert found == ["wal", full, 5000]


_PRAGMAS = ("journal_mode", "synchronous", "busy_timeout")


async def ask_pragmas(store: SqlStore) -> tuple[str, int, int]:
    async with store._reading() as connection:
        found = [(await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one() for name in _PRAGMAS]
        return found[0], found[1], found[2]


async def test_nobody_but_its_owner_reads_the_database(store: SqlStore, path: Path) -> None:
    await commit(store, device("a"))
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()}
    assert modes["gateway.db"] == "0o600"
    assert set(modes.values()) == {"0o600"}
    assert oct(path.parent.stat().st_mode & 0o777) == "0o700"


async def test_the_migrations_make_the_tables_that_the_code_knows(store: SqlStore) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), schema.metadata))

    async with store._reading() as connection:
        assert await connection.run_sync(differences) == []


async def test_a_migration_cut_short_leaves_nothing_and_is_done_at_the_next_start(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def migrate_and_die(connection: Connection) -> None:
        migrate(connection)
        raise SystemExit

    monkeypatch.setattr(store_module, "migrate", migrate_and_die)
    store = SqlStore(url(path))
    with pytest.raises(SystemExit):
        await store.open()
    await store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    connection.close()
    monkeypatch.undo()
    await store.open()
    await commit(store, device("a"))
    await store.close()


async def test_a_database_of_the_first_schema_is_brought_up_to_date_with_all_that_is_in_it(
    path: Path,
) -> None:
    path.parent.mkdir()
    create_at(path, "0001")
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO devices (id, name, status, created_at, updated_at, etag) VALUES ('a', 'A', 'registered', 1, 2, 'e')"
        )
    connection.close()
    store = SqlStore(url(path))
    await store.open()
    entry = (await store.load_entries(["a"]))["a"]
    assert entry.device == Device(
        id="a", name="A", status=Status.REGISTERED, created_at=1.0, updated_at=2.0, etag="e"
    )
    assert await store.operators.load_tokens() == []
    await store.close()


# How it fails


@pytest.mark.parametrize(
    "content",
    [b"this is no database, but long enough to be looked at" * 40, b"SQLite format 3\x00" + b"\xff" * 4096],
)
async def test_a_file_that_is_no_database_is_named_and_left_as_it_is(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    error = await failure_to_open(url(path))
    assert isinstance(error, StoreCorrupt)
    assert str(path) in error.message
    assert "backup" in error.hint
    assert path.read_bytes() == content


async def test_another_program_s_database_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (id)")
    connection.close()
    content = path.read_bytes()
    error = await failure_to_open(url(path))
    assert isinstance(error, StoreCorrupt)
    assert str(path) in error.message
    assert "not the gateway's" in error.message
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


async def test_a_newer_gateway_s_database_is_left_alone(store: SqlStore, path: Path) -> None:
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    content = path.read_bytes()
    error = await failure_to_open(url(path))
    assert isinstance(error, StoreCorrupt)
    assert str(path) in error.message
    assert "9999" in error.message
    assert "newer" in error.hint
    assert path.read_bytes() == content


async def test_a_damaged_page_is_found_when_it_is_read(store: SqlStore, path: Path) -> None:
    await commit(store, *(device(f"d{number}") for number in range(400)))
    await store.close()
    content = bytearray(path.read_bytes())
    content[4096 * 30 :] = b"\xa5" * (len(content) - 4096 * 30)  # beyond every table's first page
    path.write_bytes(content)
    await store.open()
    with pytest.raises(StoreCorrupt, match="malformed"):
        await store.list_devices(DeviceQuery(), after=None, limit=1000)
    await store.close()


@pytest.mark.parametrize(
    ("damage", "row"),
    [
        ("UPDATE devices SET status = 'asleep'", "device 'a'"),
        ("UPDATE individual_enrollments SET attestation = '{cut'", "individual enrollment 'a'"),
        ("UPDATE individual_enrollments SET attestation = '{}'", "individual enrollment 'a'"),
        ("UPDATE individual_enrollments SET attestation = '[]'", "individual enrollment 'a'"),
        (
            "UPDATE individual_enrollments SET attestation = replace(attestation, 'symmetricKey', 'palmistry')",
            "individual enrollment 'a'",
        ),
    ],
)
async def test_a_row_that_can_t_be_read_is_named_without_its_secrets(
    store: SqlStore, path: Path, damage: str, row: str
) -> None:
    other = device("b")
    await commit(store, device("a"), other)
    await store.save_individual(IndividualEnrollment.new("a", KEYS, now=1.0))
    with sqlite3.connect(path) as connection:
        connection.execute(f"{damage} WHERE {'id' if 'devices' in damage else 'registration_id'} = 'a'")
    connection.close()
    for entries in (await store.load_entries(["a", "b", "c"]), await store.load_all_entries(at_most=10)):
        assert entries is not None
        failed = entries["a"]
        assert isinstance(failed, StoreCorrupt)  # and no entry without an enrollment
        assert row in str(failed)
        assert str(path) in str(failed)
        assert KEYS.primary.base64 not in str(failed)
        assert entries["b"] == DeviceEntry(device=other)
        assert entries.get("c", DeviceEntry()) == DeviceEntry()


async def test_a_database_that_another_process_holds_is_unavailable_and_nothing_is_half_written(
    store: SqlStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.close()
    monkeypatch.setattr(sqlite, "_BUSY_TIMEOUT_MS", 1)
    await store.open()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        await commit(store, device("a"), twin("a"))
    holder.execute("ROLLBACK")
    holder.close()
    assert await store.count_devices() == {}
    await commit(store, device("a"))
    assert await store.count_devices() == {"provisioned": 1}


async def test_a_full_disk_is_told_and_forgiven_when_there_is_room_again(store: SqlStore) -> None:
    async def allow(pages: int) -> None:
        assert store._sqlite_writer is not None
        await store._sqlite_writer.read(
            lambda connection: connection.execute(f"PRAGMA max_page_count={pages}").fetchall()
        )

    await commit(store, device("a"))
    await allow(1)
    with pytest.raises(StoreUnavailable, match="full") as failed:
        await commit(store, *(device(f"d{number}") for number in range(400)))
    assert "free space" in failed.value.hint
    assert await store.count_devices() == {"provisioned": 1}
    await allow(100_000)
    await commit(store, *(device(f"d{number}") for number in range(400)))
    assert await store.count_devices() == {"provisioned": 401}


async def test_a_commit_that_fails_midway_leaves_nothing(store: SqlStore) -> None:
    broken = TwinRecord(
        device_id="a", desired="{}", desired_version=1, reported=None, reported_version=2  # type: ignore[arg-type]
    )  # fmt: skip
    with pytest.raises(StoreUnavailable):
        await commit(store, device("a"), broken)
    assert await store.count_devices() == {}


async def test_a_closed_store_is_unavailable(store: SqlStore) -> None:
    await store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.count_devices()


async def test_a_directory_that_can_t_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    error = await failure_to_open(url(tmp_path / "file" / "gateway.db"))
    assert isinstance(error, StoreUnavailable)
    assert str(tmp_path / "file") in error.message
    assert "state_dir" in error.hint


@pytest.mark.parametrize(
    ("store_url", "said"),
    [
        ("not a url", "registry.url"),
        ("sqlite:///x.db", "async"),
        ("sqlite+aiosqlite://", "path of a file"),
        ("sqlite+aiosqlite:///:memory:", "path of a file"),
        ("sqlite+aiosqlite:///file:x.db?uri=true", "path of a file"),
        ("nosuchbase://host/db", "nosuchbase"),
        ("postgresql+nosuchdriver://u:topsecret@host/db", "nosuchdriver"),
    ],
)
async def test_a_url_that_can_t_be_used_is_told_in_one_line_without_its_password(
    store_url: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = await failure_to_open(store_url)
    assert said in f"{error.message} {error.hint}"
    assert "topsecret" not in f"{error.message} {error.hint}"
