"""File systems of a test's own, where the machine lets us mount one (CI's does); elsewhere the test is skipped, loudly."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.privileges import run_or_skip

__all__ = ["ext4", "fill", "tmpfs"]

_RIGHT = "to make a file system"


@contextlib.contextmanager
def tmpfs(directory: Path, *, megabytes: int) -> Iterator[Path]:
    """A small file system in memory, on `directory`."""
    directory.mkdir()
    run_or_skip("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(directory), right=_RIGHT)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


@contextlib.contextmanager
def ext4(directory: Path, *, image: Path, megabytes: int) -> Iterator[Path]:
    """A file system that the kernel can be told to have given up (`remount,abort`)."""
    directory.mkdir()
    with image.open("wb") as file:
        file.truncate(megabytes * 1024 * 1024)
    run_or_skip("mkfs.ext4", "-q", "-F", str(image), right=_RIGHT)
    run_or_skip("mount", "-o", "loop", str(image), str(directory), right=_RIGHT)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


def fill(file: Path) -> None:
    """Write until the disk is full, to the last byte."""
    with file.open("wb", buffering=0) as ballast:
        for size in (65536, 4096, 512, 1):
            try:
                while True:
                    ballast.write(b"\0" * size)
            except OSError:
                continue
