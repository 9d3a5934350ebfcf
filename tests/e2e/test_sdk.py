"""Microsoft's own SDKs, unmodified: point a device at the gateway, and it is home."""

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from gateway import pki
from tests.e2e.conftest import Device, sdk_python
from tests.support.central import MODEL, CentralApplication
from tests.support.gateway_process import GatewayProcess
from tests.support.subscriber import Subscriber

pytestmark = pytest.mark.sdk

THERMOSTAT = "dtmi:com:example:Thermostat;1"
CONTROLLER = "dtmi:com:example:TemperatureController;1"


def device_key(gateway: GatewayProcess, device_id: str) -> str:
    return gateway.cli("device", "compute-key", device_id).stdout.strip()


async def test_a_device_with_a_group_key_provisions_and_its_telemetry_is_on_its_templates_topic(
    gateway: GatewayProcess, device: Device
) -> None:
    key = device_key(gateway, "sdk-sas-1")
    async with Subscriber(gateway.setup, "telemetry/#", "deadletter/#") as application:
        seen = await asyncio.to_thread(
            device, id="sdk-sas-1", key=key, model=CONTROLLER,
            report=[{"serialNumber": "A1"}, {"thermostat1": {"__t": "c", "maxTempSinceLastReboot": 40.5}}],
            telemetry=[
                {"body": {"workingSet": 12.5}, "properties": {"alert": "no & yes=maybe"}},
                {"body": {"temperature": 21.5}, "component": "thermostat1"},
            ],
        )  # fmt: skip
        assert seen.get("status") == "assigned", seen
        assert (seen["device_id"], seen["hub"], seen["connected"]) == ("sdk-sas-1", "localhost", True)
        root_topic, root = await application.next()
        component_topic, component = await application.next()
    assert root_topic == f"telemetry/{CONTROLLER}/sdk-sas-1"
    assert root["body"] == {"workingSet": 12.5}
    assert root["properties"] == {"alert": "no & yes=maybe"}
    assert (root["device"], root["template"], root["modelId"]) == ("sdk-sas-1", CONTROLLER, CONTROLLER)
    assert root["validation"]["status"] == "valid"
    assert component_topic == f"telemetry/{CONTROLLER}/sdk-sas-1/thermostat1"
    assert (component["component"], component["body"]) == ("thermostat1", {"temperature": 21.5})
    assert seen["twin_before"]["reported"] == {"$version": 1}
    after = seen["twin_after"]["reported"]
    assert after["serialNumber"] == "A1"
    assert after["thermostat1"] == {"__t": "c", "maxTempSinceLastReboot": 40.5}
    assert after["$version"] == 3

    shown = gateway.json("device", "show", "sdk-sas-1")
    assert {k: shown[k] for k in ("id", "status", "template", "modelId", "enrollmentGroup", "provisioned", "enabled")} == {
        "id": "sdk-sas-1", "status": "provisioned", "template": CONTROLLER, "modelId": CONTROLLER,
        "enrollmentGroup": "SAS-IoT-Devices", "provisioned": True, "enabled": True,
    }  # fmt: skip


async def test_a_device_with_a_certificate_from_an_intermediate_provisions(
    gateway: GatewayProcess, device: Device, tmp_path: Path
) -> None:
    ca = development_ca(gateway)
    intermediate = pki.create_intermediate(ca, "Factory 7")
    leaf = pki.issue_device(intermediate, "sdk-x509-1")
    certificate_file, key_file = write(leaf, tmp_path)
    certificate_file.write_bytes(
        leaf.certificate_pem + intermediate.certificate_pem
    )  # the chain, as OEMs flash it
    async with Subscriber(gateway.setup, "telemetry/#") as application:
        seen = await asyncio.to_thread(
            device, id="sdk-x509-1", certificate_file=certificate_file, key_file=key_file, model=THERMOSTAT,
            telemetry=[{"body": {"temperature": 4}}],
        )  # fmt: skip
        assert seen.get("status") == "assigned", seen
        topic, envelope = await application.next()
    assert topic == f"telemetry/{THERMOSTAT}/sdk-x509-1"
    assert envelope["body"] == {"temperature": 4}
    assert gateway.json("device", "show", "sdk-x509-1")["enrollmentGroup"] == "X509-IoT-Devices"
    opened = gateway.wait_for("session.opened", device_id="sdk-x509-1", dialect="hub")
    assert (opened["mechanism"], opened["tls"]) == ("x509", "TLSv1.2")


async def test_a_device_with_a_self_signed_certificate_and_an_individual_enrollment_provisions(
    gateway: GatewayProcess, device: Device, tmp_path: Path
) -> None:
    leaf = pki.self_signed_device("sdk-self-1")
    certificate_file, key_file = write(leaf, tmp_path)
    gateway.cli("enrollment", "create", "sdk-self-1", "--certificate", certificate_file)
    seen = await asyncio.to_thread(
        device, id="sdk-self-1", certificate_file=certificate_file, key_file=key_file, model=THERMOSTAT
    )
    assert seen.get("status") == "assigned", seen
    assert seen["connected"] is True
    shown = gateway.json("device", "show", "sdk-self-1")
    assert (shown["status"], shown["enrollmentGroup"]) == ("provisioned", None)


async def test_a_device_with_a_brand_new_model_is_unassociated_and_heard_all_the_same(
    gateway: GatewayProcess, device: Device
) -> None:
    async with Subscriber(gateway.setup, "telemetry/_unassociated/+") as application:
        seen = await asyncio.to_thread(
            device, id="sdk-new-1", key=device_key(gateway, "sdk-new-1"), model="dtmi:com:example:Nobody;1",
            telemetry=[{"body": {"x": 1}}],
        )  # fmt: skip
        assert seen.get("status") == "assigned", seen
        topic, envelope = await application.next()
    assert topic == "telemetry/_unassociated/sdk-new-1"
    assert (envelope["template"], envelope["modelId"]) == (None, "dtmi:com:example:Nobody;1")
    assert gateway.json("device", "show", "sdk-new-1")["template"] is None


async def test_a_device_may_skip_provisioning_on_its_first_connect(
    gateway: GatewayProcess, device: Device
) -> None:
    seen = await asyncio.to_thread(
        device, id="sdk-direct-1", key=device_key(gateway, "sdk-direct-1"), model=THERMOSTAT, provision=False
    )
    assert seen.get("connected") is True, seen
    shown = gateway.json("device", "show", "sdk-direct-1")
    assert (shown["status"], shown["template"]) == ("provisioned", THERMOSTAT)


async def test_central_s_own_client_library_connects_and_sends(
    gateway: GatewayProcess, device: Device
) -> None:
    async with Subscriber(gateway.setup, "telemetry/#") as application:
        seen = await asyncio.to_thread(
            device, "iotc_device.py", id="iotc-1", key=device_key(gateway, "iotc-1"), model=THERMOSTAT,
            telemetry=[{"body": {"temperature": 19}, "properties": {"room": "lab"}}],
        )  # fmt: skip
        assert seen == {"connected": True}
        topic, envelope = await application.next()
    assert topic == f"telemetry/{THERMOSTAT}/iotc-1"
    assert (envelope["body"], envelope["properties"]) == ({"temperature": 19}, {"room": "lab"})


# Refusals: the right answer to the device, and the reason in the log


def refused(gateway: GatewayProcess, seen: dict[str, Any], device_id: str, reason: str) -> None:
    assert seen.get("error") == "CredentialError", seen
    line = gateway.wait_for("connect.refused", device_id=device_id, reason=reason)
    assert line["hint"]
    assert gateway.cli("device", "show", device_id, check=False).returncode == 1  # nothing was registered


def test_a_wrong_key_is_refused(gateway: GatewayProcess, device: Device) -> None:
    seen = device(id="sdk-wrong-1", key=device_key(gateway, "sdk-other"), model=THERMOSTAT)
    refused(gateway, seen, "sdk-wrong-1", "token_signature_invalid")


def test_an_expired_token_is_refused(gateway: GatewayProcess, device: Device) -> None:
    seen = device(id="sdk-late-1", key=device_key(gateway, "sdk-late-1"), clock_slow_s=7200)
    refused(gateway, seen, "sdk-late-1", "token_expired")


def test_a_device_of_a_disabled_group_is_refused(gateway: GatewayProcess, device: Device) -> None:
    gateway.cli("group", "create", "Retired", "--type", "sas")
    key = gateway.cli("device", "compute-key", "sdk-retired-1", "--group", "Retired").stdout.strip()
    gateway.cli("group", "disable", "Retired")
    seen = device(id="sdk-retired-1", key=key)
    refused(gateway, seen, "sdk-retired-1", "enrollment_group_disabled")


def test_a_certificate_for_another_name_is_refused(
    gateway: GatewayProcess, device: Device, tmp_path: Path
) -> None:
    gateway.cli("device", "issue-cert", "sdk-somebody", "--out", tmp_path)
    seen = device(
        id="sdk-else-1",
        certificate_file=tmp_path / "sdk-somebody.crt",
        key_file=tmp_path / "sdk-somebody.key",
    )
    refused(gateway, seen, "sdk-else-1", "certificate_name_mismatch")


def development_ca(gateway: GatewayProcess) -> pki.IssuedCertificate:
    certificate = Path(gateway.setup["caCertificate"])
    return pki.load_ca(certificate.read_bytes(), certificate.with_suffix(".key").read_bytes())


def write(leaf: pki.IssuedCertificate, directory: Path) -> tuple[Path, Path]:
    certificate_file, key_file = directory / "device.crt", directory / "device.key"
    certificate_file.write_bytes(leaf.certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(leaf.key_pem)
    return certificate_file, key_file


async def test_devices_of_iot_central_come_with_the_credentials_they_have(
    gateway: GatewayProcess, device: Device, tmp_path: Path
) -> None:
    central = CentralApplication()
    gateway.cli("migrate", "central", central.write(tmp_path / "export"))
    certificate_file, key_file = write(central.own, tmp_path)
    credentials: dict[str, dict[str, Any]] = {
        "by-group": {"key": central.device_key("by-group").base64},
        "own-key": {"key": central.own_key.base64},
        "own-cert": {"certificate_file": certificate_file, "key_file": key_file},
    }
    for device_id, credential in credentials.items():
        seen = await asyncio.to_thread(
            device, id=device_id, model=MODEL, telemetry=[{"body": {"load": 0.5}}], **credential
        )
        assert (seen.get("status"), seen.get("connected")) == ("assigned", True), (device_id, seen)
        shown = gateway.json("device", "show", device_id)
        assert (shown["status"], shown["template"], shown["name"]) == (
            "provisioned",
            MODEL,
            f"The {device_id}",
        )


@pytest.mark.parametrize("mechanism", ["keys", "certificate"])
def test_the_program_that_the_connection_shows_runs_as_it_is(
    gateway: GatewayProcess, tmp_path: Path, mechanism: str
) -> None:
    device_id = f"snippet-{mechanism}"
    gateway.cli("device", "register", device_id)
    if mechanism == "certificate":
        gateway.cli("device", "issue-cert", device_id, "--out", tmp_path)
        gateway.cli("enrollment", "create", device_id, "--certificate", tmp_path / f"{device_id}.crt")
    printed = gateway.cli("device", "connection", device_id, "--keys", "--snippet").stdout
    subprocess.run(
        [sdk_python()], input=printed[printed.index("# pip install") :], cwd=tmp_path, text=True, check=True, timeout=60,
        env={**os.environ, "SSL_CERT_FILE": gateway.setup["caCertificate"]},
    )  # fmt: skip
    shown = gateway.json("device", "show", device_id)
    assert (shown["status"], shown["template"]) == ("provisioned", THERMOSTAT)
