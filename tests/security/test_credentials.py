"""What a stranger shows for a proof, or leaves out: gates 13 and 19 of docs/security.md, at CONNECT."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway import mqtt, pki
from tests.integration.conftest import fleet_of
from tests.support.device import CONNACK, Device, Fleet
from tests.support.gateway_process import GatewayProcess

HUB = "localhost/{}/?api-version=2021-04-12"
ME = "shown-1"
OTHER = "shown-2"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Clocks may differ by a minute, and nobody's answer is held back for failing often: that is another test's."""

    def edit(text: str) -> str:
        leeway = "    provisioning:\n      token_leeway_s: 60\n"
        patience = "    devices:\n      storm:\n        refusals_before_delay: 1000\n"
        return text.replace("    devices:\n", leeway + patience, 1)

    with GatewayProcess(tmp_path_factory.mktemp("credentials") / "gw", edit=edit) as process:
        yield process


@pytest.fixture(scope="module")
def fleet(gateway: GatewayProcess) -> Fleet:
    return fleet_of(gateway)


def refused(gateway: GatewayProcess, device: Device) -> dict[str, Any]:
    """The one line about a connection that was refused. A fault of the gateway's own is none."""
    assert device.is_closed()
    peer = "{}:{}".format(*device.socket.getsockname())
    line = gateway.wait_for("connect.refused", peer=peer)
    assert [each["event"] for each in gateway.log if each.get("peer") == peer] == ["connect.refused"]
    gateway.log.clear()  # the system may give the next device the same port
    return line


# Gate 13: what a token is for, and how long


HUB_TOKENS: dict[str, tuple[Callable[[Fleet], str], str]] = {
    "another device's resource": (
        lambda fleet: fleet.token(f"localhost/devices/{OTHER}", ME),
        "token_resource_mismatch",
    ),
    "another device's token": (
        lambda fleet: fleet.token(f"localhost/devices/{OTHER}", OTHER),
        "token_resource_mismatch",
    ),
    "this resource, another device's key": (
        lambda fleet: fleet.token(f"localhost/devices/{ME}", OTHER),
        "token_signature_invalid",
    ),
    "a token for provisioning": (
        lambda fleet: fleet.token(f"{fleet.setup['idScope']}/registrations/{ME}", ME),
        "token_resource_mismatch",
    ),
    "all of the hub": (lambda fleet: fleet.token("localhost", ME), "token_resource_mismatch"),
    "all devices": (lambda fleet: fleet.token("localhost/devices", ME), "token_resource_mismatch"),
    "another host": (lambda fleet: fleet.token(f"elsewhere/devices/{ME}", ME), "token_resource_mismatch"),
    "a resource that is encoded twice": (
        lambda fleet: fleet.token(f"localhost%252Fdevices%252F{ME}", ME),
        "token_resource_mismatch",
    ),
    "an id that is encoded twice": (
        lambda fleet: fleet.token(f"localhost/devices/{ME.replace('-', '%252D')}", ME),
        "token_resource_mismatch",
    ),
    "the hub owner's policy": (
        lambda fleet: fleet.token(f"localhost/devices/{ME}", ME) + "&skn=iothubowner",
        "token_key_name_unknown",
    ),
    "provisioning's key name": (
        lambda fleet: fleet.token(f"localhost/devices/{ME}", ME) + "&skn=registration",
        "token_key_name_unknown",
    ),
    "an expiry in milliseconds": (
        lambda fleet: fleet.token(f"localhost/devices/{ME}", ME, expires_in_s=1_800_000_000_000),
        "token_malformed",
    ),
    "over": (
        lambda fleet: fleet.token(f"localhost/devices/{ME}", ME, expires_in_s=-61),
        "token_expired",
    ),
}


@pytest.mark.parametrize("what", HUB_TOKENS)
def test_a_token_for_something_else_is_refused_at_connect(
    gateway: GatewayProcess, fleet: Fleet, what: str
) -> None:
    make_token, reason = HUB_TOKENS[what]
    with Device.plain(gateway.setup) as device:
        assert device.connect(ME, HUB.format(ME), make_token(fleet)) in {4, 5}
        assert refused(gateway, device)["reason"] == reason


@pytest.mark.parametrize(
    ("resource", "key_name", "reason"),
    [
        (f"{{scope}}/registrations/{OTHER}", "", "token_resource_mismatch"),
        (f"localhost/devices/{ME}", "", "token_resource_mismatch"),
        (f"{{scope}}%252Fregistrations%252F{ME}", "", "token_resource_mismatch"),
        (f"{{scope}}/registrations/{ME}", "&skn=iothubowner", "token_key_name_unknown"),
    ],
)
def test_a_token_for_something_else_does_not_provision(
    gateway: GatewayProcess, fleet: Fleet, resource: str, key_name: str, reason: str
) -> None:
    username, _ = fleet.dps_login(ME)
    token = fleet.token(resource.format(scope=fleet.setup["idScope"]), ME) + key_name
    with Device.plain(gateway.setup) as device:
        assert device.connect(ME, username, token) in {4, 5}
        assert refused(gateway, device)["reason"] == reason


def test_the_leeway_of_the_settings_lets_in_whose_clock_is_slow_and_nobody_slower(
    gateway: GatewayProcess, fleet: Fleet
) -> None:
    with Device.plain(gateway.setup) as device:
        assert device.connect("slow-1", *fleet.hub_login("slow-1", expires_in_s=-30)) == 0
    with Device.plain(gateway.setup) as device:
        assert device.connect("slow-2", *fleet.dps_login("slow-2", expires_in_s=-30)) == 0
    with Device.plain(gateway.setup) as device:
        assert device.connect("slow-3", *fleet.hub_login("slow-3", expires_in_s=-61)) == 5
        assert refused(gateway, device)["reason"] == "token_expired"


# Gate 19: what is missing


@pytest.mark.parametrize("over_tls", [False, True])
@pytest.mark.parametrize(
    ("client_id", "username", "password", "clean", "code", "reason"),
    [
        (ME, None, None, True, 4, "username_malformed"),
        (ME, "", None, True, 4, "username_malformed"),
        (ME, "", "", True, 4, "username_malformed"),
        ("", None, None, True, 4, "username_malformed"),
        ("", None, None, False, 2, "client_id_invalid"),
        ("", HUB.format(ME), "SharedAccessSignature", False, 2, "client_id_invalid"),
        (ME, HUB.format(""), "x", True, 4, "username_malformed"),
        (ME, HUB.format(ME), None, True, 5, "credential_missing"),
        (ME, HUB.format(ME), "", True, 5, "credential_missing"),
        (ME, HUB.format(ME), "x", True, 5, "token_malformed"),
        (ME, HUB.format(ME), "é", True, 5, "token_malformed"),
        (ME, "{scope}/registrations/" + ME + "/api-version=2019-03-31", None, True, 5, "credential_missing"),
        (ME, "{scope}/registrations/" + ME + "/api-version", None, True, 4, "username_malformed"),
        (ME, "{scope}/registrations/" + ME + "/x&&=", None, True, 4, "username_malformed"),
    ],
)
def test_a_login_of_which_something_is_missing_is_refused_with_one_line_and_its_reason(
    gateway: GatewayProcess, over_tls: bool, client_id: str, username: str | None, password: str | None,
    clean: bool, code: int, reason: str,
) -> None:  # fmt: skip
    if username is not None:
        username = username.replace("{scope}", gateway.setup["idScope"])
    with Device.tls(gateway.setup) if over_tls else Device.plain(gateway.setup) as device:
        assert device.connect(client_id, username, password, clean=clean) == code
        line = refused(gateway, device)
    assert (line["reason"], bool(line["hint"])) == (reason, True)


@pytest.mark.parametrize("client_id", [ME, ""])
@pytest.mark.parametrize(
    ("username", "code", "reason"),
    [
        (None, 0x86, "username_malformed"),
        ("", 0x86, "username_malformed"),
        (HUB.format(ME), 0x87, "credential_missing"),
    ],
)
def test_a_login_of_mqtt_5_of_which_something_is_missing_is_refused_likewise(
    gateway: GatewayProcess, client_id: str, username: str | None, code: int, reason: str
) -> None:
    with Device.plain(gateway.setup) as device:
        connect = mqtt.Connect(client_id, username=username, protocol_level=mqtt.MQTT_5_LEVEL)
        device.send(mqtt.CODECS[mqtt.MQTT_5_LEVEL].encode(connect))
        answer = device.receive()
        assert (answer.kind, answer.body[1]) == (CONNACK, code)
        assert refused(gateway, device)["reason"] == reason


def written(directory: Path, identity: pki.IssuedCertificate) -> dict[str, Path]:
    files = {"certificate": directory / "device.crt", "key": directory / "device.key"}
    files["certificate"].write_bytes(identity.chain_pem)
    files["key"].write_bytes(identity.key_pem)
    return files


def test_a_certificate_does_not_say_who_is_there_by_itself(gateway: GatewayProcess, tmp_path: Path) -> None:
    gateway.cli("device", "issue-cert", "shown-3", "--out", tmp_path)
    files = {"certificate": tmp_path / "shown-3.crt", "key": tmp_path / "shown-3.key"}
    with Device.tls(gateway.setup, **files) as device:
        assert device.connect("shown-3", None) == 4
        assert refused(gateway, device)["reason"] == "username_malformed"
    with Device.tls(gateway.setup, **files) as device:
        assert device.connect("shown-3", HUB.format("shown-3")) == 0


def test_of_a_token_and_a_certificate_the_token_counts_alone(
    gateway: GatewayProcess, fleet: Fleet, tmp_path: Path
) -> None:
    gateway.cli("device", "issue-cert", "shown-4", "--out", tmp_path)
    good = {"certificate": tmp_path / "shown-4.crt", "key": tmp_path / "shown-4.key"}
    strange = written(tmp_path, pki.self_signed_device("somebody-else"))
    username, token = fleet.hub_login("shown-4")
    with Device.tls(gateway.setup, **strange) as device:
        assert device.connect("shown-4", username, token) == 0
    for password, reason in (
        ("x", "token_malformed"),
        (fleet.token(f"localhost/devices/{OTHER}", "shown-4"), "token_resource_mismatch"),
        (fleet.hub_login("shown-4", expires_in_s=-61)[1], "token_expired"),
        (fleet.token("localhost/devices/shown-4", OTHER), "token_signature_invalid"),
    ):
        with Device.tls(gateway.setup, **good) as device:
            assert device.connect("shown-4", username, password) == 5
            assert refused(gateway, device)["reason"] == reason
    with Device.tls(gateway.setup, **strange) as device:
        assert device.connect("shown-4", username) == 5
        assert refused(gateway, device)["reason"].startswith("certificate_")
