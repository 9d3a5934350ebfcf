"""The commands of a page, run as they stand: each block of it that is marked `executed`."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.gateway_process import GatewayProcess

__all__ = ["DOCS", "ROOT", "blocks", "environment", "reader_of", "sh"]

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_BLOCK = re.compile(r"<!-- executed: (\w+) -->\n```sh\n(.*?)```", re.DOTALL)


def blocks(page: Path) -> dict[str, str]:
    """By the name that is in its mark."""
    return dict(_BLOCK.findall(page.read_text()))


def environment() -> dict[str, str]:
    """A shell's in which `gateway` is a command."""
    scripts = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def sh(script: str, cwd: Path) -> str:
    """What the script printed; it ends at the first command that fails, and then the test does."""
    done = subprocess.run(
        ["sh", "-e", "-x"], input=script, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextlib.contextmanager
def reader_of(directory: Path) -> Iterator[Callable[[str], str]]:
    """The shell of somebody whose gateway runs, set up in `gw`: gives `sh` in that directory."""
    with GatewayProcess(directory / "gw"):
        yield lambda script: sh(f"export GATEWAY_CONFIG=gw/gateway.yaml\n{script}", directory)
