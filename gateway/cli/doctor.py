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
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from gateway.cli.output import print_json, print_table, printable
from gateway.edge.tls import make_context
from gateway.errors import GatewayError, SettingsError, StoreError
from gateway.identity.x509 import common_name
from gateway.open_files import spare_files
from gateway.registry.inspection import Contents, is_whole, look_into
from gateway.registry.keyring import ENVIRONMENT, NO_KEYS, Keyring, load_keyring
from gateway.registry.sqlite import file_of, is_sqlite
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
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_MAX_NAMED: Final = 10


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
    checks: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
        ("files", lambda: _files(config, settings)),
        ("settings", lambda: _settings(settings)),
        ("encryption", lambda: _encryption(settings)),
        ("certificates", lambda: _certificates(settings, now)),
        ("certificates", lambda: _authorities(settings, now)),
        ("clock", lambda: _clock(settings, now)),
        ("database", lambda: _database(settings)),
        ("disk", lambda: _room(settings)),
    )
    return [finding for about, check in checks for finding in _guarded(about, check)]


def _guarded(about: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What this user may not look at is a finding, and not the end of the others."""
    try:
        yield from check()
    except OSError as error:
        yield _unreadable(about, error)


def _unreadable(about: str, error: OSError) -> Finding:
    return Finding(
        Level.BAD, about, f"{error.filename}: {error.strerror}", "run it as the user that the gateway runs as"
    )


def _files(config: Path, settings: Settings) -> Iterator[Finding]:
    """Secrets that somebody else on the machine may read or change, and what else decides who may come in."""
    secrets = _secret_files(config, settings)
    shared = [config, *_certificate_files(settings)]
    places = {file.absolute().parent for file in (*secrets, *shared)} - {settings.state_dir.absolute()}
    bad = [
        *_open(settings.state_dir, _OTHERS, "others may look into", "chmod 700"),
        *(finding for file in secrets for finding in _open(file, _OTHERS, "others may read", "chmod 600")),
        *(finding for file in shared for finding in _changeable(file)),
        *_open_directories(places),
    ]
    if _has_password(settings.registry.url):
        bad += _open(config, _OTHERS, "others may read the database's password in", "chmod 600")
    yield from bad
    if _mode(settings.state_dir) == 0:
        yield Finding(
            Level.WARNING,
            "files",
            f"{settings.state_dir} is not there yet",
            "start the gateway once: gateway serve",
        )
    if _mode(settings.devices.key_file) == 0:
        yield Finding(
            Level.BAD, "files", f"{settings.devices.key_file} is missing", "the devices' listener needs it"
        )
    if not bad:
        there = sum(_mode(file) != 0 for file in secrets)
        yield Finding(Level.OK, "files", f"{there} secret files are their owner's only")


def _open(path: Path, rights: int, found: str, todo: str) -> Iterator[Finding]:
    """A finding if somebody has one of the `rights` to what is there."""
    mode = _mode(path)
    if isinstance(mode, Finding):
        yield mode
    elif mode & rights:
        yield Finding(Level.BAD, "files", f"{found} {path}", f"{todo} {path}")


def _changeable(file: Path) -> Iterator[Finding]:
    found = list(_open(file, stat.S_IWOTH, "anybody may change", "chmod go-w"))
    yield from found or _open(file, stat.S_IWGRP, "its group may change", "chmod g-w")


def _open_directories(places: set[Path]) -> Iterator[Finding]:
    """Who may write to a directory may put another file in the place of one that is private."""
    above = {parent for place in places for parent in place.parents} - places
    for directory in sorted(places | above):
        mode = _mode(directory)
        # In one like /tmp, nobody replaces what is another's. Groups of directories further up are the system's.
        if isinstance(mode, Finding) or mode & stat.S_ISVTX:
            continue
        if mode & (_OTHERS_WRITE if directory in places else stat.S_IWOTH):
            yield Finding(
                Level.BAD, "files", f"others may replace files in {directory}", f"chmod go-w {directory}"
            )


def _secret_files(config: Path, settings: Settings) -> list[Path]:
    """What nobody but its owner should read, there or not; copies that were left beside it too."""
    state, database = settings.state_dir, _database_file(settings)
    files = [settings.devices.key_file, state / "console.key"]
    files += [application.password_file for application in settings.applications]
    files += [config.parent / name for name in ("api.token", "app.password", "ca.key")]
    if settings.http.key_file is not None:
        files.append(settings.http.key_file)
    for file in (settings.registry.encryption_key_file, database):
        if file is not None:
            files.append(file)
            files += _beside(file)
    return list(dict.fromkeys(file.absolute() for file in files))


def _beside(file: Path) -> list[Path]:
    """`gateway.db-wal`, `gateway.db.bak`, `encryption.key.new`: what has the same in it."""
    try:
        return sorted(each for each in file.parent.iterdir() if each.name.startswith(file.name))
    except OSError:
        return []  # `_mode` says of the file itself that it can't be looked at


def _certificate_files(settings: Settings) -> list[Path]:
    devices = settings.devices.certificate_file
    return sorted({devices, settings.http.certificate_file or devices})


def _mode(path: Path) -> "int | Finding":
    """Of what is there; 0 of what is not."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        return _unreadable("files", error)


def _has_password(url: str | None) -> bool:
    try:
        return url is not None and make_url(url).password is not None
    except SQLAlchemyError:
        return False


def _database_file(settings: Settings) -> Path | None:
    """The store's file; None if it is a server."""
    try:
        url = make_url(settings.store_url)
        return file_of(url) if is_sqlite(url) else None
    except (SQLAlchemyError, StoreError):
        return None


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
    yield from weak
    if not weak:
        yield Finding(Level.OK, "settings", "nothing that is weak")


def _encryption(settings: Settings) -> Iterator[Finding]:
    """Whether what is in the database is encrypted, and with a key that is here."""
    try:
        keyring = load_keyring(settings)
    except SettingsError as error:
        yield Finding(Level.BAD, "encryption", error.message, error.hint)
        return
    file = _database_file(settings)
    if file is None or not file.exists():
        yield _encryption_by_settings(
            keyring, "where is not looked from here" if file is None else "none so far"
        )
        return
    try:
        contents = look_into(file, keyring)
    except sqlite3.Error as error:
        yield Finding(
            Level.WARNING,
            "encryption",
            f"{file} can't be looked into: {error}",
            "see what is found of the database",
        )
        return
    yield from _encryption_of(contents, keyring)


def _encryption_by_settings(keyring: Keyring, rows: str) -> Finding:
    if keyring.current is None:
        return _IN_THE_CLEAR
    return Finding(
        Level.OK, "encryption", f"the key {keyring.current} is there; keys in the database: {rows}"
    )


def _encryption_of(contents: Contents, keyring: Keyring) -> Iterator[Finding]:
    lacking = sorted(key_id for key_id in contents.key_ids if key_id not in keyring)
    if lacking:
        given = (
            "no key is named" if keyring.current is None else f"{keyring.current} is the one that is given"
        )
        yield Finding(
            Level.BAD, "encryption",
            f"keys in the database are encrypted with {', '.join(lacking)}, and {given}: the gateway does not start",
            f"bring the key back: registry.encryption_key_file, or {ENVIRONMENT}",
        )  # fmt: skip
    elif contents.damaged:
        named = ", ".join(contents.damaged[:_MAX_NAMED])
        yield Finding(
            Level.BAD, "encryption", f"{len(contents.damaged)} rows can't be read: {named}",
            "restore them from a backup; gateway enrollment delete takes an individual enrollment away",
        )  # fmt: skip
    elif keyring.current is None:
        yield _IN_THE_CLEAR
    elif contents.behind:
        yield Finding(
            Level.WARNING, "encryption",
            f"{contents.behind} enrollments are in the clear, or under another key than {keyring.current}",
            "restart the gateway: it encrypts them at its start",
        )  # fmt: skip
    else:
        yield Finding(Level.OK, "encryption", f"keys in the database are encrypted with {keyring.current}")


_IN_THE_CLEAR: Final = Finding(
    Level.WARNING, "encryption", "devices' and groups' keys are in the database as they are",
    "gateway encryption-key new FILE, name it in registry.encryption_key_file, and restart the gateway",
)  # fmt: skip


def _certificates(settings: Settings, now: float) -> Iterator[Finding]:
    """The servers' own: their dates, their names, and whether their keys belong to them."""
    for file in _certificate_files(settings):
        try:
            chain = x509.load_pem_x509_certificates(file.read_bytes())
        except (OSError, ValueError) as error:
            yield Finding(
                Level.BAD,
                "certificates",
                f"{file} can't be read: {error}",
                "put the server's certificate there (PEM)",
            )
            continue
        yield _dates(file, chain, now)
        if not _names_any(chain[0], settings.hosts):
            yield Finding(
                Level.BAD, "certificates", f"{file} names none of the hosts {', '.join(settings.hosts)}",
                "put one in its place that names what devices dial, or mend `hosts`",
            )  # fmt: skip
    pairs = {(settings.devices.certificate_file, settings.devices.key_file)}
    if settings.http.certificate_file is not None and settings.http.key_file is not None:
        pairs.add((settings.http.certificate_file, settings.http.key_file))
    for certificate, key in sorted(pairs):
        try:
            make_context(certificate, key, minimum_version=settings.devices.minimum_tls_version)
        except GatewayError as error:
            if key.exists() and not error.message.startswith(
                str(certificate)
            ):  # what is missing has been said
                yield Finding(
                    Level.BAD, "certificates", error.message, f"put the key of {certificate} there (PEM)"
                )


def _dates(file: Path, chain: list[x509.Certificate], now: float) -> Finding:
    """The certificate of `chain` that is in the worst state: a peer needs all of them."""
    renew = "put a new one in its place, and restart the gateway"
    for certificate in chain:
        if certificate.not_valid_before_utc.timestamp() > now:
            found = f"{_which(file, certificate, chain)} is not good yet"
            return Finding(Level.BAD, "certificates", found, "check this machine's clock")
    first = min(chain, key=lambda each: each.not_valid_after_utc)
    days = (first.not_valid_after_utc.timestamp() - now) / _DAY
    which = _which(file, first, chain)
    if days < 0:
        return Finding(
            Level.BAD, "certificates", f"{which} expired {-days:.0f} days ago: no device connects", renew
        )
    level = Level.WARNING if days < _SOON_DAYS else Level.OK
    return Finding(
        level, "certificates", f"{which} is good for {days:.0f} days", renew if level is Level.WARNING else ""
    )


def _which(file: Path, certificate: x509.Certificate, chain: list[x509.Certificate]) -> str:
    if certificate is chain[0]:
        return str(file)
    return f"{file}: the CA {common_name(certificate) or certificate.subject.rfc4514_string()[:80]!r} in it"


def _names_any(certificate: x509.Certificate, hosts: tuple[str, ...]) -> bool:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    dns = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    return any(
        host in addresses or host.lower() in dns or f"*.{host.lower().partition('.')[2]}" in dns
        for host in hosts
    )


def _authorities(settings: Settings, now: float) -> Iterator[Finding]:
    """The CAs of enrollment groups: at their end every device that they vouch for is refused."""
    file = _database_file(settings)
    if file is None or not file.exists():
        return
    try:
        authorities = look_into(file, NO_KEYS).authorities
    except sqlite3.Error:
        return  # `_database` says why
    for authority in authorities:
        days = (authority.not_after - now) / _DAY
        what = f"the {authority.slot} CA of the group {authority.group}"
        give = f"gateway group ca set {authority.group} {'secondary' if authority.slot == 'primary' else 'primary'} FILE"
        if days < 0:
            yield Finding(
                Level.BAD,
                "certificates",
                f"{what} expired {-days:.0f} days ago: its devices are refused",
                give,
            )
        elif days < _SOON_DAYS:
            yield Finding(Level.WARNING, "certificates", f"{what} is good for {days:.0f} days", give)


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
    file = _database_file(settings)
    if file is None:
        yield Finding(Level.OK, "database", "it is another server's: see its own tools")
    elif not file.exists():
        yield Finding(
            Level.WARNING, "database", f"{file} is not there yet", "start the gateway once: gateway serve"
        )
    else:
        try:
            result = is_whole(file)
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
