"""The configuration that `gateway init` writes: short, commented, and with everything a person may want to change.

`broker_config/production.yaml` shows the rest.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Final

__all__ = ["render"]

_TEMPLATE: Final = Template("""\
# A gateway's configuration, written by `gateway init`. It is an amqtt configuration:
#
#   gateway serve -c gateway.yaml      (amqtt -c gateway.yaml runs the same)
#
# Unknown keys are refused, so a misspelt setting can't go unnoticed.

listeners:
  # Applications (back ends, dashboards, operators' tools) connect here and receive the telemetry.
  default:
    type: tcp
    bind: 127.0.0.1:$app_port
    max_connections: 1000
  # Devices do not talk to amqtt: the plugin below opens `devices.bind` itself.
  devices:
    type: external

plugins:
  gateway.plugin.GatewayPlugin:
    # The names that devices dial; the certificate is for them. The first one is what the provisioning
    # service tells a device to connect to.
    hosts: $hosts
    # What tells this gateway's devices from others': devices send it when they provision themselves.
    id_scope: $id_scope
    # The database, the lock and the control socket.
    state_dir: $state_dir

    # What devices' and groups' keys are encrypted with in the database. Keep a copy of it, but not beside the
    # backups: without it nobody reads them.
    registry:
      encryption_key_file: $encryption_key_file

    devices:
      bind: 0.0.0.0:$port
      certificate_file: $certificate_file
      key_file: $key_file
$plain_bind
$https_bind

    # Where telemetry goes. Placeholders: {template} {device} {component}
    telemetry:
      topic: telemetry/{template}/{device}
      component_topic: telemetry/{template}/{device}/{component}
      unassociated_topic: telemetry/_unassociated/{device}
      dead_letter_topic: deadletter/{template}/{device}

    # A model that nobody imported can be looked up in a model repository, in the layout of
    # github.com/Azure/iot-plugandplay-models.
    # model_repository:
    #   directory: /path/to/iot-plugandplay-models
    #   url: https://devicemodels.azure.com

    # Who may log in on the applications' listener. Rights are MQTT topic filters; the first line of
    # `password_file` is the password.
    applications:
      - name: $app_name
        password_file: $app_password_file
        subscribe: ["telemetry/#", "deadletter/#"]

    # Operators' HTTP: the REST API, with API tokens (`gateway token`). Without TLS only on loopback.
    http:
      bind: 127.0.0.1:$http_port
      tls: true

    log:
      level: info
      # console for people, json for machines
      format: console
""")
_PLAIN: Final = """\
      # Without TLS, for benchmarks or for a TLS terminator on this host; loopback only.
      plain_bind: 127.0.0.1:{port}"""
_NO_PLAIN: Final = """\
      # Without TLS, for benchmarks or for a TLS terminator on this host; loopback only.
      # plain_bind: 127.0.0.1:1884"""

_HTTPS: Final = """\
      # Where devices may provision themselves over HTTPS; those with a TPM have to.
      https_bind: 0.0.0.0:{port}"""
_NO_HTTPS: Final = """\
      # Where devices may provision themselves over HTTPS; those with a TPM have to. Most SDKs dial 443.
      # https_bind: 0.0.0.0:443"""


def render(
    *,
    hosts: Sequence[str],
    id_scope: str,
    state_dir: Path,
    certificate_file: Path,
    key_file: Path,
    encryption_key_file: Path,
    port: int,
    plain_port: int | None,
    device_https_port: int | None,
    app_port: int,
    app_name: str,
    app_password_file: Path,
    http_port: int,
) -> str:
    """The text of gateway.yaml. Values are written as JSON, which is YAML for any path or name."""
    return _TEMPLATE.substitute(
        hosts=json.dumps(list(hosts)),
        id_scope=json.dumps(id_scope),
        state_dir=_quoted(state_dir),
        certificate_file=_quoted(certificate_file),
        key_file=_quoted(key_file),
        encryption_key_file=_quoted(encryption_key_file),
        port=port,
        plain_bind=_NO_PLAIN if plain_port is None else _PLAIN.format(port=plain_port),
        https_bind=_NO_HTTPS if device_https_port is None else _HTTPS.format(port=device_https_port),
        app_port=app_port,
        http_port=http_port,
        app_name=json.dumps(app_name),
        app_password_file=_quoted(app_password_file),
    )


def _quoted(path: Path) -> str:
    return json.dumps(str(path))
