"""Files that commands read and write: bounded, and secrets private from the first byte."""

import base64
import contextlib
import os
import sys
from pathlib import Path
from typing import Final

from gateway.errors import ConflictError, OperationError

__all__ = ["read_key", "read_optional", "read_text", "read_tpm_public", "write_new"]

STDIN: Final = Path("-")
_MAX_BYTES: Final = 4 * 1024 * 1024
"""What fits into one request to the running gateway."""


def read_text(path: Path) -> str:
    """A text file's content; `-` is standard input. Raises `OperationError` with the file's name."""
    try:
        return _read(path).decode("utf-8")
    except UnicodeDecodeError:
        raise OperationError(f"{path}: not a text file (UTF-8)") from None


def read_optional(path: Path | None) -> str | None:
    """The content of the file that an option names, or None if the option was left out."""
    return None if path is None else read_text(path)


def read_key(path: Path | None) -> str | None:
    """Likewise for a key, without the line end that editors add."""
    return None if path is None else read_text(path).strip()


def read_tpm_public(path: Path | None) -> str | None:
    """The public area of a TPM's key, in base64: from a file that holds that, or the bytes as tpm2-tools write them."""
    if path is None:
        return None
    content = _read(path)
    # The size comes first, and no public area is as long as a printable first byte would make it.
    is_binary = content[:1] < b" "
    return base64.b64encode(content).decode() if is_binary else read_text(path).strip()


def write_new(path: Path, content: bytes, *, mode: int) -> None:
    """Create `path` with `mode`. Raises `ConflictError` if it exists, `OperationError` if it can't be written."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        raise ConflictError(f"{path}: exists already", hint="move it away, or write elsewhere") from None
    except OSError as error:
        raise OperationError(f"{path}: can't be written: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)  # whatever the umask takes away
            file.write(content)
    except OSError as error:
        path.unlink(missing_ok=True)  # half a key is worse than none
        raise OperationError(f"{path}: can't be written: {error.strerror}") from None


def _read(path: Path) -> bytes:
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if path == STDIN else path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise OperationError(f"{path}: can't be read: {error.strerror}") from None
    if len(content) > _MAX_BYTES:
        raise OperationError(f"{path}: larger than {_MAX_BYTES} bytes")
    return content
