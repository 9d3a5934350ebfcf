"""What `gateway doctor` finds in a set-up that somebody has spoilt."""

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gateway.cli import doctor
from gateway.cli.doctor import Finding, Level, examine
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


def test_keys_in_the_clear_are_a_warning(setup: Path) -> None:
    in_the_clear(setup)
    (found,) = findings(setup, "settings")
    assert (found.level, found.found) == (
        Level.WARNING, "devices' and groups' keys are in the database as they are",
    )  # fmt: skip
    assert findings(setup, "encryption") == []


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
