"""Devices that provision themselves over HTTPS: with keys, with certificates, and with a TPM (a real one, in software)."""

import base64
import json
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.identity.tpm import StorageKey
from tests.integration.conftest import MODELS, fleet_of
from tests.support.device import Device, Fleet
from tests.support.gateway_process import GatewayProcess
from tests.support.https_client import Answer, HttpsClient
from tests.support.software_tpm import SoftwareTpm, TpmCommandError, requires_swtpm
from tests.support.subscriber import Subscriber

MODEL = "dtmi:com:example:Thermostat;1"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path_factory.mktemp("https") / "gw", https=True) as process:
        process.cli("template", "import", MODELS / "dtmi" / "com" / "example" / "thermostat-1.json")
        yield process


@pytest.fixture(scope="module")
def fleet(gateway: GatewayProcess) -> Fleet:
    return fleet_of(gateway)


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[HttpsClient]:
    with HttpsClient(gateway.setup) as opened:
        yield opened


def error(answer: Answer) -> tuple[int, int]:
    return answer.status, answer.body["errorCode"]


# Keys


def test_a_device_with_a_group_key_is_assigned_and_associated(
    gateway: GatewayProcess, fleet: Fleet, client: HttpsClient
) -> None:
    _, token = fleet.dps_login("sas-1")
    answer = client.register("sas-1", token, payload={"modelId": MODEL})
    assert (answer.status, answer.body["status"]) == (200, "assigned")
    state = answer.body["registrationState"]
    assert (state["assignedHub"], state["deviceId"]) == ("localhost", "sas-1")
    assert state["symmetricKey"] == {"enrollmentGroupId": "SAS-IoT-Devices"}
    assert gateway.json("device", "show", "sas-1")["template"] == MODEL
    assigned = gateway.wait_for("registration.assigned", device_id="sas-1")
    assert (assigned["transport"], assigned["mechanism"]) == ("https", "symmetricKey")
    with fleet.hub("sas-1", tls=True):
        pass


def test_a_poll_and_a_look_up_tell_the_same_as_the_register_request(
    fleet: Fleet, client: HttpsClient
) -> None:
    _, token = fleet.dps_login("sas-2")
    registered = client.register("sas-2", token)
    operation_id = registered.body["operationId"]
    polled = client.poll("sas-2", operation_id, token)
    assert (polled.status, polled.body) == (200, registered.body)
    looked_up = client.look_up("sas-2", token)
    assert (looked_up.status, looked_up.body) == (200, registered.body["registrationState"])


def test_a_look_up_registers_nothing(gateway: GatewayProcess, fleet: Fleet, client: HttpsClient) -> None:
    _, token = fleet.dps_login("sas-3")
    assert error(client.look_up("sas-3", token)) == (404, 404001)
    assert gateway.cli("device", "show", "sas-3", check=False).returncode == 1


def test_a_device_that_waits_for_approval_is_told_where_and_when_to_ask_again(
    gateway: GatewayProcess, client: HttpsClient
) -> None:
    gateway.cli("group", "create", "Manual", "--no-auto-approve")
    keys = gateway.json("device", "compute-key", "waiting-1", "--group", "Manual")
    waiting = Fleet(gateway.setup, keys["primaryKey"])
    scope = gateway.setup["idScope"]
    token = waiting.token(f"{scope}/registrations/waiting-1", "waiting-1", key=keys["primaryKey"])
    answer = client.register("waiting-1", token)
    operation_id = answer.body["operationId"]
    assert (answer.status, answer.body["status"], answer.headers["Retry-After"]) == (202, "assigning", "30")
    assert client.look_up("waiting-1", token).body["status"] == "unassigned"
    assert client.poll("waiting-1", operation_id, token).status == 202
    gateway.cli("device", "approve", "waiting-1")
    location = client.send("GET", answer.headers["Location"], token)
    assert (location.status, location.body["status"]) == (200, "assigned")
    assert location.body["operationId"] == operation_id


@pytest.mark.parametrize(
    ("case", "expected", "reason"),
    [
        ("another device's token", (401, 401002), "token_resource_mismatch"),
        ("an expired token", (401, 401002), "token_expired"),
        ("no credential", (401, 401002), "credential_missing"),
        ("blocked", (403, 403003), "device_blocked"),
        ("another scope", (401, 401002), "id_scope_unknown"),
    ],
)
def test_a_refusal_has_the_code_of_mqtts_and_its_reason_in_the_log(
    gateway: GatewayProcess,
    fleet: Fleet,
    client: HttpsClient,
    case: str,
    expected: tuple[int, int],
    reason: str,
) -> None:
    device_id = case.replace(" ", "-").replace("'", "")
    _, token = fleet.dps_login(device_id)
    match case:
        case "another device's token":
            _, token = fleet.dps_login("somebody-else")
            answer = client.register(device_id, token)
        case "an expired token":
            answer = client.register(device_id, fleet.dps_login(device_id, expires_in_s=-60)[1])
        case "no credential":
            answer = client.register(device_id)
        case "blocked":
            gateway.cli("device", "register", device_id)
            gateway.cli("device", "block", device_id)
            answer = client.register(device_id, token)
        case _:
            target = f"/0neOTHER/registrations/{device_id}/register?api-version=2019-03-31"
            answer = client.send("PUT", target, token)
    assert error(answer) == expected
    assert answer.headers["x-ms-error-code"] == str(expected[1])
    assert ("WWW-Authenticate" in answer.headers) == (expected[0] == 401)
    refused = gateway.wait_for("connect.refused", device_id=device_id)
    assert (refused["reason"], refused["transport"]) == (reason, "https")
    if case != "blocked":
        assert gateway.cli("device", "show", device_id, check=False).returncode == 1
        assert gateway.json("why", device_id)["attempts"][0]["reason"] == reason


def test_what_is_no_request_of_the_protocol_is_told_so(fleet: Fleet, client: HttpsClient) -> None:
    _, token = fleet.dps_login("odd-1")
    scope = fleet.setup["idScope"]
    register = f"/{scope}/registrations/odd-1/register"
    assert error(client.send("GET", "/")) == (404, 404000)
    wrong_method = client.send("DELETE", register + "?api-version=2019-03-31")
    assert (*error(wrong_method), wrong_method.headers["Allow"]) == (405, 405000, "PUT")
    assert error(client.send("PUT", register, token)) == (400, 400004)
    assert error(client.send("PUT", register + "?api-version=2019-03-31", token, b"[]")) == (400, 400004)
    assert client.send("PUT", register + "?api-version=2019-03-31", token, bytes(17_000)).status == 413


def test_bytes_that_are_no_http_end_the_connection(gateway: GatewayProcess) -> None:
    context = ssl.create_default_context(cafile=gateway.setup["caCertificate"])
    raw = socket.create_connection(("127.0.0.1", gateway.setup["deviceHttpsPort"]), 20)
    with context.wrap_socket(raw, server_hostname="localhost") as connected:
        connected.sendall(b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02t1\r\n\r\n")
        received = b""
        while data := connected.recv(4096):
            received += data
    assert received.startswith(b"HTTP/1.1 400 ")
    assert gateway.wait_for("connection.closed", reason="protocol_violated", transport="https")


# Certificates


def test_a_device_with_a_certificate_of_a_group_is_assigned(gateway: GatewayProcess, tmp_path: Path) -> None:
    issued = gateway.json("device", "issue-cert", "x509-1", "--out", tmp_path)
    with HttpsClient(gateway.setup, certificate=(issued["certificate"], issued["key"])) as client:
        answer = client.register("x509-1")
        assert (answer.status, answer.body["registrationState"]["x509"]) == (200, {})
        assert client.look_up("x509-1").status == 200
        assert error(client.register("x509-2")) == (401, 401002)
    refused = gateway.wait_for("connect.refused", device_id="x509-2")
    assert refused["reason"] == "certificate_name_mismatch"


# TPMs


@pytest.fixture
def tpm(tmp_path: Path) -> Iterator[SoftwareTpm]:
    with SoftwareTpm(tmp_path / "tpm") as made:
        yield made


def enroll(gateway: GatewayProcess, tmp_path: Path, tpm: SoftwareTpm, *more: str) -> str:
    """Returns the id that an SDK gives the device by default."""
    (tmp_path / "ek.pub").write_bytes(tpm.endorsement_key)
    device_id = StorageKey.parse(tpm.endorsement_key).registration_id
    gateway.cli("enrollment", "create", device_id, "--endorsement-key", tmp_path / "ek.pub", *more)
    return device_id


def shown(tpm: SoftwareTpm) -> dict[str, str]:
    return {
        "endorsementKey": base64.b64encode(tpm.endorsement_key).decode(),
        "storageRootKey": base64.b64encode(tpm.storage_root_key).decode(),
    }


def challenged(client: HttpsClient, device_id: str, tpm: SoftwareTpm) -> bytes:
    answer = client.register(device_id, tpm=shown(tpm))
    assert (answer.status, answer.body["keyName"]) == (401, "registration")
    return base64.b64decode(answer.body["authenticationKey"])


def dps_token(gateway: GatewayProcess, device_id: str, tpm: SoftwareTpm) -> str:
    resource = f"{gateway.setup['idScope']}/registrations/{device_id}"
    return tpm.sas_token(resource, int(time.time()) + 3600, "registration")


def provision(gateway: GatewayProcess, client: HttpsClient, device_id: str, tpm: SoftwareTpm) -> Answer:
    """Challenge, proof, and the device key into the TPM: what a device SDK does."""
    tpm.activate(challenged(client, device_id, tpm))
    answer = client.register(
        device_id, dps_token(gateway, device_id, tpm), tpm=shown(tpm), payload={"modelId": MODEL}
    )
    assert answer.status == 200, answer
    tpm.activate(base64.b64decode(answer.body["registrationState"]["tpm"]["authenticationKey"]))
    return answer


def connect(gateway: GatewayProcess, device: Device, device_id: str, tpm: SoftwareTpm) -> int:
    token = tpm.sas_token(f"localhost/devices/{device_id}", int(time.time()) + 3600)
    return device.connect(device_id, f"localhost/{device_id}/?api-version=2021-04-12", token)


@requires_swtpm
async def test_a_device_proves_its_tpm_is_assigned_and_its_telemetry_flows(
    gateway: GatewayProcess, client: HttpsClient, tpm: SoftwareTpm, tmp_path: Path
) -> None:
    device_id = enroll(gateway, tmp_path, tpm)
    answer = provision(gateway, client, device_id, tpm)
    assert answer.body["registrationState"]["assignedHub"] == "localhost"
    gateway.wait_for("registration.challenged", device_id=device_id)
    assert gateway.json("device", "show", device_id)["template"] == MODEL
    async with Subscriber(gateway.setup, "telemetry/#") as application:
        with Device.tls(gateway.setup) as device:
            assert connect(gateway, device, device_id, tpm) == 0
            device.publish(
                f"devices/{device_id}/messages/events/", json.dumps({"temperature": 21.5}).encode()
            )
            topic, envelope = await application.next()
    assert topic.endswith(device_id)
    assert envelope["body"] == {"temperature": 21.5}
    assert gateway.wait_for("session.opened", device_id=device_id)["mechanism"] == "tpm"


@requires_swtpm
def test_a_poll_of_a_proved_device_hands_the_device_key_out_again(
    gateway: GatewayProcess, client: HttpsClient, tpm: SoftwareTpm, tmp_path: Path
) -> None:
    device_id = enroll(gateway, tmp_path, tpm)
    tpm.activate(challenged(client, device_id, tpm))
    token = dps_token(gateway, device_id, tpm)
    assert error(client.poll(device_id, "4.never", token)) == (
        404,
        404002,
    )  # it has not said its storage root key
    operation_id = client.register(device_id, token, tpm=shown(tpm)).body["operationId"]
    polled = client.poll(device_id, operation_id, token)
    tpm.activate(base64.b64decode(polled.body["registrationState"]["tpm"]["authenticationKey"]))
    with Device.tls(gateway.setup) as device:
        assert connect(gateway, device, device_id, tpm) == 0


@requires_swtpm
def test_another_tpm_is_not_challenged_and_can_not_use_the_others_challenge(
    gateway: GatewayProcess, client: HttpsClient, tpm: SoftwareTpm, tmp_path: Path
) -> None:
    device_id = enroll(gateway, tmp_path, tpm)
    blob = challenged(client, device_id, tpm)
    with SoftwareTpm(tmp_path / "other") as other:
        answer = client.register(device_id, tpm=shown(other))
        assert error(answer) == (401, 401002)
        assert "authenticationKey" not in answer.body
        with pytest.raises(TpmCommandError):
            other.activate(blob)
    assert gateway.wait_for("connect.refused", device_id=device_id)["reason"] == "tpm_unknown"
    assert "--endorsement-key" in str(gateway.json("why", device_id)["verdict"]["remedies"])


@requires_swtpm
def test_an_enrolled_storage_root_key_is_the_only_one(
    gateway: GatewayProcess, client: HttpsClient, tpm: SoftwareTpm, tmp_path: Path
) -> None:
    with SoftwareTpm(tmp_path / "other") as other:
        (tmp_path / "srk.pub").write_bytes(other.storage_root_key)
        device_id = enroll(gateway, tmp_path, tpm, "--storage-root-key", str(tmp_path / "srk.pub"))
        assert error(client.register(device_id, tpm=shown(tpm))) == (401, 401002)
    (tmp_path / "srk.pub").write_bytes(tpm.storage_root_key)
    gateway.cli("enrollment", "update", device_id, "--storage-root-key", tmp_path / "srk.pub")
    provision(gateway, client, device_id, tpm)


@requires_swtpm
def test_the_key_of_a_challenge_is_not_good_for_the_hub(
    gateway: GatewayProcess, client: HttpsClient, tpm: SoftwareTpm, tmp_path: Path
) -> None:
    device_id = enroll(gateway, tmp_path, tpm)
    tpm.activate(challenged(client, device_id, tpm))
    with Device.tls(gateway.setup) as device:
        assert connect(gateway, device, device_id, tpm) == 5


@requires_swtpm
def test_a_regenerated_key_closes_the_session_and_the_device_gets_the_new_one_by_provisioning(
    gateway: GatewayProcess, client: HttpsClient, tpm: SoftwareTpm, tmp_path: Path
) -> None:
    device_id = enroll(gateway, tmp_path, tpm)
    provision(gateway, client, device_id, tpm)
    with Device.tls(gateway.setup) as device:
        assert connect(gateway, device, device_id, tpm) == 0
        assert gateway.json("enrollment", "regenerate-key", device_id)["closedSessions"] == 1
        assert device.is_closed()
    with Device.tls(gateway.setup) as device:
        assert connect(gateway, device, device_id, tpm) == 5
    provision(gateway, client, device_id, tpm)
    with Device.tls(gateway.setup) as device:
        assert connect(gateway, device, device_id, tpm) == 0


def test_what_is_no_storage_key_is_told_before_anything_else(client: HttpsClient) -> None:
    answer = client.register("tpm-1", tpm={"endorsementKey": "AAAA", "storageRootKey": "AAAA"})
    assert error(answer) == (400, 400004)
    assert answer.body["message"].startswith("tpm.endorsementKey: ")
    assert error(client.register("tpm-1", tpm={"endorsementKey": "AAAA"})) == (400, 400004)
