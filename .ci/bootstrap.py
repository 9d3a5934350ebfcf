# ruff: noqa: E402, INP001, S310, S603, T201, UP031 - the version check comes before the imports, and what runs is ours
"""Make a virtual environment and install into it, on a machine that has Python and nothing else.

    python3 bootstrap.py DIRECTORY (--editable PROJECT | --requirement FILE) [--depends-on FILE]…

Debian and Ubuntu ship Python without `ensurepip`, so `python3 -m venv` fails there until somebody installs
another package. This script then makes the environment without pip and takes pip's wheel from the package
index: the one that pip itself would use (PIP_INDEX_URL, pip's configuration files), with the same
certificates (PIP_CERT, SSL_CERT_FILE), and only if the file has the SHA-256 that the index names.

It says what it does in one line a step, and is done at once when there is nothing to do. It runs before
anything is installed, so it needs only the standard library; and older Pythons can read as far as the line
that says that they are too old.
"""

import sys

OLDEST_PYTHON = (3, 11)

if sys.version_info < OLDEST_PYTHON:
    sys.exit(
        "error: Python %d.%d or newer is needed, and %s is %d.%d; name another one: make PYTHON=python3.13"
        % (*OLDEST_PYTHON, sys.executable, *sys.version_info[:2])
    )

import argparse
import base64
import configparser
import hashlib
import html.parser
import os
import re
import shutil
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["main"]

DEFAULT_INDEX = "https://pypi.org/simple"
TIMEOUT_S = 60
STAMP = "installed-by-make"
LOG = "install.log"


class BootstrapError(Exception):
    """What went wrong, in one line."""


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    try:
        make(options.directory, options.install, options.depends_on)
    except BootstrapError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bootstrap.py", description="Make a virtual environment and install into it."
    )
    parser.add_argument("directory", type=Path)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--editable", metavar="PROJECT", help="for example: .[dev]")
    what.add_argument("--requirement", metavar="FILE")
    parser.add_argument("--depends-on", type=Path, action="append", default=[], metavar="FILE",
                        help="install again when this file has changed")  # fmt: skip
    options = parser.parse_args(arguments)
    if options.editable:
        options.install = ("--editable", options.editable)
    else:
        options.install = ("--requirement", options.requirement)
    return options


def make(directory: Path, install: Sequence[str], depends_on: Sequence[Path]) -> None:
    """Bring the environment to what is asked for; does nothing if it is there already.

    The stamp's first line is where the environment was made (one that was moved has scripts that point
    nowhere); each other line is one installation.
    """
    stamp = directory / STAMP
    location, *installed = read_lines(stamp) or [str(directory.absolute())]
    wanted = fingerprint(install, depends_on)
    if location != str(directory.absolute()) or not is_usable(directory):
        create(directory)
        installed = []
    if wanted in installed:
        return
    say(f"installing {install[1]} into {directory} (a minute or so the first time)")
    started = time.monotonic()
    pip_install(directory, install)
    # What was installed for another pyproject.toml is not up to date any more.
    current = [line for line in installed if line.split()[0] == wanted.split()[0]]
    stamp.write_text("\n".join([str(directory.absolute()), *current, wanted]) + "\n")
    say(f"{directory} is ready ({time.monotonic() - started:.0f} s)")


def say(line: str) -> None:
    print(f"- {line}", flush=True)


def fingerprint(install: Sequence[str], depends_on: Sequence[Path]) -> str:
    """One line that changes when what is installed would."""
    digest = hashlib.sha256()
    for path in depends_on:
        try:
            digest.update(path.read_bytes())
        except OSError as error:
            raise BootstrapError(f"{path}: {error.strerror}") from None
    return f"{digest.hexdigest()} {' '.join(install)}"


def read_lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


# The environment


def interpreter(directory: Path) -> Path:
    return directory / "bin" / "python"


def is_usable(directory: Path) -> bool:
    """Made by this Python, and finished: an interrupted run may have left half of one."""
    question = "import sys, pip; print(sys.version_info[:2], sys.base_prefix)"
    try:
        answer = subprocess.run(
            [interpreter(directory), "-c", question], capture_output=True, text=True, check=False
        )
    except OSError:
        return False
    return answer.returncode == 0 and answer.stdout.strip() == f"{sys.version_info[:2]} {sys.base_prefix}"


def create(directory: Path) -> None:
    if directory.exists() and not (directory / "pyvenv.cfg").exists() and any(directory.iterdir()):
        raise BootstrapError(f"{directory} is in the way: it is not a virtual environment")
    version = ".".join(map(str, sys.version_info[:3]))
    say(f"making {directory} with Python {version}")
    try:
        if directory.exists():
            shutil.rmtree(directory)
        venv.create(directory, symlinks=True, with_pip=False)
    except OSError as error:
        raise BootstrapError(f"{directory} can't be made: {error}") from None
    if run(directory, "ensurepip", "--default-pip").returncode:
        say("this Python brings no pip along: taking it from the package index")
        install_pip(directory)


def run(
    directory: Path, module: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`python -m MODULE …` inside the environment; what it prints is kept for when it fails."""
    return subprocess.run(
        [interpreter(directory), "-m", module, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environment},
        text=True,
        check=False,
    )


def pip_install(directory: Path, install: Sequence[str]) -> None:
    done = run(directory, "pip", "install", "--disable-pip-version-check", "--no-input", *install)
    log = directory / LOG
    log.write_text(done.stdout)
    if done.returncode:
        raise BootstrapError(f"the installation failed: {complaint(done.stdout)} (all of it: {log})")


def complaint(output: str) -> str:
    """The line that says it best: pip's last error, else the last line."""
    lines = output.strip().splitlines() or ["it said nothing"]
    errors = [line.partition(":")[2].strip() for line in lines if line.startswith("ERROR:")]
    return errors[-1] if errors else lines[-1]


# pip, where Python brings none


class Link(NamedTuple):
    """A file that an index offers."""

    version: tuple[int, ...]
    url: str
    sha256: str
    requires_python: str


class Index(html.parser.HTMLParser):
    """The wheels of pip on a page of the simple repository API (PEP 503)."""

    WHEEL = re.compile(r"pip-(\d+(?:\.\d+)*)-py3-none-any\.whl")

    def __init__(self, url: str) -> None:
        super().__init__()
        self.links: list[Link] = []
        self._url = url

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        url, _, fragment = urllib.parse.urljoin(self._url, attributes.get("href") or "").partition("#")
        wheel = self.WHEEL.fullmatch(url.rpartition("/")[2])
        if tag == "a" and wheel and fragment.startswith("sha256=") and "data-yanked" not in attributes:
            version = tuple(map(int, wheel[1].split(".")))
            requires = attributes.get("data-requires-python") or ""
            self.links.append(Link(version, url, fragment.partition("=")[2], requires))


def install_pip(directory: Path) -> None:
    configuration = pip_configuration(os.environ)
    base = configuration.get("index-url", DEFAULT_INDEX).rstrip("/")
    context = tls_context(configuration)
    page = Index(f"{base}/pip/")
    page.feed(fetch(f"{base}/pip/", context).decode("utf-8", "replace"))
    link = newest(page.links)
    wheel = fetch(link.url, context)
    if hashlib.sha256(wheel).hexdigest() != link.sha256.lower():
        raise BootstrapError(
            f"{without_password(link.url)} is not the file that the index names: another SHA-256"
        )
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, link.url.rpartition("/")[2])
        path.write_bytes(wheel)
        # A wheel is a zip file that Python can import from, so pip can install itself.
        done = run(
            directory, "pip", "install", "--no-index", "--no-cache-dir", str(path), PYTHONPATH=str(path)
        )
    if done.returncode:
        raise BootstrapError(f"pip can't install itself: {complaint(done.stdout)}")


def newest(links: Sequence[Link]) -> Link:
    usable = [link for link in links if supports_this_python(link.requires_python)]
    if not usable:
        raise BootstrapError("the package index offers no pip for this Python (with a SHA-256)")
    return max(usable)


def supports_this_python(requirement: str) -> bool:
    """`>=3.10`, the only form that pip's releases use; anything else is left to pip to complain about."""
    lower = re.search(r">=\s*(\d+)\.(\d+)", requirement)
    return lower is None or sys.version_info[:2] >= (int(lower[1]), int(lower[2]))


def pip_configuration(environment: Mapping[str, str]) -> dict[str, str]:
    """`index-url` and `cert` as pip reads them: system, user, PIP_CONFIG_FILE, then the environment."""
    home = Path(environment.get("HOME") or Path.home())
    system = [
        Path(d, "pip", "pip.conf") for d in (environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":") if d
    ]
    user = Path(environment.get("XDG_CONFIG_HOME") or home / ".config", "pip", "pip.conf")
    files = [*system, Path("/etc/pip.conf"), home / ".pip" / "pip.conf", user]
    own = environment.get("PIP_CONFIG_FILE")
    if own == os.devnull:
        files = []
    elif own:
        files.append(Path(own))
    found: dict[str, str] = {}
    for path in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except configparser.Error as error:
            raise BootstrapError(f"{path}: {str(error).splitlines()[0]}") from None
        for section in ("global", "install"):
            if parser.has_section(section):
                found.update(parser.items(section))
    for name in ("index-url", "cert"):
        value = environment.get("PIP_" + name.upper().replace("-", "_"))
        if value:
            found[name] = value
    return found


def tls_context(configuration: Mapping[str, str]) -> ssl.SSLContext:
    """The system's certificates (SSL_CERT_FILE is OpenSSL's own variable), or pip's `cert`."""
    certificates = configuration.get("cert")
    try:
        if certificates and Path(certificates).is_dir():
            return ssl.create_default_context(capath=certificates)
        return ssl.create_default_context(cafile=certificates)
    except OSError as error:
        raise BootstrapError(f"{certificates}: {error.strerror or error}") from None


def fetch(url: str, context: ssl.SSLContext) -> bytes:
    parts = urllib.parse.urlsplit(url)
    request = urllib.request.Request(without_password(url), headers={"Accept": "text/html, */*;q=0.1"})
    if parts.username:
        login = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=context) as answer:
            content: bytes = answer.read()
    except urllib.error.HTTPError as error:
        raise BootstrapError(f"{request.full_url}: {error.code} {error.reason}") from None
    except OSError as error:
        raise BootstrapError(f"{request.full_url}: {getattr(error, 'reason', error)}") from None
    return content


def without_password(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
