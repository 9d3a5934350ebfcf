"""`gateway encryption-key`: on a new set-up, on one of before, and when the key changes."""

import asyncio
import base64
import json
import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway import plugin
from gateway.cli import encryption
from gateway.enrollment.models import SymmetricKeys
from gateway.errors import OperationError, StartError, StoreUnavailable
from gateway.registry import keyring
from gateway.registry.keyring import ENVIRONMENT, Keyring, load_keyring, new_key, read_key_file
from gateway.registry.store import SqlStore
from gateway.settings import load_settings
from gateway.state_lock import StateLock
from tests.support.gateway_process import run_cli

GROUP = "SAS-IoT-Devices"


@pytest.fixture(autouse=True)
def _no_key_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("encryption") / "gw"
    run_cli("init", directory)
    return directory


@pytest.fixture
def config(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "gw")
    config = tmp_path / "gw" / "gateway.yaml"
    config.write_text(config.read_text().replace(str(made), str(tmp_path / "gw")))
    return config


def key_file(config: Path) -> Path:
    return config.parent / "encryption.key"


def group_key(config: Path) -> str:
    """As a start of the gateway reads it."""
    settings = load_settings(config)

    async def read() -> str:
        store = SqlStore(settings.store_url, load_keyring(settings))
        await store.open()
        keys = {group.id: group.attestation for group in await store.load_groups()}[GROUP]
        await store.close()
        assert isinstance(keys, SymmetricKeys)
        return keys.primary.base64

    return asyncio.run(read())


def on_disk(config: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted((config.parent / "state").glob("gateway.db*")))


def put_in_the_clear(config: Path) -> None:
    """The database as a gateway without encryption left it."""
    keys = load_keyring(load_settings(config))
    with closing(sqlite3.connect(config.parent / "state" / "gateway.db")) as database:
        (text,) = database.execute(
            "SELECT attestation FROM enrollment_groups WHERE id = ?", (GROUP,)
        ).fetchone()
        document = json.loads(text)
        for field in ("primary", "secondary"):
            document[field] = keys.unseal(document[field], f"enrollment_groups/{GROUP}/{field}")
        database.execute(
            "UPDATE enrollment_groups SET attestation = ? WHERE id = ?", (json.dumps(document), GROUP)
        )
        database.commit()


def test_a_new_set_up_has_its_keys_encrypted_and_its_key_is_its_owners_only(config: Path) -> None:
    key = group_key(config)

    assert stat.S_IMODE(key_file(config).stat().st_mode) == 0o600
    assert b"sealed:" in on_disk(config)
    assert key.encode() not in on_disk(config)
    assert base64.b64decode(key) not in on_disk(config)


def test_a_set_up_of_before_is_encrypted_once_a_key_is_named(config: Path) -> None:
    put_in_the_clear(config)
    key_file(config).unlink()
    said = run_cli("encryption-key", "new", key_file(config)).stdout
    assert "keep a copy" in said

    key = group_key(config)

    assert key.encode() not in on_disk(config)
    assert group_key(config) == key


def test_a_new_key_is_not_written_over_another(config: Path) -> None:
    before = key_file(config).read_text()

    done = run_cli("encryption-key", "new", key_file(config), check=False)

    assert done.returncode == 1
    assert done.stderr.count("\n") <= 2
    assert key_file(config).read_text() == before


def test_a_set_up_whose_key_is_gone_says_so_in_one_line_and_changes_nothing(config: Path) -> None:
    key_file(config).rename(config.parent / "elsewhere")

    for command in (("serve",), ("group", "list"), ("encryption-key", "rotate")):
        done = run_cli(*command, "-c", config, check=False)
        assert done.returncode != 0
        assert "encryption.key: No such file or directory" in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr

    (config.parent / "elsewhere").rename(key_file(config))
    assert group_key(config)


def test_a_wrong_key_says_which_one_is_wanted(config: Path) -> None:
    wanted = load_keyring(load_settings(config)).current
    key_file(config).write_text(f"{new_key()}\n")

    done = run_cli("serve", "-c", config, check=False)

    assert done.returncode != 0
    assert f"encrypted with the key {wanted}, and another key is given" in done.stderr + done.stdout


def test_a_key_file_that_others_may_read_is_warned_of_when_the_gateway_starts(config: Path) -> None:
    key_file(config).chmod(0o644)
    with capture_logs() as lines:
        plugin._warn_of_open_secrets(load_settings(config))
    assert [(line["event"], line["file"], line["mode"]) for line in lines] == [
        ("setting.warned", str(key_file(config)), "644")
    ]


def test_rotation_encrypts_everything_anew_and_forgets_the_old_key(config: Path) -> None:
    key, (old,) = group_key(config), read_key_file(key_file(config))

    said = json.loads(run_cli("encryption-key", "rotate", "-c", config, "--json").stdout)

    (new,) = read_key_file(key_file(config))
    assert new != old
    assert said == {
        "file": str(key_file(config)), "key": Keyring([base64.b64decode(new)]).current, "enrollments": 1,
    }  # fmt: skip
    assert group_key(config) == key


def test_a_rotation_keeps_the_old_key_while_a_damaged_row_needs_it_and_says_which(config: Path) -> None:
    key, (old,) = group_key(config), read_key_file(key_file(config))
    run_cli("enrollment", "create", "mill-1", "-c", config)
    database_file = config.parent / "state" / "gateway.db"
    with closing(sqlite3.connect(database_file)) as database:
        (text,) = database.execute("SELECT attestation FROM individual_enrollments").fetchone()
        document = json.loads(text)
        document["primary"] = f"{document['primary'][:-12]}AAAAAAAAAAA="
        database.execute("UPDATE individual_enrollments SET attestation = ?", (json.dumps(document),))
        database.commit()

    done = run_cli("encryption-key", "rotate", "-c", config, check=False)

    assert done.returncode == 1
    assert "damaged rows can't be encrypted with the new key" in done.stderr
    assert "1 of 2: individual_enrollments 'mill-1'" in done.stderr
    new, *others = read_key_file(key_file(config))
    assert (new != old, others) == (True, [old])
    assert group_key(config) == key
    # What is whole of that row can still be had, and once it is gone the old keys go too.
    place = "individual_enrollments/mill-1/secondary"
    assert load_keyring(load_settings(config)).unseal(document["secondary"], place)
    run_cli("enrollment", "delete", "mill-1", "-c", config)
    encryption.rotate(config=config, as_json=True)
    assert len(read_key_file(key_file(config))) == 1
    assert group_key(config) == key


def test_a_rotation_beside_a_reader_says_that_the_old_is_still_in_the_file(config: Path) -> None:
    with closing(sqlite3.connect(config.parent / "state" / "gateway.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM devices").fetchone()
        done = run_cli("encryption-key", "rotate", "-c", config)
    assert "another program reads the database" in done.stderr


class _PowerCutError(Exception):
    pass


def _second_time(first: Callable[..., Any], then: Callable[..., Any]) -> Callable[..., Any]:
    """`first` looks whether the key is right; `then` is the rotation's own."""
    calls = iter((first, then))

    def run(*given: Any) -> Any:
        return next(calls)(*given)

    return run


def _cut(*_: Any) -> Any:
    raise _PowerCutError


def _cut_after(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(*given: Any) -> None:
        function(*given)
        raise _PowerCutError

    return run


@pytest.mark.parametrize(
    "when",
    ["before the file", "after the file", "before the database", "after the database", "before the end"],
)
def test_a_rotation_that_is_interrupted_loses_nothing_and_can_be_done_again(
    config: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    key = group_key(config)
    write = keyring.write_key_file
    seal, run = encryption._seal, encryption.asyncio.run
    writes: list[list[str]] = []

    def write_until_the_end(path: Path, keys: list[str]) -> None:
        if writes:
            raise _PowerCutError
        writes.append(keys)
        write(path, keys)

    with monkeypatch.context() as patched:
        match when:
            case "before the file":
                patched.setattr(keyring, "write_key_file", _cut)
            case "after the file":
                patched.setattr(keyring, "write_key_file", _cut_after(write))
            case "before the database":
                patched.setattr(encryption, "_seal", _second_time(seal, _cut))
            case "after the database":
                patched.setattr(encryption.asyncio, "run", _second_time(run, _cut_after(run)))
            case _:
                patched.setattr(keyring, "write_key_file", write_until_the_end)
        with pytest.raises(_PowerCutError):
            encryption.rotate(config=config, as_json=True)
    assert encryption._seal is seal

    assert group_key(config) == key
    encryption.rotate(config=config, as_json=True)
    assert len(read_key_file(key_file(config))) == 1
    assert group_key(config) == key


def test_a_rotation_with_a_wrong_key_says_so_and_leaves_the_file_alone(config: Path) -> None:
    key_file(config).write_text(f"{new_key()}\n")
    before = key_file(config).read_text()
    with pytest.raises(StoreUnavailable, match="another key is given"):
        encryption.rotate(config=config, as_json=True)
    assert key_file(config).read_text() == before


def test_rotation_waits_for_nobody_and_says_who_is_in_the_way(config: Path) -> None:
    before = key_file(config).read_text()
    with StateLock(load_settings(config).lock_file), pytest.raises(StartError, match="another gateway runs"):
        encryption.rotate(config=config, as_json=True)
    assert key_file(config).read_text() == before


def test_a_key_from_the_environment_is_rotated_there(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, new_key())
    with pytest.raises(OperationError, match="a command can't change") as failed:
        encryption.rotate(config=config, as_json=True)
    assert "a comma between them" in failed.value.hint


def test_without_a_key_rotation_says_how_to_have_one(config: Path) -> None:
    text = config.read_text()
    start = text.index("    registry:\n")
    config.write_text(text[:start] + text[text.index("\n", text.index("encryption_key_file", start)) + 1 :])
    with pytest.raises(OperationError, match="no key is set"):
        encryption.rotate(config=config, as_json=True)
