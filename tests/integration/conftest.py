"""One running gateway for the tests of this directory that need nothing special."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.device import Fleet
from tests.support.gateway_process import GatewayProcess

MODELS = Path(__file__).parents[1] / "data" / "models"


def fleet_of(gateway: GatewayProcess) -> Fleet:
    return Fleet(gateway.setup, gateway.json("group", "show", "SAS-IoT-Devices", "--keys")["primaryKey"])


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path_factory.mktemp("gateway") / "gw") as process:
        for model in ("thermostat-1.json", "temperaturecontroller-1.json"):
            process.cli("template", "import", MODELS / "dtmi" / "com" / "example" / model)
        yield process


@pytest.fixture(scope="session")
def fleet(gateway: GatewayProcess) -> Fleet:
    return fleet_of(gateway)
