"""`gateway doctor`: what on this machine is, or soon will be, a trouble for this set-up.

It only reads: configuration, files, the database (beside a running gateway too), the kernel's clock and limits. Each
finding is one line with what to do. What the gateway itself knows, such as devices' certificates, is in `gateway status`.
"""

import ctypes
import os
import resource
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509

from gateway.cli.output import print_json, print_table, printable
from gateway.errors import SettingsError
from gateway.open_files import spare_files
from gateway.registry.keyring import ENVIRONMENT, load_keyring
from gateway.settings import Settings, load_settings

__all__ = ["Finding", "Level", "examine", "run_checks"]

_DAY: Final = 86_400
_SOON_DAYS: Final = 30
_LONG_LEEWAY_S: Final = 300
_LEAST_FREE_BYTES: Final = 512 * 1024 * 1024
_CLOCK_SLACK_S: Final = 5
_CLOCK_UNSYNCHRONIZED: Final = 0x0040
_CLOCK_ERROR: Final = 5
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    BAD = "bad"


class Finding(NamedTuple):
    """One line: about what, what was found, and what to do (empty if nothing)."""

    level: Level
    about: str
    found: str
    todo: str = ""


def run_checks(config: Path, *, as_json: bool) -> int:
    """Print what was found. The exit code: 1 if something is bad."""
    findings = examine(config, load_settings(config), now=time.time())
    if as_json:
        print_json([{**each._asdict(), "level": each.level.value} for each in findings])
    else:
        rows = [(each.level.value, each.about, each.found, each.todo) for each in findings]
        print_table(("", "ABOUT", "FOUND", "WHAT TO DO"), printable(rows), empty="")
    return int(any(each.level is Level.BAD for each in findings))


def examine(config: Path, settings: Settings, *, now: float) -> list[Finding]:
    """Everything, in the order of the page. `now` is unix seconds."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        lambda: _files(config, settings),
        lambda: _settings(settings),
        lambda: _encryption(settings),
        lambda: _certificates(settings, now),
        lambda: _clock(settings, now),
        lambda: _database(settings),
        lambda: _room(settings),
    )
    return [finding for check in checks for finding in check()]


def _files(config: Path, settings: Settings) -> Iterator[Finding]:
    """Secrets that somebody else on the machine may read or change."""
    state = settings.state_dir
    secrets = [settings.devices.key_file, settings.http.key_file, settings.registry.encryption_key_file]
    secrets += [state / "gateway.db", state / "console.key"]
    secrets += [
        state / "gateway.db-wal",
        *(config.parent / name for name in ("api.token", "app.password", "ca.key")),
    ]
    there = [file for file in secrets if file is not None and file.exists()]
    if not state.is_dir():
        yield Finding(
            Level.WARNING, "files", f"{state} is not there yet", "start the gateway once: gateway serve"
        )
    elif state.stat().st_mode & _OTHERS:
        yield Finding(Level.BAD, "files", f"others may look into {state}", f"chmod 700 {state}")
    bad = [file for file in there if file.stat().st_mode & _OTHERS]
    for file in bad:
        yield Finding(Level.BAD, "files", f"others may read {file}", f"chmod 600 {file}")
    if settings.devices.key_file not in there:
        yield Finding(
            Level.BAD, "files", f"{settings.devices.key_file} is missing", "the devices' listener needs it"
        )
    if config.stat().st_mode & stat.S_IWOTH:
        yield Finding(Level.BAD, "files", f"anybody may change {config}", f"chmod o-w {config}")
    if not bad:
        yield Finding(Level.OK, "files", f"{len(there)} secret files are their owner's only")


def _settings(settings: Settings) -> Iterator[Finding]:
    """What is allowed, and weak."""
    weak = []
    if settings.devices.plain_bind is not None:
        weak.append(
            Finding(
                Level.WARNING, "settings", f"devices may connect without TLS on {settings.devices.plain_bind}",
                "take devices.plain_bind out, unless a TLS terminator or a benchmark on this machine needs it",
            )
        )  # fmt: skip
    if settings.provisioning.token_leeway_s > _LONG_LEEWAY_S:
        weak.append(
            Finding(
                Level.WARNING, "settings", f"tokens are good for {settings.provisioning.token_leeway_s} s after they expire",
                "lower provisioning.token_leeway_s, and mend the devices' clocks",
            )
        )  # fmt: skip
    if settings.http.bind is not None and not settings.http.tls:
        weak.append(
            Finding(
                Level.WARNING, "settings", f"operators' tokens cross {settings.http.bind} without TLS",
                "set http.tls, unless a TLS terminator on this machine is in front of it",
            )
        )  # fmt: skip
    if settings.registry.encryption_key_file is None and ENVIRONMENT not in os.environ:
        weak.append(
            Finding(
                Level.WARNING, "settings", "devices' and groups' keys are in the database as they are",
                "gateway encryption-key new FILE, name it in registry.encryption_key_file, and restart the gateway",
            )
        )  # fmt: skip
    yield from weak
    if not weak:
        yield Finding(Level.OK, "settings", "nothing that is weak")


def _encryption(settings: Settings) -> Iterator[Finding]:
    """Whether the keys that the settings name can be read; a warning of `_settings` says if they name none."""
    try:
        keyring = load_keyring(settings)
    except SettingsError as error:
        yield Finding(Level.BAD, "encryption", error.message, error.hint)
        return
    if keyring.current is not None:
        yield Finding(Level.OK, "encryption", f"keys in the database are encrypted with {keyring.current}")


def _certificates(settings: Settings, now: float) -> Iterator[Finding]:
    """The servers' own."""
    files = {
        settings.devices.certificate_file,
        settings.http.certificate_file or settings.devices.certificate_file,
    }
    for file in sorted(files):
        try:
            certificate = x509.load_pem_x509_certificate(file.read_bytes())
        except (OSError, ValueError) as error:
            yield Finding(
                Level.BAD,
                "certificates",
                f"{file} can't be read: {error}",
                "put the server's certificate there (PEM)",
            )
            continue
        days = (certificate.not_valid_after_utc.timestamp() - now) / _DAY
        what = f"{file} is good for {days:.0f} days"
        renew = "put a new one in its place, and restart the gateway"
        if days < 0:
            yield Finding(
                Level.BAD, "certificates", f"{file} expired {-days:.0f} days ago: no device connects", renew
            )
        elif days < _SOON_DAYS:
            yield Finding(Level.WARNING, "certificates", what, renew)
        elif certificate.not_valid_before_utc.timestamp() > now:
            yield Finding(Level.BAD, "certificates", f"{file} is not good yet", "check this machine's clock")
        else:
            yield Finding(Level.OK, "certificates", what)


def _clock(settings: Settings, now: float) -> Iterator[Finding]:
    """Tokens and certificates are judged by it."""
    newest = max((file.stat().st_mtime for file in settings.state_dir.glob("*")), default=0.0)
    if newest > now + _CLOCK_SLACK_S:
        yield Finding(
            Level.BAD,
            "clock",
            f"it was set back: a file of the gateway is {newest - now:.0f} s from the future",
            "set it (NTP)",
        )
    elif _is_synchronized() is False:
        yield Finding(
            Level.WARNING,
            "clock",
            "the kernel says that nothing keeps it right",
            "run an NTP client: chrony, systemd-timesyncd",
        )
    else:
        yield Finding(Level.OK, "clock", "no sign that it is wrong")


def _is_synchronized() -> bool | None:
    """What the kernel knows of NTP (adjtimex(2)); None where that can't be asked."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (AttributeError, OSError):
        return None
    timex = (ctypes.c_long * 64)()  # `modes` 0: only read. `status` is its sixth word on a 64-bit system
    state = adjtimex(timex)
    if state < 0 or ctypes.sizeof(ctypes.c_long) != 8:  # noqa: PLR2004 - bytes
        return None
    status = timex[5] & 0xFFFFFFFF
    return state != _CLOCK_ERROR and not status & _CLOCK_UNSYNCHRONIZED


def _database(settings: Settings) -> Iterator[Finding]:
    """SQLite's own check, read-only: a running gateway is not disturbed."""
    file = settings.state_dir / "gateway.db"
    if settings.registry.url is not None:
        yield Finding(Level.OK, "database", "it is another server's: see its own tools")
    elif not file.exists():
        yield Finding(
            Level.WARNING, "database", f"{file} is not there yet", "start the gateway once: gateway serve"
        )
    else:
        try:
            with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
                (result,) = database.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.Error as error:
            result = str(error)
        if result == "ok":
            yield Finding(Level.OK, "database", f"{file} is whole, {file.stat().st_size / 1e6:.1f} MB")
        else:
            yield Finding(
                Level.BAD,
                "database",
                f"{file}: {result}",
                "stop the gateway, keep the file, and restore a backup",
            )


def _room(settings: Settings) -> Iterator[Finding]:
    """Disk, and how many files may be open."""
    place = settings.state_dir if settings.state_dir.is_dir() else Path()
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        yield Finding(
            Level.BAD, "disk", f"{place} can't be written", "run as its owner, or mount it writable"
        )
    elif free < _LEAST_FREE_BYTES:
        yield Finding(
            Level.BAD,
            "disk",
            f"{free / 1e6:.0f} MB are free; without room new devices are told to come back",
            "make room",
        )
    else:
        yield Finding(Level.OK, "disk", f"{free / 1e9:.1f} GB are free")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.devices.max_connections + spare_files(settings.devices.storm.max_waiting)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        yield Finding(
            Level.WARNING, "open files", f"the system allows {hard:,} of the {wanted:,} that are wanted",
            "raise the hard limit (LimitNOFILE= of its systemd unit, ulimit -Hn), or lower devices.max_connections",
        )  # fmt: skip
    else:
        yield Finding(Level.OK, "open files", f"enough for {settings.devices.max_connections:,} devices")
