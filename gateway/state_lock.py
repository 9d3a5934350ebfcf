"""Who may write the store: one process at a time, a running gateway or one offline command.

The lock is the operating system's (`flock`), so it ends with its process however that ends; the file is only
where it hangs, and says which process holds it.
"""

import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from gateway.errors import StartError

__all__ = ["StateLock"]

_MAX_HOLDER_BYTES: Final = 32


class StateLock:
    """The lock of a state directory, as a context manager.

    ::

        with StateLock(settings.lock_file):
            ...  # nobody else writes this store
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, or raise `StartError`. Makes the state directory (0700) if need be."""
        if not self.try_acquire():
            holder = self.holder()
            raise StartError(
                f"another gateway runs on {self._path.parent}" + (f" (process {holder})" if holder else ""),
                hint="stop it first, or give this one a state_dir of its own",
            )

    def try_acquire(self) -> bool:
        """False if another process holds the lock. Raises `StartError` if the directory can't be used."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartError(
                f"{self._path}: can't be opened: {error.strerror}",
                hint="state_dir must be writable by this user",
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError as error:  # a file system without locks
            os.close(descriptor)
            raise StartError(f"{self._path}: can't be locked: {error.strerror}") from None
        self._descriptor = descriptor
        with contextlib.suppress(
            OSError
        ):  # a full disk: the lock holds all the same, its holder goes unnamed
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return True

    def release(self) -> None:
        """Let go. The file stays: removing it would let two processes lock two files of one name."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> int | None:
        """The id of the process that holds the lock (or held it last), if it could be written down."""
        try:
            with self._path.open("rb") as file:
                return int(file.read(_MAX_HOLDER_BYTES))
        except (OSError, ValueError):
            return None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
