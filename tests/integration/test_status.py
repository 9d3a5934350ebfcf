"""`gateway status` of a running gateway."""

import pytest

from tests.support.device import Device, Fleet
from tests.support.gateway_process import GatewayProcess
from tests.support.terminal import on_a_terminal, plain


def test_status_counts_sessions_by_dialect_and_what_was_refused(
    gateway: GatewayProcess, fleet: Fleet
) -> None:
    with fleet.hub("status-1"), fleet.dps("status-2"):
        with Device.plain(gateway.setup) as device:
            device.connect("status-3", "localhost/status-3/?api-version=2021-04-12", "not a token")
        status = gateway.json("status")
    assert (status["running"], status["sessionsByDialect"]["hub"] >= 1, status["sessionsByDialect"]["dps"] >= 1) == (
        True, True, True,
    )  # fmt: skip
    assert status["connections"] >= 2
    assert "token_malformed" in {each["reason"] for each in status["refusals"]}
    assert status["registrar"]["waiting"] == 0
    assert (status["storm"]["waiting"], status["storm"]["turnedAway"]) == (0, 0)
    assert set(status["rates"]) == {"accepted", "refused", "telemetry", "commits", "written"}
    assert status["certificates"][0]["of"] == "server"
    assert status["uptimeS"] >= 0


@pytest.mark.parametrize("width", [80, 140])
def test_status_is_one_screen(gateway: GatewayProcess, fleet: Fleet, width: int) -> None:
    with fleet.hub("status-4"):
        lines = [plain(line) for line in on_a_terminal(gateway, width, "status")]
    assert max(map(len, lines)) <= width
    assert len(lines) <= 24
    assert " running for " in lines[0]
    labels = {line.split("  ")[0] for line in lines}
    assert {"sessions", "devices", "connects", "refusals", "registrar", "store", "certificates"} <= labels


def test_to_watch_it_takes_a_terminal(gateway: GatewayProcess) -> None:
    ended = gateway.cli("status", "--watch", check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("error: --watch needs a terminal")
