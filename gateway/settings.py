"""Every setting, in one frozen, typed tree.

The tree is the configuration of `gateway.plugin.GatewayPlugin` inside an amqtt configuration file
(`gateway.yaml`; `broker_config/` has commented examples). Unknown keys are refused, units are in the names,
defaults fail closed, and every queue, cache, buffer and packet has its maximum here.

Relative paths are relative to the working directory; `gateway init` writes absolute ones.
"""

import difflib
import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from gateway.errors import SettingsError
from gateway.mqtt.topics import validate_topic_filter

__all__ = [
    "PLUGIN_PATH",
    "ApplicationSettings",
    "AttemptSettings",
    "AuditSettings",
    "BindAddress",
    "DeviceSettings",
    "HttpSettings",
    "LogSettings",
    "ModelRepositorySettings",
    "ProvisioningSettings",
    "RegistrySettings",
    "Settings",
    "StormSettings",
    "TelemetrySettings",
    "TraceSettings",
    "TwinSettings",
    "load_config_file",
    "load_settings",
    "parse_settings",
]

PLUGIN_PATH: Final = "gateway.plugin.GatewayPlugin"

_KIB: Final = 1024


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class BindAddress(_Section):
    """A host and port to listen on. Written `host:port`, `[v6]:port` or `:port` (all interfaces)."""

    host: str
    port: int = Field(ge=0, le=65535)

    @classmethod
    def parse(cls, value: object) -> object:
        """`host:port` → `BindAddress`. Anything else is left for pydantic to complain about."""
        if isinstance(value, str):
            host, colon, port = value.rpartition(":")
            if not colon or not port.isascii() or not port.isdigit():
                raise ValueError("write host:port, [v6-address]:port or :port")
            return {"host": host.removeprefix("[").removesuffix("]") or "0.0.0.0", "port": int(port)}
        return value

    @property
    def is_loopback(self) -> bool:
        """True for `localhost` and loopback addresses; a name that needs resolving is not trusted to be."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


Bind = Annotated[BindAddress, BeforeValidator(BindAddress.parse)]


class StormSettings(_Section):
    """What a connect storm may use (docs/storms.md says how to choose)."""

    max_handshakes: int = Field(default=1024, ge=1, le=100_000)
    """Connections between accept and CONNACK. The next ones wait in the room before TLS."""
    target_handshake_s: float = Field(default=1.0, gt=0, le=30)
    """In a storm there are as many handshakes at once as end within this time; at least 32."""
    per_address_share: float = Field(default=0.5, gt=0, le=1)
    """The part of `max_handshakes` that one address (IPv6: one /64) may hold."""
    max_waiting: int = Field(default=2048, ge=0, le=100_000)
    """Accepted connections that wait for a handshake; fewer if not as many can be let in within `max_wait_s`."""
    max_wait_s: float = Field(default=2.0, gt=0, le=60)
    """Who has waited for so long is closed, to try again."""
    max_turned_away_per_s: int = Field(default=5000, ge=1, le=1_000_000)
    """Connections closed before TLS; each costs about 15 µs. More than this stay in the accept backlog."""
    admission_rate_per_s: float | None = Field(default=None, ge=1)
    """Hub sessions and registrations admitted per second; None: as many as there is time for."""
    max_registrations: int = Field(default=512, ge=1, le=100_000)
    """New devices that wait for their commit; the next ones are told to come back."""
    per_group_share: float = Field(default=0.5, gt=0, le=1)
    """What one enrollment group may use of the rate and the registrations before others come first."""
    retry_after_min_s: int = Field(default=5, ge=1, le=3600)
    """The provisioning service's 429 names a time between these two, so that they do not all come back at once."""
    retry_after_max_s: int = Field(default=30, ge=1, le=3600)
    refusals_before_delay: int = Field(default=5, ge=1, le=1000)
    """After so many refusals of one identity at one address, each further answer takes twice as long."""
    max_delay_s: float = Field(default=10.0, ge=0, le=60)
    max_delayed: int = Field(default=1000, ge=0, le=100_000)
    """Refusals held back at once; more are answered at once."""
    max_records: int = Field(default=50_000, ge=1, le=10_000_000)
    """Addresses that are remembered (130 bytes each), and as many (address, identity) pairs (210)."""
    forget_after_s: float = Field(default=600.0, ge=1)

    @model_validator(mode="after")
    def _retry_after_is_a_range(self) -> "StormSettings":
        if self.retry_after_max_s < self.retry_after_min_s:
            raise ValueError("retry_after_max_s is below retry_after_min_s")
        return self


class DeviceSettings(_Section):
    """The listeners that devices dial, and what one connection may use."""

    bind: Bind = BindAddress(host="0.0.0.0", port=8883)
    certificate_file: Path
    """PEM: the server's certificate, then its intermediates."""
    key_file: Path
    plain_bind: Bind | None = None
    """A listener without TLS. Loopback only: for benchmarks and for a TLS terminator on the same host."""
    https_bind: Bind | None = None
    """Where devices may provision themselves over HTTPS, too; those with a TPM have to. Most SDKs dial port 443."""
    https_idle_timeout_s: int = Field(default=60, ge=1, le=3600)
    """An HTTPS connection without a request is closed after this long."""
    max_request_bytes: int = Field(default=16 * _KIB, ge=_KIB)
    """The body of an HTTPS request."""
    minimum_tls_version: Literal["1.2", "1.3"] = "1.2"
    """Microsoft's Python SDK speaks nothing newer than 1.2."""
    connect_timeout_s: int = Field(default=10, ge=1, le=300)
    """From accept to CONNECT, TLS handshake included."""
    max_connections: int = Field(default=50_000, ge=1)
    """Fewer if the system does not let this process open as many files. The next device is closed at once."""
    accept_backlog: int = Field(default=2048, ge=1)
    max_connect_packet_bytes: int = Field(default=16 * _KIB, ge=256)
    max_packet_bytes: int = Field(default=264 * _KIB, ge=_KIB)
    """Telemetry is at most 256 KiB (IoT Hub's quota); topic and header come on top."""
    max_keep_alive_s: int = Field(default=1767, ge=1, le=65535)
    """A connection that sends nothing for longer is closed, whatever keep-alive it asked for."""
    max_inflight: int = Field(default=16, ge=1, le=1000)
    """QoS 1 messages on their way to one device and not yet acknowledged."""
    max_send_buffer_bytes: int = Field(default=512 * _KIB, ge=_KIB)
    """A device that lets more than this pile up is disconnected."""
    max_offline_sessions: int = Field(default=50_000, ge=0)
    """Sessions with clean_session=0 whose subscriptions are remembered while the device is away."""
    max_session_expiry_s: int = Field(default=7 * 86400, ge=0, le=0xFFFF_FFFE)
    """MQTT 5: an away device's session is kept no longer, whatever Session Expiry Interval it asked for."""
    shutdown_timeout_s: int = Field(default=10, ge=1)
    storm: StormSettings = StormSettings()


class ProvisioningSettings(_Section):
    """Tokens, ids, and the provisioning dialect."""

    token_leeway_s: int = Field(default=0, ge=0, le=900)
    """A token is still good for this long after its expiry, for devices whose clocks are late."""
    extended_device_ids: bool = False
    """Also allow `.`, `_` and `:` inside device ids, as DPS does and IoT Central does not."""
    approval_retry_after_s: int = Field(default=30, ge=1, le=3600)
    """How long a device that waits for approval is asked to wait before it asks again."""
    tpm_challenge_period_s: int = Field(default=300, ge=10, le=3600)
    """A TPM's challenge is good for one to two of these."""
    max_tpm_operations: int = Field(default=10_000, ge=1)
    """Devices with a TPM that may poll; about 0.6 KB each. One that was dropped starts anew."""
    verified_leaf_cache_size: int = Field(default=20_000, ge=0)


class TelemetrySettings(_Section):
    """Where telemetry goes. Placeholders: {template}, {device}, {component}."""

    topic: str = "telemetry/{template}/{device}"
    component_topic: str = "telemetry/{template}/{device}/{component}"
    unassociated_topic: str = "telemetry/_unassociated/{device}"
    dead_letter_topic: str = "deadletter/{template}/{device}"
    max_properties: int = Field(default=100, ge=1)
    max_issues: int = Field(default=20, ge=1)
    """A message's check stops when it has found this many issues."""
    max_observed_devices: int = Field(default=200, ge=0)
    """Unassociated devices whose messages' shape is remembered, to write a device template from; some KB each, never
    more than about 150."""
    max_remembered_messages: int = Field(default=5000, ge=0, le=1_000_000)
    """The fleet's newest messages, kept for `gateway device telemetry`; at most 8 KiB each, commonly below 1."""
    max_subscriber_backlog: int = Field(default=10_000, ge=1)
    """Messages waiting for one application; more are dropped and counted. On a busy machine amqtt reads PUBACKs late."""
    max_subscriber_backlog_bytes: int = Field(default=32 * 1024 * 1024, ge=1024 * 1024)
    """Bytes of them; at least a few of the largest messages."""

    @field_validator("topic", "component_topic", "unassociated_topic", "dead_letter_topic")
    @classmethod
    def _template_is_usable(cls, value: str, info: Any) -> str:
        allowed = {
            "topic": {"template", "device"},
            "component_topic": {"template", "device", "component"},
            "unassociated_topic": {"device"},
            "dead_letter_topic": {"template", "device"},
        }[info.field_name]
        names = set(re.findall(r"\{([^{}]*)\}", value))
        if names - allowed:
            raise ValueError(
                f"unknown placeholder {{{min(names - allowed)}}}; known: {', '.join(sorted(allowed))}"
            )
        if "device" not in names:
            raise ValueError("the placeholder {device} is missing")
        plain = re.sub(r"\{[^{}]*\}", "x", value)
        if not plain or plain.startswith("$") or set(plain) & set("+#{}\0"):
            raise ValueError("not a topic name: no wildcards, no leading '$'")
        return value


class TwinSettings(_Section):
    """Bounds of a device's twin (IoT Hub's quotas: 32 KB reported, 32 KB desired, depth 10)."""

    max_reported_bytes: int = Field(default=32 * _KIB, ge=256)
    max_depth: int = Field(default=10, ge=1, le=50)
    cache_size: int = Field(default=20_000, ge=1)


class ModelRepositorySettings(_Section):
    """Where a model that nobody published is looked for. Both off by default."""

    directory: Path | None = None
    """A checkout in the layout of github.com/Azure/iot-plugandplay-models (`dtmi/com/…/name-1.json`)."""
    url: str | None = None
    """The same layout over HTTPS, `https://devicemodels.azure.com` for example."""
    timeout_s: float = Field(default=5.0, gt=0, le=60)
    max_document_bytes: int = Field(default=1024 * _KIB, ge=_KIB)
    retry_after_s: int = Field(default=300, ge=1)
    """A model that was not found is looked for again after this long."""

    @field_validator("url")
    @classmethod
    def _is_http(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("https://", "http://")):
            raise ValueError("write an https:// or http:// address")
        return value


class RegistrySettings(_Section):
    """The store of devices, groups, templates and twins."""

    url: str | None = None
    """An SQLAlchemy URL; the default is SQLite in `state_dir`."""
    encryption_key_file: Path | None = None
    """What the keys in the store are encrypted with; the environment's GATEWAY_ENCRYPTION_KEY goes before it."""
    cache_size: int = Field(default=100_000, ge=100)
    """Devices held in memory; about 1 KB each."""
    max_batch: int = Field(default=500, ge=1)
    """Rows in one commit."""
    max_queue: int = Field(default=20_000, ge=1)
    """Changes waiting for a commit; more are answered "server unavailable"."""


class ApplicationSettings(_Section):
    """A back end, dashboard or tool that logs in on amqtt's listener, with rights by topic filter."""

    name: str = Field(min_length=1, max_length=128)
    password_file: Path
    """The first line is the password; the file should be readable by its owner only (mode 0600)."""
    subscribe: tuple[str, ...] = ()
    publish: tuple[str, ...] = ()

    @field_validator("subscribe", "publish")
    @classmethod
    def _are_topic_filters(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for topic_filter in value:
            validate_topic_filter(topic_filter)
        return value


class AttemptSettings(_Section):
    """What is remembered, in memory, of how devices tried to connect: for `gateway why`."""

    max_devices: int = Field(default=10_000, ge=10)
    """Devices whose refusals are remembered; a tenth as many ids that nobody knows. 2 to 10 KB each."""
    max_per_device: int = Field(default=8, ge=2, le=100)
    max_accepted: int = Field(default=2_000, ge=100)
    """The last accepted CONNECTs, of all devices together; about 0.3 KB each."""


class AuditSettings(_Section):
    """How much of what operators did is remembered."""

    max_records: int = Field(default=100_000, ge=100)
    """The oldest are dropped beyond it; about 1 KB each."""
    max_age_days: int = Field(default=400, ge=1, le=3660)
    max_document_bytes: int = Field(default=16 * _KIB, ge=256)
    """Of what something was before or after a change; of more only the size and the SHA-256 are kept."""


class HttpSettings(_Section):
    """The operators' HTTP server: the REST API. Devices are not served here."""

    bind: Bind | None = None
    """Off unless it is given."""
    tls: bool = True
    """Without TLS, tokens cross the network as they are: loopback only, for a TLS terminator on the same host."""
    certificate_file: Path | None = None
    """PEM; the devices' certificate if it is not given. Likewise the key."""
    key_file: Path | None = None
    max_connections: int = Field(default=200, ge=1, le=10_000)
    """Requests and connections beyond it are answered 503."""
    keep_alive_timeout_s: int = Field(default=5, ge=1, le=300)
    shutdown_timeout_s: int = Field(default=5, ge=1, le=60)

    @model_validator(mode="after")
    def _plain_is_loopback(self) -> "HttpSettings":
        if self.bind is not None and not self.tls and not self.bind.is_loopback:
            raise ValueError("without tls, bind must be a loopback address such as 127.0.0.1:8080")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("give certificate_file and key_file, or neither")
        return self


class TraceSettings(_Section):
    """Bounds of `gateway trace`, which logs a device's packets."""

    max_devices: int = Field(default=10, ge=1, le=1000)
    """Traced at once."""
    max_duration_s: int = Field(default=3600, ge=1, le=86_400)
    """A trace ends after it, whatever was asked for."""
    max_packets: int = Field(default=10_000, ge=1)
    """A trace ends when it has shown so many."""
    max_payload_bytes: int = Field(default=1024, ge=16, le=64 * _KIB)
    """Of one payload, if payloads are asked for."""


class LogSettings(_Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"
    file: Path | None = None
    """Lines go here instead of to stdout. The file is for its owner and group (mode 0640)."""
    max_file_bytes: int = Field(default=64 * _KIB * _KIB, ge=0)
    """A file that would grow beyond it is renamed to `….1`, and so on; 0: never, logrotate does it and sends SIGHUP."""
    max_files: int = Field(default=5, ge=1, le=1000)
    """Renamed files that are kept; the oldest is deleted."""
    max_recent_events: int = Field(default=2000, ge=0, le=100_000)
    """The last events, kept in memory for `gateway logs`; about 1 KB each."""
    max_followers: int = Field(default=8, ge=1, le=64)
    """How many may follow the log at once: `gateway logs -f`, and HTTP's event stream."""
    max_follower_backlog: int = Field(default=2000, ge=10)
    """Events that wait for one who follows the log; more are dropped, counted and told."""


class Settings(_Section):
    """The whole tree."""

    hosts: tuple[str, ...] = Field(min_length=1)
    """The gateway's own names. The first is the `assignedHub` that DPS answers."""
    id_scope: str = Field(pattern=r"^[A-Za-z0-9]{3,64}$")
    state_dir: Path
    devices: DeviceSettings
    provisioning: ProvisioningSettings = ProvisioningSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    twin: TwinSettings = TwinSettings()
    model_repository: ModelRepositorySettings = ModelRepositorySettings()
    registry: RegistrySettings = RegistrySettings()
    applications: tuple[ApplicationSettings, ...] = ()
    audit: AuditSettings = AuditSettings()
    http: HttpSettings = HttpSettings()
    attempts: AttemptSettings = AttemptSettings()
    trace: TraceSettings = TraceSettings()
    log: LogSettings = LogSettings()

    @field_validator("hosts")
    @classmethod
    def _are_host_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?", host):
                raise ValueError(f"{host!r} is not a host name or address")
        return value

    @field_validator("devices")
    @classmethod
    def _plain_is_loopback(cls, value: DeviceSettings) -> DeviceSettings:
        if value.plain_bind is not None and not value.plain_bind.is_loopback:
            raise ValueError("plain_bind has no TLS, so it must be a loopback address such as 127.0.0.1:1884")
        return value

    @field_validator("applications")
    @classmethod
    def _names_are_unique(cls, value: tuple[ApplicationSettings, ...]) -> tuple[ApplicationSettings, ...]:
        names = [application.name for application in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two applications are named {name!r}")
        return value

    @property
    def store_url(self) -> str:
        """The SQLAlchemy URL of the store."""
        return self.registry.url or f"sqlite+aiosqlite:///{self.state_dir.absolute() / 'gateway.db'}"

    @property
    def control_socket(self) -> Path:
        """Where a running gateway takes an operator's requests."""
        return self.state_dir / "control.sock"

    @property
    def lock_file(self) -> Path:
        """Held by whoever may write the store: one running gateway, or one offline command."""
        return self.state_dir / "gateway.lock"

    @property
    def jobs_directory(self) -> Path:
        """Files of the jobs that are started over HTTP; emptied at each start."""
        return self.state_dir / "jobs"

    @property
    def console_key_file(self) -> Path:
        """What the web console signs its cookies with; made when it is not there."""
        return self.state_dir / "console.key"


def parse_settings(data: object, *, source: str = "settings") -> Settings:
    """`data` (nested dicts from YAML) → `Settings`. Raises `SettingsError` with one line that names the key."""
    if not isinstance(data, dict):
        raise SettingsError(f"{source}: expected settings, found {type(data).__name__}")
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        raise SettingsError(f"{source}: {_first_line(error)}", hint=_hint(error)) from None


class _StrictLoader(yaml.SafeLoader):
    """YAML lets the second of two equal keys win; here that is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value} is there twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def load_config_file(path: Path) -> dict[str, Any]:
    """Read an amqtt configuration file. Raises `SettingsError` if it is missing, unreadable or not YAML."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError(
            f"{path}: no such file", hint="make one with `gateway init DIR`, or name it with -c"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: can't be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        document = yaml.load(text, _StrictLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise SettingsError(
            f"{path}{where}: not valid YAML: {getattr(error, 'problem', None) or 'unreadable'}"
        ) from None
    if not isinstance(document, dict):
        raise SettingsError(f"{path}: expected an amqtt configuration with listeners and plugins")
    return document


def load_settings(path: Path) -> Settings:
    """The gateway's settings from an amqtt configuration file. Raises `SettingsError`."""
    plugins = load_config_file(path).get("plugins")
    if isinstance(plugins, list):
        plugins = {
            k: v
            for entry in plugins
            for k, v in (entry.items() if isinstance(entry, dict) else [(entry, {})])
        }
    if not isinstance(plugins, dict) or PLUGIN_PATH not in plugins:
        raise SettingsError(f"{path}: the plugin {PLUGIN_PATH} is not configured under `plugins`")
    return parse_settings(plugins[PLUGIN_PATH] or {}, source=str(path))


def _worst(error: ValidationError) -> Any:
    """The error to tell: a misspelt key before the one that is missing because of it."""
    return min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")


def _first_line(error: ValidationError) -> str:
    first = _worst(error)
    key = ".".join(str(part) for part in first["loc"]) or "settings"
    match first["type"]:
        case "missing":
            problem = "is missing"
        case "extra_forbidden":
            problem = "is not a setting"
        case _:
            problem = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{key}: {problem}{more}"


def _hint(error: ValidationError) -> str:
    first = _worst(error)
    if first["type"] != "extra_forbidden":
        return ""
    *parents, name = first["loc"]
    section: type[BaseModel] = Settings
    for parent in parents:
        field = section.model_fields.get(str(parent))
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        section = annotation
    close = difflib.get_close_matches(str(name), section.model_fields, n=1)
    return f"did you mean `{close[0]}`?" if close else f"known here: {', '.join(section.model_fields)}"
