"""What `gateway doctor` finds in a set-up that somebody has spoilt."""

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway import pki
from gateway.cli import doctor
from gateway.cli.doctor import Finding, Level, examine
from gateway.registry.keyring import ENVIRONMENT, load_keyring, new_key
from gateway.settings import load_settings
from tests.support.gateway_process import run_cli


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("doctor") / "gw"
    run_cli("init", directory)
    return directory


@pytest.fixture
def setup(fresh: Path, tmp_path: Path) -> Path:
    """The configuration of a fresh set-up, to be spoilt."""
    shutil.copytree(fresh, tmp_path / "gw")
    config = tmp_path / "gw" / "gateway.yaml"
    config.write_text(config.read_text().replace(str(fresh), str(tmp_path / "gw")))
    return config


def findings(config: Path, about: str, *, now: float | None = None) -> list[Finding]:
    found = examine(config, load_settings(config), now=time.time() if now is None else now)
    return [each for each in found if each.about == about]


def test_a_fresh_setup_has_nothing_bad(setup: Path) -> None:
    found = examine(setup, load_settings(setup), now=time.time())
    assert [each for each in found if each.level is Level.BAD] == []
    assert {each.about for each in found} == {
        "files", "settings", "encryption", "certificates", "clock", "database", "disk", "open files",
    }  # fmt: skip
    assert all(each.todo for each in found if each.level is not Level.OK)


def readable_key(config: Path) -> None:
    (config.parent / "server.key").chmod(0o644)


def open_state(config: Path) -> None:
    (config.parent / "state").chmod(0o755)


def writable_config(config: Path) -> None:
    config.chmod(0o666)


def no_encryption_key(config: Path) -> None:
    (config.parent / "encryption.key").unlink()


def readable_encryption_key(config: Path) -> None:
    (config.parent / "encryption.key").chmod(0o640)


def in_the_clear(config: Path) -> None:
    lines = config.read_text().splitlines(keepends=True)
    start = next(index for index, line in enumerate(lines) if line == "    registry:\n")
    config.write_text("".join(lines[:start] + lines[start + 2 :]))


def no_certificate(config: Path) -> None:
    (config.parent / "server.crt").write_text("no certificate")


def broken_database(config: Path) -> None:
    file = config.parent / "state" / "gateway.db"
    for beside in ("-wal", "-shm"):
        file.with_name(file.name + beside).unlink(missing_ok=True)
    file.write_bytes(b"no database at all" * 100)


def clock_was_set_back(config: Path) -> None:
    later = time.time() + 3600
    os.utime(config.parent / "state" / "gateway.lock", (later, later))


@pytest.mark.parametrize(
    ("spoil", "about", "says"),
    [
        (readable_key, "files", "others may read"),
        (readable_encryption_key, "files", "others may read"),
        (no_encryption_key, "encryption", "No such file"),
        (open_state, "files", "others may look into"),
        (writable_config, "files", "anybody may change"),
        (no_certificate, "certificates", "can't be read"),
        (broken_database, "database", "not a database"),
        (clock_was_set_back, "clock", "from the future"),
    ],
)
def test_what_is_spoilt_is_found_with_what_to_do(
    setup: Path, spoil: Callable[[Path], None], about: str, says: str
) -> None:
    (setup.parent / "state" / "gateway.lock").touch()
    spoil(setup)
    (found,) = [each for each in findings(setup, about) if each.level is Level.BAD]
    assert says in found.found
    assert found.todo


def key_ids(config: Path) -> str:
    (found,) = findings(config, "encryption")
    return found.found.rpartition(" ")[2]


def clear_keys(config: Path) -> None:
    """As a gateway without encryption leaves them."""
    keys = load_keyring(load_settings(config))
    with closing(sqlite3.connect(config.parent / "state" / "gateway.db")) as database:
        for name, text in database.execute("SELECT id, attestation FROM enrollment_groups").fetchall():
            document = json.loads(text)
            if document["type"] == "symmetricKey":
                for field in ("primary", "secondary"):
                    document[field] = keys.unseal(document[field], f"enrollment_groups/{name}/{field}")
            database.execute(
                "UPDATE enrollment_groups SET attestation = ? WHERE id = ?", (json.dumps(document), name)
            )
        database.commit()


def test_keys_in_the_clear_are_a_warning_with_and_without_a_key_to_encrypt_them_with(setup: Path) -> None:
    clear_keys(setup)
    (found,) = findings(setup, "encryption")
    assert (found.level, "1 enrollments are in the clear" in found.found) == (Level.WARNING, True)
    in_the_clear(setup)
    (found,) = findings(setup, "encryption")
    assert (found.level, found.found) == (
        Level.WARNING, "devices' and groups' keys are in the database as they are",
    )  # fmt: skip


def test_a_key_that_is_not_the_database_s_is_bad_and_so_is_none_and_the_right_one_is_named(
    setup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = key_ids(setup)
    monkeypatch.setenv(ENVIRONMENT, new_key())
    (found,) = findings(setup, "encryption")
    assert (found.level, f"encrypted with {right}" in found.found) == (Level.BAD, True)
    monkeypatch.delenv(ENVIRONMENT)
    (setup.parent / "encryption.key").write_text(f"{new_key()}\n")
    (found,) = findings(setup, "encryption")
    assert (found.level, f"encrypted with {right}" in found.found) == (Level.BAD, True)
    in_the_clear(setup)
    (found,) = findings(setup, "encryption")
    assert found.level is Level.BAD
    assert f"encrypted with {right}, and no key is named" in found.found


def test_a_row_that_can_t_be_read_is_bad_and_named(setup: Path) -> None:
    with closing(sqlite3.connect(setup.parent / "state" / "gateway.db")) as database:
        database.execute(
            "UPDATE enrollment_groups SET attestation = replace(attestation, 'sealed', 'seared')"
        )
        database.commit()
    (found,) = findings(setup, "encryption")
    assert (found.level, found.found) == (
        Level.BAD, "1 rows can't be read: enrollment_groups 'SAS-IoT-Devices'",
    )  # fmt: skip


def test_before_the_first_start_the_key_is_all_there_is_to_look_at(setup: Path) -> None:
    shutil.rmtree(setup.parent / "state")
    (found,) = findings(setup, "encryption")
    assert found.level is Level.OK


def test_a_group_s_ca_that_nears_its_end_is_a_warning_and_then_it_is_bad(setup: Path) -> None:
    def of_cas(days: int) -> list[tuple[Level, str]]:
        found = findings(setup, "certificates", now=time.time() + days * 86_400)
        return [(each.level, each.found) for each in found if "X509-IoT-Devices" in each.found]

    assert of_cas(0) == []
    assert of_cas(3640) == [
        (Level.WARNING, "the primary CA of the group X509-IoT-Devices is good for 10 days")
    ]
    assert of_cas(3655) == [
        (
            Level.BAD,
            "the primary CA of the group X509-IoT-Devices expired 5 days ago: its devices are refused",
        )
    ]


def move_database(config: Path) -> Path:
    """To where only `registry.url` says that it is."""
    moved = (config.parent / "state" / "gateway.db").rename(config.parent / "elsewhere.db")
    text = config.read_text().replace(
        "    registry:\n", f"    registry:\n      url: 'sqlite+aiosqlite:///{moved}'\n"
    )
    config.write_text(text)
    return moved


def test_a_database_file_elsewhere_is_looked_at_as_the_one_in_its_place_is(setup: Path) -> None:
    moved = move_database(setup)
    assert [(each.level, each.found.split()[0]) for each in findings(setup, "database")] == [
        (Level.OK, str(moved))
    ]
    moved.chmod(0o644)
    assert f"others may read {moved}" in [each.found for each in findings(setup, "files")]
    moved.write_bytes(b"no database at all" * 100)
    assert [each.level for each in findings(setup, "database")] == [Level.BAD]


def test_a_directory_that_others_may_write_to_is_bad_unless_they_may_only_add(setup: Path) -> None:
    directory = setup.parent
    for mode in (0o777, 0o770):
        directory.chmod(mode)
        assert f"others may replace files in {directory}" in [each.found for each in findings(setup, "files")]
    directory.chmod(0o1777)
    assert [each.level for each in findings(setup, "files")] == [Level.OK]
    directory.chmod(0o700)
    directory.parent.chmod(0o777)
    assert f"others may replace files in {directory.parent}" in [
        each.found for each in findings(setup, "files")
    ]


def test_a_key_file_in_a_directory_that_others_may_write_to_is_bad(setup: Path) -> None:
    elsewhere = setup.parent / "keys"
    elsewhere.mkdir(mode=0o700)
    elsewhere.chmod(0o770)
    key = (setup.parent / "encryption.key").rename(elsewhere / "encryption.key")
    setup.write_text(setup.read_text().replace(str(setup.parent / "encryption.key"), str(key)))
    assert [each.found for each in findings(setup, "files")] == [f"others may replace files in {elsewhere}"]


def test_copies_and_passwords_are_secrets_whatever_they_are_called(setup: Path) -> None:
    there = setup.parent
    password = (there / "app.password").rename(there / "secret.txt")
    setup.write_text(setup.read_text().replace("app.password", "secret.txt"))
    left = [there / "state" / "gateway.db.bak", there / "encryption.key.new", password]
    for file in left:
        file.touch()
        file.chmod(0o644)
    assert {each.found for each in findings(setup, "files")} == {f"others may read {file}" for file in left}


@pytest.mark.parametrize(
    ("name", "mode", "says"),
    [
        ("gateway.yaml", 0o660, "its group may change"),
        ("gateway.yaml", 0o666, "anybody may change"),
        ("server.crt", 0o666, "anybody may change"),
    ],
)
def test_what_others_may_change_is_bad(setup: Path, name: str, mode: int, says: str) -> None:
    (setup.parent / name).chmod(mode)
    assert [each.found for each in findings(setup, "files")] == [f"{says} {setup.parent / name}"]


def test_a_password_of_a_database_server_in_a_file_that_others_may_read_is_bad(setup: Path) -> None:
    text = setup.read_text()
    setup.write_text(
        text.replace("    registry:\n", "    registry:\n      url: postgresql+asyncpg://g:secret@db/g\n")
    )
    setup.chmod(0o644)
    found = findings(setup, "files")
    assert [each.found for each in found] == [f"others may read the database's password in {setup}"]
    assert "secret" not in str(found)


def put_certificate(config: Path, issued: pki.IssuedCertificate, *more: bytes) -> None:
    (config.parent / "server.crt").write_bytes(issued.chain_pem + b"".join(more))
    (config.parent / "server.key").write_bytes(issued.key_pem)


def test_the_server_s_certificate_has_to_be_good_now_name_a_host_and_have_its_key(setup: Path) -> None:
    now, ca = time.time(), pki.create_ca("A CA")

    def says() -> list[tuple[Level, str]]:
        return [
            (each.level, each.found.replace(f"{setup.parent}/", ""))
            for each in findings(setup, "certificates")
        ]

    put_certificate(setup, pki.issue_server(ca, ["localhost"], now=now + 3 * 86_400, days=10))
    assert says() == [(Level.BAD, "server.crt is not good yet")]
    put_certificate(setup, pki.issue_server(ca, ["elsewhere.example"], days=90))
    assert says() == [
        (Level.OK, "server.crt is good for 90 days"),
        (Level.BAD, "server.crt names none of the hosts localhost, 127.0.0.1"),
    ]
    put_certificate(setup, pki.issue_server(ca, ["localhost"], days=90))
    (setup.parent / "server.key").write_bytes(pki.issue_server(ca, ["localhost"]).key_pem)
    assert says() == [
        (Level.OK, "server.crt is good for 90 days"), (Level.BAD, "server.key: not the key of server.crt"),
    ]  # fmt: skip
    (setup.parent / "server.key").write_text("no key")
    assert says()[1:] == [(Level.BAD, "server.key: not a PEM file of the expected kind")]


def test_a_ca_in_the_server_s_file_that_expired_is_bad(setup: Path) -> None:
    now = time.time()
    root = pki.create_ca("A root", now=now - 400 * 86_400)
    gone = pki.create_intermediate(root, "The one between", now=now - 100 * 86_400, days=50)
    put_certificate(setup, pki.issue_server(pki.create_ca("A CA"), ["localhost"]), gone.certificate_pem)
    (found,) = findings(setup, "certificates")
    assert (found.level, "the CA 'The one between' in it expired 50 days ago" in found.found) == (
        Level.BAD,
        True,
    )


def test_what_may_not_be_looked_at_is_a_finding_beside_the_others(
    setup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, real = setup.parent / "encryption.key", os.stat

    def refuse(path: Any, **more: Any) -> os.stat_result:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(closed))
        return real(path, **more)

    monkeypatch.setattr(os, "stat", refuse)
    (setup.parent / "ca.key").chmod(0o644)
    assert {(each.level, each.found) for each in findings(setup, "files")} == {
        (Level.BAD, f"{closed}: Permission denied"), (Level.BAD, f"others may read {setup.parent / 'ca.key'}"),
    }  # fmt: skip


def test_a_certificate_that_expires_soon_is_a_warning_and_then_it_is_bad(setup: Path) -> None:
    (soon,) = findings(setup, "certificates", now=time.time() + 810 * 86_400)
    assert (soon.level, "is good for 15 days" in soon.found) == (Level.WARNING, True)
    (over,) = findings(setup, "certificates", now=time.time() + 828 * 86_400)
    assert (over.level, "expired 3 days ago" in over.found) == (Level.BAD, True)


def test_weak_settings_are_named(setup: Path) -> None:
    text = setup.read_text().replace(
        "    devices:\n",
        "    provisioning:\n      token_leeway_s: 600\n    devices:\n      plain_bind: 127.0.0.1:1884\n",
        1,
    )
    setup.write_text(text)
    weak = [each.found for each in findings(setup, "settings")]
    assert weak == [
        "devices may connect without TLS on 127.0.0.1:1884", "tokens are good for 600 s after they expire",
    ]  # fmt: skip


@pytest.mark.parametrize(("says", "level"), [(True, Level.OK), (False, Level.WARNING), (None, Level.OK)])
def test_a_clock_that_nothing_keeps_right_is_a_warning(
    setup: Path, monkeypatch: pytest.MonkeyPatch, says: bool | None, level: Level
) -> None:
    monkeypatch.setattr(doctor, "_is_synchronized", lambda: says)
    assert [each.level for each in findings(setup, "clock")] == [level]


def test_the_kernel_s_word_on_the_clock_can_be_read() -> None:
    assert doctor._is_synchronized() in {True, False, None}


def test_the_exit_code_tells_a_script(setup: Path) -> None:
    assert run_cli("doctor", "-c", setup, check=False).returncode == 0
    readable_key(setup)
    done = run_cli("doctor", "-c", setup, "--json", check=False)
    assert done.returncode == 1
    assert '"level": "bad"' in done.stdout


def test_a_database_in_use_is_checked_without_disturbing_it(setup: Path) -> None:
    with closing(sqlite3.connect(setup.parent / "state" / "gateway.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        assert [each.level for each in findings(setup, "database")] == [Level.OK]
