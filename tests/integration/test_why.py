"""`gateway why` against a running gateway, and what its page says."""

import json
from pathlib import Path

import pytest

from tests.support.device import Device, Fleet, packet, text
from tests.support.gateway_process import GatewayProcess
from tests.support.pages import DOCS, blocks, sh
from tests.support.terminal import on_a_terminal, plain

HUB = "localhost/{}/?api-version=2021-04-12"


def refused(gateway: GatewayProcess, device_id: str, token: str) -> int:
    with Device.plain(gateway.setup) as device:
        return device.connect(device_id, HUB.format(device_id), token)


def test_a_device_with_another_ones_key_is_told_whose_key_it_is(
    gateway: GatewayProcess, fleet: Fleet
) -> None:
    assert refused(gateway, "why-1", fleet.token("localhost/devices/why-1", "why-2")) == 5
    told = gateway.json("why", "why-1")
    assert told["device"] is None
    assert [attempt["reason"] for attempt in told["attempts"]] == ["token_signature_invalid"]
    assert told["verdict"]["remedies"][0]["command"].startswith("gateway device compute-key why-1 --group ")


def test_a_dry_run_says_what_would_happen_and_registers_nobody(
    gateway: GatewayProcess, fleet: Fleet, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(fleet.token("localhost/devices/why-3", "why-3") + "\n")
    told = gateway.json("why", "why-3", "--token-file", tmp_path / "token")
    assert (told["verdict"]["outcome"], told["verdict"]["registers"]) == ("accepted", True)
    assert told["attempts"] == []
    assert gateway.cli("device", "show", "why-3", check=False).returncode == 1
    assert not gateway.lines("connect.refused", device_id="why-3")


def test_a_session_that_was_ended_for_a_wrong_topic_is_an_attempt_too(
    gateway: GatewayProcess, fleet: Fleet
) -> None:
    with fleet.hub("why-4") as device:
        device.send(packet(8, 2, b"\x00\x01" + text("not/yours") + b"\x00"))
        assert device.is_closed()
    told = gateway.json("why", "why-4")
    assert [attempt["outcome"] for attempt in told["attempts"]] == ["ended", "accepted"]
    assert (told["attempts"][0]["reason"], told["attempts"][0]["detail"]) == ("topic_unknown", "not/yours")


def test_a_device_that_waits_on_dps_is_an_attempt_to_register(gateway: GatewayProcess) -> None:
    gateway.cli("group", "create", "WhyCareful", "--no-auto-approve")
    key = gateway.cli("device", "compute-key", "why-5", "--group", "WhyCareful").stdout.strip()
    careful = Fleet(gateway.setup, key)
    scope = gateway.setup["idScope"]
    token = careful.token(f"{scope}/registrations/why-5", "why-5", key=key)
    with Device.plain(gateway.setup) as device:
        assert device.connect("why-5", f"{scope}/registrations/why-5/api-version=2019-03-31", token) == 0
        device.subscribe("$dps/registrations/res/#")
        device.request("$dps/registrations/PUT/iotdps-register/?$rid=1", b"{}")
        told = gateway.json("why", "why-5")
    assert told["device"]["status"] == "waiting"
    assert (told["attempts"][0]["reason"], told["attempts"][0]["registering"]) == ("approval_pending", True)
    assert told["verdict"]["remedies"][0]["command"] == "gateway device approve why-5"


@pytest.mark.parametrize("width", [80, 140])
def test_people_get_a_page_that_fits_their_terminal(
    gateway: GatewayProcess, fleet: Fleet, width: int
) -> None:
    device_id = f"why-page-{width}"
    refused(gateway, device_id, fleet.token(f"localhost/devices/{device_id}", "why-2", expires_in_s=-7200))
    lines = on_a_terminal(gateway, width, "why", device_id)
    assert max(map(len, map(plain, lines))) <= width
    assert any("\x1b[31mrefused\x1b[0m" in line for line in lines)
    assert any(plain(line).strip().startswith(f"gateway device compute-key {device_id}") for line in lines)


def test_what_a_device_calls_itself_cannot_steer_the_terminal(gateway: GatewayProcess) -> None:
    with Device.plain(gateway.setup) as device:
        device.connect("why-evil", "\x1b[2J\x9b2Jevil", "hunter2")
    printed = "\n".join(on_a_terminal(gateway, 100, "why", "why-evil"))
    assert r"\x1b[2J\x9b2Jevil" in printed
    assert "\x1b[2J" not in printed


def test_the_commands_of_the_page_on_why(gateway: GatewayProcess, fleet: Fleet, tmp_path: Path) -> None:
    commands = blocks(DOCS / "why.md")
    assert set(commands) == {"dry_run"}
    refused(gateway, "mill-7", fleet.token("localhost/devices/mill-7", "mill-8"))
    (tmp_path / "token").write_text(fleet.token("localhost/devices/mill-7", "mill-7"))
    printed = sh(f"export GATEWAY_CONFIG={gateway.setup['config']}\n" + commands["dry_run"], tmp_path)
    assert "its own primary key of group SAS-IoT-Devices" in printed
    assert json.loads(printed[printed.index("{") :])["verdict"]["outcome"] == "accepted"
