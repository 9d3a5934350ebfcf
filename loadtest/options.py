"""The options that several commands share, and what they mean together.

A dataclass is a set of options; `takes` makes a command of a function that takes such sets.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, assert_never, get_type_hints

import typer

from gateway.errors import OperationError
from gateway.mqtt import validate_topic_name
from gateway.secrets import SymmetricKey
from loadtest.certificates import make_certificates
from loadtest.devices import Certificates, Credentials, NoCredentials, Password, Population, SasKeys
from loadtest.gateway_setup import GatewaySetup
from loadtest.plan import Arrival, Messages, Pattern, Plan, Route, Target, TlsVersion
from loadtest.processes import default_processes
from loadtest.subscriber import Application, filters_of
from loadtest.target import find_target

__all__ = ["ApplicationOptions", "DeviceOptions", "MessageOptions", "Proof", "RunOptions", "takes"]

_TLS_PORT: Final = 8883
_PLAIN_PORT: Final = 1884
_CONNECTORS: Final = 200
_RENEW_AT: Final = 0.85
"""Of a token's lifetime."""


class Proof(StrEnum):
    """What the devices prove their identity with."""

    SAS = "sas"
    NONE = "none"
    PASSWORD = "password"  # noqa: S105 - the name of a kind
    CERTIFICATE = "certificate"


@dataclass(kw_only=True)
class DeviceOptions:
    """Which devices, and which server."""

    devices: Annotated[int, typer.Option("-n", "--devices", min=1, help="How many.")]
    config: Annotated[
        Path | None,
        typer.Option(
            "-c",
            "--config",
            help="A gateway's gateway.yaml, on this machine: says host, port, CA, ID scope and group key; the registry is "
            "checked at the end.",
        ),
    ] = None
    host: Annotated[
        str | None, typer.Option(show_default="localhost", help="One of the names the server goes by.")
    ] = None
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, show_default=f"{_TLS_PORT}, with --plain {_PLAIN_PORT}", help="The devices' port."),
    ] = None  # fmt: skip
    plain: Annotated[bool, typer.Option("--plain", help="Without TLS.")] = False
    ca: Annotated[Path | None, typer.Option(help="PEM: the CA of the server's certificate.")] = None
    tls_version: Annotated[
        TlsVersion | None, typer.Option(show_default="the newest", help="The devices' only TLS version.")
    ] = None
    credentials: Annotated[
        Proof, typer.Option(help="Keys of a SAS group, a certificate each, one password for all, or nothing.")
    ] = Proof.SAS
    group_key: Annotated[
        str | None,
        typer.Option(envvar="GATEWAY_GROUP_KEY", help="For sas: the enrollment group's key."),
    ] = None
    username: Annotated[str | None, typer.Option(help="For password.")] = None
    password_file: Annotated[Path | None, typer.Option(help="For password: its first line.")] = None
    certificates: Annotated[
        Path | None,
        typer.Option(help="For certificate: the directory that keeps them; what is missing is made."),
    ] = None
    ca_key: Annotated[
        Path | None,
        typer.Option(show_default="the directory's own", help="PEM: the key of the CA that signs those."),
    ] = None
    ca_certificate: Annotated[
        Path | None, typer.Option(show_default="beside its key, .crt", help="PEM: that CA's certificate.")
    ] = None
    path: Annotated[
        Route, typer.Option(help="Straight to the hub, or to the provisioning service first.")
    ] = Route.HUB
    id_scope: Annotated[str, typer.Option(help="For --path dps.")] = ""
    prefix: Annotated[str, typer.Option(help="Of the device ids.")] = "storm-"
    model: Annotated[str | None, typer.Option(help="The model that the devices announce.")] = None
    clean_session: Annotated[
        bool, typer.Option("--clean-session", help="The server need not remember their subscriptions.")
    ] = False
    bad_credentials: Annotated[
        float, typer.Option(min=0, max=1, help="The share of devices with somebody else's credential.")
    ] = 0.0
    token_lifetime: Annotated[
        int | None,
        typer.Option(
            min=2, help="For sas: seconds. A device reconnects with a new token before the old one ends."
        ),
    ] = None
    source: Annotated[
        list[str] | None,
        typer.Option(help="A local address that devices come from; repeat it to spread them over several."),
    ] = None

    @functools.cached_property
    def gateway(self) -> GatewaySetup | None:
        """What `--config` names. Raises `GatewayError`."""
        return GatewaySetup(self.config) if self.config is not None else None

    @property
    def hub(self) -> str:
        return self.host or (self.gateway.host if self.gateway is not None else "localhost")

    def target(self) -> Target:
        """Look for the server. Raises `GatewayError`."""
        ca = self.ca
        if ca is None and self.gateway is not None and not self.plain:
            ca = self.gateway.beside("ca.crt")
        if self.plain == (ca is not None):
            raise OperationError("say either --plain or --ca FILE")
        if self.plain and self.credentials is Proof.CERTIFICATE:
            raise OperationError("--credentials certificate needs TLS", hint="say --ca FILE, not --plain")
        port = self.port
        if port is None and self.gateway is not None:
            port = self.gateway.port(plain=self.plain)
        return find_target(
            self.hub,
            port or (_PLAIN_PORT if self.plain else _TLS_PORT),
            ca_file=ca,
            tls_version=self.tls_version,
            sources=tuple(self.source or ()),
        )

    def population(self) -> Population:
        """Raises `GatewayError`."""
        id_scope = self.id_scope
        if not id_scope and self.gateway is not None:
            id_scope = self.gateway.settings.id_scope
        if self.path is Route.DPS and not id_scope:
            raise OperationError("--path dps needs --id-scope")
        if self.path is Route.DPS and self.credentials not in {Proof.SAS, Proof.CERTIFICATE}:
            raise OperationError("--path dps needs --credentials sas or certificate")
        if self.bad_credentials and self.credentials is Proof.NONE:
            raise OperationError("--bad-credentials needs credentials, and --credentials none has none")
        if self.token_lifetime is not None and self.credentials is not Proof.SAS:
            raise OperationError("--token-lifetime needs --credentials sas")
        return Population(
            count=self.devices,
            credentials=self._credentials(),
            hub=self.hub,
            id_scope=id_scope,
            prefix=self.prefix,
            model_id=self.model,
            clean_session=self.clean_session,
            bad_share=self.bad_credentials,
        )

    def make_certificates(self, population: Population, told: Callable[[int, int], None]) -> None:
        """Those of the devices, and those of strangers for the ones with a bad credential. Raises `GatewayError`."""
        if not isinstance(population.credentials, Certificates):
            return
        ca_key = self.ca_key
        if ca_key is None and self.gateway is not None:
            ca_key = self.gateway.beside("ca.key")
        good = [population.device_id(n) for n in range(population.count) if not population.is_bad(n)]
        make_certificates(
            population.credentials.directory,
            good,
            ca_key_file=ca_key,
            ca_file=self.ca_certificate,
            told=told,
        )
        if len(good) < population.count:
            bad = sorted(set(population.device_ids()) - set(good))
            make_certificates(population.credentials.strangers, bad, told=told)

    def _credentials(self) -> Credentials:
        match self.credentials:
            case Proof.SAS:
                return self._sas_keys()
            case Proof.NONE:
                return NoCredentials()
            case Proof.PASSWORD:
                if self.username is None or self.password_file is None:
                    raise OperationError("--credentials password needs --username and --password-file")
                return Password(username=self.username, password=_first_line(self.password_file))
            case Proof.CERTIFICATE:
                if self.certificates is None:
                    raise OperationError("--credentials certificate needs --certificates DIR")
                return Certificates(directory=self.certificates)
            case _:
                assert_never(self.credentials)

    def _sas_keys(self) -> SasKeys:
        key = self.group_key
        if key is None and self.gateway is not None:
            key = self.gateway.group_key()
        if key is None:
            raise OperationError(
                "--credentials sas needs --group-key",
                hint="or the environment's GATEWAY_GROUP_KEY, or --config",
            )
        try:
            group_key = SymmetricKey.from_base64(key)
        except ValueError as error:
            raise OperationError(f"the group key: {error}") from None
        if self.token_lifetime is None:
            return SasKeys(group_key=group_key)
        return SasKeys(group_key=group_key, token_lifetime_s=self.token_lifetime)

    @property
    def renew_after_s(self) -> float | None:
        """A device does not wait for the last second."""
        return None if self.token_lifetime is None else self.token_lifetime * _RENEW_AT


@dataclass(kw_only=True)
class RunOptions:
    """How they come, and what is told."""

    rate: Annotated[
        float | None,
        typer.Option(min=0.001, show_default="as fast as possible", help="New devices a second."),
    ] = None
    ramp: Annotated[
        float | None, typer.Option(min=0.001, help="With --rate: seconds until that rate is reached.")
    ] = None
    at_once: Annotated[bool, typer.Option("--at-once", help="All are due at the start.")] = False
    connectors: Annotated[
        int | None,
        typer.Option(
            min=1,
            show_default=f"{_CONNECTORS}; with --rate or --at-once no limit",
            help="Devices between dialling and their outcome.",
        ),
    ] = None
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one device waits.")] = 30.0
    subscribe: Annotated[
        bool, typer.Option("--subscribe", help="Each subscribes, and is in when that is confirmed.")
    ] = False
    processes: Annotated[
        int | None, typer.Option(min=1, show_default="all cores but one", help="Worker processes.")
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False
    report_json: Annotated[
        Path | None, typer.Option(help="Write the whole report there, second by second.")
    ] = None
    html: Annotated[Path | None, typer.Option(help="Write a page with plots there.")] = None
    watch_after: Annotated[
        float, typer.Option(min=0, help="Seconds that the server is watched after the devices have left.")
    ] = 0.0
    server_pid: Annotated[
        int | None,
        typer.Option(
            min=1, show_default="with --config the gateway's", help="Whose CPU and memory are watched."
        ),
    ] = None

    def arrival(self) -> Arrival:
        """Raises `OperationError`."""
        if self.at_once:
            if self.rate is not None:
                raise OperationError("say either --rate or --at-once")
            return Arrival(pattern=Pattern.AT_ONCE)
        if self.rate is None:
            if self.ramp is not None:
                raise OperationError("--ramp needs --rate", hint="it is the rate that the ramp ends at")
            return Arrival()
        if self.ramp is not None:
            return Arrival(pattern=Pattern.RAMP, rate_per_s=self.rate, ramp_s=self.ramp)
        return Arrival(pattern=Pattern.CONSTANT, rate_per_s=self.rate)

    def plan(self, fleet: DeviceOptions) -> Plan:
        """Raises `OperationError`."""
        arrival = self.arrival()
        connectors = self.connectors
        if connectors is None and arrival.pattern is Pattern.ASAP:
            connectors = _CONNECTORS
        return Plan(
            path=fleet.path,
            arrival=arrival,
            connectors=connectors,
            timeout_s=self.timeout,
            subscribe=self.subscribe,
            renew_after_s=fleet.renew_after_s,
        )

    @property
    def workers(self) -> int:
        return self.processes or default_processes()


@dataclass(kw_only=True)
class MessageOptions:
    """What held devices publish."""

    message_rate: Annotated[
        float | None,
        typer.Option(min=0.001, show_default="none", help="Messages a second, of all held devices together."),
    ] = None
    qos: Annotated[int, typer.Option(min=0, max=1, help="Of the messages.")] = 1
    topic: Annotated[
        str | None,
        typer.Option(show_default="the hub's", help="With {device}, and perhaps {number} and {at}."),
    ] = None
    body: Annotated[str, typer.Option(help="Of each message.")] = '{"temperature": 21.5}'

    def messages(self, seconds: float) -> Messages | None:
        """Raises `OperationError`."""
        if self.message_rate is None:
            return None
        if not seconds:
            raise OperationError("--message-rate needs --hold", hint="devices publish while they are held")
        plan = Messages(
            total=max(1, round(self.message_rate * seconds)),
            rate_per_s=self.message_rate,
            qos=self.qos,
            body=self.body.encode(),
        )
        if self.topic is None:
            return plan
        try:
            validate_topic_name(self.topic.format(device="d", number=1, at=1))
        except (KeyError, IndexError, ValueError) as error:
            raise OperationError(
                f"--topic {self.topic}: {error}", hint="it may name {device}, {number}, {at}"
            ) from None
        return replace(plan, topic=self.topic)


@dataclass(kw_only=True)
class ApplicationOptions:
    """Who receives the messages."""

    app_host: Annotated[
        str | None, typer.Option(show_default="--host", help="Where applications connect.")
    ] = None
    app_port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, show_default="with --config its listener", help="And the port."),
    ] = None
    app_username: Annotated[
        str | None, typer.Option(show_default="with --config its first application", help="Its name.")
    ] = None
    app_password_file: Annotated[Path | None, typer.Option(help="Its password: the first line.")] = None
    app_filter: Annotated[
        list[str] | None,
        typer.Option(
            show_default="with --config its telemetry", help="What it subscribes to; may be repeated."
        ),
    ] = None
    patience: Annotated[
        float, typer.Option(min=0.1, help="Seconds without a message after which none is waited for.")
    ] = 5.0

    def application(self, fleet: DeviceOptions, messages: Messages) -> Application:
        """Raises `GatewayError`."""
        gateway = fleet.gateway
        port, username, password_file = self.app_port, self.app_username, self.app_password_file
        filters = tuple(self.app_filter or ())
        if gateway is not None:
            port = port or gateway.applications_port()
            filters = filters or filters_of(gateway.settings.telemetry)
            if username is None and gateway.settings.applications:
                username = gateway.settings.applications[0].name
                password_file = gateway.settings.applications[0].password_file
        if port is None or not filters:
            raise OperationError("telemetry needs --config, or --app-port and --app-filter")
        return Application(
            host=self.app_host or fleet.hub,
            port=port,
            username=username,
            password=None if password_file is None else _first_line(password_file).decode(),
            filters=filters,
            qos=messages.qos,
        )


def takes(function: Callable[..., None]) -> Callable[..., None]:
    """`function`, with each parameter that is a set of options replaced by those options."""
    own = inspect.signature(function)
    hints = get_type_hints(function, include_extras=True)
    sets = {
        name: hint
        for name, hint in hints.items()
        if hint in {DeviceOptions, RunOptions, MessageOptions, ApplicationOptions}
    }
    parameters: list[inspect.Parameter] = []
    for name, parameter in own.parameters.items():
        if name in sets:
            parameters += _parameters(sets[name])
        else:
            parameters.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(function)
    def command(**values: Any) -> None:
        made = {
            name: kind(**{field.name: values.pop(field.name) for field in fields(kind)})
            for name, kind in sets.items()
        }
        function(**made, **values)

    command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command


def _parameters(kind: type) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(kind)
    ]


def _first_line(file: Path) -> bytes:
    try:
        return file.read_bytes().partition(b"\n")[0].rstrip(b"\r")
    except OSError as error:
        raise OperationError(f"{file}: {error.strerror}") from None
