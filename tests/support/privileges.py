"""Commands that not every machine lets a test run: there the test is skipped, loudly."""

import subprocess

import pytest

__all__ = ["run_or_skip"]


def run_or_skip(*command: str, right: str) -> None:
    """Run it; skip the test without the program, or without the right `right` ("to mount …")."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip(f"needs the program {command[0]}")
    if done.returncode != 0:
        pytest.skip(f"needs the right {right}: {done.stderr.strip()}")
