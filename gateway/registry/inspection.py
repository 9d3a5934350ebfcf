"""A look into an SQLite store that opens nothing and changes nothing: beside a running gateway too, and without its keys.

For `gateway doctor`, which must not bring a schema up to date or encrypt anything, as opening the store does.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from cryptography import x509

from gateway.errors import StoreUnavailable
from gateway.registry import schema
from gateway.registry.keyring import SECRETS_OF, Keyring, place_of
from gateway.secrets import SymmetricKey

__all__ = ["Authority", "Contents", "is_whole", "look_into"]

_TABLES: Final = (schema.enrollment_groups, schema.individual_enrollments)
_SLOTS: Final = ("primary", "secondary")


class Authority(NamedTuple):
    """A CA of an enrollment group, and until when it is good (unix seconds)."""

    group: str
    slot: str
    not_after: float


@dataclass(slots=True)
class Contents:
    """What was found. Rows are named by table and id."""

    key_ids: set[str] = field(default_factory=set)
    """Of the keys that something is encrypted with."""
    behind: int = 0
    """Rows with a secret in the clear, or under another key than the current one."""
    damaged: list[str] = field(default_factory=list)
    authorities: list[Authority] = field(default_factory=list)


def is_whole(path: Path) -> str:
    """`ok`, or what SQLite's own check says. Raises `sqlite3.Error`."""
    with closing(_connect(path)) as database:
        return str(database.execute("PRAGMA quick_check(1)").fetchone()[0])


def look_into(path: Path, keyring: Keyring) -> Contents:
    """What the enrollments in the file are encrypted with, as far as `keyring` goes. Raises `sqlite3.Error`."""
    contents = Contents()
    with closing(_connect(path)) as database:
        for table in _TABLES:
            (key,) = table.primary_key
            rows = database.execute(f"SELECT {key.name}, attestation FROM {table.name} ORDER BY 1")  # noqa: S608
            for row_id, text in rows:
                try:
                    document = json.loads(text)
                    places = {name: place_of(table, row_id, name) for name in SECRETS_OF[document["type"]]}
                    _look_at_secrets(contents, document, places, keyring)
                    contents.authorities.extend(_authorities(row_id, document))
                except (ValueError, KeyError, TypeError, AttributeError):
                    contents.damaged.append(f"{table.name} {row_id!r}")
    return contents


def _look_at_secrets(
    contents: Contents, document: dict[str, Any], places: dict[str, str], keyring: Keyring
) -> None:
    is_behind = False
    for name, place in places.items():
        key_id = keyring.key_of(document[name])
        is_behind |= key_id != keyring.current
        if key_id is not None:
            contents.key_ids.add(key_id)
        with suppress(StoreUnavailable):  # its key is not among ours: `key_ids` says so
            SymmetricKey.from_base64(keyring.unseal(document[name], place))
    contents.behind += is_behind


def _authorities(group: str, document: dict[str, Any]) -> Iterator[Authority]:
    if document["type"] != "signingCertificates":
        return
    for slot in _SLOTS:
        stored = document[slot]
        if stored is not None:
            pem = stored if isinstance(stored, str) else stored["certificate"]
            certificate = x509.load_pem_x509_certificate(pem.encode())
            yield Authority(group, slot, certificate.not_valid_after_utc.timestamp())


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
