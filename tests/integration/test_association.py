"""A device registered in advance, with a template that an operator chose for it."""

from tests.support.device import Fleet
from tests.support.gateway_process import GatewayProcess

THERMOSTAT = "dtmi:com:example:Thermostat;1"
CONTROLLER = "dtmi:com:example:TemperatureController;1"


def test_a_device_registered_in_advance_is_provisioned_on_its_first_connect_and_keeps_its_operator_s_template(
    gateway: GatewayProcess, fleet: Fleet
) -> None:
    gateway.cli("device", "register", "planned-1", "--name", "Boiler room", "--template", CONTROLLER)
    before = gateway.json("device", "show", "planned-1")
    assert (before["status"], before["provisioned"], before["enabled"]) == ("registered", False, True)
    with fleet.hub("planned-1", model=THERMOSTAT):
        pass
    after = gateway.json("device", "show", "planned-1")
    assert (after["status"], after["name"]) == ("provisioned", "Boiler room")
    assert (after["template"], after["modelId"]) == (CONTROLLER, THERMOSTAT)
    assert after["enrollmentGroup"] == "SAS-IoT-Devices"


def test_the_model_announced_to_the_provisioning_service_wins_over_the_hub_s(
    gateway: GatewayProcess, fleet: Fleet
) -> None:
    with fleet.dps("firm-1") as device:
        body = b'{"payload":{"modelId":"%s"}}' % CONTROLLER.encode()
        assert (
            device.request("$dps/registrations/PUT/iotdps-register/?$rid=1", body).json()["status"]
            == "assigned"
        )
    with fleet.hub("firm-1", model=THERMOSTAT):
        pass
    assert gateway.json("device", "show", "firm-1")["template"] == CONTROLLER
    with fleet.hub("soft-1", model=THERMOSTAT):
        pass
    with fleet.hub("soft-1", model=CONTROLLER):  # new firmware
        pass
    assert gateway.json("device", "show", "soft-1")["template"] == CONTROLLER


def test_a_model_id_beyond_reason_is_taken_for_none(gateway: GatewayProcess, fleet: Fleet) -> None:
    with fleet.dps("babbler-1") as device:
        body = b'{"payload":{"modelId":"' + b"x" * 5000 + b'"}}'
        assert (
            device.request("$dps/registrations/PUT/iotdps-register/?$rid=1", body).json()["status"]
            == "assigned"
        )
    assert gateway.json("device", "show", "babbler-1")["modelId"] is None
