"""Devices of an IoT Central application come to a gateway that has taken it over, with the credentials they have."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import pki
from tests.support.central import MODEL, SCOPE, CentralApplication
from tests.support.device import Device, Fleet
from tests.support.gateway_process import GatewayProcess, run_cli

NOT_AUTHORIZED = 5


@pytest.fixture(scope="module")
def central() -> CentralApplication:
    return CentralApplication()


@pytest.fixture(scope="module")
def moved(central: CentralApplication, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with Central's ID scope that took the export over while it ran."""
    directory = tmp_path_factory.mktemp("migration")
    export = central.write(directory / "export")
    process = GatewayProcess(directory / "gw")
    printed = run_cli("migrate", "central", export, "--dry-run", "-c", process.setup["config"]).stdout
    assert f"id_scope: {SCOPE}" in printed
    config = Path(process.setup["config"])
    config.write_text(config.read_text().replace(process.setup["idScope"], SCOPE))
    process.setup["idScope"] = SCOPE
    with process:
        process.cli("migrate", "central", export)
        yield process


@pytest.fixture(scope="module")
def fleet(moved: GatewayProcess, central: CentralApplication) -> Fleet:
    return Fleet(moved.setup, central.primary.base64)


def status(moved: GatewayProcess, device_id: str) -> tuple[str, str | None]:
    shown = moved.json("device", "show", device_id)
    return shown["status"], shown["enrollmentGroup"]


def test_a_device_with_a_key_of_the_old_group_provisions_and_connects(
    moved: GatewayProcess, fleet: Fleet
) -> None:
    with fleet.dps("by-group", tls=True) as device:
        answer = device.request(
            "$dps/registrations/PUT/iotdps-register/?$rid=1", b'{"registrationId":"by-group"}'
        )
        assert answer.json()["status"] == "assigned"
    with fleet.hub("by-group", model=MODEL):
        assert status(moved, "by-group") == ("provisioned", "SAS-IoT-Devices-central")
        assert moved.json("device", "show", "by-group")["template"] == MODEL


def test_a_device_nobody_knew_comes_in_by_the_old_group_too(moved: GatewayProcess, fleet: Fleet) -> None:
    with fleet.hub("brand-new"):
        assert status(moved, "brand-new") == ("provisioned", "SAS-IoT-Devices-central")


def test_a_device_with_a_key_of_its_own_connects(
    moved: GatewayProcess, fleet: Fleet, central: CentralApplication
) -> None:
    token = fleet.token("localhost/devices/own-key", "own-key", key=central.own_key.base64)
    with Device.plain(moved.setup) as device:
        assert device.connect("own-key", "localhost/own-key/?api-version=2021-04-12", token) == 0
    assert status(moved, "own-key") == ("provisioned", None)
    with Device.plain(moved.setup) as device:  # and the group's key is none of its
        assert device.connect("own-key", *fleet.hub_login("own-key")) == NOT_AUTHORIZED


@pytest.mark.parametrize(("device_id", "group"), [("own-cert", None), ("by-ca", "contoso-ca")])
def test_a_device_with_a_certificate_connects(
    moved: GatewayProcess, central: CentralApplication, tmp_path: Path, device_id: str, group: str | None
) -> None:
    issued = central.own if device_id == "own-cert" else pki.issue_device(central.ca, device_id)
    (tmp_path / "crt").write_bytes(issued.chain_pem)
    (tmp_path / "key").write_bytes(issued.key_pem)
    with Device.tls(moved.setup, certificate=tmp_path / "crt", key=tmp_path / "key") as device:
        assert device.connect(device_id, f"localhost/{device_id}/?api-version=2021-04-12") == 0
    assert status(moved, device_id) == ("provisioned", group)


def test_a_device_that_was_blocked_there_is_blocked_here(moved: GatewayProcess, fleet: Fleet) -> None:
    with Device.plain(moved.setup) as device:
        assert device.connect("blocked-1", *fleet.hub_login("blocked-1")) == NOT_AUTHORIZED
    moved.wait_for("connect.refused", device_id="blocked-1", reason="device_blocked")
    moved.cli("device", "unblock", "blocked-1")
    with fleet.hub("blocked-1"):
        pass


def test_after_all_of_them_came_another_run_still_changes_nothing(
    moved: GatewayProcess, central: CentralApplication, tmp_path: Path
) -> None:
    export = central.write(tmp_path / "export")
    ended = moved.cli("migrate", "central", export, "--dry-run", "--json", check=False)
    again = json.loads(ended.stdout)
    assert sum(counted["created"] for counted in again["counts"].values()) == 0
    assert [note["detail"] for note in again["notes"] if note["outcome"] == "conflict"] == [
        "is provisioned here, blocked there"
    ]
