"""What a device needs to connect: `device.connection`."""

import pytest

from gateway import pki
from gateway.errors import OperationError
from tests.support.bench import Bench

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw=="
DEVICE_KEY = "aQpAiAZrJbAmQOJePbtIhddrHcjLagLwGpnPkZyejRY="


async def groups(bench: Bench) -> None:
    ca = pki.create_ca("Factory").certificate_pem.decode()
    await bench.call("group.create", name="SAS-IoT-Devices", attestation="symmetricKey", primary_key=KEY)
    await bench.call("group.create", name="Other", attestation="symmetricKey")
    await bench.call("group.create", name="Factory", attestation="x509", primary_certificate=ca)


async def test_a_device_that_nobody_has_seen_will_come_in_by_the_default_group(bench: Bench) -> None:
    await groups(bench)
    shown = await bench.call("device.connection", device_id="thermostat-001")
    assert shown == {
        "id": "thermostat-001", "registered": False, "idScope": "0ne00TEST", "host": "localhost", "port": 8883,
        "modelId": None, "enrollment": "group", "enrollmentGroup": "SAS-IoT-Devices", "attestation": "symmetricKey",
        "qr": {"host": "localhost", "idScope": "0ne00TEST", "deviceId": "thermostat-001"},
    }  # fmt: skip


async def test_keys_are_shown_only_when_they_are_asked_for(bench: Bench) -> None:
    await groups(bench)
    shown = await bench.call("device.connection", device_id="thermostat-001", keys=True)
    assert shown["primaryKey"] == shown["qr"]["primaryKey"] == DEVICE_KEY


async def test_the_credential_is_the_one_that_the_device_has(bench: Bench) -> None:
    await groups(bench)
    await bench.device("a", enrollment_group="Other", model_id="dtmi:com:example:Mill;1")
    await bench.device("b", enrollment_group="Factory")
    await bench.call("enrollment.create", device_id="c", attestation="symmetricKey", primary_key=KEY)
    await bench.call("enrollment.create", device_id="d", attestation="x509", primary_thumbprint="AB" * 32)
    shown = {id_: await bench.call("device.connection", device_id=id_, keys=True) for id_ in "abcd"}
    assert (shown["a"]["enrollmentGroup"], shown["a"]["modelId"]) == ("Other", "dtmi:com:example:Mill;1")
    assert (shown["b"]["attestation"], "primaryKey" in shown["b"]) == ("x509", False)
    assert (shown["c"]["enrollment"], shown["c"]["primaryKey"]) == ("individual", KEY)
    assert (shown["d"]["enrollment"], shown["d"]["attestation"]) == ("individual", "x509")
    with pytest.raises(OperationError, match="wins over any group"):
        await bench.call("device.connection", device_id="c", group="Other")


async def test_the_qr_code_is_a_picture_for_the_console(bench: Bench) -> None:
    await groups(bench)
    shown = await bench.call("device.connection", device_id="a", svg=True)
    assert shown["svg"].startswith("<svg")
    assert shown["svg"].rstrip().endswith("</svg>")
