"""A log file that is rotated: by size, keeping so many, or by logrotate, which renames it and sends SIGHUP."""

import io
import os
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final, cast

from gateway.errors import StartError

__all__ = ["LogFile"]

_MODE: Final = 0o640
"""For its owner and its group: a log has no secrets, but names and addresses."""


class LogFile(RotatingFileHandler):
    """A text stream to write whole lines to. The handler of the standard library opens, closes and renames."""

    def __init__(self, path: Path, *, max_bytes: int, keep: int) -> None:
        """`max_bytes` 0: it is never rotated here. Raises `StartError` if the file can't be opened."""
        try:
            super().__init__(path, maxBytes=max_bytes, backupCount=keep, encoding="utf-8")
        except OSError as error:
            raise StartError(
                f"log.file: {path}: can't be opened: {error.strerror or error}",
                hint="its directory must exist, and the gateway's user may write there",
            ) from None

    def write(self, text: str) -> None:
        """Rotate first, if there is no room. Raises `OSError`; the next call tries again."""
        stream = self._opened()
        if self.maxBytes and stream.tell() > 0 and stream.tell() + len(text) > self.maxBytes:
            self.doRollover()
        self._opened().write(text)

    def flush(self) -> None:
        if self.stream is not None:
            self.stream.flush()

    def isatty(self) -> bool:
        return False

    def reopen(self) -> None:
        """Go on in a new file of the same name: the old one was renamed."""
        old, self.stream = self._opened(), self._open()
        old.close()

    def _opened(self) -> io.TextIOWrapper:
        """A rotation that failed half way, on a full disk or a directory that is gone, has left none."""
        if self.stream is None:
            self.stream = self._open()
        return self.stream

    def _open(self) -> io.TextIOWrapper:
        def private(path: str, flags: int) -> int:
            return os.open(path, flags, _MODE)

        return cast(
            io.TextIOWrapper, open(self.baseFilename, self.mode, encoding=self.encoding, opener=private)
        )
