"""Secrets at rest: what is encrypted, with which key, and what happens when a key is missing."""

import asyncio
import base64
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from gateway.enrollment.models import EnrollmentGroup, IndividualEnrollment, SymmetricKeys, TpmAttestation
from gateway.errors import SettingsError, StartError, StoreCorrupt, StoreUnavailable
from gateway.identity.tpm import StorageKey
from gateway.registry import sqlite
from gateway.registry.keyring import (
    ENVIRONMENT,
    NO_KEYS,
    Keyring,
    load_keyring,
    new_key,
    read_key_file,
    write_key_file,
)
from gateway.registry.store import SqlStore
from gateway.secrets import SymmetricKey
from gateway.settings import Settings, parse_settings
from tests.unit.registry.test_store import ENDORSEMENT_KEY

OLD, NEW = Keyring([bytes(32)]), Keyring([bytes([1] * 32)])
BOTH = Keyring([bytes([1] * 32), bytes(32)])
PRIMARY, SECONDARY, OTHER = (SymmetricKey(bytes([number] * 48)) for number in (7, 8, 9))
KEYS = SymmetricKeys(primary=PRIMARY, secondary=SECONDARY)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "gateway.db"


@asynccontextmanager
async def opened(path: Path, keyring: Keyring) -> AsyncIterator[SqlStore]:
    store = SqlStore(f"sqlite+aiosqlite:///{path}", keyring)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def group(name: str = "g") -> EnrollmentGroup:
    return EnrollmentGroup(id=name, display_name=name, attestation=KEYS, created_at=1, updated_at=1, etag="e")


def individual(name: str = "i") -> IndividualEnrollment:
    return IndividualEnrollment(
        registration_id=name,
        attestation=SymmetricKeys(primary=OTHER, secondary=SECONDARY),
        enabled=True,
        created_at=1,
        updated_at=1,
        etag="e",
    )


async def fill(path: Path, keyring: Keyring) -> None:
    async with opened(path, keyring) as store:
        await store.save_group(group())
        await store.save_individual(individual())


def bytes_on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(path.parent.glob("gateway.db*")))


def holds_a_key(path: Path) -> bool:
    content = bytes_on_disk(path)
    return any(key.base64.encode() in content or key.raw in content for key in (PRIMARY, SECONDARY, OTHER))


async def test_keys_read_as_they_were_written_and_are_nowhere_on_the_disk(path: Path) -> None:
    await fill(path, OLD)

    async with opened(path, OLD) as store:
        assert await store.load_groups() == [group()]
        assert (await store.load_entries(["i"]))["i"].individual == individual()
        assert await store.list_individuals(after=None, limit=10) == [individual()]
        entries = await store.load_all_entries(at_most=10)
        assert entries is not None
        assert entries["i"].individual == individual()
        assert store.sealing.sealed == 0
    assert not holds_a_key(path)


async def test_the_device_key_of_a_tpm_is_encrypted_too(path: Path) -> None:
    attestation = TpmAttestation(
        endorsement_key=StorageKey.parse(ENDORSEMENT_KEY),
        storage_root_key=None,
        device_key=PRIMARY,
    )
    stored = IndividualEnrollment(
        registration_id="t", attestation=attestation, enabled=True, created_at=1, updated_at=1, etag="e"
    )
    async with opened(path, OLD) as store:
        await store.save_individual(stored)
        assert (await store.load_entries(["t"]))["t"].individual == stored
    assert not holds_a_key(path)


async def test_a_database_in_the_clear_is_encrypted_at_the_first_start_with_a_key_and_leaves_no_trace(
    path: Path,
) -> None:
    await fill(path, NO_KEYS)
    async with opened(path, NO_KEYS) as store:
        await store.save_group(group("gone"))
        await store.delete_group("gone")
    assert holds_a_key(path)

    async with opened(path, OLD) as store:
        assert store.sealing.sealed == 2
        assert await store.load_groups() == [group()]
        assert not holds_a_key(path)
    async with opened(path, OLD) as store:
        assert store.sealing.sealed == 0


async def test_an_erasure_that_was_interrupted_is_done_at_the_next_start(path: Path) -> None:
    await fill(path, OLD)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA secure_delete=OFF")
        database.execute("PRAGMA user_version=1")  # as a crash after the encryption leaves it
        database.execute("CREATE TABLE left_over (secret TEXT)")
        database.execute("INSERT INTO left_over VALUES (?)", (PRIMARY.base64,))
        database.commit()
        database.execute("DROP TABLE left_over")
        database.commit()
    assert holds_a_key(path)

    async with opened(path, OLD):
        pass

    assert not holds_a_key(path)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (0,)


async def test_an_erasure_that_another_reader_keeps_from_being_done_is_done_at_the_next_start(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(path, NO_KEYS)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM devices").fetchone()  # it goes on seeing the file as it is now
        monkeypatch.setattr(sqlite, "_BUSY_TIMEOUT_MS", 1)
        async with opened(path, OLD) as store:
            assert store.sealing.sealed == 2
            assert store.holds_remains
            assert reader.execute("PRAGMA user_version").fetchone() == (0,)  # as it sees it
            reader.execute("COMMIT")
            assert reader.execute("PRAGMA user_version").fetchone() == (1,)
    async with opened(path, OLD) as store:
        assert not store.holds_remains
        assert not holds_a_key(path)


@pytest.mark.parametrize("statement", ["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA user_version=0"])
async def test_an_erasure_that_is_cut_off_after_any_of_its_steps_is_done_by_the_next_start(
    path: Path, statement: str
) -> None:
    await fill(path, NO_KEYS)
    program = """
import asyncio, os, signal, sys
from sqlalchemy import Connection
from gateway.registry.keyring import Keyring
from gateway.registry.store import SqlStore

execute = Connection.exec_driver_sql

def execute_and_die(self, statement, *rest):
    result = execute(self, statement, *rest)
    if statement == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

Connection.exec_driver_sql = execute_and_die
asyncio.run(SqlStore(sys.argv[1], Keyring([bytes(32)])).open())
"""
    url = f"sqlite+aiosqlite:///{path}"
    died = await asyncio.create_subprocess_exec(sys.executable, "-c", program, url, statement)
    assert await died.wait() == -signal.SIGKILL
    async with opened(path, OLD):
        assert not holds_a_key(path)


async def test_keys_are_encrypted_however_their_json_is_set(path: Path) -> None:
    await fill(path, NO_KEYS)
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE enrollment_groups SET attestation = replace(attestation, '\": ', '\":')")
        database.execute(
            "UPDATE individual_enrollments SET attestation = replace(attestation, '\": ', '\" :  ')"
        )
        database.commit()

    async with opened(path, OLD) as store:
        assert store.sealing == (2, ())
        assert await store.load_groups() == [group()]
        assert not holds_a_key(path)


async def test_a_row_of_which_one_key_only_is_under_the_current_key_is_brought_there(path: Path) -> None:
    await fill(path, NO_KEYS)
    place = "individual_enrollments/i/primary"
    with closing(sqlite3.connect(path)) as database:
        for key, sealed in ((OTHER, NEW), (SECONDARY, OLD)):
            place = f"individual_enrollments/i/{'primary' if key is OTHER else 'secondary'}"
            database.execute(
                "UPDATE individual_enrollments SET attestation = replace(attestation, ?, ?)",
                (key.base64, sealed.seal(key.base64, place)),
            )
        database.commit()
    async with opened(path, BOTH) as store:
        assert store.sealing.sealed == 2
    async with opened(path, NEW) as store:
        assert (await store.load_entries(["i"]))["i"].individual == individual()


@pytest.mark.parametrize(
    "damage",
    [
        'replace(attestation, \'"primary": "sealed\', \'"primary": "seared\')',
        "replace(attestation, '=\"', '!\"')",
        "replace(attestation, 'symmetricKey', 'symmetricKex')",
        "substr(attestation, 1, length(attestation) - 4)",
        "replace(attestation, '\"secondary\"', '\"secundary\"')",
    ],
    ids=["mark", "ciphertext", "type", "cut off", "name of a field"],
)
async def test_a_damaged_row_stays_as_it_is_and_is_named(path: Path, damage: str) -> None:
    await fill(path, OLD)
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"UPDATE individual_enrollments SET attestation = {damage}")  # noqa: S608
        database.commit()
        before = database.execute("SELECT attestation FROM individual_enrollments").fetchone()

    async with opened(path, BOTH) as store:
        assert store.sealing == (1, ("individual_enrollments 'i'",))
        assert await store.load_groups() == [group()]
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT attestation FROM individual_enrollments").fetchone() == before


async def test_with_a_new_key_before_the_old_one_everything_comes_under_the_new_one(path: Path) -> None:
    await fill(path, OLD)

    async with opened(path, BOTH) as store:
        assert store.sealing.sealed == 2

    async with opened(path, NEW) as store:
        assert await store.load_groups() == [group()]
        assert (await store.load_entries(["i"]))["i"].individual == individual()


@pytest.mark.parametrize(
    ("keyring", "says"),
    [(NO_KEYS, "no key is given"), (NEW, "another key is given")],
    ids=["no key", "a wrong key"],
)
async def test_without_its_key_the_store_does_not_open_and_says_which_one_it_wants(
    path: Path, keyring: Keyring, says: str
) -> None:
    await fill(path, OLD)
    before = bytes_on_disk(path)

    with pytest.raises(StoreUnavailable) as failed:
        async with opened(path, keyring):
            pass

    assert (
        failed.value.message
        == f"the keys in the database are encrypted with the key {OLD.current}, and {says}"
    )
    assert ENVIRONMENT in failed.value.hint
    async with opened(path, OLD) as store:
        assert await store.load_groups() == [group()]
    assert len(before) > 0


async def test_a_key_that_was_moved_to_another_row_is_not_taken(path: Path) -> None:
    await fill(path, OLD)
    async with opened(path, OLD) as store:
        await store.save_group(group("h"))
    with closing(sqlite3.connect(path)) as database:
        (foreign,) = database.execute("SELECT attestation FROM enrollment_groups WHERE id = 'g'").fetchone()
        database.execute("UPDATE enrollment_groups SET attestation = ? WHERE id = 'h'", (foreign,))
        database.commit()

    async with opened(path, OLD) as store:
        with pytest.raises(StoreCorrupt, match="enrollment group 'h' can't be read"):
            await store.load_groups()


def test_the_same_secret_is_never_written_twice_alike() -> None:
    assert OLD.seal("secret", "here") != OLD.seal("secret", "here")


# Where the keys come from


def settings(tmp_path: Path, file: Path | None = None) -> Settings:
    return parse_settings({
        "hosts": ["localhost"], "id_scope": "0ne00000000", "state_dir": str(tmp_path),
        "devices": {"certificate_file": "c", "key_file": "k"},
        "registry": {"encryption_key_file": str(file)} if file else {},
    })  # fmt: skip


def test_keys_come_from_the_environment_before_the_file_and_from_nowhere_if_neither_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "encryption.key"
    first, second, third = (new_key() for _ in range(3))
    write_key_file(file, [first, second])
    assert read_key_file(file) == [first, second]
    assert file.stat().st_mode & 0o777 == 0o600

    monkeypatch.delenv(ENVIRONMENT, raising=False)
    assert load_keyring(settings(tmp_path)).current is None
    of_file = load_keyring(settings(tmp_path, file))
    assert of_file.current == Keyring([base64.b64decode(first)]).current

    monkeypatch.setenv(ENVIRONMENT, f"{third},{first}")
    assert load_keyring(settings(tmp_path, file)).current == Keyring([base64.b64decode(third)]).current


def test_a_key_file_that_is_written_anew_keeps_owner_mode_and_the_link_to_it(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    real, link = tmp_path / "elsewhere" / "real.key", tmp_path / "encryption.key"
    write_key_file(real, [new_key()])
    real.chmod(0o640)
    if os.geteuid() == 0:  # nobody else may give a file away
        os.chown(real, 1234, 1235)
    link.symlink_to(real)
    before = real.stat()
    fresh = new_key()

    write_key_file(link, [fresh])

    assert link.is_symlink()
    assert read_key_file(real) == [fresh]
    after = real.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert [file.name for file in real.parent.iterdir()] == ["real.key"]


def test_a_key_file_that_can_t_be_given_to_its_owner_again_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "encryption.key"
    write_key_file(file, [new_key()])
    before = file.read_text()

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", refuse)
    with pytest.raises(StartError, match="can't be written: Operation not permitted"):
        write_key_file(file, [new_key()])
    assert file.read_text() == before
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        ("", "there is no key in it"),
        ("# only a comment\n", "there is no key in it"),
        ("not base64!", "not 32 bytes in base64"),
        (base64.b64encode(b"short").decode(), "not 32 bytes in base64"),
        ("schlüssel", "not a text file"),
    ],
)
def test_a_key_file_that_is_none_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, says: str
) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    file = tmp_path / "encryption.key"
    if content is not None:
        file.write_text(content)

    with pytest.raises(SettingsError) as failed:
        load_keyring(settings(tmp_path, file))

    assert says in failed.value.message
    assert str(file) in failed.value.message
    assert "gateway encryption-key new" in failed.value.hint
    assert "\n" not in str(failed.value)
