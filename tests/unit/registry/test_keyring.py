"""Secrets at rest: what is encrypted, with which key, and what happens when a key is missing."""

import base64
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from gateway.enrollment.models import EnrollmentGroup, IndividualEnrollment, SymmetricKeys, TpmAttestation
from gateway.errors import SettingsError, StoreCorrupt, StoreUnavailable
from gateway.identity.tpm import StorageKey
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
        assert store.sealed == 0
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
        assert store.sealed == 2
        assert await store.load_groups() == [group()]
        assert not holds_a_key(path)
    async with opened(path, OLD) as store:
        assert store.sealed == 0


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


async def test_with_a_new_key_before_the_old_one_everything_comes_under_the_new_one(path: Path) -> None:
    await fill(path, OLD)

    async with opened(path, BOTH) as store:
        assert store.sealed == 2

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
