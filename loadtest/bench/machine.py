"""Where it was measured, and what: a figure without its machine and versions is worth nothing."""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.backends.openssl import backend

from gateway.edge import connection
from loadtest.bench.cores import Cores
from loadtest.bench.servers import Missing, find_mosquitto

__all__ = ["Machine", "describe", "file_system"]

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One line each, for the report."""

    date: str
    hardware: str
    system: str
    cores: str
    load: str
    """How busy it was with other work."""
    store: str
    versions: dict[str, str]
    """By server."""


def describe(directory: Path, cores: Cores) -> Machine:
    """`directory` is where the servers' files are: its file system is what a first connect waits for."""
    return Machine(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        hardware=f"{_cpu()}, {_core_count()}, {_memory_gib():.0f} GiB",
        system=f"Linux {platform.release()}, Python {platform.python_version()}",
        cores=str(cores),
        load=f"load average {os.getloadavg()[0]:.1f} at the start",
        store=f"SQLite on {file_system(directory)}",
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    version = importlib.metadata.version
    gateway = f"{version('gateway')}{_commit()} ({_build()}, uvloop {version('uvloop')}, {backend.openssl_version_text()})"
    found = {"gateway": gateway, "amqtt": f"{version('amqtt')} (stock, asyncio's own loop)"}
    try:
        found["mosquitto"] = _mosquitto(find_mosquitto())
    except Missing as missing:
        found["mosquitto"] = missing.message
    return found


def _mosquitto(program: str) -> str:
    said = _output(program, "-h").partition("\n")[0]
    return f"{said.removeprefix('mosquitto version ')} ({_linked_openssl(program)})"


def _linked_openssl(program: str) -> str:
    """The version that stands in the library itself: the command `openssl` may be of another one."""
    library = re.search(r"libcrypto\S* => (\S+)", _output("ldd", program))
    if library is None:
        return "OpenSSL unknown"
    found = re.search(rb"OpenSSL \d+\.\d+\.\d+\w* +\d+ \w+ \d{4}", Path(library[1]).read_bytes())
    return found[0].decode() if found else "OpenSSL unknown"


def _build() -> str:
    """The servers run from the same tree as this module."""
    return "pure Python" if str(connection.__file__).endswith(".py") else "compiled by mypyc"


def _commit() -> str:
    commit = _output("git", "-C", str(_ROOT), "rev-parse", "--short", "HEAD").strip()
    return f" at {commit}" if commit else ""


def _output(program: str, *arguments: str) -> str:
    """Empty if there is no such program: what it would have said is left out."""
    path = shutil.which(program)
    if path is None:
        return ""
    return subprocess.run([path, *arguments], capture_output=True, text=True, check=False).stdout


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(names, platform.machine())


def _core_count() -> str:
    count = len(
        [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("processor")]
    )
    return f"{count} core{'s' if count != 1 else ''}"


def _memory_gib() -> float:
    total = re.search(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
    return int(total[1]) / 1024**2 if total else 0.0


def file_system(path: Path) -> str:
    """`ext4`, `tmpfs`, …: of the mount that is nearest above the path."""
    nearest, kind = "", "an unknown file system"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields, _, source = line.partition(" - ")
        mount = fields.split()[4]
        if path.absolute().is_relative_to(mount) and len(mount) >= len(nearest):
            nearest, kind = mount, source.split()[0]
    return kind
