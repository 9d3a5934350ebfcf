"""Who the devices are, and their CONNECT packets: made before the storm, which is not to measure signing."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias, assert_never

from gateway.identity import sas
from gateway.mqtt import Connect, encode
from gateway.secrets import SymmetricKey
from gateway.simulate.wire import hub_token, hub_username, provisioning_token, provisioning_username

__all__ = ["Certificates", "Credentials", "NoCredentials", "Password", "Population", "SasKeys"]

KEEP_ALIVE_S: Final = 1767
"""IoT Hub's maximum."""
_TOKEN_LIFETIME_S: Final = 24 * 3600
_NOBODYS_KEY: Final = SymmetricKey(b"a key that no group has".ljust(64, b"."))


@dataclass(frozen=True, slots=True, kw_only=True)
class SasKeys:
    """Each device has the key that is derived from its group's, and signs a token with it."""

    group_key: SymmetricKey
    token_lifetime_s: int = _TOKEN_LIFETIME_S


@dataclass(frozen=True, slots=True)
class NoCredentials:
    """For a broker that lets everybody in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Password:
    """The same user name and password for all: what a plain MQTT broker knows."""

    username: str
    password: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """A certificate of its own for each device, kept in a directory (`loadtest.certificates`)."""

    directory: Path

    @property
    def strangers(self) -> Path:
        """Where those of the devices with a bad credential are, which another CA has signed."""
        return self.directory / "strangers"


Credentials: TypeAlias = SasKeys | NoCredentials | Password | Certificates


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """All of them: `storm-000001`, `storm-000002`, …; counted from 0 in the code."""

    count: int
    credentials: Credentials
    hub: str = "localhost"
    """The name by which the devices call their hub if nobody assigns one to them."""
    id_scope: str = ""
    prefix: str = "storm-"
    model_id: str | None = None
    clean_session: bool = False
    bad_share: float = 0.0
    """So many of them, spread evenly, have a credential of somebody else."""

    def is_bad(self, number: int) -> bool:
        return int((number + 1) * self.bad_share) > int(number * self.bad_share)

    def device_id(self, number: int) -> str:
        return f"{self.prefix}{number + 1:06d}"

    def device_ids(self) -> Iterator[str]:
        return map(self.device_id, range(self.count))

    def provisioning_connect(self, number: int) -> bytes:
        """The CONNECT with which it asks the provisioning service for its hub."""
        device_id = self.device_id(number)
        username = provisioning_username(self.id_scope, device_id)
        match self.credentials:
            case SasKeys():
                token = provisioning_token(self.id_scope, device_id, self._key(number), self._expiry())
                return self._connect(device_id, username, token.encode())
            case _:
                return self._connect(device_id, username, None)

    def hub_connect(self, number: int, hub: str | None = None) -> bytes:
        """The CONNECT for the hub of that name. A token in it is valid from now on."""
        device_id = self.device_id(number)
        hub = hub or self.hub
        match self.credentials:
            case SasKeys():
                token = hub_token(hub, device_id, self._key(number), self._expiry())
                return self._connect(device_id, hub_username(hub, device_id, self.model_id), token.encode())
            case Certificates():
                return self._connect(device_id, hub_username(hub, device_id, self.model_id), None)
            case Password(username=username, password=password):
                return self._connect(
                    device_id, username, b"not " + password if self.is_bad(number) else password
                )
            case NoCredentials():
                return self._connect(device_id, None, None)
            case _:
                assert_never(self.credentials)

    def _key(self, number: int) -> SymmetricKey:
        assert isinstance(self.credentials, SasKeys)
        group_key = _NOBODYS_KEY if self.is_bad(number) else self.credentials.group_key
        return sas.derive_device_key(group_key, self.device_id(number))

    def _expiry(self) -> int:
        lifetime_s = self.credentials.token_lifetime_s if isinstance(self.credentials, SasKeys) else 0
        return int(time.time()) + lifetime_s

    def _connect(self, client_id: str, username: str | None, password: bytes | None) -> bytes:
        return encode(
            Connect(
                client_id=client_id,
                clean_session=self.clean_session,
                keep_alive=KEEP_ALIVE_S,
                username=username,
                password=password,
            )
        )
