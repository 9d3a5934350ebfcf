"""Who the devices are, and their CONNECT packets: made before the storm, which is not to measure signing."""

import time
from dataclasses import dataclass
from typing import Final

from gateway.identity import sas
from gateway.mqtt import Connect, encode
from gateway.secrets import SymmetricKey
from gateway.simulate.wire import hub_token, hub_username, provisioning_token, provisioning_username

__all__ = ["Device", "Population"]

KEEP_ALIVE_S: Final = 1767
"""IoT Hub's maximum: the devices of a load test do not ping."""
TOKEN_LIFETIME_S: Final = 24 * 3600


@dataclass(frozen=True, slots=True)
class Device:
    """One device of the storm."""

    device_id: str
    key: SymmetricKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """All of them: `storm-000001`, `storm-000002`, …, with keys derived from their group's."""

    count: int
    group_key: SymmetricKey
    id_scope: str = ""
    prefix: str = "storm-"
    model_id: str | None = None

    def devices(self) -> list[Device]:
        ids = (f"{self.prefix}{number:06d}" for number in range(1, self.count + 1))
        return [Device(device_id, sas.derive_device_key(self.group_key, device_id)) for device_id in ids]

    def provisioning_connect(self, device: Device) -> bytes:
        """The CONNECT with which it asks the provisioning service for its hub."""
        username = provisioning_username(self.id_scope, device.device_id)
        token = provisioning_token(self.id_scope, device.device_id, device.key, _expiry())
        return _connect(device.device_id, username, token)

    def hub_connect(self, device: Device, hub: str) -> bytes:
        """The CONNECT for the hub of that name."""
        username = hub_username(hub, device.device_id, self.model_id)
        return _connect(device.device_id, username, hub_token(hub, device.device_id, device.key, _expiry()))


def _connect(client_id: str, username: str, token: str) -> bytes:
    return encode(
        Connect(
            client_id=client_id,
            clean_session=False,
            keep_alive=KEEP_ALIVE_S,
            username=username,
            password=token.encode(),
        )
    )


def _expiry() -> int:
    return int(time.time()) + TOKEN_LIFETIME_S
