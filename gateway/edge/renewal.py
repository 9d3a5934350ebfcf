"""MQTT 5: a session goes on with a new SAS token, given by AUTH before the old one ends (section 4.12.1)."""

from gateway import mqtt
from gateway.admission import ConnectRequest
from gateway.refusals import Reason, Refused

__all__ = ["Renewal"]


class Renewal:
    """What the CONNECT said that a new token must go with."""

    __slots__ = ("_device_id", "_username")

    def __init__(self, device_id: str, username: str | None) -> None:
        self._device_id = device_id
        self._username = username

    def request(self, auth: mqtt.Auth) -> ConnectRequest | Refused:
        """The login as it would be with the token in `auth`."""
        token = auth.properties.authentication_data
        if token is None:
            return Refused(Reason.CREDENTIAL_MISSING)
        return ConnectRequest(self._device_id, self._username, token, None)
