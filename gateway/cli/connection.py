"""How `gateway device connection` shows what a device needs."""

import sys
from pathlib import Path
from typing import Any, Final

from gateway.cli.files import write_new
from gateway.cli.output import print_fields

__all__ = ["print_connection", "write_svg"]

_SECRET, _PUBLIC = 0o600, 0o644
_SNIPPET: Final = """\
# pip install azure-iot-device. It dials port 8883, and must trust the gateway's CA (SSL_CERT_FILE=ca.crt).
import asyncio
from azure.iot.device import X509
from azure.iot.device.aio import IoTHubDeviceClient, ProvisioningDeviceClient

async def main():
    provisioning = ProvisioningDeviceClient.{create}(
        provisioning_host="{host}",
        registration_id="{id}",
        id_scope="{idScope}",
        {credential},
    )
    provisioning.provisioning_payload = {{"modelId": "{model}"}}
    assigned = (await provisioning.register()).registration_state
    device = IoTHubDeviceClient.{create}(
        {credential},
        hostname=assigned.assigned_hub,
        device_id=assigned.device_id,
    )
    await device.connect()
    await device.send_message('{{"temperature": 21.5}}')
    await device.shutdown()

asyncio.run(main())"""


def print_connection(shown: dict[str, Any], *, qr: bool, snippet: bool) -> None:
    fields = {name: value for name, value in shown.items() if name not in {"qr", "svg"}}
    print_fields(fields)
    if shown["attestation"] == "symmetricKey" and "primaryKey" not in shown:
        print("(--keys shows the device's keys, too)", file=sys.stderr)
    if qr:
        from gateway.operations.connection import qr_code  # noqa: PLC0415

        print()
        qr_code(shown["qr"]).terminal(compact=True)
    if snippet:
        print()
        create, credential = _credential(shown)
        print(
            _SNIPPET.format(
                host=shown["host"], id=shown["id"], idScope=shown["idScope"], create=create, credential=credential,
                model=shown["modelId"] or "dtmi:com:example:Thermostat;1",
            )
        )  # fmt: skip


def write_svg(path: Path, picture: str, *, secret: bool) -> None:
    """Raises `GatewayError`, if the file exists for example."""
    write_new(path, picture.encode(), mode=_SECRET if secret else _PUBLIC)


def _credential(shown: dict[str, Any]) -> tuple[str, str]:
    """The SDK's constructor, and the argument that it takes."""
    if shown["attestation"] == "x509":
        return "create_from_x509_certificate", f'x509=X509("{shown["id"]}.crt", "{shown["id"]}.key")'
    return (
        "create_from_symmetric_key",
        f'symmetric_key="{shown.get("primaryKey", "the key that --keys shows")}"',
    )
