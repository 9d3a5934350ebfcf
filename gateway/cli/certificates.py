"""Certificates for devices, from the development CA that `gateway init` put beside the configuration."""

from pathlib import Path

from gateway import pki
from gateway.cli.files import read_text, write_new
from gateway.errors import OperationError
from gateway.registry.device import is_device_id
from gateway.settings import load_settings

__all__ = ["issue"]


def issue(config: Path, device_id: str, *, out: Path, days: int) -> dict[str, str]:
    """Write `ID.crt` (the certificate and its CA's) and `ID.key`; return where. Raises `GatewayError`."""
    settings = load_settings(config)
    if not is_device_id(device_id, extended=settings.provisioning.extended_device_ids):
        raise OperationError(
            f"{device_id!r} is not a device id", hint="use letters, digits and '-' only, at most 128 of them"
        )
    ca_certificate, ca_key = (config.absolute().parent / name for name in ("ca.crt", "ca.key"))
    try:
        ca = pki.load_ca(read_text(ca_certificate).encode(), read_text(ca_key).encode())
    except (ValueError, TypeError):  # TypeError: cryptography says so of an encrypted key
        raise OperationError(
            f"{ca_certificate}, {ca_key}: not a CA's certificate and its key in PEM form"
        ) from None
    leaf = pki.issue_device(ca, device_id, days=days)
    certificate_file, key_file = (out.absolute() / f"{device_id}{suffix}" for suffix in (".crt", ".key"))
    write_new(key_file, leaf.key_pem, mode=0o600)
    try:
        write_new(certificate_file, leaf.chain_pem, mode=0o644)
    except BaseException:
        key_file.unlink()
        raise
    return {"id": device_id, "certificate": str(certificate_file), "key": str(key_file)}
