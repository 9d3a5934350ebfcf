"""The tester as a process of its own, on its core: `python -m loadtest storm …`."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, assert_never

from gateway.errors import OperationError
from loadtest.bench.cores import Core
from loadtest.bench.servers import HOST, USERNAME, Server, Setup
from loadtest.bench.usage import open_sockets, settle

__all__ = ["Credentials", "Storm", "TlsVersion", "holding", "run_storm"]

Credentials = Literal["sas", "none", "password", "certificate"]
TlsVersion = Literal["1.2", "1.3"]

_HOLD_S: Final = 24 * 3600
_HOLDERS_ADDRESS: Final = "127.0.0.2"
"""Another than the storms': with most of one address' ports taken, the kernel looks long for a free one, the tester
offers hundreds a second instead of thousands, and the server pays more because nothing comes together."""
_HELD_TIMEOUT_S: Final = 300.0
_POLL_S: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """Devices that connect as fast as the tester can, stay until the last one is in, and leave."""

    count: int
    prefix: str
    """Of the device ids; whoever came before with the same prefix is known."""
    tls: TlsVersion | None = None
    credentials: Credentials = "sas"
    dps: bool = False
    """First to the provisioning service, then to the hub."""
    subscribe: bool = False
    post_quantum: bool = False
    """Offer what OpenSSL 3.5 and newer offer, X25519MLKEM768 first; else only what all servers here know."""


def run_storm(storm: Storm, server: Server, core: Core) -> dict[str, Any]:
    """Returns the tester's JSON. Raises `OperationError` if not every device was admitted, or one was lost."""
    tester = core.start(
        _command(storm, server),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(storm, server),
        start_new_session=True,
    )
    said, complaint = tester.communicate()
    try:
        result: dict[str, Any] = json.loads(said)
    except ValueError:
        raise OperationError(f"the tester failed: {(complaint or said).strip()}") from None
    if tester.returncode != 0 or result["admitted"] != storm.count:
        outcome = {
            key: result[key] for key in ("offered", "admitted", "refused", "timedOut", "failed", "lost")
        }
        raise OperationError(
            f"{server.name}: not every device was admitted: {json.dumps(outcome)}",
            hint=f"its log: {server.log}",
        )
    return result


@contextlib.contextmanager
def holding(storm: Storm, server: Server, core: Core) -> Iterator[None]:
    """All devices of the storm stay connected meanwhile. Raises `OperationError` if they don't get in."""
    settle(server.pid)  # or it has not yet closed what came before
    wanted = open_sockets(server.pid) + storm.count
    tester = core.start(
        [*_command(storm, server), "--hold", str(_HOLD_S), "--source", _HOLDERS_ADDRESS],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=_environment(storm, server),
        start_new_session=True,
    )
    try:
        _wait_until_held(wanted, tester, server)
        yield
    finally:
        if tester.poll() is None:
            tester.send_signal(signal.SIGINT)
        tester.communicate()


def _wait_until_held(wanted: int, tester: subprocess.Popen[str], server: Server) -> None:
    deadline = time.monotonic() + _HELD_TIMEOUT_S
    while (found := open_sockets(server.pid)) < wanted:
        if tester.poll() is not None or time.monotonic() > deadline:
            said = tester.communicate()[0].strip() if tester.poll() is not None else ""
            raise OperationError(
                f"{server.name}: {found} sockets open where {wanted} were to be held. {said}"
            )
        time.sleep(_POLL_S)
    settle(server.pid)


def _environment(storm: Storm, server: Server) -> dict[str, str]:
    """The group's key is no argument: those can be read by everybody on the machine."""
    environment = {**os.environ, "GATEWAY_GROUP_KEY": server.setup.group_key}
    if not storm.post_quantum:
        environment["OPENSSL_CONF"] = str(server.setup.openssl_config)
    return environment


def _command(storm: Storm, server: Server) -> Sequence[str]:
    address = server.plain if storm.tls is None else server.tls
    if address is None:
        raise OperationError(f"{server.name} has no such listener")
    command = [sys.executable, "-m", "loadtest", "storm", "-n", str(storm.count), "--prefix", storm.prefix]
    command += ["--host", HOST, "--port", str(address.port), "--processes", "1", "--json"]
    command += (
        ["--plain"] if storm.tls is None else ["--ca", str(address.ca_file), "--tls-version", storm.tls]
    )
    command += ["--credentials", storm.credentials, *_proof(storm, server.setup)]
    if storm.dps:
        command += ["--path", "dps", "--id-scope", server.setup.id_scope]
    if storm.subscribe:
        command += ["--subscribe"]
    return command


def _proof(storm: Storm, setup: Setup) -> Sequence[str]:
    match storm.credentials:
        case "sas" | "none":
            return ()
        case "password":
            return "--username", USERNAME, "--password-file", str(setup.password_file)
        case "certificate":
            directory = setup.directory / "certificates"
            return "--certificates", str(directory), "--ca-key", str(setup.directory / "ca.key")
        case _:
            assert_never(storm.credentials)
