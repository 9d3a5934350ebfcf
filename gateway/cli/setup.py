"""`gateway init`: a ready set-up in one directory, so that `gateway serve` is the next command.

Everything in it that is secret is private to its owner from the first byte. A set-up that exists is never
touched; one that could not be finished is removed again.
"""

import asyncio
import contextlib
import secrets
import shlex
import shutil
import string
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer

from gateway.cli.files import write_new
from gateway.cli.gateway_yaml import render
from gateway.cli.options import Json
from gateway.cli.output import print_json
from gateway.errors import ConflictError, OperationError

__all__ = ["init"]

SAS_GROUP: Final = "SAS-IoT-Devices"
X509_GROUP: Final = "X509-IoT-Devices"
APPLICATION: Final = "app"
API_TOKEN: Final = "administrator"  # noqa: S105 - its name, not the token
_ALWAYS_HOSTS: Final = ("localhost", "127.0.0.1")
_CA_DAYS: Final = 3650
_SERVER_DAYS: Final = 825
"""The longest that some TLS clients accept of a server's certificate."""
_FILES: Final = (
    "gateway.yaml", "ca.crt", "ca.key", "server.crt", "server.key", "encryption.key", "app.password", "api.token",
    "state",
)  # fmt: skip
_SECRET: Final = 0o600
_PUBLIC: Final = 0o644


def init(
    *,
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Made if need be; must hold no set-up yet.")
    ],
    host: Annotated[
        list[str] | None,
        typer.Option(help="A name or address that devices dial; repeatable. localhost always works."),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The devices' port.")] = 8883,
    app_port: Annotated[
        int, typer.Option(min=1, max=65535, help="The applications' port, on loopback.")
    ] = 1883,
    http_port: Annotated[
        int, typer.Option(min=1, max=65535, help="The port of the REST API, on loopback.")
    ] = 8443,
    plain_port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="A devices' port without TLS, on loopback; default: none."),
    ] = None,
    device_https_port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="A port to provision over HTTPS, 443 for most SDKs; default: none."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a ready set-up: configuration, certificates, ID scope, enrollment groups, logins."""
    ports = _Ports(
        devices=port, applications=app_port, plain=plain_port, api=http_port, device_https=device_https_port
    )
    made = _make(directory.absolute(), tuple(host or ()), ports)
    if as_json:
        print_json(made)
    else:
        _print_next_steps(made)


class _Ports(NamedTuple):
    devices: int
    applications: int
    api: int
    plain: int | None
    device_https: int | None


def _make(directory: Path, hosts: Sequence[str], ports: _Ports) -> dict[str, Any]:
    _refuse_what_exists(directory)
    is_ours = True
    try:
        directory.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        is_ours = False
        if not directory.is_dir():
            raise OperationError(f"{directory}: can't be made: it is not a directory") from None
    except OSError as error:
        raise OperationError(f"{directory}: can't be made: {error.strerror}") from None
    made: list[Path] = []
    try:
        return _fill(directory, hosts, ports, made)
    except BaseException:
        # Only what this run has made: another one may be at work in the same directory.
        for path in made:
            _remove(path)
        if is_ours:
            with contextlib.suppress(OSError):
                directory.rmdir()
        raise


def _fill(directory: Path, given_hosts: Sequence[str], ports: _Ports, made: list[Path]) -> dict[str, Any]:
    """`made` gets each file that is there because of this run."""
    import yaml  # noqa: PLC0415 - `gateway --help` needs none of these

    from gateway import pki  # noqa: PLC0415
    from gateway.registry.keyring import new_key  # noqa: PLC0415
    from gateway.settings import PLUGIN_PATH, parse_settings  # noqa: PLC0415
    from gateway.state_lock import StateLock  # noqa: PLC0415

    hosts = tuple(dict.fromkeys((*given_hosts, *_ALWAYS_HOSTS)))
    config = directory / "gateway.yaml"
    id_scope = _random_id_scope()
    text = render(
        hosts=hosts,
        id_scope=id_scope,
        state_dir=directory / "state",
        certificate_file=directory / "server.crt",
        key_file=directory / "server.key",
        encryption_key_file=directory / "encryption.key",
        port=ports.devices,
        plain_port=ports.plain,
        device_https_port=ports.device_https,
        app_port=ports.applications,
        app_name=APPLICATION,
        app_password_file=directory / "app.password",
        http_port=ports.api,
    )
    # Before anything is written: a bad host name is the caller's mistake, and is said as such.
    settings = parse_settings(yaml.safe_load(text)["plugins"][PLUGIN_PATH], source="gateway init")

    now = time.time()
    ca = pki.create_ca(f"Gateway development CA {id_scope}", now=now, days=_CA_DAYS)
    server = pki.issue_server(ca, hosts, now=now, days=_SERVER_DAYS)
    password = secrets.token_hex(16)
    for name, content, mode in (
        ("ca.key", ca.key_pem, _SECRET),
        ("ca.crt", ca.certificate_pem, _PUBLIC),
        ("server.key", server.key_pem, _SECRET),
        ("server.crt", server.chain_pem, _PUBLIC),
        ("encryption.key", f"{new_key()}\n".encode(), _SECRET),
        ("app.password", f"{password}\n".encode(), _SECRET),
    ):
        write_new(directory / name, content, mode=mode)
        made.append(directory / name)
    made.append(settings.state_dir)
    with StateLock(settings.lock_file):
        token = asyncio.run(_fill_store(settings, ca.certificate_pem.decode()))
    write_new(directory / "api.token", f"{token}\n".encode(), mode=_SECRET)
    made.append(directory / "api.token")
    # Last, since it is what makes the directory a set-up.
    write_new(config, text.encode(), mode=_SECRET)
    return {
        "config": str(config),
        "idScope": id_scope,
        "caCertificate": str(directory / "ca.crt"),
        "host": hosts[0],
        "port": ports.devices,
        "plainPort": ports.plain,
        "deviceHttpsPort": ports.device_https,
        "appPort": ports.applications,
        "httpPort": ports.api,
        "appUsername": APPLICATION,
        "appPassword": password,
        "apiToken": token,
    }


async def _fill_store(settings: Any, ca_certificate: str) -> str:
    """Make the default groups and the first API token. Returns the token."""
    from gateway.cli.channel import offline_operations  # noqa: PLC0415
    from gateway.local_users import this_actor  # noqa: PLC0415

    by = this_actor()
    async with offline_operations(settings) as operations:
        sas: dict[str, Any] = {"name": SAS_GROUP, "attestation": "symmetricKey"}
        await operations.call("group.create", sas, by=by)
        x509 = {"name": X509_GROUP, "attestation": "x509", "primary_certificate": ca_certificate}
        await operations.call("group.create", x509, by=by)
        token = {"name": API_TOKEN, "role": "administrator"}
        return str((await operations.call("token.create", token, by=by))["token"])


def _refuse_what_exists(directory: Path) -> None:
    config = directory / "gateway.yaml"
    if config.exists():
        raise ConflictError(
            f"{directory} holds a set-up already",
            hint=f"run it: gateway serve -c {config}; or choose another directory",
        )
    for name in _FILES:
        if (directory / name).exists():
            raise ConflictError(
                f"{directory / name} exists already", hint="move it away, or choose another directory"
            )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _random_id_scope() -> str:
    """Like Azure's: 0ne and eight more. It is an address, not a secret."""
    return "0ne00" + "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(6))


def _print_next_steps(made: dict[str, Any]) -> None:
    config = shlex.quote(made["config"])
    print(f"""\
The set-up is ready in {Path(made["config"]).parent}

  ID scope      {made["idScope"]}
  devices       {made["host"]}:{made["port"]}, TLS; they trust {made["caCertificate"]}
  applications  127.0.0.1:{made["appPort"]}, user {made["appUsername"]}, password {made["appPassword"]}
  REST API      https://127.0.0.1:{made["httpPort"]}/api
  API token     in {Path(made["config"]).parent / "api.token"}: administrator, for a year

Next:
  gateway serve -c {config}
      runs the gateway
  gateway simulate -n 3 --model 'dtmi:com:example:Thermostat;1' -c {config}
      connects three simulated devices to it
  gateway device compute-key my-device -c {config}
      prints the key that a device of yours needs""")
