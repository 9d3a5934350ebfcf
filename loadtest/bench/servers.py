"""The servers that are measured: how each is configured, started, found ready and ended.

All of them log every connect into a file, as their users would have it, and run on the servers' core.
"""

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from gateway.errors import StartError
from loadtest.bench.cores import Core

__all__ = [
    "PASSWORD",
    "USERNAME",
    "Address",
    "Missing",
    "Server",
    "Setup",
    "find_mosquitto",
    "make_setup",
    "start_amqtt",
    "start_gateway",
    "start_mosquitto",
]

HOST: Final = "127.0.0.1"
USERNAME, PASSWORD = "device", "correct horse battery staple"
_READY_TIMEOUT_S: Final = 60.0
_STOP_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.05
_FIRST_PORT: Final = 10_000
_PORT_TRIES: Final = 100
_DEFAULT_FIRST_EPHEMERAL_PORT: Final = 32_768
_FOR_PEOPLE: Final = "format: console"
_OPENSSL_CONFIG: Final = """\
openssl_conf = configuration
[configuration]
ssl_conf = tls
[tls]
system_default = default
[default]
Groups = X25519:P-256
"""


class Missing(StartError):  # noqa: N818 - named after what it is
    """This machine does not have that server; the bench goes on without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where devices dial. Without `ca_file` there is no TLS."""

    port: int
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What `gateway init` made. Its certificates serve all servers, so that all do the same cryptography."""

    directory: Path
    document: dict[str, Any]
    group_key: str = field(repr=False)

    @property
    def ca_file(self) -> Path:
        return self.directory / "ca.crt"

    @property
    def password_file(self) -> Path:
        """Of the devices that log in with a password."""
        return self.directory / "device.password"

    @property
    def openssl_config(self) -> Path:
        """Of the tester: the same key exchange for all servers, whatever newer one a server may know."""
        return self.directory / "openssl.cnf"

    @property
    def id_scope(self) -> str:
        return str(self.document["idScope"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that runs."""

    name: str
    setup: Setup
    """The gateway's own; to the others it lends its certificates."""
    is_gateway: bool
    plain: Address | None
    tls: Address | None
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        """In order; by force if it takes longer than a minute."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def make_setup(directory: Path, *models: Path) -> Setup:
    """A set-up of the gateway as `gateway init` makes it, with these device templates; the log is JSON lines."""
    ports = zip(
        ("--port", "--app-port", "--plain-port", "--http-port"), map(str, _free_ports(4)), strict=True
    )
    arguments = (argument for option in ports for argument in option)
    document = json.loads(_gateway("init", str(directory), *arguments, "--json"))
    config = Path(document["config"])
    _log_as_json(config)
    for model in models:
        _gateway("template", "import", str(model), "-c", str(config))
    group = json.loads(_gateway("group", "show", "SAS-IoT-Devices", "--keys", "--json", "-c", str(config)))
    setup = Setup(directory=directory, document=document, group_key=group["primaryKey"])
    setup.password_file.write_text(f"{PASSWORD}\n", encoding="utf-8")
    setup.openssl_config.write_text(_OPENSSL_CONFIG, encoding="ascii")
    return setup


def _log_as_json(config: Path) -> None:
    """As a gateway in production does; `gateway init` writes the format for people."""
    text = config.read_text(encoding="utf-8")
    if text.count(_FOR_PEOPLE) != 1:
        raise StartError(
            f"{config}: where is `{_FOR_PEOPLE}`?", hint="loadtest.bench expects it of gateway init"
        )
    config.write_text(text.replace(_FOR_PEOPLE, "format: json"), encoding="utf-8")


def start_gateway(setup: Setup, core: Core) -> Server:
    """`gateway serve`."""
    document = setup.document
    return _start(
        "gateway",
        [sys.executable, "-m", "gateway", "serve", "-c", document["config"]],
        log=setup.directory / "gateway.log",
        core=core,
        setup=setup,
        plain=Address(port=document["plainPort"]),
        tls=Address(port=document["port"], ca_file=setup.ca_file),
    )


def find_mosquitto() -> str:
    """The path of Mosquitto's program. Raises `Missing`."""
    found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise Missing("mosquitto is not installed", hint="apt-get install mosquitto")
    return found


def start_mosquitto(
    name: str,
    directory: Path,
    setup: Setup,
    core: Core,
    *,
    password: bool = False,
    certificates: bool = False,
) -> Server:
    """Mosquitto with as little as it takes: anonymous, or with a password file, or with clients' certificates.

    The rest is its default: no persistence, a line for each connect and each disconnect.
    """
    program = find_mosquitto()
    directory.mkdir(parents=True)
    plain, tls = _free_ports(2)
    log = directory / "mosquitto.log"
    lines = [
        f"log_dest file {log}",
        # It gives up root's rights otherwise, and with them the right to read what is in this directory.
        *(["user root"] if os.geteuid() == 0 else []),
    ]
    if password:
        lines += ["allow_anonymous false", f"password_file {_password_file(directory)}"]
    else:
        lines += ["allow_anonymous true"]
    if not certificates:
        lines += [f"listener {plain} {HOST}"]
    lines += [
        f"listener {tls} {HOST}",
        f"certfile {setup.directory / 'server.crt'}",
        f"keyfile {setup.directory / 'server.key'}",
    ]
    if certificates:
        lines += [f"cafile {setup.ca_file}", "require_certificate true", "use_identity_as_username true"]
    config = directory / "mosquitto.conf"
    config.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return _start(
        name,
        [program, "-c", str(config)],
        log=log,
        core=core,
        setup=setup,
        plain=None if certificates else Address(port=plain),
        tls=Address(port=tls, ca_file=setup.ca_file),
    )


def _password_file(directory: Path) -> Path:
    path = directory / "passwords"
    program = shutil.which("mosquitto_passwd")
    if program is None:
        raise Missing("mosquitto_passwd is not installed", hint="apt-get install mosquitto")
    _run([program, "-b", "-c", str(path), USERNAME, PASSWORD])
    return path


def start_amqtt(directory: Path, setup: Setup, core: Core) -> Server:
    """Stock amqtt, by its own command and with the plugins of its default configuration: anonymous, no uvloop."""
    directory.mkdir(parents=True)
    (plain,) = _free_ports(1)
    config = directory / "amqtt.yaml"
    document = {
        "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{plain}"}},
        "plugins": {
            "amqtt.plugins.logging_amqtt.EventLoggerPlugin": {},
            "amqtt.plugins.logging_amqtt.PacketLoggerPlugin": {},
            "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True},
            "amqtt.plugins.sys.broker.BrokerSysPlugin": {"sys_interval": 20},
        },
    }
    config.write_text(yaml.safe_dump(document), encoding="utf-8")
    return _start(
        "amqtt",
        [sys.executable, "-m", "amqtt.scripts.broker_script", "-c", str(config)],
        log=directory / "amqtt.log",
        core=core,
        setup=setup,
        plain=Address(port=plain),
        tls=None,
    )


def _start(
    name: str,
    command: Sequence[str],
    *,
    log: Path,
    core: Core,
    setup: Setup,
    plain: Address | None,
    tls: Address | None,
) -> Server:
    """Return once it answers on all its ports. Raises `StartError` with the end of its log if it does not."""
    with log.open("wb") as output:
        process = core.start(
            command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
        )
    server = Server(
        name=name,
        setup=setup,
        is_gateway=name == "gateway",
        plain=plain,
        tls=tls,
        log=log,
        process=process,
    )
    try:
        for address in (plain, tls):
            if address is not None:
                _wait_until_it_answers(address, server)
    except BaseException:
        server.stop()
        raise
    return server


def _wait_until_it_answers(address: Address, server: Server) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while not _answers(address.port):
        if server.process.poll() is not None or time.monotonic() > deadline:
            raise StartError(f"{server.name} does not come up", hint=f"its log: {server.log}")
        time.sleep(_POLL_S)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1.0):
        return True
    return False


def _free_ports(count: int) -> list[int]:
    """Different ones, and none that the kernel would give to a storm's devices before the server is up."""
    found: list[int] = []
    for port in random.sample(range(_FIRST_PORT, _first_ephemeral_port()), k=_PORT_TRIES):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((HOST, port))
            found.append(port)
        if len(found) == count:
            return found
    raise StartError("no free ports", hint=f"{_PORT_TRIES} were tried, from {_FIRST_PORT} on")


def _first_ephemeral_port() -> int:
    """The kernel's default if somebody has given it nearly all ports."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    return first if first > _FIRST_PORT + _PORT_TRIES else _DEFAULT_FIRST_EPHEMERAL_PORT


def _gateway(*arguments: str) -> str:
    return _run([sys.executable, "-m", "gateway", *arguments])


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StartError(f"{' '.join(command[:4])}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
