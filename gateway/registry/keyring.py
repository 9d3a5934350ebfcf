"""The secrets in the store, encrypted: devices' and groups' symmetric keys, which the gateway has to know to verify tokens.

Each secret is encrypted for itself with AES-256-GCM (NIST SP 800-38D), and bound to its place (table, row, field), so
that nobody who can write to the database moves one to another row. What is stored says by which key:
`sealed:{key id}:{base64 of nonce and ciphertext}`. The keys come from a file or from the environment, the current one
first; the others still decrypt, until everything is under the current one (docs/decisions/0014-secrets-at-rest.md).

API tokens need none of this: only their digests are stored.
"""

import base64
import binascii
import contextlib
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import ColumnElement, Connection, Table, and_, or_, select, update

from gateway.errors import SettingsError, StartError, StoreUnavailable
from gateway.registry import schema
from gateway.secrets import SymmetricKey
from gateway.settings import Settings

__all__ = [
    "ENVIRONMENT",
    "NO_KEYS",
    "SECRETS_OF",
    "Keyring",
    "Sealing",
    "load_keyring",
    "new_key",
    "place_of",
    "read_key_file",
    "seal_rows",
    "write_key_file",
]

ENVIRONMENT: Final = "GATEWAY_ENCRYPTION_KEY"
"""Keys, separated by commas, the current one first; before `registry.encryption_key_file`."""

SECRETS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "symmetricKey": ("primary", "secondary"), "tpm": ("deviceKey",), "signingCertificates": (), "thumbprints": (),
}  # fmt: skip
"""Type of attestation → its secret fields, as `gateway.registry.records` writes it."""

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_PREFIX: Final = "sealed:"


class Sealing(NamedTuple):
    """What came of bringing every secret under the current key."""

    sealed: int
    """Rows that were written."""
    left: tuple[str, ...]
    """Rows that can't be read, so that they stay under another key, or in the clear: table and id of each."""


class Keyring:
    """Keys of 32 bytes, the current one first. Without any, secrets are stored as they are."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Raise `ValueError` for a key of another length."""
        if any(len(key) != _KEY_BYTES for key in keys):
            raise ValueError(f"an encryption key has {_KEY_BYTES} bytes")
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        self.current = next(iter(self._ciphers), None)
        """The id of the key that encrypts: eight hexadecimal digits, no secret. None if there is none."""

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._ciphers

    @staticmethod
    def key_of(stored: str) -> str | None:
        """The id of the key that `stored` is encrypted with; None if it is in the clear."""
        return stored[len(_PREFIX) :].partition(":")[0] if stored.startswith(_PREFIX) else None

    @classmethod
    def parse(cls, text: str, *, source: str) -> "Keyring":
        """Keys in base64, by the line or by the comma; lines with `#` are comments. Raises `SettingsError`."""
        try:
            keyring = cls([base64.b64decode(one, validate=True) for one in _split(text)])
        except (binascii.Error, ValueError):
            raise SettingsError(
                f"{source}: not {_KEY_BYTES} bytes in base64 each",
                hint="`gateway encryption-key new FILE` makes one",
            ) from None
        if keyring.current is None:
            raise SettingsError(
                f"{source}: there is no key in it", hint="`gateway encryption-key new FILE` makes one"
            )
        return keyring

    def seal(self, secret: str, place: str) -> str:
        """`secret`, encrypted with the current key for `place`; as it is if there is no key."""
        if self.current is None:
            return secret
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._ciphers[self.current].encrypt(nonce, secret.encode(), place.encode())
        return f"{_PREFIX}{self.current}:{base64.b64encode(sealed).decode()}"

    def unseal(self, stored: str, place: str) -> str:
        """The secret that `stored` holds. Raises `StoreUnavailable` without its key, `ValueError` for what is damaged."""
        if not stored.startswith(_PREFIX):
            return stored
        key_id, _, text = stored[len(_PREFIX) :].partition(":")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise _lacks(key_id, self)
        sealed = base64.b64decode(text, validate=True)
        try:
            return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place.encode()).decode()
        except InvalidTag:
            raise ValueError("a secret was tampered with, or belongs elsewhere") from None


NO_KEYS: Final = Keyring(())


def load_keyring(settings: Settings) -> Keyring:
    """From the environment, else from the file that the settings name, else none. Raises `SettingsError`."""
    given = os.environ.get(ENVIRONMENT)
    if given is not None:
        return Keyring.parse(given, source=ENVIRONMENT)
    path = settings.registry.encryption_key_file
    if path is None:
        return NO_KEYS
    return Keyring.parse(_read(path), source=str(path))


def read_key_file(path: Path) -> list[str]:
    """The keys in the file, in base64. Raises `SettingsError`."""
    return _split(_read(path))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"registry.encryption_key_file: {path}: {getattr(error, 'strerror', None) or 'not a text file'}",
            hint="bring it back: without it nobody reads the keys in the database;"
            " `gateway encryption-key new FILE` makes one for a new set-up",
        ) from None


def _split(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return [one for line in lines for one in line.replace(",", " ").split()]


def new_key() -> str:
    """A new key, in base64."""
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def write_key_file(path: Path, keys: Sequence[str]) -> None:
    """Put `keys` there, durably, in place of what was there: all of it or nothing. Raises `StartError`.

    Owner, group and mode stay those of the file that was there, and a link to it stays a link.
    """
    path = path.resolve()
    beside = path.with_name(f"{path.name}.new")
    try:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                _set_owner_and_mode(descriptor, path)
                file.write("".join(f"{key}\n" for key in keys))
                file.flush()
                os.fsync(descriptor)
            beside.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise StartError(f"{path}: can't be written: {error.strerror}") from None


def _set_owner_and_mode(descriptor: int, like: Path) -> None:
    try:
        old = like.stat()
    except FileNotFoundError:
        return
    mine = os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (mine.st_uid, mine.st_gid):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def seal_rows(connection: Connection, keyring: Keyring) -> Sealing:
    """Bring every secret in the store under the current key.

    Raises `StoreUnavailable` if a key is missing that something in the store is encrypted with.
    """
    sealed = 0
    left: list[str] = []
    for table in (schema.enrollment_groups, schema.individual_enrollments):
        of_table = _seal_table(connection, keyring, table)
        sealed += of_table.sealed
        left += of_table.left
    return Sealing(sealed, tuple(left))


def _seal_table(connection: Connection, keyring: Keyring, table: Table) -> Sealing:
    (key,) = table.primary_key
    attestation = table.c.attestation
    if keyring.current is None:
        sealed = connection.execute(
            select(attestation).where(attestation.contains(f'"{_PREFIX}')).limit(1)
        ).scalar()
        if sealed is not None:
            raise _lacks(sealed.partition(_PREFIX)[2].partition(":")[0], keyring)
        return Sealing(0, ())
    changed = 0
    left: list[str] = []
    behind = select(key, attestation).where(_may_be_behind(attestation, keyring.current)).order_by(key)
    for row_id, text in connection.execute(behind).all():
        try:
            document = _sealed_anew(text, table, row_id, keyring)
        except (ValueError, KeyError, TypeError, AttributeError):
            left.append(f"{table.name} {row_id!r}")  # damaged: whoever reads the row is told
            continue
        if document is not None:
            connection.execute(update(table).where(key == row_id).values(attestation=json.dumps(document)))
            changed += 1
    return Sealing(changed, tuple(left))


def _may_be_behind(attestation: ColumnElement[str], current: str) -> ColumnElement[bool]:
    """Whether not every secret of the row is under the current key, as far as LIKE can tell; however the JSON is set."""
    sealed = f'"{_PREFIX}{current}:'
    return or_(
        and_(attestation.contains('"symmetricKey"'), ~attestation.like(f"%{sealed}%{sealed}%")),
        and_(attestation.contains('"tpm"'), ~attestation.contains(sealed)),
        # Of a type that nobody can make out any more.
        and_(attestation.contains(_PREFIX), ~attestation.contains(sealed)),
    )


def _sealed_anew(text: str, table: Table, row_id: str, keyring: Keyring) -> dict[str, Any] | None:
    """The attestation with its secrets under the current key; None if it has none. Raises if it is damaged."""
    document: dict[str, Any] = json.loads(text)
    fields = SECRETS_OF[document["type"]]
    for field in fields:
        place = place_of(table, row_id, field)
        # What is no key is not sealed as if it were one: it is what damage has left of a sealed one.
        secret = SymmetricKey.from_base64(keyring.unseal(document[field], place))
        document[field] = keyring.seal(secret.base64, place)
    return document if fields else None


def place_of(table: Table, row_id: str, field: str) -> str:
    """What a secret is bound to."""
    return f"{table.name}/{row_id}/{field}"


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"gateway encryption key id\0" + key).hexdigest()[:8]


def _lacks(key_id: str, keyring: Keyring) -> StoreUnavailable:
    given = "no key is given" if keyring.current is None else "another key is given"
    return StoreUnavailable(
        f"the keys in the database are encrypted with the key {key_id}, and {given}",
        hint=f"bring it back: registry.encryption_key_file, or {ENVIRONMENT}",
    )
