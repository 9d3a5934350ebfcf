"""What Prometheus reads from a running gateway, after devices have come, gone and been refused."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.conftest import fleet_of
from tests.support.api import trust
from tests.support.device import Device
from tests.support.gateway_process import GatewayProcess


def scrape(gateway: GatewayProcess) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = httpx.get(f"https://localhost:{gateway.setup['httpPort']}/metrics", verify=trust(gateway))
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


@pytest.fixture
def own_gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path / "gw") as process:
        yield process


def test_a_scrape_counts_what_the_devices_did(own_gateway: GatewayProcess) -> None:
    fleet = fleet_of(own_gateway)
    before = scrape(own_gateway)
    with fleet.hub("metric-1") as device:
        device.publish("devices/metric-1/messages/events/", b'{"temperature":1}')
        open_now = scrape(own_gateway)
        device.disconnect()
    with fleet.hub("metric-1", tls=True) as device:
        device.disconnect()
    username, token = fleet.hub_login("metric-2")
    with Device.plain(own_gateway.setup) as device:
        assert device.connect("metric-2", username, token.replace("se=1", "se=2")) == 5
    own_gateway.wait_for("connect.refused", device_id="metric-2")
    after = scrape(own_gateway)

    def grown(name: str, **labels: str) -> float:
        key = (name, frozenset(labels.items()))
        return after.get(key, 0) - before.get(key, 0)

    accepted = {"dialect": "hub", "mechanism": "symmetricKey"}
    assert grown("gateway_connects_accepted_total", **accepted, tls="none") == 1
    assert grown("gateway_connects_accepted_total", **accepted, tls="TLSv1.3") == 1
    assert grown("gateway_connects_refused_total", reason="token_signature_invalid") == 1
    assert grown("gateway_connections_closed_total", reason="disconnected") == 2
    assert grown("gateway_registrations_created_total") == 1
    assert (
        grown("gateway_registrar_commit_seconds_count") == grown("gateway_registrar_batch_changes_sum") == 1
    )
    assert grown("gateway_tls_handshake_seconds_count") == 1
    assert grown("gateway_admission_seconds_count") == 2
    assert grown("gateway_telemetry_routed_total") == 1
    assert open_now["gateway_sessions", frozenset({("dialect", "hub")})] == 1
    assert after["process_resident_memory_bytes", frozenset()] > 0
