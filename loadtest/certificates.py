"""A certificate for each device, made in bulk, and kept: making them is slower than the storm that they are for.

A directory holds the CA (`ca.crt`, `ca.key`) and one file for each device: `ID.pem`, its certificate and its key.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway import pki
from gateway.errors import OperationError
from loadtest.tls import ClientCertificate

__all__ = ["load_certificate", "make_certificates"]

_DAYS: Final = 365
_RENEW_AFTER_S: Final = 300 * 24 * 3600
_BATCH: Final = 100
_CA_NAME: Final = "Load test"


def load_certificate(directory: Path, device_id: str) -> ClientCertificate:
    """A device's certificate and key. Raises `OperationError` if it has none."""
    file = directory / f"{device_id}.pem"
    try:
        pem = file.read_bytes()
        certificate, key = x509.load_pem_x509_certificate(pem), load_pem_private_key(pem, password=None)
    except OSError as error:
        raise OperationError(f"{file}: {error.strerror}") from None
    except (ValueError, TypeError):  # TypeError: the key is encrypted
        key = None
    if not isinstance(key, pki.PrivateKey):
        raise OperationError(f"{file}: not a certificate and its key", hint="delete it, it is made anew")
    return certificate, key


def make_certificates(
    directory: Path,
    device_ids: Iterable[str],
    *,
    ca_key_file: Path | None = None,
    ca_file: Path | None = None,
    told: Callable[[int, int], None] = lambda _done, _missing: None,
) -> int:
    """Make those that the directory does not have yet, on all cores; return how many were made.

    Without `ca_key_file` the directory's own CA signs, which is made if need be; with it, the CA of that key and
    `ca_file` (default: beside the key, with the suffix `.crt`). `told` hears how many are done, and how many it is about.
    Raises `OperationError`.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        ca_pem, key_pem = _ca(directory, ca_key_file, ca_file)
        ids = [device_id for device_id in device_ids if _is_missing(directory / f"{device_id}.pem")]
        told(0, len(ids))
        if ids:
            batches = [ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH)]
            _make_all(directory, batches, ca_pem, key_pem, lambda done: told(done, len(ids)))
    except OSError as error:
        raise OperationError(f"{error.filename or directory}: {error.strerror or error}") from None
    return len(ids)


def _make_all(
    directory: Path, batches: list[list[str]], ca_pem: bytes, key_pem: bytes, told: Callable[[int], None]
) -> None:
    if len(batches) == 1:  # a pool takes longer to start
        told(_make(directory, batches[0], ca_pem, key_pem))
        return
    done = 0
    workers = min(len(batches), len(os.sched_getaffinity(0)))
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_leave_ctrl_c_to_the_parent
    ) as pool:
        for made in pool.map(
            _make, *zip(*((directory, ids, ca_pem, key_pem) for ids in batches), strict=True)
        ):
            done += made
            told(done)


def _leave_ctrl_c_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _make(directory: Path, device_ids: list[str], ca_pem: bytes, key_pem: bytes) -> int:
    ca = pki.load_ca(ca_pem, key_pem)
    for device_id in device_ids:
        try:
            leaf = pki.issue_device(ca, device_id, days=_DAYS)
        except ValueError:
            raise OperationError(
                f"{device_id}: too long for a certificate's common name", hint="use a shorter --prefix"
            ) from None
        file = directory / f"{device_id}.pem"
        partial = file.with_suffix(".partial")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(leaf.certificate_pem + leaf.key_pem)
        partial.replace(file)
    return len(device_ids)


def _ca(directory: Path, key_file: Path | None, ca_file: Path | None) -> tuple[bytes, bytes]:
    own, own_key = directory / "ca.crt", directory / "ca.key"
    if key_file is not None:
        ca_file = ca_file or key_file.with_suffix(".crt")
        ca_pem, key_pem = ca_file.read_bytes(), key_file.read_bytes()
        _check(ca_pem, key_pem, f"{ca_file}, {key_file}")
        if own.exists() and own.read_bytes() != ca_pem:
            raise OperationError(
                f"{directory}: its certificates are of another CA", hint="name another directory"
            )
        own.write_bytes(ca_pem)
        return ca_pem, key_pem
    if not own_key.exists():
        if own.exists():
            raise OperationError(f"{directory}: its CA's key is elsewhere", hint="name it with --ca-key")
        ca = pki.create_ca(_CA_NAME)
        own_key.touch(mode=0o600)
        own_key.write_bytes(ca.key_pem)
        own.write_bytes(ca.certificate_pem)
    ca_pem, key_pem = own.read_bytes(), own_key.read_bytes()
    _check(ca_pem, key_pem, f"{own}, {own_key}")
    return ca_pem, key_pem


def _check(ca_pem: bytes, key_pem: bytes, where: str) -> None:
    try:
        pki.load_ca(ca_pem, key_pem)
    except (ValueError, TypeError):
        raise OperationError(f"{where}: not a CA's certificate and its key in PEM form") from None


def _is_missing(file: Path) -> bool:
    """Or so old that it ends soon."""
    try:
        return time.time() - file.stat().st_mtime > _RENEW_AFTER_S
    except FileNotFoundError:
        return True
